//! Cache plans: which rows go through the network in a step, and which slots are trusted.

use crate::decode::{Commit, Needs, Score};
use crate::image::Attention;
use crate::model::Visible;
use core::ops::Range;

/// What a plan sees before a forward pass.
#[derive(Debug, Clone)]
pub struct CacheView<'a> {
    /// All tokens of the canvas; undecided ones are the mask.
    pub canvas: &'a [u32],
    /// The part of the canvas that is being generated.
    pub region: Range<usize>,
    /// Block that is being decoded.
    pub block: Range<usize>,
    /// Forward passes of the whole text before this one.
    pub forward: usize,
    /// Forward passes of this block before this one.
    pub pass: usize,
    /// Positions whose scores are wanted, ascending.
    pub wanted: &'a [u16],
    /// Positions whose shadows are scored too: they see what their positions see.
    pub shadowed: Range<usize>,
    /// Stands for "not yet decided".
    pub mask_id: u32,
    /// Which positions a row sees.
    pub attention: Attention,
    /// The row before a position predicts it.
    pub shifted_logits: bool,
}

/// What a pass has led to, for plans that depend on it.
#[derive(Debug, Clone)]
pub struct Decided<'a> {
    /// The canvas after the step.
    pub canvas: &'a [u32],
    /// Block that was worked on.
    pub block: Range<usize>,
    /// Stands for "not yet decided".
    pub mask_id: u32,
    /// One record per position that was scored, ascending by position.
    pub scores: &'a [Score],
    /// Masks that became tokens.
    pub commits: &'a [Commit],
    /// Tokens that were replaced or became masks again: slots of these positions are out of date.
    pub revisions: &'a [Commit],
}

impl CacheView<'_> {
    /// Whether a position is a mask.
    #[must_use]
    pub fn is_mask(&self, position: u16) -> bool {
        self.canvas.get(usize::from(position)) == Some(&self.mask_id)
    }

    /// The row that predicts a position.
    #[must_use]
    pub fn row_of(&self, position: u16) -> usize {
        usize::from(position).saturating_sub(usize::from(self.shifted_logits))
    }

    /// Wanted positions that are masks and stand before the block's end: one of them is committed in
    /// this step.
    pub fn candidates(&self) -> impl Iterator<Item = u16> + Clone {
        let end = self.block.end;
        let wanted = self.wanted.iter().copied();
        wanted.filter(move |&position| usize::from(position) < end && self.is_mask(position))
    }

    /// The end of the slots that any wanted row or shadow sees: no row from there on can matter to this
    /// step.
    #[must_use]
    pub fn visible_end(&self) -> usize {
        let row = self.wanted.last().map_or(0, |&position| self.row_of(position));
        let last = row.max(self.shadowed.end.saturating_sub(1));
        self.attention.visible_end(last, self.canvas.len())
    }
}

/// Rows to compute, ascending, in borrowed memory.
#[derive(Debug)]
pub struct RowList<'a> {
    rows: &'a mut [u16],
    len: usize,
}

impl<'a> RowList<'a> {
    /// Empty; room for `rows.len()` rows.
    #[must_use]
    pub fn new(rows: &'a mut [u16]) -> Self {
        Self { rows, len: 0 }
    }

    /// The rows so far.
    #[must_use]
    pub fn rows(&self) -> &[u16] {
        self.rows.get(..self.len).unwrap_or_default()
    }

    /// Whether a row is among them.
    #[must_use]
    pub fn contains(&self, row: usize) -> bool {
        u16::try_from(row).is_ok_and(|row| self.rows().binary_search(&row).is_ok())
    }

    /// Adds a row, unless it is there already.
    pub fn add(&mut self, row: usize) {
        let Ok(row) = u16::try_from(row) else { return };
        // Mostly rows come in order: then there is no place to look for.
        let at = match self.rows().last() {
            Some(&last) if row <= last => self.rows().binary_search(&row),
            _ => Err(self.len),
        };
        let Err(at) = at else { return };
        let mut moved = row;
        self.len = (self.len + 1).min(self.rows.len());
        for slot in self.rows.get_mut(at..self.len).unwrap_or_default() {
            core::mem::swap(slot, &mut moved);
        }
    }

    /// Adds every row of a range.
    pub fn add_all(&mut self, rows: Range<usize>) {
        rows.for_each(|row| self.add(row));
    }

