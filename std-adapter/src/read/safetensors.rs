//! Weights of a Hugging Face folder: one `model.safetensors`, or shards with an index.
//!
//! The files are mapped, so nothing is read before it is asked for, and nothing is kept. Every
//! length, offset and name comes from a file that may be broken or hostile and is checked before
//! use. Format: <https://github.com/huggingface/safetensors#format>.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Deserialize;

use super::read_capped;
use crate::mmap::{Access, FileMap, MapError};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The header of an 8B model takes 40 kB.
const MAX_HEADER_BYTES: usize = 16 << 20;
const MAX_INDEX_BYTES: u64 = 16 << 20;
const MAX_SHARDS: usize = 1024;

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
    /// The request does not fit the tensor or the buffer: a mistake of the caller.
    #[error(
        "rows {}..{} of {tensor} ({have} rows of {cols}) were asked for in a buffer of {buffer}",
        rows.start, rows.end
    )]
    Request {
        /// The tensor.
        tensor: String,
        /// Rows asked for.
        rows: Range<usize>,
        /// Rows that exist.
        have: usize,
        /// Numbers per row.
        cols: usize,
        /// Numbers that fit the buffer.
        buffer: usize,
    },
    /// NaN or infinity among the weights.
    #[error(
        "{tensor} holds {value} in row {row}, column {column}; the checkpoint is damaged or its \
         training diverged"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Row of the first such number.
        row: usize,
        /// Its column.
        column: usize,
        /// NaN, inf or -inf.
        value: f32,
    },
}

/// How a checkpoint stores a tensor's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
}

impl StoredType {
    /// Name as the files spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    fn of(tensor: &str, dtype: Dtype) -> Result<Self, WeightsError> {
        match dtype {
            Dtype::F32 => Ok(Self::F32),
            Dtype::F16 => Ok(Self::F16),
            Dtype::BF16 => Ok(Self::Bf16),
            other => Err(WeightsError::Type { tensor: tensor.into(), dtype: format!("{other:?}") }),
        }
    }
}

