//! Tokens leave again.

use super::ancestral::{fill, unmask};
use super::lowest::take_back;
use super::time::interval;
use crate::decode::{CommitPolicy, Edit, Needs, StepView};
use crate::math::exp;
use core::ops::Range;

/// Sampling with remasking (ReMDM, arXiv 2503.00307): ancestral steps in which every token of the block may
/// become a mask again. After the last planned step the masks that are left become their most probable
/// tokens. Steps that change nothing need no pass of their own.
///
/// From time `t` to time `s` a share `a(t) = 1 - t` of the tokens is decided. No more than
/// `limit = min(1, (1 - a(s)) / a(t))` may be taken back. Published with 1024 steps for 1024 tokens,
/// temperature 1 and top-p 0.9.
///
/// The number of a step is the release's, so `steps` should be about the length of the answer or more.
#[derive(Debug)]
pub struct Remdm<'a> {
    rule: Rule,
    /// Per position, the probability of its token when it was committed.
    confidences: &'a mut [f32],
    /// Steps of this block so far.
    step: usize,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Cap(f32),
    Rescale(f32),
    Confidence,
    Loop(Phases),
}

/// When [`Remdm::loop_between`] takes tokens back: while time goes from `on` to `off`, and a share `level`
/// of the tokens is decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phases {
    /// Time at which it begins.
    pub on: f32,
    /// Time at which it ends.
    pub off: f32,
    /// Share of tokens that stays decided meanwhile.
    pub level: f32,
    /// Probability of a token to be taken back.
    pub rate: f32,
}

impl Phases {
    /// As published.
    pub const PUBLISHED: Self = Self { on: 0.55, off: 0.05, level: 0.9, rate: 0.02 };
}

impl Default for Phases {
    fn default() -> Self {
        Self::PUBLISHED
    }
}

/// What a step does.
#[derive(Debug, Clone, Copy)]
struct Rates {
    /// Probability of a mask to become a token.
    unmask: f32,
    /// Probability of a token to become a mask.
    remask: f32,
}

impl Remdm<'static> {
    /// Takes back with probability `rate`, at most the limit; published: 0.008.
    #[must_use]
    pub fn cap(rate: f32) -> Self {
        Self { rule: Rule::Cap(rate), confidences: &mut [], step: 0 }
    }

    /// Takes back with probability `factor` of the limit; published: 0.015.
    #[must_use]
    pub fn rescale(factor: f32) -> Self {
        Self { rule: Rule::Rescale(factor), confidences: &mut [], step: 0 }
    }

    /// Takes back only between two times; published: [`Phases::PUBLISHED`].
    #[must_use]
    pub fn loop_between(phases: Phases) -> Self {
        Self { rule: Rule::Loop(phases), confidences: &mut [], step: 0 }
    }
}

impl<'a> Remdm<'a> {
    /// Shares the limit among the tokens: the less probable they were when they were committed, the more.
    /// Memory for one number per position of the canvas.
    #[must_use]
    pub fn by_confidence(confidences: &'a mut [f32]) -> Self {
        Self { rule: Rule::Confidence, confidences, step: 0 }
    }

    /// Commits as the step says, and remembers how probable the tokens were.
    fn unmask(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>, rates: Rates, step: usize) {
        unmask(view, edit, rates.unmask, step);
        for commit in edit.commits() {
            let score = view.score(commit.position);
            let place = self.confidences.get_mut(commit.position as usize);
            if let (Some(score), Some(place)) = (score, place) {
                *place = score.confidence();
            }
        }
    }

    /// Takes tokens back as the step says, those of this pass too if the canvas is `full`. Whether there
    /// were any.
    fn remask(
        &self,
        view: &StepView<'_>,
        edit: &mut Edit<'_>,
        (rates, step): (Rates, usize),
        full: bool,
    ) -> bool {
        let block = view.block.clone().zip((0u32..).skip(view.block.start));
        let tokens = block
            .filter(|(_, position)| view.is_open(*position) && (full || !view.is_mask(*position)));
        let weight = |at: usize| match self.rule {
            Rule::Confidence => self.confidences.get(at).map_or(1.0, |c| exp(-c)),
            _ => 1.0,
        };
        let total = match self.rule {
            Rule::Confidence => tokens.clone().map(|(at, _)| weight(at)).sum(),
            _ => 1.0,
        };
        let mut any = false;
        for (at, position) in tokens {
            let rate = weight(at) / total * rates.remask;
            if view.uniform(position, step as u32) < rate {
                take_back(view, edit, (rate, position));
                any = true;
            }
        }
        any
    }
}

