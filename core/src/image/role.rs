//! What the tensors of a model are, and in which order a file has them.

use super::{FeedForward, ModelConfig, Norm};

/// What a tensor does in the network. The number is the layer, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TensorRole {
    /// Token embedding, `[vocab, model_dim]`; also the head when that is tied.
    Embedding,
    /// Norm weights before attention, `[model_dim]`.
    AttentionNorm(u32),
    /// Their bias, with LayerNorm.
    AttentionNormBias(u32),
    /// Query projection, `[heads * head_dim, model_dim]`.
    Query(u32),
    /// Its bias, `[heads * head_dim]`.
    QueryBias(u32),
    /// Key projection, `[kv_heads * head_dim, model_dim]`.
    Key(u32),
    /// Its bias, `[kv_heads * head_dim]`.
    KeyBias(u32),
    /// Value projection, `[kv_heads * head_dim, model_dim]`.
    Value(u32),
    /// Its bias, `[kv_heads * head_dim]`.
    ValueBias(u32),
    /// RMSNorm weights of a query head, `[head_dim]`.
    QueryNorm(u32),
    /// RMSNorm weights of a key head, `[head_dim]`.
    KeyNorm(u32),
    /// Attention output projection, `[model_dim, heads * head_dim]`.
    AttentionOutput(u32),
    /// Norm weights before the feed-forward network, `[model_dim]`.
    FfnNorm(u32),
    /// Their bias, with LayerNorm.
    FfnNormBias(u32),
    /// Scores of the experts, `[experts, model_dim]`.
    Router(u32),
    /// What is added to the scores for the choice of experts, `[experts]`.
    RouterBias(u32),
    /// Gate projections of all experts, `[experts * expert_ffn_dim, model_dim]`.
    ExpertGates(u32),
    /// Up projections of all experts, `[experts * expert_ffn_dim, model_dim]`.
    ExpertUps(u32),
    /// Down projections of all experts, `[experts * model_dim, expert_ffn_dim]`.
    ExpertDowns(u32),
    /// Gate projection, `[ffn_dim, model_dim]`; in a layer with experts that of the shared one.
    Gate(u32),
    /// Up projection, `[ffn_dim, model_dim]`; as above.
    Up(u32),
    /// Its bias, with GELU, `[ffn_dim]`.
    UpBias(u32),
    /// Down projection, `[model_dim, ffn_dim]`; as above.
    Down(u32),
    /// Its bias, with GELU, `[model_dim]`.
    DownBias(u32),
    /// Final norm weights, `[model_dim]`.
    OutputNorm,
    /// Their bias, with LayerNorm.
    OutputNormBias,
    /// Head, `[vocab, model_dim]`, when it is not the embedding.
    Head,
    /// Bias of the head, `[vocab]`.
    HeadBias,
}

/// Tensors that a layer may have, in file order.
const PER_LAYER: [fn(u32) -> TensorRole; 23] = [
    TensorRole::AttentionNorm,
    TensorRole::AttentionNormBias,
    TensorRole::Query,
    TensorRole::QueryBias,
    TensorRole::Key,
    TensorRole::KeyBias,
    TensorRole::Value,
    TensorRole::ValueBias,
    TensorRole::QueryNorm,
    TensorRole::KeyNorm,
    TensorRole::AttentionOutput,
    TensorRole::FfnNorm,
    TensorRole::FfnNormBias,
    TensorRole::Router,
    TensorRole::RouterBias,
    TensorRole::ExpertGates,
    TensorRole::ExpertUps,
    TensorRole::ExpertDowns,
    TensorRole::Gate,
    TensorRole::Up,
    TensorRole::UpBias,
    TensorRole::Down,
    TensorRole::DownBias,
];
/// Tensors that may follow the layers, in file order.
const LAST: [TensorRole; 4] =
    [TensorRole::OutputNorm, TensorRole::OutputNormBias, TensorRole::Head, TensorRole::HeadBias];

impl TensorRole {
    /// Every tensor of a model in file order: embedding, layers, final norm, head.
    pub fn all(config: &ModelConfig) -> impl Iterator<Item = Self> + use<> {
        let config = *config;
        core::iter::once(Self::Embedding)
            .chain((0..config.layers).flat_map(|l| PER_LAYER.into_iter().map(move |role| role(l))))
            .chain(LAST)
            .filter(move |role| role.exists(&config))
    }

