//! Image bytes to validated views. Everything a file can get wrong is found here, once.
//!
//! The byte-by-byte format is specified in `docs/format.md`.

pub(crate) mod bytes;
mod config;
mod digest;
mod error;
mod features;
mod header;
mod prompt;
mod role;
mod tensor;

pub use config::{CONFIG_BYTES, EXTENDED_CONFIG_BYTES, ModelConfig, RopePairs};
pub use digest::{manifest_digest, section_digest};
pub use error::ImageError;
pub(crate) use features::FAMILIES;
pub use features::{
    Architecture, Attention, Experts, Features, FeedForward, MAX_CHOSEN, MAX_EXPERTS, Norm,
};
pub use header::{
    DIGEST_BYTES, ENTRY_BYTES, HEADER_BYTES, Header, MAGIC, MANIFEST_DIGEST_AT, MAX_SECTIONS,
    Section, SectionKind, VERSION,
};
pub use prompt::{PROMPT_HEADER_BYTES, PromptFormat};
pub use role::TensorRole;
pub use tensor::{TENSOR_ENTRY_BYTES, Tensor, kind_code, stored_bytes};

use crate::decode::CommitFilter;
use crate::packed::{Format, HAS_Q4K, Layout};
use crate::text::Tokenizer;

/// Alignment of an image in memory and of everything in it, in bytes.
pub const ALIGN: usize = 64;

/// A checked model image in borrowed memory: mapped file, flash or RAM.
///
/// Holds no copy of anything; it is as small as its handful of slices.
#[derive(Debug, Clone, Copy)]
pub struct ModelImage<'a> {
    bytes: &'a [u8],
    header: Header<'a>,
    config: ModelConfig,
    tokenizer: Option<Tokenizer<'a>>,
    prompt: PromptFormat<'a>,
    table: &'a [u8],
    weights: &'a [u8],
    layout: Layout,
    /// A bit for each code of a format.
    formats: u8,
}

