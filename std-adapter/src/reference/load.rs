//! From tensors by role to the structure of a model.

use std::ops::Range;

use demask::image::{ModelConfig, Norm as NormKind, TensorRole as Role};

use super::attention::{Attention, Projection};
use super::feed_forward::{Dense, Mixture};
use super::matrix::Matrix;
use super::norm::Norm;
use super::{Layer, ReferenceModel};

/// Fills a buffer with rows of a tensor.
type Read<'a, E> = dyn FnMut(Role, Range<usize>, &mut [f32]) -> Result<(), E> + 'a;

/// Reads the tensors that the configuration implies.
pub(super) struct Loader<'a, E> {
    config: ModelConfig,
    read: &'a mut Read<'a, E>,
}

impl<'a, E> Loader<'a, E> {
    pub(super) fn new(config: ModelConfig, read: &'a mut Read<'a, E>) -> Self {
        Self { config, read }
    }

    pub(super) fn model(mut self) -> Result<ReferenceModel, E> {
        Ok(ReferenceModel {
            config: self.config,
            embedding: self.matrix(Role::Embedding)?,
            layers: (0..self.config.layers).map(|l| self.layer(l)).collect::<Result<_, _>>()?,
            output_norm: self.norm(Role::OutputNorm, Role::OutputNormBias)?,
            head: self.if_it_exists(Role::Head, Self::matrix)?,
            head_bias: self.if_it_exists(Role::HeadBias, Self::vector)?,
        })
    }

    pub(super) fn layer(&mut self, l: u32) -> Result<Layer, E> {
        let projection = |this: &mut Self, weight, bias| {
            let (weight, bias) = (this.matrix(weight)?, this.if_it_exists(bias, Self::vector)?);
            Ok(Projection { weight, bias })
        };
        Ok(Layer {
            attention_norm: self.norm(Role::AttentionNorm(l), Role::AttentionNormBias(l))?,
            attention: Attention {
                query: projection(self, Role::Query(l), Role::QueryBias(l))?,
                key: projection(self, Role::Key(l), Role::KeyBias(l))?,
                value: projection(self, Role::Value(l), Role::ValueBias(l))?,
                query_norm: self.if_it_exists(Role::QueryNorm(l), Self::head_norm)?,
                key_norm: self.if_it_exists(Role::KeyNorm(l), Self::head_norm)?,
                output: Projection { weight: self.matrix(Role::AttentionOutput(l))?, bias: None },
            },
            ffn_norm: self.norm(Role::FfnNorm(l), Role::FfnNormBias(l))?,
            dense: match Role::Up(l).exists(&self.config) {
                false => None,
                true => Some(Dense {
                    gate: self.if_it_exists(Role::Gate(l), Self::matrix)?,
                    up: projection(self, Role::Up(l), Role::UpBias(l))?,
                    down: projection(self, Role::Down(l), Role::DownBias(l))?,
                }),
            },
            experts: self.experts(l)?,
        })
    }

    fn experts(&mut self, l: u32) -> Result<Option<Mixture>, E> {
        let Some(settings) = self.config.features.experts_of(l) else { return Ok(None) };
        Ok(Some(Mixture {
            settings,
            router: self.matrix(Role::Router(l))?,
            choice_bias: self.if_it_exists(Role::RouterBias(l), Self::vector)?,
            gates: self.matrix(Role::ExpertGates(l))?,
            ups: self.matrix(Role::ExpertUps(l))?,
            downs: self.matrix(Role::ExpertDowns(l))?,
        }))
    }

    /// A norm of the residual stream.
    pub(super) fn norm(&mut self, weight: Role, bias: Role) -> Result<Norm, E> {
        let bias = self.if_it_exists(bias, Self::vector)?;
        let weight = self.vector(weight)?;
        Ok(Norm { kind: self.config.features.norm, epsilon: self.config.norm_eps, weight, bias })
    }

    /// A norm of query or key heads.
    fn head_norm(&mut self, weight: Role) -> Result<Norm, E> {
        let (kind, epsilon) = (NormKind::Rms, self.config.norm_eps);
        Ok(Norm { kind, epsilon, weight: self.vector(weight)?, bias: None })
    }

    pub(super) fn matrix(&mut self, role: Role) -> Result<Matrix, E> {
        Matrix::read(role.shape(&self.config), |rows, out| (self.read)(role, rows, out))
    }

    pub(super) fn vector(&mut self, role: Role) -> Result<Vec<f32>, E> {
        let (rows, cols) = role.shape(&self.config);
        let mut vector = vec![0.0; rows * cols];
        (self.read)(role, 0..rows, &mut vector).map(|()| vector)
    }

    pub(super) fn if_it_exists<T>(
        &mut self,
        role: Role,
        read: impl FnOnce(&mut Self, Role) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        if role.exists(&self.config) { read(self, role).map(Some) } else { Ok(None) }
    }
}
