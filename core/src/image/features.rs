//! Model families, and what each changes in the plain transformer.
//!
//! There is one forward pass. A family is a set of [`Features`] of it; its name only says which
//! settings its users expect.

use super::ImageError;

/// Model family. The network is described by [`Features`]; the family gives names and defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Architecture {
    /// LLaDA 1 and 1.5 (arXiv 2502.09992): the plain transformer, bidirectional.
    Llada = 1,
    /// LLaDA-MoE (arXiv 2509.24389): normalized queries and keys, softmax routing.
    LladaMoe = 2,
    /// LLaDA2 (arXiv 2512.15745): block-causal, grouped sigmoid routing with shared experts.
    Llada2 = 3,
    /// Dream, DiffuCoder, Dream-Coder (arXiv 2508.15487): shifted logits, projection biases.
    Dream = 4,
    /// Fast-dLLM v2 (arXiv 2509.26328): block-causal Qwen2 with shifted logits.
    FastDllm2 = 5,
    /// SDAR (arXiv 2510.06303): block-causal Qwen3.
    Sdar = 6,
    /// MDLM (arXiv 2406.07524): a diffusion transformer, bidirectional.
    Mdlm = 7,
    /// BD3-LM (arXiv 2503.09573): the same, block-causal.
    Bd3lm = 8,
    /// Llama 2 and 3: causal.
    Llama = 9,
    /// Qwen2: causal, projection biases.
    Qwen2 = 10,
    /// Qwen3: causal, normalized queries and keys.
    Qwen3 = 11,
}

impl Architecture {
    /// Every family, by number.
    pub const ALL: [Self; 11] = [
        Self::Llada,
        Self::LladaMoe,
        Self::Llada2,
        Self::Dream,
        Self::FastDllm2,
        Self::Sdar,
        Self::Mdlm,
        Self::Bd3lm,
        Self::Llama,
        Self::Qwen2,
        Self::Qwen3,
    ];

    /// Name as the command line spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llada => "llada",
            Self::LladaMoe => "llada-moe",
            Self::Llada2 => "llada2",
            Self::Dream => "dream",
            Self::FastDllm2 => "fast-dllm-v2",
            Self::Sdar => "sdar",
            Self::Mdlm => "mdlm",
            Self::Bd3lm => "bd3lm",
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    pub(super) const fn from_code(code: u32) -> Option<Self> {
        // Not an iterator: constant expressions have none.
        let mut rest: &[Self] = &Self::ALL;
        while let [first, others @ ..] = rest {
            if *first as u32 == code {
                return Some(*first);
            }
            rest = others;
        }
        None
    }
}

/// Whether this build computes what only some families have: the cargo feature `families`. Without it
/// [`Engine::new`](crate::Engine::new) refuses models that need it.
pub(crate) const FAMILIES: bool = cfg!(feature = "families");

/// Which positions a row sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// All of them.
    Bidirectional,
    /// Those of its own block and of all blocks before it. Blocks are this many tokens and aligned
    /// to position 0. A block of one token is causal attention.
    BlockCausal(u32),
}

impl Attention {
    /// Every row sees itself and what is before it.
    pub const CAUSAL: Self = Self::BlockCausal(1);

    /// The end of what the row at `position` sees, on a canvas of `len` tokens.
    #[must_use]
    #[inline]
    pub const fn visible_end(self, position: usize, len: usize) -> usize {
        match self {
            Self::Bidirectional => len,
            Self::BlockCausal(block) => {
                let block = if block == 0 { 1 } else { block as usize };
                let end = (position / block + 1) * block;
                if end < len { end } else { len }
            }
        }
    }

    /// The first position whose row sees what this position holds. Rows before it stay the same whatever
    /// changes here or later.
    #[must_use]
    pub const fn seen_from(self, position: usize) -> usize {
        match self {
            Self::Bidirectional => 0,
            Self::BlockCausal(0) => position,
            Self::BlockCausal(block) => position - position % block as usize,
        }
    }
}

