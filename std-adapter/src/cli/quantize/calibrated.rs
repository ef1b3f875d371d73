//! `demask quantize` with a calibration file, a rotation or a budget.

use super::super::image::{sections_of, write};
use super::super::processor::layout_for;
use super::super::{CliError, Problem};
use super::options::{MaskName, MethodName};
use super::report::{self, Comparison, Findings};
use super::{QuantizeArgs, TypeName, all_cores};
use crate::calibrate::{
    self, Canvas, Divergence, Formats, Kept, Masks, Method, Outcome, Partial, RowWeights, Settings,
    Setup, Shown, Text,
};
use crate::detect::Choice;
use crate::load::LoadedModel;
use crate::runtime::{Memory, Runtime, Settings as RunSettings};
use demask::ModelImage;
use demask::decode::Needs;
use demask::image::TensorRole;
use demask::packed::Format;
use demask_quant::calibrated::QuantizedWeights;
use demask_quant::{Quantization, Rotated, Sections, WeightSource, pack_image};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(super) fn run(
    args: &QuantizeArgs,
    model: &LoadedModel,
    stored_as: TypeName,
) -> Result<(), CliError> {
    let weights = model.weights();
    let rotated = match args.calibration.rotate {
        true => Some(Rotated::new(&weights, *model.config()).problem()?),
        false => None,
    };
    let source: &dyn WeightSource = match &rotated {
        Some(rotated) => rotated,
        None => &weights,
    };
    let mut sections = sections_of(model, args.security_counter);
    if let Some(rotated) = &rotated {
        sections.config = *rotated.config();
    }
    let job = Job {
        args,
        model,
        source,
        sections,
        threads: args.threads.map_or_else(all_cores, usize::from),
    };
    match &args.calibration.calibrate {
        Some(_) => job.calibrated(stored_as),
        None => job.plain(stored_as),
    }
}

/// What is to be done.
pub(super) struct Job<'a> {
    pub(super) args: &'a QuantizeArgs,
    model: &'a LoadedModel,
    source: &'a dyn WeightSource,
    pub(super) sections: Sections,
    threads: usize,
}

impl Job<'_> {
    fn formats(&self, stored_as: TypeName) -> Formats {
        let embedding = self.args.embedding.unwrap_or(stored_as.of_embedding());
        Formats {
            layers: stored_as.format(),
            embedding: embedding.format(),
            chosen: BTreeMap::new(),
        }
    }

    /// A rotation alone.
    fn plain(&self, stored_as: TypeName) -> Result<(), CliError> {
        let formats = self.formats(stored_as);
        let quantization = Quantization {
            layers: formats.layers,
            embedding: formats.embedding,
            keep: false,
            five_bits: false,
            layout: layout_for(self.args.processor),
        };
        let written =
            write(self.source, &self.sections, quantization, &self.args.out, self.threads)?;
        report::print(self.model, &written, &Findings::default(), self.args)
    }

    fn calibrated(&self, stored_as: TypeName) -> Result<(), CliError> {
        let args = &self.args.calibration;
        let budget = args.size.is_some() || args.max_kl.is_some();
        let typed = match (budget, stored_as) {
            (false, TypeName::Q4 | TypeName::Q8) => stored_as,
            (true, TypeName::Keep) => TypeName::Q4,
            (false, _) => {
                return Err(CliError::new(
                    "calibrated rounding makes q4 and q8; give --type q4 (or --size, or --max-kl)",
                ));
            }
            (true, _) => {
                return Err(CliError::new("a budget chooses the types itself; leave --type out"));
            }
        };
        if budget && self.args.embedding.is_some() {
            return Err(CliError::new(
                "a budget chooses the embedding's type, too; leave --embedding-type out",
            ));
        }
        let mut formats = self.formats(typed);
        if !matches!(formats.embedding, Format::Q4 | Format::Q8) {
            return Err(CliError::new(
                "calibrated rounding makes q4 and q8; give one of these as --embedding-type",
            ));
        }
        let setup = Setup::new(self.sections.config, self.source, self.threads);
        let texts = self.texts(args.calibrate.as_ref())?;
        let settings = args.settings();
        let shown = setup.canvases(&texts, &settings).problem()?;
        let shown = setup.show(shown, &RowWeights::default()).problem()?;
        let held_out = match &args.held_out {
            Some(path) => {
                let settings = Settings {
                    masks: Masks::Stratified,
                    snapshots: 0.0,
                    seed: args.seed.wrapping_add(1),
                    ..settings
                };
                Some(setup.canvases(&self.texts(Some(path))?, &settings).problem()?)
            }
            None => None,
        };
        let run = Run { job: self, setup: &setup, texts: &texts, shown: &shown };
        let mut findings = Findings::default();
        if budget {
            run.choose(&mut formats, &mut findings)?;
        }
        let digest = setup.digest(&shown, &formats, args.method.method()).problem()?;
        let partial = Partial::open(&Partial::path_for(&self.args.out), digest, &setup.config);
        let partial = partial.problem()?;
        if partial.found() > 0 {
            eprintln!("demask: going on with a run that has done {} matrices", partial.found());
        }
        let partial = Some(partial);
        let done = run.round(&shown, &formats, args.method.method(), partial)?;
        findings.outcomes = done.outcomes;
        let quantized = done.weights;
        let quantization = Quantization::keep(layout_for(self.args.processor));
        let written =
            write(&quantized, &self.sections, quantization, &self.args.out, self.threads)?;
        if let Some(canvases) = &held_out {
            findings.divergence = Some(run.divergence(&quantized, canvases)?);
            if args.compare {
                findings.comparison = run.compare(&formats, canvases)?;
            }
        }
        quantized.rounded.finish();
        report::print(self.model, &written, &findings, self.args)
    }

    fn texts(&self, path: Option<&PathBuf>) -> Result<Vec<Text>, CliError> {
        let path = path.ok_or_else(|| CliError::new("give --calibrate FILE"))?;
        let length = self.args.calibration.answer_length.map(usize::from);
        calibrate::texts(self.model, path, length).problem()
    }
}

