//! Activations as the tile unit loads them.
//!
//! Rows are cut into tiles of sixteen and a shorter last one. A tile of `n` rows is kept as
//! `[groups][10 n]` words: `n` scales, `n` [scaled sums](Start::ScaledSum) (other starts are of no use
//! here), and `[n][8]` of values. Of a lower tile, what stands behind is read in place of the scales
//! and scaled sums that it lacks, for outputs that are not stored.

use super::unit::TURNS;
use crate::kernels::scalar::NotFinite;
use crate::kernels::x86_64::prepared::{Start, TILE, WORDS, padded_groups, quantize};

/// Rows of a tile register.
pub(super) const TILE_ROWS: usize = 16;
/// A last tile of fewer rows is not worth the tile unit.
const FEWEST: usize = 9;

/// Which rows the tile unit multiplies; the rest, mostly eight at most, is prepared as for AVX-512.
#[derive(Clone, Copy)]
pub(super) struct Split {
    /// Rows in full tiles.
    pub(super) full: usize,
    /// Rows in tiles.
    pub(super) tiled: usize,
    rows: usize,
}

impl Split {
    /// The tile unit multiplies groups in fours, so it does nothing for inputs that leave a rest.
    pub(super) fn new(rows: usize, groups: usize) -> Self {
        if !groups.is_multiple_of(TURNS) {
            return Self { full: 0, tiled: 0, rows };
        }
        let full = rows / TILE_ROWS * TILE_ROWS;
        let tiled = if rows - full < FEWEST { full } else { rows };
        Self { full, tiled, rows }
    }

    /// First row and number of rows of the tile that row `row`, below `rows`, belongs to.
    pub(super) fn tile_of(self, row: usize) -> (usize, usize) {
        let (behind, height) = match row < self.tiled {
            true => (0, TILE_ROWS),
            false => (self.tiled, TILE),
        };
        let first = behind + (row - behind) / height * height;
        (first, height.min(self.rows - first))
    }
}

/// Quantizes `x` as row `row` of the `height` rows of `tile`.
#[target_feature(enable = "avx2")]
pub(super) fn write_row(
    x: &[f32],
    start: Start,
    tile: &mut [u32],
    (row, height): (usize, usize),
    groups: usize,
) -> Result<(), NotFinite> {
    let cells = tile.chunks_exact_mut((height * WORDS).max(1));
    for (cell, x) in cells.zip(padded_groups(x, groups)) {
        let (values, scale) = quantize(&x)?;
        let Some((scales, rest)) = cell.split_at_mut_checked(height) else { break };
        let Some((sums, cell_values)) = rest.split_at_mut_checked(height) else { break };
        let values_there = cell_values.as_chunks_mut::<8>().0.get_mut(row);
        if let (Some(v), Some(s), Some(sum)) =
            (values_there, scales.get_mut(row), sums.get_mut(row))
        {
            let start = start.of(values, scale) as u32;
            (*v, *s, *sum) = (bytemuck::cast(values), scale.to_bits(), start);
        }
    }
    Ok(())
}

/// Tiles of equal height, for reading.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a> {
    /// `[count][groups][10 height]`
    words: &'a [u32],
    pub(super) count: usize,
    /// 9 to 16.
    pub(super) height: usize,
    pub(super) groups: usize,
}

impl<'a> Tiles<'a> {
    /// The tiles of `rows` rows: a multiple of sixteen, or 9 to 15.
    pub(super) fn new(words: &'a [u32], rows: usize, groups: usize) -> Self {
        let height = rows.min(TILE_ROWS);
        let available = words.len() / (height * groups * WORDS).max(1);
        Self { words, count: rows.div_ceil(TILE_ROWS).min(available), height, groups }
    }

    /// The scales of a group of a tile; sixteen can be read, and as many from `height` on, the
    /// scaled sums.
    ///
    /// # Safety
    /// There must be such a group of such a tile.
    #[inline(always)]
    pub(super) unsafe fn scales(&self, tile: usize, group: usize) -> *const f32 {
        let cell = tile * self.groups + group;
        // SAFETY: the caller vouches for the place, and `words` holds all of them.
        unsafe { self.words.as_ptr().add(cell * self.height * WORDS).cast() }
    }

    /// The values of a group of a tile.
    ///
    /// # Safety
    /// There must be such a group of such a tile.
    #[inline(always)]
    pub(super) unsafe fn values(&self, tile: usize, group: usize) -> *const u32 {
        // SAFETY: the caller vouches for the place; scales and sums come first.
        unsafe { self.scales(tile, group).add(2 * self.height).cast() }
    }
}
