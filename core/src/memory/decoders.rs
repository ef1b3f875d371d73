//! Memory that only some decoders need. Without the cargo feature `decoders` there is none.

use super::Carver;
use crate::decode::{Candidates, DECODERS, Divergence, HEAD_CHUNK, Needs};
use crate::image::ModelConfig;
use crate::layers::linear::ActivationBuffer;
use crate::packed::{GROUP, Layout};
use crate::pieces::move_down;
use crate::plan::{Limits, Size};
use crate::rows::Rows;

/// `count` of something that only this need asks for.
const fn planned(limits: &Limits, need: Needs, count: usize) -> usize {
    if DECODERS && limits.needs.include(need) { count } else { 0 }
}

/// What the last pass that scored a position found there; empty unless planned for
/// [`Needs::DIVERGENCE`].
#[derive(Debug, Default)]
pub(crate) struct LastPass<'a> {
    /// Residual stream before the output norm, `[canvas, model_dim]`, by position.
    pub(crate) hidden: &'a mut [f32],
    /// 1 for positions that have been scored, `[canvas]`.
    pub(crate) scored: &'a mut [u8],
}

impl<'a> LastPass<'a> {
    pub(crate) const fn size(config: &ModelConfig, limits: &Limits) -> Size {
        let slots = planned(limits, Needs::DIVERGENCE, limits.canvas);
        Size::product::<f32>(slots, config.model_dim as usize).plus(Size::of::<u8>(slots))
    }

    pub(crate) fn take(
        carver: &mut Carver<'a>,
        config: &ModelConfig,
        limits: &Limits,
    ) -> Option<Self> {
        let slots = planned(limits, Needs::DIVERGENCE, limits.canvas);
        Some(Self {
            hidden: carver.take(slots, config.model_dim as usize)?,
            scored: carver.take(slots, 1)?,
        })
    }

    /// Nothing has been scored.
    pub(crate) fn clear(&mut self) {
        // Rows that mean nothing go through the head as well.
        self.hidden.fill(0.0);
        self.scored.fill(0);
    }

    /// Keeps the `hidden` rows of the `sources` that have just predicted the `wanted` positions.
    pub(crate) fn keep(&mut self, hidden: &[f32], sources: Rows<'_>, wanted: &[u16]) {
        let dim = self.hidden.len().checked_div(self.scored.len()).unwrap_or(0);
        for (source, position) in sources.iter().zip(wanted) {
            let at = usize::from(*position);
            let Some(scored) = self.scored.get_mut(at) else { return };
            *scored = 1;
            let to = self.hidden.get_mut(at * dim..).and_then(|rest| rest.get_mut(..dim));
            let from = hidden.get(source * dim..).and_then(|rest| rest.get(..dim));
            for (to, from) in to.unwrap_or_default().iter_mut().zip(from.unwrap_or_default()) {
                *to = *from;
            }
        }
    }

    /// `drop` slots from slot `keep` on are gone, and those behind them have moved down.
    pub(crate) fn slide(&mut self, keep: usize, drop: usize) {
        let slots = self.scored.len();
        let dim = self.hidden.len().checked_div(slots).unwrap_or(0);
        move_down(self.hidden, keep * dim, drop * dim);
        move_down(self.scored, keep, drop);
        self.scored.get_mut(slots.saturating_sub(drop)..).unwrap_or_default().fill(0);
    }
}

/// Sizes of [`DecoderScratch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecoderScratchShape {
    /// Rows whose candidates are kept: a tile, or none.
    filtered: usize,
    /// Rows that are compared with those of the last pass: a tile, or none.
    compared: usize,
    groups: usize,
    layout: Layout,
}

/// Scratch memory of one worker.
#[derive(Default)]
pub(crate) struct DecoderScratch<'a> {
    /// The most probable tokens of each row of a tile; with [`Needs::FILTER`].
    pub(crate) candidates: &'a mut [Candidates],
    /// The last pass's rows; this and what follows with [`Needs::DIVERGENCE`].
    pub(crate) activations: ActivationBuffer<'a>,
    /// Their logits, `[tile, HEAD_CHUNK]`.
    pub(crate) logits: &'a mut [f32],
    /// `[tile]`
    pub(crate) divergences: &'a mut [Divergence],
}

impl DecoderScratchShape {
    pub(crate) const fn new(config: &ModelConfig, limits: &Limits) -> Self {
        Self {
            filtered: planned(limits, Needs::FILTER, limits.tile),
            compared: planned(limits, Needs::DIVERGENCE, limits.tile),
            groups: (config.model_dim as usize).div_ceil(GROUP),
            layout: limits.layout,
        }
    }

    pub(crate) const fn bytes(&self) -> Size {
        Size::of::<Candidates>(self.filtered)
            .plus(Size(self.layout.activation_words(self.compared, self.groups)).elements::<u32>())
            .plus(Size::product::<f32>(self.compared, HEAD_CHUNK))
            .plus(Size::of::<Divergence>(self.compared))
    }

    pub(crate) fn take<'a>(&self, carver: &mut Carver<'a>) -> Option<DecoderScratch<'a>> {
        Some(DecoderScratch {
            candidates: carver.take(self.filtered, 1)?,
            activations: ActivationBuffer {
                words: carver.take(self.layout.activation_words(self.compared, self.groups)?, 1)?,
                layout: self.layout,
            },
            logits: carver.take(self.compared, HEAD_CHUNK)?,
            divergences: carver.take(self.compared, 1)?,
        })
    }
}
