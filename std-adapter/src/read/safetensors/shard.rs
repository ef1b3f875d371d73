//! One safetensors file.

use std::ops::Range;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::WeightsError;
use crate::mmap::Access;
use crate::read::data::Data;

/// The header of an 8B model takes 40 kB, that of one with thousands of experts a few MB.
const MAX_HEADER_BYTES: u64 = 16 << 20;

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

    pub(super) fn of(tensor: &str, dtype: Dtype) -> Result<Self, WeightsError> {
        match dtype {
            Dtype::F32 => Ok(Self::F32),
            Dtype::F16 => Ok(Self::F16),
            Dtype::BF16 => Ok(Self::Bf16),
            other => Err(WeightsError::Type { tensor: tensor.into(), dtype: format!("{other:?}") }),
        }
    }
}

/// A file whose header has been checked.
#[derive(Debug)]
pub(super) struct Shard {
    file: Data,
    /// Offset of the first tensor byte.
    data: u64,
    header: Metadata,
}

impl Shard {
    /// Opens a file and checks its header. The crate's own entry point adds the header's length to
    /// the tensors' without an overflow check, hence the sum here.
    pub(super) fn open(path: &Path, access: Access) -> Result<Self, WeightsError> {
        let file = Data::open(path, access)?;
        let bad = |reason: String| WeightsError::Header { path: path.to_owned(), reason };
        let total = file.length();
        let prefix = file.with(0..total.min(8), |bytes| bytes.first_chunk::<8>().copied())?;
        let length = u64::from_le_bytes(prefix.ok_or_else(|| bad("it is too short".into()))?);
        if length > MAX_HEADER_BYTES {
            return Err(bad(format!("its header is longer than {MAX_HEADER_BYTES} bytes")));
        }
        let data = 8 + length;
        if data > total {
            return Err(bad("its header is cut off".into()));
        }
        let header: Metadata = file
            .with(8..data, |text| serde_json::from_slice(text))?
            .map_err(|e| bad(e.to_string()))?;
        match data.checked_add(header.data_len() as u64) {
            Some(end) if end == total => Ok(Self { file, data, header }),
            end => Err(bad(format!(
                "it has {total} bytes where its header asks for {}",
                end.map_or("more than fit any file".into(), |end| end.to_string()),
            ))),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Names of its tensors, by offset.
    pub(super) fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    pub(super) fn info(&self, tensor: &str) -> Option<&TensorInfo> {
        self.header.info(tensor)
    }

    /// Reads elements of a tensor as f32, as many as fit `out`; `None` if it has fewer.
    pub(super) fn read(
        &self,
        kind: StoredType,
        info: &TensorInfo,
        first: usize,
        out: &mut [f32],
    ) -> Result<Option<()>, WeightsError> {
        let Some(range) = self.range(info, first, out.len()) else { return Ok(None) };
        self.file.with(range.clone(), |bytes| convert(kind, bytes, out))?;
        // Whoever reads weights keeps them in a form of its own.
        self.file.release(range);
        Ok(Some(()))
    }

    /// Place in the file of `count` elements of a tensor from `first` on.
    fn range(&self, info: &TensorInfo, first: usize, count: usize) -> Option<Range<u64>> {
        let size = info.dtype.bitsize() / 8;
        let (start, end) = info.data_offsets;
        let from = start.checked_add(first.checked_mul(size)?)?;
        let to = from.checked_add(count.checked_mul(size)?)?;
        let at = |offset: usize| self.data.checked_add(offset as u64);
        if to <= end { Some(at(from)?..at(to)?) } else { None }
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
