//! Stations of the model's own decoding: what it meets when it runs.
//!
//! Many decodes run side by side, so that a pass over the weights serves them all: before each step the pass that
//! it will ask for is made for all canvases at once.

use super::error::CalibrateError;
use super::layers::BATCH;
use super::streamed::Streamed;
use super::texts::Text;
use crate::reference::{ReferenceError, ReferenceHead, Sight};
use crate::runtime::{Float, FloatModel, Memory};
use demask::cache::NoCache;
use demask::decode::{Even, FillAll, Needs, TopQ};
use demask::image::{Attention, ModelConfig};
use demask::{Method, Options, PlanError, Progress, Session, SessionMemory, StepEvent, Trace};
use rayon::prelude::*;
use std::sync::RwLock;

/// Forward passes of a decode, per block.
const STEPS: usize = 16;

/// For each text, the first canvas with at most so many masks, but at least one, that the model decodes its way
/// through: most confident first.
pub(super) fn stations(
    model: &Streamed<'_>,
    jobs: &[(&Text, usize)],
) -> Result<Vec<Vec<u32>>, CalibrateError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let head = model.head()?;
    let mut all = Vec::with_capacity(jobs.len());
    for batch in jobs.chunks(BATCH) {
        all.extend(side_by_side(model, &head, batch)?);
    }
    Ok(all)
}

fn side_by_side(
    model: &Streamed<'_>,
    head: &ReferenceHead,
    jobs: &[(&Text, usize)],
) -> Result<Vec<Vec<u32>>, CalibrateError> {
    let config = model.config();
    let passed = |_| Passed { config, head, hidden: RwLock::new(Vec::new()) };
    let passed: Vec<Passed<'_>> = jobs.iter().map(passed).collect();
    let lengths = jobs.iter().map(|(text, _)| text.prompt.len() + text.answer.len());
    let memories = lengths.clone().map(Memory::for_session).collect::<Result<Vec<_>, _>>();
    let mut memories = memories.map_err(plan_error)?;
    let mut decodes = Vec::with_capacity(jobs.len());
    let places = passed.iter().zip(&mut memories).zip(lengths);
    for (((passed, memory), length), (text, masks)) in places.zip(jobs) {
        let memory = SessionMemory::carve(memory.bytes(), length).map_err(plan_error)?;
        let network = Float::new(passed, None, length, Needs::NONE);
        let method = Method { policy: TopQ, schedule: Even, eos: FillAll, cache: NoCache };
        let mut session = Session::new(network, memory, method);
        session.begin(&text.prompt, text.answer.len(), options(text, config))?;
        decodes.push((session, passed, Watch::new(text, *masks, config.mask_id)));
    }
    loop {
        let mut running: Vec<_> = decodes.iter_mut().filter(|(.., watch)| !watch.done).collect();
        if running.is_empty() {
            break;
        }
        let canvases: Vec<&[u32]> = running.iter().map(|(.., watch)| &watch.canvas[..]).collect();
        let hidden = model.hidden(&canvases)?;
        let stepped = running.par_iter_mut().zip(hidden).map(|(decode, hidden)| {
            let (session, passed, watch) = &mut **decode;
            passed.keep(hidden);
            let progress = session.step(watch)?;
            watch.done |= progress != Progress::Running;
            Ok(())
        });
        stepped.collect::<Result<(), CalibrateError>>()?;
    }
    Ok(decodes.into_iter().map(|(.., watch)| watch.canvas).collect())
}

fn plan_error(error: PlanError) -> CalibrateError {
    CalibrateError::Runtime(error.into())
}

/// At most [`STEPS`] passes per block.
fn options(text: &Text, config: &ModelConfig) -> Options {
    let (start, length) = (text.prompt.len(), text.answer.len());
    let mut options = Options::one_block(length);
    options.steps = length.min(STEPS);
    if let Attention::BlockCausal(block) = config.features.attention {
        let block = block as usize;
        options.block_length = block;
        let blocks = (start + length).div_ceil(block).saturating_sub(start / block);
        options.steps = blocks * block.min(STEPS);
    }
    options
}

/// A model whose pass has been made when it is asked for.
struct Passed<'a> {
    config: &'a ModelConfig,
    head: &'a ReferenceHead,
    /// Final hidden states of the whole canvas.
    hidden: RwLock<Vec<f32>>,
}

impl Passed<'_> {
    fn keep(&self, hidden: Vec<f32>) {
        // A thread that panics while it holds the lock leaves a whole vector, too.
        *self.hidden.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = hidden;
    }
}

impl FloatModel for Passed<'_> {
    fn config(&self) -> &ModelConfig {
        self.config
    }

    /// The rows that were kept: a step asks for one pass, over the canvas that the step before has left.
    fn hidden_rows(
        &self,
        _: &[u32],
        wanted: &[usize],
        _: &Sight<'_>,
    ) -> Result<Vec<f32>, ReferenceError> {
        let hidden = self.hidden.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let rows: Vec<&[f32]> = hidden.chunks_exact(self.config.model_dim as usize).collect();
        let row = |&row: &usize| {
            rows.get(row).copied().ok_or(ReferenceError::Row { row, rows: rows.len() })
        };
        Ok(wanted.iter().map(row).collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn head(&self, rows: &[f32]) -> Vec<f32> {
        self.head.logits(rows)
    }
}

/// Keeps the last canvas that is wanted.
struct Watch {
    wanted: usize,
    canvas: Vec<u32>,
    done: bool,
}

impl Watch {
    fn new(text: &Text, wanted: usize, mask_id: u32) -> Self {
        let canvas = [&text.prompt[..], &vec![mask_id; text.answer.len()]].concat();
        Self { wanted, canvas, done: wanted >= text.answer.len() }
    }
}

impl Trace for Watch {
    fn step(&mut self, event: &StepEvent<'_>) {
        if self.done || event.masks == 0 {
            self.done = true;
            return;
        }
        self.canvas = event.canvas.to_vec();
        self.done = event.masks <= self.wanted;
    }
}
