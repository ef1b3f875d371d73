//! Cortex-M4F, M7 and M33: two 16-bit multiply-accumulates per instruction (`SMLAD`), and a float
//! unit.
//!
//! The loops are assembly: a tile of 3 activation rows and 2 outputs fits the registers only just.
//! Their arguments are checked here.

mod attention;

use crate::cache::KvHead;
use crate::kernels::scalar::{self, NotFinite, SOFTMAX_CUTOFF};
use crate::kernels::{Activations, ActivationsMut, Kernels};
use crate::math::{self, LANES};
use crate::packed::{BLOCK_ROWS, GROUP, Layout, PackedMatrix, WeightFormat, Width};
use core::arch::global_asm;
use core::slice;

// The compiler does not tell the assembler of the target's float unit, nor of the DSP extension that
// it does not know of itself on Armv8-M.
#[cfg(demask_armv8m)]
global_asm!(".cpu cortex-m33");
#[cfg(not(demask_armv8m))]
global_asm!(".fpu fpv4-sp-d16");
global_asm!(".syntax unified", ".thumb");
global_asm!(include_str!("dsp/matmul.s"), options(raw));
global_asm!(include_str!("dsp/quantize.s"), options(raw));
global_asm!(include_str!("dsp/rows.s"), options(raw));
global_asm!(include_str!("dsp/attention.s"), options(raw));

/// One tile of activation rows times the pairs of weight rows.
type Inner = unsafe extern "C" fn(weights: *const u8, tile: *const u32, out: *mut f32, work: &Work);

/// What [`Inner`] needs beside its three arrays.
#[repr(C)]
struct Work {
    pairs: usize,
    /// Bytes from one row of the outputs to the next.
    stride: usize,
    tile_end: *const u32,
}

// Documented where they are written.
unsafe extern "C" {
    fn demask_dsp_q4_1(weights: *const u8, tile: *const u32, out: *mut f32, work: &Work);
    fn demask_dsp_q4_2(weights: *const u8, tile: *const u32, out: *mut f32, work: &Work);
    fn demask_dsp_q4_3(weights: *const u8, tile: *const u32, out: *mut f32, work: &Work);
    fn demask_dsp_q8_1(weights: *const u8, tile: *const u32, out: *mut f32, work: &Work);
    fn demask_dsp_q8_2(weights: *const u8, tile: *const u32, out: *mut f32, work: &Work);
    fn demask_dsp_q8_3(weights: *const u8, tile: *const u32, out: *mut f32, work: &Work);
    fn demask_dsp_quantize(
        x: *const f32,
        to: *mut u32,
        groups: usize,
        stride: usize,
        q8: u32,
    ) -> u32;
    fn demask_dsp_dot(a: *const i8, b: *const i8, octets: usize, rest: usize) -> i32;
    fn demask_dsp_max(x: *const f32, octets: usize, start: f32) -> f32;
    fn demask_dsp_exp(
        x: *mut f32,
        octets: usize,
        constants: &[f32; 12],
        sums: &mut [f32; LANES],
        max: f32,
    );
    fn demask_dsp_sum_squares(x: *const f32, octets: usize, sums: &mut [f32; LANES]);
    fn demask_dsp_scale(x: *const f32, w: *const f32, out: *mut f32, octets: usize, factor: f32);
    safe fn demask_dsp_sqrt(x: f32) -> f32;
}

/// Words of one group of one activation row: the scale, and 32 values of 16 bits.
const GROUP_WORDS: usize = 1 + GROUP / 2;
/// Weight rows whose words alternate.
const PAIR: usize = 2;
/// Activation rows whose sums the registers hold.
const TILE: usize = 3;

/// The numbers that `demask_dsp_exp` computes with.
static EXP_CONSTANTS: [f32; 12] = {
    use math::{EXP_POLYNOMIAL, LN2_HIGH, LN2_LOW, LOG2_E, ROUND};
    let [c0, c1, c2, c3, c4, c5] = EXP_POLYNOMIAL;
    [LOG2_E, ROUND, LN2_HIGH, LN2_LOW, c0, c1, c2, c3, c4, c5, 1.0, SOFTMAX_CUTOFF]
};

/// Kernels for Cortex-M processors with the DSP extension and a single-precision float unit.
///
/// Weights must lie at a multiple of 4 bytes, as they do in every image; a product with others is
/// all NaN.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dsp(());

impl Dsp {
    /// Safe: every processor that the build target stands for has the instructions.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Kernels for Dsp {
    const NAME: &'static str = "dsp";

