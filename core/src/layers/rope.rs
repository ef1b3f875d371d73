//! Rotary position embedding (Su et al. 2021).

use super::power::power;
use crate::image::{ModelConfig, RopePairs};
use crate::pieces::move_down;

/// Positions whose angles [`sin_cos`] can reduce.
pub(crate) const MAX_POSITIONS: usize = 1 << 20;

/// Fills `[slots, rope_dim / 2]` tables from slot `first` on with the cosines and sines of the
/// positions from `position` on.
///
/// Computed in `f64` and rounded once: positions in the tens of thousands lose whole
/// digits of their angle in `f32`, and the tables are made once per engine.
pub(crate) fn fill_tables(
    config: &ModelConfig,
    (cos, sin): (&mut [f32], &mut [f32]),
    (first, position): (usize, usize),
) {
    let rotated = config.rope_dim();
    let half = (rotated as usize / 2).max(1);
    let theta = f64::from(config.rope_theta);
    for pair in 0..half {
        let exponent = -2.0 * pair as f64 / f64::from(rotated);
        let frequency = power(theta, exponent);
        let rows = cos.chunks_exact_mut(half).zip(sin.chunks_exact_mut(half));
        for (position, (cos, sin)) in (position..).zip(rows.skip(first)) {
            let (s, c) = sin_cos(position as f64 * frequency);
            if let (Some(cos), Some(sin)) = (cos.get_mut(pair), sin.get_mut(pair)) {
                (*cos, *sin) = (c as f32, s as f32);
            }
        }
    }
}

/// Moves the tables on when `drop` slots from slot `keep` on are dropped: the others keep their
/// positions, and the freed slots at the end get those that follow. `slid` counts all that have been
/// dropped.
pub(crate) fn slide(
    config: &ModelConfig,
    (cos, sin): (&mut [f32], &mut [f32]),
    (keep, drop): (usize, usize),
    slid: usize,
) {
    let half = (config.rope_dim() as usize / 2).max(1);
    let freed = (cos.len() / half).saturating_sub(drop);
    move_down(cos, keep * half, drop * half);
    move_down(sin, keep * half, drop * half);
    fill_tables(config, (cos, sin), (freed, freed.saturating_add(slid)));
}

/// Sine and cosine of `0 <= x < 2^20`, in `f64` to about one unit in the last place.
///
/// `libm::sincos` also reduces arguments up to 2^1023, which takes kilobytes of code that a canvas
/// has no use for. Polynomials: fdlibm, on [-pi/4, pi/4].
fn sin_cos(x: f64) -> (f64, f64) {
    // Adding 1.5 * 2^52 leaves the nearest integer in the low mantissa bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // pi / 2 in three parts: two of 33 bits, so that `n` times each is exact, and the rest.
    const HALF_PI: [f64; 3] =
        [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21];
    const SIN: [f64; 6] = [
        1.589_690_995_211_55e-10,
        -2.505_076_025_340_686_3e-8,
        2.755_731_370_707_006_8e-6,
        -1.984_126_982_985_795e-4,
        8.333_333_333_322_49e-3,
        -1.666_666_666_666_663_2e-1,
    ];
    const COS: [f64; 6] = [
        -1.135_964_755_778_819_5e-11,
        2.087_572_321_298_175e-9,
        -2.755_731_435_139_066_3e-7,
        2.480_158_728_947_673e-5,
        -1.388_888_888_887_411e-3,
        4.166_666_666_666_66e-2,
    ];
    let shifted = x * core::f64::consts::FRAC_2_PI + ROUND;
    let n = shifted - ROUND;
    let x = HALF_PI.iter().fold(x, |x, part| x - n * part);
    let z = x * x;
    let sin = x + x * z * polynomial(&SIN, z);
    let cos = 1.0 - (0.5 * z - z * z * polynomial(&COS, z));
    match shifted.to_bits() & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// Horner's scheme, highest power first.
#[inline(never)] // without an FPU every operation is a call, and inlining a kilobyte
fn polynomial(coefficients: &[f64; 6], z: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * z + c)
}

/// Rotates every head of one row `[heads, head_dim]` in place by its position's angles: as many pairs
/// as there are angles, from the first entry on.
#[inline(always)]
pub(crate) fn rotate(row: &mut [f32], head_dim: usize, pairs: RopePairs, cos: &[f32], sin: &[f32]) {
    for head in row.chunks_exact_mut(head_dim.max(1)) {
        let angles = cos.iter().zip(sin);
        match pairs {
            RopePairs::HalfSplit => {
                let (first, second) = head.split_at_mut(cos.len().min(head.len()));
                for ((a, b), (&cos, &sin)) in first.iter_mut().zip(second).zip(angles) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
            RopePairs::Adjacent => {
                for ([a, b], (&cos, &sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_those_of_libm() {
        for (theta, dim, slots) in [(1e4, 32, 65_536), (1e4, 128, 8_192), (5e5, 128, 32_768)] {
            for pair in 0..dim / 2 {
                let frequency = libm::pow(theta, -2.0 * f64::from(pair) / f64::from(dim));
                for position in 0..slots {
                    let angle = f64::from(position) * frequency;
                    let ((s, c), (ls, lc)) = (sin_cos(angle), libm::sincos(angle));
                    assert!((s - ls).abs().max((c - lc).abs()) <= f64::EPSILON, "{angle}");
                    assert_eq!((s as f32, c as f32), (ls as f32, lc as f32), "{angle}");
                }
            }
        }
    }

    #[test]
    fn quarter_turn_in_both_pairings() {
        let mut row = [1.0, 2.0, 3.0, 4.0];
        rotate(&mut row, 4, RopePairs::HalfSplit, &[0.0, 1.0], &[1.0, 0.0]);
        assert_eq!(row, [-3.0, 2.0, 1.0, 4.0]);
        let mut row = [1.0, 2.0, 3.0, 4.0];
        rotate(&mut row, 4, RopePairs::Adjacent, &[0.0, 1.0], &[1.0, 0.0]);
        assert_eq!(row, [-2.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn entries_beyond_the_angles_stay() {
        for pairs in [RopePairs::HalfSplit, RopePairs::Adjacent] {
            let mut row = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
            rotate(&mut row, 4, pairs, &[0.0], &[1.0]);
            assert_eq!(row, [-2.0, 1.0, 3.0, 4.0, -6.0, 5.0, 7.0, 8.0]);
        }
    }
}
