//! The decoding loop: blocks, steps, commits. Knows all the other parts, and nothing else does.

mod error;
mod options;

pub use error::SessionError;
pub use options::{MIN_TEMPERATURE, Method, Options};

use crate::checksum::Checksum;
use crate::decode::{
    Commit, CommitPolicy, Edit, EosPolicy, Even, Sampling, Schedule, StepView, StopAtEos, TopQ,
};
use crate::memory::SessionMemory;
use crate::model::{Model, Vocabulary};
use crate::trace::{StepEvent, Trace};
use core::ops::Range;

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Masks are left.
    Running,
    /// The canvas is complete.
    Finished,
}

/// Decodes canvases with one model, one after the other, on borrowed memory.
#[derive(Debug)]
pub struct Session<'a, M, P = TopQ, S = Even, X = StopAtEos> {
    model: M,
    method: Method<P, S, X>,
    memory: SessionMemory<'a>,
    options: Options,
    vocabulary: Vocabulary,
    len: usize,
    region: Range<usize>,
    block: Range<usize>,
    masks_at_block_start: usize,
    /// The same, and the masks left of the block.
    candidates_at_block_start: usize,
    step_in_block: usize,
    block_open: bool,
    forwards: u32,
    checksum: Checksum,
}

impl<'a, M: Model, P: CommitPolicy, S: Schedule, X: EosPolicy> Session<'a, M, P, S, X> {
    /// A session with an empty canvas.
    pub fn new(model: M, memory: SessionMemory<'a>, method: Method<P, S, X>) -> Self {
        let vocabulary = model.vocabulary();
        Self {
            model,
            method,
            memory,
            options: Options::one_block(1),
            vocabulary,
            len: 0,
            region: 0..0,
            block: 0..0,
            masks_at_block_start: 0,
            candidates_at_block_start: 0,
            step_in_block: 0,
            block_open: false,
            forwards: 0,
            checksum: Checksum::default(),
        }
    }

