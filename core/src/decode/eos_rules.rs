//! End rules that keep a text from ending too early, and one that ends the canvas with it.

use super::{Ascending, EosPolicy, FillAll, StepCount, StopAtEos};
use core::ops::Range;

/// The end token is never proposed (LLaDA's `logits_eos_inf`): the answer has its full length.
#[derive(Debug, Clone, Copy, Default)]
pub struct SuppressLogit;

/// Positions that propose the end token come after all others (LLaDA's `confidence_eos_eot_inf`, as it is
/// meant: the release only acts on it at temperature 0). `X` says where the text ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct SuppressRank<X = FillAll>(pub X);

/// Early rejection of the end token (EOSER, arXiv 2509.23924): the confidence of positions that propose it is
/// multiplied by a number that grows to 1. `X` says where the text ends.
#[derive(Debug, Clone, Copy)]
pub struct EosRamp<X = FillAll> {
    from: f32,
    ascending: bool,
    then: X,
}

/// Like [`StopAtEos`], but the canvas ends with the text instead of being filled with end tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct TruncateAtEos;

impl EosRamp {
    /// EOSER alone: from 0.4 in the first step of a block to 1 in the last, in equal parts.
    ///
    /// The release counts the steps of one block against those of all, so that in several blocks it never
    /// gets to 1; that is taken for a slip.
    #[must_use]
    pub const fn linear() -> Self {
        Self { from: 0.4, ascending: false, then: FillAll }
    }

    /// EOSER with [`Ascending`]: from 0.01, by the share of the answer that is filled after the step.
    #[must_use]
    pub const fn ascending() -> Self {
        Self { from: 0.01, ascending: true, then: FillAll }
    }
}

impl<X> EosRamp<X> {
    /// Another factor to begin with, 0 to 1; what is no such number counts as 1.
    #[must_use]
    pub fn starting_at(mut self, from: f32) -> Self {
        self.from = if (0.0..=1.0).contains(&from) { from } else { 1.0 };
        self
    }

    /// With another rule for where the text ends.
    #[must_use]
    pub fn then<Y>(self, then: Y) -> EosRamp<Y> {
        let Self { from, ascending, .. } = self;
        EosRamp { from, ascending, then }
    }

    /// How far the ramp has come, 0 to 1.
    fn progress(&self, count: &StepCount) -> f32 {
        if self.ascending {
            let (step, steps) = Ascending::progress(count);
            // (2^(i+1) - 1) / 2^S.
            let power = |n: u32| 1u64.checked_shl(n).unwrap_or(u64::MAX);
            let filled = power(step.min(steps.saturating_sub(1)).saturating_add(1)) - 1;
            return filled as f32 / power(steps) as f32;
        }
        match count.steps.saturating_sub(1) {
            0 => 1.0,
            last => count.step.min(last) as f32 / last as f32,
        }
    }
}

impl EosPolicy for SuppressLogit {
    fn name(&self) -> &'static str {
        "suppress-logit"
    }

    fn forbids(&self) -> bool {
        true
    }

    fn stop(&self, _: &[u32], _: Range<usize>, _: u32, _: u32) -> Option<usize> {
        None
    }
}

impl<X: EosPolicy> EosPolicy for SuppressRank<X> {
    fn name(&self) -> &'static str {
        "suppress-rank"
    }

    fn weight(&self, _: &StepCount) -> Option<f32> {
        Some(0.0)
    }

    fn truncates(&self) -> bool {
        self.0.truncates()
    }

    fn stop(&self, canvas: &[u32], region: Range<usize>, mask: u32, eos: u32) -> Option<usize> {
        self.0.stop(canvas, region, mask, eos)
    }
}

