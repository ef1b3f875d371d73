//! Rows of logits, and what changes them before they are looked at.

use super::{Candidates, Divergence, HEAD_CHUNK, LogitBias, Sampling, Score, ScoreAccumulator};
use crate::kernels::scalar::NotFinite;

/// What changes the logits of a row before anything looks at them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adjustment<'a> {
    /// Takes no part.
    pub(crate) mask_id: u32,
    /// Takes no part either.
    pub(crate) forbidden: Option<u32>,
    /// Added, all of one position.
    pub(crate) bias: &'a [LogitBias],
}

impl Adjustment<'_> {
    /// The logits of ids `first_id..` with minus infinity for ids that do not exist or take no part.
    #[inline(always)]
    pub(crate) fn chunk(&self, first_id: u32, logits: &[f32]) -> [f32; HEAD_CHUNK] {
        let mut chunk = [f32::NEG_INFINITY; HEAD_CHUNK];
        for (target, &l) in chunk.iter_mut().zip(logits) {
            *target = l;
        }
        for bias in self.bias {
            if let Some(l) = place(&mut chunk, first_id, bias.id) {
                *l += bias.nats;
            }
        }
        for id in [self.mask_id, self.forbidden.unwrap_or(self.mask_id)] {
            if let Some(l) = place(&mut chunk, first_id, id) {
                *l = f32::NEG_INFINITY;
            }
        }
        chunk
    }
}

#[inline(always)]
fn place(chunk: &mut [f32; HEAD_CHUNK], first_id: u32, id: u32) -> Option<&mut f32> {
    chunk.get_mut(id.checked_sub(first_id)? as usize)
}

/// The entries of one position, of a list that ascends by position.
pub(crate) fn bias_of(all: &[LogitBias], position: u32) -> &[LogitBias] {
    let start = all.partition_point(|bias| bias.position < position);
    let rest = all.get(start..).unwrap_or_default();
    let count = rest.partition_point(|bias| bias.position == position);
    rest.get(..count).unwrap_or_default()
}

/// A row of logits that exists in memory, as a reference model's does, and what its score depends on
/// besides.
///
/// # Example
/// ```
/// use demask::decode::{LogitBias, LogitRow, Sampling};
/// let bias = [LogitBias { position: 7, id: 0, nats: 8.5 }];
/// let row = LogitRow { current: 2, bias: &bias, ..LogitRow::new(7, &[1.0, 9.0, 3.0], 1) };
/// let score = row.score(&Sampling::GREEDY).unwrap();
/// assert_eq!((score.top, score.top_logit), (0, 9.5)); // id 1 is the mask
/// assert_eq!(score.current_logit, 3.0);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LogitRow<'a> {
    /// Position in the canvas.
    pub position: u32,
    /// `[vocab_size]`
    pub logits: &'a [f32],
    /// Takes no part.
    pub mask_id: u32,
    /// Token that stands at the position.
    pub current: u32,
    /// What to add to logits, ascending by position; entries of other positions do nothing.
    pub bias: &'a [LogitBias],
    /// Logits of the last pass that scored the position, for [`Score::divergence`].
    pub previous: Option<&'a [f32]>,
}

impl<'a> LogitRow<'a> {
    /// The row of a position with a mask, and nothing else known.
    #[must_use]
    pub const fn new(position: u32, logits: &'a [f32], mask_id: u32) -> Self {
        Self { position, logits, mask_id, current: mask_id, bias: &[], previous: None }
    }

    /// The score, by the rules of the numerics contract.
    ///
    /// # Errors
    /// [`NotFinite`] if a logit is NaN or infinite.
    pub fn score(&self, sampling: &Sampling) -> Result<Score, NotFinite> {
        let bias = bias_of(self.bias, self.position);
        let adjust = Adjustment { mask_id: self.mask_id, forbidden: sampling.forbidden, bias };
        let mut accumulator = ScoreAccumulator::new(self.position, self.current);
        let mut candidates = Candidates::default();
        let mut divergence = Divergence::default();
        let previous = self.previous.unwrap_or_default();
        let mut previous = previous.chunks(HEAD_CHUNK);
        for (first_id, logits) in (0..).step_by(HEAD_CHUNK).zip(self.logits.chunks(HEAD_CHUNK)) {
            let mut chunk = adjust.chunk(first_id, logits);
            if sampling.filters() {
                candidates.absorb(first_id, &chunk);
            }
            if let Some(previous) = previous.next() {
                divergence.absorb(&chunk, &adjust.chunk(first_id, previous));
            }
            accumulator.absorb(first_id, &mut chunk, sampling);
        }
        let mut score = accumulator.finish()?;
        if sampling.filters() {
            score = candidates.filter(&score, self.current, sampling)?;
        }
        if self.previous.is_some() {
            score.divergence = divergence.finish()?;
        }
        Ok(score)
    }
}
