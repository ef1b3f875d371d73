//! Linear layers: quantize a tile of rows once, multiply by as many matrices as share it.

use crate::kernels::scalar::{NotFinite, quantize_row};
use crate::kernels::{Activations, Kernels};
use crate::packed::{GROUP, PackedMatrix};

/// Room for a tile of quantized rows.
pub(crate) struct ActivationBuffer<'a> {
    pub(crate) values: &'a mut [i8],
    pub(crate) scales: &'a mut [f32],
}

impl ActivationBuffer<'_> {
    /// Quantizes `x` as row `row`; all rows of a tile have the same length.
    #[inline(always)]
    pub(crate) fn quantize_row(&mut self, row: usize, x: &[f32]) -> Result<(), NotFinite> {
        let groups = x.len().div_ceil(GROUP).max(1);
        let values = self.values.chunks_exact_mut(groups * GROUP).nth(row);
        let scales = self.scales.chunks_exact_mut(groups).nth(row);
        quantize_row(x, values.unwrap_or_default(), scales.unwrap_or_default())
    }

    /// Quantizes the rows `[rows, cols]` of `x`.
    #[inline(always)]
    pub(crate) fn quantize_rows(&mut self, x: &[f32], cols: usize) -> Result<(), NotFinite> {
        let mut rows = x.chunks_exact(cols.max(1)).enumerate();
        rows.try_for_each(|(row, x)| self.quantize_row(row, x))
    }

    /// `out = rows * matrix^T`, `[rows, matrix.rows()]`.
    pub(crate) fn multiply<K: Kernels>(
        &self,
        kernels: K,
        rows: usize,
        matrix: &PackedMatrix<'_>,
        out: &mut [f32],
    ) {
        let groups = matrix.groups();
        let values = self.values.get(..rows * groups * GROUP).unwrap_or_default();
        let scales = self.scales.get(..rows * groups).unwrap_or_default();
        let out = out.get_mut(..rows * matrix.rows()).unwrap_or_default();
        kernels.matmul(matrix, &Activations::new(groups, values, scales), out);
    }
}
