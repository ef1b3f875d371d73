//! The sweeps over rows, and how each is cut into pieces for workers.

use crate::cache::{KvLayer, KvLayerMut};
use crate::decode::{Adjustment, DECODERS, Divergence, Sampling, Score, ScoreAccumulator, bias_of};
use crate::exec::Split;
use crate::image::RopePairs;
use crate::kernels::Kernels;
use crate::kernels::scalar::NotFinite;
use crate::layers::attention::{AttentionScratch, AttentionShape, attend};
use crate::layers::experts::mixture;
use crate::layers::feed_forward::feed_forward;
use crate::layers::head;
use crate::layers::norm::{NormInput, NormWeights, normalize_heads};
use crate::layers::rope::rotate;
use crate::layers::visibility::View;
use crate::layers::weights::{LayerWeights, OuterWeights, Part};
use crate::memory::{LastPass, Scratch};
use crate::model::Pass;
use crate::rows::Rows;

/// What every piece of work needs to know.
pub(super) struct Context<'t, 'a, K> {
    pub(super) kernels: K,
    pub(super) outer: &'t OuterWeights<'a>,
    pub(super) model_dim: usize,
    pub(super) eps: f32,
    pub(super) pairs: RopePairs,
    /// Entries of a head that are rotated.
    pub(super) rotated: usize,
    pub(super) view: View<'t>,
    pub(super) attention: AttentionShape,
}

impl<K: Kernels> Context<'_, '_, K> {
    /// The rows of a tile with a norm before them. The first row of `hidden` is canvas position
    /// `first`.
    fn input<'t>(
        &self,
        rows: Rows<'t>,
        hidden: &'t [f32],
        first: usize,
        norm: NormWeights<'t>,
    ) -> NormInput<'t> {
        NormInput { rows, hidden, first, norm, eps: self.eps }
    }

    /// Normalizes, in a model that does, and rotates the query or key heads of the row of a slot.
    #[inline(always)]
    fn place_heads(
        &self,
        heads: &mut [f32],
        norm: Part<&[f32]>,
        slot: usize,
        (cos, sin): Rotation<'_>,
    ) -> Result<(), NotFinite> {
        if let Some(weight) = norm.present() {
            normalize_heads(heads, weight, self.eps)?;
        }
        let (half, position) = (self.rotated / 2, self.view.position(slot));
        let (cos, sin) = (row(cos, position, half), row(sin, position, half));
        rotate(heads, self.attention.head_dim, self.pairs, cos, sin);
        Ok(())
    }
}

/// Cosine and sine tables, `[slots, rope_dim / 2]`.
type Rotation<'t> = (&'t [f32], &'t [f32]);

/// Row `index` of a `[rows, width]` slice.
fn row<T>(all: &[T], index: usize, width: usize) -> &[T] {
    all.chunks_exact(width.max(1)).nth(index).unwrap_or_default()
}

fn row_mut<T>(all: &mut [T], index: usize, width: usize) -> &mut [T] {
    all.chunks_exact_mut(width.max(1)).nth(index).unwrap_or_default()
}

/// First sweep: rows whose keys and values are computed.
pub(super) struct KvPiece<'t> {
    pub(super) rows: Rows<'t>,
    pub(super) hidden: &'t [f32],
    pub(super) kv: KvLayerMut<'t>,
}

impl Split for KvPiece<'_> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn split(self, rows: usize) -> (Self, Self) {
        let (rows_a, rows_b) = self.rows.split(rows);
        let (kv_a, kv_b) = self.kv.split_at_slot(rows_b.first().unwrap_or(usize::MAX));
        (
            Self { rows: rows_a, hidden: self.hidden, kv: kv_a },
            Self { rows: rows_b, hidden: self.hidden, kv: kv_b },
        )
    }
}

/// Keys and values of the piece's rows, into the ring.
#[inline(never)] // else the compiler peels a loop over pieces and keeps the body twice
pub(super) fn keys_and_values<K: Kernels>(
    context: &Context<'_, '_, K>,
    weights: &LayerWeights<'_>,
    rotation: Rotation<'_>,
    mut piece: KvPiece<'_>,
    s: &mut Scratch<'_>,
) -> Result<(), NotFinite> {
    let (kernels, AttentionShape { kv_heads, head_dim, .. }) = (context.kernels, context.attention);
    let width = kv_heads * head_dim;
    let tile = piece.rows;
    let input = context.input(tile, piece.hidden, 0, weights.attention_norm);
    let mut x = input.quantize(kernels, weights.key.format(), s.row, &mut s.activations)?;
    x.multiply(kernels, &weights.key, s.a);
    for (position, keys) in tile.iter().zip(s.a.chunks_exact_mut(width.max(1))) {
        kernels.vectorize(|| {
            context.place_heads(keys, weights.key_norm, position, rotation)?;
            piece.kv.store_keys(position, keys)
        })?;
    }
    if weights.value.format() != weights.key.format() {
        x = input.quantize(kernels, weights.value.format(), s.row, &mut s.activations)?;
    }
    x.multiply(kernels, &weights.value, s.a);
    for (position, values) in tile.iter().zip(s.a.chunks_exact(width.max(1))) {
        kernels.vectorize(|| piece.kv.store_values(position, values))?;
    }
    Ok(())
}

