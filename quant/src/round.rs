//! Rounding weights to integers with `f16` scales.

use crate::ggml::{BlockError, GgmlType};
use demask::packed::{GROUP, Group, GroupScale, WeightFormat};
use half::f16;

/// Scales tried around the one that just covers the largest weight, as factors of it.
///
/// A scale a little too small clips the one largest weight and serves the other 31 better.
const Q4_FACTORS: [f32; 15] =
    [0.70, 0.74, 0.78, 0.82, 0.85, 0.88, 0.91, 0.94, 0.97, 1.0, 1.03, 1.06, 1.09, 1.13, 1.17];

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

/// Rounds a row of weights to `row.len().div_ceil(32)` groups: one by one, or for Q4K and
/// Q5 as ggml quantizes to Q4_K and Q5_0.
///
/// # Errors
/// [`BlockError`] for Q4K, if the row is not a whole number of super-blocks or a weight too large.
pub fn round_row(row: &[f32], format: WeightFormat, out: &mut [Group]) -> Result<(), BlockError> {
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
    for (group, weights) in out.iter_mut().zip(row.chunks(GROUP)) {
        *group = round_group(weights, format).unwrap_or(([0; GROUP], GroupScale::zero(format)));
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
            *q = (w / step).round_ties_even().clamp(f32::from(min), f32::from(max)) as i8;
        }
    }
    (values, GroupScale::Plain(scale))
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
