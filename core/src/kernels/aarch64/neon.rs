//! Advanced SIMD as every 64-bit Arm processor has it.

use super::quantize::quantize_row;
use super::rows;
use super::rows4::Rows4;
use super::tiles::{Family, matmul};
use crate::kernels::scalar::NotFinite;
use crate::kernels::{Activations, ActivationsMut, Kernels};
use crate::packed::{Layout, PackedMatrix};

type Cells = Rows4<0>;

/// Kernels for any 64-bit Arm processor, such as Cortex-A53 and A72.
#[derive(Debug, Clone, Copy, Default)]
pub struct Neon(());

impl Neon {
    /// The build target has Advanced SIMD.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Kernels for Neon {
    const NAME: &'static str = "neon";
    const LAYOUT: Layout = Cells::LAYOUT;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        // SAFETY: the build target has Advanced SIMD.
        unsafe { quantize_row::<Cells>(x, row, into) }
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        // SAFETY: as above; nothing more is needed.
        unsafe { matmul::<Cells>(weights, activations, out) };
    }
    #[inline(always)]
    fn dot(self, a: &[i8], b: &[i8]) -> i32 {
        // SAFETY: as above.
        unsafe { rows::dot(a, b) }
    }

    #[inline(always)]
    fn exponentiate(self, scores: &mut [f32]) -> f32 {
        // SAFETY: the build target has Advanced SIMD.
        unsafe { rows::exponentiate(scores) }
    }
}