/// A job with everything that calibration starts from.
pub(super) struct Run<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) setup: &'a Setup<'a>,
    texts: &'a [Text],
    pub(super) shown: &'a Shown,
}

/// Rounded weights, and what that did.
pub(super) struct Done<'s> {
    pub(super) weights: QuantizedWeights<'s, Kept>,
    outcomes: Vec<Outcome>,
}

impl<'a> Run<'a> {
    /// Rounds all matrices, with a progress bar if standard error is a terminal.
    pub(super) fn round<'s>(
        &self,
        shown: &'s Shown,
        formats: &'s Formats,
        method: Method,
        partial: Option<Partial>,
    ) -> Result<Done<'s>, CliError>
    where
        'a: 's,
    {
        let bar = self.bar("rounding")?;
        let mut layered = self.setup.layered(shown, formats, method, partial);
        let mut progress = |outcome: &Outcome| {
            bar.set_message(super::super::image::label(outcome.role));
            bar.inc(1);
        };
        let pool = self.setup.pool().problem()?;
        let outcomes = pool.install(|| layered.run(&shown.rows.head, &mut progress));
        bar.finish_and_clear();
        let outcomes = outcomes.problem()?;
        Ok(Done { weights: layered.weights, outcomes })
    }

    pub(super) fn bar(&self, what: &str) -> Result<ProgressBar, CliError> {
        let matrices = TensorRole::all(&self.setup.config).filter(|role| !role.stays_f32()).count();
        let style = format!("{what} {{bar:40}} {{pos}}/{{len}} {{msg}}, {{eta}} left");
        Ok(ProgressBar::new(matrices as u64)
            .with_style(ProgressStyle::with_template(&style).problem()?))
    }

    /// How far the engine is from the float model with these weights.
    pub(super) fn divergence(
        &self,
        quantized: &QuantizedWeights<'_, Kept>,
        canvases: &[Canvas],
    ) -> Result<Divergence, CliError> {
        let quantization = Quantization::keep(layout_for(None));
        let sections = &self.job.sections;
        let image = pack_image(sections, quantization, quantized, self.job.threads, &|_, _| ());
        let image = image.problem()?;
        let image = ModelImage::parse_unverified(image.bytes()).problem()?;
        let runtime = Runtime::packed(image);
        let vocab = self.setup.config.vocab_size as usize;
        let distributions = self.setup.distributions(canvases).problem()?;
        let logits = |_, canvas: &Canvas| -> Result<Vec<f32>, CliError> {
            let settings = RunSettings {
                canvas: canvas.ids.len(),
                threads: 1,
                kernels: Choice::default(),
                needs: Needs::NONE,
            };
            let mut memory = Memory::default();
            let mut network = runtime.network(&settings, &mut memory).problem()?;
            let logits = network.logits(&canvas.ids).problem()?;
            let rows = canvas.outputs.iter().flat_map(|row| &logits[row * vocab..][..vocab]);
            Ok(rows.copied().collect())
        };
        self.setup.pool().problem()?.install(|| distributions.against(logits))
    }

    /// The other methods, and GPTQ without masks.
    fn compare(&self, formats: &Formats, canvases: &[Canvas]) -> Result<Vec<Comparison>, CliError> {
        let args = &self.job.args.calibration;
        let others = [
            ("rtn", MethodName::Rtn, args.calibrate_masks),
            ("importance", MethodName::Importance, MaskName::Stratified),
            ("gptq, without masks", MethodName::Gptq, MaskName::None),
            ("gptq", MethodName::Gptq, MaskName::Stratified),
        ];
        let chosen = (args.method, args.calibrate_masks);
        let others = others.into_iter().filter(|(_, method, masks)| (*method, *masks) != chosen);
        let compare = |(name, method, masks): (&'static str, MethodName, MaskName)| {
            let other;
            let shown = match masks == args.calibrate_masks {
                true => self.shown,
                false => {
                    let settings = Settings { masks: masks.masks(), ..args.settings() };
                    let canvases = self.setup.canvases(self.texts, &settings).problem()?;
                    other = self.setup.show(canvases, &RowWeights::default()).problem()?;
                    &other
                }
            };
            let done = self.round(shown, formats, method.method(), None)?;
            Ok(Comparison { name, divergence: self.divergence(&done.weights, canvases)? })
        };
        others.map(compare).collect()
    }
}
