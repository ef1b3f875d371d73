//! Activations as the vector units read them: one contiguous run per tile of rows.

use super::blocked::Unit;
use super::scales::Scales;
use crate::kernels::ActivationsMut;
use crate::kernels::scalar::{ACTIVATION_FLOOR, NotFinite};
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
    /// What the integer sum starts from; with weights that have a minimum, see [`Start::ScaledSum`].
    start: i32,
}

impl Prepared {
    /// What the integer sum starts from; `unsigned` if the weights are unsigned as they are.
    #[inline(always)]
    pub(super) fn start<S: Scales>(&self, unsigned: i32) -> i32 {
        if S::AFFINE { unsigned } else { self.start }
    }

    /// What minima are multiplied with.
    #[inline(always)]
    pub(super) fn scaled_sum(&self) -> f32 {
        f32::from_bits(self.start as u32)
    }
}

/// Words of a [`Prepared`].
pub(super) const WORDS: usize = size_of::<Prepared>() / size_of::<u32>();

/// Activation rows of a tile; each unpacked cell serves all of them.
pub(super) const TILE: usize = 32;

/// What the word of a [`Prepared`] beside its scale is. A start takes back what the inner loop adds to
/// every weight to make it unsigned.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// [`MAGIC`] `- bias * sum of the values`.
    Magic(i16),
    /// `-bias * sum of the values` in two `i16`: the first two and the last two of every four
    /// values apart. Sixteen values and a bias of 8 fit.
    Pairs(i16),
    /// No start, but the bits of `scale * sum of the values`. Weights that have a minimum are
    /// unsigned as they are.
    ScaledSum,
}

/// The bits of 1.5 * 2^23. An integer sum that starts from here ends as the bits of 1.5 * 2^23 plus
/// the sum, exactly, as long as the sum is below 2^22: one subtraction makes it a float, on ports
/// that a conversion would have to share with the products.
pub(super) const MAGIC: i32 = 0x4b40_0000;

/// [`Kernels::quantize_row`](crate::kernels::Kernels::quantize_row) for the inner loops of `U`.
///
/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn quantize_row<U: Unit>(
    x: &[f32],
    row: usize,
    into: &mut ActivationsMut<'_>,
) -> Result<(), NotFinite> {
    let (rows, groups) = (into.rows(), into.groups());
    if row >= rows {
        return Ok(());
    }
    let start = U::start(into.format());
    let first = row / TILE * TILE;
    let all: &mut [Prepared] = bytemuck::cast_slice_mut(into.words().as_chunks_mut::<WORDS>().0);
    let tile = all.get_mut(first * groups..).unwrap_or_default();
    prepare_row(x, start, tile, (row - first, TILE.min(rows - first)), groups)
}

/// Quantizes `x` as row `row` of `tile`, `[groups, rows]`.
#[target_feature(enable = "avx2")]
pub(super) fn prepare_row(
    x: &[f32],
    start: Start,
    tile: &mut [Prepared],
    (row, rows): (usize, usize),
    groups: usize,
) -> Result<(), NotFinite> {
    let slots = tile.get_mut(row..).unwrap_or_default();
    for (slot, x) in slots.iter_mut().step_by(rows.max(1)).zip(padded_groups(x, groups)) {
        let (values, scale) = quantize(&x)?;
        let start = start.of(values, scale);
        *slot = Prepared { values: bytemuck::cast(values), scale, start };
    }
    Ok(())
}

/// The first `groups` groups of `x`, with zeros behind its end.
#[inline(always)]
pub(super) fn padded_groups(x: &[f32], groups: usize) -> impl Iterator<Item = [f32; GROUP]> {
    let mut x = x;
    (0..groups).map(move |_| {
        if let Some((group, rest)) = x.split_first_chunk() {
            x = rest;
            return *group;
        }
        let mut group = [0.0; GROUP];
        for (padded, x) in group.iter_mut().zip(x) {
            *padded = *x;
        }
        x = &[];
        group
    })
}

/// [`scalar::quantize`](crate::kernels::scalar::quantize) of one group, from above
/// [`ACTIVATION_FLOOR`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn quantize(x: &[f32; GROUP]) -> Result<(__m256i, f32), NotFinite> {
    let x: [__m256; 4] = bytemuck::cast(*x);
    let magnitude = |x| _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(i32::MAX));
    let [m0, m1, m2, m3] = x.map(magnitude);
    // Bit patterns of magnitudes order like the magnitudes; infinity and NaNs come last.
    let max = _mm256_max_epi32(_mm256_max_epi32(m0, m1), _mm256_max_epi32(m2, m3));
    let max = _mm_max_epi32(_mm256_castsi256_si128(max), _mm256_extracti128_si256::<1>(max));
    let max = _mm_max_epi32(max, _mm_shuffle_epi32::<0b01_00_11_10>(max));
    let max = _mm_max_epi32(max, _mm_shuffle_epi32::<0b10_11_00_01>(max));
    if _mm_cvtsi128_si32(max) >= f32::INFINITY.to_bits() as i32 {
        return Err(NotFinite);
    }
    let floor = _mm_set1_epi32(ACTIVATION_FLOOR.to_bits() as i32);
    let below = _mm_castsi128_ps(_mm_cmpgt_epi32(floor, max));
    let (max, steps) = (_mm_castsi128_ps(max), _mm_set1_ps(127.0));
    // Both divisions at once: the scale, then its inverse.
    let scales = _mm_div_ps(_mm_unpacklo_ps(max, steps), _mm_unpacklo_ps(steps, max));
    let scales = _mm_andnot_ps(below, scales);
    let inverse = _mm256_broadcastss_ps(_mm_movehdup_ps(scales));
    let round = |x| _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse));
    let [q0, q1, q2, q3] = x.map(round);
    // Packing works in the two halves apart, which leaves runs of four in the order 0 2 4 6 1 3 5 7.
    let packed = _mm256_packs_epi16(_mm256_packs_epi32(q0, q1), _mm256_packs_epi32(q2, q3));
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    Ok((_mm256_permutevar8x32_epi32(packed, order), _mm_cvtss_f32(scales)))
}

impl Start {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn of(self, values: __m256i, scale: f32) -> i32 {
        // Sixteen sums of two neighbours, folded onto the first two.
        let sums = _mm256_maddubs_epi16(_mm256_set1_epi8(1), values);
        let sums = _mm_add_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let sums = _mm_add_epi16(sums, _mm_shuffle_epi32::<0b01_00_11_10>(sums));
        let sums = _mm_add_epi16(sums, _mm_shuffle_epi32::<0b10_11_00_01>(sums));
        match self {
            Self::Magic(bias) => {
                MAGIC + _mm_cvtsi128_si32(_mm_madd_epi16(sums, _mm_set1_epi16(-bias)))
            }
            Self::Pairs(bias) => _mm_cvtsi128_si32(_mm_mullo_epi16(sums, _mm_set1_epi16(-bias))),
            Self::ScaledSum => {
                let sum = _mm_cvtsi128_si32(_mm_madd_epi16(sums, _mm_set1_epi16(1)));
                (scale * sum as f32).to_bits() as i32
            }
        }
    }
}
