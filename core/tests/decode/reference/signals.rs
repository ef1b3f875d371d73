//! KLASS and credit decoding, pass by pass, against slow reimplementations that keep whole distributions.

use crate::common::Random;
use crate::fake_model::divergence;
use crate::reference::pass_by_pass::{Now, Rule, compare, model, options, prompt, threshold};
use demask::decode::{CREDITS, Credit, CreditPair, Klass, LogitBias};
use std::collections::BTreeMap;

/// KLASS, with every row of the block's passes.
struct Stable {
    confidence: f32,
    divergence: f32,
    history: Vec<BTreeMap<usize, Vec<f32>>>,
    ready: usize,
}

impl Rule for Stable {
    fn begin_block(&mut self) {
        self.history.clear();
    }

    fn step(&mut self, now: &Now<'_>) -> Vec<u32> {
        let mut canvas = now.canvas.to_vec();
        self.history.push(now.masks().into_iter().map(|at| (at, now.logits(at))).collect());
        let still = |at: usize, pass: usize| {
            let rows = pass.checked_sub(1).map(|last| (&self.history[last], &self.history[pass]));
            rows.is_some_and(|(last, this)| divergence(&last[&at], &this[&at]) < self.divergence)
        };
        let this = self.history.len() - 1;
        let ranked = now.ranked();
        let ready: Vec<_> = (ranked.iter())
            .filter(|(at, _, p)| {
                *p > self.confidence && this >= 1 && still(*at, this) && still(*at, this - 1)
            })
            .collect();
        self.ready += ready.len();
        let quota = now.quota().max(1).min(ranked.len());
        let chosen = if ready.is_empty() { ranked[..quota].iter().collect() } else { ready };
        chosen.iter().for_each(|(at, token, _)| canvas[*at] = *token);
        canvas
    }
}

#[test]
fn klass_step_for_step() {
    let mut random = Random(31);
    let (mut passes, mut ready) = (0, 0);
    for _ in 0..2000 {
        let mut model = model(&mut random);
        model.rows = [0, 1, 2][random.below(3)];
        model.scale = [0.05, 0.5, 12.0][random.below(3)];
        let (length, options) = options(&mut random);
        let prompt = prompt(&mut random, model.vocab);
        let (confidence, divergence) =
            ([0.0, 0.2, 0.6][random.below(3)], [0.0, 0.001, 0.015, 9.0][random.below(4)]);
        let mut still = [7; 64];
        let mut policy = Klass::with_thresholds(confidence, divergence, &mut still);
        let mut rule = Stable { confidence, divergence, history: Vec::new(), ready: 0 };
        passes += compare(&model, &mut policy, &mut rule, (&prompt, length), options);
        ready += rule.ready;
    }
    println!("{passes} passes compared, {ready} tokens were ready");
    assert!(passes > 15_000 && ready > 1000);
}

/// Credit decoding in f64, with a map per position.
struct Trust {
    threshold: f64,
    credit: BTreeMap<usize, BTreeMap<u32, f64>>,
    /// Tokens that lost their place.
    evicted: usize,
}

impl Trust {
    /// The logits with what credit adds.
    fn raised(&self, now: &Now<'_>, at: usize) -> Vec<f32> {
        let mut logits = now.logits(at);
        for (id, credit) in self.credit.get(&at).into_iter().flatten() {
            logits[*id as usize] += (0.7 * (1.0 + credit).ln()) as f32;
        }
        logits
    }
}

fn softmax(logits: &[f32], token: u32) -> f64 {
    let kept = logits.iter().enumerate().filter(|(id, _)| *id != crate::fake_model::MASK as usize);
    let sum: f64 = kept.map(|(_, l)| f64::from(*l).exp()).sum();
    f64::from(logits[token as usize]).exp() / sum
}

impl Rule for Trust {
    fn begin_block(&mut self) {
        self.credit.clear();
    }

    fn step(&mut self, now: &Now<'_>) -> Vec<u32> {
        let mut canvas = now.canvas.to_vec();
        for credit in self.credit.values_mut().flat_map(BTreeMap::values_mut) {
            *credit *= 0.8;
        }
        let mut proposals = Vec::new();
        for at in now.masks() {
            let logits = self.raised(now, at);
            let (token, _) = now.propose_from(at, &logits);
            let (top, _) = crate::reference::pass_by_pass::top(&logits);
            let credits = self.credit.entry(at).or_default();
            if !credits.contains_key(&top) && credits.len() == CREDITS {
                let poorest = credits.iter().min_by(|a, b| a.1.total_cmp(b.1)).unwrap();
                let poorest = *poorest.0;
                credits.remove(&poorest);
                self.evicted += 1;
            }
            *credits.entry(top).or_default() += softmax(&logits, top).powf(0.2);
            // Raised by the new credit too; a token that has just lost its place keeps its bias for
            // this pass.
            let mut fused = logits.clone();
            let plain = now.logits(at)[top as usize];
            fused[top as usize] = plain + (0.7 * (1.0 + credits[&top]).ln()) as f32;
            proposals.push((at, token, softmax(&fused, token)));
        }
        let best = proposals.iter().map(|(.., p)| *p).fold(0.0, f64::max);
        let threshold = self.threshold.min(best - 1e-5);
        for (at, token, p) in proposals {
            if p >= threshold {
                canvas[at] = token;
            }
        }
        canvas
    }
}

#[test]
fn credit_step_for_step() {
    let mut random = Random(32);
    let (mut passes, mut evicted) = (0, 0);
    for case in 0..1500 {
        let mut model = model(&mut random);
        let (mut length, mut options) = options(&mut random);
        if case % 3 == 0 {
            // Many tokens take turns at the top.
            (model.rows, model.scale, model.vocab) = (0, 1.0, 70);
            (length, options.block_length, options.steps) = (40, 40, 40);
        }
        let prompt = prompt(&mut random, model.vocab);
        let mut pairs = [[CreditPair { id: 5, credit: 5.0 }; CREDITS]; 64];
        let mut bias = [LogitBias::default(); 64 * CREDITS];
        let threshold = threshold(&mut random);
        let mut policy = Credit::new(threshold, &mut pairs, &mut bias);
        let mut rule = Trust { threshold: threshold.into(), credit: BTreeMap::new(), evicted: 0 };
        passes += compare(&model, &mut policy, &mut rule, (&prompt, length), options);
        evicted += rule.evicted;
    }
    println!("{passes} passes compared, {evicted} tokens lost their place");
    assert!(passes > 10_000 && evicted > 1000);
}
