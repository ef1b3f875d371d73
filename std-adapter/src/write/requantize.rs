//! From one GGUF file to another with other tensor types: the types and bytes that llama.cpp's
//! `llama-quantize` gives.
//!
//! Matrices get the wanted type; vectors, norms and routers become F32. A row that is no whole
//! number of blocks falls back: from Q4_K to Q5_0, from Q5_K to Q5_1, from Q6_K to Q8_0, and to F16
//! if it is no multiple of 32 either. Most types spend more bits on a few tensors (`Mix`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use demask_quant::ggml::GgmlType;
use rayon::prelude::*;

use super::gguf::{NewTensor, write};
use crate::atomic::{WriteError, write_atomic};
use crate::read::RowsError;
use crate::read::gguf::value::Value;
use crate::read::gguf::{GgufError, GgufFile, GgufTensor, SPLIT_KEYS};

/// Values that are converted at a time: 16 MiB of `f32`.
const CHUNK: usize = 1 << 22;
/// Version of ggml's block formats, as converters write it.
const QUANTIZATION_VERSION: u32 = 2;

/// Which tensors get more bits than the others. The head always does: it decides between tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mix {
    /// None.
    Pure,
    /// The head, Q6_K.
    Head,
    /// Also values of the first four layers and down projections of the first eighth, Q5_K.
    Small,
    /// The head, and values and down projections of the first and last eighth of the layers and of
    /// every third one in between, Q6_K.
    Medium,
}

/// What a whole file is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileType {
    name: &'static str,
    /// Type of matrices.
    base: GgmlType,
    mix: Mix,
    /// Value of `general.file_type`.
    id: u32,
}

impl FileType {
    /// All that can be written.
    pub const ALL: [Self; 14] = [
        Self::new("f32", GgmlType::F32, Mix::Pure, 0),
        Self::new("f16", GgmlType::F16, Mix::Pure, 1),
        Self::new("bf16", GgmlType::BF16, Mix::Pure, 32),
        Self::new("q8_0", GgmlType::Q8_0, Mix::Pure, 7),
        Self::new("q4_0", GgmlType::Q4_0, Mix::Head, 2),
        Self::new("q4_1", GgmlType::Q4_1, Mix::Head, 3),
        Self::new("q5_0", GgmlType::Q5_0, Mix::Head, 8),
        Self::new("q5_1", GgmlType::Q5_1, Mix::Head, 9),
        Self::new("q4_k_s", GgmlType::Q4_K, Mix::Small, 14),
        Self::new("q4_k_m", GgmlType::Q4_K, Mix::Medium, 15),
        Self::new("q5_k_s", GgmlType::Q5_K, Mix::Small, 16),
        Self::new("q5_k_m", GgmlType::Q5_K, Mix::Medium, 17),
        Self::new("q6_k", GgmlType::Q6_K, Mix::Head, 18),
        Self::new("mxfp4", GgmlType::MXFP4, Mix::Pure, 38),
    ];

    const fn new(name: &'static str, base: GgmlType, mix: Mix, id: u32) -> Self {
        Self { name, base, mix, id }
    }

    /// Name as the command line spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The same with one type for all matrices, the head too.
    #[must_use]
    pub const fn pure(self) -> Self {
        Self { mix: Mix::Pure, ..self }
    }

    /// What a tensor is stored as.
    fn of_tensor(self, tensor: &GgufTensor<'_>, model: Model) -> GgmlType {
        let (name, dimensions) = (tensor.name(), tensor.dimensions());
        let matrix = dimensions.len() > 1 && name.ends_with(".weight");
        if !matrix || name.contains("_norm.") || name.contains("ffn_gate_inp.") {
            return GgmlType::F32;
        }
        let wanted = self.wanted(name, model);
        let cols = dimensions.first().copied().unwrap_or(0);
        let fits = |stored_as: GgmlType| cols.is_multiple_of(stored_as.block_values() as u64);
        let fallback = match wanted {
            GgmlType::Q4_K => GgmlType::Q5_0,
            GgmlType::Q5_K => GgmlType::Q5_1,
            GgmlType::Q6_K => GgmlType::Q8_0,
            _ => GgmlType::F16,
        };
        [wanted, fallback].into_iter().find(|t| fits(*t)).unwrap_or(GgmlType::F16)
    }

    /// What a matrix would be stored as if it fitted.
    fn wanted(self, name: &str, model: Model) -> GgmlType {
        let head = if model.tied_head { "token_embd.weight" } else { "output.weight" };
        if name == head && self.mix != Mix::Pure {
            return GgmlType::Q6_K;
        }
        let (layers, eighth) = (model.layers, model.layers / 8);
        let (values, down) = (name.contains("attn_v."), name.contains("ffn_down"));
        match (self.mix, layer_of(name)) {
            (Mix::Small, Some(layer)) if values && layer < 4 || down && layer < eighth => {
                GgmlType::Q5_K
            }
            (Mix::Medium, Some(layer)) if values || down => {
                let outer = layer < eighth || layer >= layers.saturating_mul(7) / 8;
                let third = layer.saturating_sub(eighth) % 3 == 2;
                if outer || third { GgmlType::Q6_K } else { self.base }
            }
            _ => self.base,
        }
    }
}

/// What the mixes look at.
#[derive(Clone, Copy)]
struct Model {
    layers: u64,
    tied_head: bool,
}

