//! The inner functions in portable Rust: the definition of the assembly ones.
//!
//! One multiplication does two multiply-accumulates. A weight word shifted by `4 j` and masked holds
//! nibble `j` and, 16 bits further up, nibble `j + 4`; the activation word holds their values the
//! other way round. The upper half-word of the product is then the sum of both products. What the
//! lower half-word adds up to stays below 2^15: 16 products of at most 15 * 127.

use super::float::{ActivationScale, GUARD, Sum, WeightScale, multiply};
use super::{Integers, PAIRS, PLANE, TILE};

/// Nibbles 0 and 4 of a word.
const NIBBLES: u32 = 0x000f_000f;

/// Sums of the products of two weight rows with four activation rows, into the four columns of
/// `sums`.
///
/// # Safety
/// Four words can be read at each weight row, and 4 * 17 at `values`: start values, then pairs.
pub(super) unsafe fn dot4(
    first: *const u32,
    second: *const u32,
    values: *const u32,
    sums: &mut Integers,
) {
    // SAFETY: the caller's promise.
    unsafe { dot::<TILE>([first, second], values, sums) }
}

/// Sums of the products of two weight rows with one activation row, into column 0 of `sums`.
///
/// # Safety
/// Four words can be read at each weight row, and 17 at `values`: a start value, then pairs.
pub(super) unsafe fn dot1(
    first: *const u32,
    second: *const u32,
    values: *const u32,
    sums: &mut Integers,
) {
    // SAFETY: the caller's promise.
    unsafe { dot::<1>([first, second], values, sums) }
}

/// # Safety
/// Four words can be read at each weight row, and `17 * WIDTH` at `values`.
unsafe fn dot<const WIDTH: usize>(rows: [*const u32; 2], values: *const u32, sums: &mut Integers) {
    // SAFETY: the caller's promise; arrays of `u32` are aligned as `u32`.
    let (starts, pairs) = unsafe {
        let pairs = values.add(WIDTH).cast::<[[u32; WIDTH]; PAIRS]>();
        (*values.cast::<[u32; WIDTH]>(), &*pairs)
    };
    for (row, sums) in rows.into_iter().zip(sums) {
        // SAFETY: the caller's promise.
        let words = unsafe { *row.cast::<[u32; PLANE]>() };
        let mut totals = starts;
        for (word, pairs) in words.into_iter().zip(pairs.as_chunks::<4>().0) {
            for (shift, pairs) in [0, 4, 8, 12].into_iter().zip(pairs) {
                let nibbles = word >> shift & NIBBLES;
                for (total, pair) in totals.iter_mut().zip(pairs) {
                    *total = total.wrapping_add(nibbles.wrapping_mul(*pair));
                }
            }
        }
        for (sum, total) in sums.iter_mut().zip(totals) {
            *sum = total as i32 >> 16;
        }
    }
}

/// `sum += (weight_scale * scale) * integer` for each of `count` sums, each operation rounded to
/// nearest even.
///
/// # Safety
/// There are `count` integers, scales and sums.
pub(super) unsafe fn add_terms(
    integers: *const i32,
    scales: *const ActivationScale,
    sums: *mut Sum,
    weight_scale: &WeightScale,
    count: usize,
) {
    for i in 0..count {
        // SAFETY: the caller's promise.
        let (integer, [scale, exponent], sum) =
            unsafe { (*integers.add(i), *scales.add(i), &mut *sums.add(i)) };
        if integer == 0 {
            continue;
        }
        let exponent = (exponent as i32).wrapping_add(weight_scale.exponent);
        let (product, less) = multiply(scale, weight_scale.mantissa);
        let shift = integer.unsigned_abs().leading_zeros();
        let (term, less_again) = multiply(product, integer.unsigned_abs() << shift);
        let exponent = exponent.wrapping_sub(less + shift as i32 + less_again);
        let sign = integer >> 31 ^ weight_scale.sign;
        sum.add(Sum { mantissa: ((term << GUARD) as i32 ^ sign) - sign, exponent });
    }
}
