//! The image writer: one pass over the weights, memory for one block of rows.

use crate::pack::pack_block;
use crate::report::{ErrorSum, Report, TensorReport};
use crate::round::largest_weight;
use demask::image::{
    ALIGN, ENTRY_BYTES, HEADER_BYTES, ImageError, MAGIC, MANIFEST_DIGEST_AT, ModelConfig,
    PromptFormat, SectionKind, TensorRole, VERSION, kind_code, manifest_digest, section_digest,
    stored_bytes,
};
use demask::packed::{BLOCK_ROWS, Format, Layout, PackedMatrix, WeightFormat};
use demask::text::Tokenizer;
use half::f16;
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::{self, Seek, SeekFrom, Write};

/// An error of the source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where weights come from.
pub trait WeightSource {
    /// Writes rows `first_row..` of a tensor into `out`, a whole number of rows.
    ///
    /// # Errors
    /// Whatever keeps the source from reading them.
    fn read_rows(
        &mut self,
        role: TensorRole,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), BoxError>;
}

/// Which format each matrix gets; norms stay `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantization {
    /// Format of the layers' matrices.
    pub layers: Format,
    /// Format of the embedding and the head.
    pub embedding: Format,
    /// Packing of quantized matrices: the processors that the image is for.
    pub layout: Layout,
}

impl Quantization {
    /// The same format everywhere, in the default layout.
    #[must_use]
    pub fn uniform(format: Format) -> Self {
        Self { layers: format, embedding: format, layout: Layout::default() }
    }

    fn format(self, role: TensorRole) -> Format {
        match role {
            role if role.stays_f32() => Format::F32,
            TensorRole::Embedding | TensorRole::Head => self.embedding,
            _ => self.layers,
        }
    }
}

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
    /// Anti-rollback counter.
    pub security_counter: u32,
}

impl Sections {
    /// Reads the sections as an engine would.
    fn check(&self) -> Result<(), ImageError> {
        self.config.validate()?;
        if let Some(section) = &self.tokenizer {
            Tokenizer::parse(section).map_err(ImageError::Tokenizer)?;
        }
        if let Some(prompt) = &self.prompt {
            PromptFormat::parse(&prompt.to_section(), self.config.vocab_size)?;
        }
        Ok(())
    }
}

/// Why no image was written.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The configuration, tokenizer or prompt breaks a rule of the format.
    Config(ImageError),
    /// The source failed.
    Source(TensorRole, BoxError),
    /// A weight is not finite, or too large for its format.
    Weight {
        /// Which tensor.
        role: TensorRole,
        /// Its row.
        row: usize,
        /// The weight.
        value: f32,
    },
    /// Weights cannot be rounded to this format.
    Rounding(TensorRole, Format),
    /// The output could not be written.
    Output(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "the model cannot be stored: {error}"),
            Self::Source(role, error) => write!(f, "tensor {}: {error}", role.name()),
            Self::Weight { role, row, value } => write!(
                f,
                "tensor {}, row {row}: a weight of {value} cannot be stored in this format",
                role.name()
            ),
            Self::Rounding(role, format) => write!(
                f,
                "tensor {}: weights cannot be rounded to {}, only taken over from a file that holds \
                 it; choose q4 or q8",
                role.name(),
                format.name()
            ),
            Self::Output(error) => write!(f, "the image could not be written: {error}"),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Source(_, error) => Some(&**error),
            Self::Output(error) => Some(error),
            Self::Weight { .. } | Self::Rounding(..) => None,
        }
    }
}

