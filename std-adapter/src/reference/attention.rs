//! Attention over a whole canvas, and the rotation of queries and keys.

use demask::image::{ModelConfig, RopePairs};
use rayon::prelude::*;

use super::linear::{dot, linear};
use super::matrix::Matrix;
use super::norm::Norm;
use super::sight::Sight;

/// A matrix and what is added to its outputs.
#[derive(Debug, Clone)]
pub(super) struct Projection {
    pub(super) weight: Matrix,
    pub(super) bias: Option<Vec<f32>>,
}

impl Projection {
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut out = linear(x, &self.weight);
        if let Some(bias) = &self.bias {
            out.chunks_exact_mut(bias.len()).for_each(|row| super::add(row, bias));
        }
        out
    }
}

/// Weights of one layer's attention.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    pub(super) query: Projection,
    pub(super) key: Projection,
    pub(super) value: Projection,
    /// Norm of each query head, before it is rotated.
    pub(super) query_norm: Option<Norm>,
    /// The same for key heads.
    pub(super) key_norm: Option<Norm>,
    pub(super) output: Projection,
}

impl Attention {
    /// Values mixed by attention, `[rows, heads * head_dim]`: the input of the output projection.
    pub(super) fn mix(
        &self,
        config: &ModelConfig,
        rope: &RopeTable,
        sight: &Sight<'_>,
        x: &[f32],
    ) -> Vec<f32> {
        let mut query = self.query.apply(x);
        let mut key = self.key.apply(x);
        let value = self.value.apply(x);
        if let Some(norm) = &self.query_norm {
            norm.apply_in_place(&mut query);
        }
        if let Some(norm) = &self.key_norm {
            norm.apply_in_place(&mut key);
        }
        rope.rotate(&mut query, config.query_dim());
        rope.rotate(&mut key, config.kv_dim());
        attend(config, sight, &query, &key, &value)
    }
}

/// Cosines and sines `[rows, rope_dim / 2]`; angles in f64, rounded to f32 at the end.
pub(super) struct RopeTable {
    head_dim: usize,
    rope_dim: usize,
    pairs: RopePairs,
    turns: Vec<(f32, f32)>,
}

impl RopeTable {
    pub(super) fn new(config: &ModelConfig, rows: usize, sight: &Sight<'_>) -> Self {
        let rope_dim = config.rope_dim();
        let half = (rope_dim / 2) as usize;
        let turn = |position: usize, i: usize| {
            let exponent = -((2 * i) as f64) / f64::from(rope_dim);
            let angle = position as f64 * f64::from(config.rope_theta).powf(exponent);
            (angle.cos() as f32, angle.sin() as f32)
        };
        let positions = (0..rows).map(|row| sight.position(row));
        let turns = positions.flat_map(|p| (0..half).map(move |i| turn(p, i))).collect();
        let (head_dim, rope_dim) = (config.head_dim as usize, rope_dim as usize);
        Self { head_dim, rope_dim, pairs: config.rope_pairs, turns }
    }

    /// Rotates every head of `x` `[rows, width]`.
    fn rotate(&self, x: &mut [f32], width: usize) {
        let half = self.rope_dim / 2;
        for (row, turns) in x.chunks_exact_mut(width).zip(self.turns.chunks_exact(half)) {
            for head in row.chunks_exact_mut(self.head_dim) {
                let rotated = &mut head[..self.rope_dim];
                match self.pairs {
                    RopePairs::HalfSplit => {
                        let (a, b) = rotated.split_at_mut(half);
                        a.iter_mut().zip(b).zip(turns).for_each(|((a, b), t)| turn(a, b, *t));
                    }
                    RopePairs::Adjacent => {
                        let pairs = rotated.as_chunks_mut().0.iter_mut().zip(turns);
                        pairs.for_each(|([a, b], t)| turn(a, b, *t));
                    }
                }
            }
        }
    }
}

fn turn(a: &mut f32, b: &mut f32, (cos, sin): (f32, f32)) {
    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
}

/// Every row attends to the rows that it sees: `[rows, heads * head_dim]`.
fn attend(
    config: &ModelConfig,
    sight: &Sight<'_>,
    query: &[f32],
    key: &[f32],
    value: &[f32],
) -> Vec<f32> {
    let (head_dim, kv_dim) = (config.head_dim as usize, config.kv_dim());
    let group = (config.heads / config.kv_heads) as usize;
    let scale = 1.0 / (config.head_dim as f32).sqrt();
    let mut out = vec![0.0; query.len()];
    let rows = key.len() / kv_dim;
    let rows_of = out.par_chunks_mut(config.query_dim()).zip(query.par_chunks(config.query_dim()));
    rows_of.enumerate().with_min_len(4).for_each_init(
        || (vec![0.0; rows], Vec::with_capacity(rows)),
        |(weights, seen), (row, (out, query))| {
            seen.clear();
            seen.extend((0..rows).filter(|&slot| sight.sees(row, slot)));
            let weights = &mut weights[..seen.len()];
            let heads = out.chunks_exact_mut(head_dim).zip(query.chunks_exact(head_dim));
            for (head, (out, query)) in heads.enumerate() {
                let at = head / group * head_dim;
                let keys = seen.iter().map(|&slot| &key[slot * kv_dim + at..][..head_dim]);
                for (weight, key) in weights.iter_mut().zip(keys) {
                    *weight = dot(query, key) * scale;
                }
                softmax(weights);
                let values = seen.iter().map(|&slot| &value[slot * kv_dim + at..][..head_dim]);
                for (weight, value) in weights.iter().zip(values) {
                    out.iter_mut().zip(value).for_each(|(o, v)| *o += weight * v);
                }
            }
        },
    );
    out
}

pub(super) fn softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|s| *s = (*s - max).exp());
    let sum: f64 = scores.iter().map(|&s| f64::from(s)).sum();
    let inverse = (1.0 / sum) as f32;
    scores.iter_mut().for_each(|s| *s *= inverse);
}
