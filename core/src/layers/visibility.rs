//! Which slots of the ring a row sees, and where it stands.

use crate::decode::DECODERS;
use crate::image::Attention;
use crate::model::Visible;

/// What the rows of a pass see of the ring. A slot is a position, unless it is a shadow.
#[derive(Clone, Copy)]
pub(crate) struct View<'t> {
    attention: Attention,
    /// Slots in use, shadows included.
    len: usize,
    /// Slots before the shadows.
    real: usize,
    visible: &'t Visible<'t>,
    hides: bool,
}

impl<'t> View<'t> {
    pub(crate) fn new(attention: Attention, len: usize, visible: &'t Visible<'t>) -> Self {
        let (start, end) = visible.shadowed;
        let real = if DECODERS { len.saturating_sub(end.saturating_sub(start)) } else { len };
        Self { attention, len, real, visible, hides: DECODERS && *visible != Visible::ALL }
    }

    /// Whether something is hidden that the model lets rows see.
    pub(crate) fn hides(self) -> bool {
        DECODERS && self.hides
    }

    /// The position that a slot stands at.
    pub(crate) fn position(self, slot: usize) -> usize {
        match slot.checked_sub(self.real).filter(|_| DECODERS) {
            Some(shadow) => self.visible.shadowed.0.saturating_add(shadow),
            None => slot,
        }
    }

    /// The end of the slots that a row sees. It never falls from one row to the next.
    pub(crate) fn end(self, row: usize) -> usize {
        if !self.hides() {
            return self.end_by_model(row);
        }
        let end = self.end_of_positions(self.position(row));
        match row < self.real {
            true => end.min(self.real).min(self.visible.end),
            false => self.real.saturating_add(self.shadows_before(end)).min(self.len),
        }
    }

    /// The same where nothing is hidden.
    pub(crate) fn end_by_model(self, row: usize) -> usize {
        self.attention.visible_end(row, self.len)
    }

    /// The end of the positions that a row at `position` may see, by the model and by the prefix.
    fn end_of_positions(self, position: usize) -> usize {
        let end = self.attention.visible_end(position, usize::MAX);
        match position < self.visible.prefix {
            true => end.min(self.visible.prefix),
            false => end,
        }
    }

    /// Shadows of positions before `end`.
    fn shadows_before(self, end: usize) -> usize {
        let (first, last) = self.visible.shadowed;
        end.min(last).saturating_sub(first)
    }

    /// Gives those of the `scores` of the slots before the row's end that it does not see the least
    /// value there is. False if it sees nothing.
    #[inline(never)]
    pub(crate) fn hide(self, row: usize, scores: &mut [f32]) -> bool {
        const NOTHING: f32 = f32::NEG_INFINITY;
        let (real, shadows) = scores.split_at_mut(self.real.min(scores.len()));
        for slot in self.visible.hidden {
            if let Some(score) = real.get_mut(usize::from(*slot)) {
                *score = NOTHING;
            }
        }
        if row >= self.real {
            let position = self.position(row);
            let end = self.end_of_positions(position).min(self.visible.end);
            real.get_mut(end..).unwrap_or_default().fill(NOTHING);
            if let Some(score) = real.get_mut(position) {
                *score = NOTHING;
            }
        }
        real.iter().chain(&*shadows).any(|score| *score != NOTHING)
    }
}

#[cfg(all(test, feature = "decoders"))]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// The documented rule, slot by slot.
    fn sees(
        attention: Attention,
        visible: &Visible<'_>,
        len: usize,
        row: usize,
        slot: usize,
    ) -> bool {
        let (first, last) = visible.shadowed;
        let real = len - (last - first);
        let position = |slot: usize| if slot < real { slot } else { first + slot - real };
        let (at, of) = (position(row), position(slot));
        let model = match attention {
            Attention::Bidirectional => true,
            Attention::BlockCausal(block) => of / block as usize <= at / block as usize,
        };
        let prefix = at >= visible.prefix || of < visible.prefix;
        let shown =
            slot >= real || (slot < visible.end && !visible.hidden.contains(&(slot as u16)));
        let shadow = match (row >= real, slot >= real) {
            (false, shadow) => !shadow,
            (true, false) => of != at,
            (true, true) => true,
        };
        model && prefix && shown && shadow
    }

    #[test]
    fn rows_see_what_the_rule_says() {
        let hidden: [&[u16]; 4] = [&[], &[0], &[3, 4, 9], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]];
        for attention in [Attention::Bidirectional, Attention::CAUSAL, Attention::BlockCausal(4)] {
            for (prefix, end) in (0..12).flat_map(|p| [0, 1, 5, 9, 10, usize::MAX].map(|e| (p, e)))
            {
                for shadowed in [(0, 0), (0, 3), (2, 6), (7, 10), (4, 5)] {
                    for hidden in hidden {
                        let visible = Visible { prefix, end, hidden, shadowed };
                        check(attention, &visible, 10 + shadowed.1 - shadowed.0);
                    }
                }
            }
        }
    }

    fn check(attention: Attention, visible: &Visible<'_>, len: usize) {
        let view = View::new(attention, len, visible);
        let mut before = 0;
        for row in 0..len {
            let end = view.end(row);
            assert!(end >= before, "ends never fall");
            before = end;
            let mut scores = std::vec![1.0; end];
            let any = view.hide(row, &mut scores);
            let seen: Vec<bool> = (0..len).map(|slot| scores.get(slot) == Some(&1.0)).collect();
            let expected: Vec<bool> =
                (0..len).map(|slot| sees(attention, visible, len, row, slot)).collect();
            assert_eq!(seen, expected, "row {row} of {len}: {attention:?} {visible:?}");
            assert_eq!(any, expected.contains(&true));
        }
    }
}
