//! The exponential function in integers, bit for bit that of [`math::exp`](crate::math::exp).
//!
//! The steps are the same and each is rounded as there. What makes it faster is that the size of most
//! sums is known beforehand, so that they are additions of fixed-point numbers.

use super::float::{GUARD, Sum, multiply, round, with_sign};
use crate::kernels::scalar::SOFTMAX_CUTOFF;
use crate::math::{EXP_MIN, LANES, tree_sum};

/// [`scalar::exponentiate`](crate::kernels::scalar::exponentiate)
#[inline(never)]
pub(super) fn exponentiate(scores: &mut [f32]) -> f32 {
    const CUTOFF: u32 = SOFTMAX_CUTOFF.to_bits() & !(1 << 31);
    let mut max = f32::NEG_INFINITY;
    for &score in scores.iter() {
        max = if score > max { score } else { max };
    }
    for score in scores.iter_mut() {
        // No score is above the largest.
        let below = (*score - max).to_bits() & !(1 << 31);
        *score = if below <= CUTOFF {
            exp(below)
        } else if below <= f32::INFINITY.to_bits() {
            0.0
        } else {
            f32::NAN
        };
    }
    // `sum_by` in a smaller form.
    let mut chains = [0.0; LANES];
    for (i, score) in scores.iter().enumerate() {
        if let Some(chain) = chains.get_mut(i % LANES) {
            *chain += score;
        }
    }
    tree_sum(chains)
}

/// [`scalar::swiglu`](crate::kernels::scalar::swiglu)
#[inline(never)]
pub(super) fn swiglu(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        let x = *gate;
        // Comparing bits, a NaN is above the limit and has to stay one.
        let e = match x.to_bits() & !(1 << 31) {
            magnitude if magnitude > f32::INFINITY.to_bits() => f32::NAN,
            magnitude => exp(magnitude.min((-EXP_MIN).to_bits())),
        };
        let numerator = if x < 0.0 { x * e } else { x };
        *gate = numerator / (1.0 + e) * up;
    }
}

/// A positive number: a mantissa of 24 bits, exactly, and an exponent.
#[derive(Clone, Copy)]
struct Number {
    mantissa: u32,
    exponent: i32,
}

impl Number {
    /// Makes 24 bits of 2^24, which rounding may give.
    #[inline(always)]
    fn new(mantissa: u32, exponent: i32) -> Self {
        let carry = mantissa >> 24;
        Self { mantissa: mantissa >> carry, exponent: exponent + carry as i32 }
    }

    /// The product with a mantissa of 24 bits or 2^24, rounded.
    #[inline(never)] // small code: called eight times for each exponential
    fn times(self, mantissa: u32, exponent: i32) -> (u32, i32) {
        let (product, less) = multiply(mantissa, self.mantissa << 8);
        (product, self.exponent + exponent + 24 - less)
    }
}

/// `constant + (or -) mantissa * 2^exponent`, as a multiple of `2^unit`, rounded to nearest, ties to
/// even. The term is smaller than the constant, and the exponent less than the unit.
#[inline(never)]
fn add(constant: u32, unit: i32, (mantissa, exponent): (u32, i32), sign: i32) -> u32 {
    // Seven bits below the unit; the last one stands for all that come after it.
    const BELOW: u32 = 7;
    let shift = ((unit - exponent) as u32).min(31);
    let fine = mantissa << BELOW;
    let term = fine >> shift;
    let term = term | u32::from(term << shift != fine);
    let sum = (constant << BELOW).wrapping_add(with_sign(term as i32, sign) as u32);
    round(sum >> BELOW, sum << (32 - BELOW))
}

