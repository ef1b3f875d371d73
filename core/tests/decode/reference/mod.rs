//! The decoding loop once more, with lists and sorting: blocks, steps, draws, the end of a text. What is
//! chosen in a step is a [`Rule`], written as its paper tells it.

mod dream;
mod early;
mod learned;
mod length;
mod llada;
mod parallel;
pub mod pass_by_pass;
mod remask;
pub mod rules;
mod run;
mod signals;
mod time;

#[allow(unused_imports, reason = "each test file uses its own part")]
pub use run::{cases, compare, options, prompt, table};

use crate::fake_model::{EOS, MASK, Table};
use demask::decode::{Commit, Sampling, Score, philox4x32};
use demask::{Options, StepEvent};
use std::ops::Range;

/// A position and what the network says about it.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub position: u32,
    /// Proposed token.
    pub token: u32,
    /// Most probable token.
    pub top: u32,
    /// Probability of the proposal, lowered by the end rule.
    pub confidence: f32,
    /// Probability of the best token.
    pub top_probability: f32,
    /// Entropy, and probability of the best token less that of the second.
    pub entropy: f32,
    pub margin: f32,
    /// Logit of the best token less that of the second.
    pub gap: f32,
    /// What the end rule multiplies ranks by.
    weight: f32,
}

impl Candidate {
    /// A commit of the proposal.
    pub fn commit(&self) -> Commit {
        self.commit_by(self.confidence)
    }

    /// A commit of the proposal with another rank.
    pub fn commit_by(&self, confidence: f32) -> Commit {
        Commit { position: self.position, token: self.token, confidence }
    }

    /// A rank of at least 0, lowered by the end rule.
    pub fn lowered(&self, rank: f32) -> f32 {
        match self.weight {
            _ if self.token != EOS => rank,
            0.0 => f32::MIN,
            weight => rank * weight,
        }
    }
}

/// Where decoding stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Steps of this block before this one, those without commits included, and steps planned for it.
    pub step: usize,
    pub steps: usize,
    /// Steps of the whole text before this one.
    pub total: usize,
    /// Blocks before this one.
    pub index: usize,
    /// Masks of the block when it began, and those left.
    pub masks: usize,
    pub left: usize,
    /// Forward passes before this one.
    pub forward: u32,
    pub seed: u64,
}

impl Place {
    /// The policy's uniform random number.
    pub fn uniform(&self, position: u32, purpose: usize) -> f64 {
        let counter = [purpose as u32, position, self.forward, 1];
        let word = philox4x32(counter, [self.seed as u32, (self.seed >> 32) as u32])[0];
        (f64::from(word >> 8) + 0.5) / 16_777_216.0
    }

    /// The policy's Gumbel noise.
    pub fn gumbel(&self, position: u32) -> f64 {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let word = philox4x32([0, position, self.forward, 1], key)[0];
        -(-((f64::from(word) + 0.5) / 4_294_967_296.0).ln()).ln()
    }
}

/// What a rule sees.
pub struct Situation<'a> {
    pub place: Place,
    pub block: Range<usize>,
    pub region: Range<usize>,
    /// Masks left of the block's end.
    pub candidates: Vec<Candidate>,
    /// Masks behind the block, for a rule that looks around.
    pub behind: Vec<Candidate>,
    /// Decided positions of the region, for a rule that looks around.
    pub decided: Vec<Candidate>,
    /// What the session chose: settles draws that are too close.
    pub observed: &'a [Commit],
}

impl Situation<'_> {
    /// Candidates by a rank, the highest first, then by position.
    pub fn ranked(&self, rank: impl Fn(&Candidate) -> f32) -> Vec<Candidate> {
        let mut all = self.candidates.clone();
        all.sort_by(|a, b| rank(b).total_cmp(&rank(a)).then(a.position.cmp(&b.position)));
        all
    }

    /// Candidates by confidence.
    pub fn best(&self) -> Vec<Candidate> {
        self.ranked(|candidate| candidate.confidence)
    }
}

