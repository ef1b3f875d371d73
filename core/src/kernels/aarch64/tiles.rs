//! The loops around the inner loops: tiles of activation rows by slabs of outputs.

use crate::kernels::Activations;
use crate::packed::{BLOCK_ROWS, Layout, PackedMatrix, WeightFormat};
use core::ops::Range;

/// Most activation rows of a tile: their sums, the weights of a cell and the work in hand fill the
/// registers.
pub(super) const TILE: usize = 12;

/// Words of 32 activations.
pub(super) const VALUE_WORDS: usize = 8;

/// Bytes of weights that are used for all tiles before the next ones: they stay in the second-level
/// cache, so that weights come from memory once.
const SLAB_BYTES: usize = 64 << 10;

/// Consecutive activation rows that an inner loop multiplies at once.
///
/// Their words are all scales, `[groups, rows, scale words]`, then all values,
/// `[groups, rows, VALUE_WORDS]`; the tiles follow each other. For weights with minima, each group's
/// scales are followed by the scaled sums of its values, `scale * sum`, in the same form. Where rows are
/// paired, the scale of each row is there twice, and two rows take turns with runs of 8 values; a last
/// row without a partner is a tile of its own.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) first: usize,
    pub(super) rows: usize,
}

impl Tile {
    /// The tile of activation row `row` out of `rows`.
    #[inline(always)]
    pub(super) fn of<F: Family>(row: usize, rows: usize) -> Self {
        let paired = if F::PAIRED { rows & !1 } else { rows };
        if row >= paired {
            return Self { first: row, rows: 1 };
        }
        let first = row / TILE * TILE;
        Self { first, rows: TILE.min(paired - first) }
    }

    /// Its words.
    #[inline(always)]
    pub(super) fn words<F: Family>(self, format: WeightFormat, groups: usize) -> Range<usize> {
        let words = groups * (scale_words::<F>(format) + VALUE_WORDS);
        self.first * words..(self.first + self.rows) * words
    }

    /// How many of its words are scales and scaled sums.
    #[inline(always)]
    pub(super) fn scales<F: Family>(self, format: WeightFormat, groups: usize) -> usize {
        self.rows * groups * scale_words::<F>(format)
    }
}

/// Copies of the scale, and of the scaled sum, of one row and group.
#[inline(always)]
pub(super) const fn copies<F: Family>() -> usize {
    if F::PAIRED { 2 } else { 1 }
}

/// Words of the scale and the scaled sum of one row and group.
#[inline(always)]
pub(super) const fn scale_words<F: Family>(format: WeightFormat) -> usize {
    if format.is_affine() { 2 * copies::<F>() } else { copies::<F>() }
}

/// What an inner loop works on.
pub(super) struct Work {
    /// Cells `[outputs / 4, groups]`.
    pub(super) weights: *const u8,
    /// Bytes of the cells of 4 outputs.
    pub(super) cells_bytes: usize,
    /// Of weights with minima: the first units of the block's first output, and the first byte of its
    /// scales.
    pub(super) units: *const u8,
    pub(super) bytes: *const u8,
    /// The words of a tile, and its values among them.
    pub(super) scales: *const u32,
    pub(super) values: *const u32,
    /// The tile's rows in the columns of the blocks.
    pub(super) out: *mut f32,
    /// From one row of `out` to the next.
    pub(super) row_bytes: usize,
    /// Blocks of [`outputs_of`] outputs; not zero, and 1 if the weights have minima.
    pub(super) blocks: usize,
    /// Not zero.
    pub(super) groups: usize,
}

/// Multiplies the rows of one tile by the weights of some blocks.
///
/// # Safety
/// The pointers must be valid for all that [`Work`] says lies there, and the processor must have the
/// instructions.
pub(super) type InnerLoop = unsafe fn(&Work);

/// Outputs of a block in the inner loop for `rows` rows. With a single row the activations are
/// loaded for four cells at once.
const fn outputs_of(rows: usize) -> usize {
    if rows == 1 { BLOCK_ROWS } else { 4 }
}

/// How one set of instructions takes its activations.
///
/// # Safety
/// The inner loops must read and write what [`Work`] says and no more.
pub(super) unsafe trait Family {
    const LAYOUT: Layout;

    /// Whether rows are taken two by two.
    const PAIRED: bool;

    /// The inner loop for a tile of `rows` rows.
    fn inner_loop(format: WeightFormat, rows: usize) -> Option<InnerLoop>;
}

