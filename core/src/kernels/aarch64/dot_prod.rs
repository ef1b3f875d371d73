//! Advanced SIMD with dot products of bytes.

use super::quantize::quantize_row;
use super::rows;
use super::rows4::Rows4;
use super::tiles::{Family, matmul};
use crate::kernels::scalar::NotFinite;
use crate::kernels::{Activations, ActivationsMut, Kernels};
use crate::packed::{Layout, PackedMatrix};

type Cells = Rows4<1>;

/// Kernels for processors with `SDOT` (`FEAT_DotProd`), such as Cortex-A55 and A76.
#[derive(Debug, Clone, Copy)]
pub struct DotProd(());

impl DotProd {
    /// The build target has the instructions.
    #[cfg(target_feature = "dotprod")]
    #[must_use]
    #[allow(clippy::new_without_default)] // its existence depends on the target
    pub const fn new() -> Self {
        Self(())
    }

    /// The proof that the processor has `FEAT_DotProd`.
    ///
    /// # Safety
    /// It must have it.
    #[must_use]
    pub const unsafe fn new_unchecked() -> Self {
        Self(())
    }
}

impl Kernels for DotProd {
    const NAME: &'static str = "dotprod";
    const LAYOUT: Layout = Cells::LAYOUT;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        // SAFETY: every such processor has Advanced SIMD.
        unsafe { quantize_row::<Cells>(x, row, into) }
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        // SAFETY: who made the token vouched for the instructions.
        unsafe { matmul::<Cells>(weights, activations, out) };
    }

    #[inline(always)]
    fn vectorize<R>(self, code: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "dotprod")]
        fn vectorized<R>(code: impl FnOnce() -> R) -> R {
            code()
        }
        // SAFETY: who made the token vouched for the instructions.
        unsafe { vectorized(code) }
    }
    #[inline(always)]
    fn dot(self, a: &[i8], b: &[i8]) -> i32 {
        // SAFETY: who made the token vouched for the instructions.
        unsafe { rows::dot_with_sdot(a, b) }
    }

    #[inline(always)]
    fn exponentiate(self, scores: &mut [f32]) -> f32 {
        // SAFETY: every such processor has Advanced SIMD.
        unsafe { rows::exponentiate(scores) }
    }
}
