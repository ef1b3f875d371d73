//! What can be learned is learned, and the gradient is that of the loss.

use super::network::{Gradient, initial, judge};
use super::*;
use crate::random::{Purpose, Random};

const BLOCK: usize = 6;

/// A proposal is final if its probability and that of its right neighbour are 1.2 together.
fn neighbours(answers: usize, random: &mut Random) -> Vec<Traces> {
    let pass = |random: &mut Random| {
        let p: Vec<f32> = (0..BLOCK).map(|_| random.uniform(0.5) + 0.5).collect();
        let masked: Vec<bool> = (0..BLOCK).map(|_| random.uniform(1.0) > -0.5).collect();
        let next = |at: usize| p.get(at + 1).copied().unwrap_or(1.0);
        (0..BLOCK).map(|at| (p[at], masked[at].then(|| p[at] + next(at) > 1.2))).collect::<Vec<_>>()
    };
    let answer = |_| {
        let mut traces = Traces::new(BLOCK);
        (0..4).for_each(|_| traces.push(pass(random)));
        traces
    };
    (0..answers).map(answer).collect()
}

#[test]
fn a_rule_over_neighbours_is_learned_and_the_same_every_time() {
    let traces = neighbours(400, &mut Random::new(1, Purpose::Training));
    let training =
        Training { hidden: Some(24), epochs: 300, threshold: 0.5, ..Training::default() };
    let mut losses = Vec::new();
    let (network, quality) = train(&traces, &training, |_, quality| losses.push(quality.loss));
    assert_eq!(losses.len(), 300);
    assert!(losses[0] > 0.3 && quality.loss < 0.12, "{losses:?}");
    assert!(quality.precision > 0.95 && quality.recall > 0.95, "{quality:?}");
    let least = losses.iter().copied().fold(f64::MAX, f64::min);
    assert_eq!(quality.loss, least, "the best epoch is kept");
    assert_eq!(train(&traces, &training, |_, _| ()), (network.clone(), quality));
    let other = Training { seed: 1, ..training };
    assert_ne!(train(&traces, &other, |_, _| ()).0, network);
    // On answers that it has never seen, and by the rule itself.
    let fresh = neighbours(100, &mut Random::new(2, Purpose::Training));
    let (filter, mut hidden) = (network.view().unwrap(), [0.0; 24]);
    let (mut right, mut all) = (0, 0);
    for traces in &fresh {
        for pass in 0..traces.len() {
            let (probabilities, labels) = traces.pass(pass);
            filter.hide(probabilities, &mut hidden);
            for (at, label) in labels.iter().enumerate() {
                let Some(label) = label else { continue };
                right += usize::from((filter.probability(&hidden, at) > 0.5) == *label);
                all += 1;
            }
        }
    }
    assert!(all > 1000 && right * 100 > all * 95, "{right} of {all}");
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    let traces = &neighbours(1, &mut Random::new(5, Purpose::Training))[0];
    let network = initial(BLOCK, 5, &mut Random::new(6, Purpose::Training));
    let passes: Vec<usize> = (0..traces.len()).collect();
    let mut gradient = Gradient::of(&network);
    gradient.measure(&network, traces, &passes);
    let loss = |at: usize, by: f32| {
        let mut moved = network.clone();
        moved.numbers[at] += by;
        judge(&moved, traces, &passes, 0.5).loss
    };
    let mut steep = 0;
    for (at, slope) in gradient.numbers.iter().enumerate() {
        let measured = (loss(at, 1e-3) - loss(at, -1e-3)) / 2e-3;
        assert!((measured - f64::from(*slope)).abs() < 3e-4, "{at}: {measured} {slope}");
        steep += usize::from(slope.abs() > 1e-3);
    }
    assert!(steep > network.numbers.len() / 3, "{steep} of {}", network.numbers.len());
}

#[test]
fn little_to_learn_from_is_no_trouble() {
    let training = Training { epochs: 2, ..Training::default() };
    for traces in
        [vec![], vec![Traces::new(4)], neighbours(1, &mut Random::new(1, Purpose::Training))]
    {
        let (network, quality) = train(&traces, &training, |_, _| ());
        assert!(network.view().is_ok() && quality.loss.is_finite(), "{quality:?}");
    }
    let mut short = Traces::new(3);
    short.push([(0.5, Some(true))]);
    assert_eq!(short.pass(0), (&[0.5, 1.0, 1.0][..], &[Some(true), None, None][..]));
}

#[test]
fn judged_by_hand() {
    // One hidden unit that is the first probability; both logits are 10 times that, less 5.
    let numbers = vec![1.0, 0.0, 0.0, 10.0, 10.0, -5.0, -5.0];
    let network = demask_quant::FilterData { block: 2, hidden: 1, numbers };
    let mut traces = Traces::new(2);
    traces.push([(0.9, Some(true)), (0.3, Some(false))]);
    traces.push([(0.2, Some(true)), (0.3, None)]);
    let quality = judge(&network, &traces, &[0, 1], 0.5);
    let p = |x: f64| 1.0 / (1.0 + (5.0 - 10.0 * x).exp());
    let expected = -(p(0.9).ln() + (1.0 - p(0.9)).ln() + p(0.2).ln()) / 3.0;
    assert!((quality.loss - expected).abs() < 1e-5, "{} {expected}", quality.loss);
    assert_eq!((quality.precision, quality.recall), (0.5, 0.5));
}