/// How the residual stream is normalized. The constant under the root is
/// [`norm_eps`](super::ModelConfig::norm_eps) in all norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// RMSNorm (Zhang and Sennrich 2019).
    Rms,
    /// LayerNorm (Ba et al. 2016), `(x - mean) / sqrt(variance + eps) * weight + bias`.
    Layer,
}

/// The feed-forward network of a layer without experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForward {
    /// `down(silu(gate(x)) * up(x))` (Shazeer 2020).
    SwiGlu,
    /// `down(gelu(up(x) + up_bias)) + down_bias`, with
    /// `gelu(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`. Not with experts.
    Gelu,
}

/// A mixture of experts in place of the feed-forward network, every expert a SwiGLU network.
///
/// For each row, from the same normalized input `x`:
///
/// 1. `scores = softmax(router * x)` over all experts, or `sigmoid(router * x)` of each;
/// 2. `ranks = scores + choice_bias`, or `scores`;
/// 3. a group's rank is the sum of its two largest ranks (the rank of its only expert, if it has one);
///    only the experts of the `groups_per_token` highest groups can be chosen;
/// 4. the `per_token` highest ranks are chosen, of equal ones the lower index;
/// 5. `weights = scores` of the chosen, with `normalize` divided by their sum, then times `scale`;
/// 6. the output is the sum over the chosen experts of `weight * expert(x)`, plus the shared expert's
///    output, which has no weight.
///
/// `docs/numerics.md` gives the order of every operation. The rules are those of LLaDA-MoE (softmax,
/// one group) and of LLaDA2 and DeepSeek-V3 (arXiv 2412.19437: sigmoid, choice bias, groups).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts {
    /// Experts of a layer.
    pub count: u32,
    /// How many of them a row goes through.
    pub per_token: u32,
    /// Hidden width of one expert; a multiple of 16.
    pub ffn_dim: u32,
    /// Hidden width of the shared expert, which every row goes through; 0 where there is none.
    pub shared_ffn_dim: u32,
    /// Layers, from the first on, that have a plain feed-forward network instead.
    pub dense_layers: u32,
    /// Groups of neighbouring experts, all of one size; 1 where the choice is among all experts.
    pub groups: u32,
    /// Groups that a row chooses its experts from.
    pub groups_per_token: u32,
    /// Scores are sigmoids, not a softmax over the experts.
    pub sigmoid: bool,
    /// A bias per expert is added to its score for the choice, not for the weight.
    pub choice_bias: bool,
    /// The weights of the chosen experts are divided by their sum.
    pub normalize: bool,
    /// The weights are then multiplied by this.
    pub scale: f32,
}

impl Experts {
    /// Experts in every layer and nothing else: chosen among all and weighted by a softmax.
    #[must_use]
    pub const fn plain(count: u32, per_token: u32, ffn_dim: u32) -> Self {
        Self {
            count,
            per_token,
            ffn_dim,
            shared_ffn_dim: 0,
            dense_layers: 0,
            groups: 1,
            groups_per_token: 1,
            sigmoid: false,
            choice_bias: false,
            normalize: false,
            scale: 1.0,
        }
    }
}

/// What a family changes in, or adds to, the plain transformer of LLaDA.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Features {
    /// Which positions a row sees.
    pub attention: Attention,
    /// The row of position `i` predicts position `i + 1`, as in a causal model.
    pub shifted_logits: bool,
    /// Query, key and value projections have biases, added to the products.
    pub qkv_bias: bool,
    /// Each query and key head is normalized (RMSNorm with weights for one head, the same for all)
    /// after its bias and before it is rotated.
    pub qk_norm: bool,
    /// Entries of a head that are rotated, from the first on; the others stay as they are. 0 means all.
    ///
    /// They are paired and turned as if the head had no others: pair `i` by the angle
    /// `position * rope_theta^(-2 i / rope_dim)`, half-split pairs `rope_dim / 2` apart.
    pub rope_dim: u32,
    /// Norms of the residual stream.
    pub norm: Norm,
    /// Feed-forward network of layers without experts.
    pub feed_forward: FeedForward,
    /// The head has a bias, added to the logits.
    pub head_bias: bool,
    /// Mixture of experts, if there is one.
    pub experts: Option<Experts>,
}

