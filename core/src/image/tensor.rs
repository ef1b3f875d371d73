//! The TENSORS section: one entry per tensor, in one canonical order, and the views made from it.

use super::bytes::{align_up, range, read_u32, read_u64};
use super::{ALIGN, ImageError, ModelConfig};
use crate::packed::{BLOCK_ROWS, Format, GROUP, Layout, PackedMatrix, WeightFormat};

/// Length of one entry of the TENSORS section in bytes.
pub const TENSOR_ENTRY_BYTES: usize = 32;

/// What a tensor does in the network. The number is the layer, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TensorRole {
    /// Token embedding, `[vocab, model_dim]`; also the head when that is tied.
    Embedding,
    /// RMSNorm weights before attention, `[model_dim]`.
    AttentionNorm(u32),
    /// Query projection, `[heads * head_dim, model_dim]`.
    Query(u32),
    /// Key projection, `[kv_heads * head_dim, model_dim]`.
    Key(u32),
    /// Value projection, `[kv_heads * head_dim, model_dim]`.
    Value(u32),
    /// Attention output projection, `[model_dim, heads * head_dim]`.
    AttentionOutput(u32),
    /// RMSNorm weights before the feed-forward network, `[model_dim]`.
    FfnNorm(u32),
    /// Gate projection, `[ffn_dim, model_dim]`.
    Gate(u32),
    /// Up projection, `[ffn_dim, model_dim]`.
    Up(u32),
    /// Down projection, `[model_dim, ffn_dim]`.
    Down(u32),
    /// Final RMSNorm weights, `[model_dim]`.
    OutputNorm,
    /// Head, `[vocab, model_dim]`, when it is not the embedding.
    Head,
}

/// Tensors of one layer, in file order.
const PER_LAYER: [fn(u32) -> TensorRole; 9] = [
    TensorRole::AttentionNorm,
    TensorRole::Query,
    TensorRole::Key,
    TensorRole::Value,
    TensorRole::AttentionOutput,
    TensorRole::FfnNorm,
    TensorRole::Gate,
    TensorRole::Up,
    TensorRole::Down,
];

impl TensorRole {
    /// Every tensor of a model in file order: embedding, layers, final norm, head.
    pub fn all(config: &ModelConfig) -> impl Iterator<Item = Self> + use<> {
        let head = (!config.tied_head).then_some(Self::Head);
        core::iter::once(Self::Embedding)
            .chain((0..config.layers).flat_map(|l| PER_LAYER.into_iter().map(move |role| role(l))))
            .chain(core::iter::once(Self::OutputNorm))
            .chain(head)
    }

    /// Rows and columns; norms have one row.
    #[must_use]
    pub const fn shape(self, config: &ModelConfig) -> (usize, usize) {
        let model = config.model_dim as usize;
        match self {
            Self::Embedding | Self::Head => (config.vocab_size as usize, model),
            Self::AttentionNorm(_) | Self::FfnNorm(_) | Self::OutputNorm => (1, model),
            Self::Query(_) => (config.query_dim(), model),
            Self::Key(_) | Self::Value(_) => (config.kv_dim(), model),
            Self::AttentionOutput(_) => (model, config.query_dim()),
            Self::Gate(_) | Self::Up(_) => (config.ffn_dim as usize, model),
            Self::Down(_) => (model, config.ffn_dim as usize),
        }
    }

    /// Norm weights stay `f32`.
    #[must_use]
    pub const fn is_norm(self) -> bool {
        matches!(self, Self::AttentionNorm(_) | Self::FfnNorm(_) | Self::OutputNorm)
    }

    /// Number that stands for the role in a file, and the layer (0 where there is none).
    #[must_use]
    pub const fn code(self) -> (u16, u16) {
        match self {
            Self::Embedding => (1, 0),
            Self::AttentionNorm(l) => (2, l as u16),
            Self::Query(l) => (3, l as u16),
            Self::Key(l) => (4, l as u16),
            Self::Value(l) => (5, l as u16),
            Self::AttentionOutput(l) => (6, l as u16),
            Self::FfnNorm(l) => (7, l as u16),
            Self::Gate(l) => (8, l as u16),
            Self::Up(l) => (9, l as u16),
            Self::Down(l) => (10, l as u16),
            Self::OutputNorm => (11, 0),
            Self::Head => (12, 0),
        }
    }

    /// Position in the canonical order.
    #[must_use]
    pub const fn index(self, config: &ModelConfig) -> usize {
        let (code, layer) = self.code();
        let per_layer = PER_LAYER.len();
        match self {
            Self::Embedding => 0,
            Self::OutputNorm => 1 + config.layers as usize * per_layer,
            Self::Head => 2 + config.layers as usize * per_layer,
            _ => 1 + layer as usize * per_layer + (code - 2) as usize,
        }
    }

    /// Short name for tables and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::AttentionNorm(_) => "attention_norm",
            Self::Query(_) => "query",
            Self::Key(_) => "key",
            Self::Value(_) => "value",
            Self::AttentionOutput(_) => "attention_output",
            Self::FfnNorm(_) => "ffn_norm",
            Self::Gate(_) => "gate",
            Self::Up(_) => "up",
            Self::Down(_) => "down",
            Self::OutputNorm => "output_norm",
            Self::Head => "head",
        }
    }

    /// The layer that the tensor belongs to, if it belongs to one.
    #[must_use]
    pub const fn layer(self) -> Option<u32> {
        match self {
            Self::Embedding | Self::OutputNorm | Self::Head => None,
            _ => Some(self.code().1 as u32),
        }
    }
}

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
    match format {
        Format::F32 => rows * cols * 4,
        Format::F16 => rows * cols * 2,
        Format::Q8 => cells * WeightFormat::Q8.cell_bytes() as u64,
        Format::Q4 => cells * WeightFormat::Q4.cell_bytes() as u64,
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
    if role.is_norm() && format != Format::F32 {
        return Err(error("norm weights must be f32"));
    }
    if (rows as usize, cols as usize) != role.shape(config) {
        return Err(error("shape differs from the configuration"));
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