/// [`Kernels::matmul`](crate::kernels::Kernels::matmul).
///
/// # Safety
/// The processor must have the instructions of the family.
pub(super) unsafe fn matmul<'w, F: Family>(
    weights: &PackedMatrix<'w>,
    activations: &Activations<'_>,
    out: &mut [f32],
) {
    let (groups, columns, rows) = (weights.groups(), weights.rows(), activations.rows());
    let fits = rows.checked_mul(columns).is_some_and(|outputs| out.len() >= outputs);
    let same = weights.layout() == F::LAYOUT && activations.groups() == groups;
    if !fits || !same || columns == 0 {
        return;
    }
    if groups == 0 {
        out.fill(0.0);
        return;
    }
    let format = weights.format();
    let (weight_bytes, scale_bytes) = weights.layout().block_bytes(format, groups);
    let slab = (SLAB_BYTES / weight_bytes.max(1)).max(1) * BLOCK_ROWS;
    for first_column in (0..columns).step_by(slab) {
        let width = slab.min(columns - first_column);
        let part = |plane: &'w [u8], bytes: usize| {
            let start = first_column / BLOCK_ROWS * bytes;
            plane.get(start..start + width.div_ceil(BLOCK_ROWS) * bytes)
        };
        let (cells, scales) = weights.planes();
        let (Some(cells), Some(scales)) = (part(cells, weight_bytes), part(scales, scale_bytes))
        else {
            return;
        };
        let slab = Slab { cells, scales, weight_bytes, scale_bytes, columns, width };
        let mut row = 0;
        while row < rows {
            let tile = Tile::of::<F>(row, rows);
            let words = activations.words().get(tile.words::<F>(format, groups));
            let inner_loop = F::inner_loop(format, tile.rows);
            let rest = out.get_mut(tile.first * columns + first_column..);
            let (Some(words), Some(inner_loop), Some(out)) = (words, inner_loop, rest) else {
                return;
            };
            let values = tile.scales::<F>(format, groups);
            let part = Part { slab: &slab, words, values, groups, affine: format.is_affine() };
            // SAFETY: the caller vouches for the instructions. The slab holds the cells and scales of
            // `width` outputs, rounded up to 16, the words are the tile's, and `out` has all rows.
            unsafe { part.multiply(inner_loop, tile.rows, out) };
            row = tile.first + tile.rows;
        }
    }
}

/// Some blocks of 16 outputs.
struct Slab<'a> {
    cells: &'a [u8],
    /// If they are kept apart.
    scales: &'a [u8],
    /// Of a block.
    weight_bytes: usize,
    scale_bytes: usize,
    /// Outputs of the matrix and of the slab.
    columns: usize,
    width: usize,
}

/// One tile and one slab.
struct Part<'a> {
    slab: &'a Slab<'a>,
    /// Of the tile.
    words: &'a [u32],
    /// Where its values start.
    values: usize,
    groups: usize,
    /// Whether the weights have minima.
    affine: bool,
}

impl Part<'_> {
    /// Fills `width` columns of `rows` rows.
    ///
    /// # Safety
    /// The lengths must fit together, and the processor must have the instructions.
    unsafe fn multiply(&self, inner_loop: InnerLoop, rows: usize, out: &mut [f32]) {
        let Slab { columns, width, .. } = *self.slab;
        let outputs = outputs_of(rows);
        let (blocks, rest) = (width / outputs, width % outputs);
        if self.affine {
            for block in 0..blocks {
                let out = out.as_mut_ptr().wrapping_add(block * outputs);
                // SAFETY: as the caller promises.
                unsafe { inner_loop(&self.work(block * outputs, 1, out, columns)) };
            }
        } else if blocks > 0 {
            // SAFETY: as the caller promises.
            unsafe { inner_loop(&self.work(0, blocks, out.as_mut_ptr(), columns)) };
        }
        if rest > 0 {
            // The inner loop computes whole blocks: what is beyond the last column goes nowhere.
            let mut last = [0.0; 4 * TILE];
            // SAFETY: the weights are padded with rows of zeros; `last` has room for the block of
            // any tile.
            unsafe { inner_loop(&self.work(blocks * outputs, 1, last.as_mut_ptr(), outputs)) };
            for (row, last) in last.chunks_exact(outputs).take(rows).enumerate() {
                let columns = out.get_mut(row * columns + blocks * outputs..);
                for (y, sum) in columns.unwrap_or_default().iter_mut().zip(last).take(rest) {
                    *y = *sum;
                }
            }
        }
    }

    /// From output `first` of the slab on; `out` has rows of `columns`.
    fn work(&self, first: usize, blocks: usize, out: *mut f32, columns: usize) -> Work {
        let slab = self.slab;
        let cells_bytes = slab.weight_bytes / (BLOCK_ROWS / 4);
        let (block, row) = (first / BLOCK_ROWS, first % BLOCK_ROWS);
        let scales = slab.scales.as_ptr().wrapping_add(block * slab.scale_bytes);
        Work {
            weights: slab.cells.as_ptr().wrapping_add(first / 4 * cells_bytes),
            cells_bytes,
            units: scales.wrapping_add(2 * row),
            bytes: scales.wrapping_add(4 * BLOCK_ROWS + row),
            scales: self.words.as_ptr(),
            values: self.words.as_ptr().wrapping_add(self.values),
            out,
            row_bytes: columns * size_of::<f32>(),
            blocks,
            groups: self.groups,
        }
    }
}
