//! `x^y` for rotary frequencies: the bits of `libm::pow`, without its kilobytes for arguments that no
//! base and no pair of a head has.
//!
//! The algorithm is fdlibm's: log2(x) in two parts, times `y` in two parts, and 2 to that power, about
//! 0.7 units in the last place. Its numbers are kept apart in a high part of few bits, whose products
//! are exact, and the rest.

/// 2/3, 2/5, 2/7 and so on, adjusted: the series of the logarithm on [1, 1.5].
const LOG: [f64; 6] = [
    0.599_999_999_999_994_6,
    0.428_571_428_578_550_2,
    0.333_333_329_818_377_43,
    0.272_728_123_808_534,
    0.230_660_745_775_561_75,
    0.206_975_017_800_338_42,
];
/// The series of the power of 2 on [-0.5, 0.5].
const POWER: [f64; 5] = [
    0.166_666_666_666_666_02,
    -2.777_777_777_701_559_3e-3,
    6.613_756_321_437_934e-5,
    -1.653_390_220_546_525_2e-6,
    4.138_136_797_057_238_5e-8,
];
/// 2 / (3 ln 2), and in two parts.
const SCALE: f64 = 0.961_796_693_925_975_6;
const SCALE_HIGH: f64 = 0.961_796_700_954_437_3;
const SCALE_LOW: f64 = -7.028_461_650_952_758e-9;
/// ln 2, and in two parts.
const LN2: f64 = core::f64::consts::LN_2;
const LN2_HIGH: f64 = 0.693_147_182_464_599_6;
const LN2_LOW: f64 = -1.904_654_299_957_768e-9;
/// log2(1.5) in two parts.
const LOG2_CENTRE: (f64, f64) = (0.584_962_487_220_764_2, 1.350_039_202_129_749e-8);

/// The upper half of a number's bits.
fn upper(x: f64) -> u32 {
    (x.to_bits() >> 32) as u32
}

/// A number of these upper bits, the lower half zero.
fn from_upper(bits: u32) -> f64 {
    f64::from_bits(u64::from(bits) << 32)
}

/// The number without the lower half of its bits.
fn coarse(x: f64) -> f64 {
    from_upper(upper(x))
}

/// Horner's scheme, lowest power first.
#[inline(never)] // without an FPU every operation is a call
fn series(coefficients: &[f64], x: f64) -> f64 {
    let (last, rest) = coefficients.split_last().unwrap_or((&0.0, &[]));
    rest.iter().rev().fold(*last, |sum, c| c + x * sum)
}

/// `x^y` for `1 <= x <= 10^12` and `-1 < y <= 0`.
pub(crate) fn power(x: f64, y: f64) -> f64 {
    if y == 0.0 {
        return 1.0;
    }
    let (log_high, log_low) = log2(x);
    let y_high = coarse(y);
    let high = y_high * log_high;
    let low = (y - y_high) * log_high + y * log_low;
    power_of_two(high, low)
}

/// log2(x) in two parts.
fn log2(x: f64) -> (f64, f64) {
    // x = 2^exponent * m with m near 1, or near 1.5.
    let mantissa = upper(x) & 0x000f_ffff;
    let mut exponent = (upper(x) >> 20) as i32 - 0x3ff;
    let mut bits = mantissa | 0x3ff0_0000;
    let near_one_and_a_half = (0x3988f..0xbb67a).contains(&mantissa);
    if mantissa >= 0xbb67a {
        exponent += 1;
        bits -= 0x0010_0000;
    }
    let m = f64::from_bits(u64::from(bits) << 32 | x.to_bits() & 0xffff_ffff);
    let (centre, shift, (centre_high, centre_low)) = match near_one_and_a_half {
        true => (1.5, 1 << 18, LOG2_CENTRE),
        false => (1.0, 0, (0.0, 0.0)),
    };
    // s = (m - centre) / (m + centre), in two parts.
    let (u, v) = (m - centre, 1.0 / (m + centre));
    let s = u * v;
    let s_high = coarse(s);
    let sum_high = from_upper((bits >> 1 | 0x2000_0000) + 0x0008_0000 + shift);
    let sum_low = m - (sum_high - centre);
    let s_low = v * ((u - s_high * sum_high) - s_high * sum_low);
    // log(m / centre) = 2 s + 2/3 s^3 + ..., of which 3 / 2 s^-1 times here, in two parts.
    let square = s * s;
    let rest = square * square * series(&LOG, square) + s_low * (s_high + s);
    let square = s_high * s_high;
    let t_high = coarse(3.0 + square + rest);
    let t_low = rest - ((t_high - 3.0) - square);
    let (u, v) = (s_high * t_high, s_low * t_high + t_low * s);
    let p_high = coarse(u + v);
    let p_low = v - (p_high - u);
    let z_high = SCALE_HIGH * p_high;
    let z_low = SCALE_LOW * p_high + p_low * SCALE + centre_low;
    let exponent = f64::from(exponent);
    let high = coarse(((z_high + z_low) + centre_high) + exponent);
    (high, z_low - (((high - exponent) - centre_high) - z_high))
}

/// 2^(high + low), for a sum of -40 to 0.
fn power_of_two(high: f64, low: f64) -> f64 {
    let sum = upper(low + high);
    let (mut whole, mut fraction) = (0u32, high);
    if sum & 0x7fff_ffff > 0x3fe0_0000 {
        // The nearest integer: half a unit is added to the magnitude, and the fraction cut off.
        let exponent = ((sum & 0x7fff_ffff) >> 20) - 0x3fe;
        let rounded = sum + (0x0010_0000 >> exponent);
        let exponent = ((rounded & 0x7fff_ffff) >> 20).saturating_sub(0x3ff).min(20);
        fraction -= from_upper(rounded & !(0x000f_ffff >> exponent));
        whole = (rounded & 0x000f_ffff | 0x0010_0000) >> (20 - exponent);
    }
    let t = coarse(low + fraction);
    let u = t * LN2_HIGH;
    let v = (low - (t - fraction)) * LN2 + t * LN2_LOW;
    let z = u + v;
    let w = v - (z - u);
    let square = z * z;
    let t = z - square * series(&POWER, square);
    let r = (z * t) / (t - 2.0) - (w + z * w);
    let result = 1.0 - (r - z);
    // The integer is negative.
    f64::from_bits(result.to_bits().wrapping_sub(u64::from(whole) << 52))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_of_libm() {
        let mut bits = 0x1234_5678u32;
        let random = core::iter::from_fn(|| {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // From 1 to 2^39.
            Some(f32::from_bits(0x3f80_0000 + bits % (39 << 23)))
        });
        let known = [1.0, 2.0, 4.0, 65_536.0, 1e4, 5e5, 6e5, 1e6, 5e6, 1e7, 1.5, 1e12];
        for (i, theta) in known.into_iter().chain(random.take(300)).enumerate() {
            let step = if i < 12 { 2 } else { 14 };
            for dim in (2..=1024).step_by(step) {
                for pair in 0..dim / 2 {
                    let y = -2.0 * f64::from(pair) / f64::from(dim);
                    let (ours, theirs) = (power(theta.into(), y), libm::pow(theta.into(), y));
                    assert_eq!(ours.to_bits(), theirs.to_bits(), "{theta}^{y}");
                }
            }
        }
    }
}
