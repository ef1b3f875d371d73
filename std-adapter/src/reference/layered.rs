//! One layer at a time, for whoever changes weights on the way or cannot hold all of them.

use std::ops::{ControlFlow, Range};

use demask::image::{ModelConfig, TensorRole as Role};

use super::attention::RopeTable;
use super::load::Loader;
use super::matrix::Matrix;
use super::norm::Norm;
use super::{Layer, Observer, Sight, logits};

/// A layer of a model, by itself.
#[derive(Debug, Clone)]
pub struct ReferenceLayer {
    config: ModelConfig,
    index: u32,
    layer: Layer,
}

impl ReferenceLayer {
    /// Reads layer `index` as [`ReferenceModel::from_rows`](super::ReferenceModel::from_rows) does.
    ///
    /// # Errors
    /// Whatever `read` returns.
    pub fn from_rows<E>(
        config: ModelConfig,
        index: u32,
        mut read: impl FnMut(Role, Range<usize>, &mut [f32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let layer = Loader::new(config, &mut read).layer(index)?;
        Ok(Self { config, index, layer })
    }

    /// Adds what the layer makes of the residual stream `x` `[rows, model_dim]`, whose rows stand at
    /// positions 0, 1, 2, ... Where `observe` breaks, `x` is left half done.
    pub fn run(&self, x: &mut [f32], observe: &mut Observer<'_>) -> ControlFlow<()> {
        let rows = x.len() / self.config.model_dim as usize;
        let sight = Sight::of_model(&self.config, rows);
        let rope = RopeTable::new(&self.config, rows, &sight);
        self.layer.run(&self.config, self.index, (&rope, &sight), x, observe)
    }
}

/// The norm between the last layer and the head.
#[derive(Debug, Clone)]
pub struct ReferenceNorm(Norm);

impl ReferenceNorm {
    /// Reads the output norm.
    ///
    /// # Errors
    /// Whatever `read` returns.
    pub fn from_rows<E>(
        config: ModelConfig,
        mut read: impl FnMut(Role, Range<usize>, &mut [f32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut loader = Loader::new(config, &mut read);
        Ok(Self(loader.norm(Role::OutputNorm, Role::OutputNormBias)?))
    }

    /// Final hidden states of the residual stream `x` `[rows, model_dim]`.
    #[must_use]
    pub fn apply(&self, x: &[f32]) -> Vec<f32> {
        self.0.apply(x)
    }
}

/// What makes logits of final hidden states.
#[derive(Debug, Clone)]
pub struct ReferenceHead {
    matrix: Matrix,
    bias: Option<Vec<f32>>,
}

impl ReferenceHead {
    /// Reads the head, or the embedding where that is the head.
    ///
    /// # Errors
    /// Whatever `read` returns.
    pub fn from_rows<E>(
        config: ModelConfig,
        mut read: impl FnMut(Role, Range<usize>, &mut [f32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut loader = Loader::new(config, &mut read);
        let role = if Role::Head.exists(&config) { Role::Head } else { Role::Embedding };
        let bias = loader.if_it_exists(Role::HeadBias, Loader::vector)?;
        Ok(Self { matrix: loader.matrix(role)?, bias })
    }

    /// Logits `[rows, vocab_size]` of final hidden states `[rows, model_dim]`.
    #[must_use]
    pub fn logits(&self, rows: &[f32]) -> Vec<f32> {
        logits(rows, &self.matrix, self.bias.as_deref())
    }
}