impl Features {
    /// The plain transformer: bidirectional attention, RMSNorm, SwiGLU, no biases.
    pub const PLAIN: Self = Self {
        attention: Attention::Bidirectional,
        shifted_logits: false,
        qkv_bias: false,
        qk_norm: false,
        rope_dim: 0,
        norm: Norm::Rms,
        feed_forward: FeedForward::SwiGlu,
        head_bias: false,
        experts: None,
    };

    /// The first part of the network that only some families have.
    pub(crate) const fn part_of_families(&self, head_dim: u32) -> Option<&'static str> {
        let Self { qk_norm, rope_dim, norm, feed_forward, head_bias, experts, .. } = self;
        let parts = [
            (experts.is_some(), "a mixture of experts"),
            (*qk_norm, "norms of query and key heads"),
            (*rope_dim != 0 && *rope_dim != head_dim, "partly rotated heads"),
            (matches!(norm, Norm::Layer), "LayerNorm"),
            (matches!(feed_forward, FeedForward::Gelu), "a GELU feed-forward network"),
            (*head_bias, "a bias of the head"),
        ];
        // Not an iterator: constant expressions have none.
        let mut rest = parts.as_slice();
        while let [(needed, part), others @ ..] = rest {
            if *needed {
                return Some(part);
            }
            rest = others;
        }
        None
    }

    /// The experts of a layer, if it has any.
    #[must_use]
    pub const fn experts_of(&self, layer: u32) -> Option<Experts> {
        match self.experts {
            Some(experts) if layer >= experts.dense_layers => Some(experts),
            _ => None,
        }
    }
}

/// Bits of the flags word; 0 and 1 are the tied head and the adjacent pairs.
mod flag {
    pub(super) const SHIFTED: u32 = 1 << 2;
    pub(super) const QKV_BIAS: u32 = 1 << 3;
    pub(super) const QK_NORM: u32 = 1 << 4;
    pub(super) const LAYER_NORM: u32 = 1 << 5;
    pub(super) const GELU: u32 = 1 << 6;
    pub(super) const HEAD_BIAS: u32 = 1 << 7;
    pub(super) const SIGMOID: u32 = 1 << 8;
    pub(super) const CHOICE_BIAS: u32 = 1 << 9;
    pub(super) const NORMALIZE: u32 = 1 << 10;
    pub(super) const ALL: u32 = (1 << 11) - (1 << 2);
}

/// Flags that features take.
pub(super) const FLAGS: u32 = flag::ALL;
/// Words of the CONFIG section from word 14 on that tell features.
pub(super) const WORDS: usize = 10;

impl Features {
    /// From the flags word and words 14 to 23 of a CONFIG section.
    pub(super) const fn from_words(flags: u32, words: &[u32; WORDS]) -> Result<Self, ImageError> {
        let [attention, rope_dim, count, per_token, ffn_dim, shared_ffn_dim, ..] = *words;
        let [.., dense_layers, groups, groups_per_token, scale] = *words;
        let expert_flags = flag::SIGMOID | flag::CHOICE_BIAS | flag::NORMALIZE;
        let experts = match count {
            0 => {
                let others = per_token | ffn_dim | shared_ffn_dim | dense_layers;
                if others | groups | groups_per_token | scale | (flags & expert_flags) != 0 {
                    return Err(ImageError::Config("experts (details without a count)"));
                }
                None
            }
            _ => Some(Experts {
                count,
                per_token,
                ffn_dim,
                shared_ffn_dim,
                dense_layers,
                groups,
                groups_per_token,
                sigmoid: flags & flag::SIGMOID != 0,
                choice_bias: flags & flag::CHOICE_BIAS != 0,
                normalize: flags & flag::NORMALIZE != 0,
                scale: f32::from_bits(scale),
            }),
        };
        Ok(Self {
            attention: match attention {
                0 => Attention::Bidirectional,
                block => Attention::BlockCausal(block),
            },
            shifted_logits: flags & flag::SHIFTED != 0,
            qkv_bias: flags & flag::QKV_BIAS != 0,
            qk_norm: flags & flag::QK_NORM != 0,
            rope_dim,
            norm: if flags & flag::LAYER_NORM != 0 { Norm::Layer } else { Norm::Rms },
            feed_forward: match flags & flag::GELU {
                0 => FeedForward::SwiGlu,
                _ => FeedForward::Gelu,
            },
            head_bias: flags & flag::HEAD_BIAS != 0,
            experts,
        })
    }