    const LAYOUT: Layout = Layout::Dsp;
    const READS_Q4K: bool = false;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        let (format, groups) = (into.format(), into.groups());
        let Some(tile) = Tile::of(row, into.rows()) else { return Ok(()) };
        let cell = tile.rows * GROUP_WORDS;
        let words = into.words().get_mut(tile.first * groups * GROUP_WORDS..);
        let words = words.and_then(|rest| rest.get_mut(..groups * cell)).unwrap_or_default();
        let (whole, rest) = x.get(..groups * GROUP).unwrap_or(x).as_chunks();
        let Some((words, mut padded_words)) = words.split_at_mut_checked(whole.len() * cell) else {
            return Ok(());
        };
        // SAFETY: there are so many words for these groups.
        unsafe { tile.quantize(whole, row, format, words)? };
        if padded_words.is_empty() {
            return Ok(());
        }
        let mut padded = [0.0; GROUP];
        copy(rest, &mut padded);
        while let Some((words, more)) = padded_words.split_at_mut_checked(cell) {
            // SAFETY: as above, for one group.
            unsafe { tile.quantize(slice::from_ref(&padded), row, format, words)? };
            (padded, padded_words) = ([0.0; GROUP], more);
        }
        Ok(())
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        let (format, groups, columns) = (weights.format(), weights.groups(), weights.rows());
        let (cells, _) = weights.planes();
        let aligned = cells.as_ptr().cast::<u32>().is_aligned();
        let same = activations.format() == format && activations.groups() == groups;
        let pair_bytes = groups * (format.cell_bytes() / BLOCK_ROWS * PAIR);
        let fits = cells.len() >= columns.div_ceil(PAIR) * pair_bytes;
        if weights.layout() != Layout::Dsp || groups == 0 || !(aligned && same && fits) {
            // Wrong results should not look like right ones.
            return out.fill(f32::NAN);
        }
        let product = Product { format, cells, pair_bytes, columns };
        let (mut tiles, mut out, mut left) = (activations.words(), out, activations.rows());
        while left > 0 {
            let rows = tile_rows(left);
            let (Some((tile, more_tiles)), Some((rows_out, more_out))) = (
                tiles.split_at_checked(rows * groups * GROUP_WORDS),
                rows.checked_mul(columns).and_then(|len| out.split_at_mut_checked(len)),
            ) else {
                return;
            };
            // SAFETY: `fits` and `aligned`; the tile has so many rows of as many groups, at least
            // one, and the outputs are the columns of as many rows.
            unsafe { product.tile(rows, tile, rows_out) };
            (tiles, out, left) = (more_tiles, more_out, left - rows);
        }
    }

    fn dot(self, a: &[i8], b: &[i8]) -> i32 {
        let len = a.len().min(b.len());
        // SAFETY: reads `len` bytes of each.
        unsafe { demask_dsp_dot(a.as_ptr(), b.as_ptr(), len / 8, len % 8) }
    }

    fn attention_scores(
        self,
        queries: &[i8],
        query_scales: &[f32],
        kv: KvHead<'_>,
        visible: usize,
        scores: &mut [f32],
    ) {
        if !attention::scores(queries, query_scales, kv, visible, scores) {
            scalar::attention_scores(self, queries, query_scales, kv, visible, scores);
        }
    }

    fn attention_values(
        self,
        weights: &[f32],
        inverse_sums: &[f32],
        kv: KvHead<'_>,
        visible: usize,
        out: (&mut [f32], usize),
    ) {
        attention::values(weights, inverse_sums, kv, visible, out);
    }

    fn exponentiate(self, scores: &mut [f32]) -> f32 {
        let (octets, rest) = scores.as_chunks_mut::<LANES>();
        // What is added to the rest gets weight zero.
        let mut last = [f32::NEG_INFINITY; LANES];
        copy(rest, &mut last);
        let max = max(octets, max(&[last], f32::NEG_INFINITY));
        let mut sums = [0.0; LANES];
        exp(octets, max, &mut sums);
        if !rest.is_empty() {
            exp(slice::from_mut(&mut last), max, &mut sums);
            copy(&last, rest);
        }
        math::tree_sum(sums)
    }

    #[inline(always)] // called in one place
    fn rms_norm(
        self,
        x: &[f32],
        weight: &[f32],
        eps: f32,
        out: &mut [f32],
    ) -> Result<(), NotFinite> {
        let mean_square = sum_squares(x) / x.len().max(1) as f32;
        if !mean_square.is_finite() {
            return Err(NotFinite);
        }
        scale(x, weight, 1.0 / demask_dsp_sqrt(mean_square + eps), out);
        Ok(())
    }
}

/// Activation rows of the next tile, if `left` are left: threes, and two twos rather than a three
/// and a single row.
fn tile_rows(left: usize) -> usize {
    if left == 4 { 2 } else { left.min(TILE) }
}

/// Where a tile of activation rows starts, and how many there are.
struct Tile {
    first: usize,
    rows: usize,
}

impl Tile {
    /// The tile that row `row` of `rows` belongs to, as [`tile_rows`] divides them.
    fn of(row: usize, rows: usize) -> Option<Self> {
        let left = rows.checked_sub(row).filter(|&left| left > 0)?;
        let lane = match rows % TILE {
            1 if left <= 4 && rows > 1 => left % 2,
            _ => row % TILE,
        };
        Some(Self { first: row - lane, rows: tile_rows(left + lane) })
    }

