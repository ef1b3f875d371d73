//! The key-value ring: fixed capacity, borrowed memory, `i8` entries.
//!
//! A slot is a position of the canvas. Each slot holds, per key-value head, `head_dim` key and
//! value entries with one scale each. Keys are stored after their rotation: a slot that moves down
//! keeps its position in the text.
//!
//! When a text grows beyond the ring, its oldest slots are dropped and all others move down. That is
//! a copy of the ring per block of text, a small part of what the block's passes read, and keeps
//! slots in the order of positions, in which attention has to add them up.

use crate::kernels::scalar::{NotFinite, quantize};
use crate::pieces::{move_down, pieces};

/// Keys, values and attention probabilities below these count as zero, so that no product on the
/// way to an attention output can be subnormal (docs/numerics.md, rule 5).
pub const ATTENTION_FLOOR: f32 = f32::from_bits((127 - 30) << 23);

/// The ring of all layers. Each slice is `[layers, slots, ...]`.
#[derive(Debug)]
pub struct KvRing<'a> {
    pub(crate) keys: &'a mut [i8],
    pub(crate) values: &'a mut [i8],
    pub(crate) key_scales: &'a mut [f32],
    pub(crate) value_scales: &'a mut [f32],
    pub(crate) slots: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

/// Some consecutive slots of one layer, writable.
#[derive(Debug)]
pub struct KvLayerMut<'a> {
    keys: &'a mut [i8],
    values: &'a mut [i8],
    key_scales: &'a mut [f32],
    value_scales: &'a mut [f32],
    first_slot: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// All slots of one layer.
#[derive(Debug, Clone, Copy)]
pub struct KvLayer<'a> {
    keys: &'a [i8],
    values: &'a [i8],
    key_scales: &'a [f32],
    value_scales: &'a [f32],
    kv_heads: usize,
    head_dim: usize,
}

fn layer_of<T>(all: &[T], layer: usize, per_layer: usize) -> &[T] {
    all.chunks_exact(per_layer.max(1)).nth(layer).unwrap_or_default()
}

fn layer_of_mut<T>(all: &mut [T], layer: usize, per_layer: usize) -> &mut [T] {
    all.chunks_exact_mut(per_layer.max(1)).nth(layer).unwrap_or_default()
}

fn split<T>(all: &mut [T], at: usize) -> (&mut [T], &mut [T]) {
    let at = at.min(all.len());
    all.split_at_mut(at)
}

impl KvRing<'_> {
    /// Drops `drop` slots from slot `keep` on and moves those behind them down, in all layers.
    pub(crate) fn slide(&mut self, keep: usize, drop: usize) {
        let scales = self.slots * self.kv_heads;
        let (scale, entry) = (self.kv_heads, self.kv_heads * self.head_dim);
        slide(self.keys, scales * self.head_dim, (keep * entry, drop * entry));
        slide(self.values, scales * self.head_dim, (keep * entry, drop * entry));
        slide(self.key_scales, scales, (keep * scale, drop * scale));
        slide(self.value_scales, scales, (keep * scale, drop * scale));
    }

    /// The slots of one layer, for reading.
    #[must_use]
    pub fn layer(&self, layer: usize) -> KvLayer<'_> {
        let scales = self.slots * self.kv_heads;
        let entries = scales * self.head_dim;
        KvLayer {
            keys: layer_of(self.keys, layer, entries),
            values: layer_of(self.values, layer, entries),
            key_scales: layer_of(self.key_scales, layer, scales),
            value_scales: layer_of(self.value_scales, layer, scales),
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
        }
    }

    /// The slots of one layer, for writing.
    pub fn layer_mut(&mut self, layer: usize) -> KvLayerMut<'_> {
        let scales = self.slots * self.kv_heads;
        let entries = scales * self.head_dim;
        KvLayerMut {
            keys: layer_of_mut(self.keys, layer, entries),
            values: layer_of_mut(self.values, layer, entries),
            key_scales: layer_of_mut(self.key_scales, layer, scales),
            value_scales: layer_of_mut(self.value_scales, layer, scales),
            first_slot: 0,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
        }
    }
}

/// Drops slots in every layer.
fn slide<T: Copy>(all: &mut [T], per_layer: usize, (keep, drop): (usize, usize)) {
    for layer in all.chunks_exact_mut(per_layer.max(1)) {
        move_down(layer, keep, drop);
    }
}

impl<'a> KvLayerMut<'a> {
    /// Cuts the slots in two at `slot`.
    #[must_use]
    pub fn split_at_slot(self, slot: usize) -> (KvLayerMut<'a>, KvLayerMut<'a>) {
        // A slot beyond the last one, such as `usize::MAX`, leaves nothing for the second part.
        let scales = slot.saturating_sub(self.first_slot).saturating_mul(self.kv_heads);
        let entries = scales.saturating_mul(self.head_dim);
        let (keys, keys_after) = split(self.keys, entries);
        let (values, values_after) = split(self.values, entries);
        let (key_scales, key_scales_after) = split(self.key_scales, scales);
        let (value_scales, value_scales_after) = split(self.value_scales, scales);
        (
            KvLayerMut { keys, values, key_scales, value_scales, ..self },
            KvLayerMut {
                keys: keys_after,
                values: values_after,
                key_scales: key_scales_after,
                value_scales: value_scales_after,
                first_slot: slot.max(self.first_slot),
                ..self
            },
        )
    }

