//! Options of calibrated rounding.

use super::super::CliError;
use crate::calibrate::{Masks, Method, Settings};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How weights are rounded, as the command line spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MethodName {
    /// To nearest, on scales of least squared error
    Rtn,
    /// To nearest, on scales of least error weighted by the inputs
    Importance,
    /// With error feedback: what rounding did to a weight, the others of its row make up for
    Gptq,
}

impl MethodName {
    pub(super) fn method(self) -> Method {
        match self {
            Self::Rtn => Method::Nearest,
            Self::Importance => Method::Importance,
            Self::Gptq => Method::Gptq,
        }
    }
}

/// How calibration canvases are masked, as the command line spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MaskName {
    /// At every ratio
    Stratified,
    /// Not at all, for comparison
    None,
}

impl MaskName {
    pub(super) fn masks(self) -> Masks {
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
    pub(super) method: MethodName,
    /// Texts to calibrate on, JSON lines: {"prompt", "answer"}, {"intent", "segments"}, {"task", "list"} or
    /// {"text"}
    #[arg(long, value_name = "FILE")]
    pub(super) calibrate: Option<PathBuf>,
    /// Canvases made of them
    #[arg(long, value_name = "N", default_value_t = 256, requires = "calibrate", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) canvases: u32,
    /// How they are masked
    #[arg(
        long,
        value_enum,
        value_name = "MASKS",
        default_value = "stratified",
        requires = "calibrate"
    )]
    pub(super) calibrate_masks: MaskName,
    /// Share of the canvases that the model's own decoding leaves, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = Settings::default().snapshots, requires = "calibrate")]
    pub(super) snapshots: f64,
    /// Tokens of an answer on a canvas [default: the longest answer and one]
    #[arg(long, value_name = "N", requires = "calibrate", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) answer_length: Option<u16>,
    /// Seed of the masks
    #[arg(long, value_name = "N", default_value_t = 0, requires = "calibrate")]
    pub(super) seed: u64,
    /// Rotate the residual stream by a Hadamard matrix, folded into the weights
    #[arg(long)]
    pub(super) rotate: bool,
    /// Give matrices 4 or 8 bits so that the image has at most so many bytes (600k, 2M)
    #[arg(long, value_name = "BYTES", value_parser = bytes, conflicts_with = "max_kl")]
    pub(super) size: Option<u64>,
    /// Give matrices 4 or 8 bits so that the divergence from the float model is at most so many nats
    #[arg(long, value_name = "NATS")]
    pub(super) max_kl: Option<f64>,
    /// Texts to measure the divergence from the float model on, in the same forms
    #[arg(long, value_name = "FILE")]
    pub(super) held_out: Option<PathBuf>,
    /// Measure the other methods on them as well, and calibration without masks
    #[arg(long, requires = "held_out")]
    pub(super) compare: bool,
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
    /// Whether anything here is asked for.
    pub(super) fn is_used(&self) -> bool {
        self.calibrate.is_some() || self.rotate || self.looks()
    }

    /// Whether it is to be looked at what the model does with its weights.
    fn looks(&self) -> bool {
        let budget = self.size.is_some() || self.max_kl.is_some();
        self.method != MethodName::Rtn || budget || self.held_out.is_some()
    }

    /// Refuses what needs texts without them, and what cannot be.
    pub(super) fn check(&self) -> Result<(), CliError> {
        if self.looks() && self.calibrate.is_none() {
            return Err(CliError::new(
                "the methods importance and gptq, --size, --max-kl and --held-out look at what the model \
                 does with its weights: give --calibrate FILE, JSON lines with \"prompt\" and \"answer\", or \
                 with \"text\"",
            ));
        }
        if !(0.0..=1.0).contains(&self.snapshots) {
            return Err(CliError::new("--snapshots must lie between 0 and 1"));
        }
        if self.max_kl.is_some_and(|limit| limit.is_nan() || limit <= 0.0) {
            return Err(CliError::new("--max-kl must be above 0"));
        }
        Ok(())
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            canvases: self.canvases as usize,
            masks: self.calibrate_masks.masks(),
            snapshots: self.snapshots,
            seed: self.seed,
        }
    }
}
