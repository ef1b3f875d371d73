//! `demask quantize` with a calibration file, a rotation or a budget.

use super::super::image::{sections_of, write};
use super::super::processor::layout_for;
use super::super::{CliError, Problem};
use super::report::{self, Comparison, Findings};
use super::{QuantizeArgs, TypeName, all_cores};
use crate::calibrate::{
    self, Budget, Canvas, Divergence, Formats, Masks, Method, Outcome, Partial, RowWeights,
    Sensitivity, Settings, Setup, Shown, Text, choose, sensitivities,
};
use crate::detect::Choice;
use crate::load::LoadedModel;
use crate::runtime::{Memory, Runtime, Settings as RunSettings};
use clap::{Args, ValueEnum};
use demask::ModelImage;
use demask::decode::Needs;
use demask::image::TensorRole;
use demask::packed::{Format, Group, WeightFormat};
use demask_quant::calibrated::QuantizedWeights;
use demask_quant::{
    BoxError, Quantization, Rotated, Sections, WeightSource, image_bytes, pack_image,
};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Canvases on which each matrix is measured for a budget.
const PROBES: usize = 48;
/// Times that a budget of divergence is adjusted to what was measured.
const ROUNDS: usize = 4;

/// How weights are rounded, as the command line spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MethodName {
    /// To nearest, on scales of least squared error
    Rtn,
    /// To nearest, on scales of least error weighted by the inputs
    Importance,
    /// With error feedback: what rounding did to a weight, the others of its row make up for
    Gptq,
}

impl MethodName {
    fn method(self) -> Method {
        match self {
            Self::Rtn => Method::Nearest,
            Self::Importance => Method::Importance,
            Self::Gptq => Method::Gptq,
        }
    }
}

/// How calibration canvases are masked, as the command line spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MaskName {
    /// At every ratio
    Stratified,
    /// Not at all, for comparison
    None,
}

impl MaskName {
    fn masks(self) -> Masks {
        match self {
            Self::Stratified => Masks::Stratified,
            Self::None => Masks::None,
        }
    }
}

/// Options of calibrated rounding.
#[derive(Debug, Args)]
#[command(next_help_heading = "Calibration")]
pub(super) struct CalibrationArgs {
    /// How weights are rounded; importance and gptq need --calibrate
    #[arg(long, value_enum, value_name = "METHOD", default_value = "rtn")]
    method: MethodName,
    /// Texts to calibrate on, JSON lines: {"prompt", "answer"}, {"intent", "segments"} or {"text"}
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Canvases made of them
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    canvases: u32,
    /// How they are masked
    #[arg(long, value_enum, value_name = "MASKS", default_value = "stratified")]
    calibrate_masks: MaskName,
    /// Share of the canvases that the model's own decoding leaves, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = Settings::default().snapshots)]
    snapshots: f64,
    /// Tokens of an answer on a canvas [default: the longest answer and one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    answer_length: Option<u16>,
    /// Seed of the masks
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Rotate the residual stream by a Hadamard matrix, folded into the weights
    #[arg(long)]
    rotate: bool,
    /// Give matrices 4 or 8 bits so that the image has at most so many bytes (600k, 2M)
    #[arg(long, value_name = "BYTES", value_parser = bytes, conflicts_with = "max_kl")]
    size: Option<u64>,
    /// Give matrices 4 or 8 bits so that the divergence from the float model is at most so many nats
    #[arg(long, value_name = "NATS")]
    max_kl: Option<f64>,
    /// Texts to measure the divergence from the float model on, in the same forms
    #[arg(long, value_name = "FILE")]
    held_out: Option<PathBuf>,
    /// Measure the other methods on them as well, and calibration without masks
    #[arg(long, requires = "held_out")]
    compare: bool,
}

/// A number of bytes, with k or M behind it for thousands or millions.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1_000_000)),
    };
    let count: u64 = digits.parse().map_err(|_| "give a number of bytes, as 600k or 2M")?;
    count.checked_mul(unit).ok_or_else(|| "that many bytes there are not".into())
}

impl CalibrationArgs {
    /// Whether anything here changes what is stored.
    pub(super) fn changes_weights(&self) -> bool {
        self.calibrate.is_some() || self.rotate
    }

