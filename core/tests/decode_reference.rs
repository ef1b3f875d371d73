//! Sessions, step by step, against a slow reimplementation of the decoding rules: LLaDA's
//! low-confidence remasking in semi-autoregressive blocks with the even schedule, and Fast-dLLM's
//! threshold (arXiv 2502.09992, 2505.22618).

mod common;
mod fake_model;

use common::Random;
use demask::cache::NoCache;
use demask::decode::{
    Commit, CommitPolicy, EosPolicy, Even, FillAll, Sampling, Score, StopAtEos, Threshold, TopQ,
    philox4x32,
};
use demask::{Method, Options, Session, StepEvent};
use fake_model::{EOS, MASK, Table, with_memory};
use std::ops::Range;

/// How the reference chooses.
#[derive(Clone, Copy, Debug)]
enum Rule {
    TopQ,
    Threshold(f32),
}

/// The decoding rules once more, with lists and sorting.
struct Reference {
    model: Table,
    rule: Rule,
    stop_at_eos: bool,
    options: Options,
    canvas: Vec<u32>,
    region: Range<usize>,
    step: u32,
    /// The block that is being filled, its masks when it began, and its steps so far.
    block: Option<(Range<usize>, usize, usize)>,
    /// Draws too close to call in f32, where the session's choice was taken.
    close_draws: usize,
}

impl Reference {
    fn masks(&self, range: Range<usize>) -> Vec<usize> {
        range.filter(|&position| self.canvas[position] == MASK).collect()
    }

    /// The first block, not before the current one, whose end has a mask before it.
    fn find_block(&mut self) -> Option<(Range<usize>, usize, usize)> {
        if let Some(current) = self.block.clone().filter(|b| !self.masks(0..b.0.end).is_empty()) {
            return Some(current);
        }
        let size = self.options.block_length;
        let after = self.block.as_ref().map_or(self.region.start, |block| block.0.end);
        let mut starts = (after..self.region.end).step_by(size);
        let start = starts.find(|start| !self.masks(0..start + size).is_empty())?;
        Some((start..start + size, self.masks(start..start + size).len(), 0))
    }

    /// What the position is proposed to become; `observed` settles draws that are too close.
    fn propose(&mut self, logits: &[f32], position: usize, observed: u32) -> u32 {
        let noisy = |id: u32| -> f64 {
            let logit = f64::from(logits[id as usize]);
            let Options { temperature, seed, .. } = self.options;
            if temperature == 0.0 {
                return logit;
            }
            let counter = [id / 4, position as u32, self.step, 0];
            let word = philox4x32(counter, [seed as u32, (seed >> 32) as u32])[id as usize % 4];
            let uniform = (f64::from(word) + 0.5) / 4_294_967_296.0;
            logit / f64::from(temperature) - (-uniform.ln()).ln()
        };
        let mut ids: Vec<u32> = (0..logits.len() as u32).filter(|&id| id != MASK).collect();
        ids.sort_by(|&a, &b| noisy(b).total_cmp(&noisy(a)).then(a.cmp(&b)));
        let margin = noisy(ids[0]) - noisy(ids[1]);
        if self.options.temperature > 0.0 && margin < 1e-4 {
            assert!(noisy(ids[0]) - noisy(observed) < 1e-4);
            self.close_draws += 1;
            return observed;
        }
        ids[0]
    }

    /// One step: the block, and the commits in order. `None` when all is decided.
    fn step(&mut self, observed: &[Score]) -> Option<(Range<usize>, Vec<Commit>)> {
        let (block, masks, step_in_block) = self.find_block()?;
        let mut proposals = Vec::new();
        for (position, seen) in self.masks(0..block.end).into_iter().zip(observed) {
            let logits = self.model.logits(&self.canvas, position as u32);
            let token = self.propose(&logits, position, seen.proposal);
            // The probability without noise or temperature, rounded like the session's.
            let score =
                Score::from_logits(position as u32, &logits, MASK, &Sampling::GREEDY).unwrap();
            let drawn = Score { proposal_logit: logits[token as usize], ..score };
            let confidence = drawn.confidence();
            check_probability(&logits, token, confidence);
            proposals.push(Commit { position: position as u32, token, confidence });
        }
        proposals.sort_by(|a, b| {
            b.confidence.total_cmp(&a.confidence).then(a.position.cmp(&b.position))
        });
        let steps = self.options.steps / (self.region.len() / self.options.block_length);
        let quota = masks / steps + usize::from(step_in_block < masks % steps);
        let wanted = match self.rule {
            Rule::TopQ => quota,
            Rule::Threshold(least) => proposals.iter().filter(|c| c.confidence >= least).count(),
        };
        proposals.truncate(wanted.max(1));
        for commit in &proposals {
            self.canvas[commit.position as usize] = commit.token;
        }
        self.block = Some((block.clone(), masks, step_in_block + 1));
        self.step += 1;
        if self.stop_at_eos {
            self.fill_after_end();
        }
        Some((block, proposals))
    }

    /// An end token in the region without a mask before it makes all later masks end tokens.
    fn fill_after_end(&mut self) {
        let mut region = self.canvas[self.region.clone()].iter();
        if let Some(end) = region.position(|&id| id == EOS).map(|i| i + self.region.start)
            && self.masks(0..end).is_empty()
        {
            self.canvas[end..].iter_mut().filter(|id| **id == MASK).for_each(|id| *id = EOS);
        }
    }
}

