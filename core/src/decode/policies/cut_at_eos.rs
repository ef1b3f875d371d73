//! Nothing behind the end of the text.

use super::of_inner;
use crate::decode::{CommitPolicy, Edit, Needs, StepView};

/// Around any policy: as soon as the answer holds an end token, the canvas ends behind it, even if masks
/// are left before it (Elastic-Cache, arXiv 2510.14973, drops those behind it in the same way).
///
/// Passes are then as short as the text. An end token that comes too early cuts the answer off for good;
/// an end rule such as [`EosRamp`](crate::decode::EosRamp) makes that rarer.
#[derive(Debug, Clone, Copy, Default)]
pub struct CutAtEos<P>(pub P);

impl<P: CommitPolicy> CommitPolicy for CutAtEos<P> {
    of_inner!(0: follows_schedule bounds_itself capacity begin begin_block bias continues);

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn needs(&self) -> Needs {
        self.0.needs().and(Needs::RESIZING)
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        self.0.select(view, edit);
        let region = view.canvas.get(view.region.clone()).unwrap_or_default();
        let standing = region.iter().position(|token| *token == view.eos_id);
        let standing = standing.map(|at| view.region.start.saturating_add(at));
        let ends = edit.commits().iter().filter(|commit| commit.token == view.eos_id);
        let new = ends.map(|commit| commit.position as usize).min();
        if let Some(first) = [standing, new].into_iter().flatten().min() {
            let end = first.saturating_add(1);
            edit.truncate(edit.end().map_or(end, |own| own.min(end)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CutAtEos;
    use crate::decode::policies::testing::{EOS, MASK, scores, view};
    use crate::decode::{Commit, CommitPolicy, Edit, Score, Threshold};

    fn end(canvas: &[u32], scores: &[Score]) -> Option<usize> {
        let open = std::vec![1; canvas.len()];
        let mut memory = std::vec![Commit::default(); canvas.len()];
        let mut edit = Edit::new(&mut memory);
        CutAtEos(Threshold(0.9)).select(&view(canvas, &open, scores), &mut edit);
        edit.end()
    }

    #[test]
    fn the_first_end_token_that_stands_or_comes() {
        let mut all = scores(&[0.5, 0.95, 0.1, 0.99]);
        assert_eq!(end(&[MASK; 4], &all), None);
        (all[0].proposal, all[3].proposal) = (EOS, EOS);
        assert_eq!(end(&[MASK; 4], &all), Some(4), "what is not committed does not count");
        all[1].proposal = EOS;
        assert_eq!(end(&[MASK; 4], &all), Some(2));
        assert_eq!(end(&[EOS, MASK, MASK, MASK], &all[1..]), Some(1));
    }
}
