//! Float arithmetic on unpacked numbers: `mantissa * 2^exponent` with a mantissa of 24 bits.
//!
//! Results are those of IEEE 754 `f32` operations as long as nothing overflows or is subnormal.
//! Nothing is subnormal: scales of weights are at least 2^-24 and those of activations 2^-67, so
//! that every sum is a multiple of 2^-114. [`LARGEST_EXPONENT`] keeps sums from overflowing.

use half::f16;

/// Exponent of the largest activation scales, those below 2^72, with which no sum overflows: scales
/// of weights are below 2^16, integers below 2^19, and groups less than 2^20.
pub(super) const LARGEST_EXPONENT: i32 = 72 - 24;

/// Bits below the mantissa of a [`Sum`]: a term up to 2^5 times smaller is added exactly.
pub(super) const GUARD: u32 = 5;

/// An activation scale: mantissa and exponent. The exponent of zero does not matter.
pub(super) type ActivationScale = [u32; 2];

/// Unpacks a scale that is zero or normal.
pub(super) fn unpack(scale: f32) -> ActivationScale {
    let bits = scale.to_bits();
    match bits {
        0 => [0, 0],
        _ => [bits & 0x7f_ffff | 0x80_0000, (bits >> 23).wrapping_sub(150)],
    }
}

fn pack([mantissa, exponent]: ActivationScale) -> f32 {
    match mantissa {
        0 => 0.0,
        _ => f32::from_bits((exponent.wrapping_add(150) << 23) | mantissa & 0x7f_ffff),
    }
}

/// Scale of one weight row and group, not zero, ready for multiplications.
#[repr(C)]
pub(super) struct WeightScale {
    /// Mantissa whose highest bit is set.
    pub(super) mantissa: u32,
    /// Exponent, plus 64 for the 32 low bits that each of two multiplications drops.
    pub(super) exponent: i32,
    /// -1 if the scale is negative, else 0.
    pub(super) sign: i32,
}

impl WeightScale {
    /// `None` for zero.
    #[inline(always)]
    pub(super) fn new(scale: f16) -> Option<Self> {
        let bits = u32::from(scale.to_bits());
        // From 11 bits times 2^-25 to 32 bits.
        let (mut mantissa, mut exponent) = (bits << 21, (bits >> 10 & 31) as i32 - 25 - 21 + 64);
        if bits >> 10 & 31 != 0 {
            mantissa |= 1 << 31;
        } else {
            // Subnormal: the same factor as the smallest normal exponent, no hidden bit.
            mantissa &= !(1 << 31);
            exponent += 1;
            if mantissa == 0 {
                return None;
            }
            while mantissa >> 31 == 0 {
                mantissa <<= 1;
                exponent -= 1;
            }
        }
        Some(Self { mantissa, exponent, sign: (bits << 16) as i32 >> 31 })
    }

    fn value(&self) -> f32 {
        let exponent = self.exponent - 64 + 8;
        let magnitude = pack([self.mantissa >> 8, exponent as u32]);
        if self.sign < 0 { -magnitude } else { magnitude }
    }
}

/// The sum of an output.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Sum {
    /// With its sign, shifted up by [`GUARD`]; or, where [`add_large_terms`] adds, an `f32`'s bits.
    pub(super) mantissa: i32,
    /// Of the mantissa without its guard bits; far below any other for zero.
    pub(super) exponent: i32,
}

impl Sum {
    pub(super) const ZERO: Self = Self { mantissa: 0, exponent: -4096 };

    /// Unpacks a normal number or zero.
    #[inline(always)]
    pub(super) fn new(x: f32) -> Self {
        let bits = x.to_bits();
        if bits << 1 == 0 {
            return Self::ZERO;
        }
        let mantissa = ((bits & 0x7f_ffff | 0x80_0000) << GUARD) as i32;
        let exponent = (bits >> 23 & 0xff) as i32 - 150;
        Self { mantissa: with_sign(mantissa, bits as i32 >> 31), exponent }
    }

    /// Unpacks `x * 2^exponent` for less than 24 bits.
    #[inline(always)]
    pub(super) fn from_fixed(x: i32, exponent: i32) -> Self {
        if x == 0 {
            return Self::ZERO;
        }
        let (magnitude, exponent) = normalize(x.unsigned_abs(), exponent);
        let mantissa = (magnitude >> 8 << GUARD) as i32;
        Self { mantissa: with_sign(mantissa, x >> 31), exponent: exponent + 8 }
    }

    /// Adds, and rounds to nearest, ties to even.
    #[inline(always)]
    pub(super) fn add(&mut self, term: Self) {
        let swap = term.exponent > self.exponent;
        let (large, small) = if swap { (term, *self) } else { (*self, term) };
        let shift = (large.exponent.wrapping_sub(small.exponent) as u32).min(31);
        let shifted = small.mantissa >> shift;
        // One bit stands for all that were shifted out: it decides what is no tie.
        let lost = i32::from(shifted << shift != small.mantissa);
        let total = large.mantissa.wrapping_add(shifted | lost);
        if total == 0 {
            *self = Self::ZERO;
            return;
        }
        let exponent = large.exponent.wrapping_add(8 - GUARD as i32);
        let (magnitude, exponent) = normalize(total.unsigned_abs(), exponent);
        let mantissa = (round(magnitude >> 8, magnitude << 24) << GUARD) as i32;
        *self = Self { mantissa: with_sign(mantissa, total >> 31), exponent };
    }

