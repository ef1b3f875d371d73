//! What can be wrong with the weights of a folder.

use std::path::PathBuf;

use super::{INDEX, SINGLE};
use crate::mmap::MapError;
use crate::read::RowsError;

/// Why weights could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Neither a single file nor an index.
    #[error(
        "{} holds neither {SINGLE} nor {INDEX}; download the weights in safetensors form, or \
         convert a .bin checkpoint with save_pretrained(safe_serialization=True)",
        .0.display()
    )]
    NoWeights(PathBuf),
    /// A file cannot be opened, mapped or is changing.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The index names a file that is not there.
    #[error(
        "the shard {} is missing, {INDEX} asks for it; download it into the same folder",
        .0.display()
    )]
    MissingShard(PathBuf),
    /// The index is not one.
    #[error("{} is not a usable shard index: {reason}; download it again", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is not a safetensors file, or was cut off.
    #[error("{} is not a usable safetensors file: {reason}; download it again", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The same name in two shards.
    #[error(
        "the tensor {tensor} is in both {} and {}; keep the shards of one checkpoint only",
        first.display(), second.display()
    )]
    Duplicate {
        /// The tensor.
        tensor: String,
        /// One file that has it.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
    /// The index promises a tensor that its shard does not have.
    #[error(
        "{INDEX} promises the tensor {tensor} in {}, which does not hold it; download both again",
        path.display()
    )]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The shard named in the index.
        path: PathBuf,
    },
    /// No such tensor.
    #[error("the weights hold no tensor {0}; the download may be incomplete")]
    NoTensor(String),
    /// Neither F32 nor F16 nor BF16.
    #[error(
        "the tensor {tensor} is stored as {dtype}; F32, F16 and BF16 are supported: use the \
         checkpoint from before quantization"
    )]
    Type {
        /// The tensor.
        tensor: String,
        /// Its type as the file spells it.
        dtype: String,
    },
    /// Neither a vector nor a matrix.
    #[error("the tensor {tensor} has the shape {shape:?}; only vectors and matrices are expected")]
    Dimensions {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Rows were asked for that do not exist, or that hold NaN or infinity.
    #[error(transparent)]
    Rows(#[from] RowsError),
}
