//! The loops around the inner loops, the same for all vector units.

use super::prepared::{Prepared, Start, TILE, WORDS};
use super::scales::{Affine, Plain, Scales};
use crate::kernels::Activations;
use crate::packed::{BLOCK_ROWS, PackedMatrix, WeightFormat};

/// The integers of a cell: 64 bytes per step, the lower and the upper eight outputs apart.
pub(super) type Cell<const STEPS: usize> = [[[u8; 32]; 2]; STEPS];

/// Steps of a Q4 or Q4K cell.
pub(super) const Q4: usize = 4;
/// Steps of a Q8 cell.
pub(super) const Q8: usize = 8;
/// Steps of a Q5 cell: those of a Q4 cell, and the fifth bits, 64 for each of eight steps.
pub(super) const Q5: usize = 5;

/// One block of outputs and one tile of activation rows. The lengths fit together; unsafe code
/// relies on it.
pub(super) struct Work<'a, S, const STEPS: usize> {
    /// `[groups]`
    pub(super) cells: &'a [Cell<STEPS>],
    /// `[groups / S::GROUPS]`
    pub(super) scales: &'a [S],
    /// `[groups, rows]`
    pub(super) tile: &'a [Prepared],
    /// 1 to [`TILE`].
    pub(super) rows: usize,
    pub(super) out: Outputs<'a>,
}

/// Where the outputs of a block go: `[rows, columns]`, of which `width` columns are the block's.
pub(super) struct Outputs<'a> {
    /// Starts with the block's first output of the first row; at least `(rows - 1) * columns +
    /// width` long.
    pub(super) out: &'a mut [f32],
    pub(super) columns: usize,
    /// 16, or fewer in the last block.
    pub(super) width: usize,
}

impl<S: Scales, const STEPS: usize> Work<'_, S, STEPS> {
    /// The cells, where their scales are and as which group, and the group's rows of the tile.
    #[inline(always)]
    pub(super) fn groups(
        &self,
    ) -> impl Iterator<Item = (&Cell<STEPS>, (&S, usize), &[Prepared])> + '_ {
        let cells = self.cells.iter().enumerate().zip(self.tile.chunks_exact(self.rows.max(1)));
        cells.map_while(|((group, cell), rows)| {
            Some((cell, (self.scales.get(group / S::GROUPS)?, group % S::GROUPS), rows))
        })
    }
}

/// The inner loops of one vector unit.
pub(super) trait Unit {
    /// What the sums of products with Q4 weights start from.
    const START_Q4: Start;
    /// What the sums of products with Q8 weights start from.
    const START_Q8: Start;

    /// Computes the outputs of a block of Q4 weights.
    ///
    /// # Safety
    /// The processor must have the vector unit.
    unsafe fn q4(work: Work<'_, Plain, Q4>);

    /// Computes the outputs of a block of Q8 weights.
    ///
    /// # Safety
    /// The processor must have the vector unit.
    unsafe fn q8(work: Work<'_, Plain, Q8>);

    /// Computes the outputs of a block of Q5 weights.
    ///
    /// # Safety
    /// The processor must have the vector unit.
    unsafe fn q5(work: Work<'_, Plain, Q5>);

    /// Computes the outputs of a block of Q4K weights.
    ///
    /// # Safety
    /// The processor must have the vector unit.
    unsafe fn q4k(work: Work<'_, Affine, Q4>);

    /// What [`Prepared::start`] is for products with weights of `format`.
    fn start(format: WeightFormat) -> Start {
        match format {
            WeightFormat::Q4 => Self::START_Q4,
            WeightFormat::Q8 => Self::START_Q8,
            WeightFormat::Q5 => Start::Magic(16),
            WeightFormat::Q4K => Start::ScaledSum,
        }
    }
}

/// [`Kernels::matmul`](crate::kernels::Kernels::matmul) with the inner loops of `U`.
///
/// # Safety
/// The processor must have the vector unit.
pub(super) unsafe fn matmul<U: Unit>(
    weights: &PackedMatrix<'_>,
    activations: &Activations<'_>,
    out: &mut [f32],
) {
    if activations.groups() == weights.groups() {
        let prepared = bytemuck::cast_slice(activations.words().as_chunks::<WORDS>().0);
        // SAFETY: the caller vouches for the vector unit.
        unsafe { matmul_prepared::<U>(weights, prepared, activations.rows(), out) }
    }
}

/// The product with `rows` rows that are prepared for as many groups as the weights have.
///
/// # Safety
/// The processor must have the vector unit.
pub(super) unsafe fn matmul_prepared<U: Unit>(
    weights: &PackedMatrix<'_>,
    prepared: &[Prepared],
    rows: usize,
    out: &mut [f32],
) {
    match weights.format() {
        // SAFETY: the caller vouches for the vector unit.
        WeightFormat::Q4 => each_block(weights, prepared, rows, out, |work| unsafe {
            U::q4(work);
        }),
        // SAFETY: as above.
        WeightFormat::Q8 => each_block(weights, prepared, rows, out, |work| unsafe {
            U::q8(work);
        }),
        // SAFETY: as above.
        WeightFormat::Q5 => each_block(weights, prepared, rows, out, |work| unsafe {
            U::q5(work);
        }),
        // SAFETY: as above.
        WeightFormat::Q4K => each_block(weights, prepared, rows, out, |work| unsafe {
            U::q4k(work);
        }),
    }
}

fn each_block<S: Scales, const STEPS: usize>(
    weights: &PackedMatrix<'_>,
    prepared: &[Prepared],
    rows: usize,
    out: &mut [f32],
    compute: impl Fn(Work<'_, S, STEPS>),
) {
    let (groups, columns) = (weights.groups().max(1), weights.rows());
    let (cells, scales) = weights.planes();
    let cells: &[Cell<STEPS>] = cells.as_chunks().0.as_chunks().0.as_chunks().0;
    let scales: &[S] = bytemuck::try_cast_slice(scales).unwrap_or_default();
    for first_row in (0..rows).step_by(TILE) {
        let rows = TILE.min(rows - first_row);
        let tile = prepared.get(first_row * groups..).and_then(|rest| rest.get(..rows * groups));
        let out = out.get_mut(first_row * columns..).and_then(|out| out.get_mut(..rows * columns));
        let (Some(tile), Some(out)) = (tile, out) else { return };
        let units = (groups / S::GROUPS).max(1);
        let blocks = cells.chunks_exact(groups).zip(scales.chunks_exact(units));
        for (first_column, (cells, scales)) in (0..columns).step_by(BLOCK_ROWS).zip(blocks) {
            let width = (columns - first_column).min(BLOCK_ROWS);
            let Some(out) = out.get_mut(first_column..) else { return };
            let out = Outputs { out, columns, width };
            compute(Work { cells, scales, tile, rows, out });
        }
    }
}
