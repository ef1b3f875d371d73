//! Processors without a float unit, in integer arithmetic: Cortex-M0+, Cortex-M3, RV32.
//!
//! - One 32-bit multiplication does two multiply-accumulates: see `inner.rs`.
//! - The three float operations per output and group are done on unpacked mantissas and exponents,
//!   each rounded to nearest even as the definition asks, a few times faster than by calls of the
//!   compiler's float routines: see `float.rs`.
//!
//! Everything exists in portable Rust, so that a host can test it. Where the build target is one of
//! these processors, assembly takes the place of the inner functions.
#![allow(unsafe_code)]

mod exp;
mod float;
#[cfg_attr(demask_kernels = "thumb1", path = "thumb1.rs")]
#[cfg_attr(demask_kernels = "thumb2", path = "thumb2.rs")]
#[cfg_attr(
    all(target_arch = "riscv32", target_feature = "m", not(target_abi = "ilp32e")),
    path = "riscv.rs"
)]
mod inner;
mod quantize;

use super::scalar::NotFinite;
use super::{Activations, ActivationsMut, Kernels};
use crate::cache::KvHead;
use crate::packed::{GROUP, Layout, PackedMatrix, Width};
use crate::pieces::pieces;
use float::{Sum, WeightScale};
use half::f16;

/// Activation rows of a tile; rows that do not fill one are tiles of their own.
const TILE: usize = 4;

/// Words of one group of one activation row: scale, start value, and 16 pairs of values.
///
/// A tile of `n` rows is kept group by group: `n` scales (mantissa, exponent), `n` start values,
/// then 16 times a pair of values of each row. In each run of eight inputs, pair `j` holds input `j`
/// in the upper half-word and input `j + 4` in the lower (as a sum: a negative lower value
/// borrows from the upper).
const BLOCK: usize = 2 + 1 + PAIRS;
const PAIRS: usize = GROUP / 2;

/// Weight words of one row and group that one call of a dot product takes: 32 nibbles.
const PLANE: usize = GROUP / 8;

/// Words of a cell: two scales in one word, then those of the first row, then those of the second.
const Q4_CELL: usize = 1 + 2 * PLANE;
const Q8_CELL: usize = 1 + 4 * PLANE;

/// Integer sums of two weight rows and the rows of a tile.
type Integers = [[i32; TILE]; 2];
/// Their sums over all groups, multiplied with the scales.
type Sums = [[Sum; TILE]; 2];

/// Kernels in integer arithmetic: Cortex-M0, M0+, M23 and M3, and RV32 without float unit. Right
/// everywhere else, too, and slow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Integer(());

impl Integer {
    /// What the build target has is all they need.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Kernels for Integer {
    const NAME: &'static str = "integer";
    const LAYOUT: Layout = Layout::Words;
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
        let (groups, columns) = (weights.groups(), weights.rows());
        let fits = weights.layout() == Self::LAYOUT
            && weights.format() == activations.format()
            && groups == activations.groups();
        let (rows, mut words) = (activations.rows(), activations.words());
        if !fits || rows.checked_mul(columns).is_none_or(|outputs| out.len() < outputs) {
            return;
        }
        let (mut out, mut left) = (out, rows);
        while left > 0 {
            let width = if left < TILE { 1 } else { TILE };
            let (Some((tile, more_words)), Some((outputs, more_out))) = (
                words.split_at_checked(width * groups * BLOCK),
                core::mem::take(&mut out).split_at_mut_checked(width * columns),
            ) else {
                return;
            };
            multiply_tile(weights, &Tile { words: tile, width }, outputs);
            (words, out, left) = (more_words, more_out, left - width);
        }
    }

    #[inline(always)]
    fn attention_values(
        self,
        weights: &[f32],
        inverse_sums: &[f32],
        kv: KvHead<'_>,
        visible: usize,
        out: (&mut [f32], usize),
    ) {
        attention_values(weights, inverse_sums, kv, visible, out);
    }

    #[inline(always)]
    fn swiglu(self, gate: &mut [f32], up: &[f32]) {
        exp::swiglu(gate, up);
    }

    #[inline(always)]
    fn exponentiate(self, scores: &mut [f32]) -> f32 {
        exp::exponentiate(scores)
    }
}

/// [`Kernels::attention_values`], row by row: there are no registers to share a value in.
fn attention_values(
    weights: &[f32],
    inverse_sums: &[f32],
    kv: KvHead<'_>,
    visible: usize,
    (out, stride): (&mut [f32], usize),
) {
    let rows = pieces(weights, visible).zip(inverse_sums);
    for ((weights, inverse_sum), out) in rows.zip(out.chunks_mut(stride.max(1))) {
        let out = out.get_mut(..kv.dim()).unwrap_or_default();
        out.fill(0.0);
        for (weight, (values, value_scale)) in weights.iter().zip(kv.values()) {
            float::add_scaled(out, weight * value_scale, values);
        }
        for y in out {
            *y *= inverse_sum;
        }
    }
}

/// The quantized activations of [`TILE`] rows or of one.
struct Tile<'a> {
    words: &'a [u32],
    width: usize,
}