    /// Keeps the rows that `keep` says yes to.
    pub fn retain(&mut self, keep: impl Fn(u16) -> bool) {
        let rows = self.rows.get_mut(..self.len).unwrap_or_default();
        self.len = keep_in_front(rows, |row| keep(*row));
    }
}

/// Moves what `keep` says yes to to the front; how much that is.
pub(crate) fn keep_in_front(all: &mut [u16], keep: impl Fn(&u16) -> bool) -> usize {
    let cells = core::cell::Cell::from_mut(all).as_slice_of_cells();
    let mut targets = cells.iter();
    let mut kept = 0;
    for value in cells.iter().map(core::cell::Cell::get).filter(keep) {
        if let Some(target) = targets.next() {
            target.set(value);
            kept += 1;
        }
    }
    kept
}

/// Chooses the rows of each forward pass. The session adds the rows that predict wanted positions,
/// so a plan cannot leave a candidate without its score.
pub trait CachePlan {
    /// Name as the command line spells it.
    fn name(&self) -> &'static str;

    /// Whether every score is the one that computing all rows would give.
    fn is_exact(&self) -> bool;

    /// What it asks of the model.
    fn needs(&self) -> Needs {
        Needs::NONE
    }

    /// What a policy may not ask for beside this plan, because slots that it trusts would be wrong.
    fn forbids(&self) -> Needs {
        Needs::RESIZING
    }

    /// Whether it needs a model whose finished blocks see nothing that comes later.
    fn needs_blocks(&self) -> bool {
        false
    }

    /// Whether the canvas may become a window over a longer text. A constant, so that firmware whose
    /// plan says no has no code for it.
    fn has_window(&self) -> bool {
        false
    }

    /// Longest canvas that its own memory is made for.
    fn capacity(&self) -> usize {
        usize::MAX
    }

    /// Whether candidates whose rows it leaves out are no candidates in this step. Otherwise the session
    /// adds those rows.
    fn limits_candidates(&self) -> bool {
        false
    }

    /// Whether a mask whose row is computed may be committed in the pass that was planned last; asked
    /// of plans that [limit candidates](Self::limits_candidates).
    fn is_candidate(&self, _position: u16) -> bool {
        true
    }

    /// A new canvas, whose answer is at `region`: nothing in the ring can be trusted.
    fn begin(&mut self, _region: Range<usize>) {}

    /// Adds the rows to compute in this step. Slots of all other rows keep what they hold.
    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>);

    /// What rows see in the pass that was planned last; needs [`Needs::VISIBILITY`].
    fn visible(&self) -> Visible<'_> {
        Visible::ALL
    }

    /// A step has been decided.
    fn decided(&mut self, _step: &Decided<'_>) {}

    /// `drop` slots from slot `keep` on are gone and those behind them have moved down.
    fn slid(&mut self, _keep: usize, _drop: usize) {}
}

/// A borrowed or boxed one is one too.
macro_rules! forward {
    ($type:ty) => {
        impl<C: CachePlan + ?Sized> CachePlan for $type {
            fn name(&self) -> &'static str {
                (**self).name()
            }

            fn is_exact(&self) -> bool {
                (**self).is_exact()
            }

            fn needs(&self) -> Needs {
                (**self).needs()
            }

            fn forbids(&self) -> Needs {
                (**self).forbids()
            }

            fn needs_blocks(&self) -> bool {
                (**self).needs_blocks()
            }

            fn has_window(&self) -> bool {
                (**self).has_window()
            }

            fn capacity(&self) -> usize {
                (**self).capacity()
            }

            fn limits_candidates(&self) -> bool {
                (**self).limits_candidates()
            }

            fn is_candidate(&self, position: u16) -> bool {
                (**self).is_candidate(position)
            }

            fn begin(&mut self, region: Range<usize>) {
                (**self).begin(region);
            }

            fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
                (**self).plan(view, rows);
            }

            fn visible(&self) -> Visible<'_> {
                (**self).visible()
            }

            fn decided(&mut self, step: &Decided<'_>) {
                (**self).decided(step);
            }

            fn slid(&mut self, keep: usize, drop: usize) {
                (**self).slid(keep, drop);
            }
        }
    };
}

forward!(&mut C);
#[cfg(feature = "alloc")]
forward!(alloc::boxed::Box<C>);
