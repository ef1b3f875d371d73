//! What is sure and has stopped moving.

use crate::decode::{CommitPolicy, Edit, Needs, StepView};
use core::ops::Range;

/// KLASS (arXiv 2511.05664): commits every proposal with a probability above a threshold whose distribution
/// has moved by less than `divergence` nats in each of the last two passes; if there is none, the schedule's
/// count of the most probable ones, at least one.
///
/// Published for LLaDA with blocks of 64: probability 0.6 and divergence 0.015 (GSM8K), 0.6 and 0.01 (MATH),
/// 0.9 and 0.01 (HumanEval), 0.7 and 0.01 (MBPP); for Dream 0.9 and 0.001, HumanEval 0.8 and 0.001. The
/// release may run out of steps with masks left; here it goes on until all is decided, and steps in which
/// the schedule wants nothing make no pass. Memory for one byte per position of the canvas.
#[derive(Debug)]
pub struct Klass<'a> {
    confidence: f32,
    divergence: f32,
    /// Per position, passes in a row in which its distribution has hardly moved.
    still: &'a mut [u8],
}

/// Passes in a row that make a distribution stable.
const HISTORY: u8 = 2;

impl<'a> Klass<'a> {
    /// The setting for LLaDA on GSM8K.
    #[must_use]
    pub fn new(still: &'a mut [u8]) -> Self {
        Self::with_thresholds(0.6, 0.015, still)
    }

    /// Probability above `confidence`, movement below `divergence` nats.
    #[must_use]
    pub fn with_thresholds(confidence: f32, divergence: f32, still: &'a mut [u8]) -> Self {
        Self { confidence, divergence, still }
    }
}

impl CommitPolicy for Klass<'_> {
    fn name(&self) -> &'static str {
        "klass"
    }

    fn needs(&self) -> Needs {
        Needs::DIVERGENCE
    }

    fn follows_schedule(&self) -> bool {
        true
    }

    fn capacity(&self) -> usize {
        self.still.len()
    }

    fn begin_block(&mut self, _: Range<usize>, _: usize) {
        self.still.fill(0);
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        for score in view.candidates() {
            let Some(still) = self.still.get_mut(score.position as usize) else { continue };
            *still = match score.divergence < self.divergence {
                true => still.saturating_add(1),
                false => 0,
            };
            let commit = view.proposed(score);
            if *still >= HISTORY && commit.confidence > self.confidence {
                edit.offer(commit, usize::MAX);
            }
        }
        if edit.commits().is_empty() {
            for score in view.candidates() {
                edit.offer(view.proposed(score), view.quota.max(1));
            }
        }
    }
}
