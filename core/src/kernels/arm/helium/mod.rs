//! Helium, the vector unit of Cortex-M55 and M85 (M-profile vector extension with floats).
//!
//! There are no intrinsics, so the loops are naked functions in assembly. They say `.cpu cortex-m55`
//! themselves, since the build target alone does not include the extension.
//!
//! Vector operations flush subnormal numbers to zero. `docs/numerics.md` shows where that makes no
//! difference, and what is known about RMSNorm, where there is no proof.

mod four_tokens;
mod matmul;
mod one_token;
mod quantize;
mod rows;

use crate::kernels::scalar::NotFinite;
use crate::kernels::{Activations, ActivationsMut, Kernels};
use crate::packed::{Layout, PackedMatrix};

/// Kernels for Cortex-M55 and M85.
///
/// Before anything else the firmware must turn on the floating-point and vector unit (`CPACR`,
/// coprocessors 10 and 11), else the first vector instruction faults. It should turn on the loop
/// cache (`CCR.LOB`): without it loops are right, but each iteration pays for a branch. Rounding and
/// alignment checking stay as they are at reset.
#[derive(Debug, Clone, Copy, Default)]
pub struct Helium(());

impl Helium {
    /// The build is for a processor with Helium: the cargo feature of that name says so.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Kernels for Helium {
    const NAME: &'static str = "helium";

    const LAYOUT: Layout = Layout::Helium;
    const READS_Q4K: bool = false;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        quantize::quantize_row(x, row, into)
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        matmul::matmul(weights, activations, out);
    }

    #[inline(always)]
    fn dot(self, a: &[i8], b: &[i8]) -> i32 {
        rows::dot(a, b)
    }

    #[inline(always)]
    fn exponentiate(self, scores: &mut [f32]) -> f32 {
        rows::exponentiate(scores)
    }

    #[inline(always)]
    fn rms_norm(
        self,
        x: &[f32],
        weight: &[f32],
        eps: f32,
        out: &mut [f32],
    ) -> Result<(), NotFinite> {
        rows::rms_norm(x, weight, eps, out)
    }
}

/// Words of one group of one row: 32 values and their scale.
const GROUP_WORDS: usize = 9;

/// Activation rows that the main loop multiplies at once.
const TILE: usize = 4;

/// The first row of the tile that `row` of `rows` belongs to, and the number of rows in that tile.
///
/// Rows are kept as `[tiles, groups, words of the tile]`; what is left of the last four rows makes
/// tiles of one. The words of a tile and group: inputs 0 to 15 of each row, inputs 16 to 31 of each
/// row, the scale of each row.
const fn tile_of(row: usize, rows: usize) -> (usize, usize) {
    let first = row - row % TILE;
    if rows - first >= TILE { (first, TILE) } else { (row, 1) }
}