/// `e^-x` for the bits of a number `x` from 0 to 64.
#[inline(never)]
fn exp(bits: u32) -> f32 {
    let exponent = (bits >> 23) as i32 - 150;
    // Below 2^-26: nothing is left beside 1.
    if exponent < -26 - 23 {
        return 1.0;
    }
    let x = Number { mantissa: bits & 0x7f_ffff | 0x80_0000, exponent };
    // n = round(x / ln 2)
    let (quotient, exponent) = x.times(LOG2_E, -23);
    let shift = -exponent;
    let n = match shift {
        0..25 => round(quotient >> shift, quotient << (32 - shift)),
        _ => 0,
    };
    // r = n ln 2 - x, for which nothing is lost in the first part of ln 2.
    let mut r = if n == 0 {
        Sum { mantissa: -((x.mantissa << GUARD) as i32), exponent: x.exponent }
    } else {
        let high = (n * LN2_HIGH) << 16;
        let fixed = high.wrapping_sub(x.mantissa << ((x.exponent + 25) & 31)) as i32;
        Sum::from_fixed(fixed, -25)
    };
    if n != 0 {
        let mut low = n * LN2_LOW;
        let mut exponent = -36;
        let mut lost = 0;
        while low >> 24 != 0 {
            lost = lost >> 1 | low << 31;
            low >>= 1;
            exponent += 1;
        }
        let low = round(low, lost);
        r.add(Sum { mantissa: -((low << GUARD) as i32), exponent });
    }
    let sign = r.mantissa >> 31;
    if r.mantissa == 0 {
        return f32::from_bits((127 - n) << 23);
    }
    let magnitude = Number::new(r.mantissa.unsigned_abs() >> GUARD, r.exponent);
    // The polynomial: each sum lies between the same two powers of two as its constant, the last
    // one on the side of 1/2 that the sign says.
    let mut p = C0;
    let mut unit = -36;
    for (constant, next_unit) in [(C1, -33), (C2, -30), (C3, -28), (C4, -26)] {
        p = add(constant, next_unit, magnitude.times(p, unit), sign);
        unit = next_unit;
    }
    let half = (1 << 23 << -sign, -24 + sign);
    let p = add(half.0, half.1, magnitude.times(p, unit), sign);
    let (square, exponent) = magnitude.times(magnitude.mantissa, magnitude.exponent);
    let (mantissa, exponent) = Number::new(square, exponent).times(p, half.1);
    r.add(Sum { mantissa: (mantissa << GUARD) as i32, exponent });
    let small = (r.mantissa.unsigned_abs() >> GUARD, r.exponent);
    let y = add(1 << 23 << -sign, -23 + sign, small, sign);
    f32::from_bits(((126 + sign - n as i32) as u32).wrapping_shl(23).wrapping_add(y))
}

const LOG2_E: u32 = mantissa(core::f32::consts::LOG2_E);
/// 512 times the first part of ln 2.
const LN2_HIGH: u32 = 355;
const LN2_LOW: u32 = mantissa(2.121_944_4e-4);
const C0: u32 = mantissa(1.987_569_1e-4);
const C1: u32 = mantissa(1.398_199_9e-3);
const C2: u32 = mantissa(8.333_452e-3);
const C3: u32 = mantissa(4.166_579_6e-2);
const C4: u32 = mantissa(1.666_666_5e-1);

const fn mantissa(x: f32) -> u32 {
    x.to_bits() & 0x7f_ffff | 0x80_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_exp_is_exp() {
        // A prime, so that all low bits occur.
        for bits in (0..=64f32.to_bits()).step_by(997) {
            let expected = crate::math::exp(-f32::from_bits(bits));
            assert_eq!(exp(bits).to_bits(), expected.to_bits(), "{}", f32::from_bits(bits));
        }
    }

    #[test]
    #[ignore = "takes a minute"]
    fn integer_exp_is_exp_everywhere() {
        for bits in 0..=64f32.to_bits() {
            let expected = crate::math::exp(-f32::from_bits(bits));
            assert_eq!(exp(bits).to_bits(), expected.to_bits(), "{}", f32::from_bits(bits));
        }
    }
}
