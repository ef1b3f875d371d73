//! The tensors of one layer, looked up once per layer and forward pass.

use super::linear::Linear;
use super::norm::NormWeights;
use super::router::RouterWeights;
use crate::image::{Experts, FAMILIES, ModelImage, TensorRole};
use crate::packed::PackedMatrix;

/// A part that only some families have. Never there in a build without them: what would use it is
/// then dropped by the compiler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<T>(Option<T>);

impl<T: Copy> Part<T> {
    pub(crate) fn present(&self) -> Option<T> {
        self.0.filter(|_| FAMILIES)
    }
}

/// Views of one layer's tensors.
pub(crate) struct LayerWeights<'a> {
    pub(crate) attention_norm: NormWeights<'a>,
    pub(crate) query: Linear<'a>,
    pub(crate) key: Linear<'a>,
    pub(crate) value: Linear<'a>,
    /// RMSNorm weights of a head, `[head_dim]`.
    pub(crate) query_norm: Part<&'a [f32]>,
    pub(crate) key_norm: Part<&'a [f32]>,
    pub(crate) attention_output: Linear<'a>,
    pub(crate) ffn_norm: NormWeights<'a>,
    /// The feed-forward network; in a layer with experts the shared one, where there is one.
    pub(crate) feed_forward: Option<FeedForwardWeights<'a>>,
    pub(crate) experts: Part<ExpertWeights<'a>>,
}

/// A feed-forward network: SwiGLU if it has a gate, else GELU.
#[derive(Clone, Copy)]
pub(crate) struct FeedForwardWeights<'a> {
    pub(crate) gate: Option<Linear<'a>>,
    pub(crate) up: Linear<'a>,
    pub(crate) down: Linear<'a>,
}

/// The experts of a layer, stacked row upon row, and what chooses among them.
#[derive(Clone, Copy)]
pub(crate) struct ExpertWeights<'a> {
    pub(crate) shape: Experts,
    pub(crate) router: RouterWeights<'a>,
    /// `[count * ffn_dim, model_dim]`
    gates: Linear<'a>,
    /// `[count * ffn_dim, model_dim]`
    ups: Linear<'a>,
    /// `[count * model_dim, ffn_dim]`
    downs: Linear<'a>,
}

/// Views of the tensors outside the layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OuterWeights<'a> {
    pub(crate) embedding: PackedMatrix<'a>,
    pub(crate) output_norm: NormWeights<'a>,
    pub(crate) head: Linear<'a>,
}

/// Looks tensors up. `None` everywhere: the tensor is not there, or not stored as the engine reads it.
struct Tensors<'t, 'a>(&'t ModelImage<'a>);

