//! Activations as the inner loops read them: one contiguous run per tile of rows.

use super::blocked::Block;
use crate::kernels::ActivationsMut;
use crate::kernels::scalar::{ACTIVATION_FLOOR, NotFinite, quantize};
use crate::packed::GROUP;
use bytemuck::{Pod, Zeroable};
use core::arch::x86_64::*;

/// One group of one activation row, with all that an inner loop needs to know about it.
///
/// They are kept as `[tiles, groups, rows of the tile]`: were rows apart, often by a power of two,
/// the same group of 32 rows would compete for a handful of cache lines.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Prepared {
    /// The 32 values, four to a word: what a broadcast loads.
    pub(super) values: [i32; GROUP / 4],
    /// Their scale.
    pub(super) scale: f32,
    /// What the integer sum starts from: takes back the bias of the weights.
    pub(super) start: i32,
}

/// Activation rows of a tile; each unpacked cell serves all of them.
pub(super) const TILE: usize = 32;

/// [`Kernels::quantize_row`](crate::kernels::Kernels::quantize_row) for the inner loop `B`.
#[target_feature(enable = "avx2")]
pub(super) fn quantize_row<B: Block<STEPS>, const STEPS: usize>(
    x: &[f32],
    row: usize,
    into: &mut ActivationsMut<'_>,
) -> Result<(), NotFinite> {
    let (rows, groups) = (into.rows(), into.groups());
    let first = row / TILE * TILE;
    let stride = rows.saturating_sub(first).min(TILE);
    let all: &mut [Prepared] = bytemuck::cast_slice_mut(into.words());
    let slots = all.get_mut(first * groups + (row - first)..).unwrap_or_default();
    let mut x = x;
    for slot in slots.iter_mut().step_by(stride.max(1)).take(groups) {
        let (group, rest) = x.split_at(x.len().min(GROUP));
        x = rest;
        let mut values = [0; GROUP];
        let scale = quantize(group, ACTIVATION_FLOOR, &mut values)?;
        *slot = prepare::<B, STEPS>(&values, scale);
    }
    Ok(())
}

#[inline]
#[target_feature(enable = "avx2")]
fn prepare<B: Block<STEPS>, const STEPS: usize>(values: &[i8; GROUP], scale: f32) -> Prepared {
    let bytes: &[u8; GROUP] = bytemuck::cast_ref(values);
    let mut words = [0; GROUP / 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = i32::from_le_bytes(*bytes);
    }
    let start = if B::BIAS == 0 { 0 } else { start::<B, STEPS>(bytes) };
    Prepared { values: words, scale, start }
}

/// `-BIAS * sum of values`, in one `i32` or two `i16`. Sixteen values and a bias of 8 fit an `i16`.
#[inline]
#[target_feature(enable = "avx2")]
fn start<B: Block<STEPS>, const STEPS: usize>(values: &[u8; GROUP]) -> i32 {
    // Sixteen sums of two neighbours, folded onto the first two.
    let sums = _mm256_maddubs_epi16(_mm256_set1_epi8(1), load(values));
    let sums = _mm_add_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    let sums = _mm_add_epi16(sums, _mm_shuffle_epi32::<0b01_00_11_10>(sums));
    let sums = _mm_add_epi16(sums, _mm_shuffle_epi32::<0b10_11_00_01>(sums));
    let bias = _mm_set1_epi16(-(B::BIAS as i16));
    _mm_cvtsi128_si32(match B::PAIRS {
        true => _mm_mullo_epi16(sums, bias),
        false => _mm_madd_epi16(sums, bias),
    })
}

/// Loads 32 bytes.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: reads exactly the borrowed bytes; this load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}
