//! What a trained filter takes for final.

use crate::decode::{Commit, CommitFilter, CommitPolicy, Edit, Needs, StepView};

/// Learn2PD (arXiv 2509.25188): a small network looks at the top-1 probabilities of the whole block, those of
/// decided positions included, and says of each proposal how sure it is that it is final. All above the
/// threshold (0.96) are committed, and the most probable one in any case.
///
/// The [filter](CommitFilter) belongs to a model and a block length. In a shorter block the probabilities
/// that are missing count as 1, those of tokens that are decided beyond doubt; what a longer block has beyond
/// the filter's length is committed only as the most probable proposal. Masks left of the block are, too.
///
/// [`EndOfText`] says when the canvas ends early (the paper's EoTP). Memory: [`scratch`](Self::scratch) numbers.
#[derive(Debug)]
pub struct Learn2pd<'a> {
    filter: CommitFilter<'a>,
    threshold: f32,
    end: EndOfText,
    /// Probabilities of the block, then hidden units.
    scratch: &'a mut [f32],
}

/// When the canvas of [`Learn2pd`] ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndOfText {
    /// Never.
    Kept,
    /// Behind the first end token among the proposals that the filter accepts.
    #[default]
    Accepted,
    /// The same, or else behind the most probable end token that is proposed at all. This is the published
    /// rule, and cuts off an answer easily.
    Proposed,
}

impl<'a> Learn2pd<'a> {
    /// The published threshold.
    #[must_use]
    pub fn new(filter: CommitFilter<'a>, scratch: &'a mut [f32]) -> Self {
        let scratch = scratch.get_mut(..Self::scratch(&filter)).unwrap_or_default();
        Self { filter, threshold: 0.96, end: EndOfText::default(), scratch }
    }

    /// The same with another threshold.
    #[must_use]
    pub fn with_threshold(self, threshold: f32) -> Self {
        Self { threshold, ..self }
    }

    /// The same with another end.
    #[must_use]
    pub fn with_end(self, end: EndOfText) -> Self {
        Self { end, ..self }
    }

    /// Numbers of memory that a filter needs.
    #[must_use]
    pub const fn scratch(filter: &CommitFilter<'_>) -> usize {
        filter.block().saturating_add(filter.hidden())
    }

    /// Fills the hidden units from what the block's positions say.
    fn look(&mut self, view: &StepView<'_>) {
        let split = self.scratch.split_at_mut_checked(self.filter.block());
        let (probabilities, hidden) = split.unwrap_or_default();
        let places = view.block.clone().chain(core::iter::repeat(usize::MAX));
        for (probability, position) in probabilities.iter_mut().zip(places) {
            let score = u32::try_from(position).ok().and_then(|position| view.score(position));
            *probability = score.map_or(1.0, |score| score.top_probability());
        }
        self.filter.hide(probabilities, hidden);
    }

    /// Whether the filter takes a proposal at a position of the block for final.
    fn accepts(&self, view: &StepView<'_>, position: u32) -> bool {
        let hidden = self.scratch.get(self.filter.block()..).unwrap_or_default();
        let place = (position as usize).checked_sub(view.block.start);
        place.is_some_and(|place| self.filter.probability(hidden, place) > self.threshold)
    }
}

