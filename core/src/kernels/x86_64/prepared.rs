//! Activations as the inner loops read them: one contiguous run.

use super::blocked::Block;
use crate::kernels::Activations;
use crate::packed::GROUP;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::Range;

/// One group of one activation row, with all that an inner loop needs to know about it.
///
/// They are gathered because the rows themselves lie far apart, and by a power of two in many
/// models: then the same group of 32 rows would compete for a handful of cache lines.
#[derive(Clone, Copy)]
pub(super) struct Prepared {
    /// The 32 values, four to a word: what a broadcast loads.
    pub(super) values: [i32; GROUP / 4],
    /// Their scale.
    pub(super) scale: f32,
    /// What the integer sum starts from: takes back the bias of the weights.
    pub(super) start: i32,
}

/// Activation rows prepared at once; each unpacked cell serves all of them.
pub(super) const TILE: usize = 32;
/// Groups prepared at once.
pub(super) const CHUNK: usize = 32;

/// Stack memory (40 KiB) for the rows and groups in work.
pub(super) struct Buffer([MaybeUninit<Prepared>; TILE * CHUNK]);

impl Buffer {
    #[inline]
    pub(super) fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; TILE * CHUNK])
    }

    /// Prepares at most [`TILE`] rows and [`CHUNK`] groups as `[groups, rows]`; `None` if the
    /// activations do not have them.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn fill<B: Block<STEPS>, const STEPS: usize>(
        &mut self,
        activations: &Activations<'_>,
        rows: Range<usize>,
        groups: Range<usize>,
    ) -> Option<&[Prepared]> {
        let stride = rows.len();
        let used = self.0.get_mut(..stride * groups.len())?;
        for (offset, row) in rows.enumerate() {
            let (values, scales) = activations.row(row)?;
            let (values, scales) = (values.get(groups.clone())?, scales.get(groups.clone())?);
            let slots = used.get_mut(offset..)?.iter_mut().step_by(stride);
            for ((slot, values), scale) in slots.zip(values).zip(scales) {
                slot.write(prepare::<B, STEPS>(values, *scale));
            }
        }
        // SAFETY: `used` is `[groups, rows]` and each slot was written: every row wrote one slot
        // per group, as both slices that it was zipped with have `groups.len()` elements.
        Some(unsafe { used.assume_init_ref() })
    }
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
