//! The decoding loop: blocks, steps, commits. Knows all the other parts, and nothing else does.

mod blocks;
mod check;
mod error;
mod options;

pub use error::SessionError;
pub use options::{MIN_TEMPERATURE, Method, Options};

use crate::cache::{CachePlan, NoCache};
use crate::checksum::Checksum;
use crate::decode::{
    Commit, CommitPolicy, Edit, EosPolicy, Even, Sampling, Schedule, StepView, StopAtEos, TopQ,
};
use crate::image::Attention;
use crate::memory::SessionMemory;
use crate::model::{Model, Pass, Vocabulary};
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
    step_in_block: usize,
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
            step_in_block: 0,
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
        for (slot, token) in self.memory.canvas.iter_mut().take(self.len).zip(filled) {
            *slot = token;
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
        self.dropped = 0;
        self.forwards = 0;
        self.rows_computed = 0;
        self.checksum = Checksum::default();
        self.model.begin();
        self.method.cache.begin();
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
        let candidates = self.gather_candidates();
        let computed = self.plan_rows(candidates);
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
        let rows = memory.rows.get(..computed);
        self.model.score(&Pass { canvas, rows, wanted }, &sampling, scores)?;
        self.rows_computed = self.rows_computed.saturating_add(computed as u64);

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
        let region = self.region.start..self.region.end.min(self.len);
        if let Some(end) = self.method.eos.stop(canvas, region, mask_id, eos_id) {
            let rest = canvas.get_mut(end..).unwrap_or_default();
            rest.iter_mut().filter(|token| **token == mask_id).for_each(|token| *token = eos_id);
            self.region.end = self.len;
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
        let more = self.has_mask_before(self.len) || self.region.end > self.len;
        Ok(if more { Progress::Running } else { Progress::Finished })
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
