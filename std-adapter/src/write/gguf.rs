//! GGUF files, version 3, written in one pass.

use std::io::{self, Write};

use demask_quant::ggml::GgmlType;

use crate::read::gguf::header::DEFAULT_ALIGNMENT;
use crate::read::gguf::value::{ARRAY_ID, STRING_ID, Value};

/// A tensor of a new file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTensor {
    /// Its name.
    pub name: String,
    /// Its dimensions, the innermost first.
    pub dimensions: Vec<u64>,
    /// How it is stored.
    pub stored_as: GgmlType,
}

impl NewTensor {
    /// Its length in bytes, or `None` if its rows are not a whole number of blocks.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        let cols = usize::try_from(*self.dimensions.first()?).ok()?;
        let rows = self.dimensions.iter().skip(1).try_fold(1u64, |n, d| n.checked_mul(*d))?;
        (self.stored_as.bytes_of(cols)? as u64).checked_mul(rows)
    }
}

/// Writes a file: metadata in the order given, then the tensors, whose bytes `fill` writes one after
/// the other. Metadata must not hold `general.alignment`: tensors are aligned to 32 bytes.
///
/// # Errors
/// What `out` or `fill` return; [`io::ErrorKind::InvalidInput`] for a tensor that cannot be stored
/// as asked for, or whose bytes are more or fewer than its length.
///
/// ```
/// use demask_quant::ggml::GgmlType;
/// use demask_std::write::gguf::{NewTensor, write};
///
/// let tensor = NewTensor { name: "x".into(), dimensions: vec![2], stored_as: GgmlType::F32 };
/// let mut file = Vec::new();
/// write(&mut file, &[("general.architecture", &"llada".into())], &[tensor], |_, out| {
///     out.write_all(&[0; 8])
/// })?;
/// assert!(file.starts_with(b"GGUF") && file.len() % 32 == 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write(
    out: &mut dyn Write,
    metadata: &[(&str, &Value)],
    tensors: &[NewTensor],
    mut fill: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let refuse = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let mut head = b"GGUF".to_vec();
    head.extend(3u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_string(&mut head, key);
        put_value(&mut head, value);
    }
    let mut lengths = Vec::new();
    let mut offset = 0u64;
    for tensor in tensors {
        let length = tensor.length().ok_or_else(|| {
            refuse(format!("{} cannot be stored as {}", tensor.name, tensor.stored_as))
        })?;
        put_string(&mut head, &tensor.name);
        head.extend((tensor.dimensions.len() as u32).to_le_bytes());
        head.extend(tensor.dimensions.iter().flat_map(|d| d.to_le_bytes()));
        head.extend(tensor.stored_as.id().to_le_bytes());
        head.extend(offset.to_le_bytes());
        offset += length.next_multiple_of(DEFAULT_ALIGNMENT);
        lengths.push(length);
    }
    out.write_all(&head)?;
    pad(out, head.len() as u64)?;
    for (index, length) in lengths.into_iter().enumerate() {
        let mut counted = Counted { out, written: 0 };
        fill(index, &mut counted)?;
        let written = counted.written;
        if written != length {
            return Err(refuse(format!("tensor {index} has {written} bytes instead of {length}")));
        }
        pad(out, length)?;
    }
    Ok(())
}

fn pad(out: &mut dyn Write, length: u64) -> io::Result<()> {
    let zeros = [0; DEFAULT_ALIGNMENT as usize];
    let missing = length.next_multiple_of(DEFAULT_ALIGNMENT) - length;
    out.write_all(&zeros[..missing as usize])
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The type of a value, then the value.
fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => {
            out.extend(number.kind().id().to_le_bytes());
            out.extend(number.bytes());
        }
        Value::String(text) => {
            out.extend(STRING_ID.to_le_bytes());
            put_string(out, text);
        }
        Value::Numbers(numbers) => {
            out.extend(ARRAY_ID.to_le_bytes());
            out.extend(numbers.kind().id().to_le_bytes());
            out.extend((numbers.len() as u64).to_le_bytes());
            out.extend(numbers.bytes());
        }
        Value::Strings(strings) => {
            out.extend(ARRAY_ID.to_le_bytes());
            out.extend(STRING_ID.to_le_bytes());
            out.extend((strings.len() as u64).to_le_bytes());
            for text in strings.iter() {
                put_string(out, text);
            }
        }
    }
}

/// Counts what is written.
struct Counted<'a> {
    out: &'a mut dyn Write,
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
