//! The CONFIG section: what the network looks like.

use super::ImageError;
use super::bytes::read_u32;
use super::features::{self, Architecture, Attention, Features};

/// Length of the CONFIG section of a plain transformer in bytes: sixteen little-endian words.
pub const CONFIG_BYTES: usize = 64;
/// Length of a CONFIG section that tells more [`Features`] than sixteen words hold.
pub const EXTENDED_CONFIG_BYTES: usize = 128;

/// Which elements of a head form the rotated pairs of RoPE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// Element `i` with `i + rope_dim / 2` (Hugging Face, "NEOX").
    HalfSplit,
    /// Element `2 i` with `2 i + 1` (llama.cpp's conversion of LLaDA, "NORM").
    Adjacent,
}

/// Shape and constants of a model. Every number has been checked against [`ModelConfig::validate`]
/// once an image is parsed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelConfig {
    /// Model family.
    pub architecture: Architecture,
    /// Number of token ids, rows of the embedding and of the head.
    pub vocab_size: u32,
    /// Width of the residual stream.
    pub model_dim: u32,
    /// Transformer blocks.
    pub layers: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Width of one head; even.
    pub head_dim: u32,
    /// Hidden width of the feed-forward network.
    pub ffn_dim: u32,
    /// Longest canvas that the model was trained on, in tokens.
    pub context: u32,
    /// Token that stands for "not yet decided".
    pub mask_id: u32,
    /// Token that ends a text.
    pub eos_id: u32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Added to the mean square in RMSNorm, and to the variance in LayerNorm.
    pub norm_eps: f32,
    /// Pairing of rotated elements.
    pub rope_pairs: RopePairs,
    /// The head shares the embedding's weights.
    pub tied_head: bool,
    /// What the family changes in, or adds to, the plain transformer.
    pub features: Features,
}

const FLAG_TIED: u32 = 1;
const FLAG_ADJACENT: u32 = 2;

/// Hard upper limits. They keep every size computation far inside 64 bits, and a hostile file from
/// asking for a week of work.
mod limit {
    pub(super) const VOCAB: u32 = 1 << 20;
    pub(super) const DIM: u32 = 1 << 16;
    pub(super) const LAYERS: u32 = 1 << 10;
    pub(super) const HEADS: u32 = 1 << 10;
    pub(super) const HEAD_DIM: u32 = 1 << 10;
    pub(super) const FFN: u32 = 1 << 18;
    pub(super) const CONTEXT: u32 = 1 << 16;
}

impl ModelConfig {
    /// Total width of the query heads.
    #[must_use]
    pub const fn query_dim(&self) -> usize {
        self.heads as usize * self.head_dim as usize
    }

    /// Total width of the key (or value) heads.
    #[must_use]
    pub const fn kv_dim(&self) -> usize {
        self.kv_heads as usize * self.head_dim as usize
    }

    /// Reads the section; `const`, so that firmware can size its memory when it is compiled.
    ///
    /// # Errors
    /// [`ImageError::Config`] names the first field that is out of range.
    pub const fn parse(section: &[u8]) -> Result<Self, ImageError> {
        if section.len() != CONFIG_BYTES && section.len() != EXTENDED_CONFIG_BYTES {
            return Err(ImageError::Config("length of the section"));
        }
        // The words that a short section lacks are zero.
        macro_rules! word {
            ($i:expr) => {
                match read_u32(section, $i * 4) {
                    Some(w) => w,
                    None => 0,
                }
            };
        }
        let Some(architecture) = Architecture::from_code(word!(0)) else {
            return Err(ImageError::Config("architecture (not one that this version knows)"));
        };
        let flags = word!(13);
        if flags & !(FLAG_TIED | FLAG_ADJACENT | features::FLAGS) != 0 {
            return Err(ImageError::Config("flags"));
        }
        let more = [
            word!(14),
            word!(15),
            word!(16),
            word!(17),
            word!(18),
            word!(19),
            word!(20),
            word!(21),
            word!(22),
            word!(23),
        ];
        let features = match Features::from_words(flags, &more) {
            Ok(features) => features,
            Err(e) => return Err(e),
        };
        let mut reserved = 24;
        while reserved < EXTENDED_CONFIG_BYTES / 4 {
            if word!(reserved) != 0 {
                return Err(ImageError::Config("reserved words"));
            }
            reserved += 1;
        }
        let config = Self {
            architecture,
            vocab_size: word!(1),
            model_dim: word!(2),
            layers: word!(3),
            heads: word!(4),
            kv_heads: word!(5),
            head_dim: word!(6),
            ffn_dim: word!(7),
            context: word!(8),
            mask_id: word!(9),
            eos_id: word!(10),
            rope_theta: f32::from_bits(word!(11)),
            norm_eps: f32::from_bits(word!(12)),
            rope_pairs: if flags & FLAG_ADJACENT != 0 {
                RopePairs::Adjacent
            } else {
                RopePairs::HalfSplit
            },
            tied_head: flags & FLAG_TIED != 0,
            features,
        };
        match config.validate() {
            Ok(()) => Ok(config),
            Err(e) => Err(e),
        }
    }

