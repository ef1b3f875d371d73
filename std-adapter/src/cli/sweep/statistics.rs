//! Gains over the baseline with their standard errors, and what nothing beats.

use super::record::Measured;
use crate::harness::statistics::{Estimate, mean, ratio};
use crate::methods::Cost;

/// One cell beside the baseline.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(super) struct Summary {
    /// Percent of right answers.
    pub(super) quality: Estimate,
    /// The same less the baseline's, item by item.
    pub(super) difference: Estimate,
    /// Per item, in the order of [`Cost::ALL`].
    pub(super) cost: [Estimate; 3],
    /// How many times less than the baseline, in the same order.
    pub(super) gain: [Estimate; 3],
}

impl Measured {
    pub(super) fn cost(&self, cost: Cost) -> &[f64] {
        match cost {
            Cost::Forwards => &self.forwards,
            Cost::Rows => &self.rows,
            Cost::Seconds => &self.seconds,
        }
    }
}

/// Compares two lists of the same items.
pub(super) fn compare(cell: &Measured, baseline: &Measured) -> Summary {
    let percent = |list: &[f64]| list.iter().map(|x| 100.0 * x).collect::<Vec<_>>();
    let (quality, base) = (percent(&cell.quality), percent(&baseline.quality));
    let difference: Vec<f64> = quality.iter().zip(&base).map(|(a, b)| a - b).collect();
    Summary {
        quality: mean(&quality),
        difference: mean(&difference),
        cost: Cost::ALL.map(|cost| mean(cell.cost(cost))),
        gain: Cost::ALL.map(|cost| gain(baseline.cost(cost), cell.cost(cost))),
    }
}

/// How many times less `cost` is than the baseline's; of what costs nothing that is unknown, and 1 is said.
fn gain(baseline: &[f64], cost: &[f64]) -> Estimate {
    ratio(baseline, cost).unwrap_or(Estimate { value: 1.0, error: 0.0 })
}

/// Which points no other one beats: none has at least the quality for less, or more for as much.
pub(super) fn front(points: &[(f64, f64)]) -> Vec<bool> {
    let beaten = |&(cost, quality): &(f64, f64)| {
        points.iter().any(|&(c, q)| c <= cost && q >= quality && (c < cost || q > quality))
    };
    points.iter().map(|point| !beaten(point)).collect()
}

/// Whether a published gain shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As large as published, within two standard errors, at no loss.
    Shows,
    /// There is a gain, but a smaller one.
    Less,
    /// There is none.
    Absent,
    /// Answers get worse by more than half a point and two standard errors.
    Costly,
}

/// Judges a gain against a published one.
pub(super) fn judge(published: f64, gain: Estimate, difference: Estimate) -> Verdict {
    if difference.value < -0.5 && difference.value + 2.0 * difference.error < 0.0 {
        Verdict::Costly
    } else if gain.value + 2.0 * gain.error >= published {
        Verdict::Shows
    } else if gain.value - 2.0 * gain.error > 1.0 {
        Verdict::Less
    } else {
        Verdict::Absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_has_what_nothing_beats() {
        let points = [(10.0, 90.0), (5.0, 80.0), (6.0, 80.0), (5.0, 80.0), (1.0, 10.0), (2.0, 5.0)];
        assert_eq!(front(&points), [true, true, false, true, true, false]);
    }

    #[test]
    fn verdicts() {
        let at = |value, error| Estimate { value, error };
        assert_eq!(judge(3.0, at(2.9, 0.1), at(0.0, 0.0)), Verdict::Shows);
        assert_eq!(judge(3.0, at(2.0, 0.1), at(-0.4, 0.0)), Verdict::Less);
        assert_eq!(judge(3.0, at(1.1, 0.1), at(0.0, 0.0)), Verdict::Absent);
        assert_eq!(judge(3.0, at(9.0, 0.1), at(-4.0, 1.0)), Verdict::Costly);
        assert_eq!(judge(3.0, at(9.0, 0.1), at(-4.0, 3.0)), Verdict::Shows);
    }
}
