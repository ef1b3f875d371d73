//! Token editing, WINO and Saber, pass by pass, against slow reimplementations.

use crate::common::Random;
use crate::fake_model::MASK;
use crate::reference::pass_by_pass::{
    Now, Rule, compare, model, options, probability, prompt, threshold, top,
};
use demask::decode::{HierarchicalRemask, Saber, TokenEditing, Wino};
use std::collections::{BTreeMap, BTreeSet};

/// LLaDA2.1: the sets of commits and edits, written at once.
struct Editing {
    mask_threshold: f32,
    edit_threshold: f32,
    changed: bool,
}

impl Rule for Editing {
    fn step(&mut self, now: &Now<'_>) -> Vec<u32> {
        let mut canvas = now.canvas.to_vec();
        let ranked = now.ranked();
        let sure = ranked.iter().filter(|(.., p)| *p > self.mask_threshold).count();
        for (at, token, _) in ranked.iter().take(sure.max(1)) {
            canvas[*at] = *token;
        }
        for at in now.tokens() {
            let (token, p) = top(&now.logits(at));
            if p > self.edit_threshold {
                canvas[at] = token;
            }
        }
        self.changed = canvas != now.canvas;
        canvas
    }

    fn continues(&self) -> bool {
        self.changed
    }
}

#[test]
fn token_editing_step_for_step() {
    let mut random = Random(11);
    let mut passes = 0;
    for _ in 0..2000 {
        let model = model(&mut random);
        let (length, options) = options(&mut random);
        let prompt = prompt(&mut random, model.vocab);
        let (mask_threshold, edit_threshold) = (threshold(&mut random), threshold(&mut random));
        let mut policy = TokenEditing::new(mask_threshold, edit_threshold);
        let mut rule = Editing { mask_threshold, edit_threshold, changed: true };
        passes += compare(&model, &mut policy, &mut rule, (&prompt, length), options);
    }
    println!("{passes} passes compared");
    assert!(passes > 20_000);
}

/// Wide-in, narrow-out.
struct WideIn {
    accept: f32,
    keep: f32,
    last_accept: usize,
    /// Passes that took back, and those that took back no more than allowed.
    narrowed: usize,
    limited: usize,
}

impl Rule for WideIn {
    fn begin_block(&mut self) {
        self.last_accept = 30;
    }

    fn step(&mut self, now: &Now<'_>) -> Vec<u32> {
        let mut canvas = now.canvas.to_vec();
        let ranked = now.ranked();
        let most = ((ranked.len() as f64 * 0.7 + 1e-9) as usize).clamp(5, 20);
        let sure = ranked.iter().filter(|(.., p)| *p > self.accept).count().min(most).max(1);
        for (at, token, _) in &ranked[..sure] {
            canvas[*at] = *token;
        }
        if sure > 1 {
            let mut doubtful: Vec<(f32, usize)> = (now.tokens().into_iter())
                .map(|at| {
                    let logits = now.model.shadow_logits(now.canvas, at as u32);
                    (probability(&logits, now.canvas[at]), at)
                })
                .filter(|(p, _)| *p < self.keep)
                .collect();
            doubtful.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            self.narrowed += usize::from(!doubtful.is_empty());
            if doubtful.len() >= self.last_accept {
                doubtful.truncate(self.last_accept - 1);
                self.limited += 1;
            }
            doubtful.iter().for_each(|(_, at)| canvas[*at] = MASK);
        }
        self.last_accept = sure;
        canvas
    }
}

#[test]
fn wino_step_for_step() {
    let mut random = Random(12);
    let (mut passes, mut narrowed, mut limited) = (0, 0, 0);
    for _ in 0..1500 {
        let mut model = model(&mut random);
        model.max_canvas = 80;
        let (length, options) = options(&mut random);
        let prompt = prompt(&mut random, model.vocab);
        let (accept, keep) = (threshold(&mut random), threshold(&mut random));
        let mut policy = Wino::new(accept, keep);
        let mut rule = WideIn { accept, keep, last_accept: 0, narrowed: 0, limited: 0 };
        passes += compare(&model, &mut policy, &mut rule, (&prompt, length), options);
        narrowed += rule.narrowed;
        limited += rule.limited;
    }
    println!("{passes} passes compared, {narrowed} took back, {limited} as much as they may");
    assert!(passes > 10_000 && narrowed > 1000 && limited > 300);
}

/// Saber, with lists of what is known about every position.
struct Steps {
    dream: bool,
    /// Confidence when committed.
    committed: Vec<Option<f32>>,
    /// Top probability in the pass before.
    before: Vec<f32>,
    taken_back: usize,
}