    /// Checks every number against its range and the numbers against each other.
    ///
    /// # Errors
    /// [`ImageError::Config`] names the first field that is out of range.
    pub const fn validate(&self) -> Result<(), ImageError> {
        macro_rules! in_range {
            ($field:ident, $max:expr) => {
                if self.$field == 0 || self.$field > $max {
                    return Err(ImageError::Config(stringify!($field)));
                }
            };
        }
        in_range!(vocab_size, limit::VOCAB);
        in_range!(model_dim, limit::DIM);
        in_range!(layers, limit::LAYERS);
        in_range!(heads, limit::HEADS);
        in_range!(kv_heads, limit::HEADS);
        in_range!(head_dim, limit::HEAD_DIM);
        in_range!(ffn_dim, limit::FFN);
        in_range!(context, limit::CONTEXT);
        if !self.head_dim.is_multiple_of(2) {
            return Err(ImageError::Config("head_dim (must be even)"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ImageError::Config("kv_heads (must divide heads)"));
        }
        if self.query_dim() > limit::DIM as usize {
            return Err(ImageError::Config("heads * head_dim"));
        }
        // A causal model has no mask: the id behind the last one stands for it on a canvas.
        let causal = matches!(self.features.attention, Attention::BlockCausal(1));
        if self.mask_id >= self.vocab_size && !(causal && self.mask_id == self.vocab_size) {
            return Err(ImageError::Config("mask_id (must be below vocab_size)"));
        }
        if self.eos_id >= self.vocab_size || self.eos_id == self.mask_id {
            return Err(ImageError::Config("eos_id (below vocab_size, and not the mask)"));
        }
        // Comparisons are false for NaN, so these also refuse it.
        if !(self.rope_theta >= 1.0 && self.rope_theta <= 1e12) {
            return Err(ImageError::Config("rope_theta"));
        }
        if !(self.norm_eps >= 1e-12 && self.norm_eps <= 1.0) {
            return Err(ImageError::Config("norm_eps"));
        }
        let shape = (self.layers, self.model_dim, self.head_dim);
        self.features.validate(shape, (limit::FFN, limit::CONTEXT))
    }

    /// Entries of a head that are rotated.
    #[must_use]
    pub const fn rope_dim(&self) -> u32 {
        if self.features.rope_dim == 0 { self.head_dim } else { self.features.rope_dim }
    }

    /// Width of the widest feed-forward network that a row goes through.
    #[must_use]
    pub const fn widest_ffn(&self) -> usize {
        let Some(experts) = self.features.experts else { return self.ffn_dim as usize };
        let mut widest = experts.ffn_dim;
        if experts.shared_ffn_dim > widest {
            widest = experts.shared_ffn_dim;
        }
        if experts.dense_layers > 0 && self.ffn_dim > widest {
            widest = self.ffn_dim;
        }
        widest as usize
    }

    /// Length of the section in bytes.
    #[must_use]
    pub fn section_bytes(&self) -> usize {
        let (_, [_, _, rest @ ..]) = self.features.to_words();
        if rest == [0; features::WORDS - 2] { CONFIG_BYTES } else { EXTENDED_CONFIG_BYTES }
    }

    /// The section's bytes, for writers: the first [`section_bytes`](Self::section_bytes) of them.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; EXTENDED_CONFIG_BYTES] {
        let (mut flags, more) = self.features.to_words();
        if self.tied_head {
            flags |= FLAG_TIED;
        }
        if self.rope_pairs == RopePairs::Adjacent {
            flags |= FLAG_ADJACENT;
        }
        let words = [
            self.architecture as u32,
            self.vocab_size,
            self.model_dim,
            self.layers,
            self.heads,
            self.kv_heads,
            self.head_dim,
            self.ffn_dim,
            self.context,
            self.mask_id,
            self.eos_id,
            self.rope_theta.to_bits(),
            self.norm_eps.to_bits(),
            flags,
        ];
        let mut out = [0; EXTENDED_CONFIG_BYTES];
        for (bytes, word) in
            out.as_chunks_mut::<4>().0.iter_mut().zip(words.into_iter().chain(more))
        {
            *bytes = word.to_le_bytes();
        }
        out
    }
}
