//! How many tokens a step should commit.

/// A count schedule. `step` counts from the block's first step.
pub trait Schedule {
    /// Tokens to commit at `step` of `steps`, of a block that began with `masks` masks.
    fn quota(&self, step: usize, steps: usize, masks: usize) -> usize;
}

/// LLaDA's schedule: the same count at every step, the remainder on the first ones.
///
/// ```
/// use demask::decode::{Even, Schedule};
/// let counts: Vec<_> = (0..5).map(|step| Even.quota(step, 5, 32)).collect();
/// assert_eq!(counts, [7, 7, 6, 6, 6]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Even;

impl Schedule for Even {
    fn quota(&self, step: usize, steps: usize, masks: usize) -> usize {
        let steps = steps.max(1);
        masks / steps + usize::from(step < masks % steps)
    }
}

impl<S: Schedule + ?Sized> Schedule for &S {
    fn quota(&self, step: usize, steps: usize, masks: usize) -> usize {
        (**self).quota(step, steps, masks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_with_fewer_masks_than_steps() {
        let counts: [usize; 8] = core::array::from_fn(|step| Even.quota(step, 8, 3));
        assert_eq!(counts, [1, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(Even.quota(0, 0, 3), 3);
    }
}