    /// Quantizes and stores the key heads of one slot, `[kv_heads, head_dim]`.
    ///
    /// # Errors
    /// [`NotFinite`] if `keys` holds a NaN or an infinity.
    #[inline(always)]
    pub fn store_keys(&mut self, slot: usize, keys: &[f32]) -> Result<(), NotFinite> {
        let shape = (self.first_slot, self.kv_heads, self.head_dim);
        store(self.keys, self.key_scales, shape, slot, keys)
    }

    /// Quantizes and stores the value heads of one slot, `[kv_heads, head_dim]`.
    ///
    /// # Errors
    /// [`NotFinite`] if `values` holds a NaN or an infinity.
    #[inline(always)]
    pub fn store_values(&mut self, slot: usize, values: &[f32]) -> Result<(), NotFinite> {
        let shape = (self.first_slot, self.kv_heads, self.head_dim);
        store(self.values, self.value_scales, shape, slot, values)
    }
}

#[inline(always)]
fn store(
    entries: &mut [i8],
    scales: &mut [f32],
    (first_slot, kv_heads, head_dim): (usize, usize, usize),
    slot: usize,
    heads: &[f32],
) -> Result<(), NotFinite> {
    let Some(index) = slot.checked_sub(first_slot) else { return Ok(()) };
    let entries = layer_of_mut(entries, index, kv_heads * head_dim);
    let scales = layer_of_mut(scales, index, kv_heads);
    let dim = head_dim.max(1);
    for ((x, q), scale) in pieces(heads, dim).zip(entries.chunks_exact_mut(dim)).zip(scales) {
        *scale = quantize(x, ATTENTION_FLOOR, q)?;
    }
    Ok(())
}

impl<'a> KvLayer<'a> {
    /// Keys and values of one head.
    #[must_use]
    pub fn head(&self, kv_head: usize) -> KvHead<'a> {
        let dim = self.head_dim;
        KvHead {
            keys: self.keys.get(kv_head * dim..).unwrap_or_default(),
            values: self.values.get(kv_head * dim..).unwrap_or_default(),
            key_scales: self.key_scales.get(kv_head..).unwrap_or_default(),
            value_scales: self.value_scales.get(kv_head..).unwrap_or_default(),
            kv_heads: self.kv_heads.max(1),
            head_dim: dim.max(1),
        }
    }
}

/// All slots of one key-value head of one layer.
#[derive(Debug, Clone, Copy)]
pub struct KvHead<'a> {
    keys: &'a [i8],
    values: &'a [i8],
    key_scales: &'a [f32],
    value_scales: &'a [f32],
    kv_heads: usize,
    head_dim: usize,
}

impl<'a> KvHead<'a> {
    /// Entries of a key or value.
    #[inline(always)]
    #[must_use]
    pub fn dim(&self) -> usize {
        self.head_dim
    }

    /// Slots that are there.
    #[inline(always)]
    #[must_use]
    pub fn slots(&self) -> usize {
        let entries = self.keys.len().min(self.values.len()) / self.head_dim.max(1);
        let heads = entries.min(self.key_scales.len()).min(self.value_scales.len());
        heads.div_ceil(self.kv_heads.max(1))
    }

    /// Heads from one slot to the next, in [`key_memory`](Self::key_memory) and
    /// [`value_memory`](Self::value_memory).
    #[inline(always)]
    #[must_use]
    pub fn distance(&self) -> usize {
        self.kv_heads
    }

    /// Key entries and scales from those of the first slot on.
    #[inline(always)]
    #[must_use]
    pub fn key_memory(&self) -> (&'a [i8], &'a [f32]) {
        (self.keys, self.key_scales)
    }

    /// Value entries and scales from those of the first slot on.
    #[inline(always)]
    #[must_use]
    pub fn value_memory(&self) -> (&'a [i8], &'a [f32]) {
        (self.values, self.value_scales)
    }

    /// Key entries and scale, slot after slot.
    #[inline(always)]
    pub fn keys(&self) -> impl Iterator<Item = (&'a [i8], f32)> {
        slots(self.keys, self.key_scales, self.kv_heads, self.head_dim)
    }

    /// Value entries and scale, slot after slot.
    #[inline(always)]
    pub fn values(&self) -> impl Iterator<Item = (&'a [i8], f32)> {
        slots(self.values, self.value_scales, self.kv_heads, self.head_dim)
    }
}

#[inline(always)]
fn slots<'a>(
    entries: &'a [i8],
    scales: &'a [f32],
    heads: usize,
    dim: usize,
) -> impl Iterator<Item = (&'a [i8], f32)> {
    // The last slot's tail is shorter than a stride, so whole heads are cut first.
    let entries = entries.chunks_exact(dim.max(1)).step_by(heads.max(1));
    entries.zip(scales.iter().step_by(heads.max(1)).copied())
}
