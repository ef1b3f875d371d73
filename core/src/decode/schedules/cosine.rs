//! Few at first, many at the end.

use crate::decode::{Schedule, StepCount};
use crate::math::cos;

/// The cosine schedule of MaskGIT (arXiv 2202.04200): `cos(pi t / 2)` of the masks are left at the share `t`
/// of the steps. Early steps may take none, and make no pass.
///
/// Step `t` takes the difference of `floor(m (1 - cos(pi t / 2 S)))`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cosine;

impl Schedule for Cosine {
    fn name(&self) -> &'static str {
        "cosine"
    }

    fn quota(&self, count: &StepCount) -> usize {
        let steps = count.steps.max(1);
        let filled = |step: usize| {
            if step >= steps {
                return count.masks;
            }
            let share = step as f32 / steps as f32;
            let filled = count.masks as f32 * (1.0 - cos(share * core::f32::consts::FRAC_PI_2));
            (filled as usize).min(count.masks)
        };
        filled(count.step.saturating_add(1)).saturating_sub(filled(count.step))
    }
}

#[cfg(test)]
mod tests {
    use super::Cosine;
    use crate::decode::schedules::testing::counts;

    #[test]
    fn few_at_first() {
        // 32 (1 - cos(pi t / 16)) is 0.61, 2.43, 5.39, 9.37, 14.22, 19.75, 25.76, 32.
        assert_eq!(counts(&Cosine, 8, 32), [0, 2, 3, 4, 5, 5, 6, 7]);
        assert_eq!(counts(&Cosine, 1, 5), [5]);
        assert_eq!(counts(&Cosine, 4, 0), [0; 4]);
    }

    #[test]
    fn sums_up() {
        for (steps, masks) in (1..40).flat_map(|steps| (0..90).map(move |masks| (steps, masks))) {
            assert_eq!(counts(&Cosine, steps, masks).iter().sum::<usize>(), masks);
        }
    }
}
