//! Layer by layer through the network.
//!
//! The inputs of a matrix come from layers that are rounded already, and from the matrices of its own layer that are
//! applied before it: what it is fitted to is what it will meet. In memory are the residual stream of all canvases,
//! one layer, and the moments of one matrix.

use super::canvases::Canvas;
use super::error::CalibrateError;
use super::kept::Kept;
use super::streamed::{Streamed, through};
use demask::image::{ModelConfig, TensorRole as Role};
use demask::packed::{Format, GROUP, GroupScale, WeightFormat};
use demask_quant::calibrated::{
    Moments, Objective, QuantizedTensor, QuantizedWeights, fit_tensor, loss_of,
};
use demask_quant::round::{largest_weight, round_row};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Canvases whose inputs are in memory at once.
pub(super) const BATCH: usize = 32;

/// A tied matrix is read as an embedding, too, where all errors weigh alike: this part of the mean of the
/// diagonal of the head's moments is added to it.
const LOOKUP: f64 = 0.5;

/// How weights are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// To the nearest value, on scales of least squared error.
    Nearest,
    /// To the nearest value, on scales of least error weighted by the inputs' second moments.
    Importance,
    /// With error feedback, and descent afterwards.
    Gptq,
}

/// The format of each matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats {
    /// Of the layers' matrices.
    pub layers: Format,
    /// Of the embedding and the head.
    pub embedding: Format,
    /// Of some, whatever the fields above say.
    pub chosen: BTreeMap<Role, Format>,
}

impl Formats {
    /// The format of a matrix; `None` for what stays `f32`.
    #[must_use]
    pub fn of(&self, role: Role) -> Option<Format> {
        let usual = match role {
            _ if role.stays_f32() => return None,
            Role::Embedding | Role::Head => self.embedding,
            _ => self.layers,
        };
        Some(self.chosen.get(&role).copied().unwrap_or(usual))
    }

    /// The packed formats, all of which must be Q4 or Q8.
    fn packed(&self, role: Role) -> Result<Option<WeightFormat>, CalibrateError> {
        let Some(format) = self.of(role) else { return Ok(None) };
        match format.packed() {
            Some(packed @ (WeightFormat::Q4 | WeightFormat::Q8)) => Ok(Some(packed)),
            _ => Err(CalibrateError::Format(format)),
        }
    }
}

/// What rounding did to the outputs of a matrix, on the calibration canvases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Which matrix.
    pub role: Role,
    /// How it is stored.
    pub format: WeightFormat,
    /// Mean square of its outputs, summed over rows of the matrix.
    pub outputs: f64,
    /// The same of their errors.
    pub error: f64,
    /// The same if it had been rounded to nearest.
    pub nearest: f64,
}

impl Outcome {
    /// Root-mean-square error of the outputs as a fraction of their root mean square.
    #[must_use]
    pub fn relative_error(&self) -> f64 {
        if self.outputs > 0.0 { (self.error / self.outputs).sqrt() } else { 0.0 }
    }

    /// Share of the squared error of rounding to nearest that is gone.
    #[must_use]
    pub fn gain(&self) -> f64 {
        if self.nearest > 0.0 { 1.0 - self.error / self.nearest } else { 0.0 }
    }
}

/// A run through the layers.
pub struct Layered<'a> {
    /// Shape of the model.
    pub config: ModelConfig,
    /// Where the weights come from, and what has been rounded.
    pub weights: QuantizedWeights<'a, Kept>,
    /// Format of each matrix.
    pub formats: &'a Formats,
    /// How they are rounded.
    pub method: Method,
    /// What the model is shown.
    pub canvases: &'a [Canvas],
    /// Weight of every row of every canvas.
    pub row_weights: &'a [Vec<f32>],
    /// Threads; the calling thread's pool should have as many.
    pub threads: usize,
}

