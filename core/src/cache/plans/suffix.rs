//! Most masks behind the block are left out: DPad's suffix dropout.

use crate::cache::{CachePlan, CacheView, Decided, RowList};
use crate::decode::{Needs, philox4x32};
use crate::math::exp;
use crate::model::Visible;
use core::ops::Range;

/// DPad's suffix window (arXiv 2508.14148) over another plan: of the masks behind the block only some
/// within a window are computed and seen, drawn anew for each block, the fewer the farther. All others
/// are neither computed nor seen; those that remain keep their positions.
///
/// A mask at distance `d` behind the block's end (0 for the next position) stays with probability
/// `scale * normal(sigmas * d / window)`, where `normal` is the density of the standard normal distribution.
/// Tokens behind the block always stay. [`SuffixWindow::whole`] keeps every mask of the window.
///
/// Needs a model that hides slots. Memory: one `u16` per position.
#[derive(Debug)]
pub struct SuffixWindow<'a, C> {
    plan: C,
    hidden: &'a mut [u16],
    count: usize,
    end: usize,
    window: usize,
    dropout: Option<Dropout>,
}

/// Which masks of a window stay.
#[derive(Debug, Clone, Copy)]
struct Dropout {
    sigmas: f32,
    scale: f32,
    seed: u64,
}

impl Dropout {
    /// Whether the mask at `distance` behind the block stays.
    fn keeps(&self, distance: usize, window: usize, block_end: usize) -> bool {
        const UNIT: f32 = 1.0 / 16_777_216.0;
        const PEAK: f32 = 0.398_942_3; // 1 / sqrt(2 pi)
        let x = self.sigmas * distance as f32 / window.max(1) as f32;
        let probability = self.scale * PEAK * exp(-0.5 * x * x);
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let [draw, ..] = philox4x32([distance as u32, block_end as u32, 0, 3], key);
        ((draw >> 8) as f32 + 0.5) * UNIT < probability
    }
}

impl<'a, C: CachePlan> SuffixWindow<'a, C> {
    /// Keeps every mask of a window over the next `window` positions. `hidden` has one entry per
    /// position of the canvas.
    #[must_use]
    pub fn whole(plan: C, hidden: &'a mut [u16], window: usize) -> Self {
        Self { plan, hidden, count: 0, end: usize::MAX, window, dropout: None }
    }

    /// DPad with its published window of 128 positions, 4 sigmas and scale 2; draws from `seed`.
    #[must_use]
    pub fn new(plan: C, hidden: &'a mut [u16], seed: u64) -> Self {
        Self::whole(plan, hidden, 128).dropout(4.0, 2.0, seed)
    }

    /// Keeps a mask of the window with a probability that falls with the distance. Published: 3 to 4
    /// sigmas, scale 1.6 to 2.3. What is below 0 or not a number counts as 0.
    #[must_use]
    pub fn dropout(self, sigmas: f32, scale: f32, seed: u64) -> Self {
        let (sigmas, scale) = (sigmas.max(0.0), scale.max(0.0));
        Self { dropout: Some(Dropout { sigmas, scale, seed }), ..self }
    }

    /// Another window. Published: 128 to 256 positions.
    #[must_use]
    pub fn window(self, positions: usize) -> Self {
        Self { window: positions, ..self }
    }

    /// Draws which masks behind the block are left out.
    fn draw(&mut self, view: &CacheView<'_>) {
        (self.count, self.end) = (0, view.block.end);
        let behind = view.canvas.iter().zip(0u16..).skip(view.block.end);
        for (token, position) in behind {
            let distance = usize::from(position).saturating_sub(view.block.end);
            let near = distance < self.window;
            let kept = self.dropout.is_none_or(|d| d.keeps(distance, self.window, view.block.end));
            if *token != view.mask_id || near && kept {
                self.end = usize::from(position) + 1;
            } else if let Some(slot) = self.hidden.get_mut(self.count) {
                *slot = position;
                self.count += 1;
            }
        }
        // Those behind the last one that is seen need no mention.
        let hidden = self.hidden.get(..self.count).unwrap_or_default();
        self.count = hidden.partition_point(|position| usize::from(*position) < self.end);
    }

    fn hides(&self, row: u16) -> bool {
        let hidden = self.hidden.get(..self.count).unwrap_or_default();
        usize::from(row) >= self.end || hidden.binary_search(&row).is_ok()
    }
}

impl<C: CachePlan> CachePlan for SuffixWindow<'_, C> {
    fn name(&self) -> &'static str {
        if self.dropout.is_some() { "dpad" } else { "suffix-window" }
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn needs(&self) -> Needs {
        self.plan.needs().and(Needs::VISIBILITY)
    }

    /// What is hidden cannot be scored, and belongs to its positions.
    fn forbids(&self) -> Needs {
        self.plan.forbids().and(Needs::RESIZING).and(Needs::ALL_MASKS).and(Needs::ALL_ROWS)
    }

    fn needs_blocks(&self) -> bool {
        self.plan.needs_blocks()
    }

    fn capacity(&self) -> usize {
        self.plan.capacity().min(self.hidden.len())
    }

    fn limits_candidates(&self) -> bool {
        self.plan.limits_candidates()
    }

    fn is_candidate(&self, position: u16) -> bool {
        self.plan.is_candidate(position)
    }

    fn begin(&mut self, region: Range<usize>) {
        self.plan.begin(region);
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        self.plan.plan(view, rows);
        if view.pass == 0 {
            self.draw(view);
            // What was hidden until now has not been computed, whatever the plan thinks.
            rows.add_all(view.block.start..view.visible_end());
        }
        rows.retain(|row| !self.hides(row));
    }

    fn visible(&self) -> Visible<'_> {
        let visible = self.plan.visible();
        let hidden = self.hidden.get(..self.count).unwrap_or_default();
        Visible { end: visible.end.min(self.end), hidden, ..visible }
    }

    fn decided(&mut self, step: &Decided<'_>) {
        self.plan.decided(step);
    }
}