    #[inline(always)]
    pub(super) fn value(&self) -> f32 {
        let magnitude = self.mantissa.unsigned_abs() >> GUARD;
        let sign = self.mantissa as u32 & 1 << 31;
        match magnitude {
            0 => 0.0,
            // The highest bit of the mantissa, or one above it, adds to the exponent.
            _ => f32::from_bits(
                sign | (((self.exponent + 149) as u32) << 23).wrapping_add(magnitude),
            ),
        }
    }

    /// The value, or what [`add_large_terms`] summed.
    #[inline(never)]
    pub(super) fn output(&self, is_large: bool) -> f32 {
        if is_large { self.large() } else { self.value() }
    }

    fn large(&self) -> f32 {
        f32::from_bits(self.mantissa as u32)
    }
}

/// Negative if `sign` is -1, not if it is 0.
#[inline(always)]
pub(super) fn with_sign(x: i32, sign: i32) -> i32 {
    (x ^ sign) - sign
}

/// Shifts a number that is not zero until its highest bit is set.
#[inline(always)]
fn normalize(mut x: u32, mut exponent: i32) -> (u32, i32) {
    if cfg!(any(demask_kernels = "thumb1", target_arch = "riscv32")) {
        // These do not count zeros, and there are few.
        while x >> 31 == 0 {
            (x, exponent) = (x << 1, exponent.wrapping_sub(1));
        }
        return (x, exponent);
    }
    let shift = x.leading_zeros();
    (x << (shift & 31), exponent.wrapping_sub(shift as i32))
}

/// Rounds to the nearest integer, ties to even; `fraction` is in units of 2^-32.
#[inline(always)]
pub(super) fn round(integer: u32, fraction: u32) -> u32 {
    const HALF: u32 = 1 << 31;
    integer + u32::from(fraction > HALF || fraction == HALF && integer & 1 == 1)
}

/// The product without its 32 lowest bits, or 31 if the second result is 1: whichever gives 24
/// bits (or 2^24, by rounding). `a` has 24 bits or is 2^24, and the highest bit of `b` is set.
#[inline(always)]
pub(super) fn multiply(a: u32, b: u32) -> (u32, i32) {
    let mut product = u64::from(a) * u64::from(b);
    let less = i32::from(product >> 55 == 0);
    product <<= less;
    (round((product >> 32) as u32, product as u32), less)
}

/// `sums += scale * values`, each operation rounded, in integers where nothing can overflow or be subnormal.
///
/// Sums that leave the normal range come out as they should, too: next to them, a term in the middle
/// of the range is either everything or nothing.
#[inline(never)]
pub(super) fn add_scaled(sums: &mut [f32], scale: f32, values: &[i8]) {
    let bits = scale.to_bits();
    let field = bits >> 23 & 0xff;
    if bits << 1 == 0 {
        return;
    }
    if !(40..=190).contains(&field) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += scale * f32::from(value);
        }
        return;
    }
    let mantissa = bits & 0x7f_ffff | 0x80_0000;
    for (sum, &value) in sums.iter_mut().zip(values) {
        let value = i32::from(value);
        if value == 0 {
            continue;
        }
        // 24 bits times 8.
        let product = mantissa.wrapping_mul(value.unsigned_abs());
        let (product, exponent) = normalize(product, field as i32 - 150 + 8);
        let term = (round(product >> 8, product << 24) << GUARD) as i32;
        let sign = (bits as i32 ^ value) >> 31;
        let mut total = Sum::new(*sum);
        total.add(Sum { mantissa: with_sign(term, sign), exponent });
        *sum = total.value();
    }
}

/// `add_terms` for any scales, by the compiler's float routines.
#[cold]
#[inline(never)]
pub(super) fn add_large_terms(
    integers: &[i32],
    scales: &[ActivationScale],
    sums: &mut [Sum],
    weight_scale: &WeightScale,
) {
    let weight_scale = weight_scale.value();
    for ((&integer, &scale), sum) in integers.iter().zip(scales).zip(sums) {
        let value = sum.large() + (weight_scale * pack(scale)) * integer as f32;
        sum.mantissa = value.to_bits() as i32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_scale_is_unpacked() {
        for bits in 0..=u16::MAX {
            let scale = f16::from_bits(bits);
            let Some(unpacked) = WeightScale::new(scale) else {
                assert!(scale.to_f32() == 0.0);
                continue;
            };
            if scale.is_finite() {
                let magnitude = f64::from(unpacked.mantissa) * 2f64.powi(unpacked.exponent - 64);
                assert!(unpacked.mantissa >> 31 == 1);
                assert_eq!(magnitude, f64::from(scale.to_f32().abs()));
                assert_eq!(unpacked.sign, -i32::from(scale.is_sign_negative()));
                assert_eq!(unpacked.value(), scale.to_f32());
            }
        }
    }

    #[test]
    fn unpacked_is_packed_again() {
        for x in [0.0, 1.0, 1.5, f32::MIN_POSITIVE, f32::MAX] {
            assert_eq!(pack(unpack(x)), x);
            assert_eq!(Sum::new(-x).value(), -x);
        }
    }
}
