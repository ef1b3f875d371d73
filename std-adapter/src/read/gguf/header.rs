//! The head of a GGUF file: metadata and the list of tensors.
//!
//! Every count and length is held against what is left of the file before memory is asked for, so
//! that a file can make this reader allocate a small multiple of its own length at most. Format:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read};

use demask_quant::ggml::GgmlType;

use super::error::HeaderError;
use super::value::{ARRAY_ID, Numbers, STRING_ID, ScalarType, Strings, Value};

/// No vocabulary comes near this.
const MAX_HEADER_BYTES: u64 = 1 << 28;
/// Where tensors start, unless `general.alignment` says otherwise.
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 16;
/// Dimensions of a tensor in ggml.
const MAX_DIMENSIONS: u32 = 4;
/// Fewest bytes of a metadata entry: an empty key, its type, one byte.
const SMALLEST_ENTRY: u64 = 8 + 4 + 1;
/// Fewest bytes of a tensor's description: an empty name and one dimension.
const SMALLEST_TENSOR: u64 = 8 + 4 + 8 + 4 + 8;

/// Everything before the weights.
#[derive(Debug)]
pub struct Header {
    /// Metadata by key.
    pub metadata: BTreeMap<String, Value>,
    /// The tensors in the order of the file.
    pub tensors: Vec<TensorInfo>,
}

/// Where a tensor is and how it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its dimensions, the innermost first: a matrix `[rows, cols]` has `[cols, rows]`.
    pub dimensions: Vec<u64>,
    /// How it is stored.
    pub stored_as: GgmlType,
    /// Its first byte in the file.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
}

impl TensorInfo {
    /// Rows and columns: all dimensions but the innermost count as rows.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        let cols = self.dimensions.first().copied().unwrap_or(0);
        let rows: u64 = self.dimensions.iter().skip(1).product();
        (rows as usize, cols as usize)
    }
}

impl Header {
    /// Reads the head of a file of `file_length` bytes.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn parse(input: impl Read, file_length: u64) -> Result<Self, HeaderError> {
        let mut input = Input { input, at: 0, end: file_length.min(MAX_HEADER_BYTES) };
        let version = input.magic_and_version()?;
        debug_assert!(version == 2 || version == 3, "both have the same layout");
        let tensor_count = input.u64("the number of tensors")?;
        let entry_count = input.u64("the number of metadata entries")?;
        input.check_count("tensors", tensor_count, SMALLEST_TENSOR)?;
        input.check_count("metadata entries", entry_count, SMALLEST_ENTRY)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..entry_count {
            let key = input.string(|| "a metadata key".into())?;
            let value = input.value(&key)?;
            if metadata.contains_key(&key) {
                return Err(HeaderError::DuplicateKey(super::shortened(&key)));
            }
            metadata.insert(key, value);
        }
        let alignment = alignment(&metadata)?;
        let mut tensors = Vec::new();
        for _ in 0..tensor_count {
            tensors.push(input.tensor(alignment)?);
        }
        place(&mut tensors, input.at.next_multiple_of(alignment), file_length)?;
        Ok(Self { metadata, tensors })
    }
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, HeaderError> {
    let Some(value) = metadata.get("general.alignment") else { return Ok(DEFAULT_ALIGNMENT) };
    let number = match value.number() {
        Some(super::value::Number::Whole(number)) => u64::try_from(number).ok(),
        _ => None,
    };
    number
        .filter(|a| a.is_power_of_two() && *a <= MAX_ALIGNMENT)
        .ok_or_else(|| HeaderError::Alignment(value.to_string()))
}

/// Turns offsets into the data into places in the file, and checks them against each other.
fn place(tensors: &mut [TensorInfo], data: u64, file_length: u64) -> Result<(), HeaderError> {
    let mut names = BTreeSet::new();
    let mut order: Vec<(u64, u64, &str)> = Vec::with_capacity(tensors.len());
    for tensor in tensors.iter_mut() {
        let start = data.checked_add(tensor.start);
        match start.and_then(|start| start.checked_add(tensor.length)) {
            Some(end) if end <= file_length => tensor.start += data,
            end => {
                let (tensor, end) = (super::shortened(&tensor.name), end.unwrap_or(u64::MAX));
                return Err(HeaderError::Truncated { tensor, end, length: file_length });
            }
        }
    }
    for tensor in tensors.iter() {
        if !names.insert(tensor.name.as_str()) {
            return Err(HeaderError::DuplicateTensor(super::shortened(&tensor.name)));
        }
        order.push((tensor.start, tensor.start + tensor.length, &tensor.name));
    }
    order.sort_unstable();
    for pair in order.windows(2) {
        if let [(_, end, first), (start, _, second)] = pair
            && start < end
        {
            let [first, second] = [first, second].map(|name| super::shortened(name));
            return Err(HeaderError::Overlap { first, second });
        }
    }
    Ok(())
}

/// The bytes that are left.
struct Input<R> {
    input: R,
    at: u64,
    /// Length of the file, or less.
    end: u64,
}

impl<R: Read> Input<R> {
    fn magic_and_version(&mut self) -> Result<u32, HeaderError> {
        if self.bytes(4, || "its first bytes".into())? != b"GGUF" {
            return Err(HeaderError::Magic);
        }
        let version = self.u32("the version")?;
        match version {
            2 | 3 => Ok(version),
            _ if matches!(version.swap_bytes(), 1..=3) => Err(HeaderError::BigEndian),
            _ => Err(HeaderError::Version(version)),
        }
    }

