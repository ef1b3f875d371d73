//! The scales of a cell of weights, as the vector units load them.

use crate::packed::{BLOCK_ROWS, WeightFormat};
use bytemuck::{Pod, Zeroable};
use core::arch::x86_64::*;

/// Sixteen `f16`, the lower and the upper eight outputs apart.
type Halves = [[u8; 16]; 2];
/// Sixteen bytes, in the same way.
type Bytes = [[u8; 8]; 2];

/// What is stored about the scales of sixteen outputs and one or more groups.
pub(super) trait Scales: Pod {
    /// Groups that it is about.
    const GROUPS: usize;
    /// Whether weights have a minimum.
    const AFFINE: bool;

    /// The factors of all outputs in group `group` of these; exact.
    ///
    /// # Safety
    /// The processor must have AVX-512 F.
    unsafe fn sixteen(&self, group: usize) -> Factors<__m512>;

    /// The factors of the lower or upper eight outputs; exact.
    ///
    /// # Safety
    /// The processor must have AVX2 and F16C.
    unsafe fn eight(&self, group: usize, upper: bool) -> Factors<__m256>;
}

/// What the weights of some outputs are multiplied with and made smaller by.
#[derive(Clone, Copy)]
pub(super) struct Factors<V> {
    pub(super) step: V,
    /// Not used without minima.
    pub(super) minimum: V,
}

/// One scale per output: Q4, Q8.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Plain(Halves);

/// Scales and minima of eight groups, in common units: Q4K.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Affine {
    d: Halves,
    d_min: Halves,
    /// Scales and minima.
    groups: [[Bytes; 2]; 8],
}

const _: () = {
    assert!(size_of::<Plain>() == WeightFormat::Q4.scale_bytes());
    assert!(size_of::<Affine>() == 2 * size_of::<Halves>() + 8 * 2 * BLOCK_ROWS);
};

impl Scales for Plain {
    const GROUPS: usize = 1;
    const AFFINE: bool = false;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn sixteen(&self, _: usize) -> Factors<__m512> {
        Factors { step: widen_sixteen(&self.0), minimum: _mm512_setzero_ps() }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn eight(&self, _: usize, upper: bool) -> Factors<__m256> {
        Factors { step: widen_eight(half(&self.0, upper)), minimum: _mm256_setzero_ps() }
    }
}

impl Scales for Affine {
    const GROUPS: usize = 8;
    const AFFINE: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn sixteen(&self, group: usize) -> Factors<__m512> {
        let [scales, minima] = self.group(group);
        let times = |unit: &Halves, bytes: &Bytes| {
            // SAFETY: reads exactly the borrowed bytes; this load needs no alignment.
            let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
            _mm512_mul_ps(widen_sixteen(unit), _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)))
        };
        Factors { step: times(&self.d, scales), minimum: times(&self.d_min, minima) }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn eight(&self, group: usize, upper: bool) -> Factors<__m256> {
        let [scales, minima] = self.group(group);
        let times = |unit: &Halves, bytes: &Bytes| {
            // SAFETY: reads exactly the borrowed bytes; this load needs no alignment.
            let bytes = unsafe { _mm_loadl_epi64(half(bytes, upper).as_ptr().cast()) };
            let bytes = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
            _mm256_mul_ps(widen_eight(half(unit, upper)), bytes)
        };
        Factors { step: times(&self.d, scales), minimum: times(&self.d_min, minima) }
    }
}

impl Affine {
    #[inline(always)]
    fn group(&self, group: usize) -> &[Bytes; 2] {
        const NONE: &[Bytes; 2] = &[[[0; 8]; 2]; 2];
        self.groups.get(group % Self::GROUPS).unwrap_or(NONE)
    }
}

/// `f16` to `f32`; exact.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen_sixteen(halves: &Halves) -> __m512 {
    // SAFETY: reads exactly the borrowed 32 bytes; this load needs no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(halves.as_ptr().cast()) })
}

/// `f16` to `f32`; exact.
#[inline]
#[target_feature(enable = "f16c")]
fn widen_eight(halves: &[u8; 16]) -> __m256 {
    // SAFETY: reads exactly the borrowed 16 bytes; this load needs no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.as_ptr().cast()) })
}

/// The lower or the upper one.
#[inline(always)]
pub(super) fn half<T>([lower, higher]: &[T; 2], upper: bool) -> &T {
    if upper { higher } else { lower }
}
