//! What rounding a row of weights is to make small.

/// Part of the mean of the diagonal that is added to every entry of it (as in GPTQ). It keeps weights
/// whose inputs the calibration run never saw near their values.
const DAMPING: f64 = 0.01;
/// Far beyond what rounding asks for.
const MOST_DAMPING: f64 = 1e6;

/// The loss `d^T H d` of the difference `d` between a row of weights and what is stored of it.
///
/// It is factored as `H = R R^T` with an upper triangular `R`. With `a[j, k] = R[j, k] / R[k, k]` and
/// `t[k] = w[k] + sum over j < k of d[j] a[j, k]`, the loss is the sum of `R[k, k]^2 (t[k] - q[k])^2`: so
/// `t[k]` is what weight `k` should be once all weights before it are stored, and those behind it are still
/// free. (Chee et al. 2023, arXiv 2307.13304, show that this is what GPTQ computes.)
#[derive(Debug, Clone)]
pub struct Objective {
    size: usize,
    /// Damped `H`, `[size, size]`.
    hessian: Vec<f64>,
    /// `a`, `[size, size]`; `None` where `H` is diagonal.
    feedback: Option<Vec<f64>>,
    /// `R[k, k]^2`
    pivots: Vec<f64>,
}

impl Objective {
    /// From mean moments `[size, size]`: GPTQ's objective.
    #[must_use]
    pub fn full(moments: &[f64], size: usize) -> Self {
        let mut damping = DAMPING;
        while damping < MOST_DAMPING {
            let hessian = damped(moments, size, damping);
            if let Some(mut factor) = upper_factor(&hessian, size) {
                let pivots: Vec<f64> = (0..size).map(|k| factor[k * size + k].powi(2)).collect();
                for row in factor.chunks_exact_mut(size) {
                    row.iter_mut().zip(&pivots).for_each(|(r, pivot)| *r /= pivot.sqrt());
                }
                return Self { size, hessian, feedback: Some(factor), pivots };
            }
            // Sums of squares are never indefinite but for rounding, which more damping outweighs.
            damping *= 10.0;
        }
        // Nothing is known of inputs that are no numbers.
        Self::diagonal(moments, size)
    }

    /// From the diagonal of mean moments alone: how much each weight matters.
    #[must_use]
    pub fn diagonal(moments: &[f64], size: usize) -> Self {
        let damped = damped(moments, size, DAMPING);
        let pivots: Vec<f64> = (0..size).map(|k| damped[k * size + k]).collect();
        let mut hessian = vec![0.0; size * size];
        pivots.iter().enumerate().for_each(|(k, pivot)| hessian[k * size + k] = *pivot);
        Self { size, hessian, feedback: None, pivots }
    }

    /// Weights of a row.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    pub(super) fn pivots(&self) -> &[f64] {
        &self.pivots
    }

    /// How much each difference before weight `j` of this row adds to what the others should be.
    pub(super) fn feedback(&self, j: usize) -> Option<&[f64]> {
        Some(&self.feedback.as_ref()?[j * self.size..][..self.size])
    }

    /// Row (or column) `k` of the damped `H`.
    pub(super) fn hessian(&self, k: usize) -> &[f64] {
        &self.hessian[k * self.size..][..self.size]
    }

    /// `d^T H d`
    #[must_use]
    pub fn loss(&self, differences: &[f64]) -> f64 {
        quadratic(&self.hessian, differences)
    }
}

/// `d^T H d` with `H` `[d.len(), d.len()]`.
pub(super) fn quadratic(hessian: &[f64], d: &[f64]) -> f64 {
    let rows = hessian.chunks_exact(d.len().max(1)).zip(d).filter(|(_, d)| **d != 0.0);
    rows.map(|(row, di)| di * row.iter().zip(d).map(|(h, dj)| h * dj).sum::<f64>()).sum()
}

/// Without any moments, every weight matters alike.
fn damped(moments: &[f64], size: usize, damping: f64) -> Vec<f64> {
    let mut hessian = moments.to_vec();
    let mean = (0..size).map(|k| moments[k * size + k]).sum::<f64>() / size.max(1) as f64;
    let added = if mean > 0.0 { damping * mean } else { 1.0 };
    (0..size).for_each(|k| hessian[k * size + k] += added);
    hessian
}

/// Cholesky from the last row up: `R` upper triangular with `R R^T = H`, `[size, size]`.
fn upper_factor(hessian: &[f64], size: usize) -> Option<Vec<f64>> {
    let mut factor = hessian.to_vec();
    for k in (0..size).rev() {
        let (above, from_k) = factor.split_at_mut(k * size);
        let row = &mut from_k[..size];
        let (head, tail) = row.split_at_mut(k + 1);
        let square = head[k] - tail.iter().map(|r| r * r).sum::<f64>();
        if !(square > 0.0 && square.is_finite()) {
            return None;
        }
        let pivot = square.sqrt();
        head[k] = pivot;
        head[..k].fill(0.0);
        for other in above.chunks_exact_mut(size) {
            let dot: f64 = other[k + 1..].iter().zip(&*tail).map(|(a, b)| a * b).sum();
            other[k] = (other[k] - dot) / pivot;
        }
    }
    Some(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_multiplied_out_is_the_matrix() {
        let h = [4.0, 1.0, 0.5, 1.0, 3.0, -0.2, 0.5, -0.2, 2.0];
        let r = upper_factor(&h, 3).unwrap();
        for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
            let product: f64 = (0..3).map(|k| r[i * 3 + k] * r[j * 3 + k]).sum();
            assert!((product - h[i * 3 + j]).abs() < 1e-12);
            assert!(j >= i || r[i * 3 + j] == 0.0);
        }
        assert_eq!(upper_factor(&[1.0, 2.0, 2.0, 1.0], 2), None);
    }

    #[test]
    fn moments_that_are_no_numbers_come_to_an_end() {
        let broken = Objective::full(&[f64::NAN, 0.0, 0.0, 1.0], 2);
        assert!(broken.feedback(0).is_none());
    }
}
