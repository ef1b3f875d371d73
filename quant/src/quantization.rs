//! Which format each tensor gets.

use demask::image::TensorRole;
use demask::packed::{Format, Layout, WeightFormat};

/// Which format each matrix gets; norms, biases and routers stay `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantization {
    /// Format of the layers' matrices.
    pub layers: Format,
    /// Format of the embedding and the head.
    pub embedding: Format,
    /// A matrix whose source holds it in a packed format keeps that one, whatever the fields above
    /// say: it is then not rounded again.
    pub keep: bool,
    /// Whether the kernels that the image is for read Q5, which only those of x86-64 do. Where they
    /// do not, such a matrix is kept as Q8: more bytes, the same weights.
    pub five_bits: bool,
    /// Packing of quantized matrices: the processors that the image is for.
    pub layout: Layout,
}

impl Quantization {
    /// The same format everywhere, in the default layout.
    #[must_use]
    pub fn uniform(format: Format) -> Self {
        Self {
            layers: format,
            embedding: format,
            keep: false,
            five_bits: false,
            layout: Layout::default(),
        }
    }

    /// Every matrix in the format of its source; Q8 where the engine has no such format, or the
    /// processors of the layout do not read it.
    #[must_use]
    pub fn keep(layout: Layout) -> Self {
        let five_bits = layout == Layout::Rows16;
        Self { keep: true, five_bits, layout, ..Self::uniform(Format::Q8) }
    }

    /// The format of a tensor that its source holds as `stored`.
    pub(crate) fn format(
        self,
        role: TensorRole,
        stored: Option<WeightFormat>,
        cols: usize,
    ) -> Format {
        let wanted = match (role, stored) {
            (role, _) if role.stays_f32() => Format::F32,
            (_, Some(WeightFormat::Q5)) if self.keep && !self.five_bits => Format::Q8,
            (_, Some(stored)) if self.keep => Format::of(stored),
            (TensorRole::Embedding | TensorRole::Head, _) => self.embedding,
            _ => self.layers,
        };
        let fits = wanted.packed().is_none_or(|format| cols.is_multiple_of(format.column_unit()));
        // Where rows are no whole super-blocks, more bits and not fewer.
        if fits { wanted } else { Format::Q8 }
    }

    /// Whether integers and scales of `stored` are integers and scales of `format` as well.
    pub(crate) fn takes(self, format: Format, stored: WeightFormat) -> bool {
        let fewer_bits = matches!(stored, WeightFormat::Q4 | WeightFormat::Q5);
        format == Format::of(stored) || (format == Format::Q8 && fewer_bits)
    }
}
