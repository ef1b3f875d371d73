//! Normalized rows as the input of matrix products: norm and quantization in one go, row by row.

use super::linear::{ActivationBuffer, Tile};
use super::weights::Part;
use crate::kernels::Kernels;
use crate::kernels::scalar::{NotFinite, inverse_rms};
use crate::math::{sqrt, sum_by};
use crate::packed::WeightFormat;
use crate::rows::Rows;

/// A norm of the residual stream: LayerNorm if it has a bias, else RMSNorm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormWeights<'a> {
    /// `[model_dim]`
    pub(crate) weight: &'a [f32],
    /// `[model_dim]`
    pub(crate) bias: Part<&'a [f32]>,
}

/// Rows of the residual stream, and the norm in front of the products that read them.
#[derive(Clone, Copy)]
pub(crate) struct NormInput<'t> {
    pub(crate) rows: Rows<'t>,
    /// `[.., model_dim]`; its first row is canvas position `first`.
    pub(crate) hidden: &'t [f32],
    pub(crate) first: usize,
    pub(crate) norm: NormWeights<'t>,
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
        let mut tile = buffer.tile(format, self.rows.len(), self.dim());
        let row = row.get_mut(..self.dim()).unwrap_or_default();
        for (i, position) in self.rows.iter().enumerate() {
            self.normalize(kernels, position, row)?;
            tile.quantize_row(kernels, i, row)?;
        }
        Ok(tile)
    }

    /// Width of a row.
    pub(crate) fn dim(&self) -> usize {
        self.norm.weight.len().max(1)
    }

    /// The normalized row of `position`, into `out` (`[model_dim]`).
    #[inline(always)]
    pub(crate) fn normalize<K: Kernels>(
        &self,
        kernels: K,
        position: usize,
        out: &mut [f32],
    ) -> Result<(), NotFinite> {
        let at = position.saturating_sub(self.first);
        let x = self.hidden.chunks_exact(self.dim()).nth(at).unwrap_or_default();
        let NormWeights { weight, bias } = self.norm;
        kernels.vectorize(|| match bias.present() {
            None => kernels.rms_norm(x, weight, self.eps, out),
            Some(bias) => layer_norm(x, weight, bias, self.eps, out),
        })
    }
}

/// LayerNorm (Ba et al. 2016) of one row: `(x - mean) / sqrt(variance + eps) * weight + bias`.
///
/// The variance is taken about the mean, in a pass of its own: the difference of two means of
/// squares would lose what a large mean has in common with them.
#[inline(always)]
fn layer_norm(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), NotFinite> {
    let count = x.len().max(1) as f32;
    let mean = sum_by(x, |x| x) / count;
    let variance = sum_by(x, |x| (x - mean) * (x - mean)) / count;
    if !variance.is_finite() {
        return Err(NotFinite);
    }
    let inverse = 1.0 / sqrt(variance + eps);
    for (((y, x), w), b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *y = ((x - mean) * inverse) * w + b;
    }
    Ok(())
}

/// RMSNorm of every head of one row `[heads, weight.len()]` in place.
#[inline(always)]
pub(crate) fn normalize_heads(row: &mut [f32], weight: &[f32], eps: f32) -> Result<(), NotFinite> {
    for head in row.chunks_exact_mut(weight.len().max(1)) {
        let inverse = inverse_rms(head, eps)?;
        for (x, w) in head.iter_mut().zip(weight) {
            *x = (*x * inverse) * w;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_norm_gives_mean_zero_and_unit_variance_before_weight_and_bias() {
        let x = [1001.0, 1003.0, 1005.0, 999.0];
        let mut y = [0.0; 4];
        layer_norm(&x, &[1.0, 2.0, 1.0, 1.0], &[0.5, 0.0, 0.0, 0.0], 1e-12, &mut y).unwrap();
        let deviation = 5.0f32.sqrt();
        let expected = [-1.0 / deviation + 0.5, 2.0 / deviation, 3.0 / deviation, -3.0 / deviation];
        for (y, expected) in y.iter().zip(expected) {
            assert!((y - expected).abs() < 1e-5, "{y} {expected}");
        }
        let overflow = layer_norm(&[1e30, -1e30], &[1.0; 2], &[0.0; 2], 1e-5, &mut [0.0; 2]);
        assert_eq!(overflow, Err(NotFinite));
    }

    #[test]
    fn every_head_is_normalized_on_its_own() {
        let mut row = [3.0, 4.0, -30.0, 40.0];
        normalize_heads(&mut row, &[1.0, 2.0], 1e-12).unwrap();
        let rms = 12.5f32.sqrt();
        for (x, expected) in row.iter().zip([3.0 / rms, 8.0 / rms, -3.0 / rms, 8.0 / rms]) {
            assert!((x - expected).abs() < 1e-6);
        }
    }
}
