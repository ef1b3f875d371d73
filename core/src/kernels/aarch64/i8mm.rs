//! Advanced SIMD with matrix products of bytes.

use super::quantize::quantize_row;
use super::rows;
use super::rows4x8::Rows4x8;
use super::tiles::{Family, matmul};
use crate::kernels::scalar::NotFinite;
use crate::kernels::{Activations, ActivationsMut, Kernels};
use crate::packed::{Layout, PackedMatrix};

/// Kernels for processors with `SMMLA` (`FEAT_I8MM`) and `SDOT`, such as Cortex-A510 and X2,
/// Neoverse V1 and Apple's M2.
#[derive(Debug, Clone, Copy)]
pub struct I8mm(());

impl I8mm {
    /// The build target has the instructions.
    #[cfg(all(target_feature = "i8mm", target_feature = "dotprod"))]
    #[must_use]
    #[allow(clippy::new_without_default)] // its existence depends on the target
    pub const fn new() -> Self {
        Self(())
    }

    /// The proof that the processor has `FEAT_I8MM` and `FEAT_DotProd`.
    ///
    /// # Safety
    /// It must have them.
    #[must_use]
    pub const unsafe fn new_unchecked() -> Self {
        Self(())
    }
}

impl Kernels for I8mm {
    const NAME: &'static str = "i8mm";
    const LAYOUT: Layout = Rows4x8::LAYOUT;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        // SAFETY: every such processor has Advanced SIMD.
        unsafe { quantize_row::<Rows4x8>(x, row, into) }
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        // SAFETY: who made the token vouched for the instructions.
        unsafe { matmul::<Rows4x8>(weights, activations, out) };
    }

    #[inline(always)]
    fn vectorize<R>(self, code: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "dotprod,i8mm")]
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
