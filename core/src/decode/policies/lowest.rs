//! What several ways of taking tokens back share.

use crate::decode::{Commit, Edit, StepView};

/// What follows `after` in ascending order of (rank, position); the first of all if that is `None`. Goes
/// through an order without sorting it.
pub(super) fn next_lowest(
    ranks: impl Iterator<Item = (f32, u32)>,
    after: Option<(f32, u32)>,
) -> Option<(f32, u32)> {
    let mut lowest: Option<(f32, u32)> = None;
    for rank in ranks {
        if after.is_none_or(|after| after < rank) && lowest.is_none_or(|lowest| rank < lowest) {
            lowest = Some(rank);
        }
    }
    lowest
}

/// A token becomes a mask again. One that only this step commits is not committed.
pub(super) fn take_back(view: &StepView<'_>, edit: &mut Edit<'_>, (rank, position): (f32, u32)) {
    if view.is_mask(position) {
        edit.retain(|commit| commit.position != position);
    } else {
        edit.revise(Commit { position, token: view.mask_id, confidence: rank });
    }
}

/// Positions of the block whose tokens may be taken back.
pub(super) fn open_tokens<'a>(view: &StepView<'a>) -> impl Iterator<Item = u32> + Clone + use<'a> {
    let (canvas, open, mask) = (view.canvas, view.open, view.mask_id);
    let block = view.block.clone().zip((0..).skip(view.block.start));
    block.filter_map(move |(at, position)| {
        let token = canvas.get(at).is_some_and(|token| *token != mask);
        (token && open.get(at) == Some(&1)).then_some(position)
    })
}

#[cfg(test)]
mod tests {
    use super::next_lowest;

    #[test]
    fn goes_through_all_in_order() {
        let ranks = [(0.5, 0), (0.1, 1), (0.5, 2), (0.3, 3), (0.1, 4)];
        let mut order = std::vec::Vec::new();
        let mut last = None;
        while let Some(rank) = next_lowest(ranks.into_iter(), last) {
            order.push(rank.1);
            last = Some(rank);
        }
        assert_eq!(order, [1, 4, 3, 0, 2]);
    }
}