impl<'a> Tile<'a> {
    fn blocks(&self) -> impl Iterator<Item = &'a [u32]> {
        pieces(self.words, self.width * BLOCK)
    }

    /// Whether a sum may become infinite, which only the real float operations get right.
    fn is_large(&self) -> bool {
        self.blocks().any(|block| {
            let scales = block.get(..2 * self.width).unwrap_or_default().as_chunks().0;
            scales.iter().any(|&[_, exponent]| exponent as i32 > float::LARGEST_EXPONENT)
        })
    }
}

/// Multiplies all weight rows with one tile; `out` is `[rows of the tile, weight rows]`.
fn multiply_tile(weights: &PackedMatrix<'_>, tile: &Tile<'_>, out: &mut [f32]) {
    let (groups, columns) = (weights.groups(), weights.rows());
    let cell_words = match weights.format().width() {
        Width::Nibble => Q4_CELL,
        Width::Byte => Q8_CELL,
    };
    let is_large = tile.is_large();
    let pairs = pieces(weights.planes().0, groups * cell_words * 4);
    for (column, cells) in (0..columns).step_by(2).zip(pairs) {
        let mut sums = [[Sum::ZERO; TILE]; 2];
        if let Ok(cells) = bytemuck::try_cast_slice(cells) {
            add_cells(cells, cell_words, tile, is_large, &mut sums);
        } else {
            add_unaligned_cells(cells, cell_words, tile, is_large, &mut sums);
        }
        for (row, sums) in sums.iter().enumerate() {
            for (out, sum) in out.chunks_exact_mut(columns.max(1)).zip(sums) {
                if let Some(y) = out.get_mut(column + row) {
                    *y = sum.output(is_large);
                }
            }
        }
    }
}

/// [`add_cells`] for words that do not lie as the processor needs them.
#[cold]
fn add_unaligned_cells(
    cells: &[u8],
    cell_words: usize,
    tile: &Tile<'_>,
    is_large: bool,
    sums: &mut Sums,
) {
    for (cell, words) in pieces(cells, cell_words * 4).zip(tile.blocks()) {
        let mut copy = [0; Q8_CELL];
        for (word, bytes) in copy.iter_mut().zip(cell.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let cell = copy.get(..cell_words).unwrap_or_default();
        add_cells(cell, cell_words, &Tile { words, width: tile.width }, is_large, sums);
    }
}

/// Adds the products of the cells of two weight rows with the blocks of a tile.
fn add_cells(cells: &[u32], cell_words: usize, tile: &Tile<'_>, is_large: bool, sums: &mut Sums) {
    let width = tile.width;
    let row_words = cell_words / 2;
    let mut integers = Integers::default();
    for (cell, block) in pieces(cells, cell_words).zip(tile.blocks()) {
        // SAFETY: a cell has the scales in its first word and `row_words` for each of two rows; a
        // block has `width` scales, and then as many start values and sixteen times as many values.
        // `width` is 1 or `TILE`, and there is room for `TILE` sums.
        unsafe {
            let (first, values) = (cell.as_ptr().add(1), block.as_ptr().add(2 * width));
            let dot = if width == TILE { inner::dot4 } else { inner::dot1 };
            dot(first, first.add(row_words), values, &mut integers);
            if row_words > PLANE {
                let (first, mut lower) = (first.add(PLANE), Integers::default());
                dot(first, first.add(row_words), values, &mut lower);
                add_lower_digits(&mut integers, &lower, block.get(2 * width..).unwrap_or_default());
            }
            let scales = *cell.as_ptr();
            let [first, second] = &integers;
            let [first_sums, second_sums] = &mut *sums;
            add_terms(scales as u16, first, block, width, is_large, first_sums);
            add_terms((scales >> 16) as u16, second, block, width, is_large, second_sums);
        }
    }
}

/// Adds the products of one weight row and group, whose scale is `scale`.
///
/// # Safety
/// `block` starts with `width` scales, and `width` is at most `TILE`.
#[inline(always)]
unsafe fn add_terms(
    scale: u16,
    integers: &[i32; TILE],
    block: &[u32],
    width: usize,
    is_large: bool,
    sums: &mut [Sum; TILE],
) {
    let Some(scale) = WeightScale::new(f16::from_bits(scale)) else { return };
    if is_large {
        let scales = block.get(..2 * width).unwrap_or_default().as_chunks().0;
        float::add_large_terms(integers, scales, sums, &scale);
    } else {
        let (integers, scales) = (integers.as_ptr(), block.as_ptr().cast());
        // SAFETY: there are `TILE` integers and sums, and `width` scales.
        unsafe { inner::add_terms(integers, scales, sums.as_mut_ptr(), &scale, width) };
    }
}

/// Puts the sums of both digits of 8-bit weights together; `starts` are the tile's start values.
#[inline(always)]
fn add_lower_digits(upper: &mut Integers, lower: &Integers, starts: &[u32]) {
    // weight = 16 (upper - 8) + (lower - 8) + 8, and a start value is -8 times the sum of all values,
    // in its upper half-word.
    for (upper, lower) in upper.iter_mut().zip(lower) {
        for ((upper, lower), &start) in upper.iter_mut().zip(lower).zip(starts) {
            *upper = (*upper << 4) + lower - (start as i32 >> 16);
        }
    }
}

#[cfg(test)]
mod tests;
