//! Row operations that compilers make less of.

use crate::kernels::scalar::{self, SOFTMAX_CUTOFF};
use crate::math::{EXP_POLYNOMIAL, LANES, LN2_HIGH, LN2_LOW, LOG2_E, ROUND, tree_sum};
use core::arch::aarch64::*;
use core::arch::asm;

/// [`scalar::dot`] with widening products.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn dot(a: &[i8], b: &[i8]) -> i32 {
    dot_by(a, b, |sums, a, b| {
        // Not two products to an `i16`: -128 * -128 * 2 does not fit.
        let sums = vpadalq_s16(sums, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
        vpadalq_s16(sums, vmull_high_s8(a, b))
    })
}

/// [`scalar::dot`] with `SDOT`.
///
/// # Safety
/// The processor must have `FEAT_DotProd`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn dot_with_sdot(a: &[i8], b: &[i8]) -> i32 {
    dot_by(a, b, |mut sums, a, b| {
        // SAFETY: the caller vouches for the instruction, for which there is no stable intrinsic.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
                sums = inout(vreg) sums,
                a = in(vreg) a,
                b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sums
    })
}

#[inline(always)]
fn dot_by(a: &[i8], b: &[i8], add: impl Fn(int32x4_t, int8x16_t, int8x16_t) -> int32x4_t) -> i32 {
    let ((pairs, a), (b_pairs, b)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let ((ones, a), (b_ones, b)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    // SAFETY: every target that this module is built for has these instructions; the loads read
    // exactly the borrowed bytes.
    let sum = unsafe {
        let (mut even, mut odd) = (vdupq_n_s32(0), vdupq_n_s32(0));
        for (a, b) in pairs.iter().zip(b_pairs) {
            let (a, b) = (vld1q_s8_x2(a.as_ptr()), vld1q_s8_x2(b.as_ptr()));
            even = add(even, a.0, b.0);
            odd = add(odd, a.1, b.1);
        }
        if let ([a], [b]) = (ones, b_ones) {
            even = add(even, vld1q_s8(a.as_ptr()), vld1q_s8(b.as_ptr()));
        }
        vaddvq_s32(vaddq_s32(even, odd))
    };
    if a.is_empty() { sum } else { sum + rest_of_dot(a, b) }
}

/// Apart: it would be in the way of the common case.
#[cold]
#[inline(never)]
fn rest_of_dot(a: &[i8], b: &[i8]) -> i32 {
    scalar::dot(a, b)
}

/// [`scalar::exponentiate`] in two passes instead of three.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn exponentiate(scores: &mut [f32]) -> f32 {
    let (rows, rest) = scores.as_chunks_mut::<LANES>();
    // What is added to the rest has weight zero.
    let mut padded = [f32::NEG_INFINITY; LANES];
    padded.iter_mut().zip(rest.iter()).for_each(|(padded, score)| *padded = *score);
    let (low, high) = halves(&padded);
    // The larger number, and not a NaN if there is a number.
    let mut max = vmaxnmq_f32(low, high);
    for row in rows.iter() {
        let (low, high) = halves(row);
        max = vmaxnmq_f32(max, vmaxnmq_f32(low, high));
    }
    let max = vdupq_n_f32(vmaxnmvq_f32(max));
    let mut sums = [vdupq_n_f32(0.0); 2];
    let mut weigh = |row: &mut [f32; LANES]| {
        let (low, high) = halves(row);
        let weights = [weight(vsubq_f32(low, max)), weight(vsubq_f32(high, max))];
        sums = [vaddq_f32(sums[0], weights[0]), vaddq_f32(sums[1], weights[1])];
        // SAFETY: writes exactly the borrowed numbers.
        unsafe { vst1q_f32_x2(row.as_mut_ptr(), float32x4x2_t(weights[0], weights[1])) };
    };
    rows.iter_mut().for_each(&mut weigh);
    weigh(&mut padded);
    rest.iter_mut().zip(padded).for_each(|(score, weight)| *score = weight);
    let mut chains = [0.0; LANES];
    // SAFETY: writes exactly the borrowed numbers.
    unsafe { vst1q_f32_x2(chains.as_mut_ptr(), float32x4x2_t(sums[0], sums[1])) };
    tree_sum(chains)
}

#[inline]
#[target_feature(enable = "neon")]
fn halves(row: &[f32; LANES]) -> (float32x4_t, float32x4_t) {
    // SAFETY: reads exactly the borrowed numbers.
    let float32x4x2_t(low, high) = unsafe { vld1q_f32_x2(row.as_ptr()) };
    (low, high)
}

/// [`exp`](crate::math::exp), zero below [`SOFTMAX_CUTOFF`], which lies above the clamp of `exp`.
#[inline]
#[target_feature(enable = "neon")]
fn weight(x: float32x4_t) -> float32x4_t {
    let times = |x, factor| vmulq_f32(x, vdupq_n_f32(factor));
    let plus = |x, term| vaddq_f32(x, vdupq_n_f32(term));
    let shifted = plus(times(x, LOG2_E), ROUND);
    let n = plus(shifted, -ROUND);
    let r = vsubq_f32(x, times(n, LN2_HIGH));
    let r = vsubq_f32(r, times(n, LN2_LOW));
    let [c0, c1, c2, c3, c4, c5] = EXP_POLYNOMIAL;
    let p = plus(times(r, c0), c1);
    let p = plus(vmulq_f32(p, r), c2);
    let p = plus(vmulq_f32(p, r), c3);
    let p = plus(vmulq_f32(p, r), c4);
    let p = plus(vmulq_f32(p, r), c5);
    let y = plus(vaddq_f32(vmulq_f32(p, vmulq_f32(r, r)), r), 1.0);
    let exponent = vshlq_n_s32::<23>(vreinterpretq_s32_f32(shifted));
    let y = vaddq_s32(vreinterpretq_s32_f32(y), exponent);
    let negligible = vcltq_f32(x, vdupq_n_f32(SOFTMAX_CUTOFF));
    vreinterpretq_f32_s32(vbicq_s32(y, vreinterpretq_s32_u32(negligible)))
}
