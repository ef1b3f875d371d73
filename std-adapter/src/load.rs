//! A model as the user names it: an image file, a Hugging Face folder, or the bundled model.

use crate::mmap::{FileMap, MapError};
use crate::prompt::{self, Prompt};
use crate::read::folder::{FolderError, HfFolder};
use crate::read::tokenizer_json::{self, TokenizerJsonError};
use demask::ModelImage;
use demask::image::{ImageError, ModelConfig, TensorRole};
use demask::text::{Tokenizer, TokenizerError};
use demask_quant::tokenizer::{TokenizerData, TokenizerWriteError};
use demask_quant::{BoxError, WeightSource};
use std::path::{Path, PathBuf};

/// Bytes on a 64-byte boundary, as images must be.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

/// The bundled 4-bit intents model: an utterance in, a JSON frame out.
static BUNDLED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/intents-q4.dmk"));

/// Name under which the bundled model can be asked for.
pub const BUNDLED_NAME: &str = "intents";

/// Why a model could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The file is not a usable image.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ImageError,
    },
    /// The folder is not a usable model.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder's tokenizer cannot be read.
    #[error("{}: {source}", path.display())]
    TokenizerJson {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenizerJsonError,
    },
    /// The folder's tokenizer cannot be stored.
    #[error("the tokenizer cannot be used: {0}")]
    TokenizerWrite(#[from] TokenizerWriteError),
    /// The tokenizer has ids that the model does not know.
    #[error(
        "the tokenizer has {tokenizer} ids and the model only {model}: they do not belong together"
    )]
    Vocabulary {
        /// Ids of the tokenizer.
        tokenizer: u32,
        /// Ids of the model.
        model: u32,
    },
    /// The tokenizer is not valid.
    #[error("the tokenizer cannot be used: {0}")]
    Tokenizer(TokenizerError),
    /// A GGUF file.
    #[error(
        "{} is a GGUF file, which this version does not read; give an image (.dmk) or the Hugging \
         Face folder that it was made from", .0.display()
    )]
    Gguf(PathBuf),
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

/// Where the weights are.
#[derive(Debug)]
pub enum Source {
    /// A mapped image file.
    File(FileMap),
    /// The image inside this program.
    Bundled,
    /// A Hugging Face folder.
    Folder(Box<HfFolder>),
}

impl LoadedModel {
    /// Opens an image file or a Hugging Face folder; the name `intents` means the bundled model
    /// unless a file or folder is called that. Digests are checked if `verify` is true.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn open(path: &Path, verify: bool) -> Result<Self, LoadError> {
        if path.is_dir() {
            return Self::open_folder(path);
        }
        if path == Path::new(BUNDLED_NAME) && !path.exists() {
            return Self::bundled(verify);
        }
        let file = FileMap::open(path)?;
        if file.bytes().starts_with(b"GGUF") {
            return Err(LoadError::Gguf(path.to_owned()));
        }
        let at = |source| LoadError::Image { path: path.to_owned(), source };
        let (prompt, config) = check_image(file.bytes(), verify).map_err(at)?;
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

    /// Where the weights are.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The image, unless the model is a folder.
    #[must_use]
    pub fn image(&self) -> Option<ModelImage<'_>> {
        let bytes = match &self.source {
            Source::File(file) => file.bytes(),
            Source::Bundled => &BUNDLED.0,
            Source::Folder(_) => return None,
        };
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

/// Rows of `f32`, from a folder or from an image of any format.
impl WeightSource for &LoadedModel {
    fn read_rows(
        &mut self,
        role: TensorRole,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), BoxError> {
        let (_, cols) = role.shape(&self.config);
        let rows = first_row..first_row + out.len() / cols.max(1);
        if let Source::Folder(folder) = &self.source {
            return Ok(folder.read_rows(role, rows, out)?);
        }
        let image = self.image().ok_or("the image file has changed while it was in use")?;
        let tensor = image.tensor(role).ok_or("the image has no such tensor")?;
        let range = first_row * cols..rows.end * cols;
        if let Some(values) = tensor.as_f32() {
            out.copy_from_slice(values.get(range).ok_or("no such rows")?);
        } else if let Some(bits) = tensor.as_f16_bits() {
            for (x, bits) in out.iter_mut().zip(bits.get(range).ok_or("no such rows")?) {
                *x = half::f16::from_bits(*bits).to_f32();
            }
        } else if let Some(matrix) = tensor.packed() {
            for (row, out) in rows.zip(out.chunks_exact_mut(cols.max(1))) {
                matrix.dequantize_row(row, out);
            }
        }
        Ok(())
    }
}
