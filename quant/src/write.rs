//! The image writer: one pass over the weights, memory for a few blocks of rows per thread and for the
//! scales of one tensor.

use crate::pack::{Scratch, pack_rows, piece_rows, plane_bytes};
use crate::parallel::in_order;
use crate::quantization::Quantization;
use crate::report::{ErrorSum, Report, TensorReport};
use crate::sections::{Manifest, Sections, TensorPlan, Tensors};
use crate::source::{BoxError, WeightSource};
use demask::image::{ALIGN, ImageError, SectionKind, TensorRole, section_digest};
use demask::packed::{Format, PackedMatrix};
use half::f16;
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;

/// Why no image was written.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The configuration, tokenizer or prompt breaks a rule of the format.
    Config(ImageError),
    /// The source failed.
    Source(TensorRole, BoxError),
    /// A weight is not finite, or too large for its format.
    Weight {
        /// Which tensor.
        role: TensorRole,
        /// Its row.
        row: usize,
        /// The weight, or the scale that is to blame.
        value: f32,
    },
    /// There is not enough memory.
    Memory {
        /// Size of the image.
        bytes: u64,
    },
    /// The output could not be written.
    Output(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "the model cannot be stored: {error}"),
            Self::Source(role, error) => write!(f, "tensor {}: {error}", role.name()),
            Self::Weight { role, row, value } => write!(
                f,
                "tensor {}, row {row}: a weight of {value} cannot be stored in this format",
                role.name()
            ),
            Self::Memory { bytes } => write!(
                f,
                "the packed model takes {bytes} bytes of memory, which there are not; pack it into \
                 a file with `demask pack`, or choose a smaller type"
            ),
            Self::Output(error) => write!(f, "the image could not be written: {error}"),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Source(_, error) => Some(&**error),
            Self::Output(error) => Some(error),
            Self::Weight { .. } | Self::Memory { .. } => None,
        }
    }
}

/// Writes an image to `out` and returns the error of every tensor. Rows are packed on up to
/// `threads` threads; the bytes do not depend on how many. `progress` is told each finished tensor.
///
/// `out` starts at its current position 0; on an error it holds an incomplete image, so write to a
/// temporary file and rename.
///
/// # Errors
/// [`WriteError`].
pub fn write_image<O: Write + Seek>(
    sections: &Sections,
    quantization: Quantization,
    source: &dyn WeightSource,
    out: &mut O,
    threads: usize,
    progress: &mut dyn FnMut(&TensorReport),
) -> Result<Report, WriteError> {
    sections.check().map_err(WriteError::Config)?;
    let plan = Tensors::new(&sections.config, quantization, source);
    let small = sections.before_weights(&plan);
    let last = sections.after_weights().map_err(WriteError::Config)?;
    let count = small.len() + 1 + last.len();
    let mut manifest = Manifest::new(count, sections.security_counter);
    out.write_all(&manifest.bytes)?; // room; written again when the digests are known
    write_sections(small, &mut manifest, out)?;
    let mut hashed = Hashed { out: &mut *out, hash: Sha256::new() };
    let mut tensors = Vec::new();
    for tensor in &plan.list {
        let report = write_tensor(tensor, source, threads, &mut hashed)?;
        progress(&report);
        tensors.push(report);
    }
    let digest = hashed.hash.finalize().into();
    manifest.add(SectionKind::Weights, plan.bytes, digest);
    write_sections(last, &mut manifest, out)?;
    let (bytes, image_bytes) = manifest.finish();
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&bytes)?;
    out.flush()?;
    Ok(Report { tensors, image_bytes })
}

fn write_sections(
    sections: Vec<(SectionKind, Vec<u8>)>,
    manifest: &mut Manifest,
    out: &mut impl Write,
) -> io::Result<()> {
    for (kind, mut bytes) in sections {
        let len = bytes.len();
        bytes.resize(len.next_multiple_of(ALIGN), 0);
        out.write_all(&bytes)?;
        manifest.add(kind, len as u64, section_digest(&bytes));
    }
    Ok(())
}

/// Hashes what it writes.
struct Hashed<'o, O> {
    out: &'o mut O,
    hash: Sha256,
}

impl<O: Write> Hashed<'_, O> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Pieces that are in memory at once, per thread: none waits long for the others to be written.
const PIECES_PER_THREAD: usize = 4;

fn write_tensor<O: Write>(
    tensor: &TensorPlan,
    source: &dyn WeightSource,
    threads: usize,
    out: &mut Hashed<'_, O>,
) -> Result<TensorReport, WriteError> {
    let mut errors = ErrorSum::default();
    let mut scales = Vec::new();
    let step = piece_rows(tensor.cols);
    let pieces: Vec<_> = (0..tensor.rows).step_by(step).collect();
    for wave in pieces.chunks(PIECES_PER_THREAD * threads.max(1)) {
        let rows = wave.iter().map(|first| *first..tensor.rows.min(first + step));
        let packed = in_order(threads, rows, Scratch::default, |scratch, rows| {
            packed_piece(tensor, source, rows, scratch)
        })?;
        for piece in packed {
            let (weights, piece_scales) = piece.bytes.split_at(piece.weight_bytes);
            out.write(weights)?;
            scales.extend(piece_scales);
            errors.merge(&piece.errors);
        }
    }
    out.write(&scales)?;
    let padding = tensor.bytes.next_multiple_of(ALIGN as u64) - tensor.bytes;
    out.write(&vec![0; padding as usize])?;
    Ok(errors.report(tensor))
}

/// Some packed rows: their weights, then their scales.
struct PackedPiece {
    bytes: Vec<u8>,
    weight_bytes: usize,
    errors: ErrorSum,
}

fn packed_piece(
    tensor: &TensorPlan,
    source: &dyn WeightSource,
    rows: Range<usize>,
    scratch: &mut Scratch,
) -> Result<PackedPiece, WriteError> {
    if tensor.exact {
        // That it is exact is a claim to be measured like any other.
        scratch.read(tensor, source, &rows)?;
    }
    let (weight_bytes, scale_bytes) = plane_bytes(tensor, rows.len());
    let mut bytes = vec![0; weight_bytes + scale_bytes];
    pack_rows(tensor, source, rows, bytes.split_at_mut(weight_bytes), scratch)?;
    let mut errors = ErrorSum::default();
    measure(tensor, scratch.values(), &bytes, &mut errors);
    Ok(PackedPiece { bytes, weight_bytes, errors })
}

/// Reads packed rows back through the engine's own view and compares them with the source's.
fn measure(tensor: &TensorPlan, values: &[f32], bytes: &[u8], errors: &mut ErrorSum) {
    match tensor.format {
        Format::F32 => values.iter().for_each(|w| errors.add(*w, *w)),
        Format::F16 => {
            let stored = bytes.as_chunks().0.iter().map(|bits| f16::from_le_bytes(*bits).to_f32());
            values.iter().zip(stored).for_each(|(w, stored)| errors.add(*w, stored));
        }
        _ => {
            let (cols, mut row) = (tensor.cols, vec![0.0; tensor.cols]);
            let matrix = tensor.format.packed().and_then(|format| {
                PackedMatrix::new(format, tensor.layout, values.len() / cols, cols, bytes)
            });
            let Some(matrix) = matrix else { return };
            for (index, source) in values.chunks_exact(cols).enumerate() {
                matrix.dequantize_row(index, &mut row);
                source.iter().zip(&row).for_each(|(w, stored)| errors.add(*w, *stored));
            }
        }
    }
}