/// Writes an image to `out` and returns the error of every tensor. `progress` is told each
/// finished tensor.
///
/// `out` starts at its current position 0; on an error it holds an incomplete image, so write to a
/// temporary file and rename.
///
/// # Errors
/// [`WriteError`].
pub fn write_image<O: Write + Seek>(
    sections: &Sections,
    quantization: Quantization,
    source: &mut dyn WeightSource,
    out: &mut O,
    progress: &mut dyn FnMut(&TensorReport),
) -> Result<Report, WriteError> {
    sections.check().map_err(WriteError::Config)?;
    let (table, weights_len) = tensor_table(&sections.config, quantization);
    let mut small = vec![(
        SectionKind::Config,
        sections.config.to_bytes()[..sections.config.section_bytes()].to_vec(),
    )];
    small.extend(sections.tokenizer.clone().map(|t| (SectionKind::Tokenizer, t)));
    small.extend(sections.prompt.as_ref().map(|p| (SectionKind::Prompt, p.to_section())));
    small.push((SectionKind::Tensors, table));

    let mut manifest = Manifest::new(small.len() + 1, sections.security_counter);
    out.write_all(&manifest.bytes)?; // room; written again when the digests are known
    for (kind, mut bytes) in small {
        let len = bytes.len();
        bytes.resize(len.next_multiple_of(ALIGN), 0);
        out.write_all(&bytes)?;
        manifest.add(kind, len as u64, section_digest(&bytes));
    }
    let mut hashed = Hashed { out: &mut *out, hash: Sha256::new() };
    let mut tensors = Vec::new();
    for role in TensorRole::all(&sections.config) {
        let format = quantization.format(role);
        let shape = role.shape(&sections.config);
        let kind = (format, quantization.layout);
        let report = write_tensor(role, kind, shape, source, &mut hashed)?;
        progress(&report);
        tensors.push(report);
    }
    let digest = hashed.hash.finalize().into();
    manifest.add(SectionKind::Weights, weights_len, digest);
    let (bytes, image_bytes) = manifest.finish();
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&bytes)?;
    out.flush()?;
    Ok(Report { tensors, image_bytes })
}

/// The TENSORS section and the length of the WEIGHTS section.
fn tensor_table(config: &ModelConfig, quantization: Quantization) -> (Vec<u8>, u64) {
    let (mut table, mut offset) = (Vec::new(), 0u64);
    for role in TensorRole::all(config) {
        let format = quantization.format(role);
        let (rows, cols) = role.shape(config);
        let (code, layer) = role.code();
        let length = stored_bytes(format, rows, cols);
        let words =
            [u32::from(code) | u32::from(layer) << 16, kind_code(format, quantization.layout)];
        table.extend(words.into_iter().flat_map(u32::to_le_bytes));
        table.extend([rows as u32, cols as u32].into_iter().flat_map(u32::to_le_bytes));
        table.extend([offset, length].into_iter().flat_map(u64::to_le_bytes));
        offset += length.next_multiple_of(ALIGN as u64);
    }
    (table, offset)
}

/// Header and section table while they are being filled.
struct Manifest {
    bytes: Vec<u8>,
    entries: usize,
    next_offset: u64,
}

impl Manifest {
    fn new(sections: usize, security_counter: u32) -> Self {
        let mut bytes = vec![0; HEADER_BYTES + sections * ENTRY_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.0.to_le_bytes());
        bytes[10..12].copy_from_slice(&VERSION.1.to_le_bytes());
        bytes[24..28].copy_from_slice(&security_counter.to_le_bytes());
        bytes[28..32].copy_from_slice(&(sections as u32).to_le_bytes());
        Self { next_offset: bytes.len() as u64, bytes, entries: 0 }
    }

    fn add(&mut self, kind: SectionKind, length: u64, digest: [u8; 32]) {
        let at = HEADER_BYTES + self.entries * ENTRY_BYTES;
        let entry = &mut self.bytes[at..at + ENTRY_BYTES];
        entry[..4].copy_from_slice(&(kind as u32).to_le_bytes());
        entry[8..16].copy_from_slice(&self.next_offset.to_le_bytes());
        entry[16..24].copy_from_slice(&length.to_le_bytes());
        entry[32..].copy_from_slice(&digest);
        self.entries += 1;
        self.next_offset += length.next_multiple_of(ALIGN as u64);
    }

