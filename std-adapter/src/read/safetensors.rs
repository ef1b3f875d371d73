//! Weights of a Hugging Face folder: one `model.safetensors`, or shards with an index.
//!
//! Nothing is read before it is asked for, and nothing is kept: the files are mapped, or read piece by
//! piece where a file may change while it is in use, see [`Access`]. Every length, offset and name
//! comes from a file that may be broken or hostile and is checked before use. Format: <https://github.com/huggingface/safetensors#format>.

mod error;
mod shard;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use serde::Deserialize;

pub use self::error::WeightsError;
use self::shard::Shard;
pub use self::shard::StoredType;
use super::rows::check_finite;
use super::{RowsError, read_capped};
use crate::mmap::Access;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const MAX_INDEX_BYTES: u64 = 16 << 20;
const MAX_SHARDS: usize = 1024;

/// The tensors of a folder, or of one file, by name.
#[derive(Debug)]
pub struct Weights {
    shards: Vec<Shard>,
    /// Index into `shards`.
    tensors: BTreeMap<String, usize>,
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
            let mut weights = Self { shards: Vec::new(), tensors: BTreeMap::new() };
            weights.add_shard(&single, access)?;
            Ok(weights)
        } else if index.exists() {
            Self::open_shards(folder, &index, access)
        } else {
            Err(WeightsError::NoWeights(folder.to_owned()))
        }
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
        for tensor in shard.names() {
            if let Some(other) = self.tensors.get(&tensor).and_then(|&i| self.shards.get(i)) {
                let (first, second) = (other.path().to_owned(), path.to_owned());
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
    /// As [`Self::shape`]; [`RowsError`] when the rows do not exist or do not fill `out`, and for the
    /// first NaN or infinity.
    pub fn read_rows(
        &self,
        tensor: &str,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), WeightsError> {
        let (have, cols) = self.shape(tensor)?;
        let (shard, info) = self.find(tensor)?;
        let kind = StoredType::of(tensor, info.dtype)?;
        let buffer = out.len();
        let request = || RowsError::Request {
            tensor: tensor.to_owned(),
            rows: rows.clone(),
            have,
            cols,
            buffer,
        };
        let count = rows.end.checked_sub(rows.start).ok_or_else(request)?;
        if rows.end > have || count.checked_mul(cols) != Some(out.len()) {
            return Err(request().into());
        }
        shard.read(kind, info, rows.start * cols, out)?.ok_or_else(request)?;
        Ok(check_finite(tensor, rows.start, cols, out)?)
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
            .and_then(|shard| Some((shard, shard.info(tensor)?)))
            .ok_or_else(|| WeightsError::NoTensor(tensor.to_owned()))
    }
}

#[cfg(test)]
#[path = "safetensors_tests.rs"]
mod tests;