    /// Whether a model of this configuration has the tensor.
    #[must_use]
    pub fn exists(self, config: &ModelConfig) -> bool {
        let f = &config.features;
        let (layer, gelu) = (self.layer().unwrap_or(0), f.feed_forward == FeedForward::Gelu);
        let experts = f.experts_of(layer);
        match self {
            Self::AttentionNormBias(_) | Self::FfnNormBias(_) | Self::OutputNormBias => {
                f.norm == Norm::Layer
            }
            Self::QueryBias(_) | Self::KeyBias(_) | Self::ValueBias(_) => f.qkv_bias,
            Self::QueryNorm(_) | Self::KeyNorm(_) => f.qk_norm,
            Self::Router(_) | Self::ExpertGates(_) | Self::ExpertUps(_) | Self::ExpertDowns(_) => {
                experts.is_some()
            }
            Self::RouterBias(_) => experts.is_some_and(|e| e.choice_bias),
            Self::Gate(_) => !gelu && self.ffn_dim(config) > 0,
            Self::Up(_) | Self::Down(_) => self.ffn_dim(config) > 0,
            Self::UpBias(_) | Self::DownBias(_) => gelu && experts.is_none(),
            Self::Head => !config.tied_head,
            Self::HeadBias => f.head_bias,
            _ => true,
        }
    }

    /// Hidden width of the feed-forward network of the tensor's layer: the shared expert's where
    /// there are experts.
    const fn ffn_dim(self, config: &ModelConfig) -> usize {
        let layer = match self.layer() {
            Some(layer) => layer,
            None => 0,
        };
        match config.features.experts_of(layer) {
            Some(experts) => experts.shared_ffn_dim as usize,
            None => config.ffn_dim as usize,
        }
    }

    /// Rows and columns; vectors have one row.
    #[must_use]
    pub const fn shape(self, config: &ModelConfig) -> (usize, usize) {
        let (model, vocab) = (config.model_dim as usize, config.vocab_size as usize);
        let (experts, expert_ffn) = match config.features.experts {
            Some(e) => (e.count as usize, e.ffn_dim as usize),
            None => (0, 0),
        };
        match self {
            Self::Embedding | Self::Head => (vocab, model),
            Self::AttentionNorm(_)
            | Self::AttentionNormBias(_)
            | Self::FfnNorm(_)
            | Self::FfnNormBias(_)
            | Self::DownBias(_)
            | Self::OutputNorm
            | Self::OutputNormBias => (1, model),
            Self::Query(_) => (config.query_dim(), model),
            Self::QueryBias(_) => (1, config.query_dim()),
            Self::Key(_) | Self::Value(_) => (config.kv_dim(), model),
            Self::KeyBias(_) | Self::ValueBias(_) => (1, config.kv_dim()),
            Self::QueryNorm(_) | Self::KeyNorm(_) => (1, config.head_dim as usize),
            Self::AttentionOutput(_) => (model, config.query_dim()),
            Self::Router(_) => (experts, model),
            Self::RouterBias(_) => (1, experts),
            Self::ExpertGates(_) | Self::ExpertUps(_) => (experts * expert_ffn, model),
            Self::ExpertDowns(_) => (experts * model, expert_ffn),
            Self::Gate(_) | Self::Up(_) => (self.ffn_dim(config), model),
            Self::UpBias(_) => (1, self.ffn_dim(config)),
            Self::Down(_) => (model, self.ffn_dim(config)),
            Self::HeadBias => (1, vocab),
        }
    }

    /// Norms, biases and routers are never quantized: they are small, and errors in them cost most.
    #[must_use]
    pub const fn stays_f32(self) -> bool {
        !matches!(
            self,
            Self::Embedding
                | Self::Query(_)
                | Self::Key(_)
                | Self::Value(_)
                | Self::AttentionOutput(_)
                | Self::ExpertGates(_)
                | Self::ExpertUps(_)
                | Self::ExpertDowns(_)
                | Self::Gate(_)
                | Self::Up(_)
                | Self::Down(_)
                | Self::Head
        )
    }

    /// Number that stands for the role in a file, and the layer (0 where there is none).
    #[must_use]
    pub const fn code(self) -> (u16, u16) {
        match self {
            Self::Embedding => (1, 0),
            Self::AttentionNorm(l) => (2, l as u16),
            Self::Query(l) => (3, l as u16),
            Self::Key(l) => (4, l as u16),
            Self::Value(l) => (5, l as u16),
            Self::AttentionOutput(l) => (6, l as u16),
            Self::FfnNorm(l) => (7, l as u16),
            Self::Gate(l) => (8, l as u16),
            Self::Up(l) => (9, l as u16),
            Self::Down(l) => (10, l as u16),
            Self::OutputNorm => (11, 0),
            Self::Head => (12, 0),
            Self::QueryBias(l) => (13, l as u16),
            Self::KeyBias(l) => (14, l as u16),
            Self::ValueBias(l) => (15, l as u16),
            Self::QueryNorm(l) => (16, l as u16),
            Self::KeyNorm(l) => (17, l as u16),
            Self::Router(l) => (18, l as u16),
            Self::RouterBias(l) => (19, l as u16),
            Self::ExpertGates(l) => (20, l as u16),
            Self::ExpertUps(l) => (21, l as u16),
            Self::ExpertDowns(l) => (22, l as u16),
            Self::AttentionNormBias(l) => (23, l as u16),
            Self::FfnNormBias(l) => (24, l as u16),
            Self::UpBias(l) => (25, l as u16),
            Self::DownBias(l) => (26, l as u16),
            Self::OutputNormBias => (27, 0),
            Self::HeadBias => (28, 0),
        }
    }

