//! Linear layers: quantize a tile of rows once, multiply by as many matrices as share it.

use crate::kernels::scalar::NotFinite;
use crate::kernels::{ActivationsMut, Kernels};
use crate::packed::{GROUP, Layout, PackedMatrix, WeightFormat};

/// A projection: weights `[rows, cols]`, and in some models a bias.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear<'a> {
    pub(crate) matrix: PackedMatrix<'a>,
    /// `[rows]`, added to the products.
    pub(crate) bias: Option<&'a [f32]>,
}

impl Linear<'_> {
    /// Outputs.
    pub(crate) fn rows(&self) -> usize {
        self.matrix.rows()
    }

    /// How the weights are stored.
    pub(crate) fn format(&self) -> WeightFormat {
        self.matrix.format()
    }

    /// The outputs from `first` (a multiple of 16) on, at most `count`.
    pub(crate) fn slice_rows(&self, first: usize, count: usize) -> Option<Self> {
        let matrix = self.matrix.slice_rows(first, count)?;
        let bias = self.bias.and_then(|bias| bias.get(first..)?.get(..matrix.rows()));
        Some(Self { matrix, bias })
    }
}

/// A tile of quantized rows, and room for it.
#[derive(Default)]
pub(crate) struct ActivationBuffer<'a> {
    /// As many words as the layout asks for.
    pub(crate) words: &'a mut [u32],
    pub(crate) layout: Layout,
}

/// The rows of one tile, quantized for one format of weights.
pub(crate) struct Tile<'a>(Option<ActivationsMut<'a>>);

impl ActivationBuffer<'_> {
    /// A tile of `rows` rows of `cols` columns for products with weights of `format`; the rows are
    /// to be quantized next.
    pub(crate) fn tile(&mut self, format: WeightFormat, rows: usize, cols: usize) -> Tile<'_> {
        Tile(ActivationsMut::new(format, self.layout, rows, cols.div_ceil(GROUP), self.words))
    }
}

impl Tile<'_> {
    /// Quantizes `x` as row `row`.
    #[inline(always)]
    pub(crate) fn quantize_row<K: Kernels>(
        &mut self,
        kernels: K,
        row: usize,
        x: &[f32],
    ) -> Result<(), NotFinite> {
        self.0.as_mut().map_or(Ok(()), |tile| kernels.quantize_row(x, row, tile))
    }

    /// Quantizes the rows `[rows, cols]` of `x`.
    pub(crate) fn quantize_rows<K: Kernels>(
        &mut self,
        kernels: K,
        x: &[f32],
        cols: usize,
    ) -> Result<(), NotFinite> {
        let mut rows = x.chunks_exact(cols.max(1)).enumerate();
        rows.try_for_each(|(row, x)| self.quantize_row(kernels, row, x))
    }

    /// `out = rows * matrix^T + bias`, `[rows, linear.rows()]`.
    pub(crate) fn multiply<K: Kernels>(&self, kernels: K, linear: &Linear<'_>, out: &mut [f32]) {
        let Some(tile) = &self.0 else { return };
        let out = out.get_mut(..tile.rows() * linear.rows()).unwrap_or_default();
        kernels.matmul(&linear.matrix, &tile.view(), out);
        if let Some(bias) = linear.bias {
            kernels.vectorize(|| add_to_rows(out, bias));
        }
    }
}

#[inline(always)]
fn add_to_rows(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len().max(1)) {
        for (x, bias) in row.iter_mut().zip(bias) {
            *x += bias;
        }
    }
}
