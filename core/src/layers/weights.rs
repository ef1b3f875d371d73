//! The tensors of one layer, looked up once per layer and forward pass.

use crate::image::{ModelImage, TensorRole};
use crate::packed::PackedMatrix;

/// Views of one layer's tensors.
pub(crate) struct LayerWeights<'a> {
    pub(crate) attention_norm: &'a [f32],
    pub(crate) query: PackedMatrix<'a>,
    pub(crate) key: PackedMatrix<'a>,
    pub(crate) value: PackedMatrix<'a>,
    pub(crate) attention_output: PackedMatrix<'a>,
    pub(crate) ffn_norm: &'a [f32],
    pub(crate) gate: PackedMatrix<'a>,
    pub(crate) up: PackedMatrix<'a>,
    pub(crate) down: PackedMatrix<'a>,
}

/// Views of the tensors outside the layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OuterWeights<'a> {
    pub(crate) embedding: PackedMatrix<'a>,
    pub(crate) output_norm: &'a [f32],
    pub(crate) head: PackedMatrix<'a>,
}

impl<'a> LayerWeights<'a> {
    /// `None` if a tensor is not quantized.
    pub(crate) fn of(image: &ModelImage<'a>, layer: u32) -> Option<Self> {
        let matrix = |role: TensorRole| image.tensor(role)?.packed();
        let norm = |role: TensorRole| image.tensor(role)?.as_f32();
        Some(Self {
            attention_norm: norm(TensorRole::AttentionNorm(layer))?,
            query: matrix(TensorRole::Query(layer))?,
            key: matrix(TensorRole::Key(layer))?,
            value: matrix(TensorRole::Value(layer))?,
            attention_output: matrix(TensorRole::AttentionOutput(layer))?,
            ffn_norm: norm(TensorRole::FfnNorm(layer))?,
            gate: matrix(TensorRole::Gate(layer))?,
            up: matrix(TensorRole::Up(layer))?,
            down: matrix(TensorRole::Down(layer))?,
        })
    }
}

impl<'a> OuterWeights<'a> {
    /// `None` if a tensor is not quantized.
    pub(crate) fn of(image: &ModelImage<'a>) -> Option<Self> {
        let embedding = image.tensor(TensorRole::Embedding)?.packed()?;
        let head = match image.config().tied_head {
            true => embedding,
            false => image.tensor(TensorRole::Head)?.packed()?,
        };
        let output_norm = image.tensor(TensorRole::OutputNorm)?.as_f32()?;
        Some(Self { embedding, output_norm, head })
    }
}
