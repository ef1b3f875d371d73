//! The decoding loop: blocks, steps, commits. Knows all the other parts, and nothing else does.

mod blocks;
mod check;
mod error;
mod options;
mod rules;

pub use error::SessionError;
pub use options::{MIN_TEMPERATURE, Method, Options};
pub use rules::MAX_POST_STEPS;

use crate::cache::{CachePlan, Decided, NoCache};
use crate::checksum::Checksum;
use crate::decode::{
    CommitPolicy, Edit, EosPolicy, Even, Needs, Sampling, Schedule, StepCount, StepView, StopAtEos,
    TopQ,
};
use crate::image::Attention;
use crate::memory::SessionMemory;
use crate::model::{Model, Pass, Vocabulary};
use crate::trace::{StepEvent, Trace};
use core::ops::Range;
use rules::{Resizing, Rules};

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Masks are left.
    Running,
    /// The canvas is complete.
    Finished,
}

/// What a forward pass has left in memory.
struct Scored {
    /// Where decoding stood before it.
    count: StepCount,
    /// Records of positions, from the front.
    wanted: usize,
    /// Records of shadows behind them.
    shadows: usize,
    /// Rows that went through the network.
    rows: usize,
}

/// Decodes canvases with one model, one after the other, on borrowed memory.
#[derive(Debug)]
pub struct Session<'a, M, P = TopQ, S = Even, X = StopAtEos, C = NoCache> {
    model: M,
    method: Method<P, S, X, C>,
    memory: SessionMemory<'a>,
    options: Options,
    vocabulary: Vocabulary,
    /// Tokens on the canvas.
    len: usize,
    /// Where the answer is. It may end beyond the canvas, which is then a window over the text.
    region: Range<usize>,
    /// Tokens that have left the canvas.
    dropped: u64,
    /// Blocks of the whole answer.
    blocks: usize,
    block: Range<usize>,
    masks_at_block_start: usize,
    /// The same, and the masks left of the block.
    candidates_at_block_start: usize,
    /// Blocks before this one.
    block_index: usize,
    /// Steps of this block so far, those without a forward pass included.
    step_in_block: usize,
    /// Forward passes of this block so far, and those since it has no masks.
    passes_in_block: usize,
    post_steps: usize,
    block_open: bool,
    forwards: u32,
    rows_computed: u64,
    checksum: Checksum,
}

