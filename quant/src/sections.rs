//! What an image holds beside the weights, and the tables around them.

use crate::filter::FilterData;
use crate::quantization::Quantization;
use crate::source::WeightSource;
use demask::image::{
    ALIGN, ENTRY_BYTES, HEADER_BYTES, ImageError, MAGIC, MANIFEST_DIGEST_AT, ModelConfig,
    PromptFormat, SectionKind, TensorRole, VERSION, kind_code, manifest_digest, stored_bytes,
};
use demask::packed::{Format, Layout};
use demask::text::Tokenizer;

/// The PROMPT section: see [`PromptFormat`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PromptData {
    /// Token ids before the text.
    pub prefix: Vec<u32>,
    /// Token ids after the text.
    pub suffix: Vec<u32>,
    /// The text is encoded with a space in front of it.
    pub leading_space: bool,
    /// The text is brought into normal form first.
    pub normal_form: bool,
}

impl PromptData {
    fn to_section(&self) -> Vec<u8> {
        let flags = PromptFormat::flags(self.leading_space, self.normal_form);
        let head = [self.prefix.len() as u32, self.suffix.len() as u32, flags, 0];
        let words = head.iter().chain(&self.prefix).chain(&self.suffix);
        words.flat_map(|w| w.to_le_bytes()).collect()
    }
}

/// The sections beside the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Sections {
    /// Shape of the model.
    pub config: ModelConfig,
    /// TOKENIZER section, from [`TokenizerData::to_section`](crate::tokenizer::TokenizerData).
    pub tokenizer: Option<Vec<u8>>,
    /// Prompt format, if the model has one.
    pub prompt: Option<PromptData>,
    /// The network of a policy, if one has been trained for the model.
    pub filter: Option<FilterData>,
    /// Anti-rollback counter.
    pub security_counter: u32,
}

impl Sections {
    /// Reads the sections as an engine would.
    pub(crate) fn check(&self) -> Result<(), ImageError> {
        self.config.validate()?;
        if let Some(section) = &self.tokenizer {
            Tokenizer::parse(section).map_err(ImageError::Tokenizer)?;
        }
        if let Some(prompt) = &self.prompt {
            PromptFormat::parse(&prompt.to_section(), self.config.vocab_size)?;
        }
        self.after_weights()?;
        Ok(())
    }

    /// Kind and bytes of every section before the weights, in file order.
    pub(crate) fn before_weights(&self, tensors: &Tensors) -> Vec<(SectionKind, Vec<u8>)> {
        let config = self.config.to_bytes()[..self.config.section_bytes()].to_vec();
        let mut sections = vec![(SectionKind::Config, config)];
        sections.extend(self.tokenizer.clone().map(|t| (SectionKind::Tokenizer, t)));
        sections.extend(self.prompt.as_ref().map(|p| (SectionKind::Prompt, p.to_section())));
        sections.push((SectionKind::Tensors, tensors.table()));
        sections
    }

    /// The same of every section behind them.
    pub(crate) fn after_weights(&self) -> Result<Vec<(SectionKind, Vec<u8>)>, ImageError> {
        let filter = self.filter.as_ref().map(FilterData::to_section).transpose()?;
        Ok(filter.map(|section| (SectionKind::Filter, section)).into_iter().collect())
    }
}

/// One tensor of the image to be.
#[derive(Debug, Clone, Copy)]
pub struct TensorPlan {
    /// Which tensor.
    pub role: TensorRole,
    /// How it will be stored.
    pub format: Format,
    /// In which order, if it is packed.
    pub layout: Layout,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// From the start of the WEIGHTS section, in bytes.
    pub offset: u64,
    /// Stored size, without padding.
    pub bytes: u64,
    /// The source hands over its integers and scales, and this format holds them as they are.
    pub exact: bool,
}

/// The tensors that an image will have, in file order: what packing does, before it is done.
#[must_use]
pub fn plan_tensors(
    config: &ModelConfig,
    quantization: Quantization,
    source: &dyn WeightSource,
) -> Vec<TensorPlan> {
    Tensors::new(config, quantization, source).list
}

