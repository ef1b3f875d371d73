//! Tiny random models of any shape, as images in aligned memory, and ways to damage them.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

mod q4k;

#[allow(unused_imports, reason = "each test file uses its own part")]
pub use q4k::with_q4k;

use demask::decode::Needs;
use demask::image::{
    Architecture, Attention, ENTRY_BYTES, Experts, Features, FeedForward, HEADER_BYTES,
    MANIFEST_DIGEST_AT, ModelConfig, ModelImage, Norm, RopePairs, SectionKind, TENSOR_ENTRY_BYTES,
    TensorRole, manifest_digest, section_digest,
};
use demask::packed::Format;
use demask::packed::Layout;
use demask::{Engine, EngineError, Limits, Plan, Scalar, Serial};
use demask_quant::tokenizer::TokenizerData;
use demask_quant::{BoxError, PromptData, Quantization, Sections, WeightSource, write_image};
use std::io::Cursor;

/// Bytes on a 64-byte boundary.
#[derive(Clone)]
pub struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Aligned {
    pub fn zeroed(len: usize) -> Self {
        Self { lines: vec![Line([0; 64]); len.div_ceil(64)], len }
    }

    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }
}

impl std::ops::Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a fixed sequence of numbers.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 32) as usize % limit
    }
}

/// The output function of SplitMix64: every bit of the result depends on every bit of `x`.
pub fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Weights that are a function of seed, tensor and place: no file, no memory.
pub struct RandomWeights {
    pub seed: u64,
    pub config: ModelConfig,
}

