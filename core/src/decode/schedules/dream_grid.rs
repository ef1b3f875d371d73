//! Dream's time grid.

use crate::decode::{Schedule, StepCount};

const MILLION: u64 = 1_000_000;

/// Dream's schedule (arXiv 2508.15487): time runs from 1 to `epsilon` in equal steps, and step `t` takes
/// `floor(left * (1 - tau[t+1] / tau[t]))` of the masks that are left; the last step takes all.
///
/// With as many steps as masks the first step takes none. The reference runs the network all the same;
/// here that pass is left out.
///
/// ```
/// use demask::decode::{DreamGrid, Schedule, StepCount};
/// let count = StepCount { steps: 8, masks: 32, left: 32, ..StepCount::default() };
/// assert_eq!(DreamGrid::default().quota(&count), 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DreamGrid {
    /// Where time ends, in millionths.
    epsilon: u32,
}

impl DreamGrid {
    /// Ends at this many millionths: 1000 in the reference. At most half of the time.
    #[must_use]
    pub const fn new(epsilon_millionths: u32) -> Self {
        let half = MILLION as u32 / 2;
        Self { epsilon: if epsilon_millionths < half { epsilon_millionths } else { half } }
    }

    /// `1 - tau[t+1] / tau[t]` as a fraction; all of it in the last step.
    pub(in crate::decode) fn share(self, step: usize, steps: usize) -> (u64, u64) {
        if step.saturating_add(1) >= steps {
            return (1, 1);
        }
        // tau[t] = 1 - t (1 - epsilon) / S, times S.
        let slope = MILLION - u64::from(self.epsilon);
        let time = MILLION.saturating_mul(steps as u64);
        (slope, time.saturating_sub(slope.saturating_mul(step as u64)))
    }
}

/// The grid of the reference: to 0.001.
impl Default for DreamGrid {
    fn default() -> Self {
        Self::new(1000)
    }
}

impl Schedule for DreamGrid {
    fn name(&self) -> &'static str {
        "dream"
    }

    fn quota(&self, count: &StepCount) -> usize {
        let (part, whole) = self.share(count.step, count.steps);
        let taken = (count.left as u64).saturating_mul(part).checked_div(whole);
        taken.map_or(count.left, |taken| taken as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::DreamGrid;
    use crate::decode::schedules::testing::counts;
    use std::vec::Vec;

    #[test]
    fn worked_values() {
        let dream = |steps, masks| counts(&DreamGrid::default(), steps, masks);
        let long = |first, middle, n, last| -> Vec<usize> {
            [std::vec![first], std::vec![middle; n], std::vec![last]].concat()
        };
        assert_eq!(dream(16, 16), long(0, 1, 14, 2));
        assert_eq!(dream(8, 32), long(3, 4, 6, 5));
        assert_eq!(dream(64, 256), long(3, 4, 62, 5));
        assert_eq!(dream(256, 256), long(0, 1, 254, 2));
        assert_eq!(dream(1, 9), [9]);
        assert_eq!(dream(8, 0), [0; 8]);
    }

    /// The formula as Dream writes it, in double precision.
    #[test]
    fn is_the_formula() {
        let mut compared = 0;
        for (steps, masks) in (1..60).flat_map(|steps| (1..80).map(move |masks| (steps, masks))) {
            let tau = |t: usize| 1.0 - t as f64 / steps as f64 * (1.0 - 1e-3);
            let mut left = masks;
            for (t, count) in counts(&DreamGrid::default(), steps, masks).into_iter().enumerate() {
                let exact = left as f64 * (1.0 - tau(t + 1) / tau(t));
                if (exact - exact.round()).abs() > 1e-9 {
                    compared += 1;
                    let expected = if t + 1 == steps { left } else { exact.floor() as usize };
                    assert_eq!(count, expected, "{steps} {masks} {t}");
                }
                left -= count;
            }
            assert_eq!(left, 0);
        }
        assert!(compared > 50_000, "{compared}");
    }

    #[test]
    fn another_end_of_time() {
        assert_eq!(counts(&DreamGrid::new(0), 4, 8), [2, 2, 2, 2]);
        assert_eq!(DreamGrid::new(u32::MAX), DreamGrid::new(500_000));
    }
}