    /// Refuses what needs texts without them, and what cannot be.
    pub(super) fn check(&self) -> Result<(), CliError> {
        let budget = self.size.is_some() || self.max_kl.is_some();
        let needs = if self.method != MethodName::Rtn { Some("--method importance and gptq look") }
            else if budget { Some("budgets look") }
            else if self.held_out.is_some() { Some("--held-out compares with calibration, which looks") }
            else { None };
        if let (Some(needs), None) = (needs, &self.calibrate) {
            return Err(CliError::new(format!(
                "{needs} at what the model does with its weights: give --calibrate FILE, JSON lines with \
                 \"prompt\" and \"answer\", or \"text\""
            )));
        }
        if !(0.0..=1.0).contains(&self.snapshots) {
            return Err(CliError::new("--snapshots must lie between 0 and 1"));
        }
        if self.max_kl.is_some_and(|limit| !(limit > 0.0)) {
            return Err(CliError::new("--max-kl must be above 0"));
        }
        Ok(())
    }

    fn settings(&self) -> Settings {
        Settings {
            canvases: self.canvases as usize,
            masks: self.calibrate_masks.masks(),
            snapshots: self.snapshots,
            seed: self.seed,
        }
    }
}

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
struct Job<'a> {
    args: &'a QuantizeArgs,
    model: &'a LoadedModel,
    source: &'a dyn WeightSource,
    sections: Sections,
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
                return Err(CliError::new(
                    "a budget chooses the types itself; leave --type out",
                ));
            }
        };
        let setup = Setup::new(self.sections.config, self.source, self.threads).problem()?;
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
        let mut formats = self.formats(typed);
        let mut findings = Findings::default();
        if budget {
            run.choose(&mut formats, &mut findings)?;
        }
        let digest = setup.digest(&shown, &formats, args.method.method()).problem()?;
        let partial = Partial::open(&Partial::path_for(&self.args.out), digest, &setup.config);
        let partial = Some(partial.problem()?);
        let done = run.round(&shown, &formats, args.method.method(), partial)?;
        findings.outcomes = done.outcomes;
        let quantized = done.weights;
        let quantization = Quantization::keep(layout_for(self.args.processor));
        let written =
            write(&quantized, &self.sections, quantization, &self.args.out, self.threads)?;
        done.partial.into_iter().for_each(Partial::finish);
        if let Some(canvases) = &held_out {
            findings.divergence = Some(run.divergence(&quantized, canvases)?);
            if args.compare {
                findings.comparison = run.compare(&formats, canvases)?;
            }
        }
        report::print(self.model, &written, &findings, self.args)
    }

    fn texts(&self, path: Option<&PathBuf>) -> Result<Vec<Text>, CliError> {
        let path = path.ok_or_else(|| CliError::new("give --calibrate FILE"))?;
        let length = self.args.calibration.answer_length.map(usize::from);
        calibrate::texts(self.model, path, length).problem()
    }
}

/// A job with everything that calibration starts from.
struct Run<'a> {
    job: &'a Job<'a>,
    setup: &'a Setup<'a>,
    texts: &'a [Text],
    shown: &'a Shown,
}

/// Rounded weights, and what that did.
struct Done<'s> {
    weights: QuantizedWeights<'s>,
    outcomes: Vec<Outcome>,
    partial: Option<Partial>,
}

