//! Runs a session beside a slow reimplementation of its policy, which works on lists and may take its time.

use crate::common::Random;
use crate::fake_model::{MASK, Table, with_memory};
use demask::cache::NoCache;
use demask::decode::{CommitPolicy, Even, FillAll, Sampling, Schedule, Score, philox4x32};
use demask::decode::{StepCount, Threshold};
use demask::{Method, Options, Progress, Session, StepEvent};
use std::ops::Range;

/// What a rule sees before it decides.
pub struct Now<'a> {
    pub model: &'a Table,
    pub canvas: &'a [u32],
    pub prompt: &'a [u32],
    pub block: Range<usize>,
    /// Passes before this one.
    pub forward: usize,
    /// Steps of the block before this one.
    pub step: usize,
    /// Steps of a block.
    pub steps: usize,
    /// Masks of the block when it began.
    pub masks_at_start: usize,
    pub options: Options,
}

impl Now<'_> {
    /// Masks left of the block's end.
    pub fn masks(&self) -> Vec<usize> {
        (0..self.block.end).filter(|&position| self.canvas[position] == MASK).collect()
    }

    /// Tokens of the block that are not the prompt's.
    pub fn tokens(&self) -> Vec<usize> {
        self.block.clone().filter(|&at| self.canvas[at] != MASK && self.is_open(at)).collect()
    }

    /// Whether a position was a mask at the start.
    pub fn is_open(&self, position: usize) -> bool {
        self.prompt.get(position).is_none_or(|id| *id == MASK)
    }

    pub fn logits(&self, position: usize) -> Vec<f32> {
        self.model.logits(self.canvas, position as u32)
    }

    /// Proposal of a position and its probability.
    pub fn propose(&self, position: usize) -> (u32, f32) {
        self.propose_from(position, &self.logits(position))
    }

    pub fn propose_from(&self, position: usize, logits: &[f32]) -> (u32, f32) {
        let Options { temperature, seed, .. } = self.options;
        let step = self.forward as u32;
        let sampling = Sampling { temperature, seed, step, ..Sampling::GREEDY };
        let score = Score::from_logits(position as u32, logits, MASK, &sampling).unwrap();
        (score.proposal, score.confidence())
    }

    /// Positions and proposals of the masks, the most probable ones first.
    pub fn ranked(&self) -> Vec<(usize, u32, f32)> {
        let mut all: Vec<_> = self
            .masks()
            .into_iter()
            .map(|at| {
                let (token, confidence) = self.propose(at);
                (at, token, confidence)
            })
            .collect();
        all.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
        all
    }

    /// The session's uniform random number.
    pub fn uniform(&self, position: usize, purpose: usize) -> f64 {
        let seed = self.options.seed;
        let counter = [purpose as u32, position as u32, self.forward as u32, 1];
        let word = philox4x32(counter, [seed as u32, (seed >> 32) as u32])[0];
        (f64::from(word >> 8) + 0.5) / 16_777_216.0
    }

    /// What the even schedule wants.
    pub fn quota(&self) -> usize {
        quota(self.step, self.steps, self.masks_at_start)
    }
}

fn quota(step: usize, steps: usize, masks: usize) -> usize {
    Even.quota(&StepCount { step, steps, masks, ..StepCount::default() })
}

/// The most probable token and its probability.
pub fn top(logits: &[f32]) -> (u32, f32) {
    let score = Score::from_logits(0, logits, MASK, &Sampling::GREEDY).unwrap();
    (score.top, score.confidence())
}

/// The probability of a token, by plain f64, rounded.
pub fn probability(logits: &[f32], token: u32) -> f32 {
    let score = Score::from_logits(0, logits, MASK, &Sampling::GREEDY).unwrap();
    Score { proposal_logit: logits[token as usize], ..score }.confidence()
}

/// One way of decoding, slowly.
pub trait Rule {
    fn begin_block(&mut self) {}

