//! The network while it is being trained.

use super::traces::Traces;
use crate::random::Random;
use demask::decode::CommitFilter;
use demask::math::sqrt;
use demask_quant::FilterData;

/// How well a network tells final proposals from others.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quality {
    /// Mean binary cross-entropy of a masked position, in nats.
    pub loss: f64,
    /// Of the proposals that it accepts, the share that is final; 1 if it accepts none.
    pub precision: f64,
    /// Of the final proposals, the share that it accepts; 1 if there is none.
    pub recall: f64,
}

/// The policy `threshold` and a little noise: each unit passes on one probability, and a position is accepted
/// from a half on. What others have to say is learned from there.
pub(super) fn initial(block: usize, hidden: usize, random: &mut Random) -> FilterData {
    let mut layer = |inputs: usize, outputs: usize, diagonal: f32, bias: f32| -> Vec<f32> {
        let limit = NOISE / sqrt(inputs as f32);
        let narrow = inputs.min(outputs);
        let weights = (0..inputs * outputs).map(|at| {
            let (output, input) = (at / inputs, at % inputs);
            if output % narrow == input % narrow { diagonal } else { 0.0 }
        });
        let all = weights.chain(std::iter::repeat_n(bias, outputs));
        all.map(|number| number + random.uniform(limit)).collect()
    };
    let numbers = [layer(block, hidden, 1.0, 0.0), layer(hidden, block, 4.0, -2.0)].concat();
    FilterData { block, hidden, numbers }
}

/// Largest first noise, for one input.
const NOISE: f32 = 0.1;

/// Room for the gradient and what leads to it.
pub(super) struct Gradient {
    /// One number for each of the network's.
    pub(super) numbers: Vec<f32>,
    hidden: Vec<f32>,
    hidden_error: Vec<f32>,
}

impl Gradient {
    pub(super) fn of(network: &FilterData) -> Self {
        Self {
            numbers: vec![0.0; network.numbers.len()],
            hidden: vec![0.0; network.hidden],
            hidden_error: vec![0.0; network.hidden],
        }
    }

    /// Sets it to that of the mean cross-entropy over the masked positions of some passes.
    pub(super) fn measure(&mut self, network: &FilterData, traces: &Traces, passes: &[usize]) {
        self.numbers.fill(0.0);
        let Ok(filter) = network.view() else { return };
        let mut labels = 0usize;
        for pass in passes {
            let (probabilities, wanted) = traces.pass(*pass);
            labels += self.add(&filter, probabilities, wanted);
        }
        let share = 1.0 / labels.max(1) as f32;
        self.numbers.iter_mut().for_each(|number| *number *= share);
    }

    /// Adds what a pass contributes; how many labels it has.
    fn add(&mut self, filter: &CommitFilter<'_>, input: &[f32], wanted: &[Option<bool>]) -> usize {
        let (block, hidden) = (filter.block(), filter.hidden());
        let (first, second) = self.numbers.split_at_mut((block + 1) * hidden);
        let (second_weights, second_biases) = second.split_at_mut(hidden * block);
        let weights = &filter.numbers()[(block + 1) * hidden..];
        filter.hide(input, &mut self.hidden);
        self.hidden_error.fill(0.0);
        let mut labels = 0;
        for (at, wanted) in wanted.iter().enumerate() {
            let Some(wanted) = wanted else { continue };
            labels += 1;
            let error = filter.probability(&self.hidden, at) - f32::from(u8::from(*wanted));
            second_biases[at] += error;
            let row = at * hidden..(at + 1) * hidden;
            add_scaled(&mut second_weights[row.clone()], &self.hidden, error);
            add_scaled(&mut self.hidden_error, &weights[row], error);
        }
        let (first_weights, first_biases) = first.split_at_mut(block * hidden);
        for (unit, error) in self.hidden_error.iter().enumerate() {
            if self.hidden[unit] > 0.0 {
                first_biases[unit] += error;
                add_scaled(&mut first_weights[unit * block..(unit + 1) * block], input, *error);
            }
        }
        labels
    }
}

fn add_scaled(to: &mut [f32], from: &[f32], factor: f32) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

/// Judges a network by some passes, accepting what is above `threshold`.
pub(super) fn judge(
    network: &FilterData,
    traces: &Traces,
    passes: &[usize],
    threshold: f32,
) -> Quality {
    let Ok(filter) = network.view() else { return Quality::default() };
    let mut hidden = vec![0.0; network.hidden];
    let (mut loss, mut labels) = (0.0, 0usize);
    let (mut accepted, mut right, mut final_ones) = (0usize, 0usize, 0usize);
    for pass in passes {
        let (input, wanted) = traces.pass(*pass);
        filter.hide(input, &mut hidden);
        for (at, wanted) in wanted.iter().enumerate() {
            let Some(wanted) = *wanted else { continue };
            let probability = filter.probability(&hidden, at);
            let of_label = if wanted { probability } else { 1.0 - probability };
            loss -= f64::from(of_label).max(1e-7).ln();
            labels += 1;
            final_ones += usize::from(wanted);
            accepted += usize::from(probability > threshold);
            right += usize::from(wanted && probability > threshold);
        }
    }
    let share = |part: usize, all: usize| if all == 0 { 1.0 } else { part as f64 / all as f64 };
    Quality {
        loss: loss / labels.max(1) as f64,
        precision: share(right, accepted),
        recall: share(right, final_ones),
    }
}
