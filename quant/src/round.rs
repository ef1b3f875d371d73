//! Rounding weights to integers with `f16` scales.

use crate::ggml::{BlockError, GgmlType};
use demask::packed::{GROUP, Group, GroupScale, WeightFormat};
use half::f16;

/// Scales tried around the one that just covers the largest weight, as factors of it.
///
/// A scale a little too small clips the one largest weight and serves the other 31 better.
const Q4_FACTORS: [f32; 15] =
    [0.70, 0.74, 0.78, 0.82, 0.85, 0.88, 0.91, 0.94, 0.97, 1.0, 1.03, 1.06, 1.09, 1.13, 1.17];

/// The distance of neighbouring values for both halves of a group whose weights are quantized already.
pub type Steps = [f32; 2];

/// Rounds up to 32 weights: to nearest with the covering scale for Q8, with the scale of least
/// squared error for Q4. `None` for Q4K and Q5, which are rounded as ggml does it: see [`round_row`].
///
/// Weights too large for an `f16` scale are the caller's to refuse: see [`largest_weight`].
///
/// ```
/// use demask::packed::WeightFormat;
/// use demask_quant::round::round_group;
///
/// let (values, _) = round_group(&[0.5, -1.0, 0.25], WeightFormat::Q8).unwrap();
/// assert_eq!(values[..4], [64, -127, 32, 0]);
/// ```
#[must_use]
pub fn round_group(weights: &[f32], format: WeightFormat) -> Option<Group> {
    let largest = weights.iter().fold(0.0f32, |m, w| if w.abs() > m.abs() { *w } else { m });
    Some(match format {
        WeightFormat::Q8 => with_scale(weights, largest.abs() / 127.0, format),
        WeightFormat::Q4K | WeightFormat::Q5 => return None,
        WeightFormat::Q4 => {
            // -8 exists and +8 does not, so the largest weight is put on -8: a negative scale
            // where it is positive. Near-symmetric groups may prefer the other sign.
            let cover = largest / -8.0;
            let candidates = Q4_FACTORS.iter().flat_map(|f| [cover * f, -cover * f]);
            let mut best = with_scale(weights, cover, format);
            let mut least = squared_error(weights, &best);
            for scale in candidates {
                let group = with_scale(weights, scale, format);
                let error = squared_error(weights, &group);
                if error < least {
                    (best, least) = (group, error);
                }
            }
            best
        }
    })
}

/// Rounds up to 32 weights that were quantized before to Q8: with the covering scale of
/// [`round_group`], or a whole part of one of `steps` if that leaves less squared error.
///
/// On a scale that is a third of a half's own step, that half is exact, or only shifted where it
/// has an offset; an arbitrary scale would round every one of its values. No scale is more than twice
/// the covering one, so no single error more than twice as large.
///
/// ```
/// use demask_quant::round::round_steps;
///
/// // Multiples of 0.5: exact on a scale of 0.125, but not on 15.5 / 127.
/// let (values, _) = round_steps(&[0.5, 15.5, -3.0], [0.5, 0.5]);
/// assert_eq!(values[..3], [4, 124, -24]);
/// ```
#[must_use]
pub fn round_steps(weights: &[f32], steps: Steps) -> Group {
    let largest = weights.iter().fold(0.0, |m: f32, w| m.max(w.abs()));
    let cover = largest / 127.0;
    let (mut best, mut least) = (cover, error_of(weights, cover));
    let halves = if steps[0] == steps[1] { &steps[..1] } else { &steps[..] };
    for step in halves.iter().filter(|step| cover > 0.0 && (cover..=largest).contains(*step)) {
        let parts = (step / cover) as u32; // up to 127
        // A scale twice as large or more loses more in the other values than it gains here.
        for part in parts / 2 + 1..=parts {
            let scale = step / part as f32;
            let error = error_of(weights, scale);
            if error < least {
                (best, least) = (scale, error);
            }
        }
    }
    with_scale(weights, best, WeightFormat::Q8)
}

/// Rounds a row of weights to `row.len().div_ceil(32)` groups: one by one, or for Q4K and
/// Q5 as ggml quantizes to Q4_K and Q5_0. `steps`, one entry per group or none, are made use of for Q8.
///
/// # Errors
/// [`BlockError`] for Q4K, if the row is not a whole number of super-blocks or a weight too large.
pub fn round_row(
    row: &[f32],
    steps: &[Steps],
    format: WeightFormat,
    out: &mut [Group],
) -> Result<(), BlockError> {
    let as_ggml = |to: GgmlType, row: &[f32], out| {
        let mut blocks = vec![0; row.len().div_ceil(to.block_values()) * to.block_bytes()];
        to.quantize(row, &mut blocks)?;
        to.to_groups(&blocks, out)
    };
    match format {
        WeightFormat::Q4K => return as_ggml(GgmlType::Q4_K, row, out),
        WeightFormat::Q5 => {
            let mut padded = row.to_vec();
            padded.resize(row.len().next_multiple_of(GROUP), 0.0);
            return as_ggml(GgmlType::Q5_0, &padded, out);
        }
        WeightFormat::Q4 | WeightFormat::Q8 => {}
    }
    for (index, (group, weights)) in out.iter_mut().zip(row.chunks(GROUP)).enumerate() {
        let rounded = match steps.get(index) {
            Some(steps) if format == WeightFormat::Q8 => Some(round_steps(weights, *steps)),
            _ => round_group(weights, format),
        };
        *group = rounded.unwrap_or(([0; GROUP], GroupScale::zero(format)));
    }
    Ok(())
}

