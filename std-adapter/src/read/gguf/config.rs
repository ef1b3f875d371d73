//! From a file's metadata to the engine's configuration.
//!
//! A converter writes what llama.cpp reads; some of it is not written at all but implied by the
//! architecture's name (which elements RoPE pairs, whether attention is causal). Keys that would
//! change the arithmetic in a way that the engine does not know are refused by name, never ignored.

use demask::image::{Architecture, Attention, Experts, Features, ModelConfig, RopePairs};

use super::value::{Number, Value};
use super::{GgufError, GgufFile, GgufVocab};

/// What a file may leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GgufOptions {
    /// The model's family. Fast-dLLM v2 is converted as `qwen2` and SDAR as `qwen3`; without this,
    /// those with a mask token are taken for diffusion models.
    pub family: Option<Architecture>,
    /// Tokens of a block of a block-causal model; no file tells it.
    pub block_length: Option<u32>,
}

/// What the name of an architecture implies.
struct Implied {
    name: &'static str,
    /// Families that are converted under this name; the first is meant unless there is a mask.
    families: &'static [Architecture],
    pairs: RopePairs,
}

const ARCHITECTURES: [Implied; 9] = [
    Implied { name: "llada", families: &[Architecture::Llada], pairs: RopePairs::Adjacent },
    Implied { name: "llada-moe", families: &[Architecture::LladaMoe], pairs: RopePairs::HalfSplit },
    Implied { name: "llada2", families: &[Architecture::Llada2], pairs: RopePairs::HalfSplit },
    Implied { name: "bailingmoe2", families: &[Architecture::Llada2], pairs: RopePairs::HalfSplit },
    Implied { name: "dream", families: &[Architecture::Dream], pairs: RopePairs::HalfSplit },
    Implied {
        name: "qwen2",
        families: &[Architecture::Qwen2, Architecture::FastDllm2, Architecture::Dream],
        pairs: RopePairs::HalfSplit,
    },
    Implied {
        name: "qwen3",
        families: &[Architecture::Qwen3, Architecture::Sdar],
        pairs: RopePairs::HalfSplit,
    },
    Implied { name: "qwen3moe", families: &[Architecture::Sdar], pairs: RopePairs::HalfSplit },
    Implied { name: "llama", families: &[Architecture::Llama], pairs: RopePairs::Adjacent },
];