/// The confidence is the softmax probability, by plain f64.
fn check_probability(logits: &[f32], token: u32, confidence: f32) {
    let kept = logits.iter().zip(0..).filter(|(_, id)| *id != MASK);
    let sum: f64 = kept.map(|(l, _)| f64::from(*l).exp()).sum();
    let expected = f64::from(logits[token as usize]).exp() / sum;
    assert!((expected - f64::from(confidence)).abs() < 2e-6 * expected.max(1e-3));
}

/// Runs a session and the reference side by side; returns forwards and close draws.
fn compare<P: CommitPolicy, X: EosPolicy>(
    model: &Table,
    (rule, policy): (Rule, P),
    (stop_at_eos, eos): (bool, X),
    (prompt, length): (&[u32], usize),
    options: Options,
) -> (u32, usize) {
    let end = prompt.len() + length;
    let mut canvas = prompt.to_vec();
    canvas.resize(end, MASK);
    let region = prompt.len()..end;
    let mut reference = Reference {
        model: model.clone(),
        rule,
        stop_at_eos,
        options,
        canvas,
        region,
        step: 0,
        block: None,
        close_draws: 0,
    };
    with_memory(model.max_canvas, |memory| {
        let method = Method { policy, schedule: Even, eos, cache: NoCache };
        let mut session = Session::new(model.clone(), memory, method);
        session.begin(prompt, length, options).unwrap();
        assert_eq!(session.canvas(), reference.canvas);
        let mut check = |event: &StepEvent<'_>| {
            assert_eq!(event.forward, reference.step);
            let (block, commits) = reference.step(event.scores).expect("one step too many");
            assert_eq!(event.block, block);
            assert_eq!(event.commits, commits, "step {}", event.forward);
            assert_eq!(event.canvas, reference.canvas);
            assert_eq!(event.masks, reference.masks(0..end).len());
        };
        session.run(&mut check).unwrap();
        assert_eq!(session.canvas(), reference.canvas);
        assert!(reference.find_block().is_none(), "stopped too early");
        assert!(!session.canvas().contains(&MASK));
        assert_eq!(session.forwards(), reference.step);
        (session.forwards(), reference.close_draws)
    })
}

/// A random prompt, with masks in it if asked for, few enough to stay below the step cap.
fn prompt(random: &mut Random, masks: bool) -> Vec<u32> {
    let length = random.below(12);
    let mut prompt: Vec<u32> = (0..length).map(|_| 2 + random.below(11) as u32).collect();
    if masks {
        for _ in 0..3.min(length) {
            prompt[random.below(length)] = MASK;
        }
    }
    if random.below(4) == 0 && length > 0 {
        prompt[random.below(length)] = EOS;
    }
    prompt
}

/// Random lengths, blocks and steps that are legal.
fn options(random: &mut Random) -> (usize, Options) {
    let (block_length, blocks) = (1 + random.below(9), 1 + random.below(4));
    let steps = blocks * (1 + random.below(block_length + 3));
    let temperature = [0.0, 0.0, 0.3, 1.0, 2.5][random.below(5)];
    let options = Options {
        block_length,
        steps,
        temperature,
        seed: random.next(),
        pinned: 0,
        ..Options::one_block(1)
    };
    (block_length * blocks, options)
}

#[test]
fn low_confidence_remasking_step_for_step() {
    let mut random = Random(1);
    let (mut forwards, mut close) = (0, 0);
    for case in 0..3000 {
        let mut model = Table::new(random.next());
        model.rows = [0, 2, 7][random.below(3)];
        model.scale = [0.5, 3.0, 12.0][random.below(3)];
        model.vocab = [3, 13, 70][random.below(3)];
        let (length, options) = options(&mut random);
        let with_masks = case % 3 == 0;
        let prompt = prompt(&mut random, with_masks).iter().map(|id| id % model.vocab).collect();
        let prompt: Vec<u32> =
            if with_masks { prompt } else { replace(prompt, MASK, model.vocab - 1) };
        let input = (prompt.as_slice(), length);
        let rule = (Rule::TopQ, TopQ);
        let (steps, draws) = match case % 2 {
            0 => compare(&model, rule, (false, FillAll), input, options),
            _ => compare(&model, rule, (true, StopAtEos), input, options),
        };
        forwards += steps;
        close += draws;
    }
    println!("{forwards} forward passes compared, {close} draws too close to call");
    assert!(forwards > 20_000 && close < 100);
}

fn replace(mut tokens: Vec<u32>, from: u32, to: u32) -> Vec<u32> {
    tokens.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
    tokens
}

#[test]
fn threshold_step_for_step() {
    let mut random = Random(2);
    let mut forwards = 0;
    for case in 0..2000 {
        let mut model = Table::new(random.next());
        model.rows = [0, 2, 7][random.below(3)];
        model.scale = [3.0, 6.0, 12.0][random.below(3)];
        let (length, options) = options(&mut random);
        let least = [0.0, 0.3, 0.6, 0.9, 2.0][random.below(5)];
        let prompt = prompt(&mut random, case % 3 == 0);
        let rule = (Rule::Threshold(least), Threshold(least));
        let input = (prompt.as_slice(), length);
        let (steps, _) = match case % 2 {
            0 => compare(&model, rule, (false, FillAll), input, options),
            _ => compare(&model, rule, (true, StopAtEos), input, options),
        };
        forwards += steps;
    }
    println!("{forwards} forward passes compared");
    assert!(forwards > 10_000);
}
