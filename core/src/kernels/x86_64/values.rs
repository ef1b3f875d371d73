//! Attention values with the sums of six rows in registers.
//!
//! Left to the compiler, these sums go to memory and back for every slot.

use crate::cache::KvHead;
use crate::kernels::scalar;
use core::arch::x86_64::*;

/// Rows whose sums are kept at once: each widened value serves all of them.
const ROWS: usize = 6;

/// A vector of floats. What a method does, it does in every lane.
///
/// All methods are unsafe for one reason: the processor must have the vector unit.
#[allow(clippy::missing_safety_doc)]
pub(super) trait Lanes: Copy {
    /// Floats of a vector.
    const COUNT: usize;

    unsafe fn splat(x: f32) -> Self;
    /// Widens [`COUNT`](Self::COUNT) values; they must be there.
    unsafe fn widen(values: *const i8) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn multiply(self, other: Self) -> Self;
    /// Writes [`COUNT`](Self::COUNT) floats; there must be room.
    unsafe fn store(self, to: *mut f32);
}

macro_rules! lanes {
    ($vector:ty, $count:literal, $splat:ident, $load:ident, $widen:ident, $convert:ident, $add:ident,
     $multiply:ident, $store:ident) => {
        // SAFETY, of all blocks: the caller vouches for the vector unit and the memory.
        #[allow(clippy::undocumented_unsafe_blocks)]
        impl Lanes for $vector {
            const COUNT: usize = $count;

            #[inline(always)]
            unsafe fn splat(x: f32) -> Self {
                unsafe { $splat(x) }
            }

            #[inline(always)]
            unsafe fn widen(values: *const i8) -> Self {
                unsafe { $convert($widen($load(values.cast()))) }
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                unsafe { $add(self, other) }
            }

            #[inline(always)]
            unsafe fn multiply(self, other: Self) -> Self {
                unsafe { $multiply(self, other) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                unsafe { $store(to, self) }
            }
        }
    };
}

lanes!(
    __m512,
    16,
    _mm512_set1_ps,
    _mm_loadu_si128,
    _mm512_cvtepi8_epi32,
    _mm512_cvtepi32_ps,
    _mm512_add_ps,
    _mm512_mul_ps,
    _mm512_storeu_ps
);
lanes!(
    __m256,
    8,
    _mm256_set1_ps,
    _mm_loadl_epi64,
    _mm256_cvtepi8_epi32,
    _mm256_cvtepi32_ps,
    _mm256_add_ps,
    _mm256_mul_ps,
    _mm256_storeu_ps
);

/// [`Kernels::attention_values`](crate::kernels::Kernels::attention_values), sixteen lanes and four
/// vectors of entries at a time.
///
/// # Safety
/// The processor must have AVX-512 F.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn avx512(
    weights: &[f32],
    inverse_sums: &[f32],
    kv: KvHead<'_>,
    visible: usize,
    out: (&mut [f32], usize),
) {
    // SAFETY: the caller vouches for the vector unit.
    unsafe { values::<__m512, 4>(weights, inverse_sums, kv, visible, out) }
}

/// The same with eight lanes and two vectors, which is what fits sixteen registers.
///
/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(
    weights: &[f32],
    inverse_sums: &[f32],
    kv: KvHead<'_>,
    visible: usize,
    out: (&mut [f32], usize),
) {
    // SAFETY: the caller vouches for the vector unit.
    unsafe { values::<__m256, 2>(weights, inverse_sums, kv, visible, out) }
}

/// As many as `VECTORS` vectors of entries at a time. Heads of part of a vector are left to plain
/// code.
///
/// # Safety
/// The processor must have the vector unit, and the caller must be compiled for it.
#[inline(always)]
unsafe fn values<V: Lanes, const VECTORS: usize>(
    weights: &[f32],
    inverse_sums: &[f32],
    kv: KvHead<'_>,
    visible: usize,
    (out, stride): (&mut [f32], usize),
) {
    if !kv.dim().is_multiple_of(V::COUNT) {
        return scalar::attention_values(weights, inverse_sums, kv, visible, (out, stride));
    }
    let (visible, stride) = (visible.max(1), stride.max(1));
    let tiles = weights.chunks((ROWS * visible).max(1)).zip(inverse_sums.chunks(ROWS));
    for ((weights, inverse_sums), out) in tiles.zip(out.chunks_mut((ROWS * stride).max(1))) {
        let mut first = 0;
        while first < kv.dim() {
            let tile = Tile { weights, inverse_sums, kv, visible, first, stride };
            // SAFETY: the caller vouches for the vector unit.
            first += unsafe {
                match kv.dim() - first >= VECTORS * V::COUNT {
                    true => each_count::<V, VECTORS>(tile, out),
                    false => each_count::<V, 1>(tile, out),
                }
            };
        }
    }
}

/// Up to [`ROWS`] rows, and the first of the entries to be summed.
struct Tile<'a> {
    /// `[rows, visible]`
    weights: &'a [f32],
    inverse_sums: &'a [f32],
    kv: KvHead<'a>,
    visible: usize,
    first: usize,
    stride: usize,
}

/// Sums with a number of rows that the compiler knows; returns how many entries.
///
/// # Safety
/// See [`values`].
#[inline(always)]
unsafe fn each_count<V: Lanes, const VECTORS: usize>(tile: Tile<'_>, out: &mut [f32]) -> usize {
    // SAFETY: the caller vouches for the vector unit.
    unsafe {
        match tile.inverse_sums.len() {
            1 => sums::<V, VECTORS, 1>(tile, out),
            2 => sums::<V, VECTORS, 2>(tile, out),
            3 => sums::<V, VECTORS, 3>(tile, out),
            4 => sums::<V, VECTORS, 4>(tile, out),
            5 => sums::<V, VECTORS, 5>(tile, out),
            _ => sums::<V, VECTORS, ROWS>(tile, out),
        }
    }
    VECTORS * V::COUNT
}

/// # Safety
/// See [`values`].
#[inline(always)]
unsafe fn sums<V: Lanes, const VECTORS: usize, const ROWS: usize>(tile: Tile<'_>, out: &mut [f32]) {
    let Tile { weights, inverse_sums, kv, visible, first, stride } = tile;
    let width = VECTORS * V::COUNT;
    let last_row = (ROWS - 1) * stride + first;
    if weights.len() < ROWS * visible || out.len() < last_row + width {
        return;
    }
    // SAFETY: the caller vouches for the vector unit; `values` has the entries read, `weights`
    // `visible` slots of each row, and `out` room for the entries of each row.
    unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        for (slot, (values, value_scale)) in kv.values().take(visible).enumerate() {
            let Some(values) = values.get(first..first + width) else { return };
            let value_scale = V::splat(value_scale);
            let mut widened = [V::splat(0.0); VECTORS];
            for (i, widened) in widened.iter_mut().enumerate() {
                *widened = V::widen(values.as_ptr().add(i * V::COUNT));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let weight = V::splat(*weights.as_ptr().add(row * visible + slot));
                let scale = weight.multiply(value_scale);
                for (sum, widened) in sums.iter_mut().zip(&widened) {
                    *sum = sum.add(scale.multiply(*widened));
                }
            }
        }
        for ((row, sums), inverse) in sums.iter().enumerate().zip(inverse_sums) {
            let out = out.as_mut_ptr().add(row * stride + first);
            for (i, sum) in sums.iter().enumerate() {
                sum.multiply(V::splat(*inverse)).store(out.add(i * V::COUNT));
            }
        }
    }
}
