//! WebAssembly with 128-bit vectors.
//!
//! Each lane of a float register computes one output and does exactly what
//! [`Scalar`](super::Scalar) does. A module with vector instructions does not load where they are
//! missing, so that the build target itself is the proof that they are there.
//!
//! Products are made and first added in `i16` lanes. On x86-64 that is as fast as the instruction
//! that multiplies and adds pairs (Q4) or a little slower (Q8), and on AArch64, which has no such
//! instruction, much faster: engines turn the two operations into one.
#![allow(unsafe_code)]

use super::scalar::{self, ACTIVATION_FLOOR, NotFinite};
use super::{Activations, ActivationsMut, Kernels};
use crate::packed::{BLOCK_ROWS, GROUP, Layout, PackedMatrix, WeightFormat, Width};
use bytemuck::{Pod, Zeroable};
use core::arch::wasm32::*;

/// Kernels for WebAssembly built with `-C target-feature=+simd128`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Simd128(());

impl Simd128 {
    /// The build target has the instructions.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Kernels for Simd128 {
    const NAME: &'static str = "simd128";
    const LAYOUT: Layout = Layout::Rows16;
    const READS_Q4K: bool = false;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        let (groups, bias) = (into.groups(), bias(into.format()));
        let all = bytemuck::try_cast_slice_mut::<_, Group>(into.words()).unwrap_or_default();
        let slots = all.get_mut(row * groups..).and_then(|rest| rest.get_mut(..groups));
        let mut slots = slots.unwrap_or_default().iter_mut();
        let (whole, rest) = x.as_chunks();
        for (x, slot) in whole.iter().zip(&mut slots) {
            *slot = quantize(x, bias)?;
        }
        let mut padded = [0.0; GROUP];
        padded.iter_mut().zip(rest).for_each(|(to, x)| *to = *x);
        for slot in slots {
            *slot = quantize(&padded, bias)?;
            padded = [0.0; GROUP];
        }
        Ok(())
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        match weights.format().width() {
            Width::Nibble => matmul::<Q4>(weights, activations, out),
            Width::Byte => matmul::<Q8>(weights, activations, out),
        }
    }

    #[inline(always)]
    fn dot(self, a: &[i8], b: &[i8]) -> i32 {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
        let mut sums = i32x4_splat(0);
        for (a, b) in a.iter().zip(b) {
            let (a, b) = (load(bytemuck::cast_ref(a)), load(bytemuck::cast_ref(b)));
            let low = i32x4_dot_i16x8(i16x8_extend_low_i8x16(a), i16x8_extend_low_i8x16(b));
            let high = i32x4_dot_i16x8(i16x8_extend_high_i8x16(a), i16x8_extend_high_i8x16(b));
            sums = i32x4_add(sums, i32x4_add(low, high));
        }
        sums = i32x4_add(sums, i32x4_shuffle::<2, 3, 0, 1>(sums, sums));
        sums = i32x4_add(sums, i32x4_shuffle::<1, 0, 3, 2>(sums, sums));
        i32x4_extract_lane::<0>(sums) + scalar::dot(a_rest, b_rest)
    }
}

/// Steps of 4 inputs in the bytes of a Q4 cell, with as many more in the upper nibbles, and of a Q8
/// cell.
const Q4: usize = 4;
const Q8: usize = 8;

/// Vectors of 4 outputs in a block.
const QUADS: usize = BLOCK_ROWS / 4;
/// Activation rows that share unpacked weights. With two vectors of outputs their sums fill half of
/// sixteen registers.
const ROWS: usize = 4;

/// The weights of a cell: by step and vector, 4 inputs of 4 outputs.
type Cell<const STEPS: usize> = [[[u8; 16]; QUADS]; STEPS];
/// The scales of a cell, `f16`.
type Scales = [[u8; 8]; QUADS];

/// What unpacking adds to every weight.
const fn bias(format: WeightFormat) -> i16 {
    match format.width() {
        Width::Nibble => 8,
        Width::Byte => 0,
    }
}

