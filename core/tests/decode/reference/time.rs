//! Ancestral sampling, first-hitting and ReMDM, pass by pass, against slow reimplementations that walk
//! through every step of time.

use crate::common::Random;
use crate::fake_model::MASK;
use crate::reference::pass_by_pass::{Now, Rule, compare, model, options, prompt, top};
use demask::Options;
use demask::decode::{Ancestral, FirstHitting, Phases, Remdm};

/// How tokens are taken back.
#[derive(Clone, Copy, Debug)]
enum Remask {
    Never { cached: bool },
    Cap(f64),
    Rescale(f64),
    Confidence,
    Loop,
}

/// MDLM's and ReMDM's sampler: one step of time after the other, each on the whole canvas. A pass ends where
/// the release would run the network again.
struct Walk {
    remask: Remask,
    time: usize,
    confidences: Vec<f64>,
    /// Tokens taken back, and steps of time.
    taken_back: usize,
    steps: usize,
}

impl Walk {
    fn new(remask: Remask) -> Self {
        Self { remask, time: 0, confidences: vec![1.0; 64], taken_back: 0, steps: 0 }
    }

    /// Probabilities of a mask to become a token, and of these tokens to become masks.
    fn chances(&self, steps: usize, tokens: &[usize]) -> (f64, Vec<f64>) {
        let time = |step: usize| 1.0 - step as f64 / steps as f64 * (1.0 - 1e-5);
        let (t, s) = (time(self.time), time(self.time + 1));
        let (decided_t, decided_s) = (1.0 - t, 1.0 - s);
        let most = ((1.0 - decided_s) / decided_t).min(1.0);
        let unmask = |sigma: f64| (decided_s - (1.0 - sigma) * decided_t) / (1.0 - decided_t);
        let same = |sigma: f64| (unmask(sigma), vec![sigma; tokens.len()]);
        match self.remask {
            Remask::Never { .. } => ((t - s) / t, vec![0.0; tokens.len()]),
            Remask::Cap(eta) => same(eta.min(most)),
            Remask::Rescale(eta) => same(eta * most),
            Remask::Confidence => {
                let weights: Vec<f64> =
                    tokens.iter().map(|at| (-self.confidences[*at]).exp()).collect();
                let sum: f64 = weights.iter().sum();
                (unmask(0.0), weights.iter().map(|weight| weight / sum * most).collect())
            }
            Remask::Loop => {
                let (on, off, level, eta) = (0.55, 0.05, 0.9, 0.02);
                // As the release writes it, by the chance of being a mask.
                let plain = |now: f64, next: f64| ((now - next) / now, vec![0.0; tokens.len()]);
                if t > on {
                    let mask = |t: f64| 1.0 - (1.0 - t) * level / (1.0 - on);
                    plain(mask(t), mask(s))
                } else if t <= off {
                    let mask = |t: f64| t * (1.0 - level) / off;
                    plain(mask(t), mask(s))
                } else {
                    let leave = (level - (1.0 - eta) * level) / (1.0 - level);
                    (leave, vec![eta; tokens.len()])
                }
            }
        }
    }

    /// One step of time; the network has seen `now`.
    fn walk(&mut self, now: &Now<'_>, canvas: &mut [u32]) {
        let tokens: Vec<usize> =
            (now.block.clone()).filter(|&at| canvas[at] != MASK && now.is_open(at)).collect();
        let masks: Vec<usize> = (0..now.block.end).filter(|&at| canvas[at] == MASK).collect();
        let (unmask, remask) = self.chances(now.steps, &tokens);
        for at in masks {
            if now.uniform(at, self.time) < unmask {
                let (token, confidence) = now.propose(at);
                canvas[at] = token;
                self.confidences[at] = f64::from(confidence);
            }
        }
        for (at, chance) in tokens.into_iter().zip(remask) {
            if now.uniform(at, self.time) < chance {
                canvas[at] = MASK;
                self.taken_back += 1;
            }
        }
        self.time += 1;
        self.steps += 1;
    }
}

