//! Images with Q4K matrices, which are not rounded to but taken over from files that hold them.

use super::{Aligned, Random, reseal, section_at};
use demask::image::{
    ENTRY_BYTES, HEADER_BYTES, ModelImage, SectionKind, TENSOR_ENTRY_BYTES, Tensor, TensorRole,
    kind_code,
};
use demask::packed::{Format, Layout};

/// The image (in any layout) with random Q4K matrices, in layout `to`, in place of the ones that
/// `chosen` names. Other packed matrices must have that layout.
pub fn with_q4k(
    bytes: &[u8],
    to: Layout,
    seed: u64,
    chosen: impl Fn(TensorRole) -> bool,
) -> Aligned {
    let image = ModelImage::parse(bytes).unwrap();
    let mut random = Random(seed);
    let (mut table, mut weights) = (Vec::new(), Vec::new());
    let (table_at, table_len) = section_at(bytes, SectionKind::Tensors);
    let entries = bytes[table_at..table_at + table_len].chunks(TENSOR_ENTRY_BYTES);
    for (tensor, entry) in image.tensors().zip(entries) {
        let (kind, stored) = match chosen(tensor.role) {
            true => (kind_code(Format::Q4K, to), random_matrix(&tensor, &mut random)),
            false => (kind_code(tensor.format, tensor.layout), tensor.bytes.to_vec()),
        };
        table.extend(&entry[..4]);
        table.extend(kind.to_le_bytes());
        table.extend(&entry[8..16]);
        table.extend([weights.len() as u64, stored.len() as u64].map(u64::to_le_bytes).concat());
        weights.extend(stored);
        weights.resize(weights.len().next_multiple_of(64), 0);
    }
    // TENSORS and WEIGHTS are the last sections.
    let sections = image.header().sections(bytes).count();
    let start = section_at(bytes, SectionKind::Tensors).0;
    let weights_at = start + table_len.next_multiple_of(64);
    let mut file = bytes[..start].to_vec();
    file.extend(table);
    file.resize(weights_at, 0);
    file.extend(&weights);
    let entry = HEADER_BYTES + (sections - 1) * ENTRY_BYTES;
    file[entry + 16..entry + 24].copy_from_slice(&(weights.len() as u64).to_le_bytes());
    let length = file.len() as u64;
    file[16..24].copy_from_slice(&length.to_le_bytes());
    reseal(&mut file);
    Aligned::copy_of(&file)
}

/// Bytes of a matrix with weights of about the size that keeps a row's norm.
fn random_matrix(tensor: &Tensor<'_>, random: &mut Random) -> Vec<u8> {
    let (blocks, groups) = (tensor.rows.div_ceil(16), tensor.cols / 32);
    let size = (3.0 / tensor.cols as f32).sqrt();
    let mut bytes: Vec<u8> = (0..blocks * groups * 256).map(|_| random.next() as u8).collect();
    for _ in 0..blocks * groups / 8 {
        for unit in [size / (8.0 * 32.0), size / 32.0] {
            for _ in 0..16 {
                let sign = [1.0, -1.0][random.below(2)];
                let unit = sign * unit * (0.5 + random.below(1000) as f32 / 1000.0);
                bytes.extend(half::f16::from_f32(unit).to_le_bytes());
            }
        }
        bytes.extend((0..8 * 2 * 16).map(|_| random.below(64) as u8));
    }
    bytes
}
