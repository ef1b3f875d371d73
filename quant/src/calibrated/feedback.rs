//! GPTQ for one row: groups from left to right, each with the scale that is best for what it should be now.

use super::objective::Objective;
use demask::packed::{GROUP, Group, GroupScale, WeightFormat};
use half::f16;

/// A group while it is being rounded.
struct Entered<'a> {
    /// The weights as they are.
    weights: &'a [f32],
    /// What they should be, given the groups before.
    targets: [f64; GROUP],
    /// `a[j, k]` inside the group; zero for `j >= k`.
    feedback: &'a [[f64; GROUP]; GROUP],
    pivots: &'a [f64],
    range: (f64, f64),
}

/// A scale tried on it.
#[derive(Clone, Copy)]
struct Tried {
    values: [i8; GROUP],
    /// `weight - value * scale`
    differences: [f64; GROUP],
    scale: f16,
    loss: f64,
}

/// What all rows share: the part of the feedback that stays inside each group.
pub(super) fn inner_feedback(objective: &Objective) -> Vec<[[f64; GROUP]; GROUP]> {
    let size = objective.size();
    let group = |start: usize| {
        let mut inner = [[0.0; GROUP]; GROUP];
        for (j, inner) in inner.iter_mut().enumerate().take(size - start) {
            let Some(feedback) = objective.feedback(start + j) else { break };
            for (k, a) in inner.iter_mut().enumerate().take(size - start).skip(j + 1) {
                *a = feedback[start + k];
            }
        }
        inner
    };
    (0..size).step_by(GROUP).map(group).collect()
}

/// Rounds `row` to `out`, `row.len().div_ceil(32)` groups. `differences` receives `row` minus what is stored.
pub(super) fn fit_row(
    row: &[f32],
    objective: &Objective,
    inner: &[[[f64; GROUP]; GROUP]],
    format: WeightFormat,
    differences: &mut [f64],
    out: &mut [Group],
) {
    let (min, max) = format.range();
    for (index, (group, weights)) in out.iter_mut().zip(row.chunks(GROUP)).enumerate() {
        let start = index * GROUP;
        let mut targets = [0.0; GROUP];
        targets.iter_mut().zip(weights).for_each(|(t, w)| *t = f64::from(*w));
        for (j, difference) in differences[..start].iter().enumerate() {
            let Some(feedback) = objective.feedback(j) else { break };
            let feedback = &feedback[start..start + weights.len()];
            targets.iter_mut().zip(feedback).for_each(|(t, a)| *t += difference * a);
        }
        let entered = Entered {
            weights,
            targets,
            feedback: &inner[index],
            pivots: &objective.pivots()[start..],
            range: (min.into(), max.into()),
        };
        let best = entered.best(format);
        differences[start..][..weights.len()].copy_from_slice(&best.differences[..weights.len()]);
        *group = (best.values, GroupScale::Plain(best.scale));
    }
}

impl Entered<'_> {
    /// The best of many scales.
    fn best(&self, format: WeightFormat) -> Tried {
        let largest =
            self.targets.iter().fold(0.0f64, |m, t| if t.abs() > m.abs() { *t } else { m });
        let mut best = self.with_scale(f16::ZERO, f64::INFINITY);
        for scale in scales(largest, format) {
            let scale = f16::from_f64(scale);
            if scale.is_finite() && scale != f16::ZERO {
                let tried = self.with_scale(scale, best.loss);
                if tried.loss < best.loss {
                    best = tried;
                }
            }
        }
        best
    }

    /// Rounds weight by weight with one scale, and gives up when the loss reaches `limit`.
    fn with_scale(&self, scale: f16, limit: f64) -> Tried {
        let step = scale.to_f64();
        let inverse = if step == 0.0 { 0.0 } else { 1.0 / step };
        let mut tried = Tried { values: [0; GROUP], differences: [0.0; GROUP], scale, loss: 0.0 };
        let mut targets = self.targets;
        for (k, weight) in self.weights.iter().enumerate() {
            let value = (targets[k] * inverse).round_ties_even().clamp(self.range.0, self.range.1);
            let difference = f64::from(*weight) - value * step;
            tried.values[k] = value as i8;
            tried.differences[k] = difference;
            tried.loss += self.pivots[k] * (targets[k] - value * step).powi(2);
            if tried.loss >= limit {
                tried.loss = f64::INFINITY;
                break;
            }
            let feedback = &self.feedback[k];
            targets.iter_mut().zip(feedback).for_each(|(t, a)| *t += difference * a);
        }
        tried
    }
}

/// Scales worth trying for a group whose largest weight is `largest`.
fn scales(largest: f64, format: WeightFormat) -> impl Iterator<Item = f64> {
    /// From 0.60 to 1.24 of the covering scale.
    const FINE: i32 = 33;
    // Clipping pays where steps are wide. Q8 has -127 and 127, Q4 -8 and 7: there the largest weight may
    // be put on either end.
    let (cover, first, count) = match format {
        WeightFormat::Q8 => (largest.abs() / 127.0, 0.97, 3),
        _ => (largest / -8.0, 0.60, FINE),
    };
    let signs: &[f64] = if format == WeightFormat::Q8 { &[1.0] } else { &[1.0, -1.0] };
    let step = if format == WeightFormat::Q8 { 0.015 } else { 0.02 };
    (0..count).flat_map(move |i| {
        signs.iter().map(move |sign| sign * cover * (first + step * f64::from(i)))
    })
}