impl RandomWeights {
    /// One weight: about 1 for norms, about 0 for biases, else uniform with variance 1 / columns.
    pub fn weight(&self, role: TensorRole, row: usize, col: usize) -> f32 {
        let (code, layer) = role.code();
        let place = (row as u64) << 32 | col as u64;
        let tensor = self.seed ^ u64::from(code) << 48 ^ u64::from(layer) << 32;
        let bits = mix(mix(tensor.wrapping_add(0x5EED)) ^ place);
        let uniform = (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        let (rows, cols) = role.shape(&self.config);
        match role {
            TensorRole::Embedding => uniform,
            _ if role.name().ends_with("bias") => 0.3 * uniform,
            _ if role.stays_f32() && rows == 1 => 1.0 + 0.3 * uniform,
            _ => uniform * (3.0 / cols as f32).sqrt(),
        }
    }
}

impl WeightSource for RandomWeights {
    fn read_rows(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), BoxError> {
        let (_, cols) = role.shape(&self.config);
        for (row, values) in (first_row..).zip(out.chunks_exact_mut(cols)) {
            for (col, value) in values.iter_mut().enumerate() {
                *value = self.weight(role, row, col);
            }
        }
        Ok(())
    }
}

/// One layer, eight wide: the smallest model that uses every part.
pub const SMALLEST: ModelConfig = ModelConfig {
    architecture: Architecture::Llada,
    vocab_size: 11,
    model_dim: 8,
    layers: 1,
    heads: 2,
    kv_heads: 1,
    head_dim: 4,
    ffn_dim: 12,
    context: 16,
    mask_id: 1,
    eos_id: 0,
    rope_theta: 10_000.0,
    norm_eps: 1e-5,
    rope_pairs: RopePairs::HalfSplit,
    tied_head: true,
    features: Features::PLAIN,
};

/// A configuration with sizes that are multiples of nothing, and any features of any family.
pub fn random_config(random: &mut Random, attention: Attention) -> ModelConfig {
    let kv_heads = 1 + random.below(3) as u32;
    let head_dim = 2 * (1 + random.below(9)) as u32;
    let vocab_size = 5 + random.below(90) as u32;
    let mut some = |chance: usize| random.below(chance) == 0;
    let features = Features {
        attention,
        shifted_logits: some(2),
        qkv_bias: some(2),
        qk_norm: some(2),
        norm: if some(3) { Norm::Layer } else { Norm::Rms },
        feed_forward: if some(3) { FeedForward::Gelu } else { FeedForward::SwiGlu },
        head_bias: some(3),
        ..Features::PLAIN
    };
    let (tied_head, pairs, partly, experts) = (some(2), some(2), some(2), some(2));
    let layers = 1 + random.below(3) as u32;
    let swiglu = features.feed_forward == FeedForward::SwiGlu;
    let config = ModelConfig {
        vocab_size,
        mask_id: if attention == Attention::CAUSAL { vocab_size } else { 1 },
        model_dim: 1 + random.below(70) as u32,
        ffn_dim: 1 + random.below(90) as u32,
        layers,
        heads: kv_heads * (1 + random.below(3)) as u32,
        kv_heads,
        head_dim,
        rope_pairs: if pairs { RopePairs::Adjacent } else { RopePairs::HalfSplit },
        tied_head,
        features: Features {
            rope_dim: if partly { 2 * random.below(head_dim as usize / 2 + 1) as u32 } else { 0 },
            experts: (experts && swiglu).then(|| random_experts(random, layers)),
            ..features
        },
        ..SMALLEST
    };
    let whole = if config.features.experts.is_some() { 16 } else { 1 };
    let config = ModelConfig { model_dim: config.model_dim.next_multiple_of(whole), ..config };
    config.validate().unwrap();
    config
}

/// Any mixture of experts for a model of `layers` layers.
pub fn random_experts(random: &mut Random, layers: u32) -> Experts {
    let groups = 1 + random.below(4) as u32;
    let size = 1 + random.below(4) as u32;
    let groups_per_token = 1 + random.below(groups as usize) as u32;
    Experts {
        count: groups * size,
        per_token: 1 + random.below((groups_per_token * size).min(16) as usize) as u32,
        ffn_dim: 16 * (1 + random.below(3)) as u32,
        shared_ffn_dim: random.below(2) as u32 * (1 + random.below(40)) as u32,
        dense_layers: random.below(layers as usize + 1) as u32,
        groups,
        groups_per_token,
        sigmoid: random.below(2) == 0,
        choice_bias: random.below(2) == 0,
        normalize: random.below(2) == 0,
        scale: [1.0, 2.5][random.below(2)],
    }
}

/// [`SMALLEST`] with every feature that goes together with experts.
pub const SMALLEST_WITH_EXPERTS: ModelConfig = ModelConfig {
    architecture: Architecture::Llada2,
    model_dim: 16,
    layers: 2,
    features: Features {
        attention: Attention::Bidirectional,
        shifted_logits: true,
        qkv_bias: true,
        qk_norm: true,
        rope_dim: 2,
        norm: Norm::Layer,
        feed_forward: FeedForward::SwiGlu,
        head_bias: true,
        experts: Some(Experts {
            count: 6,
            per_token: 2,
            ffn_dim: 16,
            shared_ffn_dim: 10,
            dense_layers: 1,
            groups: 3,
            groups_per_token: 2,
            sigmoid: true,
            choice_bias: true,
            normalize: true,
            scale: 2.5,
        }),
    },
    ..SMALLEST
};

/// Two layers of wide experts, wide enough for super-blocks of 256 columns.
pub const WIDE_EXPERTS: ModelConfig = ModelConfig {
    model_dim: 256,
    ffn_dim: 512,
    features: Features {
        experts: Some(Experts {
            shared_ffn_dim: 256,
            dense_layers: 1,
            ..Experts::plain(5, 2, 256)
        }),
        ..Features::PLAIN
    },
    ..SMALLEST_WITH_EXPERTS
};

/// The sections beside the weights, with no tokenizer and no prompt.
pub fn sections(config: ModelConfig) -> Sections {
    Sections { config, tokenizer: None, prompt: None, filter: None, security_counter: 7 }
}

/// A tokenizer for [`SMALLEST`]: end, mask, seven letters and two merged pieces.
pub fn tokenizer() -> TokenizerData {
    let pieces = ["<end>", "<mask>", "a", "b", "c", "d", " ", "e", "f", "ab", "abc"];
    TokenizerData {
        pieces: pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect(),
        merges: vec![(2, 3), (9, 4)],
        specials: vec![0, 1],
        ..TokenizerData::default()
    }
}

/// [`SMALLEST`] with a section of every kind.
pub fn sections_of_every_kind() -> Sections {
    sections_of_every_kind_for(SMALLEST)
}

/// A model with the vocabulary of [`SMALLEST`], with a section of every kind.
pub fn sections_of_every_kind_for(config: ModelConfig) -> Sections {
    Sections {
        tokenizer: Some(tokenizer().to_section().unwrap()),
        prompt: Some(PromptData {
            prefix: vec![2],
            suffix: vec![3, 0],
            leading_space: true,
            normal_form: false,
        }),
        ..sections(config)
    }
}

/// Writes an image with random weights.
pub fn image_with(sections: &Sections, quantization: Quantization, seed: u64) -> Aligned {
    let source = RandomWeights { seed, config: sections.config };
    let mut out = Cursor::new(Vec::new());
    write_image(sections, quantization, &source, &mut out, 1, &mut |_| ()).unwrap();
    Aligned::copy_of(out.get_ref())
}

/// An image without tokenizer and prompt, all matrices in one format.
pub fn image(config: ModelConfig, format: Format, seed: u64) -> Aligned {
    image_with(&sections(config), Quantization::uniform(format), seed)
}

/// [`SMALLEST`] with a section of every kind, all matrices in one format.
pub fn small_image(format: Format) -> Aligned {
    image_with(&sections_of_every_kind(), Quantization::uniform(format), 1)
}

/// [`SMALLEST_WITH_EXPERTS`] with a section of every kind, all matrices in one format.
pub fn small_image_with_experts(format: Format) -> Aligned {
    let sections = sections_of_every_kind_for(SMALLEST_WITH_EXPERTS);
    image_with(&sections, Quantization::uniform(format), 1)
}

/// Memory for one worker and the engine on it, handed to `work`.
pub fn with_engine<R>(
    image: &ModelImage<'_>,
    canvas: usize,
    work: impl FnOnce(Engine<'_, Scalar, Serial>) -> R,
) -> Result<R, EngineError> {
    let limits = Limits { canvas, tile: 4, layout: Layout::Rows16, workers: 1, needs: Needs::NONE };
    let plan = Plan::new(image.config(), &limits).unwrap();
    let mut memory = Aligned::zeroed(plan.bytes());
    let (memory, _) = plan.carve(&mut memory).unwrap();
    Ok(work(Engine::new(image, memory, Scalar, Serial)?))
}

/// Where a section starts in an image, and its length without padding.
pub fn section_at(image: &[u8], kind: SectionKind) -> (usize, usize) {
    let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize;
    let mut entries = (HEADER_BYTES..).step_by(ENTRY_BYTES);
    let at = entries.find(|&at| image[at] == kind as u8).unwrap();
    (word(at + 8), word(at + 16))
}

/// Where the table entry of tensor number `index` starts.
pub fn tensor_entry_at(image: &[u8], index: usize) -> usize {
    section_at(image, SectionKind::Tensors).0 + index * TENSOR_ENTRY_BYTES
}

/// Where the stored bytes of a tensor start.
pub fn tensor_at(bytes: &[u8], role: TensorRole) -> usize {
    let image = ModelImage::parse_unverified(bytes).unwrap();
    let tensor = image.tensor(role).unwrap();
    tensor.bytes.as_ptr().addr() - bytes.as_ptr().addr()
}

/// Makes all digests right again after a change, as far as the section table makes sense.
pub fn reseal(image: &mut [u8]) {
    let word = |image: &[u8], at: usize| -> Option<u64> {
        Some(u64::from_le_bytes(*image.get(at..)?.first_chunk()?))
    };
    let Some(count) = word(image, 24).map(|word| (word >> 32) as usize) else { return };
    for entry in (HEADER_BYTES..).step_by(ENTRY_BYTES).take(count.min(64)) {
        let part = || -> Option<&[u8]> {
            let start = usize::try_from(word(image, entry + 8)?).ok()?;
            let length = usize::try_from(word(image, entry + 16)?).ok()?;
            image.get(start..start.checked_add(length.checked_next_multiple_of(64)?)?)
        };
        let Some(digest) = part().map(section_digest) else { continue };
        if let Some(place) = image.get_mut(entry + 32..entry + ENTRY_BYTES) {
            place.copy_from_slice(&digest);
        }
    }
    let digest = manifest_digest(image, HEADER_BYTES + count.min(64) * ENTRY_BYTES);
    if let Some(place) = image.get_mut(MANIFEST_DIGEST_AT..MANIFEST_DIGEST_AT + 32) {
        place.copy_from_slice(&digest);
    }
}
