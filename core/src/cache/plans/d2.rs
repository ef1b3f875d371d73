//! The masks most likely to be decided next: d2Cache without its look at attention.

use super::current::{Current, add_block_without_masks, edits};
use crate::cache::{CachePlan, CacheView, Decided, RowList};
use crate::math::exp;
use core::ops::Range;

/// d2Cache's certainty prior (arXiv 2509.23094): everything in the first pass; then the `k` masks with the
/// largest product of confidence and density of decided neighbours, and the tokens just decided. Only
/// masks whose rows are computed are candidates. Published: `k` 32, a Gaussian of 10 positions.
///
/// Confidence is that of the last pass that scored the mask; one that was never scored counts as certain.
/// The density is that of the release: what stands before the canvas counts as decided, what stands behind
/// it as its last position. The release also computes tokens that much attention has gone to, and fills
/// gaps of up to 4 rows; [`D2Cache::refreshed_every`] is what there is instead.
///
/// In a shifted model the row before a mask is computed with it. Memory: one bit and two `f32` per
/// position.
#[derive(Debug)]
pub struct D2Cache<'a> {
    current: Current<'a>,
    /// Confidence per position; below 0 where nothing is known.
    confidence: &'a mut [f32],
    /// Confidence times density per candidate; infinite for those that may be committed.
    rank: &'a mut [f32],
    masks: usize,
    sigma: f32,
    every: usize,
}

/// Standard deviations of the Gaussian beyond which nothing counts.
const REACH: f32 = 6.0;
const UNKNOWN: f32 = -1.0;

impl<'a> D2Cache<'a> {
    /// The published constants. `bits` serves eight positions per byte, `numbers` half a position per
    /// entry.
    #[must_use]
    pub fn new(bits: &'a mut [u8], numbers: &'a mut [f32]) -> Self {
        let half = numbers.len() / 2;
        let (confidence, rank) = numbers.split_at_mut_checked(half).unwrap_or_default();
        let current = Current::new(bits);
        Self { current, confidence, rank, masks: 32, sigma: 10.0, every: 0 }
    }

    /// Another number of masks per pass, at least 1.
    #[must_use]
    pub fn masks(self, masks: usize) -> Self {
        Self { masks: masks.max(1), ..self }
    }

    /// Another width of the neighbourhood in positions, between 1 and 1000.
    #[must_use]
    pub fn sigma(self, positions: f32) -> Self {
        Self { sigma: positions.clamp(1.0, 1000.0), ..self }
    }

    /// Computes everything at every `passes`-th pass of the text too; 0, as published, never.
    #[must_use]
    pub fn refreshed_every(self, passes: usize) -> Self {
        Self { every: passes, ..self }
    }

    /// How much around a position is decided: the sum of a Gaussian over all tokens.
    fn density(&self, view: &CacheView<'_>, position: usize) -> f32 {
        let is_token = |id: &u32| *id != view.mask_id;
        let behind = view.canvas.last().is_some_and(is_token);
        let mut sum = 0.0;
        for distance in 1..=(REACH * self.sigma) as usize {
            let left = position.checked_sub(distance).and_then(|left| view.canvas.get(left));
            let right = view.canvas.get(position + distance);
            let known = usize::from(left.is_none_or(is_token))
                + usize::from(right.map_or(behind, is_token));
            if known > 0 {
                let x = distance as f32 / self.sigma;
                sum += known as f32 * exp(-0.5 * x * x);
            }
        }
        sum
    }

    /// Ranks the candidates; the rank of the last that is chosen, and how many of that rank are.
    fn choose(&mut self, view: &CacheView<'_>) -> (f32, usize) {
        for position in view.candidates().map(usize::from) {
            let confidence = match self.confidence.get(position) {
                Some(&known) if known >= 0.0 => known,
                _ => 1.0,
            };
            let rank = confidence * self.density(view, position);
            if let Some(slot) = self.rank.get_mut(position) {
                *slot = rank;
            }
        }
        let ranks = view.candidates().map(|position| self.rank_of(position));
        let (mut last, mut left) = (f32::INFINITY, self.masks);
        loop {
            let next = ranks.clone().filter(|rank| *rank < last).fold(-1.0, f32::max);
            let equal = ranks.clone().filter(|rank| *rank == next).count();
            // None is left, or the last ones are found.
            if next < 0.0 || equal >= left {
                return (next, left);
            }
            (last, left) = (next, left - equal);
        }
    }

    fn rank_of(&self, position: u16) -> f32 {
        self.rank.get(usize::from(position)).copied().unwrap_or(0.0)
    }
}

impl CachePlan for D2Cache<'_> {
    fn name(&self) -> &'static str {
        "d2"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn capacity(&self) -> usize {
        self.current.capacity().min(self.confidence.len())
    }

    fn limits_candidates(&self) -> bool {
        true
    }

    /// A row may be computed for its own sake and predict a mask that was not chosen.
    fn is_candidate(&self, position: u16) -> bool {
        self.rank_of(position) == f32::INFINITY
    }

    fn begin(&mut self, _: Range<usize>) {
        self.current.clear();
        self.confidence.fill(UNKNOWN);
        // A mask behind the block is asked for before it has a rank.
        self.rank.fill(0.0);
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        let end = view.visible_end();
        let refresh = view.forward.is_multiple_of(self.every);
        for row in (0..end).filter(|row| refresh || !self.current.has(*row)) {
            rows.add(row);
        }
        let (last, mut of_last) = self.choose(view);
        for position in view.candidates() {
            let rank = self.rank_of(position);
            let chosen = rank > last || rank == last && of_last > 0;
            if chosen {
                of_last -= usize::from(rank == last);
                rows.add(view.row_of(position));
                rows.add_all(usize::from(position)..end.min(usize::from(position) + 1));
            }
        }
        add_block_without_masks(view, rows);
        for position in view.candidates() {
            let own = usize::from(position);
            let both = rows.contains(view.row_of(position)) && (own >= end || rows.contains(own));
            if let Some(rank) = self.rank.get_mut(own).filter(|_| both) {
                *rank = f32::INFINITY;
            }
        }
        self.current.computed(rows);
    }

    fn decided(&mut self, step: &Decided<'_>) {
        for score in step.scores {
            if let Some(slot) = self.confidence.get_mut(score.position as usize) {
                *slot = score.confidence();
            }
        }
        for position in edits(step) {
            self.current.forget(position);
            if let Some(slot) = self.confidence.get_mut(position) {
                *slot = UNKNOWN;
            }
        }
    }
}
