//! Bidirectional grouped-query attention over the key-value ring.
//!
//! Scores are exact integer dot products of quantized queries and keys. Values are added in slot
//! order, which is position order, so that the sum does not depend on who computed which slot.

use crate::cache::{ATTENTION_FLOOR, KvLayer};
use crate::kernels::Kernels;
use crate::kernels::scalar::{NotFinite, quantize};
use crate::math::sqrt;
use crate::pieces::pieces;

/// Heads of one attention layer.
#[derive(Clone, Copy)]
pub(crate) struct AttentionShape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

/// Memory for one row.
pub(crate) struct AttentionScratch<'a> {
    /// `[heads, head_dim]`
    pub(crate) query: &'a mut [i8],
    /// `[heads]`
    pub(crate) query_scales: &'a mut [f32],
    /// `[slots]`
    pub(crate) weights: &'a mut [f32],
}

/// Replaces the rotated query heads in `row` (`[heads, head_dim]`) by their attention output over
/// the first `visible` slots.
#[inline(always)]
pub(crate) fn attend<K: Kernels>(
    kernels: K,
    row: &mut [f32],
    shape: AttentionShape,
    ring: &KvLayer<'_>,
    visible: usize,
    scratch: &mut AttentionScratch<'_>,
) -> Result<(), NotFinite> {
    let dim = shape.head_dim.max(1);
    let scale = 1.0 / sqrt(dim as f32);
    let heads = pieces(row, dim).zip(scratch.query.chunks_exact_mut(dim));
    for ((x, q), query_scale) in heads.zip(scratch.query_scales.iter_mut()) {
        *query_scale = quantize(x, ATTENTION_FLOOR, q)? * scale;
    }
    let weights = scratch.weights.get_mut(..visible).ok_or(NotFinite)?;
    let heads_per_kv = (shape.heads / shape.kv_heads.max(1)).max(1);
    let queries = pieces(scratch.query, dim).zip(scratch.query_scales.iter());
    for (head, ((query, &query_scale), out)) in queries.zip(row.chunks_exact_mut(dim)).enumerate() {
        let kv_head = head / heads_per_kv;
        for (weight, (key, key_scale)) in weights.iter_mut().zip(ring.keys(kv_head)) {
            *weight = (query_scale * key_scale) * kernels.dot(query, key) as f32;
        }
        let sum = kernels.exponentiate(weights);
        accumulate(weights, ring, kv_head, 1.0 / sum, out);
    }
    Ok(())
}

/// `out = inverse_sum * sum over slots of (weight * value_scale) * value`.
#[inline(always)]
fn accumulate(
    weights: &[f32],
    ring: &KvLayer<'_>,
    kv_head: usize,
    inverse_sum: f32,
    out: &mut [f32],
) {
    let slots = || weights.iter().zip(ring.values(kv_head));
    // Every output is a chain of its own, so that 32 of them may stay in registers to the end.
    let (wide, rest) = out.as_chunks_mut::<32>();
    for (chunk, out) in wide.iter_mut().enumerate() {
        let mut sums = [0.0f32; 32];
        for (&weight, (values, value_scale)) in slots() {
            let Some(values) = values.as_chunks::<32>().0.get(chunk) else { return };
            add_scaled(&mut sums, weight * value_scale, values);
        }
        *out = sums.map(|sum| sum * inverse_sum);
    }
    if rest.is_empty() {
        return;
    }
    let done = wide.len() * 32;
    rest.fill(0.0);
    for (&weight, (values, value_scale)) in slots() {
        add_scaled(rest, weight * value_scale, values.get(done..).unwrap_or_default());
    }
    for y in rest {
        *y *= inverse_sum;
    }
}

#[inline(always)]
fn add_scaled(sums: &mut [f32], scale: f32, values: &[i8]) {
    for (sum, &v) in sums.iter_mut().zip(values) {
        *sum += scale * f32::from(v);
    }
}
