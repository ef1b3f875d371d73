//! What rows see, slot by slot: the rules of [`Visible`], one after the other.

use demask::Visible;
use demask::image::{Attention, ModelConfig};

/// Where rows stand, and which slots they see.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    attention: Attention,
    visible: Visible<'a>,
    /// Slots before the shadows.
    real: usize,
}

impl<'a> Sight<'a> {
    /// What the model lets the rows of `slots` slots see.
    #[must_use]
    pub fn of_model(config: &ModelConfig, slots: usize) -> Self {
        Self::new(config, slots, Visible::ALL)
    }

    /// The same without what is hidden.
    #[must_use]
    pub fn new(config: &ModelConfig, slots: usize, visible: Visible<'a>) -> Self {
        let (start, end) = visible.shadowed;
        let real = slots.saturating_sub(end.saturating_sub(start));
        Self { attention: config.features.attention, visible, real }
    }

    /// The position at which a slot stands.
    #[must_use]
    pub fn position(&self, slot: usize) -> usize {
        match slot.checked_sub(self.real) {
            Some(shadow) => self.visible.shadowed.0.saturating_add(shadow),
            None => slot,
        }
    }

    /// Whether a row sees a slot.
    pub(super) fn sees(&self, row: usize, slot: usize) -> bool {
        let (at, other) = (self.position(row), self.position(slot));
        let Visible { prefix, end, hidden, .. } = self.visible;
        if other >= self.attention.visible_end(at, usize::MAX) || at < prefix && other >= prefix {
            return false;
        }
        let by_shadow = row >= self.real;
        if slot >= self.real {
            return by_shadow;
        }
        slot < end && !(by_shadow && slot == at) && !hidden.iter().any(|&h| usize::from(h) == slot)
    }
}
