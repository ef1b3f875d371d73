//! A network of two layers that keeps keys per slot: the score of a row depends on what each slot that it
//! sees held when that slot was last computed, and that in turn on what the slots held that it saw. It
//! remembers every pass, and which slots were out of date.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use crate::common::mix;
use crate::fake_model::{EOS, MASK, with_memory};
use demask::cache::CachePlan;
use demask::decode::{
    Commit, CommitPolicy, Edit, Even, FillAll, LogitRow, Needs, Sampling, Score, StepView,
};
use demask::image::Attention;
use demask::{
    ForwardError, Method, Model, Options, Pass, Session, SessionError, StepEvent, Visible,
    Vocabulary,
};
use std::collections::BTreeMap;
use std::ops::Range;

pub const VOCAB: u32 = 13;

/// One forward pass, as the network has seen it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub canvas: Vec<u32>,
    pub rows: Vec<usize>,
    /// Slots that some row saw and that were computed from another token than stands there now.
    pub stale: Vec<usize>,
    /// Slots that no row saw.
    pub unseen: Vec<usize>,
}

#[derive(Clone, Debug)]
pub struct KvModel {
    pub seed: u64,
    pub attention: Attention,
    pub shifted: bool,
    /// Factor of the logits: small for a flat distribution, large for a peaked one.
    pub scale: f32,
    pub passes: Vec<Seen>,
    /// Whether filters work, and how far distributions move is told.
    pub extras: bool,
    /// Logits of the last pass that scored a position.
    last: BTreeMap<u16, Vec<f32>>,
    /// Per slot: the token it was computed from, its key in the first and in the second layer.
    slots: Vec<Option<(u32, u64, u64)>>,
}

impl KvModel {
    pub fn new(seed: u64, attention: Attention, shifted: bool) -> Self {
        let (passes, slots, last) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { seed, attention, shifted, scale: 6.0, passes, extras: false, last, slots }
    }

    pub fn bidirectional(seed: u64, shifted: bool) -> Self {
        Self::new(seed, Attention::Bidirectional, shifted)
    }

    pub fn row_of(&self, position: usize) -> usize {
        position.saturating_sub(usize::from(self.shifted))
    }

    /// `len` counts shadows too: the slots that stand in for positions, which only they see.
    fn sees(&self, row: usize, slot: usize, len: usize, visible: &Visible<'_>) -> bool {
        let (start, end) = visible.shadowed;
        let real = len - (end - start);
        let shadowed = row.checked_sub(real).map(|i| start + i);
        if slot >= real || shadowed == Some(slot) {
            return slot >= real && shadowed.is_some();
        }
        let row = shadowed.unwrap_or(row);
        slot < self.attention.visible_end(row, real)
            && slot < visible.end
            && !visible.hidden.contains(&(slot as u16))
            && (row >= visible.prefix || slot < visible.prefix)
    }

    /// A sum over the slots that a row sees.
    fn attend(&self, row: usize, seen: &[bool], key: impl Fn((u32, u64, u64)) -> u64) -> u64 {
        let slots = seen.iter().enumerate().filter(|(_, seen)| **seen);
        slots.fold(mix(self.seed ^ row as u64), |sum, (slot, _)| {
            let held = self.slots[slot].unwrap_or_else(|| panic!("slot {slot} was never computed"));
            mix(sum ^ key(held)).wrapping_add(slot as u64)
        })
    }

    fn logits(&self, state: u64) -> Vec<f32> {
        let logit = |id| (mix(state ^ id) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        // Some rows are sure and some are not.
        let scale = self.scale * (state % 4) as f32;
        (0..u64::from(VOCAB)).map(|id| scale * logit(id)).collect()
    }
}

impl Model for KvModel {
    fn vocabulary(&self) -> Vocabulary {
        Vocabulary { size: VOCAB, mask_id: MASK, eos_id: EOS }
    }

    fn max_canvas(&self) -> usize {
        256
    }

    fn attention(&self) -> Attention {
        self.attention
    }

    fn shifted_logits(&self) -> bool {
        self.shifted
    }

