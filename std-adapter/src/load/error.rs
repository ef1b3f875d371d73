//! Why a model could not be opened.

use crate::mmap::MapError;
use crate::read::folder::FolderError;
use crate::read::gguf::GgufError;
use crate::read::tokenizer_json::TokenizerJsonError;
use demask::image::ImageError;
use demask::text::TokenizerError;
use demask_quant::tokenizer::TokenizerWriteError;
use std::path::PathBuf;

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
    /// The GGUF file is not a usable model.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}