impl Rule {
    fn rates(self, step: usize, steps: usize) -> Rates {
        let (t, s) = interval(step, steps);
        let (before, after) = (1.0 - t, 1.0 - s);
        let limit = limit(before, after);
        let remask = match self {
            Self::Cap(rate) => rate.min(limit),
            Self::Rescale(factor) => factor * limit,
            // The masks have no share in it.
            Self::Confidence => {
                return Rates { unmask: (after - before) / (1.0 - before), remask: limit };
            }
            Self::Loop(phases) => return phases.rates(t, s),
        };
        Rates { unmask: (after - (1.0 - remask) * before) / (1.0 - before), remask }
    }
}

impl Phases {
    fn rates(self, t: f32, s: f32) -> Rates {
        let Self { on, off, level, rate } = self;
        let plain = |before: f32, after: f32| Rates {
            unmask: (after - before) / (1.0 - before),
            remask: 0.0,
        };
        if t > on {
            let share = |t: f32| (1.0 - t) * level / (1.0 - on);
            plain(share(t), share(s))
        } else if t <= off {
            let share = |t: f32| 1.0 - t * (1.0 - level) / off;
            plain(share(t), share(s))
        } else {
            Rates { unmask: rate * level / (1.0 - level), remask: rate }
        }
    }
}

/// Largest share of tokens that may be taken back while the decided share goes from `before` to `after`.
fn limit(before: f32, after: f32) -> f32 {
    ((1.0 - after) / before).min(1.0)
}

impl CommitPolicy for Remdm<'_> {
    fn name(&self) -> &'static str {
        match self.rule {
            Rule::Cap(_) => "remdm-cap",
            Rule::Rescale(_) => "remdm-rescale",
            Rule::Confidence => "remdm-conf",
            Rule::Loop(_) => "remdm-loop",
        }
    }

    fn needs(&self) -> Needs {
        Needs::REVISIONS
    }

    fn bounds_itself(&self) -> bool {
        true
    }

    fn capacity(&self) -> usize {
        match self.rule {
            Rule::Confidence => self.confidences.len(),
            _ => usize::MAX,
        }
    }

    fn begin(&mut self, _: Range<usize>) {
        self.confidences.fill(1.0);
    }

    fn begin_block(&mut self, _: Range<usize>, _: usize) {
        self.step = 0;
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let steps = view.count.steps;
        let before_end = view.canvas.get(..view.block.end).unwrap_or_default();
        let masks = before_end.iter().filter(|token| **token == view.mask_id).count();
        // Without masks the next tokens to be taken back do not depend on the network.
        let mut full = false;
        while self.step < steps {
            let step = self.step;
            self.step += 1;
            let rates = self.rule.rates(step, steps);
            if !full {
                self.unmask(view, edit, rates, step);
            }
            let remasked = self.remask(view, edit, (rates, step), full);
            full = edit.commits().len() == masks && !remasked;
            if remasked || !full && !edit.commits().is_empty() {
                return;
            }
        }
        if !full {
            fill(view, edit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Phases, Rule, limit};

    #[test]
    fn conformance_vectors() {
        assert!((limit(0.5, 0.501) - 0.998).abs() < 1e-4);
        assert!((limit(0.9, 0.901) - 0.11).abs() < 1e-4);
        assert_eq!(limit(0.0, 0.1), 1.0, "nothing to take back");
    }

    #[test]
    fn rates_are_probabilities_and_keep_the_share_of_masks() {
        let loops = Rule::Loop(Phases::PUBLISHED);
        for rule in [Rule::Cap(0.008), Rule::Rescale(0.015), loops] {
            let mut masks = 1.0f64;
            for step in 0..1024 {
                let rates = rule.rates(step, 1024);
                assert!((0.0..=1.0).contains(&rates.unmask), "{rule:?} {step} {rates:?}");
                assert!((0.0..=1.0).contains(&rates.remask), "{rule:?} {step} {rates:?}");
                let leaving = masks * f64::from(rates.unmask);
                masks += (1.0 - masks) * f64::from(rates.remask) - leaving;
            }
            assert!(masks < 0.01, "{rule:?} {masks}");
        }
        // In the loop the share of decided tokens is the level.
        let rates = loops.rates(512, 1024);
        assert!((rates.unmask * 0.1 - rates.remask * 0.9).abs() < 1e-6);
    }
}