impl Model {
    fn of(source: &GgufFile) -> Self {
        let last = source.tensors().filter_map(|tensor| layer_of(tensor.name())).max();
        let layers = last.map_or(0, |last| last.saturating_add(1));
        Self { layers, tied_head: source.tensor("output.weight").is_none() }
    }
}

fn layer_of(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

impl FromStr for FileType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|t| t.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            format!(
                "{name:?} is not a type of GGUF files; there are {}",
                Self::ALL.map(Self::name).join(", ")
            )
        })
    }
}

/// Why no file was written.
#[derive(Debug, thiserror::Error)]
pub enum RequantizeError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] GgufError),
    /// The target is a file of the source.
    #[error("{} is the file that is read; choose another name", .0.display())]
    Same(PathBuf),
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Writes the model of `source` to `path` with other tensor types; all metadata is kept. `progress`
/// is told the values of every tensor done.
///
/// Tensors that are stored as wanted already are copied. All others are decoded and rounded again:
/// start from F16, BF16 or F32 to lose the least.
///
/// # Errors
/// [`RequantizeError`]; a file under the name `path` is then unchanged.
pub fn requantize(
    source: &GgufFile,
    path: &Path,
    file_type: FileType,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<NewTensor>, RequantizeError> {
    let canonical = |path: &Path| path.canonicalize().ok();
    if canonical(path).is_some_and(|p| source.paths().any(|s| canonical(s).as_ref() == Some(&p))) {
        return Err(RequantizeError::Same(path.to_owned()));
    }
    let model = Model::of(source);
    let old: Vec<GgufTensor<'_>> = source.tensors().collect();
    let new: Vec<NewTensor> = old
        .iter()
        .map(|tensor| NewTensor {
            name: tensor.name().to_owned(),
            dimensions: tensor.dimensions().to_vec(),
            stored_as: file_type.of_tensor(tensor, model),
        })
        .collect();
    let (id, version) = (Value::from(file_type.id), Value::from(QUANTIZATION_VERSION));
    let metadata = metadata(source, &id, &version);
    let mut failed = None;
    let written = write_atomic(path, |out| {
        write(out, &metadata, &new, |index, out| {
            let (Some(old), Some(new)) = (old.get(index), new.get(index)) else { return Ok(()) };
            convert(*old, new.stored_as, out).map_err(|error| match error {
                ConvertError::Write(error) => error,
                ConvertError::Source(error) => {
                    failed = Some(error);
                    io::ErrorKind::InvalidData.into()
                }
            })?;
            progress(new.dimensions.iter().product());
            Ok(())
        })
    });
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(written.map(|()| new)?),
    }
}

/// The source's metadata, without what does not hold for the new file.
fn metadata<'a>(
    source: &'a GgufFile,
    id: &'a Value,
    version: &'a Value,
) -> Vec<(&'a str, &'a Value)> {
    let replaced = [("general.file_type", id), ("general.quantization_version", version)];
    let dropped = |key: &str| {
        key == "general.alignment"
            || SPLIT_KEYS.contains(&key)
            || replaced.iter().any(|(other, _)| *other == key)
    };
    source.entries().filter(|(key, _)| !dropped(key)).chain(replaced).collect()
}

enum ConvertError {
    Source(GgufError),
    Write(io::Error),
}

impl From<io::Error> for ConvertError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<GgufError> for ConvertError {
    fn from(error: GgufError) -> Self {
        Self::Source(error)
    }
}

fn convert(
    tensor: GgufTensor<'_>,
    stored_as: GgmlType,
    out: &mut dyn Write,
) -> Result<(), ConvertError> {
    let (rows, cols) = tensor.shape();
    let rows_at_a_time = (CHUNK / cols.max(1)).max(1);
    let mut first = 0;
    while first < rows {
        let next = rows.min(first.saturating_add(rows_at_a_time));
        let values = first * cols..next * cols;
        let refused = || RowsError::Request {
            tensor: tensor.name().to_owned(),
            rows: first..next,
            have: rows,
            cols,
            buffer: values.len(),
        };
        if stored_as == tensor.stored_as() {
            let copied = tensor.with_blocks(values.clone(), |blocks| out.write_all(blocks))?;
            copied.ok_or_else(|| GgufError::from(refused()))??;
        } else {
            let blocks = recode(tensor, &values, cols, stored_as)?;
            out.write_all(&blocks.ok_or_else(|| GgufError::from(refused()))?)?;
        }
        tensor.release(values);
        first = next;
    }
    Ok(())
}

/// Decodes values and quantizes them, row by row on all processors.
fn recode(
    tensor: GgufTensor<'_>,
    values: &std::ops::Range<usize>,
    cols: usize,
    stored_as: GgmlType,
) -> Result<Option<Vec<u8>>, GgufError> {
    let mut decoded = vec![0.0; values.len()];
    let row_bytes = stored_as.bytes_of(cols).filter(|bytes| *bytes > 0);
    let (true, Some(row_bytes)) = (tensor.read(values.start, &mut decoded)?, row_bytes) else {
        return Ok(None);
    };
    let mut blocks = vec![0; values.len() / cols.max(1) * row_bytes];
    let rows = blocks.par_chunks_exact_mut(row_bytes).zip(decoded.par_chunks_exact(cols.max(1)));
    let all = rows.map(|(blocks, row)| stored_as.quantize(row, blocks).is_ok());
    Ok(all.reduce(|| true, |a, b| a && b).then_some(blocks))
}