/// A way of choosing.
pub trait Rule {
    fn begin_block(&mut self, _: Range<usize>) {}

    /// Whether it looks at more than the candidates.
    fn looks_around(&self) -> bool {
        false
    }

    /// What is committed in this step. Nothing: the step makes no pass.
    fn choose(&mut self, at: &Situation<'_>) -> Vec<Commit>;
}

/// What is decoded, and how.
pub struct Case<'a> {
    pub model: &'a Table,
    pub prompt: &'a [u32],
    pub length: usize,
    pub options: Options,
    /// Lengths of the blocks.
    pub sizes: Vec<usize>,
    /// What the end rule multiplies ranks of the end token by, 1 for nothing.
    pub weight: fn(&Place) -> f32,
    /// Whether decoding stops at the end of the text.
    pub stop_at_eos: bool,
}

impl<'a> Case<'a> {
    /// Equal blocks, no end rule.
    pub fn new(model: &'a Table, prompt: &'a [u32], length: usize, options: Options) -> Self {
        let sizes = vec![options.block_length; length / options.block_length];
        Self { model, prompt, length, options, sizes, weight: |_| 1.0, stop_at_eos: false }
    }
}

/// The block that is being filled.
#[derive(Clone)]
struct Block {
    range: Range<usize>,
    index: usize,
    masks: usize,
    step: usize,
}

struct Reference<'a> {
    case: &'a Case<'a>,
    canvas: Vec<u32>,
    region: Range<usize>,
    forward: u32,
    total: usize,
    block: Option<Block>,
    /// Draws too close to call in f32, where the session's choice was taken.
    close_draws: usize,
}

