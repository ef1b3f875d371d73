//! What the vector units of eight lanes share: half a block at a time, sums in the first-level cache.

use super::blocked::{Cell, Q4, Q5, Work};
use super::prepared::{Prepared, TILE};
use super::scales::{Factors, Scales, half};
use crate::packed::BLOCK_ROWS;
use core::arch::x86_64::*;

/// The sums of one row: the lower and the upper eight outputs of a block.
pub(super) type Sums = [[f32; 8]; 2];

/// What one of these vector units does with a group.
pub(super) trait Group<const STEPS: usize> {
    /// Adds what a cell contributes to the sums of as many rows. `scales` are those of which group.
    ///
    /// # Safety
    /// The processor must have the vector unit.
    unsafe fn add<S: Scales>(
        cell: &Cell<STEPS>,
        scales: (&S, usize),
        rows: &[Prepared],
        sums: &mut [Sums],
    );
}

/// Computes the outputs of a block.
///
/// # Safety
/// The processor must have the vector unit.
#[inline(always)] // so that it is compiled for the vector unit
pub(super) unsafe fn compute<G: Group<STEPS>, S: Scales, const STEPS: usize>(
    work: Work<'_, S, STEPS>,
) {
    let mut sums = [Sums::default(); TILE];
    let Some(sums) = sums.get_mut(..work.rows) else { return };
    for (cell, scales, rows) in work.groups() {
        // SAFETY: the caller vouches for the vector unit.
        unsafe { G::add(cell, scales, rows, sums) };
    }
    let out = work.out;
    for (sums, row) in sums.iter().zip(out.out.chunks_mut(out.columns.max(1))) {
        let sums: &[f32; BLOCK_ROWS] = bytemuck::cast_ref(sums);
        match row.first_chunk_mut() {
            Some(row) if out.width == BLOCK_ROWS => *row = *sums,
            _ => row.iter_mut().zip(sums).take(out.width).for_each(|(y, sum)| *y = *sum),
        }
    }
}

/// `sums += (step * scale) * integers`, less `minimum * scaled_sum` where there are minima, each
/// operation rounded.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add_term<S: Scales>(
    sums: &mut [f32; 8],
    factors: Factors<__m256>,
    x: &Prepared,
    integers: __m256,
) {
    let mut term = _mm256_mul_ps(_mm256_mul_ps(factors.step, _mm256_set1_ps(x.scale)), integers);
    if S::AFFINE {
        let minimum = _mm256_mul_ps(factors.minimum, _mm256_set1_ps(x.scaled_sum()));
        term = _mm256_sub_ps(term, minimum);
    }
    *sums = bytemuck::cast(_mm256_add_ps(bytemuck::cast(*sums), term));
}

/// The weights plus 8 of half a Q4 cell, by step.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn nibbles(cell: &Cell<Q4>, upper: bool) -> [__m256i; 8] {
    let mask = _mm256_set1_epi8(15);
    let bytes = half_steps(cell, upper);
    let [w0, w1, w2, w3] = bytes.map(|low| _mm256_and_si256(low, mask));
    let [w4, w5, w6, w7] = bytes.map(|b| _mm256_and_si256(_mm256_srli_epi16::<4>(b), mask));
    [w0, w1, w2, w3, w4, w5, w6, w7]
}

/// The weights plus 16 of half a Q5 cell, by step.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn five_bits(cell: &Cell<Q5>, upper: bool) -> [__m256i; 8] {
    let [low @ .., bits] = cell;
    let bits: &[[[u8; 4]; 2]; 8] = bytemuck::cast_ref(bits);
    let mut weights = nibbles(low, upper);
    // Each byte of bits eight times, then a bit in each byte.
    let spread =
        _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let bit = _mm256_set1_epi64x(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]));
    let sixteen = _mm256_set1_epi8(16);
    for (weights, bits) in weights.iter_mut().zip(bits) {
        let bytes = _mm256_set1_epi32(i32::from_le_bytes(*half(bits, upper)));
        let bytes = _mm256_and_si256(_mm256_shuffle_epi8(bytes, spread), bit);
        let is_set = _mm256_cmpeq_epi8(bytes, bit);
        *weights = _mm256_or_si256(*weights, _mm256_and_si256(is_set, sixteen));
    }
    weights
}

/// The bytes of half a cell, by step.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn half_steps<const STEPS: usize>(cell: &Cell<STEPS>, upper: bool) -> [__m256i; STEPS] {
    cell.each_ref().map(|step| load(half(step, upper)))
}

#[inline]
#[target_feature(enable = "avx")]
pub(super) fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: reads exactly the borrowed bytes; this load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline(always)]
pub(super) fn half_mut<T>([lower, higher]: &mut [T; 2], upper: bool) -> &mut T {
    if upper { higher } else { lower }
}
