//! Packing an image for other processors in place: the same weights and answers in another
//! [`Layout`], at the same offsets.

use demask::ModelImage;
use demask::image::{
    ENTRY_BYTES, HEADER_BYTES, ImageError, MANIFEST_DIGEST_AT, SectionKind, TENSOR_ENTRY_BYTES,
    kind_code, manifest_digest, section_digest,
};
use demask::packed::{Format, Layout, PackedMatrix};
use std::ops::Range;

/// Packs `image` for the processors of `layout` and makes its digests right again. The image is
/// checked first, digests included: damage must not be sealed as if it had been meant.
///
/// # Errors
/// [`ImageError`] if the image is not valid; it is then unchanged.
///
/// # Example
/// ```no_run
/// use demask::packed::Layout;
/// use demask_quant::{ImageBuffer, repack};
///
/// let mut image = ImageBuffer::copy_of(&std::fs::read("model.dmk")?).ok_or("no memory")?;
/// repack(image.bytes_mut(), Layout::Dsp)?;
/// std::fs::write("model-cortex-m4.dmk", image.bytes())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn repack(image: &mut [u8], layout: Layout) -> Result<(), ImageError> {
    ModelImage::parse(image)?;
    repack_tensors(image, layout)?;
    seal(image)
}

/// Packs the tensors one after the other, each in its place. Needs as much memory again as the
/// largest one takes.
fn repack_tensors(image: &mut [u8], layout: Layout) -> Result<(), ImageError> {
    let mut packed = Vec::new();
    for tensor in packed_tensors(image)? {
        packed.clear();
        packed.resize(tensor.place.len(), 0);
        let bytes = &mut image[tensor.place.clone()];
        let matrix = PackedMatrix::new(
            tensor.format.packed().expect("only packed tensors are listed"),
            tensor.layout,
            tensor.rows,
            tensor.cols,
            bytes,
        );
        let repacked = matrix.is_some_and(|matrix| matrix.repack(layout, &mut packed));
        assert!(repacked, "a matrix is as long in every layout");
        bytes.copy_from_slice(&packed);
        let kind = kind_code(tensor.format, layout).to_le_bytes();
        image[tensor.kind_at..][..4].copy_from_slice(&kind);
    }
    Ok(())
}

/// What repacking needs to know of a tensor.
struct PackedTensor {
    place: Range<usize>,
    /// Offset of format and layout in its table entry.
    kind_at: usize,
    format: Format,
    layout: Layout,
    rows: usize,
    cols: usize,
}

fn packed_tensors(image: &[u8]) -> Result<Vec<PackedTensor>, ImageError> {
    let parsed = ModelImage::parse_unverified(image)?;
    let start_of = |part: &[u8]| part.as_ptr() as usize - image.as_ptr() as usize;
    let table = parsed.header().section(image, SectionKind::Tensors);
    let table = start_of(table.ok_or(ImageError::MissingSection(SectionKind::Tensors))?);
    let tensors =
        parsed.tensors().enumerate().filter(|(_, tensor)| tensor.format.packed().is_some());
    let tensors = tensors.map(|(index, tensor)| {
        let start = start_of(tensor.bytes);
        PackedTensor {
            place: start..start + tensor.bytes.len(),
            kind_at: table + index * TENSOR_ENTRY_BYTES + 4,
            format: tensor.format,
            layout: tensor.layout,
            rows: tensor.rows,
            cols: tensor.cols,
        }
    });
    Ok(tensors.collect())
}

/// Makes every digest that of the bytes it covers.
fn seal(image: &mut [u8]) -> Result<(), ImageError> {
    let parsed = ModelImage::parse_unverified(image)?;
    let header = *parsed.header();
    let digests: Vec<_> =
        header.sections(image).map(|section| section_digest(section.padded)).collect();
    let manifest_bytes = header.manifest_bytes();
    for (index, digest) in digests.iter().enumerate() {
        let at = HEADER_BYTES + index * ENTRY_BYTES + ENTRY_BYTES - digest.len();
        image[at..][..digest.len()].copy_from_slice(digest);
    }
    let digest = manifest_digest(image, manifest_bytes);
    image[MANIFEST_DIGEST_AT..][..digest.len()].copy_from_slice(&digest);
    Ok(())
}