/// Second sweep: rows that go through attention and the feed-forward network.
pub(super) struct BlockPiece<'t> {
    rows: Rows<'t>,
    /// The canvas position of the first row of `hidden`.
    first: usize,
    hidden: &'t mut [f32],
    model_dim: usize,
}

impl<'t> BlockPiece<'t> {
    pub(super) fn new<K: Kernels>(
        rows: Rows<'t>,
        hidden: &'t mut [f32],
        context: &Context<'_, '_, K>,
    ) -> Self {
        Self { rows, first: 0, hidden, model_dim: context.model_dim }
    }
}

impl Split for BlockPiece<'_> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn split(self, rows: usize) -> (Self, Self) {
        let (rows_a, rows_b) = self.rows.split(rows);
        let cut = rows_b.first().unwrap_or(usize::MAX).saturating_sub(self.first);
        let at = cut.saturating_mul(self.model_dim).min(self.hidden.len());
        let (hidden_a, hidden_b) = self.hidden.split_at_mut(at);
        let first_b = self.first.saturating_add(cut);
        (
            Self { rows: rows_a, hidden: hidden_a, ..self },
            Self { rows: rows_b, hidden: hidden_b, first: first_b, ..self },
        )
    }
}

/// Attention, feed-forward network and their residuals for the piece's rows.
#[inline(never)] // see `keys_and_values`
pub(super) fn block<K: Kernels>(
    context: &Context<'_, '_, K>,
    weights: &LayerWeights<'_>,
    rotation: Rotation<'_>,
    ring: &KvLayer<'_>,
    piece: BlockPiece<'_>,
    s: &mut Scratch<'_>,
) -> Result<(), NotFinite> {
    let (kernels, AttentionShape { heads, head_dim, .. }) = (context.kernels, context.attention);
    let width = heads * head_dim;
    let first = piece.first;
    let tile = piece.rows;
    let rows = tile.len();
    let input = context.input(tile, piece.hidden, first, weights.attention_norm);
    let x = input.quantize(kernels, weights.query.format(), s.row, &mut s.activations)?;
    x.multiply(kernels, &weights.query, s.a);
    for (position, query) in tile.iter().zip(s.a.chunks_exact_mut(width.max(1))) {
        let norm = weights.query_norm;
        kernels.vectorize(|| context.place_heads(query, norm, position, rotation))?;
    }
    let attended = s.a.get_mut(..rows * width).unwrap_or_default();
    let mut memory =
        AttentionScratch { queries: s.queries, query_scales: s.query_scales, weights: s.attention };
    attend(kernels, attended, context.attention, ring, (tile, context.view), &mut memory)?;
    let mut x = s.activations.tile(weights.attention_output.format(), rows, width);
    x.quantize_rows(kernels, attended, width)?;
    x.multiply(kernels, &weights.attention_output, s.b);
    add_residual(piece.hidden, first, tile, s.b, context.model_dim);
    let input = context.input(tile, piece.hidden, first, weights.ffn_norm);
    let output = match (weights.experts.present(), &weights.feed_forward) {
        (Some(experts), shared) => {
            mixture(kernels, &experts, shared.as_ref(), input, s)?;
            &*s.experts.sums
        }
        (None, Some(network)) => {
            feed_forward(kernels, network, input, s)?;
            &*s.b
        }
        (None, None) => return Ok(()),
    };
    add_residual(piece.hidden, first, tile, output, context.model_dim);
    Ok(())
}

fn add_residual(hidden: &mut [f32], first: usize, tile: Rows<'_>, delta: &[f32], dim: usize) {
    for (position, delta) in tile.iter().zip(delta.chunks_exact(dim.max(1))) {
        let x = row_mut(hidden, position.saturating_sub(first), dim);
        for (x, d) in x.iter_mut().zip(delta) {
            *x += d;
        }
    }
}

/// Positions whose scores are wanted, in step with `scores`.
pub(super) struct HeadPiece<'t> {
    pub(super) positions: &'t [u16],
    /// The row before a position predicts it.
    pub(super) shifted: bool,
    pub(super) hidden: &'t [f32],
    pub(super) scores: &'t mut [Score],
}

impl Split for HeadPiece<'_> {
    fn rows(&self) -> usize {
        self.positions.len()
    }

    fn split(self, rows: usize) -> (Self, Self) {
        let (first, others) = self.positions.split_at(rows.min(self.positions.len()));
        let (scores_a, scores_b) = self.scores.split_at_mut(first.len().min(self.scores.len()));
        (
            Self { positions: first, scores: scores_a, ..self },
            Self { positions: others, scores: scores_b, ..self },
        )
    }
}

