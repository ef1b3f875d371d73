//! Float functions of the numerics contract (`docs/numerics.md`, rule 4).
//!
//! Everything is plain `f32` multiply and add, each rounded on its own. Nothing here may be fused,
//! reordered or replaced by a platform function: two builds that disagree in the last bit of one
//! exponential commit different tokens a few steps later.

/// Number of interleaved partial sums in every float reduction.
///
/// One sequential chain would cost vector units a factor of four; eight chains fit all of them.
pub const LANES: usize = 8;

/// `exp` clamps its argument here from below: `exp(-64)` is about 2^-92, so that neither it nor a
/// sum of a billion of them divided into it is subnormal. Some vector units flush subnormals.
pub const EXP_MIN: f32 = -64.0;

pub(crate) const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// Adding 1.5 * 2^23 leaves the nearest integer (ties to even) in the low mantissa bits.
pub(crate) const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts: the first has few enough bits that `n * LN2_HIGH` is exact.
pub(crate) const LN2_HIGH: f32 = 0.693_359_4;
pub(crate) const LN2_LOW: f32 = -2.121_944_4e-4;
/// Cephes `expf` polynomial on [-ln2/2, ln2/2], highest power first.
pub(crate) const EXP_POLYNOMIAL: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.0e-1];

/// `e^x` for `x <= 0`, within one unit in the last place; arguments below [`EXP_MIN`] count as it.
///
/// ```
/// assert_eq!(demask::math::exp(0.0), 1.0);
/// assert_eq!(demask::math::exp(-1e9), demask::math::exp(-64.0));
/// ```
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    let x = if x < EXP_MIN { EXP_MIN } else { x };
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH;
    let r = r - n * LN2_LOW;
    let [c0, c1, c2, c3, c4, c5] = EXP_POLYNOMIAL;
    let p = c0 * r + c1;
    let p = p * r + c2;
    let p = p * r + c3;
    let p = p * r + c4;
    let p = p * r + c5;
    let y = (p * (r * r) + r) + 1.0;
    // The low bits of `shifted` hold n in two's complement: move them into the exponent field.
    f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// Natural logarithm of a positive number (from `libm`, software `f32` on every target).
#[inline]
#[must_use]
pub fn ln(x: f32) -> f32 {
    libm::logf(x)
}

/// Cosine of an angle in radians (from `libm`, software on every target).
#[must_use]
pub fn cos(x: f32) -> f32 {
    libm::cosf(x)
}

/// Correctly rounded square root.
#[inline(never)] // once per row; without an instruction for it, 200 bytes of flash each time
#[must_use]
pub fn sqrt(x: f32) -> f32 {
    libm::sqrtf(x)
}

/// `x * sigmoid(v)`: `x e^v / (1 + e^v)` where `v` is below zero and `x / (1 + e^-v)` above, so that the
/// exponent is never positive.
#[inline(always)]
fn times_sigmoid(x: f32, v: f32) -> f32 {
    let e = exp(-v.abs());
    let numerator = if v < 0.0 { x * e } else { x };
    numerator / (1.0 + e)
}

/// `x * sigmoid(x)`, the gate of SwiGLU.
#[inline(always)]
#[must_use]
pub fn silu(x: f32) -> f32 {
    times_sigmoid(x, x)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    times_sigmoid(1.0, x)
}

/// `x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` (Hendrycks and Gimpel 2016). The second factor
/// is the sigmoid of twice the argument of `tanh`.
///
/// ```
/// assert!((demask::math::gelu(1.0) - 0.841_192).abs() < 1e-6);
/// ```
#[inline(always)]
#[must_use]
pub fn gelu(x: f32) -> f32 {
    const TWICE_SQRT_TWO_OVER_PI: f32 = 1.595_769_2;
    times_sigmoid(x, TWICE_SQRT_TWO_OVER_PI * (x + 0.044_715 * ((x * x) * x)))
}