impl Rule for Steps {
    fn step(&mut self, now: &Now<'_>) -> Vec<u32> {
        let mut canvas = now.canvas.to_vec();
        let known: Vec<f32> = self.committed.iter().flatten().copied().collect();
        let mean = match known.len() {
            0 => 1.0,
            n => known.iter().sum::<f32>() / n as f32,
        };
        let ranked = now.ranked();
        let mut commits = ranked.iter().filter(|(.., p)| *p > mean).count();
        if commits < 2 {
            commits = ranked.len().min(2);
        }
        for (at, token, p) in &ranked[..commits] {
            canvas[*at] = *token;
            if self.committed[*at].is_none() || !self.dream {
                self.committed[*at] = Some(*p);
            }
        }
        let scored: Vec<usize> = (0..now.block.end)
            .filter(|at| now.canvas[*at] == MASK || now.block.contains(at))
            .collect();
        if canvas[..now.block.end].contains(&MASK) {
            let mut tokens: Vec<(f32, usize)> = now
                .block
                .clone()
                .filter(|&at| canvas[at] != MASK && now.is_open(at))
                .map(|at| {
                    let logits = now.logits(at);
                    let rank = match self.dream {
                        true => probability(&logits, canvas[at]),
                        false => top(&logits).1 - self.before[at],
                    };
                    (rank, at)
                })
                .collect();
            tokens.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let back = (commits.div_ceil(8)).max(1).min(commits - 1);
            self.taken_back += back;
            tokens.iter().take(back).for_each(|(_, at)| canvas[*at] = MASK);
        }
        for at in scored {
            self.before[at] = top(&now.logits(at)).1;
        }
        canvas
    }
}

#[test]
fn saber_step_for_step() {
    let mut random = Random(13);
    let (mut passes, mut taken_back) = (0, 0);
    for case in 0..1500 {
        let mut model = model(&mut random);
        let (mut length, mut options) = options(&mut random);
        if case % 5 == 0 {
            // Commits by the dozen.
            (model.rows, model.scale) = (7, 3.0);
            (length, options.block_length, options.steps) = (40, 40, 40);
        }
        let prompt = prompt(&mut random, model.vocab);
        let dream = case % 2 == 0;
        let mut memory = [[9.0; 2]; 64];
        let mut policy = match dream {
            true => Saber::dream(&mut memory),
            false => Saber::llada(&mut memory),
        };
        let (committed, before) = (vec![None; 64], vec![0.0; 64]);
        let mut rule = Steps { dream, committed, before, taken_back: 0 };
        passes += compare(&model, &mut policy, &mut rule, (&prompt, length), options);
        taken_back += rule.taken_back;
    }
    println!("{passes} passes compared, {taken_back} tokens taken back");
    assert!(passes > 10_000 && taken_back > 5000);
}

/// dInfer's runs, with doubtful tokens among them.
struct Runs {
    low: f32,
    high: f32,
    doubt: f32,
    replaced: usize,
    taken_back: usize,
}

impl Rule for Runs {
    fn step(&mut self, now: &Now<'_>) -> Vec<u32> {
        let mut canvas = now.canvas.to_vec();
        let masks = now.masks();
        let doubts: BTreeMap<usize, f32> = (now.tokens().into_iter())
            .map(|at| (at, probability(&now.logits(at), now.canvas[at])))
            .filter(|(_, p)| *p < self.doubt)
            .collect();
        let candidates: BTreeSet<usize> = masks.iter().chain(doubts.keys()).copied().collect();
        let confidence = |at: usize| now.propose(at).1;
        // The first of the best of the run that a candidate is in.
        let best_of_run = |at: usize| {
            let first = (0..=at).rev().take_while(|at| candidates.contains(at)).last().unwrap();
            let run = (first..).take_while(|at| candidates.contains(at));
            run.first_best(confidence)
        };
        let mut taken: Vec<usize> = (candidates.iter().copied())
            .filter(|&at| {
                let p = confidence(at);
                p > self.high || p > self.low && best_of_run(at) == at
            })
            .collect();
        let mut commits = taken.iter().filter(|at| masks.contains(at)).count();
        if commits == 0 {
            taken.extend(now.ranked().first().map(|(at, ..)| *at));
            commits = usize::from(!masks.is_empty());
        }
        for at in &taken {
            self.replaced += usize::from(canvas[*at] != MASK);
            canvas[*at] = now.propose(*at).0;
        }
        let mut left: Vec<(f32, usize)> = doubts
            .into_iter()
            .filter(|(at, _)| !taken.contains(at))
            .map(|(at, p)| (p, at))
            .collect();
        left.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        left.truncate(commits.saturating_sub(1));
        self.taken_back += left.len();
        left.iter().for_each(|(_, at)| canvas[*at] = MASK);
        canvas
    }
}

/// The first of the largest.
trait First: Iterator<Item = usize> + Sized {
    fn first_best(self, rank: impl Fn(usize) -> f32) -> usize {
        self.reduce(|best, at| if rank(at) > rank(best) { at } else { best }).unwrap()
    }
}

impl<I: Iterator<Item = usize>> First for I {}

#[test]
fn hierarchical_remasking_step_for_step() {
    let mut random = Random(14);
    let (mut passes, mut replaced, mut taken_back) = (0, 0, 0);
    for _ in 0..1000 {
        let model = model(&mut random);
        let (length, options) = options(&mut random);
        let prompt = prompt(&mut random, model.vocab);
        let (high, doubt) = (threshold(&mut random), threshold(&mut random));
        let low = high.min(threshold(&mut random));
        let mut policy = HierarchicalRemask::new(low, high, doubt);
        let mut rule = Runs { low, high, doubt, replaced: 0, taken_back: 0 };
        passes += compare(&model, &mut policy, &mut rule, (&prompt, length), options);
        (replaced, taken_back) = (replaced + rule.replaced, taken_back + rule.taken_back);
    }
    println!("{passes} passes compared, {replaced} tokens replaced, {taken_back} taken back");
    assert!(passes > 5000 && replaced > 500 && taken_back > 50);
}
