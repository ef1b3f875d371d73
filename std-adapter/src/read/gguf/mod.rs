//! Models in llama.cpp's format.
//!
//! [`GgufFile`] is the container: metadata, and tensors in one or several files. [`GgufModel`] is a
//! model in it: its configuration, and its tensors by what they do in the network.
//!
//! | module | what it does |
//! |---|---|
//! | [`header`] | metadata and tensor list of one file, from bytes |
//! | [`value`] | metadata values |
//! | [`config`] | from metadata to [`ModelConfig`](demask::image::ModelConfig) |
//! | [`vocab`] | the vocabulary, as it stands in the file |
//! | `tokenizer` | from the vocabulary to a tokenizer |

pub mod config;
mod error;
pub mod header;
mod model;
mod places;
mod shards;
mod tokenizer;
pub mod value;
pub mod vocab;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

pub use crate::mmap::Access;
pub use config::GgufOptions;
pub use error::{GgufError, HeaderError};
pub use model::GgufModel;
pub use vocab::GgufVocab;

pub(crate) use super::shortened;
pub(crate) use shards::SPLIT_KEYS;

use demask_quant::ggml::GgmlType;
use header::TensorInfo;
use shards::{Shard, wrong_type};
use value::{Number, Strings, Value};

/// An opened GGUF file, with all other files of a split model. The weights stay on disk.
#[derive(Debug)]
pub struct GgufFile {
    shards: Vec<Shard>,
    /// File and place in its list of tensors, by name.
    tensors: BTreeMap<String, (usize, usize)>,
}

/// A tensor of a [`GgufFile`].
#[derive(Debug, Clone, Copy)]
pub struct GgufTensor<'a> {
    info: &'a TensorInfo,
    shard: &'a Shard,
}

impl GgufFile {
    /// Opens a file, and all files of the model that it is part of.
    ///
    /// # Errors
    /// [`GgufError`]: a file is missing, damaged, or belongs to another model.
    pub fn open(path: &Path, access: Access) -> Result<Self, GgufError> {
        Self::from_shards(shards::open_all(path, access)?)
    }

    /// A file that is in memory already.
    ///
    /// # Errors
    /// [`GgufError`]: the bytes are damaged, or only a part of a split model.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, GgufError> {
        Self::from_shards(vec![shards::in_memory(bytes)?])
    }

    fn from_shards(shards: Vec<Shard>) -> Result<Self, GgufError> {
        let mut tensors = BTreeMap::new();
        for (s, shard) in shards.iter().enumerate() {
            for (t, tensor) in shard.header.tensors.iter().enumerate() {
                if tensors.insert(tensor.name.clone(), (s, t)).is_some() {
                    let tensor = shortened(&tensor.name);
                    return Err(GgufError::Shards {
                        path: shard.data.path().to_owned(),
                        reason: format!("an earlier file has the tensor {tensor}, too"),
                    });
                }
            }
        }
        Ok(Self { shards, tensors })
    }

    /// Paths of the files, the first one first.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.data.path())
    }

    /// Total length of the files in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.shards.iter().map(|shard| shard.data.length()).sum()
    }

    /// The metadata of the first file, in alphabetical order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        let metadata = self.shards.first().map(|shard| &shard.header.metadata);
        metadata.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }

    /// A value of the metadata.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&Value> {
        self.shards.first()?.header.metadata.get(key)
    }

    /// A text of the metadata.
    ///
    /// # Errors
    /// [`GgufError::Type`] if the value is none.
    pub fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.metadata(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(key, other, "a text")),
        }
    }

    /// A number of the metadata that fits 32 bits.
    ///
    /// # Errors
    /// [`GgufError::Type`] if the value is none.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        self.number(key, "a whole number from 0 to 4294967295", |number| match number {
            Number::Whole(number) => u32::try_from(number).ok(),
            _ => None,
        })
    }

    /// A number of the metadata, as `f32`.
    ///
    /// # Errors
    /// [`GgufError::Type`] if the value is none.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        self.number(key, "a number", |number| match number {
            Number::Whole(number) => Some(number as f32),
            Number::Float(number) => Some(number as f32),
            Number::Bool(_) => None,
        })
    }

    /// A flag of the metadata.
    ///
    /// # Errors
    /// [`GgufError::Type`] if the value is none.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.number(key, "true or false", |number| match number {
            Number::Bool(holds) => Some(holds),
            _ => None,
        })
    }

    fn number<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(Number) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.metadata(key) else { return Ok(None) };
        let converted = value.number().and_then(convert);
        converted.map(Some).ok_or_else(|| wrong_type(key, value, expected))
    }

    /// A list of texts of the metadata.
    ///
    /// # Errors
    /// [`GgufError::Type`] if the value is none.
    pub fn texts(&self, key: &str) -> Result<Option<&Strings>, GgufError> {
        match self.metadata(key) {
            None => Ok(None),
            Some(Value::Strings(strings)) => Ok(Some(strings)),
            Some(other) => Err(wrong_type(key, other, "a list of texts")),
        }
    }

    /// A list of numbers of the metadata.
    ///
    /// # Errors
    /// [`GgufError::Type`] if the value is none.
    pub fn numbers(&self, key: &str) -> Result<Option<&value::Numbers>, GgufError> {
        match self.metadata(key) {
            None => Ok(None),
            Some(Value::Numbers(numbers)) => Ok(Some(numbers)),
            Some(other) => Err(wrong_type(key, other, "a list of numbers")),
        }
    }

    /// All tensors in the order of the files.
    pub fn tensors(&self) -> impl Iterator<Item = GgufTensor<'_>> {
        self.shards.iter().flat_map(|shard| {
            shard.header.tensors.iter().map(move |info| GgufTensor { info, shard })
        })
    }

    /// A tensor by its name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<GgufTensor<'_>> {
        let (shard, tensor) = self.tensors.get(name)?;
        let shard = self.shards.get(*shard)?;
        Some(GgufTensor { info: shard.header.tensors.get(*tensor)?, shard })
    }
}

