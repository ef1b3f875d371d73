//! Grouped-query attention over the key-value ring, a tile of rows at a time.
//!
//! Scores are exact integer dot products of quantized queries and keys. Values are added in slot
//! order, which is position order, so that the sum does not depend on who computed which slot.

use super::visibility::View;
use crate::cache::{ATTENTION_FLOOR, KvLayer};
use crate::decode::DECODERS;
use crate::kernels::Kernels;
use crate::kernels::scalar::{NotFinite, quantize};
use crate::math::sqrt;
use crate::rows::Rows;

/// Heads of one attention layer.
#[derive(Clone, Copy)]
pub(crate) struct AttentionShape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

/// Memory for a tile of rows.
pub(crate) struct AttentionScratch<'a> {
    /// One head of each row, `[rows, head_dim]`.
    pub(crate) queries: &'a mut [i8],
    /// `[rows]`
    pub(crate) query_scales: &'a mut [f32],
    /// `[rows, slots]`
    pub(crate) weights: &'a mut [f32],
}

/// Replaces the rotated queries of the `slots` in `rows` (`[rows, heads, head_dim]`) by their attention
/// output over the slots that each of them sees; zeros if there are none.
pub(crate) fn attend<K: Kernels>(
    kernels: K,
    rows: &mut [f32],
    shape: AttentionShape,
    ring: &KvLayer<'_>,
    (slots, view): (Rows<'_>, View<'_>),
    scratch: &mut AttentionScratch<'_>,
) -> Result<(), NotFinite> {
    let AttentionShape { heads, kv_heads, head_dim } = shape;
    let (width, dim) = ((heads * head_dim).max(1), head_dim.max(1));
    let count = rows.len() / width;
    // No row sees less than one before it: the last one's slots are enough for all.
    let visible = slots.last().map_or(0, |row| view.end(row));
    if DECODERS && visible == 0 {
        rows.fill(0.0);
        return Ok(());
    }
    let scale = 1.0 / sqrt(dim as f32);
    let heads_per_kv = (heads / kv_heads.max(1)).max(1);
    let queries = scratch.queries.get_mut(..count * dim).ok_or(NotFinite)?;
    let query_scales = scratch.query_scales.get_mut(..count).ok_or(NotFinite)?;
    let weights = scratch.weights.get_mut(..count * visible).ok_or(NotFinite)?;
    for head in 0..heads {
        let first = head * dim;
        kernels.vectorize(|| {
            let targets = queries.chunks_exact_mut(dim).zip(query_scales.iter_mut());
            for (row, (query, query_scale)) in rows.chunks_exact(width).zip(targets) {
                let x = row.get(first..).and_then(|rest| rest.get(..dim)).unwrap_or_default();
                *query_scale = quantize(x, ATTENTION_FLOOR, query)? * scale;
            }
            Ok(())
        })?;
        let kv = ring.head(head / heads_per_kv);
        kernels.vectorize(|| kernels.attention_scores(queries, query_scales, kv, visible, weights));
        let rows = rows.get_mut(first..).unwrap_or_default();
        kernels.vectorize(|| {
            let rows_of_weights = (&mut *weights, visible.max(1));
            match view.hides() {
                true => weigh::<K, true>(kernels, rows_of_weights, query_scales, slots, view),
                false => weigh::<K, false>(kernels, rows_of_weights, query_scales, slots, view),
            }
            kernels.attention_values(weights, query_scales, kv, visible, (rows, width));
        });
    }
    Ok(())
}

/// Turns scores (`[rows, width]`) into softmax weights that are still to be multiplied by `inverses`.
/// `HIDES` if some slots are hidden that the model lets rows see.
#[inline(always)]
fn weigh<K: Kernels, const HIDES: bool>(
    kernels: K,
    (scores, width): (&mut [f32], usize),
    inverses: &mut [f32],
    slots: Rows<'_>,
    view: View<'_>,
) {
    let rows = scores.chunks_exact_mut(width).zip(inverses);
    for ((scores, inverse), slot) in rows.zip(slots.iter()) {
        let end = if HIDES { view.end(slot) } else { view.end_by_model(slot) };
        let (seen, unseen) = scores.split_at_mut(end.min(scores.len()));
        if HIDES && !view.hide(slot, seen) {
            seen.fill(0.0);
            *inverse = 0.0;
        } else {
            *inverse = 1.0 / kernels.exponentiate(seen);
        }
        // Adding nothing to a sum leaves its bits as they are.
        unseen.fill(0.0);
    }
}
