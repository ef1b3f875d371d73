//! How many tokens a step should commit.

use super::StepCount;

/// A count schedule, for policies that follow one.
pub trait Schedule {
    /// Name as the command line spells it.
    fn name(&self) -> &'static str {
        "custom"
    }

    /// Tokens to commit in this step.
    fn quota(&self, count: &StepCount) -> usize;

    /// Tokens of block `index` of `blocks` of an answer of `length`; `None` for equal blocks.
    fn block_length(&self, _index: usize, _blocks: usize, _length: usize) -> Option<usize> {
        None
    }
}

/// LLaDA's schedule: the same count at every step, the remainder on the first ones.
///
/// ```
/// use demask::decode::{Even, Schedule, StepCount};
/// let count = StepCount { steps: 5, masks: 32, ..StepCount::default() };
/// let quotas: Vec<_> = (0..5).map(|step| Even.quota(&StepCount { step, ..count })).collect();
/// assert_eq!(quotas, [7, 7, 6, 6, 6]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Even;

impl Schedule for Even {
    fn name(&self) -> &'static str {
        "even"
    }

    fn quota(&self, count: &StepCount) -> usize {
        let steps = count.steps.max(1);
        count.masks / steps + usize::from(count.step < count.masks % steps)
    }
}

/// A borrowed or boxed one is one too.
macro_rules! forward {
    ($type:ty) => {
        impl<S: Schedule + ?Sized> Schedule for $type {
            fn name(&self) -> &'static str {
                (**self).name()
            }

            fn quota(&self, count: &StepCount) -> usize {
                (**self).quota(count)
            }

            fn block_length(&self, index: usize, blocks: usize, length: usize) -> Option<usize> {
                (**self).block_length(index, blocks, length)
            }
        }
    };
}

forward!(&S);
#[cfg(feature = "alloc")]
forward!(alloc::boxed::Box<S>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_with_fewer_masks_than_steps() {
        let quota =
            |step, steps| Even.quota(&StepCount { step, steps, masks: 3, ..StepCount::default() });
        let counts: [usize; 8] = core::array::from_fn(|step| quota(step, 8));
        assert_eq!(counts, [1, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(quota(0, 0), 3);
    }
}
