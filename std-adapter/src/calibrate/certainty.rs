//! How much each row of a canvas counts in the moments.
//!
//! Only masked rows give output, and of those the ones that the model is sure of are committed next. DLLMQuant
//! (arXiv 2508.14090) calls `H = sum c x x^T` with such weights its certainty-guided Hessian. Other rows count
//! too, since masked rows attend to them.

use super::canvases::Canvas;
use crate::reference::{ReferenceError, ReferenceModel, Sight};
use demask_quant::calibrated::Moments;
use rayon::prelude::*;

/// Weight of each kind of row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowWeights {
    /// Rows without output.
    pub context: f32,
    /// Rows with output.
    pub output: f32,
    /// Added to those, times the probability of their most probable token.
    pub certainty: f32,
}

impl Default for RowWeights {
    fn default() -> Self {
        Self { context: 0.5, output: 0.5, certainty: 0.5 }
    }
}

/// What the float model says about canvases.
#[derive(Debug)]
pub struct Rows {
    /// Weight of every row of every canvas.
    pub weights: Vec<Vec<f32>>,
    /// Moments of what goes into the head, over rows with output.
    pub head: Moments,
}

/// Runs the float model over all canvases.
///
/// # Errors
/// [`ReferenceError`] for a canvas that does not fit the model.
pub fn look(
    model: &ReferenceModel,
    canvases: &[Canvas],
    row_weights: &RowWeights,
    threads: usize,
) -> Result<Rows, ReferenceError> {
    let width = model.config().model_dim as usize;
    let mut rows = Rows { weights: Vec::with_capacity(canvases.len()), head: Moments::new(width) };
    for batch in canvases.chunks(super::layers::BATCH) {
        let looked = batch.par_iter().map(|canvas| look_at(model, canvas, row_weights));
        let looked: Vec<_> = looked.collect::<Result<_, _>>()?;
        for (canvas, (hidden, weights)) in batch.iter().zip(looked) {
            let own: Vec<f32> = canvas.outputs.iter().map(|&row| weights[row]).collect();
            rows.head.add(&hidden, &own, threads);
            rows.weights.push(weights);
        }
    }
    Ok(rows)
}

/// Final hidden states of the rows with output, and the weights of all rows.
fn look_at(
    model: &ReferenceModel,
    canvas: &Canvas,
    row_weights: &RowWeights,
) -> Result<(Vec<f32>, Vec<f32>), ReferenceError> {
    let sight = Sight::of_model(model.config(), canvas.ids.len());
    let hidden = model.hidden_rows(&canvas.ids, &canvas.outputs, &sight)?;
    let logits = model.head(&hidden);
    let mut weights = vec![row_weights.context; canvas.ids.len()];
    let vocab = model.config().vocab_size as usize;
    for (&row, logits) in canvas.outputs.iter().zip(logits.chunks_exact(vocab)) {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        weights[row] = row_weights.output + row_weights.certainty * (1.0 / sum) as f32;
    }
    Ok((hidden, weights))
}
