//! The options of a decode made definite, for one model and one prompt.

use super::super::{CliError, Problem};
use crate::detect;
use crate::load::LoadedModel;
use crate::methods::presets::Preset;
use crate::methods::{AnyMethod, Choice, PartsMemory, Setting};
use crate::runtime::Settings;
use demask::Options;
use demask::decode::{CommitPolicy, Filter, Needs};
use demask_quant::FilterData;
use std::fmt;

/// The arguments made definite for one model and one prompt.
#[derive(Debug, Clone)]
pub struct Decoding {
    /// Tokens to generate.
    pub length: usize,
    /// Tokens of the canvas.
    pub canvas: usize,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Options of the session.
    pub options: Options,
    /// Policy, schedule, end rule and cache plan.
    pub choice: Choice,
    preset: Option<&'static Preset>,
    family: &'static str,
    eos_id: u32,
    stop_ids: Vec<u32>,
    trained: Option<FilterData>,
    /// Tokens that the canvas may have.
    limit: usize,
    needs: Needs,
    follows_schedule: bool,
}

impl Decoding {
    pub(super) fn new(
        length: usize,
        (canvas, limit): (usize, usize),
        options: Options,
        choice: Choice,
        preset: Option<&'static Preset>,
        model: &LoadedModel,
    ) -> Self {
        let config = model.config();
        Self {
            length,
            canvas,
            prompt: 0,
            options,
            choice,
            preset,
            family: config.architecture.name(),
            eos_id: config.eos_id,
            stop_ids: model.stop_ids().to_vec(),
            trained: model.filter().map(FilterData::from),
            limit,
            needs: Needs::NONE,
            follows_schedule: false,
        }
    }

    /// The same with what the parts say of themselves, and room for what they want.
    pub(super) fn checked(mut self) -> Result<Self, CliError> {
        let mut memory = self.memory()?;
        let method = self.method(&mut memory)?;
        let needs = method.policy.needs().and(method.cache.needs());
        let follows_schedule = method.policy.follows_schedule();
        drop(method);
        let Options { filter, temperature, block_length, .. } = self.options;
        let filtered = filter != Filter::NONE && temperature > 0.0;
        self.needs = if filtered { needs.and(Needs::FILTER) } else { needs };
        self.follows_schedule = follows_schedule;
        if needs.include(Needs::RESIZING) {
            self.canvas = self.limit;
        } else if needs.include(Needs::SHADOWS) {
            self.canvas = self.canvas.saturating_add(block_length).min(self.limit);
        }
        Ok(self)
    }

    /// How a network is to be made for it.
    #[must_use]
    pub fn settings(&self, threads: usize, kernels: detect::Choice) -> Settings {
        Settings { canvas: self.canvas, threads, kernels, needs: self.needs }
    }

    /// What the parts are made for.
    #[must_use]
    pub fn setting(&self) -> Setting<'_> {
        Setting {
            canvas: self.canvas,
            prompt: self.prompt,
            length: self.length,
            block_length: self.options.block_length,
            eos_id: self.eos_id,
            stop_ids: &self.stop_ids,
            seed: self.options.seed,
            filter: self.trained.as_ref().and_then(|filter| filter.view().ok()),
        }
    }

    /// Memory for [`method`](Self::method).
    ///
    /// # Errors
    /// [`MethodError`](crate::methods::MethodError) as a [`CliError`].
    pub fn memory(&self) -> Result<PartsMemory, CliError> {
        self.choice.memory(&self.setting()).problem()
    }

    /// Policy, schedule, end rule and cache for a session.
    ///
    /// # Errors
    /// [`MethodError`](crate::methods::MethodError) as a [`CliError`].
    pub fn method<'m>(&self, memory: &'m mut PartsMemory) -> Result<AnyMethod<'m>, CliError> {
        self.choice.build(&self.setting(), memory).problem()
    }

    /// Most steps that the schedule allows, or 0 where the policy decides alone.
    #[must_use]
    pub fn steps_planned(&self) -> usize {
        if self.follows_schedule { self.options.steps } else { 0 }
    }
}

/// What was chosen, on one line.
impl fmt::Display for Decoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(preset) = self.preset {
            let (level, family) = (preset.level.name(), self.family);
            write!(f, "preset {level} of {family} ({}): ", preset.source)?;
        }
        let Options { block_length, steps, temperature, filter, .. } = self.options;
        write!(f, "{}; {} tokens in blocks of {block_length}", self.choice, self.length)?;
        if self.follows_schedule {
            write!(f, ", {steps} steps")?;
        }
        write!(f, ", temperature {temperature}")?;
        if filter != Filter::NONE {
            write!(f, ", top-p {}, top-k {}", filter.top_p, filter.top_k)?;
        }
        Ok(())
    }
}
