//! LaViDa's shifted schedule.

use crate::decode::{Schedule, StepCount};

/// LaViDa's schedule (arXiv 2505.16839): `F(t) = alpha t / (1 + (alpha - 1) t)` of the masks are to be filled
/// at the share `t` of the steps. Below 1, alpha takes more of them early; 1/3 is the published value.
///
/// As the reference rounds: differences of `floor(m F)`, each at least 1; what that makes too many is taken
/// back one by one, round and round, from those above 1; then the list is reversed. The reference does
/// not come to an end with more steps than masks; here the steps beyond the masks take none.
///
/// ```
/// use demask::decode::{LavidaShift, Schedule, StepCount};
/// let count = StepCount { steps: 8, masks: 32, ..StepCount::default() };
/// let quotas: [usize; 8] =
///     core::array::from_fn(|step| LavidaShift::default().quota(&StepCount { step, ..count }));
/// assert_eq!(quotas, [10, 6, 5, 3, 3, 2, 2, 1]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LavidaShift {
    numerator: u32,
    denominator: u32,
}

impl LavidaShift {
    /// Alpha as a fraction. Both parts are taken to lie within 1 and a million.
    #[must_use]
    pub fn new(numerator: u32, denominator: u32) -> Self {
        let within = |part: u32| part.clamp(1, 1_000_000);
        Self { numerator: within(numerator), denominator: within(denominator) }
    }
}

impl Default for LavidaShift {
    fn default() -> Self {
        Self::new(1, 3)
    }
}

/// The counts of one block before they are reversed.
#[derive(Clone, Copy)]
struct Counts {
    shift: LavidaShift,
    steps: u64,
    masks: u64,
}

impl Counts {
    /// `floor(m F(k / S))`.
    fn filled(self, k: u64) -> u64 {
        let (n, d) = (u64::from(self.shift.numerator), u64::from(self.shift.denominator));
        // alpha k m / (S + (alpha - 1) k), times the denominator.
        let whole = (d * (self.steps - k.min(self.steps))).saturating_add(n.saturating_mul(k));
        n.saturating_mul(k).saturating_mul(self.masks).checked_div(whole).unwrap_or(0)
    }

    /// Count `k`, at least 1.
    fn raised(self, k: u64) -> u64 {
        self.filled(k + 1).saturating_sub(self.filled(k)).max(1)
    }

    /// What `rounds` rounds take back.
    fn taken_back(self, rounds: u64) -> u64 {
        (0..self.steps).map(|k| (self.raised(k) - 1).min(rounds)).sum()
    }

    /// Count `k` when the counts sum up to the masks.
    fn of(self, k: u64) -> u64 {
        let sum: u64 = (0..self.steps).map(|k| self.raised(k)).sum();
        let surplus = sum.saturating_sub(self.masks);
        // The most rounds that take back no more than the surplus.
        let (mut rounds, mut beyond) = (0, self.masks.saturating_add(1));
        while rounds + 1 < beyond {
            let middle = rounds.midpoint(beyond);
            match self.taken_back(middle) <= surplus {
                true => rounds = middle,
                false => beyond = middle,
            }
        }
        // The last round does not get all the way round.
        let rest = surplus.saturating_sub(self.taken_back(rounds));
        let before = (0..k).filter(|k| self.raised(*k) > rounds.saturating_add(1)).count() as u64;
        let count = self.raised(k).saturating_sub(rounds).max(1);
        count - u64::from(count > 1 && before < rest)
    }
}

impl Schedule for LavidaShift {
    fn name(&self) -> &'static str {
        "lavida"
    }

    fn quota(&self, count: &StepCount) -> usize {
        let steps = count.steps.clamp(1, count.masks.max(1));
        let Some(k) = steps.checked_sub(count.step.saturating_add(1)) else { return 0 };
        if count.masks == 0 {
            return 0;
        }
        let counts = Counts { shift: *self, steps: steps as u64, masks: count.masks as u64 };
        counts.of(k as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::LavidaShift;
    use crate::decode::schedules::testing::counts;
    use std::vec::Vec;

    #[test]
    fn conformance_vectors() {
        let lavida = |n, d, steps| counts(&LavidaShift::new(n, d), steps, 32);
        assert_eq!(lavida(1, 3, 8), [10, 6, 5, 3, 3, 2, 2, 1]);
        assert_eq!(lavida(1, 1, 8), [4; 8]);
        assert_eq!(lavida(3, 1, 8), [2, 2, 2, 2, 4, 4, 7, 9]);
        let sixteen = [6, 4, 4, 2, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        assert_eq!(lavida(1, 3, 16), sixteen);
    }

    /// The rule with a list, as it is told.
    fn with_a_list((n, d): (u64, u64), steps: usize, masks: usize) -> Vec<usize> {
        let (s, m) = (steps as u64, masks as u64);
        let filled = |k: u64| n * k * m / (d * s - d * k + n * k);
        let mut list: Vec<u64> = (0..s).map(|k| (filled(k + 1) - filled(k)).max(1)).collect();
        let mut surplus = list.iter().sum::<u64>() - m;
        while surplus > 0 {
            for count in &mut list {
                if *count > 1 && surplus > 0 {
                    *count -= 1;
                    surplus -= 1;
                }
            }
        }
        list.reverse();
        list.into_iter().map(|count| count as usize).collect()
    }

    #[test]
    fn is_the_rule_without_a_list() {
        for alpha in [(1, 3), (33, 100), (1, 10), (1, 1), (3, 1), (50, 1), (1, 500)] {
            for masks in 1..70usize {
                for steps in 1..=masks {
                    let shift = LavidaShift::new(alpha.0 as u32, alpha.1 as u32);
                    let got = counts(&shift, steps, masks);
                    assert_eq!(got, with_a_list(alpha, steps, masks), "{alpha:?} {steps} {masks}");
                }
            }
        }
    }

    #[test]
    fn more_steps_than_masks_come_to_an_end() {
        assert_eq!(counts(&LavidaShift::default(), 6, 3), [1, 1, 1, 0, 0, 0]);
        assert_eq!(counts(&LavidaShift::default(), 3, 0), [0, 0, 0]);
        assert_eq!(counts(&LavidaShift::new(0, u32::MAX), 2, 9).iter().sum::<usize>(), 9);
    }
}