impl<X: EosPolicy> EosPolicy for EosRamp<X> {
    fn name(&self) -> &'static str {
        if self.ascending { "eoser-ascending" } else { "eoser" }
    }

    fn weight(&self, count: &StepCount) -> Option<f32> {
        Some(self.from + (1.0 - self.from) * self.progress(count))
    }

    fn truncates(&self) -> bool {
        self.then.truncates()
    }

    fn stop(&self, canvas: &[u32], region: Range<usize>, mask: u32, eos: u32) -> Option<usize> {
        self.then.stop(canvas, region, mask, eos)
    }
}

impl EosPolicy for TruncateAtEos {
    fn name(&self) -> &'static str {
        "truncate"
    }

    fn truncates(&self) -> bool {
        true
    }

    fn stop(&self, canvas: &[u32], region: Range<usize>, mask: u32, eos: u32) -> Option<usize> {
        StopAtEos.stop(canvas, region, mask, eos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: impl Iterator<Item = f32>, expected: &[f32]) {
        let got: std::vec::Vec<f32> = got.collect();
        assert_eq!(got.len(), expected.len());
        let near = got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 6e-4);
        assert!(near, "{got:?}");
    }

    #[test]
    fn conformance_vectors_of_the_ramps() {
        let at = |step| StepCount {
            step,
            steps: 8,
            blocks: 1,
            masks: 256,
            length: 256,
            ..StepCount::default()
        };
        let linear = (0..8).map(|step| EosRamp::linear().weight(&at(step)).unwrap());
        close(linear, &[0.4, 0.486, 0.571, 0.657, 0.743, 0.829, 0.914, 1.0]);
        let ascending = (0..8).map(|step| EosRamp::ascending().weight(&at(step)).unwrap());
        close(ascending, &[0.0139, 0.0216, 0.0371, 0.068, 0.1299, 0.2536, 0.5011, 0.9961]);
    }

    #[test]
    fn ramps_end_and_take_any_count() {
        let none = StepCount::default();
        assert_eq!(EosRamp::linear().weight(&none).unwrap(), 1.0);
        assert_eq!(EosRamp::ascending().weight(&none).unwrap(), 1.0);
        let beyond = StepCount { step: usize::MAX, steps: 8, masks: 256, blocks: 1, ..none };
        assert_eq!(EosRamp::linear().weight(&beyond).unwrap(), 1.0);
        assert!((EosRamp::ascending().weight(&beyond).unwrap() - 0.9961).abs() < 1e-4);
        assert_eq!(EosRamp::linear().starting_at(f32::NAN).weight(&none).unwrap(), 1.0);
        let first = StepCount { steps: 8, ..none };
        assert_eq!(EosRamp::linear().starting_at(0.0).weight(&first).unwrap(), 0.0);
    }

    #[test]
    fn the_ramp_of_blocks_is_that_of_the_whole() {
        let of = |block, step| {
            let count = StepCount {
                block,
                step,
                blocks: 4,
                length: 128,
                masks: 15,
                ..StepCount::default()
            };
            EosRamp::ascending().weight(&count).unwrap()
        };
        let whole = (0..7).map(|i| 0.01 + 0.99 * ((2u32 << i) - 1) as f32 / 128.0);
        let whole: std::vec::Vec<f32> = whole.collect();
        let blocks = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0)];
        close(blocks.into_iter().map(|(block, step)| of(block, step)), &whole);
    }

    #[test]
    fn where_the_text_ends_is_another_rule() {
        let ended = [5, 0, 1, 1];
        let stop = |rule: &dyn EosPolicy| rule.stop(&ended, 0..4, 1, 0);
        assert_eq!(stop(&SuppressLogit), None);
        assert_eq!(stop(&SuppressRank::<FillAll>::default()), None);
        assert_eq!(stop(&SuppressRank(StopAtEos)), Some(1));
        assert_eq!(stop(&EosRamp::linear().then(TruncateAtEos)), Some(1));
        assert!(EosRamp::linear().then(TruncateAtEos).truncates() && TruncateAtEos.truncates());
        assert!(SuppressLogit.forbids() && !SuppressRank::<FillAll>::default().forbids());
    }
}
