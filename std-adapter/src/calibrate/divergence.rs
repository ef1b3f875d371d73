//! How far the answers of a rounded model are from those of the float one.

use super::canvases::Canvas;
use super::certainty::hidden_of_outputs;
use super::error::CalibrateError;
use super::streamed::Streamed;
use crate::harness::comparison::Distance;
use crate::harness::likelihood::{DECILES, column, decile};
use crate::harness::statistics::ratio;
use crate::reference::ReferenceHead;
use demask::image::ModelConfig;
use rayon::prelude::*;

/// Kullback-Leibler divergence, in nats, of a model's distributions from the float model's, on the rows of
/// canvases that have output. Measured per row as [`Distance`] does; deciles are those of [`decile`].
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
    config: ModelConfig,
    head: ReferenceHead,
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
    /// [`CalibrateError`] for weights that cannot be read and canvases that do not fit the model.
    pub fn new(model: &Streamed<'_>, canvases: &'m [Canvas]) -> Result<Self, CalibrateError> {
        let hidden = hidden_of_outputs(model, canvases)?;
        Ok(Self { config: *model.config(), head: model.head()?, canvases, hidden })
    }

    /// Compares with another model, whose `logits` `[outputs, vocab]` of the rows with output are asked for,
    /// canvas by canvas (by number as well) and on many threads.
    ///
    /// # Errors
    /// Whatever `logits` returns.
    pub fn against<E: Send>(
        &self,
        logits: impl Fn(usize, &Canvas) -> Result<Vec<f32>, E> + Sync,
    ) -> Result<Divergence, E> {
        let config = &self.config;
        let vocab = config.vocab_size as usize;
        let compare = |(at, (canvas, hidden)): (usize, (&Canvas, &Vec<f32>))| {
            let (ours, theirs) = (self.head.logits(hidden), logits(at, canvas)?);
            let mut sums = Sums {
                decile: decile(canvas.masks(config.mask_id), canvas.answer.len()),
                rows: canvas.outputs.len(),
                divergence: 0.0,
                same_top: 0,
            };
            for (ours, theirs) in ours.chunks_exact(vocab).zip(theirs.chunks_exact(vocab)) {
                // What would be right plays no part in these two.
                let distance = Distance::of(ours, theirs, config.mask_id, 0);
                sums.divergence += distance.kl;
                sums.same_top += usize::from(distance.same_top);
            }
            Ok(sums)
        };
        let sums = self.canvases.par_iter().zip(&self.hidden).enumerate().map(compare);
        Ok(summary(&sums.collect::<Result<Vec<_>, E>>()?))
    }

    /// Compares with another float model.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn against_float(&self, other: &Streamed<'_>) -> Result<Divergence, CalibrateError> {
        let (hidden, head) = (hidden_of_outputs(other, self.canvases)?, other.head()?);
        self.against(|at, _| Ok(head.logits(&hidden[at])))
    }
}

fn summary(canvases: &[Sums]) -> Divergence {
    let per_row = |chosen: &[&Sums], number: fn(&Sums) -> f64| {
        ratio(&column(chosen, |sums| number(sums)), &column(chosen, |sums| sums.rows as f64))
    };
    let all: Vec<&Sums> = canvases.iter().collect();
    let mean = per_row(&all, |sums| sums.divergence).unwrap_or_default();
    let same_top = per_row(&all, |sums| sums.same_top as f64).unwrap_or_default();
    let decile = |decile: usize| {
        let own: Vec<&Sums> = canvases.iter().filter(|sums| sums.decile == decile).collect();
        per_row(&own, |sums| sums.divergence).map(|mean| mean.value)
    };
    Divergence {
        rows: canvases.iter().map(|sums| sums.rows).sum(),
        mean: mean.value,
        standard_error: mean.error,
        same_top: same_top.value,
        deciles: std::array::from_fn(decile),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canvases_are_summed_by_decile() {
        let sums = |decile, rows, divergence| Sums { decile, rows, divergence, same_top: 1 };
        let got = summary(&[sums(0, 1, 0.5), sums(9, 3, 0.3), sums(9, 1, 0.2)]);
        assert!((got.mean - 0.2).abs() < 1e-12 && got.rows == 5 && got.same_top == 0.6);
        assert_eq!((got.deciles[0], got.deciles[1]), (Some(0.5), None));
        assert!((got.deciles[9].unwrap() - 0.125).abs() < 1e-12);
        // Residuals 0.3, -0.3 and 0: their mean has the error sqrt(0.18 / 2 / 3); 5/3 rows per canvas.
        let expected = (0.18f64 / 2.0 / 3.0).sqrt() / (5.0 / 3.0);
        assert!((got.standard_error - expected).abs() < 1e-12);
    }
}
