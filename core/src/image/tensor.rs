//! The TENSORS section: one entry per tensor, in one canonical order, and the views made from it.

use super::bytes::{align_up, range, read_u32, read_u64};
use super::{ALIGN, ImageError, ModelConfig, TensorRole};
use crate::packed::{BLOCK_ROWS, Format, GROUP, Layout, PackedMatrix};

/// Length of one entry of the TENSORS section in bytes.
pub const TENSOR_ENTRY_BYTES: usize = 32;

/// One tensor of an image.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    /// What it does.
    pub role: TensorRole,
    /// How its numbers are stored.
    pub format: Format,
    /// In which order, if it is packed.
    pub layout: Layout,
    /// Rows, that is outputs of the projection.
    pub rows: usize,
    /// Columns, that is inputs of the projection.
    pub cols: usize,
    /// The stored bytes.
    pub bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// View for the packed kernels, or `None` for an unquantized tensor.
    #[must_use]
    #[inline(never)] // once per tensor and layer; inlined it would stand nine times in flash
    pub fn packed(&self) -> Option<PackedMatrix<'a>> {
        PackedMatrix::new(self.format.packed()?, self.layout, self.rows, self.cols, self.bytes)
    }

    /// View of an `f32` tensor, or `None` for another format.
    #[must_use]
    pub fn as_f32(&self) -> Option<&'a [f32]> {
        if self.format != Format::F32 {
            return None;
        }
        bytemuck::try_cast_slice(self.bytes).ok()
    }

    /// View of an `f16` tensor, as bit patterns, or `None` for another format.
    #[must_use]
    pub fn as_f16_bits(&self) -> Option<&'a [u16]> {
        if self.format != Format::F16 {
            return None;
        }
        bytemuck::try_cast_slice(self.bytes).ok()
    }
}

/// Bytes that a tensor takes in the WEIGHTS section, without the padding to the next one.
#[must_use]
pub const fn stored_bytes(format: Format, rows: usize, cols: usize) -> u64 {
    let (rows, cols) = (rows as u64, cols as u64);
    let cells = rows.div_ceil(BLOCK_ROWS as u64) * cols.div_ceil(GROUP as u64);
    match format.packed() {
        Some(format) => cells * format.cell_bytes() as u64,
        None if matches!(format, Format::F16) => rows * cols * 2,
        None => rows * cols * 4,
    }
}

/// Layout code of a tensor that is not packed.
const ROW_MAJOR: u8 = 0;

/// Format and layout as a tensor entry stores them.
#[must_use]
pub const fn kind_code(format: Format, layout: Layout) -> u32 {
    let layout = match format.packed() {
        Some(_) => layout.code(),
        None => ROW_MAJOR,
    };
    u32::from_le_bytes([format.code(), layout, 0, 0])
}

/// Reads entry `index` of the table, which must describe `role`, and advances `next`.
pub(super) fn parse_entry<'a>(
    table: &[u8],
    index: usize,
    role: TensorRole,
    config: &ModelConfig,
    weights: &'a [u8],
    next: &mut u64,
) -> Result<Tensor<'a>, ImageError> {
    let error = |problem| ImageError::Tensor { role, problem };
    let entry = index
        .checked_mul(TENSOR_ENTRY_BYTES)
        .and_then(|at| table.get(at..))
        .and_then(|rest| rest.first_chunk::<TENSOR_ENTRY_BYTES>())
        .ok_or(error("missing from the table"))?;
    let words = || -> Option<_> {
        Some((
            read_u32(entry, 0)?,
            read_u32(entry, 4)?,
            read_u32(entry, 8)?,
            read_u32(entry, 12)?,
            read_u64(entry, 16)?,
            read_u64(entry, 24)?,
        ))
    };
    let (role_and_layer, kind, rows, cols, offset, length) =
        words().ok_or(error("missing from the table"))?;
    let (code, layer) = role.code();
    if role_and_layer != u32::from(code) | u32::from(layer) << 16 {
        return Err(error("expected here, another one found"));
    }
    let [format, layout, 0, 0] = kind.to_le_bytes() else { return Err(error("unknown flags")) };
    let format = Format::from_code(format).ok_or(error("unknown format"))?;
    let layout = match format.packed() {
        Some(_) => Layout::from_code(layout),
        None => (layout == ROW_MAJOR).then_some(Layout::default()),
    };
    let layout = layout.ok_or(error("packed in an order that this version does not know"))?;
    if role.stays_f32() && format != Format::F32 {
        return Err(error("norms, biases and routers must be f32"));
    }
    if (rows as usize, cols as usize) != role.shape(config) {
        return Err(error("shape differs from the configuration"));
    }
    if format.packed().is_some_and(|f| !(cols as usize).is_multiple_of(f.column_unit())) {
        return Err(error("q4k needs a multiple of 256 columns; store it as q4 or q8"));
    }
    let expected = stored_bytes(format, rows as usize, cols as usize);
    if length != expected || offset != *next {
        return Err(error("offset or length"));
    }
    let bytes = range(weights, offset, length).ok_or(error("lies outside the section"))?;
    *next = offset
        .checked_add(length)
        .and_then(|end| align_up(end, ALIGN as u64))
        .ok_or(error("offset or length"))?;
    Ok(Tensor { role, format, layout, rows: rows as usize, cols: cols as usize, bytes })
}
