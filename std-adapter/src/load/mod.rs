//! A model as the user names it: an image file, a Hugging Face folder, or the bundled model.

mod error;
mod source;

pub use error::LoadError;
pub use source::{Source, Weights};

use crate::mmap::FileMap;
use crate::prompt::{self, Prompt};
use crate::read::folder::HfFolder;
use crate::read::tokenizer_json;
use demask::ModelImage;
use demask::image::{ImageError, ModelConfig};
use demask::text::Tokenizer;
use demask_quant::tokenizer::TokenizerData;
use std::path::Path;

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
    /// Map files instead of copying them into memory. A mapped file must stay as it is.
    pub map: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { verify: true, map: true }
    }
}

/// An opened model: checked, its weights still where they were.
#[derive(Debug)]
pub struct LoadedModel {
    source: Source,
    /// TOKENIZER section made from a folder's tokenizer.json.
    tokenizer: Option<Vec<u8>>,
    prompt: Prompt,
    config: ModelConfig,
}

impl LoadedModel {
    /// Opens an image file or a Hugging Face folder; the name `intents` means the bundled model
    /// unless a file or folder is called that. Digests are checked if `verify` is true.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn open(path: &Path, verify: bool) -> Result<Self, LoadError> {
        Self::open_with(path, &LoadOptions { verify, ..LoadOptions::default() })
    }

    /// [`open`](Self::open) with all that can be chosen.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn open_with(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        if path.is_dir() {
            return Self::open_folder(path);
        }
        if path == Path::new(BUNDLED_NAME) && !path.exists() {
            return Self::bundled(options.verify);
        }
        let file = if options.map { FileMap::open(path)? } else { FileMap::read(path)? };
        if file.bytes().starts_with(b"GGUF") {
            return Err(LoadError::Gguf(path.to_owned()));
        }
        let at = |source| LoadError::Image { path: path.to_owned(), source };
        let (prompt, config) = check_image(file.bytes(), options.verify).map_err(at)?;
        file.check_unchanged()?;
        Ok(Self { source: Source::File(file), tokenizer: None, prompt, config })
    }

    /// The model inside this program.
    ///
    /// # Errors
    /// [`LoadError::Image`] if the program file is damaged.
    pub fn bundled(verify: bool) -> Result<Self, LoadError> {
        let at = |source| LoadError::Image { path: BUNDLED_NAME.into(), source };
        let (prompt, config) = check_image(&BUNDLED.0, verify).map_err(at)?;
        Ok(Self { source: Source::Bundled, tokenizer: None, prompt, config })
    }

    fn open_folder(path: &Path) -> Result<Self, LoadError> {
        let folder = HfFolder::open(path)?;
        let config = folder.config().model;
        let data = folder.tokenizer().map(read_tokenizer).transpose()?;
        let tokenizer = data.as_ref().map(TokenizerData::to_section).transpose()?;
        let prompt = match data.as_ref().zip(tokenizer.as_ref()) {
            Some((data, section)) => {
                let tokenizer = Tokenizer::parse(section).map_err(LoadError::Tokenizer)?;
                let (tokens, model) = (tokenizer.vocab_len(), config.vocab_size);
                if tokens > model {
                    return Err(LoadError::Vocabulary { tokenizer: tokens, model });
                }
                prompt::from_tokenizer(data, &tokenizer)
            }
            None => Prompt::default(),
        };
        let source = Source::Folder(Box::new(folder));
        Ok(Self { source, tokenizer, prompt, config })
    }

    /// Shape and constants.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What stands around a user's text.
    #[must_use]
    pub fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// Tokens that end an answer, beside the end token of the configuration.
    #[must_use]
    pub fn stop_ids(&self) -> &[u32] {
        &[]
    }

    /// Where the weights are.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The image, unless the model is a folder.
    #[must_use]
    pub fn image(&self) -> Option<ModelImage<'_>> {
        let bytes = self.source.image_bytes()?;
        // Checked when it was opened; a file that changes since then is refused here.
        ModelImage::parse_unverified(bytes).ok()
    }

    /// The vocabulary, if the model has one.
    #[must_use]
    pub fn tokenizer(&self) -> Option<Tokenizer<'_>> {
        match &self.tokenizer {
            Some(section) => Tokenizer::parse(section).ok(),
            None => self.image()?.tokenizer().copied(),
        }
    }

    /// The TOKENIZER section's bytes.
    #[must_use]
    pub fn tokenizer_section(&self) -> Option<&[u8]> {
        match &self.tokenizer {
            Some(section) => Some(section),
            None => {
                let image = self.image()?;
                let kind = demask::image::SectionKind::Tokenizer;
                image.header().section(image.as_bytes(), kind)
            }
        }
    }
}

fn read_tokenizer(path: &Path) -> Result<TokenizerData, LoadError> {
    tokenizer_json::read(path)
        .map_err(|source| LoadError::TokenizerJson { path: path.to_owned(), source })
}

fn check_image(bytes: &[u8], verify: bool) -> Result<(Prompt, ModelConfig), ImageError> {
    let image = match verify {
        true => ModelImage::parse(bytes)?,
        false => ModelImage::parse_unverified(bytes)?,
    };
    Ok((prompt::from_image(image.prompt()), *image.config()))
}