/// Matrices of a layer that share an input, by the role that it is shown as.
fn stages(config: &ModelConfig, l: u32) -> Vec<(Role, Vec<Role>)> {
    let first = if Role::Gate(l).exists(config) { Role::Gate(l) } else { Role::Up(l) };
    let stages = [
        (Role::Query(l), vec![Role::Query(l), Role::Key(l), Role::Value(l)]),
        (Role::AttentionOutput(l), vec![Role::AttentionOutput(l)]),
        (first, vec![Role::Gate(l), Role::Up(l)]),
        (Role::Down(l), vec![Role::Down(l)]),
        (Role::ExpertGates(l), vec![Role::ExpertGates(l), Role::ExpertUps(l)]),
        (Role::ExpertDowns(l), vec![Role::ExpertDowns(l)]),
    ];
    let existing = stages.into_iter().map(|(seen, mut roles)| {
        roles.retain(|role| role.exists(config));
        (seen, roles)
    });
    existing.filter(|(_, roles)| !roles.is_empty()).collect()
}

impl Layered<'_> {
    /// Rounds every matrix, and tells each finished one. `head` are the moments of the float model's final
    /// hidden states.
    ///
    /// # Errors
    /// [`CalibrateError`]. What was done until then stays in the partial file, if there is one.
    pub fn run(
        &mut self,
        head: &Moments,
        progress: &mut dyn FnMut(&Outcome),
    ) -> Result<Vec<Outcome>, CalibrateError> {
        let mut outcomes = Vec::new();
        let mut tell = |outcome: Outcome| {
            progress(&outcome);
            outcomes.push(outcome);
        };
        tell(self.embedding(head)?);
        let embedded = self.canvases.iter().map(|canvas| self.model().embed(&canvas.ids));
        let mut stream = embedded.collect::<Result<Vec<_>, _>>()?;
        for l in 0..self.config.layers {
            for (seen, roles) in stages(&self.config, l) {
                if !roles.iter().all(|role| self.is_done(*role)) {
                    let moments = self.moments(l, seen, &stream)?;
                    let moments = moments.mean();
                    for role in roles {
                        tell(self.round(role, &moments)?);
                    }
                } else {
                    for role in roles {
                        tell(self.done(role)?);
                    }
                }
            }
            through(&self.model().layer(l)?, &mut stream);
        }
        if Role::Head.exists(&self.config) {
            let moments = self.final_moments(&stream)?;
            tell(self.round(Role::Head, &moments.mean())?);
        }
        Ok(outcomes)
    }

    fn is_done(&self, role: Role) -> bool {
        self.weights.rounded.outcome(role).is_some()
    }

    fn done(&mut self, role: Role) -> Result<Outcome, CalibrateError> {
        // Only what is done is asked for, and then the moments play no part.
        self.round(role, &[])
    }

    /// As an embedding, every error counts alike; as a head, what goes into it decides.
    fn embedding(&mut self, head: &Moments) -> Result<Outcome, CalibrateError> {
        let width = self.config.model_dim as usize;
        let mut moments = vec![0.0; width * width];
        if self.config.tied_head {
            moments = head.mean();
        }
        let mean = (0..width).map(|k| moments[k * width + k]).sum::<f64>() / width as f64;
        let added = if mean > 0.0 { LOOKUP * mean } else { 1.0 };
        (0..width).for_each(|k| moments[k * width + k] += added);
        self.round(Role::Embedding, &moments)
    }

    /// The model as far as it is rounded.
    fn model(&self) -> Streamed<'_> {
        Streamed::new(self.config, |role, first, out| self.weights.read_stored(role, first, out))
    }

    /// Moments of the input that layer `l` shows as `seen`.
    fn moments(&self, l: u32, seen: Role, stream: &[Vec<f32>]) -> Result<Moments, CalibrateError> {
        let layer = self.model().layer(l)?;
        let mut moments = Moments::new(seen.shape(&self.config).1);
        let input = |x: &Vec<f32>| {
            let mut input = Vec::new();
            let _ = layer.run(&mut x.clone(), &mut |role, x| {
                if role != seen {
                    return ControlFlow::Continue(());
                }
                input.extend_from_slice(x);
                match role {
                    // Shown expert by expert.
                    Role::ExpertDowns(_) => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            });
            input
        };
        self.add_all(&mut moments, stream, input, matches!(seen, Role::ExpertDowns(_)));
        Ok(moments)
    }

    fn final_moments(&self, stream: &[Vec<f32>]) -> Result<Moments, CalibrateError> {
        let norm = self.model().norm()?;
        let width = self.config.model_dim as usize;
        let mut moments = Moments::new(width);
        for ((x, canvas), weights) in stream.iter().zip(self.canvases).zip(self.row_weights) {
            let hidden = norm.apply(x);
            for &row in &canvas.outputs {
                moments.add(&hidden[row * width..][..width], &weights[row..=row], 1);
            }
        }
        Ok(moments)
    }

    /// Adds the inputs that `input` makes of each canvas. Where an input has `rows_of_its_own`, all weigh alike.
    fn add_all(
        &self,
        moments: &mut Moments,
        stream: &[Vec<f32>],
        input: impl Fn(&Vec<f32>) -> Vec<f32> + Sync,
        rows_of_its_own: bool,
    ) {
        for (stream, weights) in stream.chunks(BATCH).zip(self.row_weights.chunks(BATCH)) {
            let inputs: Vec<Vec<f32>> = stream.par_iter().map(&input).collect();
            let inputs = inputs.concat();
            let weights = match rows_of_its_own {
                true => vec![1.0; inputs.len() / moments.size().max(1)],
                false => weights.concat(),
            };
            moments.add(&inputs, &weights, self.threads);
        }
    }

    /// Rounds a matrix, unless it is done.
    fn round(&mut self, role: Role, moments: &[f64]) -> Result<Outcome, CalibrateError> {
        if let Some(outcome) = self.weights.rounded.outcome(role) {
            return Ok(outcome);
        }
        let Some(format) = self.formats.packed(role)? else {
            return Err(CalibrateError::Format(Format::F32));
        };
        let (rows, cols) = role.shape(&self.config);
        let mut weights = vec![0.0; rows * cols];
        self.weights.source.read_rows(role, 0, &mut weights).map_err(CalibrateError::Weights)?;
        self.weights.source.release(role, 0..rows);
        let limit = largest_weight(format);
        if let Some(&value) = weights.iter().find(|w| w.is_nan() || w.abs() > limit) {
            return Err(CalibrateError::Weight { role, value });
        }
        let nearest = nearest(&weights, cols, format);
        let threads = self.threads;
        let loss = |groups| loss_of(&weights, groups, moments, cols, threads);
        let objective = match self.method {
            Method::Nearest => None,
            Method::Importance => Some(Objective::diagonal(moments, cols)),
            Method::Gptq => Some(Objective::full(moments, cols)),
        };
        let fit = objective.and_then(|objective| fit_tensor(&weights, &objective, format, threads));
        let groups = fit.map_or_else(|| nearest.clone(), |fit| fit.groups);
        let outcome = Outcome {
            role,
            format,
            outputs: loss(None),
            error: loss(Some((&groups[..], format))),
            nearest: loss(Some((&nearest[..], format))),
        };
        self.weights.rounded.add(outcome, QuantizedTensor { format, cols, groups })?;
        Ok(outcome)
    }
}

/// As an image without calibration has it.
pub(super) fn nearest(
    weights: &[f32],
    cols: usize,
    format: WeightFormat,
) -> Vec<demask::packed::Group> {
    let per_row = cols.div_ceil(GROUP);
    let mut groups = vec![([0; GROUP], GroupScale::zero(format)); weights.len() / cols * per_row];
    let rows = weights.par_chunks_exact(cols).zip(groups.par_chunks_exact_mut(per_row));
    // Q4 and Q8 take all rows.
    rows.for_each(|(row, groups)| round_row(row, &[], format, groups).unwrap_or_default());
    groups
}
