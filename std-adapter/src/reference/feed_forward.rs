//! Feed-forward networks: one per layer, and mixtures of experts.

use demask::image::Experts;
use rayon::prelude::*;

use super::attention::{Projection, softmax};
use super::linear::{linear, linear_rows};
use super::matrix::Matrix;

/// A feed-forward network that every row goes through; also the shared expert.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    /// `None` with GELU.
    pub(super) gate: Option<Matrix>,
    pub(super) up: Projection,
    pub(super) down: Projection,
}

impl Dense {
    /// The input of the down projection.
    pub(super) fn hidden(&self, x: &[f32]) -> Vec<f32> {
        let up = self.up.apply(x);
        match &self.gate {
            Some(gate) => swiglu(linear(x, gate), &up),
            None => gelu(up),
        }
    }
}

/// `silu(gate) * up`.
fn swiglu(mut gate: Vec<f32>, up: &[f32]) -> Vec<f32> {
    let pairs = gate.par_iter_mut().with_min_len(4096).zip(up);
    pairs.for_each(|(g, u)| *g = *g * sigmoid(*g) * u);
    gate
}

/// The tanh form of GELU (Hendrycks and Gimpel 2016).
fn gelu(mut x: Vec<f32>) -> Vec<f32> {
    let slope = (2.0 / std::f32::consts::PI).sqrt();
    x.par_iter_mut().with_min_len(4096).for_each(|x| {
        let inner = slope * (*x + 0.044_715 * *x * *x * *x);
        *x = 0.5 * *x * (1.0 + inner.tanh());
    });
    x
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The experts of a layer, their matrices one below the other.
#[derive(Debug, Clone)]
pub(super) struct Mixture {
    pub(super) settings: Experts,
    pub(super) router: Matrix,
    pub(super) choice_bias: Option<Vec<f32>>,
    pub(super) gates: Matrix,
    pub(super) ups: Matrix,
    pub(super) downs: Matrix,
}

/// A row that goes through an expert, and the weight of what comes out.
type Routed = (usize, f32);

impl Mixture {
    /// The weighted sum of the outputs of each row's experts, `[rows, width]`. Shows the input of
    /// each expert's down projection.
    pub(super) fn apply(&self, x: &[f32], mut observe: impl FnMut(&[f32])) -> Vec<f32> {
        let width = self.router.cols();
        let ffn = self.settings.ffn_dim as usize;
        let mut out = vec![0.0; x.len()];
        for (expert, routed) in self.rows_of_experts(x).iter().enumerate() {
            if routed.is_empty() {
                continue;
            }
            let rows = routed.iter().flat_map(|(row, _)| &x[row * width..][..width]);
            let input: Vec<f32> = rows.copied().collect();
            let own = expert * ffn..(expert + 1) * ffn;
            let up = linear_rows(&input, &self.ups, own.clone());
            let hidden = swiglu(linear_rows(&input, &self.gates, own), &up);
            observe(&hidden);
            let own = expert * width..(expert + 1) * width;
            let outputs = linear_rows(&hidden, &self.downs, own);
            for ((row, weight), output) in routed.iter().zip(outputs.chunks_exact(width)) {
                let sums = out[row * width..].iter_mut().zip(output);
                sums.for_each(|(sum, o)| *sum += weight * o);
            }
        }
        out
    }

    /// By expert, the rows that go through it.
    fn rows_of_experts(&self, x: &[f32]) -> Vec<Vec<Routed>> {
        let count = self.settings.count as usize;
        let mut rows_of = vec![Vec::new(); count];
        for (row, scores) in linear(x, &self.router).chunks_exact_mut(count).enumerate() {
            for (expert, weight) in self.route(scores) {
                rows_of[expert].push((row, weight));
            }
        }
        rows_of
    }

    /// The experts of one row and their weights, from the router's outputs.
    fn route(&self, scores: &mut [f32]) -> Vec<(usize, f32)> {
        let settings = &self.settings;
        match settings.sigmoid {
            true => scores.iter_mut().for_each(|s| *s = sigmoid(*s)),
            false => softmax(scores),
        }
        let mut wanted = scores.to_vec();
        if let Some(bias) = &self.choice_bias {
            super::add(&mut wanted, bias);
        }
        let group = (settings.count / settings.groups) as usize;
        // A group is worth as much as its best two.
        let worth = |group: &[f32]| best(group, 2).map(|i| group[i]).sum();
        let groups: Vec<f32> = wanted.chunks_exact(group).map(worth).collect();
        let open: Vec<usize> = best(&groups, settings.groups_per_token as usize).collect();
        for (i, wanted) in wanted.iter_mut().enumerate() {
            if !open.contains(&(i / group)) {
                *wanted = f32::NEG_INFINITY;
            }
        }
        let chosen: Vec<usize> = best(&wanted, settings.per_token as usize).collect();
        let sum: f32 = chosen.iter().map(|&i| scores[i]).sum();
        // The small number is the published one; it keeps scores of zero from becoming NaN.
        let divisor = if settings.normalize { sum + 1e-20 } else { 1.0 };
        chosen.into_iter().map(|i| (i, scores[i] / divisor * settings.scale)).collect()
    }
}

/// Places of the `count` largest values, the first of equal ones first.
fn best(values: &[f32], count: usize) -> impl Iterator<Item = usize> {
    let mut places: Vec<usize> = (0..values.len()).collect();
    places.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    places.into_iter().take(count)
}

#[cfg(test)]
#[path = "feed_forward_tests.rs"]
mod tests;