    fn gives(&self) -> Needs {
        let always = Needs::VISIBILITY.and(Needs::SHADOWS).and(Needs::BIAS);
        match self.extras {
            true => always.and(Needs::DIVERGENCE).and(Needs::FILTER),
            false => always,
        }
    }

    fn begin(&mut self) {
        self.slots = vec![None; self.max_canvas()];
        self.passes.clear();
        self.last.clear();
    }

    fn score(
        &mut self,
        pass: &Pass<'_>,
        sampling: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError> {
        let &Pass { canvas, wanted, visible, .. } = pass;
        let rows = pass.rows.expect("the session lists rows");
        assert!(rows.is_sorted_by(|a, b| a < b) && wanted.is_sorted_by(|a, b| a < b));
        assert_eq!(wanted.len(), scores.len());
        let rows: Vec<usize> = rows.iter().map(|row| usize::from(*row)).collect();
        assert!(!rows.is_empty() && rows[rows.len() - 1] < canvas.len());
        let seen = |row: usize| -> Vec<bool> {
            (0..canvas.len()).map(|slot| self.sees(row, slot, canvas.len(), &visible)).collect()
        };
        let seen: Vec<Vec<bool>> = rows.iter().map(|row| seen(*row)).collect();
        for &row in &rows {
            let own = mix(u64::from(canvas[row]) << 32 ^ row as u64);
            self.slots[row] = Some((canvas[row], own, 0));
        }
        let second: Vec<u64> = rows
            .iter()
            .zip(&seen)
            .map(|(row, seen)| self.attend(*row, seen, |(_, first, _)| first))
            .collect();
        for (&row, second) in rows.iter().zip(second) {
            self.slots[row] = self.slots[row].map(|(token, first, _)| (token, first, second));
        }
        for (score, &position) in scores.iter_mut().zip(wanted) {
            let real = canvas.len() - (visible.shadowed.1 - visible.shadowed.0);
            let row = match usize::from(position) {
                shadow if shadow >= real => shadow,
                position => self.row_of(position),
            };
            let at = rows.binary_search(&row).map_err(|_| ForwardError::RowNotComputed { row })?;
            let state = self.attend(row, &seen[at], |(_, _, second)| second);
            let logits = self.logits(mix(state ^ u64::from(position)));
            let row = LogitRow::new(position.into(), &logits, MASK);
            let row = LogitRow { current: canvas[usize::from(position)], bias: pass.bias, ..row };
            let previous = self.last.get(&position).filter(|_| self.extras);
            let row = LogitRow { previous: previous.map(Vec::as_slice), ..row };
            *score = row.score(sampling).map_err(|_| ForwardError::NotFinite { layer: None })?;
            if self.extras && usize::from(position) < real {
                if previous.is_none() {
                    score.divergence = f32::INFINITY;
                }
                self.last.insert(position, logits);
            }
        }
        let is_seen = |slot: &usize| seen.iter().any(|row| row[*slot]);
        let (all_seen, unseen): (Vec<_>, Vec<_>) = (0..canvas.len()).partition(is_seen);
        let is_stale = |slot: &usize| self.slots[*slot].is_some_and(|held| held.0 != canvas[*slot]);
        let stale = all_seen.into_iter().filter(is_stale).collect();
        self.passes.push(Seen { canvas: canvas.to_vec(), rows, stale, unseen });
        Ok(())
    }
}

/// The bits of the scores of a step, and the commits and revisions that came of it.
pub type Outcome<'s> = (Vec<[u32; 10]>, &'s [Commit], &'s [Commit]);

/// One step of a session.
#[derive(Clone, Debug)]
pub struct Step {
    pub block: Range<usize>,
    /// Passes of this block before this one.
    pub pass: usize,
    /// The pass, and the canvas before the step.
    pub seen: Seen,
    pub scores: Vec<Score>,
    pub commits: Vec<Commit>,
    pub revisions: Vec<Commit>,
}

impl std::ops::Deref for Step {
    type Target = Seen;

    fn deref(&self) -> &Seen {
        &self.seen
    }
}

impl Step {
    /// Masks that could be committed.
    pub fn candidates(&self) -> Vec<usize> {
        (0..self.block.end).filter(|position| self.canvas[*position] == MASK).collect()
    }

