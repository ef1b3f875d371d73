//! Attention scores of sixteen slots at a time.
//!
//! A dot product in one register would end in a sum across its lanes, which costs more than the
//! product. So the keys of sixteen slots are interleaved like packed weights, once for all queries
//! of a tile.

use super::avx512_vnni::load as load_512;
use crate::cache::KvHead;
use crate::kernels::{Kernels, scalar};
use core::arch::x86_64::*;

/// Slots in work at once.
const SLOTS: usize = 16;
/// Entries that lie next to each other for one slot.
const STEP: usize = 4;
/// Longest head: of more entries there is no model.
const MAX_DIM: usize = 256;

/// The keys of sixteen slots, `[dim / 4, slots]`, four entries each. Missing slots and entries are
/// zero.
type Keys = [[[u8; 32]; 2]; MAX_DIM / STEP];

/// The integer dot products of a vector unit.
pub(super) trait ScoreBlock {
    /// Scores of all queries over sixteen slots, of which `width` exist; `scores` starts at the
    /// first of them, and its rows are `visible` apart.
    ///
    /// # Safety
    /// The processor must have the vector unit.
    unsafe fn scores(
        queries: Queries<'_>,
        keys: &[[[u8; 32]; 2]],
        key_scales: &[f32; SLOTS],
        out: ScoreRows<'_>,
    );
}

/// Attention of [`Kernels`]: scores by a [`ScoreBlock`], values by a function of the
/// [`values`](super::values) module. Whoever made the token must have vouched for both vector units.
macro_rules! by_vectors {
    ($unit:ty, $values:path) => {
        #[inline(always)]
        fn attention_scores(
            self,
            queries: &[i8],
            query_scales: &[f32],
            kv: KvHead<'_>,
            visible: usize,
            scores: &mut [f32],
        ) {
            let queries =
                attention::Queries { values: queries, scales: query_scales, dim: kv.dim() };
            // SAFETY: who made the token vouched for the vector unit.
            unsafe { attention::scores::<$unit, _>(self, queries, kv, visible, scores) }
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
            // SAFETY: who made the token vouched for the vector unit.
            unsafe { $values(weights, inverse_sums, kv, visible, out) }
        }
    };
}
pub(super) use by_vectors;

/// Quantized queries `[rows, dim]` and their scales.
#[derive(Clone, Copy)]
pub(super) struct Queries<'a> {
    pub(super) values: &'a [i8],
    pub(super) scales: &'a [f32],
    pub(super) dim: usize,
}

/// Where the scores of a block of slots go.
pub(super) struct ScoreRows<'a> {
    pub(super) scores: &'a mut [f32],
    pub(super) visible: usize,
    pub(super) first: usize,
}

impl ScoreRows<'_> {
    /// The scores of one query: sixteen, or fewer in the last block.
    #[inline(always)]
    pub(super) fn row(&mut self, query: usize) -> &mut [f32] {
        let start = query * self.visible + self.first;
        let width = (self.visible - self.first).min(SLOTS);
        self.scores.get_mut(start..).and_then(|rest| rest.get_mut(..width)).unwrap_or_default()
    }
}

/// [`Kernels::attention_scores`].
///
/// # Safety
/// The processor must have the vector unit.
pub(super) unsafe fn scores<B: ScoreBlock, K: Kernels>(
    kernels: K,
    queries: Queries<'_>,
    kv: KvHead<'_>,
    visible: usize,
    scores: &mut [f32],
) {
    let steps = queries.dim.div_ceil(STEP);
    if queries.dim > MAX_DIM {
        let Queries { values, scales, .. } = queries;
        return scalar::attention_scores(kernels, values, scales, kv, visible, scores);
    }
    let mut slots = kv.keys().take(visible);
    for first in (0..visible).step_by(SLOTS) {
        let mut rows = [[0u8; MAX_DIM]; SLOTS];
        let mut scales = [0.0f32; SLOTS];
        for ((row, scale), (key, key_scale)) in rows.iter_mut().zip(&mut scales).zip(&mut slots) {
            *scale = key_scale;
            for (byte, entry) in row.iter_mut().zip(key) {
                *byte = *entry as u8;
            }
        }
        let mut keys: Keys = [[[0; 32]; 2]; MAX_DIM / STEP];
        let keys = keys.get_mut(..steps).unwrap_or_default();
        interleave(&rows, keys);
        let out = ScoreRows { scores, visible, first };
        // SAFETY: the caller vouches for the vector unit.
        unsafe { B::scores(queries, keys, &scales, out) };
    }
}

/// Transposes words of four entries, four slots and four words at a time.
#[inline(always)]
fn interleave(rows: &[[u8; MAX_DIM]; SLOTS], keys: &mut [[[u8; 32]; 2]]) {
    for (quarter, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
        let [a, b, c, d] = rows.each_ref().map(|row| row.as_chunks::<16>().0.iter());
        let words = a.zip(b).zip(c).zip(d);
        for (steps, (((a, b), c), d)) in keys.chunks_mut(4).zip(words) {
            // SAFETY: SSE2 belongs to every x86-64 processor.
            let columns = unsafe { transpose([a, b, c, d].map(load)) };
            for (step, column) in steps.iter_mut().zip(columns) {
                let halves = step
                    .get_mut(quarter / 2)
                    .and_then(|half| half.as_chunks_mut::<16>().0.get_mut(quarter % 2));
                if let Some(target) = halves {
                    *target = bytemuck::cast(column);
                }
            }
        }
    }
}

