//! How far the answers of a rounded model are from those of the float one.

use super::canvases::Canvas;
use super::error::CalibrateError;
use crate::reference::{ReferenceModel, Sight};
use rayon::prelude::*;

/// Classes of canvases, by share of the answer that is masked.
pub const DECILES: usize = 10;

/// Kullback-Leibler divergence, in nats, of a model's distributions from the float model's, on the rows of
/// canvases that have output.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    /// Rows that were compared.
    pub rows: usize,
    /// Mean over rows.
    pub mean: f64,
    /// Standard error of the mean; rows of one canvas are not independent, canvases are.
    pub standard_error: f64,
    /// Share of rows with the same most probable token.
    pub same_top: f64,
    /// Mean over rows of canvases with up to 10 %, 20 %, ... masked; `None` without such canvases.
    pub deciles: [Option<f64>; DECILES],
}

/// What the float model answers.
pub struct Distributions<'m> {
    model: &'m ReferenceModel,
    canvases: &'m [Canvas],
    /// Final hidden states of the rows with output, by canvas: logits would take too much room.
    hidden: Vec<Vec<f32>>,
}

/// Sums over the rows of a canvas.
struct Sums {
    decile: usize,
    rows: usize,
    divergence: f64,
    same_top: usize,
}

impl<'m> Distributions<'m> {
    /// Runs the float model.
    ///
    /// # Errors
    /// [`CalibrateError::Reference`] for a canvas that does not fit the model.
    pub fn new(model: &'m ReferenceModel, canvases: &'m [Canvas]) -> Result<Self, CalibrateError> {
        let run = |canvas: &Canvas| {
            let sight = Sight::of_model(model.config(), canvas.ids.len());
            model.hidden_rows(&canvas.ids, &canvas.outputs, &sight)
        };
        let hidden = canvases.par_iter().map(run).collect::<Result<_, _>>()?;
        Ok(Self { model, canvases, hidden })
    }

    /// Compares with another model, whose `logits` `[outputs, vocab]` of the rows with output are asked for,
    /// canvas by canvas and on many threads.
    ///
    /// # Errors
    /// Whatever `logits` returns.
    pub fn against<E: Send>(
        &self,
        logits: impl Fn(&Canvas) -> Result<Vec<f32>, E> + Sync,
    ) -> Result<Divergence, E> {
        let config = self.model.config();
        let vocab = config.vocab_size as usize;
        let compare = |(canvas, hidden): (&Canvas, &Vec<f32>)| {
            let (ours, theirs) = (self.model.head(hidden), logits(canvas)?);
            let ratio = canvas.mask_ratio(config.mask_id);
            let mut sums = Sums {
                decile: ((ratio * DECILES as f64).ceil() as usize).clamp(1, DECILES) - 1,
                rows: canvas.outputs.len(),
                divergence: 0.0,
                same_top: 0,
            };
            for (ours, theirs) in ours.chunks_exact(vocab).zip(theirs.chunks_exact(vocab)) {
                sums.divergence += divergence(ours, theirs);
                sums.same_top += usize::from(top(ours) == top(theirs));
            }
            Ok(sums)
        };
        let sums = self.canvases.par_iter().zip(&self.hidden).map(compare);
        Ok(summary(&sums.collect::<Result<Vec<_>, E>>()?))
    }

    /// Compares with another float model.
    ///
    /// # Errors
    /// [`CalibrateError::Reference`].
    pub fn against_float(&self, other: &ReferenceModel) -> Result<Divergence, CalibrateError> {
        self.against(|canvas| {
            let sight = Sight::of_model(other.config(), canvas.ids.len());
            Ok(other.head(&other.hidden_rows(&canvas.ids, &canvas.outputs, &sight)?))
        })
    }
}

fn summary(canvases: &[Sums]) -> Divergence {
    let total = |which: &dyn Fn(&Sums) -> bool| {
        let chosen = canvases.iter().filter(|sums| which(sums));
        chosen.fold((0, 0.0), |(rows, sum), sums| (rows + sums.rows, sum + sums.divergence))
    };
    let mean = |(rows, sum): (usize, f64)| (rows > 0).then(|| sum / rows as f64);
    let (rows, sum) = total(&|_| true);
    let overall = mean((rows, sum)).unwrap_or(0.0);
    let squares: f64 =
        canvases.iter().map(|sums| (sums.divergence - overall * sums.rows as f64).powi(2)).sum();
    let same: usize = canvases.iter().map(|sums| sums.same_top).sum();
    Divergence {
        rows,
        mean: overall,
        standard_error: squares.sqrt() / rows.max(1) as f64,
        same_top: same as f64 / rows.max(1) as f64,
        deciles: std::array::from_fn(|decile| mean(total(&|sums| sums.decile == decile))),
    }
}

/// `sum p ln(p / q)` of the softmax of two rows of logits, in `f64`.
fn divergence(ours: &[f32], theirs: &[f32]) -> f64 {
    let (ours_sum, theirs_sum) = (log_sum(ours), log_sum(theirs));
    let pairs = ours.iter().zip(theirs);
    let terms = pairs.map(|(a, b)| {
        let (a, b) = (f64::from(*a) - ours_sum, f64::from(*b) - theirs_sum);
        a.exp() * (a - b)
    });
    // Never negative but for rounding.
    terms.sum::<f64>().max(0.0)
}

fn log_sum(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + logits.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum::<f64>().ln()
}

fn top(logits: &[f32]) -> Option<usize> {
    // Of equal ones the first, as the engine takes it.
    (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_is_the_textbook_sum() {
        let (p, q) = ([0.5f32, 0.25, 0.25], [0.25f32, 0.5, 0.25]);
        // Logits are logarithms plus any constant.
        let logits = |p: [f32; 3], shift: f32| p.map(|p| p.ln() + shift);
        let expected = 0.5 * 2f64.ln() - 0.25 * 2f64.ln();
        let got = divergence(&logits(p, 3.0), &logits(q, -40.0));
        assert!((got - expected).abs() < 1e-5, "{got}");
        assert_eq!(divergence(&logits(p, 1.0), &logits(p, 1.0)), 0.0);
        assert_eq!((top(&[1.0, 3.0, 3.0]), top(&[])), (Some(1), None));
    }

    #[test]
    fn canvases_are_summed_by_decile() {
        let sums = |decile, rows, divergence| Sums { decile, rows, divergence, same_top: 1 };
        let got = summary(&[sums(0, 1, 0.5), sums(9, 3, 0.3), sums(9, 1, 0.2)]);
        assert!((got.mean - 0.2).abs() < 1e-12 && got.rows == 5 && got.same_top == 0.6);
        assert_eq!((got.deciles[0], got.deciles[1]), (Some(0.5), None));
        assert!((got.deciles[9].unwrap() - 0.125).abs() < 1e-12);
        let expected = (0.3f64.powi(2) + 0.3f64.powi(2)).sqrt() / 5.0;
        assert!((got.standard_error - expected).abs() < 1e-12);
    }
}