/// Nearest integer, ties to even, for `|x| < 2^22`.
#[inline(always)]
#[must_use]
pub fn round_ties_even(x: f32) -> i32 {
    ((x + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
}

/// Combines the eight partial sums of a reduction in the one documented order.
#[inline(always)]
#[must_use]
pub fn tree_sum(s: [f32; LANES]) -> f32 {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = s;
    ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
}

/// Sum of `term(x)` over `values`: element `i` goes to chain `i % 8`, then [`tree_sum`].
#[inline(always)]
pub fn sum_by(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut chains = [0.0f32; LANES];
    let (rows, rest) = values.as_chunks::<LANES>();
    for row in rows {
        for (chain, &x) in chains.iter_mut().zip(row) {
            *chain += term(x);
        }
    }
    for (chain, &x) in chains.iter_mut().zip(rest) {
        *chain += term(x);
    }
    tree_sum(chains)
}

/// Dot product of two slices, in the order of [`sum_by`].
#[inline(always)]
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let [sum] = dots(a, [b]);
    sum
}

/// Dot products of `x` with each of `others`, in the order of [`sum_by`]. Several at once keep a
/// vector unit busy: a chain alone waits for each of its additions.
#[inline(always)]
#[must_use]
pub fn dots<const N: usize>(x: &[f32], others: [&[f32]; N]) -> [f32; N] {
    let mut chains = [[0.0f32; LANES]; N];
    let (rows, rest) = x.as_chunks::<LANES>();
    let split = others.map(|other| other.as_chunks::<LANES>());
    for (i, row) in rows.iter().enumerate() {
        for (chains, (other, _)) in chains.iter_mut().zip(&split) {
            let Some(other) = other.get(i) else { continue };
            for ((chain, x), y) in chains.iter_mut().zip(row).zip(other) {
                *chain += x * y;
            }
        }
    }
    for (chains, (_, other)) in chains.iter_mut().zip(&split) {
        for ((chain, x), y) in chains.iter_mut().zip(rest).zip(*other) {
            *chain += x * y;
        }
    }
    chains.map(tree_sum)
}

/// Largest number of a slice, minus infinity if there is none; NaNs are passed over.
///
/// Eight chains find the same as one. Only which of two equal zeros is found may differ, which no
/// caller can tell: the result is subtracted and compared.
#[inline(always)]
#[must_use]
pub fn max(values: &[f32]) -> f32 {
    let larger = |m: &mut f32, x: f32| *m = if x > *m { x } else { *m };
    let mut chains = [f32::NEG_INFINITY; LANES];
    let (rows, rest) = values.as_chunks::<LANES>();
    for row in rows {
        for (m, &x) in chains.iter_mut().zip(row) {
            larger(m, x);
        }
    }
    let mut max = f32::NEG_INFINITY;
    for &x in chains.iter().chain(rest) {
        larger(&mut max, x);
    }
    max
}

/// Largest magnitude of a slice, or `None` if it holds a NaN or an infinity.
///
/// Compares bit patterns, which order like magnitudes once the sign is off: float `max` treats NaN
/// differently from one instruction set to the next.
#[inline(always)]
#[must_use]
pub fn finite_max_abs(values: &[f32]) -> Option<f32> {
    let bits = values.iter().fold(0u32, |m, x| m.max(x.to_bits() & 0x7fff_ffff));
    (bits < f32::INFINITY.to_bits()).then_some(f32::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_one_ulp() {
        let mut worst = 0.0f64;
        for i in 0..=640_000 {
            let x = -(i as f32) * 1e-4;
            let exact = f64::from(x).exp();
            let got = exp(x);
            let ulp = f64::from(f32::from_bits(got.to_bits() + 1)) - f64::from(got);
            worst = worst.max((f64::from(got) - exact).abs() / ulp);
        }
        assert!(worst <= 1.0, "worst error {worst} ulp");
        assert!(exp(-63.99) >= exp(EXP_MIN) && exp(-70.0) == exp(EXP_MIN) && exp(EXP_MIN) > 1e-28);
    }

    #[test]
    fn rounding_is_ties_to_even() {
        for x in [-126.5f32, -2.5, -1.5, -0.5, -0.0, 0.0, 0.5, 1.5, 2.5, 3.499_999, 126.5, 127.0] {
            assert_eq!(round_ties_even(x), x.round_ties_even() as i32, "{x}");
        }
    }

    #[test]
    fn silu_is_smooth_through_zero_and_bounded_below() {
        assert_eq!(silu(0.0), 0.0);
        assert!((silu(1.0) - 0.731_058_6).abs() < 1e-6);
        assert!((silu(-1.0) + 0.268_941_4).abs() < 1e-6);
        assert!(silu(-200.0).abs() < 1e-20 && silu(200.0) == 200.0);
    }

    #[test]
    fn gelu_and_sigmoid_are_the_textbook_functions_and_never_overflow() {
        for i in -2000..=2000 {
            let x = i as f32 * 0.01;
            let wide = f64::from(x);
            let tanh =
                ((2.0 / core::f64::consts::PI).sqrt() * (wide + 0.044715 * wide.powi(3))).tanh();
            let expected = wide / 2.0 * (1.0 + tanh);
            assert!((f64::from(gelu(x)) - expected).abs() <= 1e-6 * wide.abs().max(1.0), "{x}");
            let expected = 1.0 / (1.0 + (-wide).exp());
            assert!((f64::from(sigmoid(x)) - expected).abs() <= 1e-7, "{x}");
        }
        assert_eq!((gelu(1e30), sigmoid(1e30)), (1e30, 1.0));
        assert!(gelu(-1e30).is_finite() && gelu(f32::NEG_INFINITY).is_infinite());
        assert!(gelu(f32::NAN).is_nan() && sigmoid(-1e30) < 1e-27);
    }

    #[test]
    fn reductions_use_eight_chains_and_the_fixed_tree() {
        let values: [f32; 11] = core::array::from_fn(|i| (i as f32 + 0.3) * 1.7);
        let v = values;
        let by_hand = (((v[0] + v[8]) + v[4]) + ((v[2] + v[10]) + v[6]))
            + (((v[1] + v[9]) + v[5]) + (v[3] + v[7]));
        assert_eq!(sum_by(&values, |x| x).to_bits(), by_hand.to_bits());
        let ones = [1.0; 11];
        assert_eq!(dots(&values, [&ones, &values]), [by_hand, sum_by(&values, |x| x * x)]);
        assert_eq!(dot(&values, &ones), by_hand);
        assert_eq!(finite_max_abs(&[1.0, -3.0, 2.0]), Some(3.0));
        assert_eq!(finite_max_abs(&[1.0, f32::NAN]), None);
        assert_eq!(finite_max_abs(&[f32::NEG_INFINITY]), None);
    }
}
