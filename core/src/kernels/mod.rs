//! Arithmetic for one instruction set: the only place where speed and target meet.
//!
//! [`scalar`] is the norm. Every other implementation must give the same bits. One module per family
//! of processors; each implementation is a zero-sized token whose existence proves that the
//! processor has the instructions.

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub mod aarch64;
mod activations;
#[cfg(target_arch = "arm")]
pub mod arm;
#[cfg(any(test, feature = "kernel-check"))]
#[doc(hidden)]
pub mod check;
pub mod integer;
mod native;
#[cfg(demask_kernels = "rvv")]
pub mod riscv_vector;
pub mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub mod wasm;
#[cfg(target_arch = "x86_64")]
pub mod x86_64;

use crate::cache::KvHead;
use crate::packed::{Layout, PackedMatrix};
use scalar::NotFinite;

pub use activations::{Activations, ActivationsMut};
pub use native::{NATIVE, Native};
pub use scalar::Scalar;

/// The inner loops of the engine for one instruction set.
///
/// Implementations are zero-sized tokens: having one shows that the processor can run it.
pub trait Kernels: Copy + Send + Sync {
    /// Name for logs and benchmarks.
    const NAME: &'static str;

    /// The packing that [`matmul`](Kernels::matmul) reads.
    const LAYOUT: Layout;

    /// Whether every other packing can be read as well.
    const READS_ANY_LAYOUT: bool = false;

    /// Whether [`WeightFormat::Q4K`](crate::packed::WeightFormat::Q4K) can be read. Kernels of
    /// microcontrollers cannot.
    const READS_Q4K: bool = true;

    /// Whether [`WeightFormat::Q5`](crate::packed::WeightFormat::Q5) can be read.
    const READS_Q5: bool = false;

    /// Quantizes `x` (`[cols]`) as row `row` of `into`, group by group: `scale = amax / 127`,
    /// `q = round_ties_even(x * (127 / amax))`, zero and scale zero if `amax` is below
    /// [`ACTIVATION_FLOOR`](scalar::ACTIVATION_FLOOR). Columns beyond `x` are zero.
    ///
    /// A row that `into` does not have, or one longer than its groups, is not written or cut off.
    ///
    /// # Errors
    /// [`NotFinite`] if `x` holds a NaN or an infinity; the row is then unspecified.
    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite>;

    /// `out[t][n] = sum over groups of (scale_w * scale_a) * isum`, for every activation row `t` and
    /// every weight row `n`, by the numerics contract: exact integer sums inside a group, groups
    /// ascending, each of the three float operations rounded on its own. Where weights have a
    /// minimum, a term is `(step_w * scale_a) * isum - minimum_w * (scale_a * asum)`.
    ///
    /// `activations` are those of the same kernels, all rows quantized, for the weights' format.
    /// `out` is `[activations.rows(), weights.rows()]`. Sizes or formats that do not fit together
    /// leave `out` unspecified; they never read or write out of bounds.
    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]);

    /// Runs plain Rust `code` as if it were compiled for this instruction set: the row operations
    /// between the matrix products exist once, and the compiler makes vector code of them.
    ///
    /// What `code` calls takes part if it is inlined; mark it `#[inline(always)]`. The rest runs as
    /// the build target has it, slower and with the same result.
    #[inline(always)]
    fn vectorize<R>(self, code: impl FnOnce() -> R) -> R {
        code()
    }

    /// Exact dot product of two rows of equal length. Called inside [`vectorize`](Kernels::vectorize).
    #[inline(always)]
    fn dot(self, a: &[i8], b: &[i8]) -> i32 {
        scalar::dot(a, b)
    }

    /// [`scalar::exponentiate`]. Called inside [`vectorize`](Kernels::vectorize).
    #[inline(always)]
    fn exponentiate(self, scores: &mut [f32]) -> f32 {
        scalar::exponentiate(scores)
    }

    /// Attention scores of some queries (`[queries, dim]`) of one head over the first `visible`
    /// slots: `scores[q][slot] = (query_scale * key_scale) * dot(query, key)`, an exact dot product
    /// and two rounded multiplications. Called inside [`vectorize`](Kernels::vectorize).
    #[inline(always)]
    fn attention_scores(
        self,
        queries: &[i8],
        query_scales: &[f32],
        kv: KvHead<'_>,
        visible: usize,
        scores: &mut [f32],
    ) {
        scalar::attention_scores(self, queries, query_scales, kv, visible, scores);
    }

    /// Attention output of one head: for every row of `weights` (`[rows, visible]`),
    /// `out = inverse_sum * sum over slots of (weight * value_scale) * value`, slots ascending, every
    /// operation rounded on its own. `out` is the rows' memory from the head on, and the distance
    /// from row to row. Called inside [`vectorize`](Kernels::vectorize).
    #[inline(always)]
    fn attention_values(
        self,
        weights: &[f32],
        inverse_sums: &[f32],
        kv: KvHead<'_>,
        visible: usize,
        out: (&mut [f32], usize),
    ) {
        scalar::attention_values(weights, inverse_sums, kv, visible, out);
    }

    /// `gate = silu(gate) * up`. Called inside [`vectorize`](Kernels::vectorize).
    #[inline(always)]
    fn swiglu(self, gate: &mut [f32], up: &[f32]) {
        scalar::swiglu(gate, up);
    }

    /// [`scalar::rms_norm`]. Called inside [`vectorize`](Kernels::vectorize).
    ///
    /// # Errors
    /// [`NotFinite`] if the mean square is not finite.
    #[inline(always)]
    fn rms_norm(
        self,
        x: &[f32],
        weight: &[f32],
        eps: f32,
        out: &mut [f32],
    ) -> Result<(), NotFinite> {
        scalar::rms_norm(x, weight, eps, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_is_the_definition() {
        check::all(Scalar, check::Effort::Quick);
    }

    #[test]
    #[ignore = "takes a minute"]
    fn scalar_is_the_definition_at_all_sizes() {
        check::all(Scalar, check::Effort::Thorough);
    }
}
