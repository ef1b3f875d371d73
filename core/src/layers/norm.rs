//! RMSNorm (Zhang and Sennrich 2019): `x / sqrt(mean(x^2) + eps) * weight`.

use crate::kernels::scalar::NotFinite;
use crate::math::{sqrt, sum_by};

/// Normalizes one row `[model_dim]` into `out`.
///
/// # Errors
/// [`NotFinite`] if the mean square is not finite: an infinite one would give a row of zeros.
#[inline(always)]
pub(crate) fn rms_norm(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), NotFinite> {
    let mean_square = sum_by(x, |x| x * x) / x.len().max(1) as f32;
    if !mean_square.is_finite() {
        return Err(NotFinite);
    }
    let inverse = 1.0 / sqrt(mean_square + eps);
    for ((y, x), w) in out.iter_mut().zip(x).zip(weight) {
        *y = (x * inverse) * w;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes_to_unit_mean_square() {
        let x = [3.0, -4.0, 12.0];
        let mut y = [0.0; 3];
        rms_norm(&x, &[1.0, 1.0, 2.0], 1e-12, &mut y).unwrap();
        let rms = (169.0f32 / 3.0).sqrt();
        for (y, x) in y.iter().zip([3.0, -4.0, 24.0]) {
            assert!((y - x / rms).abs() < 1e-6);
        }
    }

    #[test]
    fn overflow_is_an_error() {
        assert_eq!(rms_norm(&[1e30], &[1.0], 1e-5, &mut [0.0]), Err(NotFinite));
        assert_eq!(rms_norm(&[f32::NAN], &[1.0], 1e-5, &mut [0.0]), Err(NotFinite));
    }
}
