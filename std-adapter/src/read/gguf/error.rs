//! Why a GGUF file was refused.

use std::path::PathBuf;

use demask_quant::ggml::{BlockError, GgmlType};

use crate::mmap::MapError;
use crate::read::{RowsError, and_more};

/// What is wrong with the bytes of a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Another kind of file.
    #[error("it does not start with \"GGUF\"; give a GGUF file, or a folder with safetensors")]
    Magic,
    /// Written for a big-endian machine.
    #[error(
        "it is a big-endian GGUF file; only little-endian ones are supported: convert it with \
         gguf_convert_endian.py of llama.cpp"
    )]
    BigEndian,
    /// A version of the format that is not supported.
    #[error(
        "it has version {0} of the GGUF format; versions 2 and 3 are supported: convert the model again \
         with a present converter"
    )]
    Version(u32),
    /// The file ends in the middle of its header.
    #[error("it ends within {0}; download it again")]
    CutOff(String),
    /// Reading failed.
    #[error("it cannot be read: {0}; check the disk that it is on")]
    Io(#[from] std::io::Error),
    /// More items than the rest of the file could hold.
    #[error("it claims {count} {what}, more than the file has room for; download it again")]
    Count {
        /// What is counted.
        what: String,
        /// How many.
        count: u64,
    },
    /// Names and metadata of an absurd size.
    #[error("its header is longer than {0} bytes; no model needs that, download it again")]
    TooLong(u64),
    /// A name or text that is not UTF-8.
    #[error("{0} is not valid UTF-8; download it again")]
    NotUtf8(String),
    /// A metadata value of no known type.
    #[error("the metadata key {key} has the unknown type {id}; download it again")]
    ValueType {
        /// The key.
        key: String,
        /// The type's number.
        id: u32,
    },
    /// A key twice.
    #[error("the metadata key {0} occurs twice; convert the model again")]
    DuplicateKey(String),
    /// `general.alignment` is no power of two.
    #[error(
        "its alignment is {0}, which is not a power of two from 1 to 65536; convert the model again"
    )]
    Alignment(String),
    /// A tensor twice.
    #[error("the tensor {0} occurs twice; convert the model again")]
    DuplicateTensor(String),
    /// A shape that no tensor can have.
    #[error("the tensor {tensor} has an impossible shape: {reason}; download the file again")]
    Shape {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A type that cannot be decoded.
    #[error(
        "the tensor {tensor} is stored as {}; supported are {}: use a file in one of these",
        type_name(*id), supported_types()
    )]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The type's number.
        id: u32,
    },
    /// A tensor that starts anywhere.
    #[error(
        "the tensor {tensor} starts at byte {offset} of the data, not at a multiple of \
         {alignment}; convert the model again"
    )]
    Unaligned {
        /// The tensor.
        tensor: String,
        /// Where it starts.
        offset: u64,
        /// What its start must be a multiple of.
        alignment: u64,
    },
    /// Two tensors share bytes.
    #[error("the tensors {first} and {second} overlap; download the file again")]
    Overlap {
        /// The one that starts first.
        first: String,
        /// The other one.
        second: String,
    },
    /// The file ends before a tensor does.
    #[error(
        "it has {length} bytes, but the tensor {tensor} ends at byte {end}; the download is \
         incomplete"
    )]
    Truncated {
        /// The tensor.
        tensor: String,
        /// Where it should end in the file.
        end: u64,
        /// Length of the file.
        length: u64,
    },
}

/// Name of a tensor type, with a few that only ggml reads.
fn type_name(id: u32) -> String {
    const OTHERS: [(u32, &str); 21] = [
        (9, "Q8_1"),
        (10, "Q2_K"),
        (11, "Q3_K"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (20, "IQ4_NL"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (24, "I8"),
        (25, "I16"),
        (26, "I32"),
        (27, "I64"),
        (28, "F64"),
        (29, "IQ1_M"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
        (40, "NVFP4"),
    ];
    let known = OTHERS.into_iter().find(|(other, _)| *other == id);
    known.map_or_else(|| format!("type {id}"), |(_, name)| name.into())
}

fn supported_types() -> String {
    GgmlType::ALL.map(GgmlType::name).join(", ")
}

/// Why a GGUF model could not be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// A file cannot be opened, mapped or is changing.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A file is not a usable GGUF file.
    #[error("cannot use {}: {source}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// Part of a split model is missing.
    #[error(
        "{} is missing, the model is split into {count} files; put all of them into one folder",
        path.display()
    )]
    MissingShard {
        /// The missing file.
        path: PathBuf,
        /// How many there should be.
        count: u64,
    },
    /// Files that are not parts of one model.
    #[error("{}: {reason}; put the files of one split model into one folder", path.display())]
    Shards {
        /// The file that does not fit.
        path: PathBuf,
        /// Why it does not.
        reason: String,
    },
    /// A model family that is not supported.
    #[error("it is a model of the architecture {found:?}; supported are {supported}")]
    Architecture {
        /// As the file spells it.
        found: String,
        /// All that are supported.
        supported: String,
    },
    /// A metadata key that is needed.
    #[error("the metadata key {0} is missing; convert the model again with a present converter")]
    MissingKey(String),
    /// A metadata value of another type than expected.
    #[error("the metadata key {key} is {found}, expected {expected}; convert the model again")]
    Type {
        /// The key.
        key: String,
        /// What the value is.
        found: &'static str,
        /// What it should have been.
        expected: &'static str,
    },
    /// A value that the engine does not implement.
    #[error("the metadata key {key} is {value}; supported is {supported}")]
    Unsupported {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What would be supported.
        supported: String,
    },
    /// Values that contradict each other, or what the user asked for.
    #[error("{0}")]
    Contradiction(String),
    /// A tensor that the metadata implies is not there.
    #[error(
        "the tensor {tensor} is missing{}; the file belongs to another kind of model than its \
         metadata says, or is incomplete", and_more(*others)
    )]
    MissingTensor {
        /// The first missing tensor.
        tensor: String,
        /// How many more are missing.
        others: usize,
    },
    /// A tensor that the engine has no use for.
    #[error(
        "the tensor {tensor} has no place in this model{}; ignoring it would change the answers, \
         so models that have it are not supported", and_more(*others)
    )]
    SurplusTensor {
        /// The first such tensor.
        tensor: String,
        /// How many more there are.
        others: usize,
    },
    /// A tensor of another shape than the metadata implies.
    #[error(
        "the tensor {tensor} has {} rows of {}, the metadata implies {} rows of {}; convert the \
         model again", found.0, found.1, expected.0, expected.1
    )]
    TensorShape {
        /// The tensor.
        tensor: String,
        /// Rows and columns in the file.
        found: (usize, usize),
        /// Rows and columns from the metadata.
        expected: (usize, usize),
    },
    /// Rows were asked for that do not exist, or that hold NaN or infinity.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// Blocks that the engine cannot hold as they are.
    #[error("{tensor}: {source}")]
    Blocks {
        /// The tensor.
        tensor: String,
        /// Why not.
        source: BlockError,
    },
}
