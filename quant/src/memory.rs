//! An image made for immediate use: packed in parallel, straight into its place.

use crate::pack::{Scratch, pack_rows, piece_rows, plane_bytes};
use crate::parallel::in_order;
use crate::quantization::Quantization;
use crate::sections::{Manifest, Sections, TensorPlan, Tensors};
use crate::source::WeightSource;
use crate::write::WriteError;
use demask::image::{ENTRY_BYTES, HEADER_BYTES, SectionKind};
use memmap2::MmapMut;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// An image in memory of its own, on the boundary that images need.
///
/// Pages straight from the system: zero without being touched, and large ones where it has them,
/// which weights that every pass reads from end to end are worth.
pub struct ImageBuffer {
    pages: MmapMut,
    len: usize,
}

impl ImageBuffer {
    /// `len` zeros; `None` if there is no such memory. The system hands it over as it is touched.
    #[must_use]
    pub fn zeroed(len: usize) -> Option<Self> {
        // A mapping of nothing is an error.
        let pages = MmapMut::map_anon(len.max(1)).ok()?;
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        Some(Self { pages, len })
    }

    /// A copy of `bytes`; `None` if there is no memory for it.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Option<Self> {
        let mut buffer = Self::zeroed(bytes.len())?;
        buffer.bytes_mut().copy_from_slice(bytes);
        Some(buffer)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.pages[..self.len]
    }

    /// The bytes, for changing them.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.pages[..self.len]
    }
}

impl fmt::Debug for ImageBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageBuffer").field("len", &self.len).finish_non_exhaustive()
    }
}

/// How far packing is: bytes that are done, and bytes in all.
pub type PackProgress<'p> = dyn Fn(u64, u64) + Sync + 'p;

/// Makes the image that [`write_image`](crate::write_image) writes, but in memory and without
/// digests: for use at once with
/// [`ModelImage::parse_unverified`](demask::ModelImage::parse_unverified). `progress` is called by
/// whichever thread has finished a piece.
///
/// Every weight is read once and goes straight to its place. Beside the image this needs less than
/// 2 MiB per thread, unless 16 rows of a matrix are longer.
///
/// # Errors
/// [`WriteError`]; [`WriteError::Memory`] if the image does not fit.
pub fn pack_image(
    sections: &Sections,
    quantization: Quantization,
    source: &dyn WeightSource,
    threads: usize,
    progress: &PackProgress<'_>,
) -> Result<ImageBuffer, WriteError> {
    sections.check().map_err(WriteError::Config)?;
    let tensors = Tensors::new(&sections.config, quantization, source);
    let small = sections.before_weights(&tensors);
    let last = sections.after_weights().map_err(WriteError::Config)?;
    let count = small.len() + 1 + last.len();
    let mut manifest = Manifest::new(count, sections.security_counter);
    let place = |manifest: &mut Manifest, sections: &[(SectionKind, Vec<u8>)]| -> Vec<u64> {
        let add = |(kind, bytes): &(SectionKind, Vec<u8>)| {
            manifest.add(*kind, bytes.len() as u64, [0; 32])
        };
        sections.iter().map(add).collect()
    };
    let mut starts = place(&mut manifest, &small);
    let weights = manifest.add(SectionKind::Weights, tensors.bytes, [0; 32]);
    starts.extend(place(&mut manifest, &last));
    let (head, total) = manifest.finish();
    let too_large = || WriteError::Memory { bytes: total };
    let len = usize::try_from(total).map_err(|_| too_large())?;
    let mut image = ImageBuffer::zeroed(len).ok_or_else(too_large)?;

    debug_assert_eq!(head.len(), HEADER_BYTES + count * ENTRY_BYTES);
    image.bytes_mut()[..head.len()].copy_from_slice(&head);
    for (start, (_, bytes)) in starts.into_iter().zip(small.iter().chain(&last)) {
        image.bytes_mut()[start as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    let mut rest = &mut image.bytes_mut()[weights as usize..];
    let mut pieces = Vec::new();
    for tensor in &tensors.list {
        let padded = tensor.bytes.next_multiple_of(demask::image::ALIGN as u64) as usize;
        let (bytes, more) = rest.split_at_mut(padded);
        rest = more;
        cut(tensor, bytes, &mut pieces);
    }
    let done = AtomicU64::new(0);
    let all = tensors.list.iter().map(|tensor| tensor.bytes).sum();
    let work = |scratch: &mut Scratch, piece: Piece<'_>| {
        let bytes = (piece.weights.len() + piece.scales.len()) as u64;
        let planes = (piece.weights, piece.scales);
        pack_rows(piece.tensor, source, piece.rows, planes, scratch)?;
        progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, all);
        Ok::<(), WriteError>(())
    };
    in_order(threads, pieces.into_iter(), Scratch::default, work)?;
    Ok(image)
}

/// Some rows of a tensor, and where they go.
struct Piece<'a> {
    tensor: &'a TensorPlan,
    rows: Range<usize>,
    weights: &'a mut [u8],
    scales: &'a mut [u8],
}

/// Cuts a tensor's bytes into pieces of whole blocks.
fn cut<'a>(tensor: &'a TensorPlan, bytes: &'a mut [u8], pieces: &mut Vec<Piece<'a>>) {
    let (weights, scales) = plane_bytes(tensor, tensor.rows);
    let (mut weights, rest) = bytes.split_at_mut(weights);
    let mut scales = &mut rest[..scales];
    let step = piece_rows(tensor.cols);
    for first in (0..tensor.rows).step_by(step) {
        let rows = first..tensor.rows.min(first + step);
        let (weight_bytes, scale_bytes) = plane_bytes(tensor, rows.len());
        let (piece_weights, more_weights) = weights.split_at_mut(weight_bytes);
        let (piece_scales, more_scales) = scales.split_at_mut(scale_bytes);
        (weights, scales) = (more_weights, more_scales);
        pieces.push(Piece { tensor, rows, weights: piece_weights, scales: piece_scales });
    }
}
