//! Answers of variable length.

use crate::decode::{Commit, CommitPolicy, Edit, Insertion, Needs, StepView};
use core::ops::Range;

/// DAEDAL (arXiv 2508.00819): finds the length of the answer itself, in two stages.
///
/// 1. While the *end score* is below 0.5 the answer grows by 8 masks, a pass each, up to `longest`. Then 16
///    end tokens follow as an anchor.
/// 2. Commits what is above 0.9, at least the best one. The least probable mask below 0.1 becomes 8 masks
///    if the end score is below 0.9.
///
/// The end score: of up to 32 positions from the end on whose most probable token is the end token, the
/// probabilities of that, added up and divided by 32.
///
/// Published with a first length of 64 masks, blocks of 32 and at most 2048 tokens, for LLaDA. The memory of
/// the session bounds the length too. The release cuts off the end of an answer that would grow beyond the
/// longest; here it grows by less.
#[derive(Debug, Clone, Copy)]
pub struct Daedal {
    longest: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Looking for the length; it was `length` when more was asked for the last time.
    Growing {
        length: usize,
    },
    Filling,
}

/// Positions that the end score looks at.
const WINDOW: usize = 32;
/// End tokens behind the answer.
const ANCHOR: usize = WINDOW / 2;
/// Masks that an answer grows by, and that an improbable one becomes.
const GROWTH: usize = 8;
/// Below this end score an answer is too short.
const ENDS: f32 = 0.5;
/// From this end score on no mask becomes several.
const ENDS_SURELY: f32 = 0.9;
const HIGH: f32 = 0.9;
const LOW: f32 = 0.1;

impl Daedal {
    /// Answers of up to `longest` tokens; published: 2048.
    #[must_use]
    pub const fn new(longest: usize) -> Self {
        Self { longest, stage: Stage::Filling }
    }

    /// Asks for what the first stage wants, if anything.
    fn grow(&mut self, view: &StepView<'_>, before: usize) -> Option<Insertion> {
        let (position, length) = (view.region.end, view.region.len());
        let room = self.longest.saturating_sub(length);
        // What was asked for last did not come: there is no memory.
        let refused = before == length;
        if room > 0 && !refused && end_score(view) < ENDS {
            self.stage = Stage::Growing { length };
            return Some(Insertion { position, count: room.min(GROWTH), token: view.mask_id });
        }
        self.stage = Stage::Filling;
        let count = room.min(ANCHOR);
        (count > 0).then_some(Insertion { position, count, token: view.eos_id })
    }

    /// Makes several masks of the least probable one.
    fn expand(&self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let room = self.longest.saturating_sub(view.region.len());
        if room == 0 || end_score(view) >= ENDS_SURELY {
            return;
        }
        let mut lowest: Option<Commit> = None;
        for commit in candidates(view).filter(|commit| commit.confidence < LOW) {
            let lower = lowest.is_none_or(|lowest| commit.confidence < lowest.confidence);
            let free = edit.commits().iter().all(|other| other.position != commit.position);
            if lower && free {
                lowest = Some(commit);
            }
        }
        if let Some(Commit { position, .. }) = lowest {
            let count = room.min(GROWTH - 1);
            edit.insert(Insertion { position: position as usize + 1, count, token: view.mask_id });
        }
    }
}

/// What the masks of the block and those before it are proposed to become.
fn candidates<'a>(view: &StepView<'a>) -> impl Iterator<Item = Commit> + use<'a> {
    let view = view.clone();
    view.candidates().map(move |score| view.proposed(score))
}

/// How sure the model is that the answer ends where the canvas does.
fn end_score(view: &StepView<'_>) -> f32 {
    let ends = view.scores.iter().rev().filter(|score| {
        view.region.contains(&(score.position as usize)) && score.top == view.eos_id
    });
    let sum: f32 = ends.take(WINDOW).map(|score| score.top_probability()).sum();
    sum / WINDOW as f32
}

impl Default for Daedal {
    fn default() -> Self {
        Self::new(2048)
    }
}

impl CommitPolicy for Daedal {
    fn name(&self) -> &'static str {
        "daedal"
    }

    fn needs(&self) -> Needs {
        Needs::ALL_ROWS.and(Needs::RESIZING)
    }

    fn begin(&mut self, _: Range<usize>) {
        self.stage = Stage::Growing { length: 0 };
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        if let Stage::Growing { length } = self.stage
            && let Some(insertion) = self.grow(view, length)
        {
            return edit.insert(insertion);
        }
        for commit in candidates(view).filter(|commit| commit.confidence > HIGH) {
            edit.offer(commit, usize::MAX);
        }
        if edit.commits().is_empty() {
            candidates(view).for_each(|commit| edit.offer(commit, 1));
        }
        self.expand(view, edit);
    }
}

#[cfg(test)]
mod tests {
    use super::{Daedal, Stage};
    use crate::decode::policies::testing::{EOS, MASK, scores, view};
    use crate::decode::{Commit, CommitPolicy, Edit, Insertion};

    /// What a step does with a canvas of 40 masks of which the last `ends` are probably end tokens, the
    /// others improbable and the first as given: commits, and what is inserted.
    fn step(stage: Stage, first: f32, ends: usize) -> (usize, Option<Insertion>) {
        let mut scores = scores(&[0.5; 40]);
        scores[0] = super::super::testing::scores(&[first])[0];
        for score in scores.iter_mut().rev().take(ends) {
            (score.top, score.top_logit) = (EOS, 0.0);
        }
        let mut memory = [Commit::default(); 40];
        let mut edit = Edit::new(&mut memory);
        let mut policy = Daedal { stage, ..Daedal::new(60) };
        policy.select(&view(&[MASK; 40], &[1; 40], &scores), &mut edit);
        (edit.commits().len(), edit.insertion())
    }

    #[test]
    fn an_answer_grows_until_its_end_is_likely() {
        let growing = |ends| step(Stage::Growing { length: 0 }, 0.5, ends);
        let insertion = |count, token| Some(Insertion { position: 40, count, token });
        assert_eq!(growing(15), (0, insertion(8, MASK)));
        assert_eq!(growing(16), (0, insertion(16, EOS)));
        let refused = step(Stage::Growing { length: 40 }, 0.5, 0);
        assert_eq!(refused, (0, insertion(16, EOS)), "no memory");
    }

    #[test]
    fn an_improbable_mask_becomes_several() {
        let filling = |first, ends| step(Stage::Filling, first, ends);
        let seven = Some(Insertion { position: 1, count: 7, token: MASK });
        assert_eq!(filling(0.099, 28), (1, seven));
        assert_eq!(filling(0.101, 28), (1, None));
        assert_eq!(filling(0.099, 29), (1, None), "the end is sure");
        assert_eq!(filling(0.91, 0), (1, None));
    }
}
