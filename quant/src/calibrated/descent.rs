//! Coordinate descent on the values and scales of a finished row.
//!
//! GPTQ never goes back. Afterwards each value may still move to the one that is best with all others as
//! they are, and each scale to the one of least loss, which is a quotient (Behdin et al. 2023, QuantEase,
//! arXiv 2309.01885). The loss only falls.

use super::objective::Objective;
use demask::packed::{GROUP, Group, GroupScale, WeightFormat};
use half::f16;

/// Passes over a row at most; most rows settle in about five.
const PASSES: usize = 12;

/// Improves `groups`, whose `differences` from the weights are given and kept up to date.
pub(super) fn improve_row(
    objective: &Objective,
    format: WeightFormat,
    differences: &mut [f64],
    groups: &mut [Group],
) {
    // H d, half the gradient.
    let size = objective.size();
    let mut gradient: Vec<f64> = (0..size)
        .map(|k| objective.hessian(k).iter().zip(&*differences).map(|(h, d)| h * d).sum())
        .collect();
    let mut row = Row { objective, differences, gradient: &mut gradient };
    for _ in 0..PASSES {
        let mut changed = false;
        for (index, (values, scale)) in groups.iter_mut().enumerate() {
            let GroupScale::Plain(scale) = scale else { continue };
            let start = index * GROUP;
            let places = start..size.min(start + GROUP);
            changed |= row.rescale(places.clone(), values, scale);
            for (value, k) in values.iter_mut().zip(places) {
                changed |= row.move_value(k, value, scale.to_f64(), format);
            }
        }
        if !changed {
            break;
        }
    }
}

struct Row<'a> {
    objective: &'a Objective,
    differences: &'a mut [f64],
    gradient: &'a mut [f64],
}

impl Row<'_> {
    /// Adds `change` to what is stored of weight `k`.
    fn change(&mut self, k: usize, change: f64) {
        self.differences[k] -= change;
        let column = self.objective.hessian(k);
        self.gradient.iter_mut().zip(column).for_each(|(g, h)| *g -= change * h);
    }

    fn move_value(&mut self, k: usize, value: &mut i8, step: f64, format: WeightFormat) -> bool {
        if step == 0.0 {
            return false;
        }
        let curvature = self.objective.hessian(k)[k];
        let (min, max) = format.range();
        let wanted = f64::from(*value) + self.gradient[k] / curvature / step;
        let wanted = wanted.round_ties_even().clamp(min.into(), max.into()) as i8;
        // Of Q8 they can be further apart than an i8 holds.
        let change = (f64::from(wanted) - f64::from(*value)) * step;
        // Twice what is gained must outweigh rounding, or two values may be exchanged for ever.
        let gain = change * (2.0 * self.gradient[k] - curvature * change);
        if wanted == *value || gain <= 1e-12 * curvature * change * change {
            return false;
        }
        *value = wanted;
        self.change(k, change);
        true
    }

    fn rescale(
        &mut self,
        places: std::ops::Range<usize>,
        values: &[i8; GROUP],
        scale: &mut f16,
    ) -> bool {
        let used = || places.clone().zip(values).filter(|(_, v)| **v != 0);
        let slope: f64 = used().map(|(k, v)| f64::from(*v) * self.gradient[k]).sum();
        let curvature: f64 = used()
            .map(|(k, v)| {
                let row = self.objective.hessian(k);
                f64::from(*v) * used().map(|(j, v)| row[j] * f64::from(*v)).sum::<f64>()
            })
            .sum();
        if curvature <= 0.0 {
            return false;
        }
        let wanted = f16::from_f64(scale.to_f64() + slope / curvature);
        let change = wanted.to_f64() - scale.to_f64();
        let gain = change * (2.0 * slope - curvature * change);
        if !wanted.is_finite() || wanted == f16::ZERO || gain <= 1e-9 * curvature * change * change
        {
            return false;
        }
        *scale = wanted;
        for (k, value) in places.zip(values) {
            if *value != 0 {
                self.change(k, f64::from(*value) * change);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_move_from_one_end_to_the_other() {
        let identity = [1.0, 0.0, 0.0, 1.0];
        let objective = Objective::full(&identity, 2);
        let mut values = [0; GROUP];
        values[..2].copy_from_slice(&[-100, 100]);
        let mut groups = [(values, GroupScale::Plain(f16::ONE))];
        // Both weights are 100; no other scale is better for values of opposite signs.
        let mut differences = [200.0, 0.0];
        improve_row(&objective, WeightFormat::Q8, &mut differences, &mut groups);
        assert_eq!((&groups[0].0[..2], differences), (&[100, 100][..], [0.0, 0.0]));
    }
}
