//! AdamW (Loshchilov and Hutter, arXiv 1711.05101).

use super::network::{Gradient, Quality, initial, judge};
use super::traces::Traces;
use crate::random::{Purpose, Random};
use demask::math::sqrt;
use demask_quant::FilterData;

/// Decay of the mean gradient and of its mean square, and what keeps the quotient finite.
const BETAS: (f32, f32) = (0.9, 0.999);
const EPSILON: f32 = 1e-8;
/// Weight decay.
const DECAY: f32 = 0.01;
/// Of how many passes one is held out.
const HELD_OUT: usize = 10;

/// How a network is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Training {
    /// Hidden units; `None` for one per position.
    pub hidden: Option<usize>,
    /// Times that all passes are seen.
    pub epochs: usize,
    /// Passes per step.
    pub batch: usize,
    /// Learning rate of the first step; it falls to 0 in a straight line.
    pub rate: f32,
    /// First weights, order of the passes.
    pub seed: u64,
    /// Where precision and recall are measured.
    pub threshold: f32,
}

impl Default for Training {
    /// Learn2PD's rate and threshold. It makes 40,000 steps with all passes; minibatches need far fewer.
    fn default() -> Self {
        Self { hidden: None, epochs: 60, batch: 128, rate: 3e-3, seed: 0, threshold: 0.96 }
    }
}

/// Trains a network on nine of ten traces, each of one answer, and returns that of the epoch that was best on
/// the others, with its quality there. `progress` is told each epoch's number and quality.
///
/// Without a pass to hold out, the quality is that on all.
#[must_use]
pub fn train(
    traces: &[Traces],
    training: &Training,
    mut progress: impl FnMut(usize, &Quality),
) -> (FilterData, Quality) {
    let block = traces.first().map_or(1, Traces::block).max(1);
    let mut random = Random::new(training.seed, Purpose::Training);
    let (all, mut seen, held_out) = split(traces, block, &mut random);
    let mut network = initial(block, training.hidden.unwrap_or(block).max(1), &mut random);
    let judged = if held_out.is_empty() { &seen.clone() } else { &held_out };
    let judge = |network: &FilterData| judge(network, &all, judged, training.threshold);
    let (mut best, mut quality) = (network.clone(), judge(&network));
    let batch = training.batch.max(1);
    let mut descent = Descent::new(&network, training, seen.len().div_ceil(batch));
    for epoch in 1..=training.epochs {
        random.shuffle(&mut seen);
        for passes in seen.chunks(batch) {
            descent.step(&mut network, &all, passes);
        }
        let now = judge(&network);
        progress(epoch, &now);
        if now.loss < quality.loss {
            (best, quality) = (network.clone(), now);
        }
    }
    (best, quality)
}

/// All passes together, and the numbers of those to see and those to hold out. Passes of one answer are alike,
/// so that they stay on one side.
fn split(traces: &[Traces], block: usize, random: &mut Random) -> (Traces, Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..traces.len()).collect();
    random.shuffle(&mut order);
    let (mut all, mut seen, mut held_out) = (Traces::new(block), Vec::new(), Vec::new());
    for (number, at) in order.into_iter().enumerate() {
        let first = all.len();
        all.extend(&traces[at]);
        let side = if (number + 1).is_multiple_of(HELD_OUT) { &mut held_out } else { &mut seen };
        side.extend(first..all.len());
    }
    (all, seen, held_out)
}

/// Where the descent stands.
struct Descent {
    gradient: Gradient,
    mean: Vec<f32>,
    square: Vec<f32>,
    /// The betas to the power of the steps made.
    powers: (f32, f32),
    rate: f32,
    step: usize,
    steps: usize,
}

impl Descent {
    fn new(network: &FilterData, training: &Training, batches: usize) -> Self {
        let zeros = vec![0.0; network.numbers.len()];
        Self {
            gradient: Gradient::of(network),
            mean: zeros.clone(),
            square: zeros,
            powers: (1.0, 1.0),
            rate: training.rate,
            step: 0,
            steps: training.epochs.saturating_mul(batches).max(1),
        }
    }

    fn step(&mut self, network: &mut FilterData, traces: &Traces, passes: &[usize]) {
        self.gradient.measure(network, traces, passes);
        let rate = self.rate * (1.0 - self.step as f32 / self.steps as f32);
        self.step += 1;
        self.powers = (self.powers.0 * BETAS.0, self.powers.1 * BETAS.1);
        let corrections = (1.0 / (1.0 - self.powers.0), 1.0 / (1.0 - self.powers.1));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        let numbers = network.numbers.iter_mut().zip(&self.gradient.numbers);
        for ((number, gradient), (mean, square)) in numbers.zip(moments) {
            *mean = BETAS.0 * *mean + (1.0 - BETAS.0) * gradient;
            *square = BETAS.1 * *square + (1.0 - BETAS.1) * (gradient * gradient);
            let step = (*mean * corrections.0) / (sqrt(*square * corrections.1) + EPSILON);
            *number = *number * (1.0 - rate * DECAY) - rate * step;
        }
    }
}