#[inline(always)]
fn load(bytes: &[u8; 16]) -> __m128i {
    bytemuck::cast(*bytes)
}

#[inline]
#[target_feature(enable = "sse2")]
fn transpose([a, b, c, d]: [__m128i; 4]) -> [__m128i; 4] {
    let (ab_low, ab_high) = (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
    [
        _mm_unpacklo_epi64(ab_low, cd_low),
        _mm_unpackhi_epi64(ab_low, cd_low),
        _mm_unpacklo_epi64(ab_high, cd_high),
        _mm_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// A query's entries four to a word, the last word padded with zeros.
#[inline(always)]
fn words(query: &[i8]) -> impl Iterator<Item = i32> {
    let (whole, rest) = query.as_chunks::<STEP>();
    let mut last = [0; STEP];
    for (byte, entry) in last.iter_mut().zip(rest) {
        *byte = *entry;
    }
    let last = (!rest.is_empty()).then_some(last);
    whole.iter().copied().chain(last).map(|word| i32::from_le_bytes(word.map(|x| x as u8)))
}

impl ScoreBlock for super::Avx2 {
    /// The sign of the key moves to the query, as in the product with 8-bit weights.
    #[target_feature(enable = "avx2")]
    unsafe fn scores(
        queries: Queries<'_>,
        keys: &[[[u8; 32]; 2]],
        key_scales: &[f32; SLOTS],
        mut out: ScoreRows<'_>,
    ) {
        let ones = _mm256_set1_epi16(1);
        let scales: [__m256; 2] = bytemuck::cast(*key_scales);
        let rows = queries.values.chunks_exact(queries.dim.max(1)).zip(queries.scales);
        for (row, (query, &query_scale)) in rows.enumerate() {
            let mut sums = [_mm256_setzero_si256(); 2];
            for (step, word) in keys.iter().zip(words(query)) {
                for (sum, keys) in sums.iter_mut().zip(step) {
                    let keys: __m256i = bytemuck::cast(*keys);
                    let signed = _mm256_sign_epi8(_mm256_set1_epi32(word), keys);
                    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(keys), signed);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                }
            }
            let scale = _mm256_set1_ps(query_scale);
            let mut scores = [_mm256_setzero_ps(); 2];
            for ((score, sum), key_scale) in scores.iter_mut().zip(sums).zip(scales) {
                *score = _mm256_mul_ps(_mm256_mul_ps(scale, key_scale), _mm256_cvtepi32_ps(sum));
            }
            let scores: [f32; SLOTS] = bytemuck::cast(scores);
            let target = out.row(row);
            match target.first_chunk_mut() {
                Some(target) => *target = scores,
                None => target.iter_mut().zip(scores).for_each(|(y, score)| *y = score),
            }
        }
    }
}

/// The mask of the first `count` of sixteen lanes.
fn first_lanes(count: usize) -> u16 {
    if count < SLOTS { (1 << count) - 1 } else { u16::MAX }
}

impl ScoreBlock for super::Avx512Vnni {
    /// Queries plus 128 are the unsigned factor; each slot's start value takes the 128 back.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn scores(
        queries: Queries<'_>,
        keys: &[[[u8; 32]; 2]],
        key_scales: &[f32; SLOTS],
        mut out: ScoreRows<'_>,
    ) {
        let top_bits = _mm512_set1_epi8(i8::MIN);
        let mut biases = _mm512_setzero_si512();
        for step in keys {
            biases = _mm512_dpbusd_epi32(biases, top_bits, load_512(step));
        }
        let start = _mm512_sub_epi32(_mm512_setzero_si512(), biases);
        // SAFETY: reads exactly the borrowed numbers, at any alignment.
        let key_scales = unsafe { _mm512_loadu_ps(key_scales.as_ptr()) };
        let rows = queries.values.chunks_exact(queries.dim.max(1)).zip(queries.scales);
        for (row, (query, &query_scale)) in rows.enumerate() {
            // Two chains: the additions wait for each other.
            let (mut even, mut odd) = (start, _mm512_setzero_si512());
            let mut words = words(query);
            for pair in keys.chunks(2) {
                if let ([first, ..], Some(word)) = (pair, words.next()) {
                    let query = _mm512_xor_si512(_mm512_set1_epi32(word), top_bits);
                    even = _mm512_dpbusd_epi32(even, query, load_512(first));
                }
                if let ([_, second], Some(word)) = (pair, words.next()) {
                    let query = _mm512_xor_si512(_mm512_set1_epi32(word), top_bits);
                    odd = _mm512_dpbusd_epi32(odd, query, load_512(second));
                }
            }
            let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
            let scales = _mm512_mul_ps(_mm512_set1_ps(query_scale), key_scales);
            let scores = _mm512_mul_ps(scales, sum);
            let target = out.row(row);
            // SAFETY: writes, at any alignment, only the lanes that are borrowed.
            unsafe {
                _mm512_mask_storeu_ps(target.as_mut_ptr(), first_lanes(target.len()), scores);
            }
        }
    }
}