    fn finish(mut self) -> (Vec<u8>, u64) {
        let total = self.next_offset;
        self.bytes[16..24].copy_from_slice(&total.to_le_bytes());
        let digest = manifest_digest(&self.bytes, self.bytes.len());
        self.bytes[MANIFEST_DIGEST_AT..MANIFEST_DIGEST_AT + 32].copy_from_slice(&digest);
        (self.bytes, total)
    }
}

/// Hashes what it writes.
struct Hashed<'o, O> {
    out: &'o mut O,
    hash: Sha256,
}

impl<O: Write> Hashed<'_, O> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

fn write_tensor<O: Write>(
    role: TensorRole,
    (format, layout): (Format, Layout),
    (rows, cols): (usize, usize),
    source: &mut dyn WeightSource,
    out: &mut Hashed<'_, O>,
) -> Result<TensorReport, WriteError> {
    let mut errors = ErrorSum::default();
    let mut scales = Vec::new();
    let mut values = vec![0.0; BLOCK_ROWS * cols];
    for first in (0..rows).step_by(BLOCK_ROWS) {
        let live = BLOCK_ROWS.min(rows - first);
        let values = &mut values[..live * cols];
        source.read_rows(role, first, values).map_err(|e| WriteError::Source(role, e))?;
        check_weights(role, format, first, cols, values)?;
        match format.packed() {
            Some(packed) => {
                let block = pack_block(values, cols, packed, layout)
                    .ok_or(WriteError::Rounding(role, format))?;
                add_packed_errors(&mut errors, values, cols, (packed, layout), &block);
                out.write(&block.weights)?;
                scales.extend(block.scales);
            }
            None => out.write(&plain_bytes(format, values, &mut errors))?,
        }
    }
    out.write(&scales)?;
    let bytes = stored_bytes(format, rows, cols);
    let padding = bytes.next_multiple_of(ALIGN as u64) - bytes;
    out.write(&vec![0; padding as usize])?;
    Ok(errors.report(role, format, (rows, cols), bytes))
}

/// Row-major `f32` or `f16`.
fn plain_bytes(format: Format, values: &[f32], errors: &mut ErrorSum) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * 4);
    for &w in values {
        if format == Format::F16 {
            let stored = f16::from_f32(w);
            errors.add(w, stored.to_f32());
            bytes.extend(stored.to_le_bytes());
        } else {
            errors.add(w, w);
            bytes.extend(w.to_le_bytes());
        }
    }
    bytes
}

fn check_weights(
    role: TensorRole,
    format: Format,
    first_row: usize,
    cols: usize,
    values: &[f32],
) -> Result<(), WriteError> {
    let limit = match format.packed() {
        Some(format) => largest_weight(format),
        None if format == Format::F16 => f32::from(f16::MAX),
        None => f32::MAX,
    };
    match values.iter().position(|w| w.is_nan() || w.abs() > limit) {
        Some(at) => Err(WriteError::Weight { role, row: first_row + at / cols, value: values[at] }),
        None => Ok(()),
    }
}

/// Reads the block back through the engine's own view.
fn add_packed_errors(
    errors: &mut ErrorSum,
    values: &[f32],
    cols: usize,
    (format, layout): (WeightFormat, Layout),
    block: &crate::pack::PackedBlock,
) {
    let bytes: Vec<u8> = [&block.weights[..], &block.scales[..]].concat();
    let mut row = vec![0.0; cols];
    if let Some(matrix) = PackedMatrix::new(format, layout, values.len() / cols, cols, &bytes) {
        for (index, source) in values.chunks_exact(cols).enumerate() {
            matrix.dequantize_row(index, &mut row);
            source.iter().zip(&row).for_each(|(w, stored)| errors.add(*w, *stored));
        }
    }
}