/// Largest weight that a format can hold with a finite scale.
#[must_use]
pub fn largest_weight(format: WeightFormat) -> f32 {
    f32::from(f16::MAX) * f32::from(format.range().1)
}

fn with_scale(weights: &[f32], scale: f32, format: WeightFormat) -> Group {
    let (min, max) = format.range();
    let scale = f16::from_f32(scale);
    let step = scale.to_f32();
    let mut values = [0; GROUP];
    if step != 0.0 {
        for (q, w) in values.iter_mut().zip(weights) {
            *q = nearest(w / step, f32::from(min), f32::from(max)) as i8;
        }
    }
    (values, GroupScale::Plain(scale))
}

/// The nearest integer in a small range, ties to even. Models are rounded while they load, and this
/// becomes vector code everywhere, which `round_ties_even` does not.
fn nearest(x: f32, min: f32, max: f32) -> f32 {
    /// 1.5 * 2^23: next to it, the last bit of an `f32` is a one.
    const ROUND: f32 = 12_582_912.0;
    (x.clamp(min, max) + ROUND) - ROUND
}

/// Squared error of weights rounded to Q8 with a scale, summed in lanes for the same reason.
fn error_of(weights: &[f32], scale: f32) -> f32 {
    let step = f16::from_f32(scale).to_f32();
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    let mut sums = [0.0; 8];
    for eight in weights.chunks(8) {
        for (sum, w) in sums.iter_mut().zip(eight) {
            let q = nearest(w * inverse, -127.0, 127.0);
            let error = w - q * step;
            *sum += error * error;
        }
    }
    sums.iter().sum()
}

fn squared_error(weights: &[f32], (values, scale): &Group) -> f64 {
    let GroupScale::Plain(scale) = scale else { return f64::INFINITY };
    let step = scale.to_f32();
    let pairs = weights.iter().zip(values);
    pairs.map(|(w, q)| f64::from(w - step * f32::from(*q)).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_stay_zero() {
        for format in [WeightFormat::Q8, WeightFormat::Q4] {
            let zeros = ([0; 32], GroupScale::zero(format));
            assert_eq!(round_group(&[0.0; 32], format), Some(zeros));
        }
    }

    #[test]
    fn values_stay_in_range_and_near() {
        let weights: [f32; 32] = core::array::from_fn(|i| ((i * 37 % 64) as f32 - 31.7) / 50.0);
        for (format, bound) in [(WeightFormat::Q8, 0.003), (WeightFormat::Q4, 0.06)] {
            let (values, scale) = round_group(&weights, format).unwrap();
            let (min, max) = format.range();
            assert!(values.iter().all(|q| (min..=max).contains(q)));
            let worst = weights
                .iter()
                .zip(values)
                .map(|(w, q)| (w - scale.factors(format).step * f32::from(q)).abs())
                .fold(0.0, f32::max);
            assert!(worst < bound, "{format:?}: {worst}");
        }
    }

    /// Halves with steps of their own, as in Q6_K: on the whole, a good third of the squared error goes.
    #[test]
    fn steps_save_a_third_of_the_error() {
        let mut state = 7u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / 16_777_216.0
        };
        let (mut with, mut without) = (0.0, 0.0);
        for _ in 0..2_000 {
            let steps = [0, 1].map(|_| (0.01 + 0.005 * random()) as f32);
            let codes: [f32; 32] = std::array::from_fn(|_| (64.0 * random()).floor() as f32 - 32.0);
            let weights: [f32; 32] = std::array::from_fn(|i| steps[i / 16] * codes[i]);
            let plain = round_group(&weights, WeightFormat::Q8).unwrap();
            let stepped = round_steps(&weights, steps);
            assert!(stepped.0.iter().all(|q| *q >= -127));
            let errors = [&stepped, &plain].map(|group| squared_error(&weights, group));
            assert!(errors[0] <= errors[1] * 1.001, "{errors:?}");
            (with, without) = (with + errors[0], without + errors[1]);
        }
        assert!(with < 0.65 * without, "{with} {without}");
    }

    #[test]
    fn nearest_rounds_ties_to_even() {
        for quarter in -600..600 {
            let x = quarter as f32 / 4.0;
            let expected = x.round_ties_even().clamp(-127.0, 127.0);
            assert_eq!(nearest(x, -127.0, 127.0), expected, "{x}");
        }
    }

    #[test]
    fn odd_steps_do_no_harm() {
        let weights: [f32; 32] = std::array::from_fn(|i| i as f32 / 7.0 - 2.0);
        let plain = round_group(&weights, WeightFormat::Q8).unwrap();
        for steps in [[0.0; 2], [f32::NAN; 2], [f32::INFINITY, 1e30], [1e-9, -1.0]] {
            assert_eq!(round_steps(&weights, steps), plain, "{steps:?}");
        }
        let zeros = ([0; 32], GroupScale::zero(WeightFormat::Q8));
        assert_eq!(round_steps(&[0.0; 32], [1.0; 2]), zeros);
    }

    #[test]
    fn the_search_is_never_worse_than_the_covering_scale() {
        let mut state = 1u32;
        for _ in 0..200 {
            let weights: [f32; 32] = core::array::from_fn(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            });
            let largest =
                weights.iter().fold(0.0f32, |m, w| if w.abs() > m.abs() { *w } else { m });
            let plain = with_scale(&weights, largest / -8.0, WeightFormat::Q4);
            let best = round_group(&weights, WeightFormat::Q4).unwrap();
            assert!(squared_error(&weights, &best) <= squared_error(&weights, &plain));
        }
    }
}