    pub fn outcome(&self) -> Outcome<'_> {
        let bits = |score: &Score| bytemuck::cast::<Score, [u32; 10]>(*score);
        (self.scores.iter().map(bits).collect(), &self.commits, &self.revisions)
    }

    pub fn scored(&self) -> Vec<usize> {
        self.scores.iter().map(|score| score.position as usize).collect()
    }
}

/// A whole decode: its steps, and the canvas at the end.
#[derive(Clone, Debug)]
pub struct Run {
    pub region: Range<usize>,
    pub shifted: bool,
    pub steps: Vec<Step>,
    pub canvas: Vec<u32>,
}

impl Run {
    pub fn rows(&self) -> usize {
        self.steps.iter().map(|step| step.rows.len()).sum()
    }

    pub fn outcomes(&self) -> Vec<Outcome<'_>> {
        self.steps.iter().map(Step::outcome).collect()
    }
}

/// A prompt (masks in it are filled too), and how many tokens follow.
#[derive(Clone, Debug)]
pub struct Job {
    pub prompt: Vec<u32>,
    pub length: usize,
    pub options: Options,
}

impl Job {
    /// Blocks of `block` tokens, with as many steps as tokens.
    pub fn new(prompt: &[u32], block: usize, blocks: usize) -> Self {
        let length = block * blocks;
        let options = Options { block_length: block, ..Options::one_block(length) };
        Self { prompt: prompt.to_vec(), length, options }
    }
}

pub fn try_decode(
    model: &KvModel,
    job: &Job,
    policy: impl CommitPolicy,
    cache: impl CachePlan,
) -> Result<Run, SessionError> {
    let mut model = model.clone();
    let mut steps: Vec<Step> = Vec::new();
    let len = job.prompt.len() + job.length;
    // Shadows stand behind the canvas.
    let slots = len + job.options.block_length;
    let canvas = with_memory(slots, |memory| {
        let method = Method { policy, schedule: Even, eos: FillAll, cache };
        let mut session = Session::new(&mut model, memory, method);
        session.begin(&job.prompt, job.length, job.options)?;
        session.run(&mut |event: &StepEvent<'_>| {
            steps.push(Step {
                block: event.block.clone(),
                pass: steps.iter().filter(|step| step.block == event.block).count(),
                scores: event.scores.to_vec(),
                commits: event.commits.to_vec(),
                revisions: event.revisions.to_vec(),
                seen: Seen::default(),
            });
        })?;
        Ok::<_, SessionError>(session.canvas().to_vec())
    })?;
    assert!(!canvas.contains(&MASK), "a mask is left");
    assert_eq!(steps.len(), model.passes.len());
    steps.iter_mut().zip(model.passes).for_each(|(step, seen)| step.seen = seen);
    Ok(Run { region: job.prompt.len()..len, shifted: model.shifted, steps, canvas })
}

pub fn decode(model: &KvModel, job: &Job, policy: impl CommitPolicy, cache: impl CachePlan) -> Run {
    try_decode(model, job, policy, cache).unwrap_or_else(|error| panic!("{error}: {job:?}"))
}

/// Commits some candidates, and takes back or replaces tokens anywhere before the block's end.
pub struct Reviser(pub u64);

impl CommitPolicy for Reviser {
    fn needs(&self) -> Needs {
        Needs::REVISIONS
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let chance = |position: u32, purpose: u32| {
            StepView { seed: self.0, ..view.clone() }.uniform(position, purpose)
        };
        for score in view.candidates().filter(|score| chance(score.position, 1) < 0.5) {
            edit.offer(view.proposed(score), usize::MAX);
        }
        for position in (0..view.block.end as u32).filter(|p| view.is_open(*p) && !view.is_mask(*p))
        {
            let token = match chance(position, 2) {
                u if u < 0.1 => MASK,
                u if u < 0.2 => 2 + (u * 1e6) as u32 % (VOCAB - 2),
                _ => continue,
            };
            edit.revise(Commit { position, token, confidence: 0.0 });
        }
    }
}
