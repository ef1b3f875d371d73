//! Means, gains over the baseline with their standard errors, and what nothing beats.

use super::record::Measured;
use crate::methods::Cost;

/// A number and its standard error.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) error: f64,
}

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
        gain: Cost::ALL.map(|cost| ratio(baseline.cost(cost), cell.cost(cost))),
    }
}

/// Mean with its standard error; of one item that is unknown, and 0 is said.
pub(super) fn mean(list: &[f64]) -> Estimate {
    let n = list.len().max(1) as f64;
    let value = list.iter().sum::<f64>() / n;
    let squares: f64 = list.iter().map(|x| (x - value).powi(2)).sum();
    let error = if list.len() > 1 { (squares / (n - 1.0) / n).sqrt() } else { 0.0 };
    Estimate { value, error }
}

/// Ratio of two means over the same items; the error is that of its linear approximation.
pub(super) fn ratio(above: &[f64], below: &[f64]) -> Estimate {
    let (a, b) = (mean(above).value, mean(below).value);
    if b <= 0.0 {
        return Estimate { value: 1.0, error: 0.0 };
    }
    let value = a / b;
    let rest: Vec<f64> = above.iter().zip(below).map(|(a, b)| a - value * b).collect();
    Estimate { value, error: mean(&rest).error / b }
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

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn means_and_errors() {
        let of = mean(&[1.0, 2.0, 3.0, 4.0]);
        assert!(near(of.value, 2.5) && near(of.error, (5.0f64 / 3.0 / 4.0).sqrt()));
        assert_eq!(mean(&[7.0]), Estimate { value: 7.0, error: 0.0 });
        assert_eq!(mean(&[]).value, 0.0);
    }

    #[test]
    fn a_constant_ratio_has_no_error() {
        let of = ratio(&[4.0, 8.0, 20.0], &[1.0, 2.0, 5.0]);
        assert!(near(of.value, 4.0) && near(of.error, 0.0));
        // Against the spread of many resamples: items 2/1 and 4/1 in equal parts.
        let (above, below): (Vec<f64>, Vec<f64>) =
            (0..100).map(|i| (if i % 2 == 0 { 2.0 } else { 4.0 }, 1.0)).unzip();
        let of = ratio(&above, &below);
        assert!(near(of.value, 3.0) && (of.error - 0.1).abs() < 0.001, "{of:?}");
        assert_eq!(ratio(&[1.0], &[0.0]).value, 1.0);
    }

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