impl CommitPolicy for Learn2pd<'_> {
    fn name(&self) -> &'static str {
        "learn2pd"
    }

    fn needs(&self) -> Needs {
        match self.end {
            EndOfText::Kept => Needs::BLOCK_ROWS,
            _ => Needs::BLOCK_ROWS.and(Needs::RESIZING),
        }
    }

    fn capacity(&self) -> usize {
        if self.scratch.is_empty() { 0 } else { usize::MAX }
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        self.look(view);
        let mut best: Option<(Commit, bool)> = None;
        let (mut first_end, mut best_end): (Option<u32>, Option<Commit>) = (None, None);
        for score in view.candidates() {
            let commit = view.proposed(score);
            let accepted = self.accepts(view, score.position);
            if accepted {
                edit.offer(commit, usize::MAX);
            }
            // Candidates ascend by position: of equal ones the first stays.
            if best.is_none_or(|(best, _)| commit.confidence > best.confidence) {
                best = Some((commit, accepted));
            }
            if commit.token == view.eos_id {
                let end = Commit::proposed(score);
                if accepted {
                    first_end = first_end.or(Some(end.position));
                }
                if best_end.is_none_or(|best| end.confidence > best.confidence) {
                    best_end = Some(end);
                }
            }
        }
        if let Some((best, false)) = best {
            edit.offer(best, usize::MAX);
        }
        let end = match self.end {
            EndOfText::Kept => None,
            EndOfText::Accepted => first_end,
            EndOfText::Proposed => first_end.or(best_end.map(|end| end.position)),
        };
        if let Some(end) = end {
            edit.truncate((end as usize).saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EndOfText, Learn2pd};
    use crate::decode::policies::testing::{EOS, MASK, scores, select, view};
    use crate::decode::{Commit, CommitFilter, CommitPolicy, Edit, Needs, Score};
    use std::vec::Vec;

    /// Accepts what has more than 0.5: as many hidden units as positions, each passing on one probability,
    /// and logits of 100 (p - 0.5).
    fn half(block: usize) -> Vec<f32> {
        let one = |scale: f32| {
            let at = move |i: usize| if i.is_multiple_of(block + 1) { scale } else { 0.0 };
            (0..block * block).map(at)
        };
        let bias = |bias: f32| core::iter::repeat_n(bias, block);
        one(1.0).chain(bias(0.0)).chain(one(100.0)).chain(bias(-50.0)).collect()
    }

    #[test]
    fn what_is_accepted_and_the_best() {
        let (numbers, mut scratch) = (half(8), [0.0; 16]);
        let filter = CommitFilter::new(8, 8, &numbers).unwrap();
        let mut policy = Learn2pd::new(filter, &mut scratch);
        let confidences = [0.54, 0.3, 0.52, 0.9, 0.1, 0.6, 0.533, 0.53];
        // sigmoid(100 (p - 0.5)) > 0.96 from p = 0.5318 on.
        assert_eq!(select(&mut policy, &confidences, 0), [0, 3, 5, 6]);
        assert_eq!(select(&mut policy, &[0.2, 0.3, 0.3, 0.1], 0), [1]);
        let mut policy = policy.with_threshold(0.95);
        assert_eq!(select(&mut policy, &confidences, 0), [0, 3, 5, 6, 7]);
        let mut policy = policy.with_threshold(1.0);
        assert_eq!(select(&mut policy, &confidences, 0), [3], "nothing is above 1");
    }

    #[test]
    fn missing_positions_count_as_certain_and_surplus_ones_are_not_accepted() {
        // One hidden unit: the sum of four positions less 3. All are accepted if that is above 0.5.
        let mut numbers = std::vec![1.0; 4];
        numbers.extend([-3.0, 100.0, 100.0, 100.0, 100.0, -50.0, -50.0, -50.0, -50.0]);
        let filter = CommitFilter::new(4, 1, &numbers).unwrap();
        let mut scratch = [0.0; 9];
        let mut policy = Learn2pd::new(filter, &mut scratch);
        assert_eq!(select(&mut policy, &[0.9, 0.9, 0.9, 0.9], 0), [0, 1, 2, 3]);
        assert_eq!(select(&mut policy, &[0.8, 0.8, 0.8, 0.8], 0), [0]);
        assert_eq!(select(&mut policy, &[0.8, 0.8], 0), [0, 1], "1.6 and twice 1");
        assert_eq!(select(&mut policy, &[0.7, 0.7], 0), [0], "1.4 and twice 1");
        assert_eq!(select(&mut policy, &[0.9, 0.9, 0.9, 0.9, 0.8, 0.8], 0), [0, 1, 2, 3]);
        assert_eq!(select(&mut policy, &[0.9, 0.9, 0.9, 0.9, 0.8, 0.95], 0), [0, 1, 2, 3, 5]);
    }

    #[test]
    fn decided_positions_are_looked_at_and_not_committed() {
        let mut numbers = std::vec![1.0, 1.0, 1.0, -2.0];
        numbers.extend([100.0, 100.0, 100.0, -50.0, -50.0, -50.0]);
        let filter = CommitFilter::new(3, 1, &numbers).unwrap();
        let mut scratch = [0.0; 4];
        let mut policy = Learn2pd::new(filter, &mut scratch);
        let mut decide = |probability: f32| {
            let (canvas, scores) = ([MASK, 7, MASK], scores(&[0.8, probability, 0.9]));
            let mut memory = [Commit::default(); 3];
            let mut edit = Edit::new(&mut memory);
            policy.select(&view(&canvas, &[1; 3], &scores), &mut edit);
            edit.commits().iter().map(|commit| commit.position).collect::<Vec<_>>()
        };
        assert_eq!(decide(0.99), [2, 0]);
        assert_eq!(decide(0.1), [2]);
    }

    fn end(rule: EndOfText, scores: &[Score]) -> Option<usize> {
        let (numbers, mut scratch) = (half(4), [0.0; 8]);
        let filter = CommitFilter::new(4, 4, &numbers).unwrap();
        let mut memory = [Commit::default(); 4];
        let mut edit = Edit::new(&mut memory);
        let mut policy = Learn2pd::new(filter, &mut scratch).with_end(rule);
        policy.select(&view(&[MASK; 4], &[1; 4], scores), &mut edit);
        edit.end()
    }

    #[test]
    fn the_canvas_ends_behind_the_first_accepted_end() {
        use EndOfText::{Accepted, Kept, Proposed};
        let with = |ends: &[usize]| {
            let mut all = scores(&[0.3, 0.7, 0.4, 0.9]);
            ends.iter().for_each(|at| all[*at].proposal = EOS);
            all
        };
        for (ends, accepted, proposed) in [
            (&[][..], None, None),
            (&[1, 3], Some(2), Some(2)),
            (&[3, 0], Some(4), Some(4)),
            (&[0, 2], None, Some(3)),
            (&[0], None, Some(1)),
        ] {
            assert_eq!(end(Accepted, &with(ends)), accepted, "{ends:?}");
            assert_eq!(end(Proposed, &with(ends)), proposed, "{ends:?}");
            assert_eq!(end(Kept, &with(ends)), None);
        }
    }

    #[test]
    fn needs_and_memory() {
        let numbers = half(4);
        let filter = CommitFilter::new(4, 4, &numbers).unwrap();
        let mut scratch = [0.0; 8];
        assert_eq!(Learn2pd::new(filter, &mut scratch[..7]).capacity(), 0);
        let policy = Learn2pd::new(filter, &mut scratch);
        assert_eq!(policy.capacity(), usize::MAX);
        assert!(policy.needs().include(Needs::BLOCK_ROWS.and(Needs::RESIZING)));
        assert_eq!(policy.with_end(EndOfText::Kept).needs(), Needs::BLOCK_ROWS);
    }
}