    /// Position in the canonical order, among the tensors that the model has.
    #[must_use]
    pub fn index(self, config: &ModelConfig) -> usize {
        let present = |roles: &mut dyn Iterator<Item = Self>| {
            roles.filter(|role| role.exists(config)).count()
        };
        let of_layer = |layer: u32| PER_LAYER.into_iter().map(move |role| role(layer));
        // Two kinds of layers at most: those without experts come first.
        let dense = config.features.experts.map_or(config.layers, |e| e.dense_layers);
        let layers_before = |layer: u32| {
            let (plain, others) = (layer.min(dense), layer.saturating_sub(dense));
            let plain = plain as usize * present(&mut of_layer(0));
            plain + others as usize * present(&mut of_layer(config.layers.saturating_sub(1)))
        };
        match self.layer() {
            _ if self == Self::Embedding => 0,
            Some(layer) => {
                let before = of_layer(layer).take_while(|role| *role != self);
                1 + layers_before(layer) + present(&mut { before })
            }
            None => {
                let before = LAST.into_iter().take_while(|role| *role != self);
                1 + layers_before(config.layers) + present(&mut { before })
            }
        }
    }

    /// Short name for tables and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::AttentionNorm(_) => "attention_norm",
            Self::AttentionNormBias(_) => "attention_norm_bias",
            Self::Query(_) => "query",
            Self::QueryBias(_) => "query_bias",
            Self::Key(_) => "key",
            Self::KeyBias(_) => "key_bias",
            Self::Value(_) => "value",
            Self::ValueBias(_) => "value_bias",
            Self::QueryNorm(_) => "query_norm",
            Self::KeyNorm(_) => "key_norm",
            Self::AttentionOutput(_) => "attention_output",
            Self::FfnNorm(_) => "ffn_norm",
            Self::FfnNormBias(_) => "ffn_norm_bias",
            Self::Router(_) => "router",
            Self::RouterBias(_) => "router_bias",
            Self::ExpertGates(_) => "expert_gates",
            Self::ExpertUps(_) => "expert_ups",
            Self::ExpertDowns(_) => "expert_downs",
            Self::Gate(_) => "gate",
            Self::Up(_) => "up",
            Self::UpBias(_) => "up_bias",
            Self::Down(_) => "down",
            Self::DownBias(_) => "down_bias",
            Self::OutputNorm => "output_norm",
            Self::OutputNormBias => "output_norm_bias",
            Self::Head => "head",
            Self::HeadBias => "head_bias",
        }
    }

    /// The layer that the tensor belongs to, if it belongs to one.
    #[must_use]
    pub const fn layer(self) -> Option<u32> {
        match self {
            Self::Embedding | Self::OutputNorm | Self::OutputNormBias | Self::Head => None,
            Self::HeadBias => None,
            _ => Some(self.code().1 as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Architecture, Experts, Features, RopePairs};

    #[test]
    fn the_index_is_the_place_in_the_list() {
        let experts = Experts {
            count: 4,
            per_token: 2,
            ffn_dim: 16,
            shared_ffn_dim: 32,
            dense_layers: 1,
            groups: 1,
            groups_per_token: 1,
            sigmoid: true,
            choice_bias: true,
            normalize: true,
            scale: 1.0,
        };
        let no_shared = Experts { shared_ffn_dim: 0, dense_layers: 0, ..experts };
        for features in [
            Features::PLAIN,
            Features { qkv_bias: true, head_bias: true, ..Features::PLAIN },
            Features { norm: Norm::Layer, feed_forward: FeedForward::Gelu, ..Features::PLAIN },
            Features { qk_norm: true, experts: Some(experts), ..Features::PLAIN },
            Features { experts: Some(no_shared), ..Features::PLAIN },
        ] {
            let config = ModelConfig {
                architecture: Architecture::Llada,
                vocab_size: 100,
                model_dim: 64,
                layers: 3,
                heads: 4,
                kv_heads: 2,
                head_dim: 16,
                ffn_dim: 96,
                context: 128,
                mask_id: 1,
                eos_id: 0,
                rope_theta: 10_000.0,
                norm_eps: 1e-5,
                rope_pairs: RopePairs::HalfSplit,
                tied_head: false,
                features,
            };
            for (place, role) in TensorRole::all(&config).enumerate() {
                assert_eq!(role.index(&config), place, "{role:?} of {features:?}");
                assert!(role.shape(&config).0 > 0);
            }
        }
    }
}