    /// The canvas after this pass.
    fn step(&mut self, now: &Now<'_>) -> Vec<u32>;

    /// Whether a block without masks gets another pass.
    fn continues(&self) -> bool {
        false
    }
}

/// Passes over a block without masks, at most.
const POST_STEPS: usize = 16;

/// Decodes `length` tokens after `prompt` both ways, and compares the canvas after every pass; the number of
/// passes.
pub fn compare(
    model: &Table,
    policy: &mut dyn CommitPolicy,
    rule: &mut dyn Rule,
    (prompt, length): (&[u32], usize),
    options: Options,
) -> usize {
    let mut canvas = prompt.to_vec();
    canvas.resize(prompt.len() + length, MASK);
    let steps = options.steps / (length / options.block_length);
    let has_masks = |canvas: &[u32], end: usize| canvas[..end].contains(&MASK);
    let one_block = length == options.block_length;
    let follows_schedule = policy.follows_schedule();
    with_memory(model.max_canvas, |memory| {
        let method = Method { policy, schedule: Even, eos: FillAll, cache: NoCache };
        let mut session = Session::new(model.clone(), memory, method);
        session.begin(prompt, length, options).unwrap();
        let (mut forward, mut start) = (0, prompt.len());
        while start < canvas.len() {
            let end_of = |canvas: &[u32]| match one_block {
                true => canvas.len(),
                false => (start + options.block_length).min(canvas.len()),
            };
            let masks_at_start =
                canvas[start..end_of(&canvas)].iter().filter(|id| **id == MASK).count();
            let mut step = 0;
            let mut post = 0;
            let begun = has_masks(&canvas, end_of(&canvas));
            if begun {
                rule.begin_block();
            }
            loop {
                let end = end_of(&canvas);
                if !has_masks(&canvas, end) {
                    if !begun || !rule.continues() || post == POST_STEPS {
                        break;
                    }
                    post += 1;
                }
                if follows_schedule {
                    // Steps in which the schedule wants nothing.
                    while step < steps && quota(step, steps, masks_at_start) == 0 {
                        step += 1;
                    }
                }
                let block = start..end;
                let now = Now {
                    model,
                    canvas: &canvas,
                    prompt,
                    block: block.clone(),
                    forward,
                    step,
                    steps,
                    masks_at_start,
                    options,
                };
                let expected = rule.step(&now);
                let mut check = |event: &StepEvent<'_>| {
                    assert_eq!(event.block, block);
                    let mut after = canvas.clone();
                    for decision in event.commits.iter().chain(event.revisions) {
                        assert_ne!(after[decision.position as usize], decision.token);
                        after[decision.position as usize] = decision.token;
                    }
                    assert_eq!(event.canvas, after, "decisions and canvas differ");
                };
                session.step(&mut check).unwrap();
                assert_eq!(session.canvas(), expected, "pass {forward}, block {block:?}");
                (canvas, forward, step) = (expected, forward + 1, step + 1);
            }
            start = end_of(&canvas);
        }
        assert_eq!(session.step(&mut ()), Ok(Progress::Finished));
        assert_eq!(session.forwards() as usize, forward);
        assert!(
            !canvas.contains(&MASK)
                && canvas[..prompt.len()]
                    .iter()
                    .zip(prompt)
                    .all(|(now, before)| now == before || *before == MASK)
        );
        forward
    })
}

/// A random model, whose decided positions are scored.
pub fn model(random: &mut Random) -> Table {
    Table {
        rows: [0, 2, 7][random.below(3)],
        scale: [0.5, 3.0, 12.0][random.below(3)],
        vocab: [3, 13, 70][random.below(3)],
        ..Table::of_all_rows(random.next())
    }
}

/// A random prompt, in every third case with masks, few enough to stay below the step cap.
pub fn prompt(random: &mut Random, vocab: u32) -> Vec<u32> {
    let length = random.below(12);
    let mut prompt: Vec<u32> =
        (0..length).map(|_| 2 + random.below(vocab as usize - 2) as u32).collect();
    if random.below(3) == 0 {
        for _ in 0..3.min(length) {
            prompt[random.below(length)] = MASK;
        }
    }
    prompt
}

/// A random length, and options for it.
pub fn options(random: &mut Random) -> (usize, Options) {
    let (block_length, blocks) = (1 + random.below(9), 1 + random.below(4));
    let steps = blocks * (1 + random.below(block_length + 3));
    let temperature = [0.0, 0.0, 1.0][random.below(3)];
    let seed = random.next();
    let options =
        Options { block_length, steps, temperature, seed, ..Options::one_block(block_length) };
    (block_length * blocks, options)
}

/// Thresholds that decide everything, nothing and something.
pub fn threshold(random: &mut Random) -> f32 {
    [-1.0, 0.0, 0.2, 0.5, 0.9, 2.0][random.below(6)]
}

#[test]
fn the_harness_agrees_with_a_policy_that_is_known() {
    struct Known;
    impl Rule for Known {
        fn step(&mut self, now: &Now<'_>) -> Vec<u32> {
            let mut canvas = now.canvas.to_vec();
            let ranked = now.ranked();
            let sure = ranked.iter().filter(|(.., confidence)| *confidence >= 0.5).count().max(1);
            ranked[..sure].iter().for_each(|(at, token, _)| canvas[*at] = *token);
            canvas
        }
    }
    let mut random = Random(5);
    for _ in 0..100 {
        let model = model(&mut random);
        let (length, options) = options(&mut random);
        let prompt = prompt(&mut random, model.vocab);
        compare(&model, &mut Threshold(0.5), &mut Known, (&prompt, length), options);
    }
}