    /// Quantizes groups of row `row` into `words`.
    ///
    /// # Safety
    /// `words` has [`GROUP_WORDS`] for every group and row of the tile, which `row` is in.
    unsafe fn quantize(
        &self,
        x: &[[f32; GROUP]],
        row: usize,
        format: WeightFormat,
        words: &mut [u32],
    ) -> Result<(), NotFinite> {
        if x.is_empty() {
            return Ok(());
        }
        let stride = self.rows * size_of::<u32>();
        let q8 = u32::from(format.width() == Width::Byte);
        // SAFETY: reads `x`; writes one of every `rows` words, from one of the first on.
        let not_finite = unsafe {
            let to = words.as_mut_ptr().add(row - self.first);
            demask_dsp_quantize(x.as_ptr().cast(), to, x.len(), stride, q8)
        };
        if not_finite == 0 { Ok(()) } else { Err(NotFinite) }
    }
}

/// A matrix to multiply tiles with.
struct Product<'a> {
    format: WeightFormat,
    /// `[pairs of columns, pair_bytes]`
    cells: &'a [u8],
    pair_bytes: usize,
    columns: usize,
}

impl Product<'_> {
    /// `out` (`[rows, columns]`) `=` the rows of a tile times the matrix.
    ///
    /// # Safety
    /// `cells` are aligned to words, hold all pairs and one group at least; `tile` has `rows` rows,
    /// 1 to [`TILE`], of as many groups; `out` has `rows * columns` elements.
    #[inline(never)] // else the loop over tiles stands in flash twice, for even and odd columns
    unsafe fn tile(&self, rows: usize, tile: &[u32], out: &mut [f32]) {
        let inner: Inner = match (self.format.width(), rows) {
            (Width::Nibble, 1) => demask_dsp_q4_1,
            (Width::Nibble, 2) => demask_dsp_q4_2,
            (Width::Nibble, _) => demask_dsp_q4_3,
            (Width::Byte, 1) => demask_dsp_q8_1,
            (Width::Byte, 2) => demask_dsp_q8_2,
            (Width::Byte, _) => demask_dsp_q8_3,
        };
        let (pairs, odd) = (self.columns / PAIR, self.columns % PAIR);
        let tile_end = tile.as_ptr_range().end;
        if pairs > 0 {
            let work = Work { pairs, stride: self.columns * size_of::<f32>(), tile_end };
            // SAFETY: reads `pairs` pairs and the tile, and writes two columns for every pair.
            unsafe { inner(self.cells.as_ptr(), tile.as_ptr(), out.as_mut_ptr(), &work) };
        }
        if odd > 0 {
            // The other row of the last pair is padding and has no column.
            let mut both = [[0.0; PAIR]; TILE];
            let work = Work { pairs: 1, stride: size_of::<[f32; PAIR]>(), tile_end };
            let last = self.cells.as_ptr().wrapping_add(pairs * self.pair_bytes);
            // SAFETY: as above, for the last pair and an `out` of two columns.
            unsafe { inner(last, tile.as_ptr(), both.as_mut_ptr().cast(), &work) };
            let column = out.iter_mut().skip(self.columns - 1).step_by(self.columns);
            for (y, [last, _]) in column.zip(both) {
                *y = last;
            }
        }
    }
}

/// Copies as much of `from` as `to` has room for.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    let len = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..len), to.get_mut(..len)) {
        to.copy_from_slice(from);
    }
}

/// The largest of `start` and all values.
fn max(octets: &[[f32; LANES]], start: f32) -> f32 {
    if octets.is_empty() {
        return start;
    }
    // SAFETY: reads the octets.
    unsafe { demask_dsp_max(octets.as_ptr().cast(), octets.len(), start) }
}

/// `x = e^(x - max)`, zero below the cutoff; adds the results to `sums`.
fn exp(octets: &mut [[f32; LANES]], max: f32, sums: &mut [f32; LANES]) {
    if !octets.is_empty() {
        let x = octets.as_mut_ptr().cast();
        // SAFETY: reads and writes the octets.
        unsafe { demask_dsp_exp(x, octets.len(), &EXP_CONSTANTS, sums, max) };
    }
}

#[inline(always)]
fn sum_squares(x: &[f32]) -> f32 {
    let (octets, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    if !octets.is_empty() {
        // SAFETY: reads the octets.
        unsafe { demask_dsp_sum_squares(octets.as_ptr().cast(), octets.len(), &mut sums) };
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += x * x;
    }
    math::tree_sum(sums)
}

/// `out = (x * factor) * weight`, for slices of equal length.
#[inline(always)]
fn scale(x: &[f32], weight: &[f32], factor: f32, out: &mut [f32]) {
    let (x, x_rest) = x.as_chunks::<LANES>();
    let (weight, weight_rest) = weight.as_chunks::<LANES>();
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    let octets = x.len().min(weight.len()).min(out.len());
    if octets > 0 {
        // SAFETY: no slice has fewer octets.
        unsafe {
            let (x, weight, out) = (x.as_ptr(), weight.as_ptr(), out.as_mut_ptr());
            demask_dsp_scale(x.cast(), weight.cast(), out.cast(), octets, factor);
        }
    }
    for ((y, x), w) in out_rest.iter_mut().zip(x_rest).zip(weight_rest) {
        *y = (x * factor) * w;
    }
}