/// Keys whose effect the engine does not have, and the values that mean no effect.
const NEUTRAL: [(&str, &[f32]); 9] = [
    ("rope.scale_linear", &[0.0, 1.0]),
    ("rope.scaling.attn_factor", &[0.0, 1.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attn_logit_softcapping", &[0.0]),
    ("final_logit_softcapping", &[0.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("embedding_scale", &[0.0, 1.0]),
];

/// Texts of mask tokens, for files without `tokenizer.ggml.mask_token_id`.
const MASK_TEXTS: [&str; 5] = ["<|mask|>", "<|MASK|>", "|<MASK>|", "<|mdm_mask|>", "[MASK]"];
const MASK_KEY: &str = "tokenizer.ggml.mask_token_id";
const EOS_KEY: &str = "tokenizer.ggml.eos_token_id";
/// The engine's limit; the cache is never sized by it.
const MAX_CONTEXT: u32 = 1 << 16;

/// The file's keys of one architecture.
struct Keys<'a> {
    file: &'a GgufFile,
    implied: &'static Implied,
}

/// Reads the configuration of a model.
///
/// # Errors
/// [`GgufError`] names the first key that is missing, of a wrong type, or not supported.
pub fn read(file: &GgufFile, options: &GgufOptions) -> Result<ModelConfig, GgufError> {
    let keys = Keys { file, implied: implied(file)? };
    let vocab_size = keys.vocab_size()?;
    let mask = keys.mask()?;
    let family = keys.family(options, mask)?;
    let diffusion = default_attention(family) != Attention::CAUSAL;
    let mask_id = match mask {
        Some(mask) => mask,
        None if diffusion => return Err(GgufError::MissingKey(MASK_KEY.into())),
        // A causal model has none: the id behind the last token stands for it on a canvas.
        None => vocab_size,
    };
    let model_dim = keys.size("embedding_length")?;
    let heads = keys.size("attention.head_count")?;
    let head_dim = keys.head_dim(model_dim, heads)?;
    keys.check_neutral(head_dim)?;
    let experts = keys.experts()?;
    let ffn_dim = match (keys.uniform("feed_forward_length")?, experts) {
        (Some(width), _) => width,
        (None, Some(experts)) => experts.ffn_dim,
        (None, None) => return Err(keys.missing("feed_forward_length")),
    };
    let shifted = file.flag("diffusion.shift_logits")?.filter(|_| diffusion);
    let config = ModelConfig {
        architecture: family,
        vocab_size,
        model_dim,
        layers: keys.layers()?,
        heads,
        kv_heads: keys.uniform("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        ffn_dim,
        context: keys.size("context_length")?.min(MAX_CONTEXT),
        mask_id,
        eos_id: file.u32(EOS_KEY)?.ok_or_else(|| GgufError::MissingKey(EOS_KEY.into()))?,
        rope_theta: keys.float("rope.freq_base")?.unwrap_or(10_000.0),
        norm_eps: keys
            .float("attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| keys.missing("attention.layer_norm_rms_epsilon"))?,
        rope_pairs: keys.implied.pairs,
        tied_head: file.tensor("output.weight").is_none(),
        features: Features {
            attention: attention(family, options)?,
            shifted_logits: shifted.unwrap_or_else(|| default_shift(family)),
            qkv_bias: keys.first_layer_has(&["attn_q.bias", "attn_qkv.bias"]),
            qk_norm: keys.first_layer_has(&["attn_q_norm.weight"]),
            rope_dim: keys.rope_dim(head_dim)?,
            head_bias: file.tensor("output.bias").is_some(),
            experts,
            ..Features::PLAIN
        },
    };
    config.validate().map_err(|e| GgufError::Contradiction(format!("its metadata: {e}")))?;
    Ok(config)
}

/// How many blocks at the end only predict further tokens; converters keep them, nothing uses them.
pub(super) fn unused_layers(file: &GgufFile) -> Result<u32, GgufError> {
    let keys = Keys { file, implied: implied(file)? };
    Ok(file.u32(&keys.key("nextn_predict_layers"))?.unwrap_or(0))
}

fn implied(file: &GgufFile) -> Result<&'static Implied, GgufError> {
    static ALL: &[Implied; 9] = &ARCHITECTURES;
    let key = "general.architecture";
    let found = file.text(key)?.ok_or_else(|| GgufError::MissingKey(key.into()))?;
    ALL.iter().find(|implied| implied.name == found).ok_or_else(|| GgufError::Architecture {
        found: super::shortened(found),
        supported: ARCHITECTURES.map(|implied| implied.name).join(", "),
    })
}

/// Attention of a family at its usual block length.
fn default_attention(family: Architecture) -> Attention {
    match family {
        Architecture::Llada2 | Architecture::FastDllm2 => Attention::BlockCausal(32),
        Architecture::Sdar => Attention::BlockCausal(4),
        Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => Attention::CAUSAL,
        _ => Attention::Bidirectional,
    }
}

/// Whether row `i` of a family predicts position `i + 1`.
fn default_shift(family: Architecture) -> bool {
    let shifted = matches!(family, Architecture::Dream | Architecture::FastDllm2);
    shifted || default_attention(family) == Attention::CAUSAL
}

fn attention(family: Architecture, options: &GgufOptions) -> Result<Attention, GgufError> {
    match (default_attention(family), options.block_length) {
        (usual, None) => Ok(usual),
        (Attention::BlockCausal(2..), Some(block)) => Ok(Attention::BlockCausal(block)),
        _ => Err(GgufError::Contradiction(format!(
            "a block length was given, but {} models have no blocks in their attention; leave it \
             out",
            family.name()
        ))),
    }
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.implied.name)
    }

    fn missing(&self, name: &str) -> GgufError {
        GgufError::MissingKey(self.key(name))
    }

    fn unsupported(&self, name: &str, supported: impl Into<String>) -> GgufError {
        let key = self.key(name);
        let value = self.file.metadata(&key).map(Value::to_string).unwrap_or_default();
        GgufError::Unsupported { key, value, supported: supported.into() }
    }

    fn float(&self, name: &str) -> Result<Option<f32>, GgufError> {
        self.file.f32(&self.key(name))
    }

    fn size(&self, name: &str) -> Result<u32, GgufError> {
        self.uniform(name)?.ok_or_else(|| self.missing(name))
    }

    /// A number that may also be given for every layer, if it is the same everywhere.
    fn uniform(&self, name: &str) -> Result<Option<u32>, GgufError> {
        let key = self.key(name);
        let Some(Value::Numbers(numbers)) = self.file.metadata(&key) else {
            return self.file.u32(&key);
        };
        let mut numbers = numbers.iter();
        let first = match numbers.next() {
            Some(Number::Whole(first)) => u32::try_from(first).ok(),
            _ => None,
        };
        match first {
            Some(first) if numbers.all(|n| n == Number::Whole(i128::from(first))) => {
                Ok(Some(first))
            }
            _ => Err(self.unsupported(name, "the same number in every layer")),
        }
    }

    fn layers(&self) -> Result<u32, GgufError> {
        let unused = unused_layers(self.file)?;
        Ok(self.size("block_count")?.saturating_sub(unused))
    }

    fn vocab_size(&self) -> Result<u32, GgufError> {
        let name = "token_embd.weight";
        let embedding = self
            .file
            .tensor(name)
            .ok_or_else(|| GgufError::MissingTensor { tensor: name.into(), others: 0 })?;
        Ok(u32::try_from(embedding.shape().0).unwrap_or(u32::MAX))
    }

    /// The mask token: given, or the only token that is called so.
    fn mask(&self) -> Result<Option<u32>, GgufError> {
        if let Some(id) = self.file.u32(MASK_KEY)?.filter(|id| *id != u32::MAX) {
            return Ok(Some(id));
        }
        let Some(tokens) = self.file.texts("tokenizer.ggml.tokens")? else { return Ok(None) };
        let mut found = tokens.iter().zip(0..).filter(|(token, _)| MASK_TEXTS.contains(token));
        Ok(match (found.next(), found.next()) {
            (Some((_, id)), None) => Some(id),
            _ => None,
        })
    }

    fn family(&self, options: &GgufOptions, mask: Option<u32>) -> Result<Architecture, GgufError> {
        let families = self.implied.families;
        if let Some(family) = options.family {
            if families.contains(&family) {
                return Ok(family);
            }
            let names: Vec<&str> = families.iter().map(|family| family.name()).collect();
            return Err(GgufError::Contradiction(format!(
                "it was to be read as {}, but a file of the architecture {} can be {} only",
                family.name(),
                self.implied.name,
                names.join(" or ")
            )));
        }
        let likely = if mask.is_some() { families.get(1) } else { None };
        likely.or(families.first()).copied().ok_or_else(|| self.missing("block_count"))
    }

    fn head_dim(&self, model_dim: u32, heads: u32) -> Result<u32, GgufError> {
        let usual = model_dim.checked_div(heads).unwrap_or(0);
        let key = self.uniform("attention.key_length")?.unwrap_or(usual);
        match self.uniform("attention.value_length")? {
            Some(value) if value != key => {
                Err(self.unsupported("attention.value_length", format!("{key}, as of keys")))
            }
            _ => Ok(key),
        }
    }

    /// As [`Features::rope_dim`].
    fn rope_dim(&self, head_dim: u32) -> Result<u32, GgufError> {
        let rotated = self.uniform("rope.dimension_count")?.unwrap_or(head_dim);
        Ok(if rotated == head_dim { 0 } else { rotated })
    }

    fn first_layer_has(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.file.tensor(&format!("blk.0.{name}")).is_some())
    }

    fn check_neutral(&self, head_dim: u32) -> Result<(), GgufError> {
        for (name, allowed) in NEUTRAL {
            if self.float(name)?.is_some_and(|value| !allowed.contains(&value)) {
                return Err(self.unsupported(name, "a model without it"));
            }
        }
        match self.file.text(&self.key("rope.scaling.type"))? {
            None | Some("none") => {}
            Some("linear") => {
                if self.float("rope.scaling.factor")?.is_some_and(|f| f != 0.0 && f != 1.0) {
                    return Err(self.unsupported("rope.scaling.factor", "1"));
                }
            }
            Some(_) => return Err(self.unsupported("rope.scaling.type", "none")),
        }
        let context = self.size("context_length")?;
        if let Some(window) = self.uniform("attention.sliding_window")?
            && window != 0
            && window < context
        {
            return Err(self.unsupported("attention.sliding_window", "attention without a window"));
        }
        let usual = 1.0 / (head_dim as f32).sqrt();
        match self.float("attention.scale")? {
            Some(scale) if scale != 0.0 && (scale - usual).abs() > 1e-6 * usual => {
                Err(self.unsupported("attention.scale", format!("{usual}")))
            }
            _ => Ok(()),
        }
    }

    fn experts(&self) -> Result<Option<Experts>, GgufError> {
        let count = self.uniform("expert_count")?.unwrap_or(0);
        if count == 0 {
            return Ok(None);
        }
        let llada2 = self.implied.families.contains(&Architecture::Llada2);
        if !llada2 && !matches!(self.implied.name, "llada-moe" | "qwen3moe") {
            return Err(self.unsupported("expert_count", "a model without experts"));
        }
        let dense_layers = self.uniform("leading_dense_block_count")?.unwrap_or(0);
        let tensor = |name: &str| self.file.tensor(&format!("blk.{dense_layers}.{name}"));
        let per_token = self.size("expert_used_count")?;
        let ffn_dim = match self.uniform("expert_feed_forward_length")? {
            Some(width) => width,
            None => self.size("feed_forward_length")?.checked_div(per_token).unwrap_or(0),
        };
        let shared = tensor("ffn_gate_shexp.weight").map_or(0, |shared| shared.shape().0);
        let sigmoid = match self.uniform("expert_gating_func")?.unwrap_or(0) {
            0 => llada2,
            1 => false,
            2 => true,
            _ => return Err(self.unsupported("expert_gating_func", "1 (softmax) or 2 (sigmoid)")),
        };
        let groups = self.uniform("expert_group_count")?.unwrap_or(1).max(1);
        let norm = self.file.flag(&self.key("expert_weights_norm"))?;
        Ok(Some(Experts {
            count,
            per_token,
            ffn_dim,
            shared_ffn_dim: u32::try_from(shared).unwrap_or(u32::MAX),
            dense_layers,
            groups,
            groups_per_token: self.uniform("expert_group_used_count")?.unwrap_or(groups).max(1),
            sigmoid,
            choice_bias: tensor("exp_probs_b.bias").is_some(),
            normalize: norm.unwrap_or(self.implied.name == "qwen3moe"),
            scale: self.float("expert_weights_scale")?.filter(|s| *s != 0.0).unwrap_or(1.0),
        }))
    }
}

/// Refuses a vocabulary that has more tokens than the model has rows for them.
pub(super) fn check_vocab(config: &ModelConfig, vocab: &GgufVocab<'_>) -> Result<(), GgufError> {
    let (tokens, rows) = (vocab.tokens.len(), config.vocab_size);
    if tokens > rows as usize {
        return Err(GgufError::Contradiction(format!(
            "it has {tokens} tokens, but its embedding has only {rows} rows; convert the model again"
        )));
    }
    Ok(())
}
