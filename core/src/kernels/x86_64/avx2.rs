//! AVX2: eight outputs at a time.

use super::attention::{self, Queries};
use super::blocked::{Block, Cell, Q4, Q8, Sums, Work, matmul};
use super::prepared::{load, quantize_row};
use crate::cache::KvHead;
use crate::kernels::scalar::{self, NotFinite};
use crate::kernels::{Activations, ActivationsMut, Kernels};
use crate::packed::{BLOCK_ROWS, Layout, PackedMatrix, WeightFormat};
use core::arch::x86_64::*;

/// Kernels for processors with AVX2 and F16C: Intel's since 2013, AMD's since 2015.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// The proof that the processor has AVX2 and F16C.
    ///
    /// # Safety
    /// It must have them, and the operating system must have enabled them.
    #[must_use]
    pub const unsafe fn new_unchecked() -> Self {
        Self(())
    }
}

impl Kernels for Avx2 {
    const NAME: &'static str = "avx2";

    const LAYOUT: Layout = Layout::Rows16;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        // SAFETY: who made the token vouched for AVX2, which AVX-512 includes.
        unsafe {
            match into.format() {
                WeightFormat::Q4 => quantize_row::<Self, Q4>(x, row, into),
                WeightFormat::Q8 => quantize_row::<Self, Q8>(x, row, into),
            }
        }
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        // SAFETY: who made the token vouched for AVX2 and F16C.
        unsafe {
            match weights.format() {
                WeightFormat::Q4 => matmul::<Self, Q4>(weights, activations, out),
                WeightFormat::Q8 => matmul::<Self, Q8>(weights, activations, out),
            }
        }
    }

    #[inline(always)]
    fn attention_scores(
        self,
        queries: &[i8],
        query_scales: &[f32],
        kv: KvHead<'_>,
        visible: usize,
        scores: &mut [f32],
    ) {
        let tile = Queries { values: queries, scales: query_scales, dim: kv.dim() };
        // SAFETY: who made the token vouched for the vector unit.
        if !unsafe { attention::scores::<Self>(tile, kv, visible, scores) } {
            scalar::attention_scores(self, queries, query_scales, kv, visible, scores);
        }
    }

    #[inline(always)]
    fn vectorize<R>(self, code: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,f16c")]
        fn vectorized<R>(code: impl FnOnce() -> R) -> R {
            code()
        }
        // SAFETY: who made the token vouched for AVX2 and F16C.
        unsafe { vectorized(code) }
    }
}

/// The products of unsigned and signed bytes are added in pairs to `i16` by the multiplication.
/// Nibbles are at most 15, so that all eight steps fit into an `i16` before one widening addition:
/// 16 * 15 * 127 = 30,480. The start value, -8 * sum, is added first and may wrap; the result,
/// 16 inputs * 8 * 127 at most, is in range again.
impl Block<Q4> for Avx2 {
    const BIAS: i32 = 8;
    const PAIRS: bool = true;

    #[target_feature(enable = "avx2,f16c")]
    unsafe fn add(mut work: Work<'_, Q4>) {
        let ones = _mm256_set1_epi16(1);
        load_sums(&mut work);
        for upper in [false, true] {
            let tile = work.tile.chunks_exact(work.rows.max(1));
            for ((cell, scales), tile) in work.cells.iter().zip(work.scales).zip(tile) {
                let weights = nibbles(cell, upper);
                let scales = widen(half(scales, upper));
                for (x, sums) in tile.iter().zip(work.sums.iter_mut()) {
                    // Two chains: the additions wait for each other.
                    let mut even = _mm256_set1_epi32(x.start);
                    let mut odd = _mm256_setzero_si256();
                    let quads = x.values.as_chunks().0.iter();
                    for (&[w0, w1], &[x0, x1]) in weights.as_chunks().0.iter().zip(quads) {
                        let products = _mm256_maddubs_epi16(w0, _mm256_set1_epi32(x0));
                        even = _mm256_add_epi16(even, products);
                        let products = _mm256_maddubs_epi16(w1, _mm256_set1_epi32(x1));
                        odd = _mm256_add_epi16(odd, products);
                    }
                    let integers = _mm256_madd_epi16(_mm256_add_epi16(even, odd), ones);
                    add_term(half_mut(sums, upper), scales, x.scale, integers);
                }
            }
        }
        store_sums(&mut work);
    }
}

