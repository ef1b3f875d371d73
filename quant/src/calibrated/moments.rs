//! Second moments of the inputs of a matrix.

use crate::parallel::in_order;
use std::convert::Infallible;

/// Rows of the matrix of moments that a thread takes at a time.
const ROWS_PER_PIECE: usize = 8;

/// The sum of `c x x^T` over input rows `x` and their weights `c`, in `f64`.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    size: usize,
    /// `[size, size]`; what is above the diagonal stays zero.
    sums: Vec<f64>,
    total: f64,
}

impl Moments {
    /// Nothing seen yet of inputs of `size` numbers.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self { size, sums: vec![0.0; size * size], total: 0.0 }
    }

    /// Numbers of an input row.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Adds `rows`, `[weights.len(), size]`. Rows of weight 0 are passed over.
    pub fn add(&mut self, rows: &[f32], weights: &[f32], threads: usize) {
        let size = self.size.max(1);
        let wide: Vec<(f64, Vec<f64>)> = rows
            .chunks_exact(size)
            .zip(weights)
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(row, weight)| (f64::from(*weight), row.iter().map(|x| f64::from(*x)).collect()))
            .collect();
        self.total += wide.iter().map(|(weight, _)| weight).sum::<f64>();
        let pieces = self.sums.chunks_mut(ROWS_PER_PIECE * size).enumerate();
        let work = |_: &mut (), (piece, sums): (usize, &mut [f64])| {
            let first = piece * ROWS_PER_PIECE;
            for (weight, row) in &wide {
                for (i, sums) in (first..).zip(sums.chunks_exact_mut(size)) {
                    let factor = weight * row[i];
                    sums[..=i].iter_mut().zip(row).for_each(|(sum, x)| *sum += factor * x);
                }
            }
            Ok::<(), Infallible>(())
        };
        let Ok(_) = in_order(threads, pieces, || (), work);
    }

    /// The mean `[size, size]` over all weight; zeros if there was none.
    #[must_use]
    pub fn mean(&self) -> Vec<f64> {
        let (size, scale) = (self.size, if self.total > 0.0 { 1.0 / self.total } else { 0.0 });
        let mut mean = vec![0.0; size * size];
        for i in 0..size {
            for j in 0..=i {
                let value = self.sums[i * size + j] * scale;
                (mean[i * size + j], mean[j * size + i]) = (value, value);
            }
        }
        mean
    }
}