/// Final norm and streamed head, reduced to one record per row. With `last`, the rows of the last pass
/// go through the head as well.
#[inline(never)] // see `keys_and_values`
pub(super) fn head_scores<K: Kernels>(
    context: &Context<'_, '_, K>,
    (mask_id, pass, sampling): (u32, &Pass<'_>, &Sampling),
    last: &LastPass<'_>,
    piece: HeadPiece<'_>,
    s: &mut Scratch<'_>,
) -> Result<(), NotFinite> {
    let (kernels, outer) = (context.kernels, context.outer);
    let tile = super::predicting(piece.positions, piece.shifted);
    let input = context.input(tile, piece.hidden, 0, outer.output_norm);
    let format = outer.head.format();
    let x = input.quantize(kernels, format, s.row, &mut s.activations)?;
    let compares = DECODERS && !last.scored.is_empty();
    let filters = sampling.filters();
    let others = context.input(Rows::List(piece.positions), last.hidden, 0, outer.output_norm);
    let other_x = match compares {
        true => Some(others.quantize(kernels, format, s.row, &mut s.decoders.activations)?),
        false => None,
    };
    for (row, slot) in piece.positions.iter().enumerate() {
        let position = context.view.position(usize::from(*slot));
        let current = pass.canvas.get(position).copied().unwrap_or(mask_id);
        if let Some(accumulator) = s.accumulators.get_mut(row) {
            *accumulator = ScoreAccumulator::new(u32::from(*slot), current);
        }
        if let Some(divergence) = s.decoders.divergences.get_mut(row).filter(|_| compares) {
            *divergence = Divergence::default();
        }
        if let Some(candidates) = s.decoders.candidates.get_mut(row).filter(|_| filters) {
            candidates.clear();
        }
    }
    for (first, part) in head::chunks(&outer.head) {
        x.multiply(kernels, &part, s.b);
        if let Some(other_x) = &other_x {
            other_x.multiply(kernels, &part, s.decoders.logits);
        }
        let width = part.rows().max(1);
        let logits = s.b.chunks_exact(width).zip(s.accumulators.iter_mut());
        let mut others = s.decoders.logits.chunks_exact(width).zip(&mut *s.decoders.divergences);
        let mut candidates = s.decoders.candidates.iter_mut();
        for ((logits, accumulator), slot) in logits.zip(piece.positions) {
            let bias = match DECODERS && !pass.bias.is_empty() {
                true => bias_of(pass.bias, u32::from(*slot)),
                false => &[],
            };
            let adjust = Adjustment { mask_id, forbidden: sampling.forbidden, bias };
            kernels.vectorize(|| {
                let mut chunk = adjust.chunk(first, logits);
                if compares && let Some((others, divergence)) = others.next() {
                    divergence.absorb(&chunk, &adjust.chunk(first, others));
                }
                if filters && let Some(candidates) = candidates.next() {
                    candidates.absorb(first, &chunk);
                }
                accumulator.absorb(first, &mut chunk, sampling);
            });
        }
    }
    let mut divergences = s.decoders.divergences.iter();
    let mut candidates = s.decoders.candidates.iter();
    let rows = piece.scores.iter_mut().zip(s.accumulators.iter()).zip(piece.positions);
    for ((score, accumulator), slot) in rows {
        *score = accumulator.finish()?;
        if filters && let Some(candidates) = candidates.next() {
            *score = candidates.filter(score, accumulator.current, sampling)?;
        }
        if compares && let Some(divergence) = divergences.next() {
            score.divergence = match last.scored.get(usize::from(*slot)) {
                Some(1) => divergence.finish()?,
                _ => f32::INFINITY,
            };
        }
    }
    Ok(())
}

/// Rows whose logits are written out whole.
pub(super) struct LogitPiece<'t> {
    pub(super) rows: Rows<'t>,
    pub(super) hidden: &'t [f32],
    pub(super) out: &'t mut [f32],
    pub(super) vocab: usize,
}

impl Split for LogitPiece<'_> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn split(self, rows: usize) -> (Self, Self) {
        let (rows_a, rows_b) = self.rows.split(rows);
        let at = rows_a.len().saturating_mul(self.vocab).min(self.out.len());
        let (out_a, out_b) = self.out.split_at_mut(at);
        let (hidden, vocab) = (self.hidden, self.vocab);
        (
            Self { rows: rows_a, out: out_a, hidden, vocab },
            Self { rows: rows_b, out: out_b, hidden, vocab },
        )
    }
}

/// Final norm and head for every row of the piece.
#[inline(never)] // see `keys_and_values`
pub(super) fn head_logits<K: Kernels>(
    context: &Context<'_, '_, K>,
    piece: LogitPiece<'_>,
    s: &mut Scratch<'_>,
) -> Result<(), NotFinite> {
    let (kernels, outer, vocab) = (context.kernels, context.outer, piece.vocab.max(1));
    let tile = piece.rows;
    let input = context.input(tile, piece.hidden, 0, outer.output_norm);
    let x = input.quantize(kernels, outer.head.format(), s.row, &mut s.activations)?;
    head::stream(kernels, &outer.head, tile.len(), &x, s.b, |row, first, logits| {
        let target = row_mut(piece.out, row, vocab).get_mut(first as usize..).unwrap_or_default();
        for (target, &l) in target.iter_mut().zip(logits) {
            *target = l;
        }
    });
    Ok(())
}