    /// Flags and words, for writers.
    pub(super) fn to_words(self) -> (u32, [u32; WORDS]) {
        let experts = self.experts;
        let has = |holds: bool, flag: u32| if holds { flag } else { 0 };
        let flags = has(self.shifted_logits, flag::SHIFTED)
            | has(self.qkv_bias, flag::QKV_BIAS)
            | has(self.qk_norm, flag::QK_NORM)
            | has(self.norm == Norm::Layer, flag::LAYER_NORM)
            | has(self.feed_forward == FeedForward::Gelu, flag::GELU)
            | has(self.head_bias, flag::HEAD_BIAS)
            | has(experts.is_some_and(|e| e.sigmoid), flag::SIGMOID)
            | has(experts.is_some_and(|e| e.choice_bias), flag::CHOICE_BIAS)
            | has(experts.is_some_and(|e| e.normalize), flag::NORMALIZE);
        let attention = match self.attention {
            Attention::Bidirectional => 0,
            Attention::BlockCausal(block) => block,
        };
        let of_experts = experts.map_or([0; 8], |e| {
            let shape = [e.count, e.per_token, e.ffn_dim, e.shared_ffn_dim, e.dense_layers];
            let [count, per_token, ffn_dim, shared, dense] = shape;
            let scale = e.scale.to_bits();
            [count, per_token, ffn_dim, shared, dense, e.groups, e.groups_per_token, scale]
        });
        let [a, b, c, d, e, f, g, h] = of_experts;
        (flags, [attention, self.rope_dim, a, b, c, d, e, f, g, h])
    }

    /// Checks the numbers against their ranges, and against the rest of the configuration.
    pub(super) const fn validate(
        &self,
        (layers, model_dim, head_dim): (u32, u32, u32),
        (max_ffn, max_block): (u32, u32),
    ) -> Result<(), ImageError> {
        macro_rules! require {
            ($holds:expr, $what:literal) => {
                if !$holds {
                    return Err(ImageError::Config($what));
                }
            };
        }
        if let Attention::BlockCausal(block) = self.attention {
            require!(block > 0 && block <= max_block, "attention (length of a block)");
        }
        let rotated = self.rope_dim;
        require!(rotated.is_multiple_of(2) && rotated <= head_dim, "rope_dim (even, in a head)");
        let Some(e) = self.experts else { return Ok(()) };
        require!(matches!(self.feed_forward, FeedForward::SwiGlu), "experts (not with GELU)");
        let counts = e.count <= MAX_EXPERTS
            && e.per_token > 0
            && e.per_token <= e.count
            && e.per_token <= MAX_CHOSEN
            && e.dense_layers <= layers;
        require!(counts, "experts (at most 1024, of which a row takes 1 to 16)");
        let widths = e.ffn_dim > 0 && e.ffn_dim <= max_ffn && e.shared_ffn_dim <= max_ffn;
        let whole = e.ffn_dim.is_multiple_of(16) && model_dim.is_multiple_of(16);
        require!(widths && whole, "experts (widths must be multiples of 16)");
        let groups = e.groups > 0
            && e.count.is_multiple_of(e.groups)
            && e.groups_per_token > 0
            && e.groups_per_token <= e.groups
            && (e.count / e.groups) * e.groups_per_token >= e.per_token;
        // Comparisons are false for NaN, so this also refuses it.
        require!(groups && e.scale > 1e-6 && e.scale < 1e6, "experts (groups or scale)");
        Ok(())
    }
}

/// Most experts of a layer.
pub const MAX_EXPERTS: u32 = 1024;
/// Most experts that a row goes through.
pub const MAX_CHOSEN: u32 = 16;

#[cfg(test)]
#[path = "features_tests.rs"]
pub(super) mod tests;