impl<'a, M, P, S, X, C> Session<'a, M, P, S, X, C>
where
    M: Model,
    P: CommitPolicy,
    S: Schedule,
    X: EosPolicy,
    C: CachePlan,
{
    /// A session with an empty canvas.
    pub fn new(model: M, memory: SessionMemory<'a>, method: Method<P, S, X, C>) -> Self {
        let vocabulary = model.vocabulary();
        Self {
            model,
            method,
            memory,
            options: Options::one_block(1),
            vocabulary,
            len: 0,
            region: 0..0,
            dropped: 0,
            blocks: 1,
            block: 0..0,
            masks_at_block_start: 0,
            candidates_at_block_start: 0,
            block_index: 0,
            step_in_block: 0,
            passes_in_block: 0,
            post_steps: 0,
            block_open: false,
            forwards: 0,
            rows_computed: 0,
            checksum: Checksum::default(),
        }
    }

    /// Starts on `prompt` followed by `length` masks. Masks in the prompt are filled as well; with
    /// a length of 0 that is all, as in [`Session::begin_infill`].
    ///
    /// A model with block-causal attention may write more than the canvas holds: its oldest blocks
    /// then make room, all but [`Options::pinned`], and [`Trace::dropped`] gets them.
    ///
    /// # Errors
    /// [`SessionError`] if something does not fit; the session is then unchanged.
    pub fn begin(
        &mut self,
        prompt: &[u32],
        length: usize,
        options: Options,
    ) -> Result<(), SessionError> {
        if length == 0 && prompt.contains(&self.vocabulary.mask_id) {
            return self.begin_infill(prompt, options);
        }
        let end = prompt.len().saturating_add(length);
        let tokens = prompt.iter().copied();
        self.start(tokens, prompt.len()..end, options)
    }

    /// Starts on a canvas with masks in any place, all of it one region.
    ///
    /// # Errors
    /// [`SessionError`] if something does not fit; the session is then unchanged.
    pub fn begin_infill(&mut self, canvas: &[u32], options: Options) -> Result<(), SessionError> {
        self.start(canvas.iter().copied(), 0..canvas.len(), options)
    }

    /// `tokens`, then masks up to the region's end.
    fn start(
        &mut self,
        tokens: impl Iterator<Item = u32> + Clone,
        region: Range<usize>,
        options: Options,
    ) -> Result<(), SessionError> {
        self.blocks = self.check(tokens.clone(), &region, &options)?;
        let mask = self.vocabulary.mask_id;
        self.len = region.end.min(self.slots());
        let filled = tokens.chain(core::iter::repeat(mask));
        let slots = self.memory.canvas.iter_mut().zip(self.memory.open.iter_mut());
        for ((slot, open), token) in slots.take(self.len).zip(filled) {
            (*slot, *open) = (token, u8::from(token == mask));
        }
        // Where rows see only what is before their block's end, masks in the prompt come first.
        let start = match self.model.attention() {
            Attention::Bidirectional => region.start,
            Attention::BlockCausal(_) => self.first_mask().unwrap_or(region.start),
        };
        self.block = start..start;
        self.region = region;
        self.options = options;
        self.block_open = false;
        self.block_index = 0;
        self.dropped = 0;
        self.forwards = 0;
        self.rows_computed = 0;
        self.checksum = Checksum::default();
        self.model.begin();
        self.method.cache.begin(self.region.clone());
        self.method.policy.begin(self.region.clone());
        Ok(())
    }

    /// Tokens that fit on the canvas.
    fn slots(&self) -> usize {
        self.memory.canvas.len().min(self.model.max_canvas())
    }

    /// One forward pass and its commits. A canvas without masks is finished without one.
    ///
    /// # Errors
    /// [`SessionError::Forward`]; the canvas keeps what was committed before.
    pub fn step(&mut self, trace: &mut impl Trace) -> Result<Progress, SessionError> {
        if !self.open_block(trace)? {
            return Ok(Progress::Finished);
        }
        self.skip_empty_steps();
        let scored = self.score()?;
        let (resizing, end) = self.decide(&scored, trace)?;
        self.forwards = self.forwards.saturating_add(1);
        self.step_in_block += 1;
        self.passes_in_block += 1;
        if self.method.policy.needs().include(Needs::RESIZING) {
            self.resize(resizing);
        }
        if let Some(end) = end {
            self.finish(end);
        }
        let more =
            self.has_mask_before(self.len) || self.region.end > self.len || self.looks_again();
        Ok(if more { Progress::Running } else { Progress::Finished })
    }

    /// Plans a forward pass and makes it. The records of what is wanted, and behind them those of
    /// shadows, are then in memory.
    fn score(&mut self) -> Result<Scored, SessionError> {
        let needs = self.method.policy.needs();
        let (wanted, computed) = self.plan_rows(needs);
        let shadows = self.shadow_block(needs, wanted, computed);
        let scored = Scored { count: self.count(), wanted, shadows, rows: computed + shadows };
        let sampling = Sampling {
            temperature: self.options.temperature,
            seed: self.options.seed,
            step: self.forwards,
            filter: self.options.filter,
            forbidden: self.method.eos.forbids().then_some(self.vocabulary.eos_id),
        };
        let mut visible = self.method.cache.visible();
        if shadows > 0 {
            visible.shadowed = (self.block.start, self.block.end);
        }
        let (memory, all) = (&mut self.memory, wanted + shadows);
        let pass = Pass {
            canvas: memory.canvas.get(..self.len + shadows).unwrap_or_default(),
            rows: memory.rows.get(..scored.rows),
            wanted: memory.wanted.get(..all).unwrap_or_default(),
            visible,
            bias: self.method.policy.bias(),
        };
        let scores = memory.scores.get_mut(..all).unwrap_or_default();
        self.model.score(&pass, &sampling, scores)?;
        self.rows_computed = self.rows_computed.saturating_add(scored.rows as u64);
        Ok(scored)
    }

    /// Lets the policy decide, carries out what is legal and tells everybody. How the canvas changes
    /// its length, and where the text ends.
    fn decide(
        &mut self,
        scored: &Scored,
        trace: &mut impl Trace,
    ) -> Result<(Resizing, Option<usize>), SessionError> {
        let needs = self.method.policy.needs();
        let quota = match self.method.policy.follows_schedule() {
            true => self.method.schedule.quota(&scored.count),
            false => 0,
        };
        let capped = self.passes_in_block >= self.step_cap();
        let looks = self.post_steps < MAX_POST_STEPS;
        let memory = &mut self.memory;
        let (scores, rest) = memory.scores.split_at_checked(scored.wanted).unwrap_or_default();
        let canvas = memory.canvas.get_mut(..self.len).unwrap_or_default();
        let Vocabulary { mask_id, eos_id, .. } = self.vocabulary;
        let region = self.region.start..self.region.end.min(self.len);
        let view = StepView {
            canvas,
            open: memory.open,
            region: region.clone(),
            block: self.block.clone(),
            count: scored.count,
            quota,
            mask_id,
            eos_id,
            eos_weight: self.method.eos.weight(&scored.count),
            seed: self.options.seed,
            scores,
            shadows: rest.get(..scored.shadows).unwrap_or_default(),
        };
        let mut edit = Edit::new(memory.decisions);
        self.method.policy.select(&view, &mut edit);
        let rules = Rules { needs, free: self.method.policy.bounds_itself(), capped };
        rules.enforce(&view, &mut edit, self.vocabulary)?;
        let resizing = Resizing { insertion: edit.insertion(), end: edit.end() };
        let (commits, revisions) = edit.into_parts();
        rules::apply(commits, canvas);
        rules::apply(revisions, canvas);
        // A policy that takes tokens back has the last word on its block first.
        let unsettled = needs.include(Needs::REVISIONS)
            && (canvas.get(..self.block.end).is_some_and(|block| block.contains(&mask_id))
                || looks && self.method.policy.continues());
        let end = match unsettled {
            true => None,
            false => self.method.eos.stop(canvas, region, mask_id, eos_id),
        };
        if let Some(end) = end {
            let rest = canvas.get_mut(end..).unwrap_or_default();
            rest.iter_mut().filter(|token| **token == mask_id).for_each(|token| *token = eos_id);
        }
        self.checksum.absorb_step(self.forwards, scores, commits, revisions);
        let block = self.block.clone();
        let decided = Decided { canvas, block: block.clone(), mask_id, scores, commits, revisions };
        self.method.cache.decided(&decided);
        trace.step(&StepEvent {
            forward: self.forwards,
            block,
            canvas,
            masks: count_of(canvas, mask_id),
            rows: scored.rows,
            scores,
            commits,
            revisions,
        });
        Ok((resizing, end))
    }

    /// Whether the policy looks at a block without masks once more.
    fn looks_again(&self) -> bool {
        self.method.policy.continues() && self.post_steps < MAX_POST_STEPS
    }

    /// The text ends at `end`, and nothing that follows matters.
    fn finish(&mut self, end: usize) {
        if self.method.eos.truncates() {
            self.len = self.len.min(end + 1);
        }
        self.region.end = self.len;
        self.post_steps = MAX_POST_STEPS;
    }

    /// Steps until the canvas is complete.
    ///
    /// # Errors
    /// [`SessionError::Forward`].
    pub fn run(&mut self, trace: &mut impl Trace) -> Result<(), SessionError> {
        while self.step(trace)? == Progress::Running {}
        Ok(())
    }

    /// The canvas: prompt and what has been committed.
    #[must_use]
    pub fn canvas(&self) -> &[u32] {
        self.memory.canvas.get(..self.len).unwrap_or_default()
    }

    /// The generated part of the canvas.
    #[must_use]
    pub fn generated(&self) -> &[u32] {
        let region = self.region.start..self.region.end.min(self.len);
        self.memory.canvas.get(region).unwrap_or_default()
    }

    /// Tokens that have left the canvas because the text outgrew it.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Rows that went through the network since the start.
    #[must_use]
    pub fn rows_computed(&self) -> u64 {
        self.rows_computed
    }

    /// The generated part up to its first end token: the answer.
    #[must_use]
    pub fn answer(&self) -> &[u32] {
        let all = self.generated();
        let end = all.iter().position(|id| *id == self.vocabulary.eos_id);
        all.get(..end.unwrap_or(all.len())).unwrap_or_default()
    }

    /// Forward passes since the start.
    #[must_use]
    pub fn forwards(&self) -> u32 {
        self.forwards
    }

    /// Checksum over the scores and commits of all steps since the start.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// Gives the model back.
    pub fn into_model(self) -> M {
        self.model
    }
}

/// How often a token stands on the canvas.
#[inline(never)] // counted in several places
fn count_of(canvas: &[u32], id: u32) -> usize {
    canvas.iter().filter(|token| **token == id).count()
}
