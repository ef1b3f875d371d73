//! How much each row of a canvas counts in the moments.
//!
//! Only masked rows give output, and of those the ones that the model is sure of are committed next. DLLMQuant
//! (arXiv 2508.14090) calls `H = sum c x x^T` with such weights its certainty-guided Hessian. Other rows count
//! too, since masked rows attend to them.

use super::canvases::Canvas;
use super::error::CalibrateError;
use super::streamed::Streamed;
use crate::reference::ReferenceHead;
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
/// [`CalibrateError`] for weights that cannot be read and canvases that do not fit the model.
pub fn look(
    model: &Streamed<'_>,
    canvases: &[Canvas],
    row_weights: &RowWeights,
    threads: usize,
) -> Result<Rows, CalibrateError> {
    let width = model.config().model_dim as usize;
    let hidden = hidden_of_outputs(model, canvases)?;
    let head = model.head()?;
    let weights = canvases.par_iter().zip(&hidden);
    let weights: Vec<_> = weights.map(|(c, hidden)| weigh(&head, c, hidden, row_weights)).collect();
    let mut moments = Moments::new(width);
    for ((canvas, hidden), weights) in canvases.iter().zip(&hidden).zip(&weights) {
        let own: Vec<f32> = canvas.outputs.iter().map(|&row| weights[row]).collect();
        moments.add(hidden, &own, threads);
    }
    Ok(Rows { weights, head: moments })
}

/// Final hidden states `[outputs, model_dim]` of the rows with output, canvas by canvas.
pub(super) fn hidden_of_outputs(
    model: &Streamed<'_>,
    canvases: &[Canvas],
) -> Result<Vec<Vec<f32>>, CalibrateError> {
    let width = model.config().model_dim as usize;
    let ids: Vec<&[u32]> = canvases.iter().map(|canvas| &canvas.ids[..]).collect();
    let chosen = canvases.iter().zip(model.hidden(&ids)?).map(|(canvas, hidden)| {
        canvas.outputs.iter().flat_map(|row| &hidden[row * width..][..width]).copied().collect()
    });
    Ok(chosen.collect())
}

/// The weights of all rows of a canvas, from the `hidden` states of those with output.
fn weigh(
    head: &ReferenceHead,
    canvas: &Canvas,
    hidden: &[f32],
    row_weights: &RowWeights,
) -> Vec<f32> {
    let mut weights = vec![row_weights.context; canvas.ids.len()];
    let logits = head.logits(hidden);
    let vocab = logits.len() / canvas.outputs.len().max(1);
    for (&row, logits) in canvas.outputs.iter().zip(logits.chunks_exact(vocab.max(1))) {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        weights[row] = row_weights.output + row_weights.certainty * (1.0 / sum) as f32;
    }
    weights
}
