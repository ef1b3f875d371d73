//! Faster as it gets surer, with a step back now and then.

use super::lowest::{next_lowest, open_tokens, take_back};
use crate::decode::{CommitPolicy, Edit, Needs, StepView};
use core::ops::Range;

/// Saber (arXiv 2510.18165): commits every proposal above the mean confidence of all tokens committed so
/// far, at least two, and takes some of the block's tokens back, fewer than it commits: for LLaDA those
/// whose top probability has fallen most since the pass before, for Dream those that are least probable now.
/// Those that the pass itself commits may be among them. A pass that completes the block takes nothing back.
///
/// Published with one block of 256 tokens. Dream's release can take back the only token that it commits and
/// so never end; here it keeps that. Memory for two numbers per position of the canvas.
#[derive(Debug)]
pub struct Saber<'a> {
    /// The rule for Dream.
    dream: bool,
    /// Per position: the confidence of its token when it was committed, 0 if that has not happened, and the
    /// top probability in the pass before.
    memory: &'a mut [[f32; 2]],
}

/// Commits of a pass, at least.
const LEAST: usize = 2;

impl<'a> Saber<'a> {
    /// As for LLaDA: takes back what has become doubtful. The mean is of each position's last commit.
    #[must_use]
    pub fn llada(memory: &'a mut [[f32; 2]]) -> Self {
        Self { dream: false, memory }
    }

    /// As for Dream: takes back what is least probable. The mean is of each position's first commit.
    #[must_use]
    pub fn dream(memory: &'a mut [[f32; 2]]) -> Self {
        Self { dream: true, memory }
    }

    /// Mean confidence of the tokens committed so far; 1 if there are none.
    fn threshold(&self) -> f32 {
        let committed = self.memory.iter().map(|[committed, _]| *committed).filter(|c| *c > 0.0);
        let count = committed.clone().count();
        if count == 0 { 1.0 } else { committed.sum::<f32>() / count as f32 }
    }

    fn remember_commits(&mut self, edit: &Edit<'_>) {
        for commit in edit.commits() {
            if let Some([committed, _]) = self.memory.get_mut(commit.position as usize)
                && (!self.dream || *committed == 0.0)
            {
                *committed = commit.confidence;
            }
        }
    }

    /// The lower, the sooner it is taken back.
    fn trust(&self, view: &StepView<'_>, position: u32) -> f32 {
        let Some(score) = view.score(position) else { return f32::MAX };
        if !self.dream {
            let before = self.memory.get(position as usize).map_or(0.0, |[_, before]| *before);
            return score.top_probability() - before;
        }
        match view.is_mask(position) {
            true => score.confidence(),
            false => score.current_probability(),
        }
    }

    fn step_back(&self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let limit = step_back(edit.commits().len(), self.dream);
        let mut last = None;
        for _ in 0..limit {
            let block = &view.block;
            let committed = edit.commits().iter().map(|commit| commit.position);
            let tokens = committed.filter(|position| block.contains(&(*position as usize)));
            let tokens = tokens.chain(open_tokens(view));
            let ranks = tokens.map(|position| (self.trust(view, position), position));
            let Some(next) = next_lowest(ranks, last) else { break };
            take_back(view, edit, next);
            last = Some(next);
        }
    }
}

/// Tokens that a pass with so many commits takes back.
fn step_back(commits: usize, dream: bool) -> usize {
    let least = if dream { 1 } else { LEAST / 2 };
    commits.div_ceil(8).max(least).min(commits.saturating_sub(1))
}

impl CommitPolicy for Saber<'_> {
    fn name(&self) -> &'static str {
        if self.dream { "saber-dream" } else { "saber" }
    }

    fn needs(&self) -> Needs {
        Needs::BLOCK_ROWS.and(Needs::REVISIONS)
    }

    fn capacity(&self) -> usize {
        self.memory.len()
    }

    fn begin(&mut self, _: Range<usize>) {
        self.memory.fill([0.0; 2]);
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let threshold = self.threshold();
        for score in view.candidates() {
            let commit = view.proposed(score);
            if commit.confidence > threshold {
                edit.offer(commit, usize::MAX);
            }
        }
        if edit.commits().len() < LEAST {
            edit.clear_commits();
            for score in view.candidates() {
                edit.offer(view.proposed(score), LEAST);
            }
        }
        self.remember_commits(edit);
        if edit.commits().len() < view.candidates().count() {
            self.step_back(view, edit);
        }
        for score in view.scores {
            if let Some([_, before]) = self.memory.get_mut(score.position as usize) {
                *before = score.top_probability();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Saber, step_back};
    use crate::decode::policies::testing::{CONFIDENCES, select};

    #[test]
    fn conformance_vectors() {
        for dream in [false, true] {
            assert_eq!([2, 3, 8, 9, 20].map(|k| step_back(k, dream)), [1, 1, 1, 2, 3]);
            assert_eq!([0, 1].map(|k| step_back(k, dream)), [0, 0]);
        }
    }

    #[test]
    fn the_first_pass_commits_two_and_keeps_the_better_one() {
        let mut memory = [[0.0; 2]; 8];
        assert_eq!(select(&mut Saber::llada(&mut memory), &CONFIDENCES, 0), [4]);
        assert_eq!(memory[0][0], 0.97f32.ln().exp(), "counts for the mean");
        assert_eq!(select(&mut Saber::dream(&mut memory), &[0.9, 0.5], 0), [0, 1], "complete");
    }
}