/// One group of one activation row.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Group {
    /// The values in pairs, as shifts unpack the weights: of every four, the first and the third,
    /// then the second and the fourth.
    values: [[i8; 8]; GROUP / 8],
    scale: f32,
    /// What the sums of the pairs' first and second values start from, an `i16` each: takes back
    /// the bias of the weights.
    start: i32,
}

/// [`scalar::quantize`] of a whole group.
#[inline(always)]
fn quantize(x: &[f32; GROUP], bias: i16) -> Result<Group, NotFinite> {
    let mut vectors = [f32x4_splat(0.0); GROUP / 4];
    let mut largest = i32x4_splat(0);
    for (vector, x) in vectors.iter_mut().zip(x.as_chunks::<4>().0) {
        *vector = load(bytemuck::cast_ref(x));
        // Bit patterns order like magnitudes once the sign is off, and NaN comes last.
        largest = u32x4_max(largest, v128_and(*vector, u32x4_splat(0x7fff_ffff)));
    }
    largest = u32x4_max(largest, i32x4_shuffle::<2, 3, 0, 1>(largest, largest));
    largest = u32x4_max(largest, i32x4_shuffle::<1, 0, 3, 2>(largest, largest));
    let max = f32x4_extract_lane::<0>(largest);
    if !max.is_finite() {
        return Err(NotFinite);
    }
    if max < ACTIVATION_FLOOR {
        return Ok(Group::zeroed());
    }
    let inverse = f32x4_splat(127.0 / max);
    for vector in &mut vectors {
        *vector = round_ties_even(f32x4_mul(*vector, inverse));
    }
    let [a, b, c, d, e, f, g, h] = vectors;
    let low = i8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d));
    let high = i8x16_narrow_i16x8(i16x8_narrow_i32x4(e, f), i16x8_narrow_i32x4(g, h));
    let (low, high) = (to_pairs(low), to_pairs(high));
    // The first values of all pairs are in the even lanes; 16 * 127 * 8 fits an `i16`.
    let sums = i16x8_add(
        i16x8_add(i16x8_extend_low_i8x16(low), i16x8_extend_high_i8x16(low)),
        i16x8_add(i16x8_extend_low_i8x16(high), i16x8_extend_high_i8x16(high)),
    );
    let sums = i16x8_add(sums, i32x4_shuffle::<2, 3, 0, 1>(sums, sums));
    let sums = i16x8_add(sums, i32x4_shuffle::<1, 0, 3, 2>(sums, sums));
    let start = i32x4_extract_lane::<0>(i16x8_mul(sums, i16x8_splat(-bias)));
    let halves = |x| [i64x2_extract_lane::<0>(x), i64x2_extract_lane::<1>(x)];
    let values = bytemuck::cast([halves(low), halves(high)]);
    Ok(Group { values, scale: max / 127.0, start })
}

/// [`math::round_ties_even`](crate::math::round_ties_even).
#[inline(always)]
fn round_ties_even(x: v128) -> v128 {
    let round = f32x4_splat(12_582_912.0);
    i32x4_sub(f32x4_add(x, round), round)
}

/// Puts the third of every four bytes before the second.
#[inline(always)]
fn to_pairs(x: v128) -> v128 {
    i8x16_shuffle::<0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15>(x, x)
}

/// [`Kernels::matmul`] for one format.
fn matmul<const STEPS: usize>(
    weights: &PackedMatrix<'_>,
    activations: &Activations<'_>,
    out: &mut [f32],
) {
    let (groups, columns) = (weights.groups().max(1), weights.rows().max(1));
    let (cells, scales) = weights.planes();
    let cells: &[Cell<STEPS>] = cells.as_chunks().0.as_chunks().0.as_chunks().0;
    let scales: &[Scales] = scales.as_chunks().0.as_chunks().0;
    if groups != activations.groups() {
        return;
    }
    let x: &[Group] = bytemuck::try_cast_slice(activations.words()).unwrap_or_default();
    let blocks = cells.chunks_exact(groups).zip(scales.chunks_exact(groups));
    let (tile, out_tile) = ((ROWS * groups).max(1), (ROWS * columns).max(1));
    // All rows before the next block: its weights stay in the first-level cache.
    for (first_column, (cells, scales)) in (0..columns).step_by(BLOCK_ROWS).zip(blocks) {
        let block = Block { cells, scales, columns, first_column };
        for (x, out) in x.chunks(tile).zip(out.chunks_mut(out_tile)) {
            match x.len() / groups {
                1 => block.multiply::<1, 4>(x, out),
                2 => block.multiply::<2, 2>(x, out),
                3 => block.multiply::<3, 2>(x, out),
                _ => block.multiply::<ROWS, 2>(x, out),
            }
        }
    }
}