    /// The next `count` bytes. Memory is asked for when the file is known to be long enough.
    fn bytes(&mut self, count: u64, what: impl Fn() -> String) -> Result<Vec<u8>, HeaderError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.end);
        let Some(end) = end else {
            return Err(if self.end == MAX_HEADER_BYTES {
                HeaderError::TooLong(MAX_HEADER_BYTES)
            } else {
                HeaderError::CutOff(what())
            });
        };
        let mut bytes = vec![0; count as usize];
        self.input.read_exact(&mut bytes).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => HeaderError::CutOff(what()),
            _ => HeaderError::Io(e),
        })?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], HeaderError> {
        let bytes = self.bytes(N as u64, || what.into())?;
        bytes.try_into().map_err(|_| HeaderError::CutOff(what.into()))
    }

    fn u32(&mut self, what: &str) -> Result<u32, HeaderError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64, HeaderError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Refuses a count whose smallest items would not fit into the rest.
    fn check_count(&self, what: &str, count: u64, smallest: u64) -> Result<(), HeaderError> {
        if count > (self.end - self.at) / smallest {
            return Err(HeaderError::Count { what: what.into(), count });
        }
        Ok(())
    }

    fn string(&mut self, what: impl Fn() -> String) -> Result<String, HeaderError> {
        let length = u64::from_le_bytes(
            self.bytes(8, &what)?.try_into().map_err(|_| HeaderError::CutOff(what()))?,
        );
        let bytes = self.bytes(length, &what)?;
        String::from_utf8(bytes).map_err(|_| HeaderError::NotUtf8(what()))
    }

    fn value(&mut self, key: &str) -> Result<Value, HeaderError> {
        let what = || format!("the value of {}", super::shortened(key));
        match self.u32(&what())? {
            STRING_ID => Ok(Value::String(self.string(what)?)),
            ARRAY_ID => self.list(key),
            id => {
                let kind = scalar_type(key, id)?;
                Ok(Value::Number(Numbers::new(kind, self.bytes(kind.size() as u64, what)?)))
            }
        }
    }

    fn list(&mut self, key: &str) -> Result<Value, HeaderError> {
        let what = || format!("the value of {}", super::shortened(key));
        let id = self.u32(&what())?;
        let count = self.u64(&what())?;
        let items = || format!("items of {}", super::shortened(key));
        if id == STRING_ID {
            self.check_count(&items(), count, 8)?;
            let mut strings = Strings::default();
            for _ in 0..count {
                strings.push(&self.string(what)?);
            }
            return Ok(Value::Strings(strings));
        }
        // A list of lists has no known use and is refused as an unknown type.
        let kind = scalar_type(key, id)?;
        self.check_count(&items(), count, kind.size() as u64)?;
        Ok(Value::Numbers(Numbers::new(kind, self.bytes(count * kind.size() as u64, what)?)))
    }

    /// A tensor's description; `start` is still the offset into the data.
    fn tensor(&mut self, alignment: u64) -> Result<TensorInfo, HeaderError> {
        let name = self.string(|| "the name of a tensor".into())?;
        let what = format!("the description of the tensor {}", super::shortened(&name));
        let impossible =
            |reason: String| HeaderError::Shape { tensor: super::shortened(&name), reason };
        let count = self.u32(&what)?;
        if count == 0 || count > MAX_DIMENSIONS {
            return Err(impossible(format!("{count} dimensions, 1 to {MAX_DIMENSIONS} can be")));
        }
        let mut dimensions = Vec::new();
        for _ in 0..count {
            dimensions.push(self.u64(&what)?);
        }
        let id = self.u32(&what)?;
        let start = self.u64(&what)?;
        let tensor = super::shortened(&name);
        let stored_as =
            GgmlType::from_id(id).ok_or(HeaderError::TensorType { tensor: tensor.clone(), id })?;
        let length = byte_length(&dimensions, stored_as).map_err(impossible)?;
        if !start.is_multiple_of(alignment) {
            return Err(HeaderError::Unaligned { tensor, offset: start, alignment });
        }
        Ok(TensorInfo { name, dimensions, stored_as, start, length })
    }
}

fn scalar_type(key: &str, id: u32) -> Result<ScalarType, HeaderError> {
    let unknown = || HeaderError::ValueType { key: super::shortened(key), id };
    ScalarType::from_id(id).ok_or_else(unknown)
}

/// Length of a tensor in bytes, or why there is none.
fn byte_length(dimensions: &[u64], stored_as: GgmlType) -> Result<u64, String> {
    if dimensions.contains(&0) {
        return Err("a dimension of 0".into());
    }
    let too_large = || "more values than any file could hold".to_owned();
    let values = dimensions.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
    let values = values.and_then(|n| usize::try_from(n).ok()).ok_or_else(too_large)?;
    let cols = dimensions.first().copied().unwrap_or(0);
    let block = stored_as.block_values();
    if !cols.is_multiple_of(block as u64) {
        return Err(format!("rows of {cols}, where {stored_as} needs a multiple of {block}"));
    }
    stored_as.bytes_of(values).map(|bytes| bytes as u64).ok_or_else(too_large)
}
