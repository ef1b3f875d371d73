//! One anchor in every gap, and doubtful tokens are gaps too.

use super::Hierarchical;
use super::lowest::{next_lowest, open_tokens, take_back};
use crate::decode::{CommitPolicy, Edit, Needs, Score, StepView};

/// dInfer's [`Hierarchical`] rule with remasking (arXiv 2510.08666). Tokens of the block whose probability is
/// now below `doubt` count as masks: of every run of adjacent candidates the best proposal is taken, if its
/// probability is above `low`, and everything above `high`, but at least the best mask. A doubtful token
/// becomes what is proposed there if that is taken, else a mask; fewer tokens become masks than masks become
/// tokens, the most doubtful first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HierarchicalRemask {
    runs: Hierarchical,
    doubt: f32,
}

impl HierarchicalRemask {
    /// `low` is at most `high`: a larger one counts as that.
    #[must_use]
    pub fn new(low: f32, high: f32, doubt: f32) -> Self {
        Self { runs: Hierarchical::new(low, high), doubt }
    }

    fn is_doubtful(&self, score: &Score) -> bool {
        score.current_probability() < self.doubt
    }

    /// Masks and doubtful tokens, ascending by position.
    fn candidates<'a>(&self, view: &StepView<'a>) -> impl Iterator<Item = &'a Score> + use<'a> {
        let (view, this) = (view.clone(), *self);
        view.scores.iter().filter(move |score| {
            let (position, at) = (score.position, score.position as usize);
            let mask = view.is_mask(position) && at < view.block.end;
            let token = view.block.contains(&at) && view.is_open(position);
            mask || token && this.is_doubtful(score)
        })
    }
}

/// 0.62, 0.92 and 0.4.
impl Default for HierarchicalRemask {
    fn default() -> Self {
        Self::new(0.62, 0.92, 0.4)
    }
}

impl CommitPolicy for HierarchicalRemask {
    fn name(&self) -> &'static str {
        "hierarchical-remask"
    }

    fn needs(&self) -> Needs {
        Needs::BLOCK_ROWS.and(Needs::REVISIONS)
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let proposals = self.candidates(view).map(|score| view.proposed(score));
        self.runs.take(proposals, |commit| match view.is_mask(commit.position) {
            true => edit.offer(commit, usize::MAX),
            false => edit.revise(commit),
        });
        if edit.commits().is_empty() {
            for score in view.candidates() {
                edit.offer(view.proposed(score), 1);
            }
        }
        let mut last = None;
        for _ in 1..edit.commits().len() {
            let replaced = |position| edit.revisions().iter().any(|r| r.position == position);
            let doubtful = open_tokens(view)
                .filter(|position| !replaced(*position))
                .filter_map(|position| view.score(position))
                .filter(|score| self.is_doubtful(score));
            let ranks = doubtful.map(|score| (score.current_probability(), score.position));
            let Some(next) = next_lowest(ranks, last) else { break };
            take_back(view, edit, next);
            last = Some(next);
        }
    }
}