impl<'a> ModelImage<'a> {
    /// Checks structure, every digest and every stored scale. After it nothing can go wrong.
    ///
    /// # Cost
    /// Reads the whole image once.
    ///
    /// # Errors
    /// [`ImageError`] names the first rule that does not hold. No single changed byte passes.
    ///
    /// # Example
    /// ```
    /// use demask::image::{ImageError, ModelImage};
    ///
    /// #[repr(align(64))]
    /// struct Aligned([u8; 64]);
    /// let not_a_model = Aligned([0; 64]);
    /// assert_eq!(ModelImage::parse(&not_a_model.0).unwrap_err(), ImageError::NotAnImage);
    /// ```
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let image = Self::parse_unverified(bytes)?;
        image.verify()?;
        Ok(image)
    }

    /// Checks structure only: every offset, length, count, shape and alignment, not the digests.
    ///
    /// For images too large to read before the first use, or verified by a boot loader. A damaged
    /// weight then gives wrong tokens or [`ForwardError`](crate::ForwardError), never a crash.
    ///
    /// # Errors
    /// [`ImageError`] names the first rule that does not hold.
    pub fn parse_unverified(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let header = Header::parse(bytes)?;
        if bytes.as_ptr().align_offset(ALIGN) != 0 {
            return Err(ImageError::Misaligned);
        }
        let require =
            |kind: SectionKind| header.section(bytes, kind).ok_or(ImageError::MissingSection(kind));
        let config = ModelConfig::parse(require(SectionKind::Config)?)?;
        let tokenizer = match header.section(bytes, SectionKind::Tokenizer) {
            Some(section) => Some(Tokenizer::parse(section).map_err(ImageError::Tokenizer)?),
            None => None,
        };
        if tokenizer.is_some_and(|t| t.vocab_len() > config.vocab_size) {
            return Err(ImageError::Config("vocab_size (below that of the tokenizer)"));
        }
        let prompt = match header.section(bytes, SectionKind::Prompt) {
            Some(section) => PromptFormat::parse(section, config.vocab_size)?,
            None => PromptFormat::default(),
        };
        let table = require(SectionKind::Tensors)?;
        let weights = require(SectionKind::Weights)?;
        let (layout, formats) = (Layout::default(), 0);
        let mut image =
            Self { bytes, header, config, tokenizer, prompt, table, weights, layout, formats };
        (image.layout, image.formats) = image.check_tensors()?;
        Ok(image)
    }

    /// Checks the digests of manifest and sections, and that every weight and scale is in range.
    ///
    /// # Errors
    /// [`ImageError::Digest`] or [`ImageError::Tensor`].
    pub fn verify(&self) -> Result<(), ImageError> {
        if manifest_digest(self.bytes, self.header.manifest_bytes()) != *self.header.manifest_digest
        {
            return Err(ImageError::ManifestDigest);
        }
        for (index, section) in (0..).zip(self.header.sections(self.bytes)) {
            if section_digest(section.padded) != *section.digest {
                return Err(ImageError::Digest { index, kind: section.kind });
            }
        }
        for tensor in self.tensors() {
            let floats_are_finite = tensor.as_f32().is_none_or(|v| v.iter().all(|x| x.is_finite()))
                && tensor.as_f16_bits().is_none_or(|v| v.iter().all(|x| x & 0x7c00 != 0x7c00));
            if !floats_are_finite || tensor.packed().is_some_and(|m| !m.values_are_valid()) {
                return Err(ImageError::Tensor {
                    role: tensor.role,
                    problem: "a weight or scale is not finite or out of range",
                });
            }
        }
        Ok(())
    }

    /// Checks the table of tensors and returns the layout of the packed ones, and the formats of all.
    fn check_tensors(&self) -> Result<(Layout, u8), ImageError> {
        let (mut next, mut count, mut layout, mut formats) = (0, 0, None, 0);
        for (index, role) in TensorRole::all(&self.config).enumerate() {
            let (table, config) = (self.table, &self.config);
            let tensor = tensor::parse_entry(table, index, role, config, self.weights, &mut next)?;
            if tensor.format.packed().is_some()
                && *layout.get_or_insert(tensor.layout) != tensor.layout
            {
                let problem = "packed in another order than the tensors before it";
                return Err(ImageError::Tensor { role, problem });
            }
            if HAS_Q4K {
                formats |= 1 << tensor.format.code();
            }
            count = index + 1;
        }
        if self.table.len() != count * TENSOR_ENTRY_BYTES || next != self.weights.len() as u64 {
            return Err(ImageError::SurplusTensors);
        }
        Ok((layout.unwrap_or_default(), formats))
    }

    /// Shape and constants of the model.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// In which order the packed tensors keep their weights.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether a tensor is stored like this. Builds without the cargo feature `q4k` do not know.
    #[must_use]
    pub fn holds(&self, format: Format) -> bool {
        HAS_Q4K && self.formats >> format.code() & 1 == 1
    }

    /// Vocabulary, if the image has one.
    #[must_use]
    pub fn tokenizer(&self) -> Option<&Tokenizer<'a>> {
        self.tokenizer.as_ref()
    }

    /// How a user's text becomes a prompt.
    #[must_use]
    pub fn prompt(&self) -> &PromptFormat<'a> {
        &self.prompt
    }

    /// The network of [`Learn2pd`](crate::decode::Learn2pd), if the image has one.
    ///
    /// It is checked here and not by [`parse`](Self::parse), so that firmware without that policy need not
    /// know what a filter is. Its digest is checked with all others.
    ///
    /// # Errors
    /// [`ImageError::Filter`].
    pub fn filter(&self) -> Result<Option<CommitFilter<'a>>, ImageError> {
        let section = self.header.section(self.bytes, SectionKind::Filter);
        section.map(CommitFilter::parse).transpose()
    }

    /// Header fields and the section table.
    #[must_use]
    pub fn header(&self) -> &Header<'a> {
        &self.header
    }

    /// The whole image.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The tensor with this role; `None` only for a role that the model does not have.
    #[must_use]
    #[inline(never)] // small flash matters more here than a call
    pub fn tensor(&self, role: TensorRole) -> Option<Tensor<'a>> {
        let index = role.index(&self.config);
        // Entries are self-contained: the running offset can be taken from the entry itself.
        let at = index.checked_mul(TENSOR_ENTRY_BYTES)?;
        let mut offset = bytes::read_u64(self.table, at.checked_add(16)?)?;
        tensor::parse_entry(self.table, index, role, &self.config, self.weights, &mut offset).ok()
    }

    /// Every tensor in file order.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'a>> + '_ {
        TensorRole::all(&self.config).filter_map(|role| self.tensor(role))
    }
}

/// The configuration of an image in a constant, for sizing memory when firmware is compiled.
///
/// Looks at the CONFIG section only; [`ModelImage::parse`] still checks everything at run time.
///
/// # Errors
/// [`ImageError`] if there is no valid CONFIG section where the section table says.
pub const fn peek_config(image: &[u8]) -> Result<ModelConfig, ImageError> {
    match header::peek_config_section(image) {
        Some(section) => ModelConfig::parse(section),
        None => Err(ImageError::MissingSection(SectionKind::Config)),
    }
}
