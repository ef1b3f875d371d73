//! The forward pass in f32: the oracle for everything that is quantized, packed or cached.
//!
//! Written from the architectures alone. It shares no arithmetic with the engine, so that an error
//! in one shows as a difference between the two. As there, a family is a set of
//! [`Features`](demask::image::Features) and there is one forward pass. It may allocate and is not
//! bit-stable across targets (it uses the platform's `exp`), but on one machine the result does not
//! depend on the number of threads: each number is computed by one thread in a fixed order.

mod attention;
mod feed_forward;
mod layered;
mod linear;
mod load;
mod matrix;
mod norm;
mod sight;

use std::ops::{ControlFlow, Range};

use demask::image::{ModelConfig, TensorRole};

use self::attention::{Attention, RopeTable};
use self::feed_forward::{Dense, Mixture};
pub use self::layered::{ReferenceHead, ReferenceLayer, ReferenceNorm};
use self::linear::linear;
use self::matrix::Matrix;
use self::norm::Norm;
pub use self::sight::Sight;
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

/// A model with all weights in memory. Matrices take two bytes per weight where all their numbers
/// are f16 numbers, or all bf16 numbers, and four elsewhere; nothing is rounded.
#[derive(Debug, Clone)]
pub struct ReferenceModel {
    config: ModelConfig,
    embedding: Matrix,
    layers: Vec<Layer>,
    output_norm: Norm,
    /// `None` when the embedding serves as the head.
    head: Option<Matrix>,
    head_bias: Option<Vec<f32>>,
}

#[derive(Debug, Clone)]
struct Layer {
    attention_norm: Norm,
    attention: Attention,
    ffn_norm: Norm,
    /// What every row goes through; with experts the shared one, if there is one.
    dense: Option<Dense>,
    experts: Option<Mixture>,
}

/// Receives the input `[rows, cols]` of a projection. Key and value have the input of the query, up
/// has that of the gate, and the router and the experts' gates have it as well; these are not
/// repeated. What goes into the experts' down projections comes expert by expert. The layer ends where
/// it breaks.
pub type Observer<'a> = dyn FnMut(TensorRole, &[f32]) -> ControlFlow<()> + 'a;

impl ReferenceModel {
    /// Loads all weights of a Hugging Face folder.
    ///
    /// # Errors
    /// [`WeightsError`] for weights that cannot be read or are not finite.
    pub fn from_folder(folder: &HfFolder) -> Result<Self, WeightsError> {
        let read = |role, rows, out: &mut [f32]| folder.read_rows(role, rows, out);
        Self::from_rows(folder.config().model, read)
    }