/// Sixteen outputs.
struct Block<'a, const STEPS: usize> {
    cells: &'a [Cell<STEPS>],
    scales: &'a [Scales],
    columns: usize,
    first_column: usize,
}

impl<const STEPS: usize> Block<'_, STEPS> {
    /// The products with `ROWS` activation rows (`[rows, cells]`), the integers of `PASS` vectors of
    /// outputs at a time.
    #[inline(never)]
    fn multiply<const ROWS: usize, const PASS: usize>(&self, x: &[Group], out: &mut [f32]) {
        let mut sums = [[f32x4_splat(0.0); QUADS]; ROWS];
        let mut rows: [&[Group]; ROWS] = [&[]; ROWS];
        for (row, x) in rows.iter_mut().zip(x.chunks_exact(self.cells.len().max(1))) {
            *row = x;
        }
        for (at, (cell, scales)) in self.cells.iter().zip(self.scales).enumerate() {
            let mut groups = [const { &Group { values: [[0; 8]; 4], scale: 0.0, start: 0 } }; ROWS];
            for (group, row) in groups.iter_mut().zip(rows) {
                let Some(x) = row.get(at) else { return };
                *group = x;
            }
            for first in (0..QUADS).step_by(PASS) {
                let integers = integers::<_, _, PASS>(cell, first, &groups);
                for (quad, scales) in scales.iter().enumerate().skip(first).take(PASS) {
                    let weight_scales = widen(scales);
                    for ((sums, integers), x) in sums.iter_mut().zip(&integers).zip(groups) {
                        let integers = integers.get(quad - first);
                        let (Some(sum), Some(integers)) = (sums.get_mut(quad), integers) else {
                            return;
                        };
                        let scales = f32x4_mul(weight_scales, f32x4_splat(x.scale));
                        let integers = match STEPS {
                            Q4 => i32x4_extadd_pairwise_i16x8(*integers),
                            _ => *integers,
                        };
                        let term = f32x4_mul(scales, f32x4_convert_i32x4(integers));
                        *sum = f32x4_add(*sum, term);
                    }
                }
            }
        }
        for (row, sums) in out.chunks_mut(self.columns.max(1)).zip(&sums) {
            store(row.get_mut(self.first_column..).unwrap_or_default(), sums);
        }
    }
}

/// The exact dot products of `PASS` vectors of outputs, from vector `first` on, with `ROWS`
/// activation groups.
#[inline(always)]
fn integers<const STEPS: usize, const ROWS: usize, const PASS: usize>(
    cell: &Cell<STEPS>,
    first: usize,
    groups: &[&Group; ROWS],
) -> [[v128; PASS]; ROWS] {
    let mut sums = [[i32x4_splat(0); PASS]; ROWS];
    for (sums, x) in sums.iter_mut().zip(groups) {
        *sums = [i32x4_splat(x.start); PASS];
    }
    for quarter in 0..4 {
        let mut values = [i32x4_splat(0); ROWS];
        for (values, x) in values.iter_mut().zip(groups) {
            let Some(bytes) = x.values.get(quarter) else { return sums };
            // SAFETY: reads exactly the borrowed 8 bytes; this load needs no alignment.
            *values = unsafe { i16x8_load_extend_i8x8(bytes.as_ptr()) };
        }
        for half in 0..2 {
            let mut weights = [[i32x4_splat(0); 2]; PASS];
            for (quad, weights) in (first..).zip(&mut weights) {
                *weights = unpack(cell, 2 * quarter + half, quad);
            }
            for (sums, &x) in sums.iter_mut().zip(&values) {
                let pairs = match half {
                    0 => [splat::<0>(x), splat::<1>(x)],
                    _ => [splat::<2>(x), splat::<3>(x)],
                };
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = add_products::<STEPS>(*sum, weights, pairs);
                }
            }
        }
    }
    sums
}

