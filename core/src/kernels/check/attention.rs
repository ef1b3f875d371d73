//! Attention scores and values against their definitions.

use super::Random;
use crate::cache::{KvLayer, KvRing};
use crate::kernels::Kernels;
use alloc::vec;
use alloc::vec::Vec;

/// Checks heads of all remainders and returns the number of cases.
pub(super) fn all<K: Kernels>(kernels: K) -> usize {
    let mut random = Random(0x6a09_e667_f3bc_c909);
    let dims = (1..=70).map(|dim| (dim, 1 + dim % 40, 1 + dim % 6));
    let slots = (0..=50).map(|slots| (32, slots, 5));
    let rows = (0..=40).map(|rows| (20, 19, rows));
    let long = [(128, 70, 9), (256, 33, 3), (257, 18, 2), (300, 17, 5)];
    let mut cases = 0;
    for (dim, visible, rows) in dims.chain(slots).chain(rows).chain(long) {
        for kv_heads in [1, 3] {
            one(kernels, Shape { dim, visible, rows, kv_heads }, &mut random);
            cases += 1;
        }
    }
    cases
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    dim: usize,
    visible: usize,
    rows: usize,
    kv_heads: usize,
}

/// A ring of one layer.
struct Ring {
    entries: [Vec<i8>; 2],
    scales: [Vec<f32>; 2],
}

impl Ring {
    fn random(slots: usize, shape: Shape, random: &mut Random) -> Self {
        let extreme = random.below(3);
        let mut entry = || match extreme {
            0 => 127,
            1 => [-127, 127][random.below(2)],
            _ => (random.below(255) as i32 - 127) as i8,
        };
        let heads = slots * shape.kv_heads;
        let entries = [(); 2].map(|()| (0..heads * shape.dim).map(|_| entry()).collect());
        let mut scale = || random.below(1 << 12) as f32 * 1e-3;
        let scales = [(); 2].map(|()| (0..heads).map(|_| scale()).collect());
        Self { entries, scales }
    }

    fn with_layer<R>(
        &mut self,
        slots: usize,
        shape: Shape,
        work: impl FnOnce(&KvLayer<'_>) -> R,
    ) -> R {
        let ([keys, values], [key_scales, value_scales]) = (&mut self.entries, &mut self.scales);
        let (kv_heads, head_dim) = (shape.kv_heads, shape.dim);
        let ring = KvRing { keys, values, key_scales, value_scales, slots, kv_heads, head_dim };
        work(&ring.layer(0))
    }
}

fn one<K: Kernels>(kernels: K, shape: Shape, random: &mut Random) {
    let Shape { dim, visible, rows, kv_heads } = shape;
    // Slots behind the visible ones must not matter.
    let slots = visible + random.below(3);
    let mut ring = Ring::random(slots.max(1), shape, random);
    let queries: Vec<i8> = (0..rows * dim).map(|_| [-127, 127, 3][random.below(3)]).collect();
    let scales: Vec<f32> = (0..rows).map(|_| random.below(1 << 10) as f32 * 1e-2).collect();
    let head = kv_heads - 1;
    let entry = |which: usize, slot: usize, i: usize, ring: &Ring| {
        ring.entries[which][(slot * kv_heads + head) * dim + i]
    };

    let mut scores = vec![7.0; rows * visible];
    ring.with_layer(slots.max(1), shape, |layer| {
        let kv = layer.head(head);
        kernels.vectorize(|| kernels.attention_scores(&queries, &scales, kv, visible, &mut scores));
    });
    for (at, score) in scores.iter().enumerate() {
        let (row, slot) = (at / visible, at % visible);
        let isum: i32 = (0..dim)
            .map(|i| i32::from(queries[row * dim + i]) * i32::from(entry(0, slot, i, &ring)))
            .sum();
        let scale = scales[row] * ring.scales[0][slot * kv_heads + head];
        assert_eq!((scale * isum as f32).to_bits(), score.to_bits(), "{} {shape:?}", K::NAME);
    }

    // Rows are further apart than a head is long, and what lies between must stay.
    let stride = dim + 5;
    let mut out = vec![9.25; (rows * stride).saturating_sub(5)];
    let weights: Vec<f32> = scores.iter().map(|s| (s.abs() % 1.0) + 1e-3).collect();
    ring.with_layer(slots.max(1), shape, |layer| {
        let kv = layer.head(head);
        kernels.vectorize(|| {
            kernels.attention_values(&weights, &scales, kv, visible, (&mut out, stride));
        });
    });
    // With no slot there is nothing to attend to, and nothing is promised.
    for (at, y) in out.iter().enumerate().filter(|_| visible > 0) {
        let (row, i) = (at / stride, at % stride);
        let mut expected = 9.25f32;
        if i < dim {
            let mut sum = 0.0f32;
            for slot in 0..visible {
                let scale = weights[row * visible + slot] * ring.scales[1][slot * kv_heads + head];
                let term = scale * f32::from(entry(1, slot, i, &ring));
                sum += term;
            }
            expected = sum * scales[row];
        }
        assert_eq!(expected.to_bits(), y.to_bits(), "{} {shape:?} row {row} entry {i}", K::NAME);
    }
}
