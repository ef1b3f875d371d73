//! The forward pass in f32: the oracle for everything that is quantized, packed or cached.
//!
//! Written from the LLaDA architecture alone. It shares no arithmetic with the engine, so that an
//! error in one shows as a difference between the two. It may allocate and is not bit-stable across
//! targets (it uses the platform's `exp`), but on one machine the result does not depend on the
//! number of threads: each output row is computed by one thread in a fixed order.

mod linear;

use std::ops::Range;

use demask::image::{ModelConfig, RopePairs, TensorRole};
use rayon::prelude::*;

use self::linear::{dot, linear};
use crate::read::folder::HfFolder;
use crate::read::safetensors::WeightsError;

/// Why a canvas was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// No tokens at all.
    #[error("the canvas is empty; give at least one token")]
    Empty,
    /// More tokens than the model was trained on.
    #[error("the canvas has {rows} tokens, the model takes {context}; shorten it")]
    TooLong {
        /// Tokens given.
        rows: usize,
        /// Longest canvas of the model.
        context: usize,
    },
    /// A token id that the model does not have.
    #[error("token {id} at position {position} is outside of the vocabulary of {vocab_size}")]
    TokenId {
        /// Where it stands.
        position: usize,
        /// The id.
        id: u32,
        /// Number of ids.
        vocab_size: u32,
    },
    /// A wanted row beyond the canvas.
    #[error("row {row} was asked for, the canvas has {rows}")]
    Row {
        /// The row.
        row: usize,
        /// Rows of the canvas.
        rows: usize,
    },
    /// NaN or infinity in the final hidden state.
    #[error("position {position} came out as NaN or infinity; the weights are damaged")]
    NotFinite {
        /// The first such position.
        position: usize,
    },
}

/// A model with all weights in memory as f32, each matrix row-major `[outputs, inputs]`.
#[derive(Debug, Clone)]
pub struct ReferenceModel {
    config: ModelConfig,
    embedding: Vec<f32>,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    /// `None` when the embedding serves as the head.
    head: Option<Vec<f32>>,
}

#[derive(Debug, Clone)]
struct Layer {
    attention_norm: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    attention_output: Vec<f32>,
    ffn_norm: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    down: Vec<f32>,
}

/// Receives the input `[rows, cols]` of a projection. Key and value have the input of the query, up
/// has that of the gate; these are not repeated. The head's input is the final hidden state.
pub type Observer<'a> = dyn FnMut(TensorRole, &[f32]) + 'a;

impl ReferenceModel {
    /// Loads all weights of a Hugging Face folder: 4 bytes per parameter.
    ///
    /// # Errors
    /// [`WeightsError`] for weights that cannot be read or are not finite.
    pub fn from_folder(folder: &HfFolder) -> Result<Self, WeightsError> {
        let read = |role, rows, out: &mut [f32]| folder.read_rows(role, rows, out);
        Self::from_rows(folder.config().model, read)
    }