impl<'a> Run<'a> {
    /// Rounds all matrices, with a progress bar if standard error is a terminal.
    fn round<'s>(
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
        Ok(Done { weights: layered.weights, outcomes, partial: layered.partial })
    }

    fn bar(&self, what: &str) -> Result<ProgressBar, CliError> {
        let matrices = TensorRole::all(&self.setup.config).filter(|role| !role.stays_f32()).count();
        let style = format!("{what} {{bar:40}} {{pos}}/{{len}} {{msg}}, {{eta}} left");
        Ok(ProgressBar::new(matrices as u64)
            .with_style(ProgressStyle::with_template(&style).problem()?))
    }

    /// How far the engine is from the float model with these weights.
    fn divergence(
        &self,
        quantized: &QuantizedWeights<'_>,
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
        let logits = |canvas: &Canvas| -> Result<Vec<f32>, CliError> {
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

    /// The other methods, and the same one without masks.
    fn compare(&self, formats: &Formats, canvases: &[Canvas]) -> Result<Vec<Comparison>, CliError> {
        let args = &self.job.args.calibration;
        let chosen = (args.method, args.calibrate_masks);
        let mut all = Vec::new();
        for method in [MethodName::Rtn, MethodName::Importance, MethodName::Gptq] {
            for masks in [MaskName::None, MaskName::Stratified] {
                let by_nothing = method == MethodName::Rtn && masks == MaskName::None;
                if by_nothing || (method, masks) == chosen {
                    continue;
                }
                let settings = Settings { masks: masks.masks(), ..args.settings() };
                let other;
                let shown = match masks == args.calibrate_masks {
                    true => self.shown,
                    false => {
                        let canvases = self.setup.canvases(self.texts, &settings).problem()?;
                        other = self.setup.show(canvases, &RowWeights::default()).problem()?;
                        &other
                    }
                };
                let quantized = self.round(shown, formats, method.method(), None)?.weights;
                let divergence = self.divergence(&quantized, canvases)?;
                let name = match (method, masks) {
                    (MethodName::Rtn, _) => "rtn",
                    (MethodName::Importance, MaskName::None) => "importance, without masks",
                    (MethodName::Importance, MaskName::Stratified) => "importance",
                    (MethodName::Gptq, MaskName::None) => "gptq, without masks",
                    (MethodName::Gptq, MaskName::Stratified) => "gptq",
                };
                all.push(Comparison { name, divergence });
            }
        }
        Ok(all)
    }

    /// Chooses formats under the budget.
    fn choose(&self, formats: &mut Formats, findings: &mut Findings) -> Result<(), CliError> {
        let args = &self.job.args.calibration;
        let step = self.shown.canvases.len().div_ceil(PROBES).max(1);
        let probes: Vec<Canvas> = self.shown.canvases.iter().step_by(step).cloned().collect();
        let distributions = self.setup.distributions(&probes).problem()?;
        let bar = self.bar("measuring")?;
        let mut progress = |_: &Sensitivity| bar.inc(1);
        let (config, source) = (&self.setup.config, self.setup.source);
        let pool = self.setup.pool().problem()?;
        let found =
            pool.install(|| sensitivities(&distributions, config, source, &mut progress)).problem()?;
        bar.finish_and_clear();
        match (args.size, args.max_kl) {
            (Some(size), _) => {
                let least = self.least_bytes()?;
                let Some(spare) = size.checked_sub(least) else {
                    return Err(CliError::new(format!(
                        "an image of this model has at least {least} bytes, with 4 bits everywhere; \
                         --size must not be smaller"
                    )));
                };
                let (chosen, _) = choose(&found, Budget::Bytes(spare));
                formats.chosen = chosen;
            }
            (None, Some(limit)) => {
                // What is measured tells how far the sum of the sensitivities is off.
                let mut factor = 0.0;
                for round in 0..ROUNDS {
                    let (chosen, expected) = choose(&found, Budget::Divergence { limit, factor });
                    let all_eight = chosen.values().all(|format| *format == Format::Q8);
                    formats.chosen = chosen;
                    let done = self.round(self.shown, formats, args.method.method(), None)?;
                    let measured = self.divergence(&done.weights, &probes)?.mean;
                    if measured <= limit {
                        break;
                    }
                    if all_eight || round + 1 == ROUNDS {
                        return Err(CliError::new(format!(
                            "the divergence is {measured:.4} nats with as many 8-bit matrices as were \
                             tried; give a larger --max-kl"
                        )));
                    }
                    factor = (measured / expected).max(factor * 1.2);
                }
            }
            (None, None) => {}
        }
        findings.sensitivities = found;
        Ok(())
    }

    /// Size of the image with 4 bits everywhere.
    fn least_bytes(&self) -> Result<u64, CliError> {
        let quantization = Quantization::keep(layout_for(self.job.args.processor));
        image_bytes(&self.job.sections, quantization, &FourBits).problem()
    }
}

/// Weights of which nothing is known but that they will have 4 bits.
struct FourBits;

impl WeightSource for FourBits {
    fn read_rows(&self, _: TensorRole, _: usize, _: &mut [f32]) -> Result<(), BoxError> {
        Err("there are no weights".into())
    }

    fn exact_format(&self, _: TensorRole) -> Option<WeightFormat> {
        Some(WeightFormat::Q4)
    }

    fn read_groups(&self, _: TensorRole, _: usize, _: &mut [Group]) -> Result<bool, BoxError> {
        Err("there are no weights".into())
    }
}