impl<'a> Tensors<'_, 'a> {
    #[inline(never)] // small flash matters more here than a call
    fn floats(&self, role: TensorRole) -> Option<&'a [f32]> {
        self.0.tensor(role)?.as_f32()
    }

    #[inline(never)] // as above
    fn matrix(&self, role: TensorRole) -> Option<PackedMatrix<'a>> {
        self.0.tensor(role)?.packed()
    }

    /// Floats that the model may do without.
    #[inline(never)] // as above
    fn optional(&self, role: TensorRole) -> Option<Option<&'a [f32]>> {
        match role.exists(self.0.config()) {
            true => self.floats(role).map(Some),
            false => Some(None),
        }
    }

    fn part(&self, role: TensorRole) -> Option<Part<&'a [f32]>> {
        if FAMILIES { self.optional(role).map(Part) } else { Some(Part(None)) }
    }

    fn linear(&self, role: TensorRole) -> Option<Linear<'a>> {
        Some(Linear { matrix: self.matrix(role)?, bias: None })
    }

    /// A projection whose bias is there with every set of features.
    fn with_bias(&self, role: TensorRole, bias: TensorRole) -> Option<Linear<'a>> {
        Some(Linear { matrix: self.matrix(role)?, bias: self.optional(bias)? })
    }

    fn norm(&self, weight: TensorRole, bias: TensorRole) -> Option<NormWeights<'a>> {
        Some(NormWeights { weight: self.floats(weight)?, bias: self.part(bias)? })
    }

    fn feed_forward(&self, layer: u32) -> Option<FeedForwardWeights<'a>> {
        let (gate, bias) = (TensorRole::Gate(layer), |role| Some(self.part(role)?.present()));
        let gate = match !FAMILIES || gate.exists(self.0.config()) {
            true => Some(self.linear(gate)?),
            false => None,
        };
        let up = self.linear(TensorRole::Up(layer))?;
        let down = self.linear(TensorRole::Down(layer))?;
        Some(FeedForwardWeights {
            gate,
            up: Linear { bias: bias(TensorRole::UpBias(layer))?, ..up },
            down: Linear { bias: bias(TensorRole::DownBias(layer))?, ..down },
        })
    }

    fn experts(&self, layer: u32) -> Option<Part<ExpertWeights<'a>>> {
        let shape = self.0.config().features.experts_of(layer);
        let Some(shape) = shape.filter(|_| FAMILIES) else { return Some(Part(None)) };
        Some(Part(Some(ExpertWeights {
            shape,
            router: RouterWeights {
                weights: self.floats(TensorRole::Router(layer))?,
                choice_bias: self.optional(TensorRole::RouterBias(layer))?,
            },
            gates: self.linear(TensorRole::ExpertGates(layer))?,
            ups: self.linear(TensorRole::ExpertUps(layer))?,
            downs: self.linear(TensorRole::ExpertDowns(layer))?,
        })))
    }
}

impl<'a> LayerWeights<'a> {
    /// `None` if a tensor is not quantized.
    pub(crate) fn of(image: &ModelImage<'a>, layer: u32) -> Option<Self> {
        use TensorRole as Role;
        let tensors = Tensors(image);
        let experts = tensors.experts(layer)?;
        let shared = experts.present().is_none_or(|experts| experts.shape.shared_ffn_dim > 0);
        Some(Self {
            attention_norm: tensors
                .norm(Role::AttentionNorm(layer), Role::AttentionNormBias(layer))?,
            query: tensors.with_bias(Role::Query(layer), Role::QueryBias(layer))?,
            key: tensors.with_bias(Role::Key(layer), Role::KeyBias(layer))?,
            value: tensors.with_bias(Role::Value(layer), Role::ValueBias(layer))?,
            query_norm: tensors.part(Role::QueryNorm(layer))?,
            key_norm: tensors.part(Role::KeyNorm(layer))?,
            attention_output: tensors.linear(Role::AttentionOutput(layer))?,
            ffn_norm: tensors.norm(Role::FfnNorm(layer), Role::FfnNormBias(layer))?,
            feed_forward: if shared { Some(tensors.feed_forward(layer)?) } else { None },
            experts,
        })
    }
}

impl<'a> ExpertWeights<'a> {
    /// The network of one expert.
    pub(crate) fn expert(&self, index: usize) -> Option<FeedForwardWeights<'a>> {
        let inner = self.shape.ffn_dim as usize;
        let outer = self.downs.rows() / (self.shape.count as usize).max(1);
        Some(FeedForwardWeights {
            gate: Some(self.gates.slice_rows(index * inner, inner)?),
            up: self.ups.slice_rows(index * inner, inner)?,
            down: self.downs.slice_rows(index * outer, outer)?,
        })
    }
}

impl<'a> OuterWeights<'a> {
    /// `None` if a tensor is not quantized.
    pub(crate) fn of(image: &ModelImage<'a>) -> Option<Self> {
        let tensors = Tensors(image);
        let embedding = tensors.matrix(TensorRole::Embedding)?;
        let matrix = match image.config().tied_head {
            true => embedding,
            false => tensors.matrix(TensorRole::Head)?,
        };
        let bias = tensors.part(TensorRole::HeadBias)?.present();
        let output_norm = tensors.norm(TensorRole::OutputNorm, TensorRole::OutputNormBias)?;
        Some(Self { embedding, output_norm, head: Linear { matrix, bias } })
    }
}
