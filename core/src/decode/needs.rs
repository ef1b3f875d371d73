//! What a way of decoding asks of the model and of the session, beyond the scores of masks.

use core::fmt;

/// A set of demands. A session refuses at its start what a model or a plan cannot give.
///
/// ```
/// use demask::decode::Needs;
/// let needs = Needs::BLOCK_ROWS.and(Needs::REVISIONS);
/// assert!(needs.include(Needs::REVISIONS) && !needs.include(Needs::SHADOWS));
/// assert_eq!(needs.without(Needs::REVISIONS).first(), Some("scores of decided positions"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs(u16);

impl Needs {
    /// Scores of masks up to the block's end, which every policy gets.
    pub const NONE: Self = Self(0);
    /// Scores of the block's decided positions too.
    pub const BLOCK_ROWS: Self = Self(1);
    /// Scores of the masks behind the block too, unless attention is block-causal.
    pub const ALL_MASKS: Self = Self(1 << 1);
    /// Committed tokens may be replaced, or become masks again.
    pub const REVISIONS: Self = Self(1 << 2);
    /// The canvas may grow or shrink.
    pub const RESIZING: Self = Self(1 << 3);
    /// A second row for each position of the block, which sees a mask there (WINO's shadows).
    pub const SHADOWS: Self = Self(1 << 4);
    /// How far each distribution has moved since the last pass (KLASS).
    pub const DIVERGENCE: Self = Self(1 << 5);
    /// Something is added to chosen logits before they are looked at (credit).
    pub const BIAS: Self = Self(1 << 6);
    /// Some slots are hidden from rows that the model would let see them.
    pub const VISIBILITY: Self = Self(1 << 7);
    /// Proposals and scores of a filtered or tempered distribution.
    pub const FILTER: Self = Self(1 << 8);

    /// Scores of every position of the answer, decided or not, and of the masks before it.
    pub const ALL_ROWS: Self = Self(1 << 9);

    const NAMES: [(Self, &'static str); 10] = [
        (Self::ALL_ROWS, "scores of the whole answer"),
        (Self::BLOCK_ROWS, "scores of decided positions"),
        (Self::ALL_MASKS, "scores of the masks behind the block"),
        (Self::REVISIONS, "taking tokens back"),
        (Self::RESIZING, "a canvas that grows or shrinks"),
        (Self::SHADOWS, "shadow rows"),
        (Self::DIVERGENCE, "distributions of the pass before"),
        (Self::BIAS, "a bias on logits"),
        (Self::VISIBILITY, "hidden slots"),
        (Self::FILTER, "top-k, top-p or a tempered distribution"),
    ];

    /// Both.
    #[must_use]
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that `other` does not have.
    #[must_use]
    #[inline(always)]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are among these.
    #[must_use]
    #[inline(always)]
    pub const fn include(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Nothing is demanded.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The first demand in words.
    #[must_use]
    #[inline(always)] // firmware that demands nothing then has none of these words
    pub fn first(self) -> Option<&'static str> {
        if self.is_empty() { None } else { self.names().next() }
    }

    /// All demands in words.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(need, _)| self.include(*need)).map(|(_, name)| name)
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.names().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
