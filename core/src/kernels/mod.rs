//! Arithmetic for one instruction set: the only place where speed and target meet.
//!
//! [`scalar`] is the norm. Every other implementation must give the same bits.

#[cfg(any(test, feature = "kernel-check"))]
#[doc(hidden)]
pub mod check;
pub mod scalar;
#[cfg(target_arch = "x86_64")]
pub mod x86_64;

use crate::packed::{GROUP, PackedMatrix};

pub use scalar::Scalar;

/// The inner loops of the engine for one instruction set.
///
/// Implementations are zero-sized tokens: having one shows that the processor can run it.
pub trait Kernels: Copy + Send + Sync {
    /// Name for logs and benchmarks.
    const NAME: &'static str;

    /// `out[t][n] = sum over groups of (scale_w * scale_a) * isum`, for every activation row `t` and
    /// every weight row `n`, by the numerics contract: exact integer sums inside a group, groups
    /// ascending, each of the three float operations rounded on its own.
    ///
    /// `out` is `[activations.rows(), weights.rows()]`. Sizes that do not fit together leave `out`
    /// unspecified; they never read or write out of bounds.
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
}

/// Quantized activations `[rows, cols]`: `i8` with one `f32` scale per row and group of 32.
#[derive(Debug, Clone, Copy)]
pub struct Activations<'a> {
    groups: usize,
    values: &'a [i8],
    scales: &'a [f32],
}

impl<'a> Activations<'a> {
    /// Views `values` (`[rows, groups * 32]`) and `scales` (`[rows, groups]`).
    #[must_use]
    pub fn new(groups: usize, values: &'a [i8], scales: &'a [f32]) -> Self {
        Self { groups, values, scales }
    }

    /// Groups of 32 columns.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.scales.len() / self.groups.max(1)
    }

    /// The groups of one row: 32 values each, and their scales.
    #[inline]
    #[must_use]
    pub fn row(&self, row: usize) -> Option<(&'a [[i8; GROUP]], &'a [f32])> {
        let first = row.checked_mul(self.groups)?;
        let values = self.values.as_chunks::<GROUP>().0.get(first..)?.get(..self.groups)?;
        Some((values, self.scales.get(first..)?.get(..self.groups)?))
    }

    /// Group `group` of every row: 32 values and their scale.
    #[inline]
    pub fn group(&self, group: usize) -> impl Iterator<Item = (&'a [i8; GROUP], f32)> {
        let values = self.values.as_chunks::<GROUP>().0;
        let stride = self.groups.max(1);
        let values = values.get(group..).unwrap_or_default().iter().step_by(stride);
        let scales = self.scales.get(group..).unwrap_or_default().iter().step_by(stride);
        values.zip(scales.copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_is_the_definition() {
        check::all(Scalar);
    }
}
