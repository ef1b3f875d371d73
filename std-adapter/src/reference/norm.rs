//! Normalization of rows, with every sum in f64.

use demask::image::Norm as Kind;

/// Weights of a norm, and its bias if it is a LayerNorm.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    pub(super) kind: Kind,
    pub(super) epsilon: f32,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
}

impl Norm {
    /// Normalizes `x` `[rows, width]`.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut out = x.to_vec();
        self.apply_in_place(&mut out);
        out
    }

    /// As [`Self::apply`]; a head's norm normalizes each head of each row.
    pub(super) fn apply_in_place(&self, x: &mut [f32]) {
        let width = self.weight.len();
        for row in x.chunks_exact_mut(width) {
            let mean = match self.kind {
                Kind::Rms => 0.0,
                Kind::Layer => row.iter().map(|&v| f64::from(v)).sum::<f64>() / width as f64,
            };
            let squares = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
            let scale = 1.0 / (squares / width as f64 + f64::from(self.epsilon)).sqrt();
            for (v, weight) in row.iter_mut().zip(&self.weight) {
                *v = ((f64::from(*v) - mean) * scale) as f32 * weight;
            }
            let bias = self.bias.iter().flatten();
            row.iter_mut().zip(bias).for_each(|(v, bias)| *v += bias);
        }
    }
}