impl Rule for Walk {
    fn begin_block(&mut self) {
        self.time = 0;
    }

    fn step(&mut self, now: &Now<'_>) -> Vec<u32> {
        let mut canvas = now.canvas.to_vec();
        let mut seen = true;
        while self.time < now.steps {
            let before = canvas.clone();
            self.walk(now, &mut canvas);
            seen &= before == canvas;
            let needs_network = canvas[..now.block.end].contains(&MASK);
            let every_step = matches!(self.remask, Remask::Never { cached: false });
            if every_step || needs_network && !seen {
                return canvas;
            }
        }
        for at in now.masks().into_iter().filter(|_| seen) {
            canvas[at] = top(&now.logits(at)).0;
        }
        canvas
    }
}

/// Blocks with many steps of time.
fn many_steps(random: &mut Random) -> (usize, Options) {
    let (length, options) = options(random);
    let blocks = length / options.block_length;
    let steps = [1, 2, 5, 20, 100, 300][random.below(6)];
    (length, Options { steps: steps * blocks, ..options })
}

#[test]
fn ancestral_step_for_step() {
    let mut random = Random(21);
    let mut passes = 0;
    for case in 0..1200 {
        let model = model(&mut random);
        let (length, options) = many_steps(&mut random);
        let prompt = prompt(&mut random, model.vocab);
        let cached = case % 4 != 0;
        let mut policy = if cached { Ancestral::cached() } else { Ancestral::uncached() };
        let mut rule = Walk::new(Remask::Never { cached });
        passes += compare(&model, &mut policy, &mut rule, (&prompt, length), options);
    }
    println!("{passes} passes compared");
    assert!(passes > 10_000);
}

#[test]
fn remdm_step_for_step() {
    let mut random = Random(22);
    for kind in 0..4 {
        let (mut passes, mut taken_back, mut steps) = (0, 0, 0);
        for _ in 0..400 {
            let model = model(&mut random);
            let (length, options) = many_steps(&mut random);
            let prompt = prompt(&mut random, model.vocab);
            let mut confidences = [9.0; 64];
            let eta = [0.008, 0.1, 1.0][random.below(3)];
            let (mut policy, remask) = match kind {
                0 => (Remdm::cap(eta), Remask::Cap(f64::from(eta))),
                1 => (Remdm::rescale(eta), Remask::Rescale(f64::from(eta))),
                2 => (Remdm::by_confidence(&mut confidences), Remask::Confidence),
                _ => (Remdm::loop_between(Phases::PUBLISHED), Remask::Loop),
            };
            let mut rule = Walk::new(remask);
            passes += compare(&model, &mut policy, &mut rule, (&prompt, length), options);
            (taken_back, steps) = (taken_back + rule.taken_back, steps + rule.steps);
        }
        println!("{kind}: {passes} passes for {steps} steps, {taken_back} tokens taken back");
        assert!(passes > 4000 && taken_back > 300 && steps > 2 * passes);
    }
}

/// BD3-LM: one mask, chosen by lot.
struct ByLot;

impl Rule for ByLot {
    fn step(&mut self, now: &Now<'_>) -> Vec<u32> {
        let mut canvas = now.canvas.to_vec();
        let mut lots: Vec<_> = now.masks().into_iter().map(|at| (now.uniform(at, 0), at)).collect();
        lots.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        canvas[lots[0].1] = now.propose(lots[0].1).0;
        canvas
    }
}

#[test]
fn first_hitting_step_for_step() {
    let mut random = Random(23);
    for _ in 0..500 {
        let model = model(&mut random);
        let (length, options) = options(&mut random);
        let prompt = prompt(&mut random, model.vocab);
        let masks = prompt.iter().filter(|id| **id == MASK).count();
        let input = (prompt.as_slice(), length);
        assert_eq!(compare(&model, &mut FirstHitting, &mut ByLot, input, options), length + masks);
    }
}
