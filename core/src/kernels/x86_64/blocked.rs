//! The loops around the inner loops, the same for all vector units.

use super::prepared::{Prepared, TILE};
use crate::kernels::Activations;
use crate::packed::{BLOCK_ROWS, PackedMatrix};

/// The integers of a cell: 64 bytes per step, the lower and the upper eight outputs apart.
pub(super) type Cell<const STEPS: usize> = [[[u8; 32]; 2]; STEPS];
/// The scales of a cell, `f16`, the lower and the upper eight outputs apart.
pub(super) type Scales = [[u8; 16]; 2];
/// Sums of the sixteen outputs of a block.
pub(super) type Sums = [[f32; 8]; 2];

/// Steps of a Q4 cell.
pub(super) const Q4: usize = 4;
/// Steps of a Q8 cell.
pub(super) const Q8: usize = 8;

/// Groups in work at once: their activations stay in the first-level cache.
const CHUNK: usize = 32;

/// One block of outputs, some groups of it, and the prepared activations of those groups.
pub(super) struct Work<'a, const STEPS: usize> {
    pub(super) cells: &'a [Cell<STEPS>],
    pub(super) scales: &'a [Scales],
    /// `[cells, rows]`
    pub(super) tile: &'a [Prepared],
    pub(super) rows: usize,
    /// Room for the sums of all rows, for units with too few registers.
    pub(super) sums: &'a mut [Sums],
    pub(super) outputs: Outputs<'a>,
}

/// Where the outputs of a block go.
pub(super) struct Outputs<'a> {
    /// `[rows, columns]`
    out: &'a mut [f32],
    columns: usize,
    first_column: usize,
    /// No earlier groups have left their sums here.
    fresh: bool,
}

impl Outputs<'_> {
    /// The sums of row `row` so far, if there are any.
    #[inline(always)]
    pub(super) fn sums(&mut self, row: usize) -> Option<&[f32]> {
        (!self.fresh).then(|| &*self.row(row))
    }

    /// The outputs of row `row`: sixteen, or fewer in the last block.
    #[inline(always)]
    pub(super) fn row(&mut self, row: usize) -> &mut [f32] {
        let width = (self.columns - self.first_column).min(BLOCK_ROWS);
        let out = self.out.get_mut(row * self.columns + self.first_column..).unwrap_or_default();
        out.get_mut(..width).unwrap_or_default()
    }
}

/// The inner loop of one vector unit for one format.
pub(super) trait Block<const STEPS: usize> {
    /// What the inner loop adds to every weight, to make it unsigned.
    const BIAS: i32;
    /// Whether the inner loop keeps its integer sums in pairs of `i16`: the first two and the last
    /// two of every four inputs apart.
    const PAIRS: bool;

    /// Adds what the cells contribute to the outputs.
    ///
    /// # Safety
    /// The processor must have the vector unit.
    unsafe fn add(work: Work<'_, STEPS>);
}

/// [`Kernels::matmul`](crate::kernels::Kernels::matmul) with the inner loop `B`.
///
/// # Safety
/// The processor must have the vector unit of `B`, and AVX2.
pub(super) unsafe fn matmul<B: Block<STEPS>, const STEPS: usize>(
    weights: &PackedMatrix<'_>,
    activations: &Activations<'_>,
    out: &mut [f32],
) {
    let (groups, columns) = (weights.groups().max(1), weights.rows());
    let (cells, scales) = weights.planes();
    let cells: &[Cell<STEPS>] = cells.as_chunks().0.as_chunks().0.as_chunks().0;
    let scales: &[Scales] = scales.as_chunks().0.as_chunks().0;
    let prepared: &[Prepared] = bytemuck::cast_slice(activations.words());
    if groups != activations.groups() {
        return;
    }
    let mut sums = [Sums::default(); TILE];
    for first_row in (0..activations.rows()).step_by(TILE) {
        let rows = TILE.min(activations.rows() - first_row);
        let tile = prepared.get(first_row * groups..).unwrap_or_default();
        let Some(out) = out.get_mut(first_row * columns..) else { return };
        let Some(sums) = sums.get_mut(..rows) else { return };
        for first_group in (0..groups).step_by(CHUNK) {
            let part = first_group..groups.min(first_group + CHUNK);
            let Some(tile) = tile.get(part.start * rows..part.end * rows) else { return };
            let blocks = cells.chunks_exact(groups).zip(scales.chunks_exact(groups));
            for (first_column, (cells, scales)) in (0..columns).step_by(BLOCK_ROWS).zip(blocks) {
                let cells = cells.get(part.clone()).unwrap_or_default();
                let scales = scales.get(part.clone()).unwrap_or_default();
                let fresh = first_group == 0;
                let outputs = Outputs { out, columns, first_column, fresh };
                // SAFETY: the caller vouches for the vector unit.
                unsafe { B::add(Work { cells, scales, tile, rows, sums, outputs }) };
            }
        }
    }
}

/// The mask of the first `count` of sixteen lanes.
pub(super) fn first_lanes(count: usize) -> u16 {
    if count < BLOCK_ROWS { (1 << count) - 1 } else { u16::MAX }
}
