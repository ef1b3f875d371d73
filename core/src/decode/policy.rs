//! Commit policies: which masked positions become tokens in this step.

use super::{Edit, LogitBias, Needs, StepView};
use core::ops::Range;

/// Chooses what to commit, and what to take back.
///
/// The session owns the rules that hold for all policies: only legal decisions are carried out, every
/// pass makes progress, and there is an end. A policy need not care.
///
/// # Example
/// ```
/// use demask::decode::{CommitPolicy, Edit, StepView};
///
/// /// Whatever is a quarter ahead of the second-best token.
/// struct Margin;
///
/// impl CommitPolicy for Margin {
///     fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
///         for score in view.candidates().filter(|score| score.margin() >= 0.25) {
///             edit.offer(view.proposed_by(score, score.margin()), usize::MAX);
///         }
///     }
/// }
/// ```
pub trait CommitPolicy {
    /// Name as the command line spells it.
    fn name(&self) -> &'static str {
        "custom"
    }

    /// What it asks of the model and the session.
    fn needs(&self) -> Needs {
        Needs::NONE
    }

    /// Whether it looks at the schedule's quota. Steps for which that is nothing then make no forward
    /// pass.
    fn follows_schedule(&self) -> bool {
        false
    }

    /// Whether it brings itself to an end within the planned steps. The session otherwise makes it commit
    /// something in every pass, and lets it take back fewer tokens than it commits. The cap on the passes
    /// of a block holds in any case.
    fn bounds_itself(&self) -> bool {
        false
    }

    /// Longest canvas that its own memory is made for.
    fn capacity(&self) -> usize {
        usize::MAX
    }

    /// A text of `region` on a canvas begins.
    fn begin(&mut self, _region: Range<usize>) {}

    /// A block begins with this many masks in it.
    fn begin_block(&mut self, _block: Range<usize>, _masks: usize) {}

    /// What to add to logits in the next pass, ascending by position; needs [`Needs::BIAS`].
    fn bias(&self) -> &[LogitBias] {
        &[]
    }

    /// Decides this step.
    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>);

    /// Asked when a block has no masks left: whether to look at it once more. The session ends that
    /// after [`MAX_POST_STEPS`](crate::MAX_POST_STEPS) passes.
    fn continues(&self) -> bool {
        false
    }
}

/// A borrowed or boxed one is one too.
macro_rules! forward {
    ($type:ty) => {
        impl<P: CommitPolicy + ?Sized> CommitPolicy for $type {
            fn name(&self) -> &'static str {
                (**self).name()
            }

            fn needs(&self) -> Needs {
                (**self).needs()
            }

            fn follows_schedule(&self) -> bool {
                (**self).follows_schedule()
            }

            fn bounds_itself(&self) -> bool {
                (**self).bounds_itself()
            }

            fn capacity(&self) -> usize {
                (**self).capacity()
            }

            fn begin(&mut self, region: Range<usize>) {
                (**self).begin(region);
            }

            fn begin_block(&mut self, block: Range<usize>, masks: usize) {
                (**self).begin_block(block, masks);
            }

            fn bias(&self) -> &[LogitBias] {
                (**self).bias()
            }

            fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
                (**self).select(view, edit);
            }

            fn continues(&self) -> bool {
                (**self).continues()
            }
        }
    };
}

forward!(&mut P);
#[cfg(feature = "alloc")]
forward!(alloc::boxed::Box<P>);
