//! A model as the user names it: an image, a GGUF file, a Hugging Face folder, or the bundled model.

mod digest;
mod error;
mod source;
mod text;

pub use error::LoadError;
pub use source::{Source, Weights};

use crate::chat::{ChatError, ChatTemplate};
use crate::mmap::{Access, FileMap, MapError, open_regular};
use crate::prompt::Prompt;
use crate::read::folder::HfFolder;
use crate::read::generation::GenerationDefaults;
use crate::read::gguf::{GgufModel, GgufOptions};
use demask::ModelImage;
use demask::decode::CommitFilter;
use demask::image::{ImageError, ModelConfig};
use demask::text::Tokenizer;
use std::io::Read;
use std::path::Path;
use text::TextSide;

/// Bytes on a 64-byte boundary, as images must be.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

/// The bundled 4-bit intents model: an utterance in, a JSON frame out.
static BUNDLED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../models/intents-q4.dmk"));

/// Name under which the bundled model can be asked for.
pub const BUNDLED_NAME: &str = "intents";

/// How a model is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// Check the digests of an image, for which it must be read whole.
    pub verify: bool,
    /// How files are reached.
    pub access: Access,
    /// What a GGUF file leaves open.
    pub gguf: GgufOptions,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { verify: true, access: Access::Mapped, gguf: GgufOptions::default() }
    }
}

/// An opened model: checked, its weights still where they were.
#[derive(Debug)]
pub struct LoadedModel {
    source: Source,
    text: TextSide,
    config: ModelConfig,
    generation: GenerationDefaults,
}

impl LoadedModel {
    /// Opens an image, a GGUF file (all files of a split one) or a Hugging Face folder; the name
    /// `intents` means the bundled model unless a file or folder is called that. The digests of an
    /// image are checked if `verify` is true.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn open(path: &Path, verify: bool) -> Result<Self, LoadError> {
        Self::open_as(path, &LoadOptions { verify, ..LoadOptions::default() })
    }

    /// [`open`](Self::open) with all that can be chosen.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn open_as(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        if path.is_dir() {
            return Self::open_folder(path, options);
        }
        if path == Path::new(BUNDLED_NAME) && !path.exists() {
            return Self::bundled(options.verify);
        }
        if is_gguf(path)? {
            return Self::open_gguf(path, options);
        }
        let file = FileMap::open_as(path, options.access)?;
        let at = |source| LoadError::Image { path: path.to_owned(), source };
        let (text, config) = check_image(file.bytes(), options.verify).map_err(at)?;
        file.check_unchanged()?;
        Ok(Self::new(Source::File(file), text, config))
    }

    /// The model inside this program.
    ///
    /// # Errors
    /// [`LoadError::Image`] if the program file is damaged.
    pub fn bundled(verify: bool) -> Result<Self, LoadError> {
        let at = |source| LoadError::Image { path: BUNDLED_NAME.into(), source };
        let (text, config) = check_image(&BUNDLED.0, verify).map_err(at)?;
        Ok(Self::new(Source::Bundled, text, config))
    }

    fn open_folder(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let folder = HfFolder::open_as(path, options.access)?;
        let text = TextSide::of_folder(&folder, path)?;
        let config = folder.config().model;
        let generation = folder.config().generation.clone();
        Ok(Self { generation, ..Self::new(Source::Folder(Box::new(folder)), text, config) })
    }

    fn open_gguf(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let model = GgufModel::open(path, options.access, &options.gguf)?;
        let (text, config) = (TextSide::of_gguf(&model)?, *model.config());
        Ok(Self::new(Source::Gguf(Box::new(model)), text, config))
    }

    fn new(source: Source, text: TextSide, config: ModelConfig) -> Self {
        Self { source, text, config, generation: GenerationDefaults::default() }
    }

    /// Shape and constants.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What stands around a user's text.
    #[must_use]
    pub fn prompt(&self) -> &Prompt {
        &self.text.prompt
    }

    /// Tokens that end an answer, beside the end token of the configuration.
    #[must_use]
    pub fn stop_ids(&self) -> &[u32] {
        &self.text.stop_ids
    }

    /// From chat messages to text, if the model has a template.
    ///
    /// # Errors
    /// [`ChatError`] if its template cannot be used.
    pub fn chat_template(&self) -> Result<Option<&ChatTemplate>, &ChatError> {
        self.text.template.as_ref().map(Result::as_ref).transpose()
    }

    /// What its publishers recommend for decoding.
    #[must_use]
    pub fn generation(&self) -> &GenerationDefaults {
        &self.generation
    }

    /// Where the weights are.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The image, if the model is one.
    #[must_use]
    pub fn image(&self) -> Option<ModelImage<'_>> {
        let bytes = self.source.image_bytes()?;
        // Checked when it was opened; a file that changes since then is refused here.
        ModelImage::parse_unverified(bytes).ok()
    }

    /// The network that was trained for `learn2pd`, if it is an image with one.
    #[must_use]
    pub fn filter(&self) -> Option<CommitFilter<'_>> {
        self.image()?.filter().ok().flatten()
    }

    /// The vocabulary, if the model has one.
    #[must_use]
    pub fn tokenizer(&self) -> Option<Tokenizer<'_>> {
        match &self.text.section {
            Some(section) => Tokenizer::parse(section).ok(),
            None => self.image()?.tokenizer().copied(),
        }
    }

    /// The TOKENIZER section's bytes.
    #[must_use]
    pub fn tokenizer_section(&self) -> Option<&[u8]> {
        match &self.text.section {
            Some(section) => Some(section),
            None => {
                let image = self.image()?;
                let kind = demask::image::SectionKind::Tokenizer;
                image.header().section(image.as_bytes(), kind)
            }
        }
    }
}

/// Whether a file says that it is one of llama.cpp's.
fn is_gguf(path: &Path) -> Result<bool, MapError> {
    let (file, _) = open_regular(path)?;
    let mut magic = Vec::new();
    let read = file.take(4).read_to_end(&mut magic);
    read.map_err(|source| MapError::Io { path: path.to_owned(), source })?;
    Ok(magic == b"GGUF")
}

fn check_image(bytes: &[u8], verify: bool) -> Result<(TextSide, ModelConfig), ImageError> {
    let image = match verify {
        true => ModelImage::parse(bytes)?,
        false => ModelImage::parse_unverified(bytes)?,
    };
    image.filter()?;
    Ok((TextSide::of_image(&image), *image.config()))
}