/// Size of the image that a source would become, in bytes.
///
/// # Errors
/// [`ImageError`] if the sections break a rule of the format.
pub fn image_bytes(
    sections: &Sections,
    quantization: Quantization,
    source: &dyn WeightSource,
) -> Result<u64, ImageError> {
    let tensors = Tensors::new(&sections.config, quantization, source);
    let others = [sections.before_weights(&tensors), sections.after_weights()?].concat();
    let mut manifest = Manifest::new(others.len() + 1, 0);
    for (kind, bytes) in others {
        manifest.add(kind, bytes.len() as u64, [0; 32]);
    }
    manifest.add(SectionKind::Weights, tensors.bytes, [0; 32]);
    Ok(manifest.finish().1)
}

/// All tensors, in file order.
pub(crate) struct Tensors {
    pub(crate) list: Vec<TensorPlan>,
    /// Length of the WEIGHTS section.
    pub(crate) bytes: u64,
}

impl Tensors {
    pub(crate) fn new(
        config: &ModelConfig,
        quantization: Quantization,
        source: &dyn WeightSource,
    ) -> Self {
        let (mut list, mut offset) = (Vec::new(), 0u64);
        for role in TensorRole::all(config) {
            let (rows, cols) = role.shape(config);
            let stored = source.exact_format(role);
            let format = quantization.format(role, stored, cols);
            let bytes = stored_bytes(format, rows, cols);
            let exact = stored.is_some_and(|s| quantization.takes(format, s));
            let layout = quantization.layout;
            list.push(TensorPlan { role, format, layout, rows, cols, offset, bytes, exact });
            offset += bytes.next_multiple_of(ALIGN as u64);
        }
        Self { list, bytes: offset }
    }

    /// The TENSORS section.
    fn table(&self) -> Vec<u8> {
        let mut table = Vec::new();
        for t in &self.list {
            let (code, layer) = t.role.code();
            let role = u32::from(code) | u32::from(layer) << 16;
            let words = [role, kind_code(t.format, t.layout), t.rows as u32, t.cols as u32];
            table.extend(words.into_iter().flat_map(u32::to_le_bytes));
            table.extend([t.offset, t.bytes].into_iter().flat_map(u64::to_le_bytes));
        }
        table
    }
}

/// Header and section table while they are being filled.
pub(crate) struct Manifest {
    pub(crate) bytes: Vec<u8>,
    entries: usize,
    next_offset: u64,
}

impl Manifest {
    pub(crate) fn new(sections: usize, security_counter: u32) -> Self {
        let mut bytes = vec![0; HEADER_BYTES + sections * ENTRY_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&security_counter.to_le_bytes());
        bytes[28..32].copy_from_slice(&(sections as u32).to_le_bytes());
        Self { next_offset: bytes.len() as u64, bytes, entries: 0 }
    }

    /// Adds the next section and returns where it starts.
    pub(crate) fn add(&mut self, kind: SectionKind, length: u64, digest: [u8; 32]) -> u64 {
        let at = HEADER_BYTES + self.entries * ENTRY_BYTES;
        let start = self.next_offset;
        let entry = &mut self.bytes[at..at + ENTRY_BYTES];
        entry[..4].copy_from_slice(&(kind as u32).to_le_bytes());
        entry[8..16].copy_from_slice(&start.to_le_bytes());
        entry[16..24].copy_from_slice(&length.to_le_bytes());
        entry[32..].copy_from_slice(&digest);
        // An image says no newer version than it needs.
        let minor = u16::from_le_bytes([self.bytes[10], self.bytes[11]]).max(kind.since());
        self.bytes[10..12].copy_from_slice(&minor.to_le_bytes());
        self.entries += 1;
        self.next_offset += length.next_multiple_of(ALIGN as u64);
        start
    }

    /// The finished header and table, and the length of the whole image.
    pub(crate) fn finish(mut self) -> (Vec<u8>, u64) {
        let total = self.next_offset;
        self.bytes[16..24].copy_from_slice(&total.to_le_bytes());
        let digest = manifest_digest(&self.bytes, self.bytes.len());
        self.bytes[MANIFEST_DIGEST_AT..MANIFEST_DIGEST_AT + 32].copy_from_slice(&digest);
        (self.bytes, total)
    }
}