    /// Builds a model from any source of f32 rows. `read` is called for every tensor of
    /// [`TensorRole::all`], with a range of its rows and a buffer `[rows, cols]`; large tensors are
    /// read in parts, from the first row on.
    ///
    /// # Errors
    /// Whatever `read` returns.
    pub fn from_rows<E>(
        config: ModelConfig,
        mut read: impl FnMut(TensorRole, Range<usize>, &mut [f32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        load::Loader::new(config, &mut read).model()
    }

    /// Shape and constants.
    #[must_use]
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Logits `[wanted.len(), vocab_size]` of the rows in `wanted`, in that order, for a canvas
    /// whose tokens stand at positions 0, 1, 2, ... Row `i` belongs to position `i`: where a model's
    /// logits are shifted, it predicts the token at `i + 1`.
    ///
    /// # Errors
    /// [`ReferenceError`] for a canvas or rows that do not fit the model.
    pub fn logits(&self, ids: &[u32], wanted: &[usize]) -> Result<Vec<f32>, ReferenceError> {
        Ok(self.head(&self.hidden_rows(ids, wanted, &Sight::of_model(&self.config, ids.len()))?))
    }

    /// Final hidden states `[wanted.len(), model_dim]` of the rows in `wanted`, after the output norm,
    /// where rows stand and see as `sight` has it.
    ///
    /// # Errors
    /// As [`Self::logits`].
    pub fn hidden_rows(
        &self,
        ids: &[u32],
        wanted: &[usize],
        sight: &Sight<'_>,
    ) -> Result<Vec<f32>, ReferenceError> {
        if let Some(&row) = wanted.iter().find(|&&row| row >= ids.len()) {
            return Err(ReferenceError::Row { row, rows: ids.len() });
        }
        let hidden = self.pass(ids, sight)?;
        let width = self.config.model_dim as usize;
        let rows = wanted.iter().flat_map(|&row| &hidden[row * width..][..width]);
        Ok(rows.copied().collect())
    }

    /// Logits `[rows, vocab_size]` of final hidden states `[rows, model_dim]`.
    #[must_use]
    pub fn head(&self, rows: &[f32]) -> Vec<f32> {
        logits(rows, self.head.as_ref().unwrap_or(&self.embedding), self.head_bias.as_deref())
    }

    /// Final hidden states `[ids.len(), model_dim]`, after the output norm.
    ///
    /// # Errors
    /// [`ReferenceError`] for a canvas that does not fit the model.
    pub fn hidden(&self, ids: &[u32]) -> Result<Vec<f32>, ReferenceError> {
        self.pass(ids, &Sight::of_model(&self.config, ids.len()))
    }

    fn pass(&self, ids: &[u32], sight: &Sight<'_>) -> Result<Vec<f32>, ReferenceError> {
        let mut x = self.embed(ids)?;
        let rope = RopeTable::new(&self.config, ids.len(), sight);
        for layer in &self.layers {
            // Nobody looks, so nobody breaks.
            let _ = layer.run(&self.config, 0, (&rope, sight), &mut x, &mut |_, _| CONTINUE);
        }
        let hidden = self.output_norm.apply(&x);
        check_hidden(&self.config, &hidden)?;
        Ok(hidden)
    }

    fn embed(&self, ids: &[u32]) -> Result<Vec<f32>, ReferenceError> {
        check_canvas(&self.config, ids)?;
        let mut x = Vec::with_capacity(ids.len() * self.config.model_dim as usize);
        let mut scratch = Vec::new();
        for &id in ids {
            let row = id as usize;
            x.extend_from_slice(self.embedding.widened(row..row + 1, &mut scratch));
        }
        Ok(x)
    }
}

const CONTINUE: ControlFlow<()> = ControlFlow::Continue(());

impl Layer {
    /// Adds what layer number `l` makes of `x`. Where `observe` breaks, `x` is left half done.
    fn run(
        &self,
        config: &ModelConfig,
        l: u32,
        (rope, sight): (&RopeTable, &Sight<'_>),
        x: &mut [f32],
        observe: &mut Observer<'_>,
    ) -> ControlFlow<()> {
        let normed = self.attention_norm.apply(x);
        observe(TensorRole::Query(l), &normed)?;
        let mixed = self.attention.mix(config, rope, sight, &normed);
        observe(TensorRole::AttentionOutput(l), &mixed)?;
        add(x, &self.attention.output.apply(&mixed));
        self.feed_forward(l, x, observe)
    }

    /// Second half of a layer: adds what the feed-forward network and the experts make of `x`.
    fn feed_forward(&self, l: u32, x: &mut [f32], observe: &mut Observer<'_>) -> ControlFlow<()> {
        let normed = self.ffn_norm.apply(x);
        if let Some(dense) = &self.dense {
            let first = if dense.gate.is_some() { TensorRole::Gate } else { TensorRole::Up };
            observe(first(l), &normed)?;
            let hidden = dense.hidden(&normed);
            observe(TensorRole::Down(l), &hidden)?;
            add(x, &dense.down.apply(&hidden));
        }
        if let Some(experts) = &self.experts {
            observe(TensorRole::ExpertGates(l), &normed)?;
            let mut seen = CONTINUE;
            let mixed = experts.apply(&normed, |hidden| {
                if seen.is_continue() {
                    seen = observe(TensorRole::ExpertDowns(l), hidden);
                }
            });
            seen?;
            add(x, &mixed);
        }
        CONTINUE
    }
}

/// Whether a model takes these tokens.
pub(crate) fn check_canvas(config: &ModelConfig, ids: &[u32]) -> Result<(), ReferenceError> {
    let (rows, context, vocab_size) = (ids.len(), config.context as usize, config.vocab_size);
    match ids.iter().position(|id| *id >= vocab_size) {
        _ if ids.is_empty() => Err(ReferenceError::Empty),
        _ if rows > context => Err(ReferenceError::TooLong { rows, context }),
        Some(position) => Err(ReferenceError::TokenId { position, id: ids[position], vocab_size }),
        None => Ok(()),
    }
}

/// Whether final hidden states are numbers.
pub(crate) fn check_hidden(config: &ModelConfig, hidden: &[f32]) -> Result<(), ReferenceError> {
    match hidden.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(ReferenceError::NotFinite { position: at / config.model_dim as usize }),
        None => Ok(()),
    }
}

fn logits(rows: &[f32], matrix: &Matrix, bias: Option<&[f32]>) -> Vec<f32> {
    let mut logits = linear(rows, matrix);
    if let Some(bias) = bias {
        logits.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
    }
    logits
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