    /// Builds a model from any source of f32 rows. `read` is called once per tensor of
    /// [`TensorRole::all`] with all its rows and a buffer `[rows, cols]` of [`TensorRole::shape`].
    ///
    /// # Errors
    /// Whatever `read` returns.
    pub fn from_rows<E>(
        config: ModelConfig,
        mut read: impl FnMut(TensorRole, Range<usize>, &mut [f32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut load = |role: TensorRole| {
            let (rows, cols) = role.shape(&config);
            let mut tensor = vec![0.0; rows * cols];
            read(role, 0..rows, &mut tensor).map(|()| tensor)
        };
        let embedding = load(TensorRole::Embedding)?;
        let mut layers = Vec::new();
        for l in 0..config.layers {
            layers.push(Layer {
                attention_norm: load(TensorRole::AttentionNorm(l))?,
                query: load(TensorRole::Query(l))?,
                key: load(TensorRole::Key(l))?,
                value: load(TensorRole::Value(l))?,
                attention_output: load(TensorRole::AttentionOutput(l))?,
                ffn_norm: load(TensorRole::FfnNorm(l))?,
                gate: load(TensorRole::Gate(l))?,
                up: load(TensorRole::Up(l))?,
                down: load(TensorRole::Down(l))?,
            });
        }
        let output_norm = load(TensorRole::OutputNorm)?;
        let head = if config.tied_head { None } else { Some(load(TensorRole::Head)?) };
        Ok(Self { config, embedding, layers, output_norm, head })
    }

    /// Shape and constants.
    #[must_use]
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Logits `[wanted.len(), vocab_size]` of the rows in `wanted`, in that order, for a canvas
    /// whose tokens stand at positions 0, 1, 2, ... Row `i` belongs to position `i` (no shift).
    ///
    /// # Errors
    /// [`ReferenceError`] for a canvas or rows that do not fit the model.
    pub fn logits(&self, ids: &[u32], wanted: &[usize]) -> Result<Vec<f32>, ReferenceError> {
        if let Some(&row) = wanted.iter().find(|&&row| row >= ids.len()) {
            return Err(ReferenceError::Row { row, rows: ids.len() });
        }
        let hidden = self.hidden(ids)?;
        let width = self.config.model_dim as usize;
        let rows: Vec<f32> = wanted
            .iter()
            .flat_map(|&row| hidden.iter().skip(row * width).take(width).copied())
            .collect();
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        Ok(linear(&rows, width, head))
    }

    /// Final hidden states `[ids.len(), model_dim]`, after the output norm.
    ///
    /// # Errors
    /// [`ReferenceError`] for a canvas that does not fit the model.
    pub fn hidden(&self, ids: &[u32]) -> Result<Vec<f32>, ReferenceError> {
        self.hidden_observed(ids, &mut |_, _| {})
    }

    /// [`Self::hidden`], showing the input of every projection on the way: what calibration needs.
    ///
    /// # Errors
    /// As [`Self::hidden`].
    pub fn hidden_observed(
        &self,
        ids: &[u32],
        observe: &mut Observer<'_>,
    ) -> Result<Vec<f32>, ReferenceError> {
        let mut x = self.embed(ids)?;
        let rope = RopeTable::new(&self.config, ids.len());
        for (l, layer) in (0..).zip(&self.layers) {
            self.attend(layer, l, &rope, &mut x, observe);
            self.feed_forward(layer, l, &mut x, observe);
        }
        let hidden = self.norm(&x, &self.output_norm);
        let width = self.config.model_dim as usize;
        if let Some(at) = hidden.iter().position(|v| !v.is_finite()) {
            return Err(ReferenceError::NotFinite { position: at / width });
        }
        observe(TensorRole::Head, &hidden);
        Ok(hidden)
    }

    fn embed(&self, ids: &[u32]) -> Result<Vec<f32>, ReferenceError> {
        let ModelConfig { vocab_size, context, model_dim, .. } = self.config;
        let (context, width) = (context as usize, model_dim as usize);
        if ids.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if ids.len() > context {
            return Err(ReferenceError::TooLong { rows: ids.len(), context });
        }
        let mut x = Vec::with_capacity(ids.len() * width);
        for (position, &id) in ids.iter().enumerate() {
            if id >= vocab_size {
                return Err(ReferenceError::TokenId { position, id, vocab_size });
            }
            x.extend_from_slice(&self.embedding[id as usize * width..][..width]);
        }
        Ok(x)
    }

    /// First half of a block: `x += output(attention(norm(x)))`.
    fn attend(
        &self,
        layer: &Layer,
        l: u32,
        rope: &RopeTable,
        x: &mut [f32],
        observe: &mut Observer<'_>,
    ) {
        let width = self.config.model_dim as usize;
        let normed = self.norm(x, &layer.attention_norm);
        observe(TensorRole::Query(l), &normed);
        let mut query = linear(&normed, width, &layer.query);
        let mut key = linear(&normed, width, &layer.key);
        let value = linear(&normed, width, &layer.value);
        rope.rotate(&mut query, self.config.query_dim());
        rope.rotate(&mut key, self.config.kv_dim());
        let mixed = attention(&self.config, &query, &key, &value);
        observe(TensorRole::AttentionOutput(l), &mixed);
        add(x, &linear(&mixed, self.config.query_dim(), &layer.attention_output));
    }

    /// Second half of a block: `x += down(silu(gate(norm(x))) * up(norm(x)))`.
    fn feed_forward(&self, layer: &Layer, l: u32, x: &mut [f32], observe: &mut Observer<'_>) {
        let width = self.config.model_dim as usize;
        let normed = self.norm(x, &layer.ffn_norm);
        observe(TensorRole::Gate(l), &normed);
        let mut gated = linear(&normed, width, &layer.gate);
        let up = linear(&normed, width, &layer.up);
        let pairs = gated.par_iter_mut().with_min_len(4096).zip(&up);
        pairs.for_each(|(g, u)| *g = *g / (1.0 + (-*g).exp()) * u);
        observe(TensorRole::Down(l), &gated);
        add(x, &linear(&gated, self.config.ffn_dim as usize, &layer.down));
    }

    /// RMSNorm of each row, the mean square in f64.
    fn norm(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut out = x.to_vec();
        for row in out.chunks_exact_mut(weight.len()) {
            let sum: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            let mean = sum / weight.len() as f64 + f64::from(self.config.norm_eps);
            let scale = (1.0 / mean.sqrt()) as f32;
            row.iter_mut().zip(weight).for_each(|(v, w)| *v = *v * scale * w);
        }
        out
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// Cosines and sines `[rows, head_dim / 2]`; angles in f64, rounded to f32 at the end.
struct RopeTable {
    head_dim: usize,
    pairs: RopePairs,
    turns: Vec<(f32, f32)>,
}

impl RopeTable {
    fn new(config: &ModelConfig, rows: usize) -> Self {
        let half = (config.head_dim / 2) as usize;
        let turn = |position: usize, i: usize| {
            let exponent = -((2 * i) as f64) / f64::from(config.head_dim);
            let angle = position as f64 * f64::from(config.rope_theta).powf(exponent);
            (angle.cos() as f32, angle.sin() as f32)
        };
        let turns = (0..rows).flat_map(|p| (0..half).map(move |i| turn(p, i))).collect();
        Self { head_dim: config.head_dim as usize, pairs: config.rope_pairs, turns }
    }

    /// Rotates every head of `x` `[rows, width]`.
    fn rotate(&self, x: &mut [f32], width: usize) {
        let half = self.head_dim / 2;
        for (row, turns) in x.chunks_exact_mut(width).zip(self.turns.chunks_exact(half)) {
            for head in row.chunks_exact_mut(self.head_dim) {
                match self.pairs {
                    RopePairs::HalfSplit => {
                        let (a, b) = head.split_at_mut(half);
                        a.iter_mut().zip(b).zip(turns).for_each(|((a, b), t)| turn(a, b, *t));
                    }
                    RopePairs::Adjacent => {
                        let pairs = head.as_chunks_mut().0.iter_mut().zip(turns);
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

/// Every row attends to every row: `[rows, heads * head_dim]`.
fn attention(config: &ModelConfig, query: &[f32], key: &[f32], value: &[f32]) -> Vec<f32> {
    let (head_dim, kv_dim) = (config.head_dim as usize, config.kv_dim());
    let group = (config.heads / config.kv_heads) as usize;
    let scale = 1.0 / (config.head_dim as f32).sqrt();
    let mut out = vec![0.0; query.len()];
    let rows = key.len() / kv_dim;
    let rows_of = out.par_chunks_mut(config.query_dim()).zip(query.par_chunks(config.query_dim()));
    rows_of.with_min_len(4).for_each_init(
        || vec![0.0; rows],
        |weights, (out, query)| {
            let heads = out.chunks_exact_mut(head_dim).zip(query.chunks_exact(head_dim));
            for (head, (out, query)) in heads.enumerate() {
                let at = head / group * head_dim;
                let keys = key.chunks_exact(kv_dim).map(|row| &row[at..][..head_dim]);
                for (weight, key) in weights.iter_mut().zip(keys) {
                    *weight = dot(query, key) * scale;
                }
                softmax(weights);
                let values = value.chunks_exact(kv_dim).map(|row| &row[at..][..head_dim]);
                for (weight, value) in weights.iter().zip(values) {
                    out.iter_mut().zip(value).for_each(|(o, v)| *o += weight * v);
                }
            }
        },
    );
    out
}

fn softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|s| *s = (*s - max).exp());
    let sum: f64 = scores.iter().map(|&s| f64::from(s)).sum();
    let inverse = (1.0 / sum) as f32;
    scores.iter_mut().for_each(|s| *s *= inverse);
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