    /// Starts on `prompt` followed by `length` masks. Masks in the prompt are filled as well; with
    /// a length of 0 that is all, as in [`Session::begin_infill`].
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
        self.check(tokens.clone(), &region, &options)?;
        let mask = self.vocabulary.mask_id;
        let filled = tokens.chain(core::iter::repeat(mask));
        for (slot, token) in self.memory.canvas.iter_mut().take(region.end).zip(filled) {
            *slot = token;
        }
        self.len = region.end;
        self.block = region.start..region.start;
        self.region = region;
        self.options = options;
        self.block_open = false;
        self.forwards = 0;
        self.checksum = Checksum::default();
        Ok(())
    }

    fn check(
        &self,
        tokens: impl Iterator<Item = u32>,
        region: &Range<usize>,
        options: &Options,
    ) -> Result<(), SessionError> {
        let max = self.memory.canvas.len().min(self.model.max_canvas());
        if region.end > max {
            return Err(SessionError::CanvasTooLong { len: region.end, max });
        }
        for (position, id) in tokens.enumerate() {
            if id >= self.vocabulary.size {
                return Err(SessionError::UnknownToken { position, id });
            }
        }
        let (length, block) = (region.len(), options.block_length);
        if length == 0 {
            return Ok(());
        }
        if block == 0 || length.checked_rem(block) != Some(0) {
            return Err(SessionError::BlockLength { region: length, block });
        }
        let blocks = length.checked_div(block).unwrap_or(1);
        let steps = options.steps;
        if steps == 0 || steps.checked_rem(blocks) != Some(0) {
            return Err(SessionError::Steps { steps, blocks });
        }
        // Comparisons are false for NaN.
        let t = options.temperature;
        if !(t == 0.0 || (MIN_TEMPERATURE..f32::INFINITY).contains(&t)) {
            return Err(SessionError::Temperature);
        }
        Ok(())
    }

    /// One forward pass and its commits. A canvas without masks is finished without one.
    ///
    /// # Errors
    /// [`SessionError::Forward`]; the canvas keeps what was committed before.
    pub fn step(&mut self, trace: &mut impl Trace) -> Result<Progress, SessionError> {
        if !self.open_block() {
            return Ok(Progress::Finished);
        }
        let candidates = self.gather_candidates();
        let sampling = Sampling {
            temperature: self.options.temperature,
            seed: self.options.seed,
            step: self.forwards,
        };
        let (quota, capped) = (self.quota(), self.step_in_block >= self.step_cap());
        let memory = &mut self.memory;
        let canvas = memory.canvas.get_mut(..self.len).unwrap_or_default();
        let wanted = memory.wanted.get(..candidates).unwrap_or_default();
        let scores = memory.scores.get_mut(..candidates).unwrap_or_default();
        self.model.score(canvas, wanted, &sampling, scores)?;

        let view = StepView {
            canvas,
            block: self.block.clone(),
            step: self.forwards as usize,
            step_in_block: self.step_in_block,
            quota,
            scores,
        };
        let mut edit = Edit::new(memory.commits);
        self.method.policy.select(&view, &mut edit);
        ensure_progress(&view, &mut edit, self.vocabulary, capped);
        let commits = edit.commits();
        if capped && !commits.iter().any(|c| is_legal(c, canvas, self.vocabulary)) {
            return Err(SessionError::NoProgress);
        }
        apply(commits, canvas, self.vocabulary);
        self.checksum.absorb_step(self.forwards, scores, commits);
        let Vocabulary { mask_id, eos_id, .. } = self.vocabulary;
        if let Some(end) = self.method.eos.stop(canvas, self.region.clone(), mask_id, eos_id) {
            let rest = canvas.get_mut(end..self.region.end).unwrap_or_default();
            rest.iter_mut().filter(|token| **token == mask_id).for_each(|token| *token = eos_id);
        }
        trace.step(&StepEvent {
            forward: self.forwards,
            block: self.block.clone(),
            canvas,
            masks: count(canvas, mask_id),
            scores,
            commits,
        });
        self.forwards = self.forwards.saturating_add(1);
        self.step_in_block += 1;
        Ok(if self.has_mask_before(self.len) { Progress::Running } else { Progress::Finished })
    }

    /// Steps until the canvas is complete.
    ///
    /// # Errors
    /// [`SessionError::Forward`].
    pub fn run(&mut self, trace: &mut impl Trace) -> Result<(), SessionError> {
        while self.step(trace)? == Progress::Running {}
        Ok(())
    }

    /// Moves to the first block that still has masks at or left of it; false if there is none.
    fn open_block(&mut self) -> bool {
        while !self.block_open || !self.has_mask_before(self.block.end) {
            if self.block.end >= self.region.end {
                // Masks that no block covers do not exist: the last block ends the canvas.
                return self.block_open && self.has_mask_before(self.region.end);
            }
            let start = self.block.end;
            self.block = start..self.region.end.min(start + self.options.block_length);
            let block = self.memory.canvas.get(self.block.clone()).unwrap_or_default();
            self.masks_at_block_start = count(block, self.vocabulary.mask_id);
            let candidates = self.memory.canvas.get(..self.block.end).unwrap_or_default();
            self.candidates_at_block_start = count(candidates, self.vocabulary.mask_id);
            self.step_in_block = 0;
            self.block_open = true;
            self.method.policy.begin_block(self.block.clone(), self.masks_at_block_start);
        }
        true
    }

    fn quota(&self) -> usize {
        let blocks = self.region.len() / self.options.block_length.max(1);
        let steps = self.options.steps / blocks.max(1);
        self.method.schedule.quota(self.step_in_block, steps, self.masks_at_block_start)
    }

    /// Steps after which a block is filled whatever the policy says.
    fn step_cap(&self) -> usize {
        self.candidates_at_block_start.saturating_mul(2).saturating_add(8)
    }

    /// Lists the masks left of the block's end.
    fn gather_candidates(&mut self) -> usize {
        let mask = self.vocabulary.mask_id;
        let canvas = self.memory.canvas.iter().take(self.block.end);
        // The canvas first: the range must not be asked for a position that is none.
        let masked = canvas.zip(0u16..).filter(|(id, _)| **id == mask);
        let mut n = 0;
        for (slot, (_, position)) in self.memory.wanted.iter_mut().zip(masked) {
            *slot = position;
            n += 1;
        }
        n
    }

    fn has_mask_before(&self, end: usize) -> bool {
        let canvas = self.memory.canvas.get(..end).unwrap_or_default();
        canvas.contains(&self.vocabulary.mask_id)
    }

    /// The canvas: prompt and what has been committed.
    #[must_use]
    pub fn canvas(&self) -> &[u32] {
        self.memory.canvas.get(..self.len).unwrap_or_default()
    }

    /// The generated part of the canvas.
    #[must_use]
    pub fn generated(&self) -> &[u32] {
        self.memory.canvas.get(self.region.clone()).unwrap_or_default()
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

fn count(canvas: &[u32], id: u32) -> usize {
    canvas.iter().filter(|token| **token == id).count()
}

/// Whether a commit turns a mask into a token. Whatever a policy asks for, nothing else happens.
#[inline(never)] // asked in three places
fn is_legal(commit: &Commit, canvas: &[u32], vocabulary: Vocabulary) -> bool {
    let Vocabulary { size, mask_id, .. } = vocabulary;
    let masked = canvas.get(commit.position as usize) == Some(&mask_id);
    masked && commit.token != mask_id && commit.token < size
}

/// Writes legal commits into the canvas.
fn apply(commits: &[Commit], canvas: &mut [u32], vocabulary: Vocabulary) {
    for commit in commits {
        let legal = is_legal(commit, canvas, vocabulary);
        if let Some(slot) = canvas.get_mut(commit.position as usize).filter(|_| legal) {
            *slot = commit.token;
        }
    }
}

/// The engine's guarantee: at least one commit per forward pass, and an end.
fn ensure_progress(view: &StepView<'_>, edit: &mut Edit<'_>, vocabulary: Vocabulary, capped: bool) {
    let limit = if capped { usize::MAX } else { 1 };
    if !capped && edit.commits().iter().any(|c| is_legal(c, view.canvas, vocabulary)) {
        return;
    }
    edit.clear();
    for s in view.scores {
        edit.offer(Commit::proposed(s), limit);
    }
}