/// The tensors of a folder, or of one file, by name.
#[derive(Debug)]
pub struct Weights {
    shards: Vec<Shard>,
    /// Index into `shards`.
    tensors: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Shard {
    map: FileMap,
    /// Offset of the first tensor byte.
    data: usize,
    header: Metadata,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens `model.safetensors` of a folder, or else the shards that
    /// `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// [`WeightsError`]: files are missing, damaged or contradict each other.
    pub fn open(folder: &Path, access: Access) -> Result<Self, WeightsError> {
        let single = folder.join(SINGLE);
        let index = folder.join(INDEX);
        if single.exists() {
            Self::open_file(&single, access)
        } else if index.exists() {
            Self::open_shards(folder, &index, access)
        } else {
            Err(WeightsError::NoWeights(folder.to_owned()))
        }
    }

    /// Opens one safetensors file under whatever name.
    ///
    /// # Errors
    /// [`WeightsError`]: the file is missing or damaged.
    pub fn open_file(path: &Path, access: Access) -> Result<Self, WeightsError> {
        let mut weights = Self { shards: Vec::new(), tensors: BTreeMap::new() };
        weights.add_shard(path, access)?;
        Ok(weights)
    }

    fn open_shards(folder: &Path, path: &Path, access: Access) -> Result<Self, WeightsError> {
        let bad = |reason: String| WeightsError::Index { path: path.to_owned(), reason };
        let bytes = read_capped(path, MAX_INDEX_BYTES).map_err(|e| bad(e.to_string()))?;
        let index: ShardIndex = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        let mut weights = Self { shards: Vec::new(), tensors: BTreeMap::new() };
        let mut opened: BTreeMap<&str, usize> = BTreeMap::new();
        for (tensor, file) in &index.weight_map {
            // A shard lies beside its index; anything with a separator could lead out of the folder.
            if Path::new(file).file_name() != Some(file.as_ref()) || file.contains(['/', '\\']) {
                return Err(bad(format!("{file:?} is not a plain file name")));
            }
            let shard = folder.join(file);
            if !opened.contains_key(file.as_str()) {
                if opened.len() == MAX_SHARDS {
                    return Err(bad(format!("it names more than {MAX_SHARDS} files")));
                }
                if !shard.exists() {
                    return Err(WeightsError::MissingShard(shard));
                }
                opened.insert(file, weights.shards.len());
                weights.add_shard(&shard, access)?;
            }
            if weights.tensors.get(tensor) != opened.get(file.as_str()) {
                return Err(WeightsError::NotInShard { tensor: tensor.clone(), path: shard });
            }
        }
        Ok(weights)
    }

    fn add_shard(&mut self, path: &Path, access: Access) -> Result<(), WeightsError> {
        let shard = Shard::open(path, access)?;
        for tensor in shard.header.offset_keys() {
            if let Some(other) = self.tensors.get(&tensor).and_then(|&i| self.shards.get(i)) {
                let (first, second) = (other.map.path().to_owned(), path.to_owned());
                return Err(WeightsError::Duplicate { tensor, first, second });
            }
            self.tensors.insert(tensor, self.shards.len());
        }
        self.shards.push(shard);
        Ok(())
    }

    /// Names of all tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Rows and columns of a tensor; a vector is one row. The type is checked too, so that a
    /// tensor whose shape is known can be read.
    ///
    /// # Errors
    /// [`WeightsError::NoTensor`], [`WeightsError::Dimensions`], [`WeightsError::Type`].
    pub fn shape(&self, tensor: &str) -> Result<(usize, usize), WeightsError> {
        let (_, info) = self.find(tensor)?;
        StoredType::of(tensor, info.dtype)?;
        match info.shape.as_slice() {
            &[cols] => Ok((1, cols)),
            &[rows, cols] => Ok((rows, cols)),
            shape => Err(WeightsError::Dimensions { tensor: tensor.into(), shape: shape.into() }),
        }
    }

    /// Reads `rows` of a tensor as f32 into `out` `[rows, cols]`.
    ///
    /// # Errors
    /// As [`Self::shape`]; [`WeightsError::Request`] when the rows do not exist or do not fill
    /// `out`; [`WeightsError::NotFinite`] for the first NaN or infinity.
    pub fn read_rows(
        &self,
        tensor: &str,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), WeightsError> {
        let (have, cols) = self.shape(tensor)?;
        let (shard, info) = self.find(tensor)?;
        let kind = StoredType::of(tensor, info.dtype)?;
        let request = || WeightsError::Request {
            tensor: tensor.to_owned(),
            rows: rows.clone(),
            have,
            cols,
            buffer: out.len(),
        };
        let count = rows.end.checked_sub(rows.start).ok_or_else(request)?;
        if rows.end > have || count.checked_mul(cols) != Some(out.len()) {
            return Err(request());
        }
        shard.map.check_unchanged()?;
        let bytes = shard.tensor_bytes(info, rows.start * cols, out.len()).ok_or_else(request)?;
        convert(kind, bytes, out);
        // Whoever reads weights keeps them in a form of its own.
        let start = bytes.as_ptr() as usize - shard.map.bytes().as_ptr() as usize;
        shard.map.release(start..start + bytes.len());
        check_finite(tensor, rows.start, cols, out)
    }

    /// How a tensor's numbers are stored.
    ///
    /// # Errors
    /// [`WeightsError::NoTensor`], [`WeightsError::Type`].
    pub fn stored_type(&self, tensor: &str) -> Result<StoredType, WeightsError> {
        let (_, info) = self.find(tensor)?;
        StoredType::of(tensor, info.dtype)
    }

    fn find(&self, tensor: &str) -> Result<(&Shard, &TensorInfo), WeightsError> {
        let shard = self.tensors.get(tensor).and_then(|&i| self.shards.get(i));
        shard
            .and_then(|shard| Some((shard, shard.header.info(tensor)?)))
            .ok_or_else(|| WeightsError::NoTensor(tensor.to_owned()))
    }
}

impl Shard {
    /// Maps a file and checks its header. The crate's own entry point adds the header's length to
    /// the tensors' without an overflow check, hence the sum here.
    fn open(path: &Path, access: Access) -> Result<Self, WeightsError> {
        let map = FileMap::open_as(path, access)?;
        let bad = |reason: String| WeightsError::Header { path: path.to_owned(), reason };
        let bytes = map.bytes();
        let (length, rest) =
            bytes.split_first_chunk::<8>().ok_or_else(|| bad("it is too short".into()))?;
        let length = usize::try_from(u64::from_le_bytes(*length))
            .ok()
            .filter(|&n| n <= MAX_HEADER_BYTES)
            .ok_or_else(|| bad(format!("its header is longer than {MAX_HEADER_BYTES} bytes")))?;
        let text = rest.get(..length).ok_or_else(|| bad("its header is cut off".into()))?;
        let header: Metadata = serde_json::from_slice(text).map_err(|e| bad(e.to_string()))?;
        let data = 8 + length;
        match data.checked_add(header.data_len()) {
            Some(end) if end == bytes.len() => Ok(Self { map, data, header }),
            end => Err(bad(format!(
                "it has {} bytes where its header asks for {}",
                bytes.len(),
                end.map_or("more than fit any file".into(), |end| end.to_string()),
            ))),
        }
    }

    /// Bytes of `count` elements from element `first` of a tensor.
    fn tensor_bytes(&self, info: &TensorInfo, first: usize, count: usize) -> Option<&[u8]> {
        let size = info.dtype.bitsize() / 8;
        let (start, end) = info.data_offsets;
        let tensor = self.map.bytes().get(self.data.checked_add(start)?..)?.get(..end - start)?;
        tensor.get(first.checked_mul(size)?..)?.get(..count.checked_mul(size)?)
    }
}

/// Refuses NaN and infinity in `values` `[rows, cols]`, which are a tensor's rows from `first` on.
pub(super) fn check_finite(
    tensor: &str,
    first: usize,
    cols: usize,
    values: &[f32],
) -> Result<(), WeightsError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => Err(WeightsError::NotFinite {
            tensor: tensor.to_owned(),
            row: first + at / cols,
            column: at % cols,
            value: values[at],
        }),
    }
}

/// Little-endian bytes as f32.
fn convert(kind: StoredType, bytes: &[u8], out: &mut [f32]) {
    match kind {
        StoredType::F32 => fill(bytes, out, f32::from_le_bytes),
        StoredType::F16 => fill(bytes, out, |b| half::f16::from_le_bytes(b).to_f32()),
        StoredType::Bf16 => fill(bytes, out, |b| half::bf16::from_le_bytes(b).to_f32()),
    }
}

fn fill<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = decode(*bytes);
    }
}

#[cfg(test)]
#[path = "safetensors_tests.rs"]
mod tests;