impl<'a> GgufTensor<'a> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.info.name
    }

    /// Its dimensions, the innermost first.
    #[must_use]
    pub fn dimensions(&self) -> &'a [u64] {
        &self.info.dimensions
    }

    /// Rows and columns: all dimensions but the innermost count as rows, a vector is one row.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.info.shape()
    }

    /// How it is stored.
    #[must_use]
    pub const fn stored_as(&self) -> GgmlType {
        self.info.stored_as
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.info.length
    }

    /// Calls `take` with the stored bytes of `values`, which begin and end with a block. `None` if
    /// there are no such values.
    ///
    /// # Errors
    /// [`GgufError::Map`] if the file has become shorter or cannot be read.
    pub fn with_blocks<T>(
        &self,
        values: Range<usize>,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, GgufError> {
        match self.bytes_of(values) {
            Some(range) => Ok(Some(self.shard.data.with(range, take)?)),
            None => Ok(None),
        }
    }

    /// Decodes the values from `first` on into `out`; false if there are no such values.
    ///
    /// # Errors
    /// [`GgufError::Map`] if the file has become shorter or cannot be read.
    pub fn read(&self, first: usize, out: &mut [f32]) -> Result<bool, GgufError> {
        let Some(end) = first.checked_add(out.len()) else { return Ok(false) };
        let stored_as = self.stored_as();
        let done = self.with_blocks(first..end, |blocks| stored_as.dequantize(blocks, out))?;
        Ok(done.is_some_and(|done| done.is_ok()))
    }

    /// Lets the operating system take back the memory of values that will not be needed soon.
    pub fn release(&self, values: Range<usize>) {
        if let Some(range) = self.bytes_of(values) {
            self.shard.data.release(range);
        }
    }

    /// Where values are in the file.
    fn bytes_of(&self, values: Range<usize>) -> Option<Range<u64>> {
        let offset = |values| Some(self.stored_as().bytes_of(values)? as u64);
        let (first, end) = (offset(values.start)?, offset(values.end)?);
        let within = first <= end && end <= self.info.length;
        within.then(|| self.info.start + first..self.info.start + end)
    }
}
