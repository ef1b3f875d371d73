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

/// Codes of the tensors that a layer may have, in file order.
const PER_LAYER: [u8; 23] =
    [2, 23, 3, 13, 4, 14, 5, 15, 16, 17, 6, 7, 24, 18, 19, 20, 21, 22, 8, 9, 25, 10, 26];
/// Tensors that may follow the layers, in file order.
const LAST: [TensorRole; 4] =
    [TensorRole::OutputNorm, TensorRole::OutputNormBias, TensorRole::Head, TensorRole::HeadBias];

impl TensorRole {
    /// Every tensor of a model in file order: embedding, layers, final norm, head.
    pub fn all(config: &ModelConfig) -> impl Iterator<Item = Self> + use<> {
        let config = *config;
        let last = PER_LAYER.len() * config.layers as usize;
        core::iter::once(Self::Embedding)
            .chain((0..last + LAST.len()).map(move |place| Self::behind_embedding(place, last)))
            .filter(move |role| role.exists(&config))
    }

    /// What may stand at a place behind the embedding, if the layers end at place `last`.
    #[inline(never)] // small flash matters more here than a call
    fn behind_embedding(place: usize, last: usize) -> Self {
        match place.checked_sub(last) {
            Some(place) => LAST.get(place).copied().unwrap_or(Self::HeadBias),
            None => {
                let (layer, place) = (place / PER_LAYER.len(), place % PER_LAYER.len());
                let code = PER_LAYER.get(place).copied().unwrap_or_default();
                Self::in_layer(code, layer as u32).unwrap_or(Self::HeadBias)
            }
        }
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
            Self::UpBias(_) | Self::DownBias(_) => gelu,
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
        let (code, layer) = self.code();
        // Two kinds of layers at most: those without experts come first.
        let dense = config.features.experts.map_or(config.layers, |e| e.dense_layers);
        let before = |layer: u32| {
            let (plain, others) = (layer.min(dense), layer.saturating_sub(dense));
            1 + plain as usize * Self::count(config, 0, u16::MAX)
                + others as usize * Self::count(config, config.layers.saturating_sub(1), u16::MAX)
        };
        match self.layer() {
            _ if self == Self::Embedding => 0,
            Some(_) => {
                let layer = u32::from(layer);
                before(layer) + Self::count(config, layer, code)
            }
            None => {
                let others = LAST.into_iter().take_while(|role| *role != self);
                before(config.layers) + others.filter(|role| role.exists(config)).count()
            }
        }
    }

    /// How many tensors a layer has before the one with this code.
    #[inline(never)] // as above
    fn count(config: &ModelConfig, layer: u32, code: u16) -> usize {
        let before = PER_LAYER.into_iter().take_while(|other| u16::from(*other) != code);
        let roles = before.filter_map(|code| Self::in_layer(code, layer));
        roles.filter(|role| role.exists(config)).count()
    }

    /// The role with this code in a layer.
    const fn in_layer(code: u8, layer: u32) -> Option<Self> {
        Some(match code {
            2 => Self::AttentionNorm(layer),
            3 => Self::Query(layer),
            4 => Self::Key(layer),
            5 => Self::Value(layer),
            6 => Self::AttentionOutput(layer),
            7 => Self::FfnNorm(layer),
            8 => Self::Gate(layer),
            9 => Self::Up(layer),
            10 => Self::Down(layer),
            13 => Self::QueryBias(layer),
            14 => Self::KeyBias(layer),
            15 => Self::ValueBias(layer),
            16 => Self::QueryNorm(layer),
            17 => Self::KeyNorm(layer),
            18 => Self::Router(layer),
            19 => Self::RouterBias(layer),
            20 => Self::ExpertGates(layer),
            21 => Self::ExpertUps(layer),
            22 => Self::ExpertDowns(layer),
            23 => Self::AttentionNormBias(layer),
            24 => Self::FfnNormBias(layer),
            25 => Self::UpBias(layer),
            26 => Self::DownBias(layer),
            _ => return None,
        })
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
    use crate::image::features::tests::plain_with;
    use crate::image::{Experts, Features};

    #[test]
    fn the_index_is_the_place_in_the_list() {
        let experts = Experts {
            shared_ffn_dim: 32,
            dense_layers: 1,
            choice_bias: true,
            ..Experts::plain(4, 2, 16)
        };
        let no_shared = Experts { shared_ffn_dim: 0, dense_layers: 0, ..experts };
        for features in [
            Features::PLAIN,
            Features { qkv_bias: true, head_bias: true, ..Features::PLAIN },
            Features { norm: Norm::Layer, feed_forward: FeedForward::Gelu, ..Features::PLAIN },
            Features { qk_norm: true, experts: Some(experts), ..Features::PLAIN },
            Features { experts: Some(no_shared), ..Features::PLAIN },
        ] {
            let config = plain_with(features);
            for (place, role) in TensorRole::all(&config).enumerate() {
                assert_eq!(role.index(&config), place, "{role:?} of {features:?}");
                assert!(role.shape(&config).0 > 0);
            }
        }
    }
}