impl Reference<'_> {
    fn masks(&self, range: Range<usize>) -> Vec<usize> {
        range.filter(|&position| self.canvas[position] == MASK).collect()
    }

    /// The first block, not before the current one, whose end has a mask before it.
    fn find_block(&self) -> Option<Block> {
        let current = self.block.clone();
        if let Some(current) = current.filter(|b| !self.masks(0..b.range.end).is_empty()) {
            return Some(current);
        }
        let first = self.block.as_ref().map_or(0, |block| block.index + 1);
        (first..self.case.sizes.len()).find_map(|index| {
            let start = self.region.start + self.case.sizes[..index].iter().sum::<usize>();
            let range = start..start + self.case.sizes[index];
            let masks = self.masks(range.clone()).len();
            let found = Block { range: range.clone(), index, masks, step: 0 };
            (!self.masks(0..range.end).is_empty()).then_some(found)
        })
    }

    fn place(&self, block: &Block) -> Place {
        Place {
            step: block.step,
            steps: self.case.options.steps / self.case.sizes.len(),
            total: self.total,
            index: block.index,
            masks: block.masks,
            left: self.masks(block.range.clone()).len(),
            forward: self.forward,
            seed: self.case.options.seed,
        }
    }

    /// What the position is proposed to become; `observed` settles draws that are too close.
    fn propose(&mut self, logits: &[f32], position: usize, observed: Option<u32>) -> u32 {
        let Options { temperature, seed, .. } = self.case.options;
        let noisy = |id: u32| -> f64 {
            let logit = f64::from(logits[id as usize]);
            if temperature == 0.0 {
                return logit;
            }
            let counter = [id / 4, position as u32, self.forward, 0];
            let word = philox4x32(counter, [seed as u32, (seed >> 32) as u32])[id as usize % 4];
            let uniform = (f64::from(word) + 0.5) / 4_294_967_296.0;
            logit / f64::from(temperature) - (-uniform.ln()).ln()
        };
        let mut ids: Vec<u32> = (0..logits.len() as u32).filter(|&id| id != MASK).collect();
        ids.sort_by(|&a, &b| noisy(b).total_cmp(&noisy(a)).then(a.cmp(&b)));
        let margin = noisy(ids[0]) - noisy(ids[1]);
        if let Some(observed) = observed.filter(|_| temperature > 0.0 && margin < 1e-4) {
            assert!(noisy(ids[0]) - noisy(observed) < 1e-4);
            self.close_draws += 1;
            return observed;
        }
        ids[0]
    }

    /// Everything about a position, rounded as the session rounds, and checked by plain f64.
    fn candidate(&mut self, position: usize, place: &Place, observed: &[Score]) -> Candidate {
        let logits = self.case.model.logits(&self.canvas, position as u32);
        let seen = observed.iter().find(|score| score.position as usize == position);
        let token = self.propose(&logits, position, seen.map(|score| score.proposal));
        let score = Score::from_logits(position as u32, &logits, MASK, &Sampling::GREEDY).unwrap();
        let drawn = Score { proposal_logit: logits[token as usize], ..score };
        check_numbers(&logits, token, &drawn);
        let mut candidate = Candidate {
            position: position as u32,
            token,
            top: score.top,
            confidence: drawn.confidence(),
            top_probability: score.confidence(),
            entropy: score.entropy,
            margin: score.margin(),
            gap: score.top_logit - score.runner_up_logit,
            weight: (self.case.weight)(place),
        };
        candidate.confidence = candidate.lowered(candidate.confidence);
        candidate
    }

    fn candidates(
        &mut self,
        range: Range<usize>,
        masks: bool,
        place: &Place,
        observed: &[Score],
    ) -> Vec<Candidate> {
        let positions: Vec<usize> =
            range.filter(|&at| (self.canvas[at] == MASK) == masks).collect();
        positions.into_iter().map(|at| self.candidate(at, place, observed)).collect()
    }

    /// One pass: the block, and the commits by position. `None` when all is decided.
    fn pass(
        &mut self,
        rule: &mut dyn Rule,
        event: &StepEvent<'_>,
    ) -> Option<(Range<usize>, Vec<Commit>)> {
        let mut block = self.find_block()?;
        if self.block.as_ref().is_none_or(|last| last.index != block.index) {
            rule.begin_block(block.range.clone());
        }
        let mut commits = Vec::new();
        while commits.is_empty() {
            let place = self.place(&block);
            let (end, scores) = (block.range.end, event.scores);
            let (behind, region) = match rule.looks_around() {
                true => (end..self.canvas.len(), self.region.clone()),
                false => (0..0, 0..0),
            };
            let situation = Situation {
                place,
                block: block.range.clone(),
                region: self.region.clone(),
                candidates: self.candidates(0..end, true, &place, scores),
                behind: self.candidates(behind, true, &place, scores),
                decided: self.candidates(region, false, &place, scores),
                observed: event.commits,
            };
            commits = rule.choose(&situation);
            // When the planned steps are over, every pass commits something.
            if commits.is_empty() && block.step >= place.steps {
                commits.push(situation.best()[0].commit());
            }
            block.step += 1;
            self.total += 1;
        }
        commits.sort_by_key(|commit| commit.position);
        for commit in &commits {
            self.canvas[commit.position as usize] = commit.token;
        }
        self.block = Some(block.clone());
        self.forward += 1;
        if self.case.stop_at_eos {
            self.fill_after_end();
        }
        Some((block.range, commits))
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

/// Probability, entropy and margin are those of the softmax, by plain f64.
fn check_numbers(logits: &[f32], token: u32, score: &Score) {
    let kept = || logits.iter().zip(0..).filter(|(_, id)| *id != MASK);
    let sum: f64 = kept().map(|(l, _)| f64::from(*l).exp()).sum();
    let of = |l: f32| f64::from(l).exp() / sum;
    let near = |got: f32, expected: f64, tolerance: f64| {
        assert!((expected - f64::from(got)).abs() < tolerance, "{got} {expected}");
    };
    let expected = of(logits[token as usize]);
    near(score.confidence(), expected, 2e-6 * expected.max(1e-3));
    near(score.entropy, kept().map(|(l, _)| -of(*l) * of(*l).ln()).sum(), 2e-5);
    let mut sorted: Vec<f64> = kept().map(|(l, _)| of(*l)).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    near(score.margin(), sorted[0] - sorted.get(1).unwrap_or(&0.0), 4e-6);
}
