//! Matrix products.
//!
//! `VMLADAV` sums the products of sixteen pairs of bytes into an even core register, of which there
//! are eight: two rows of weights times four tokens, or eight rows times one token. For the float
//! part the sums of four tokens, or of four rows, make a vector, so that each lane is one output.
//!
//! Nibbles are used as 16 times the weight; the conversion to float divides by 16, which is exact.

use super::four_tokens::{CHUNK, Fours, multiply_fours};
use super::one_token::{One, ROWS, multiply_one};
use super::{GROUP_WORDS, TILE};
use crate::kernels::Activations;
use crate::packed::{Layout, PackedMatrix, Width};

/// What differs between the weight formats.
struct Loops {
    /// Bytes of one group of two rows: their scales and weights.
    cell_bytes: usize,
    four_tokens: unsafe extern "C" fn(&Fours),
    one_token: unsafe extern "C" fn(&One),
}

const Q4: Loops = Loops {
    cell_bytes: cell_bytes(0),
    four_tokens: multiply_fours::<0>,
    one_token: multiply_one::<0>,
};

const Q8: Loops = Loops {
    cell_bytes: cell_bytes(1),
    four_tokens: multiply_fours::<1>,
    one_token: multiply_one::<1>,
};

/// Bytes of one group of two rows; `q8` is 1 for that format and 0 for Q4.
pub(super) const fn cell_bytes(q8: usize) -> usize {
    4 + 32 * (1 + q8)
}

/// [`Kernels::matmul`](crate::kernels::Kernels::matmul).
pub(super) fn matmul(weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
    let (rows, columns, groups) = (activations.rows(), weights.rows(), weights.groups());
    let Some(out) = rows.checked_mul(columns).and_then(|len| out.get_mut(..len)) else { return };
    if groups == 0 {
        return out.fill(0.0);
    }
    let loops = match weights.format().width() {
        Width::Nibble => &Q4,
        Width::Byte => &Q8,
    };
    let pair_bytes = groups * loops.cell_bytes;
    // Rows of weights are padded to a multiple of 16.
    let (cells, _) = weights.planes();
    if out.is_empty()
        || weights.layout() != Layout::Helium
        || cells.len() < columns.div_ceil(ROWS) * (ROWS / 2) * pair_bytes
        || activations.groups() != groups
        || activations.words().len() < rows * groups * GROUP_WORDS
    {
        return;
    }
    let words = activations.words().as_ptr();
    let whole = rows - rows % TILE;
    // SAFETY: checked above: `cells` has whole blocks of eight rows for all columns, `words` and
    // `out` have `rows` rows. The build target has Helium.
    unsafe {
        if whole > 0 {
            for first in (0..groups).step_by(CHUNK) {
                let fours = Fours {
                    weights: cells.as_ptr().add(first * loops.cell_bytes),
                    pair_bytes,
                    pairs: columns / 2,
                    activations: words.add(first * TILE * GROUP_WORDS),
                    groups: CHUNK.min(groups - first),
                    tile_bytes: groups * TILE * GROUP_WORDS * size_of::<u32>(),
                    tiles: whole / TILE,
                    out: out.as_mut_ptr(),
                    row_bytes: columns * size_of::<f32>(),
                    second: 0xffff,
                    go_on: usize::from(first > 0),
                };
                multiply_pairs(loops, fours, columns);
            }
        }
        for row in whole..rows {
            let one = One {
                weights: cells.as_ptr(),
                pair_bytes,
                blocks: columns / ROWS,
                activations: words.add(row * groups * GROUP_WORDS),
                groups,
                out: out.as_mut_ptr().add(row * columns),
            };
            multiply_blocks(loops, one, columns % ROWS);
        }
    }
}

/// Multiplies all pairs of rows. The last of an odd number of rows has a neighbour of padding, which
/// has no outputs.
///
/// # Safety
/// All that `work` describes must be readable, and its outputs writable, for `columns` rows; of the
/// counts only that of pairs may be zero.
unsafe fn multiply_pairs(loops: &Loops, mut work: Fours, columns: usize) {
    // SAFETY: as the caller vouches; the pair after the last is that of the odd row.
    unsafe {
        if work.pairs > 0 {
            (loops.four_tokens)(&work);
        }
        if columns % 2 == 1 {
            work.weights = work.weights.add(work.pairs * work.pair_bytes);
            work.out = work.out.add(columns - 1);
            work.pairs = 1;
            work.second = 0;
            (loops.four_tokens)(&work);
        }
    }
}

/// Multiplies all blocks of rows, and those of another block that have one of the `rest` outputs.
///
/// # Safety
/// All that `work` describes must be readable, and its outputs writable, also for the block that is
/// not whole; of the counts only that of blocks may be zero.
unsafe fn multiply_blocks(loops: &Loops, mut work: One, rest: usize) {
    // SAFETY: as the caller vouches; the last block's outputs take the way over a buffer.
    unsafe {
        if work.blocks > 0 {
            (loops.one_token)(&work);
        }
        if rest > 0 {
            let out = work.out.add(work.blocks * ROWS);
            let mut last = [0.0; ROWS];
            work.weights = work.weights.add(work.blocks * (ROWS / 2) * work.pair_bytes);
            work.out = last.as_mut_ptr();
            work.blocks = 1;
            (loops.one_token)(&work);
            out.copy_from_nonoverlapping(last.as_ptr(), rest);
        }
    }
}