/// Bytes are too large to add two products in an `i16`, so that every step widens. The sign of the
/// weight moves to the activation, which makes the weight an unsigned magnitude without a bias.
impl Block<Q8> for Avx2 {
    const BIAS: i32 = 0;
    const PAIRS: bool = false;

    #[target_feature(enable = "avx2,f16c")]
    unsafe fn add(mut work: Work<'_, Q8>) {
        let ones = _mm256_set1_epi16(1);
        load_sums(&mut work);
        for upper in [false, true] {
            let tile = work.tile.chunks_exact(work.rows.max(1));
            for ((cell, scales), tile) in work.cells.iter().zip(work.scales).zip(tile) {
                let scales = widen(half(scales, upper));
                let mut magnitudes = [_mm256_setzero_si256(); Q8];
                for (magnitude, step) in magnitudes.iter_mut().zip(cell) {
                    *magnitude = _mm256_abs_epi8(load(half(step, upper)));
                }
                for (x, sums) in tile.iter().zip(work.sums.iter_mut()) {
                    let mut integers = _mm256_setzero_si256();
                    for ((magnitude, step), quad) in magnitudes.iter().zip(cell).zip(&x.values) {
                        let signs = load(half(step, upper));
                        let quad = _mm256_sign_epi8(_mm256_set1_epi32(*quad), signs);
                        let pairs = _mm256_maddubs_epi16(*magnitude, quad);
                        integers = _mm256_add_epi32(integers, _mm256_madd_epi16(pairs, ones));
                    }
                    add_term(half_mut(sums, upper), scales, x.scale, integers);
                }
            }
        }
        store_sums(&mut work);
    }
}

/// `sums += (weight_scales * scale) * integers`, each operation rounded.
#[inline]
#[target_feature(enable = "avx2")]
fn add_term(sums: &mut [f32; 8], weight_scales: __m256, scale: f32, integers: __m256i) {
    let scales = _mm256_mul_ps(weight_scales, _mm256_set1_ps(scale));
    let term = _mm256_mul_ps(scales, _mm256_cvtepi32_ps(integers));
    *sums = bytemuck::cast(_mm256_add_ps(bytemuck::cast(*sums), term));
}

/// Starts from the sums that earlier groups left, or from zeros.
#[inline]
#[target_feature(enable = "avx2")]
fn load_sums<const STEPS: usize>(work: &mut Work<'_, STEPS>) {
    for (row, sums) in work.sums.iter_mut().enumerate() {
        *sums = Sums::default();
        let Some(old) = work.outputs.sums(row) else { continue };
        let sums: &mut [f32; BLOCK_ROWS] = bytemuck::cast_mut(sums);
        match old.first_chunk() {
            Some(old) => *sums = *old,
            None => sums.iter_mut().zip(old).for_each(|(sum, old)| *sum = *old),
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_sums<const STEPS: usize>(work: &mut Work<'_, STEPS>) {
    for (row, sums) in work.sums.iter().enumerate() {
        let sums: &[f32; BLOCK_ROWS] = bytemuck::cast_ref(sums);
        let out = work.outputs.row(row);
        match out.first_chunk_mut() {
            Some(out) => *out = *sums,
            None => out.iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum),
        }
    }
}

/// The weights plus 8 of eight outputs, by step.
#[inline]
#[target_feature(enable = "avx2")]
fn nibbles(cell: &Cell<Q4>, upper: bool) -> [__m256i; 8] {
    let mask = _mm256_set1_epi8(15);
    let mut weights = [_mm256_setzero_si256(); 8];
    let (low, high) = weights.split_at_mut(4);
    for ((low, high), step) in low.iter_mut().zip(high).zip(cell) {
        let bytes = load(half(step, upper));
        *low = _mm256_and_si256(bytes, mask);
        *high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask);
    }
    weights
}

/// Eight `f16` to `f32`; exact.
#[inline]
#[target_feature(enable = "f16c")]
fn widen(scales: &[u8; 16]) -> __m256 {
    // SAFETY: reads exactly the borrowed bytes; this load needs no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(scales.as_ptr().cast()) })
}

#[inline(always)]
fn half<T>([lower, higher]: &[T; 2], upper: bool) -> &T {
    if upper { higher } else { lower }
}

#[inline(always)]
fn half_mut<T>([lower, higher]: &mut [T; 2], upper: bool) -> &mut T {
    if upper { higher } else { lower }
}
