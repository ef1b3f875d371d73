//! Normalized rows as the input of matrix products: norm and quantization in one go, row by row.

use super::linear::{ActivationBuffer, Tile};
use crate::kernels::Kernels;
use crate::kernels::scalar::NotFinite;
use crate::packed::WeightFormat;
use crate::rows::Rows;

/// Rows of the residual stream, and the norm in front of the products that read them.
#[derive(Clone, Copy)]
pub(crate) struct NormInput<'t> {
    pub(crate) rows: Rows<'t>,
    /// `[.., model_dim]`; its first row is canvas position `first`.
    pub(crate) hidden: &'t [f32],
    pub(crate) first: usize,
    /// `[model_dim]`
    pub(crate) norm: &'t [f32],
    pub(crate) eps: f32,
}

impl NormInput<'_> {
    /// Normalizes and quantizes all rows for products with weights of `format`. `row` is room for
    /// one normalized row.
    pub(crate) fn quantize<'b, K: Kernels>(
        &self,
        kernels: K,
        format: WeightFormat,
        row: &mut [f32],
        buffer: &'b mut ActivationBuffer<'_>,
    ) -> Result<Tile<'b>, NotFinite> {
        let dim = self.norm.len().max(1);
        let mut tile = buffer.tile(format, self.rows.len(), dim);
        for (i, position) in self.rows.iter().enumerate() {
            let at = position.saturating_sub(self.first);
            let x = self.hidden.chunks_exact(dim).nth(at).unwrap_or_default();
            kernels.vectorize(|| kernels.rms_norm(x, self.norm, self.eps, row))?;
            tile.quantize_row(kernels, i, row)?;
        }
        Ok(tile)
    }
}
