//! The constants of an adaptive layer norm at noise level zero (MDLM and BD3-LM).
//!
//! The conditioning vector is `c = silu(W2 silu(W1 e + b1) + b2)`, where `e` embeds the noise level
//! by 128 cosines and 128 sines: ones and zeros at level zero. Each block takes `A c + b` from it,
//! six runs as wide as the model, and the norm before the head two. Sums are in f64: these numbers
//! go into weights and are computed once.

use super::families::{Fold, FoldKind};
use super::safetensors::{Weights, WeightsError};

/// Entries of the embedded noise level.
pub(super) const FREQUENCIES: usize = 256;
/// Runs of values that a block takes.
pub(super) const LAYER_VALUES: usize = 6;
/// Runs of values that the norm before the head takes.
pub(super) const LAST_VALUES: usize = 2;

/// The values that modulate norms and projections, each run as wide as the model.
#[derive(Debug)]
pub(super) struct Modulation {
    layers: Vec<Vec<f32>>,
    last: Vec<f32>,
    width: usize,
}

impl Modulation {
    /// Computes all values for a model of a `width` and number of `layers`, with a conditioning
    /// vector of `cond` entries. The tensors' shapes have been checked.
    pub(super) fn read(
        weights: &Weights,
        layers: u32,
        width: usize,
        cond: usize,
    ) -> Result<Self, WeightsError> {
        let mut level = [0.0; FREQUENCIES];
        level[..FREQUENCIES / 2].fill(1.0);
        let mut c = linear(weights, "backbone.sigma_map.mlp.0", &level, cond)?;
        c.iter_mut().for_each(silu);
        let mut c = linear(weights, "backbone.sigma_map.mlp.2", &c, cond)?;
        c.iter_mut().for_each(silu);
        let values = |name: &str, runs: usize| -> Result<Vec<f32>, WeightsError> {
            let values = linear(weights, name, &c, runs * width)?;
            Ok(values.into_iter().map(|v| v as f32).collect())
        };
        let block =
            |layer| values(&format!("backbone.blocks.{layer}.adaLN_modulation"), LAYER_VALUES);
        Ok(Self {
            layers: (0..layers).map(block).collect::<Result<_, _>>()?,
            last: values("backbone.output_layer.adaLN_modulation", LAST_VALUES)?,
            width,
        })
    }

    /// Folds values into `out` `[rows, cols]`, which holds the rows of a tensor from `first` on.
    pub(super) fn apply(&self, fold: Fold, first: usize, cols: usize, out: &mut [f32]) {
        let values = match fold.layer {
            Some(layer) => self.layers.get(layer as usize),
            None => Some(&self.last),
        };
        let run = values.and_then(|values| values.chunks_exact(self.width).nth(fold.chunk));
        let Some(run) = run else { return };
        let rows = out.chunks_exact_mut(cols.max(1));
        match fold.kind {
            FoldKind::Scale => pairs(rows, run, |w, m| w * (1.0 + m)),
            FoldKind::Shift => pairs(rows, run, |w, m| w + m),
            FoldKind::GateColumns => pairs(rows, run, |w, m| w * m),
            FoldKind::GateRows => {
                for (row, m) in rows.zip(run.iter().skip(first)) {
                    row.iter_mut().for_each(|w| *w *= m);
                }
            }
        }
    }
}

/// Combines every row with the values, column by column.
fn pairs<'a>(
    rows: impl Iterator<Item = &'a mut [f32]>,
    run: &[f32],
    combine: impl Fn(f32, f32) -> f32,
) {
    for row in rows {
        row.iter_mut().zip(run).for_each(|(w, m)| *w = combine(*w, *m));
    }
}

/// `W x + b` of the linear layer with this name and `outputs` rows.
fn linear(
    weights: &Weights,
    name: &str,
    x: &[f64],
    outputs: usize,
) -> Result<Vec<f64>, WeightsError> {
    let mut bias = vec![0.0; outputs];
    weights.read_rows(&format!("{name}.bias"), 0..1, &mut bias)?;
    let (name, mut row) = (format!("{name}.weight"), vec![0.0; x.len()]);
    let mut out = Vec::with_capacity(outputs);
    for (index, bias) in bias.into_iter().enumerate() {
        weights.read_rows(&name, index..index + 1, &mut row)?;
        let products = row.iter().zip(x).map(|(w, x)| f64::from(*w) * x);
        out.push(products.sum::<f64>() + f64::from(bias));
    }
    Ok(out)
}

fn silu(x: &mut f64) {
    *x /= 1.0 + (-*x).exp();
}