/// Adds the products of two times two inputs of four outputs.
///
/// - Q4: in `i16`, first and second inputs apart. A nibble is at most 15, so that 16 products fit:
///   16 * 15 * 127 = 30,480. With the start value they may wrap; the result, at most 16 * 8 * 127,
///   is in range again.
/// - Q8: in `i32`. Only two products fit an `i16`: 2 * 127 * 127 = 32,258.
#[inline(always)]
fn add_products<const STEPS: usize>(sum: v128, weights: [v128; 2], pairs: [v128; 2]) -> v128 {
    let ([w0, w1], [x0, x1]) = (weights, pairs);
    if STEPS == Q4 {
        i16x8_add(i16x8_add(sum, i16x8_mul(w0, x0)), i16x8_mul(w1, x1))
    } else {
        let products = i16x8_add(i16x8_mul(w0, x0), i16x8_mul(w1, x1));
        i32x4_add(sum, i32x4_extadd_pairwise_i16x8(products))
    }
}

/// Four inputs of four outputs, with their bias: the pairs of first and third, and of second and
/// fourth.
#[inline(always)]
fn unpack<const STEPS: usize>(cell: &Cell<STEPS>, step: usize, quad: usize) -> [v128; 2] {
    let Some(bytes) = cell.get(step % STEPS).and_then(|step| step.get(quad)) else {
        return [i32x4_splat(0); 2];
    };
    let (bytes, mask) = (load(bytes), i16x8_splat(15));
    if STEPS == Q8 {
        [i16x8_shr(i16x8_shl(bytes, 8), 8), i16x8_shr(bytes, 8)]
    } else if step < STEPS {
        [v128_and(bytes, mask), v128_and(u16x8_shr(bytes, 8), mask)]
    } else {
        [v128_and(u16x8_shr(bytes, 4), mask), u16x8_shr(bytes, 12)]
    }
}

/// Pair `PAIR` in every lane.
#[inline(always)]
fn splat<const PAIR: usize>(x: v128) -> v128 {
    i32x4_shuffle::<PAIR, PAIR, PAIR, PAIR>(x, x)
}

/// Four finite `f16` to `f32`; exact.
#[inline(always)]
fn widen(scales: &[u8; 8]) -> v128 {
    // Moving the bits into place leaves the exponent too small by the difference of the biases,
    // for subnormal numbers too.
    const EXPONENT: f32 = f32::from_bits((127 + (127 - 15)) << 23);
    // SAFETY: reads exactly the borrowed 8 bytes; this load needs no alignment.
    let bits = unsafe { i32x4_load_extend_u16x4(scales.as_ptr().cast()) };
    let magnitude = i32x4_shl(v128_and(bits, i32x4_splat(0x7fff)), 13);
    let sign = i32x4_shl(v128_and(bits, i32x4_splat(0x8000)), 16);
    v128_or(f32x4_mul(magnitude, f32x4_splat(EXPONENT)), sign)
}

/// Stores as many of sixteen outputs as there is room for.
#[inline(always)]
fn store(row: &mut [f32], sums: &[v128; QUADS]) {
    let mut columns = [[0.0; 4]; QUADS];
    for (columns, &sum) in columns.iter_mut().zip(sums) {
        *columns = [
            f32x4_extract_lane::<0>(sum),
            f32x4_extract_lane::<1>(sum),
            f32x4_extract_lane::<2>(sum),
            f32x4_extract_lane::<3>(sum),
        ];
    }
    let columns: [f32; BLOCK_ROWS] = bytemuck::cast(columns);
    match row.first_chunk_mut() {
        Some(row) => *row = columns,
        None => row.iter_mut().zip(columns).for_each(|(y, sum)| *y = sum),
    }
}

/// Loads 16 bytes.
#[inline(always)]
fn load(bytes: &[u8; 16]) -> v128 {
    // SAFETY: reads exactly the borrowed bytes; this load needs no alignment.
    unsafe { v128_load(bytes.as_ptr().cast()) }
}
