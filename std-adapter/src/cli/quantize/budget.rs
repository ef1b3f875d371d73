//! `demask quantize --size` and `--max-kl`.

use super::super::processor::layout_for;
use super::super::{CliError, Problem};
use super::calibrated::Run;
use super::report::Findings;
use crate::calibrate::{Budget, Canvas, Formats, Sensitivity, choose, sensitivities};
use demask::image::TensorRole;
use demask::packed::{Format, Group, WeightFormat};
use demask_quant::{BoxError, Quantization, WeightSource, image_bytes};

/// Canvases on which each matrix is measured.
const PROBES: usize = 48;
/// Choices that are tried for a budget of divergence. The last is 8 bits everywhere.
const ROUNDS: usize = 4;

impl Run<'_> {
    /// Chooses formats under the budget.
    pub(super) fn choose(
        &self,
        formats: &mut Formats,
        findings: &mut Findings,
    ) -> Result<(), CliError> {
        let args = &self.job.args.calibration;
        // A size that cannot be is told before the long measuring.
        let spare = args.size.map(|size| self.spare_bytes(size)).transpose()?;
        let step = self.shown.canvases.len().div_ceil(PROBES).max(1);
        let probes: Vec<Canvas> = self.shown.canvases.iter().step_by(step).cloned().collect();
        let distributions = self.setup.distributions(&probes).problem()?;
        let bar = self.bar("measuring")?;
        let mut progress = |_: &Sensitivity| bar.inc(1);
        let (config, source) = (&self.setup.config, self.setup.source);
        let pool = self.setup.pool().problem()?;
        let found = pool
            .install(|| sensitivities(&distributions, config, source, &mut progress))
            .problem()?;
        bar.finish_and_clear();
        match (spare, args.max_kl) {
            (Some(spare), _) => formats.chosen = choose(&found, Budget::Bytes(spare)).0,
            (None, Some(limit)) => self.keep_below(limit, &found, &probes, formats)?,
            (None, None) => {}
        }
        findings.sensitivities = found;
        Ok(())
    }

    /// Chooses formats whose measured divergence is at most `limit`.
    fn keep_below(
        &self,
        limit: f64,
        found: &[Sensitivity],
        probes: &[Canvas],
        formats: &mut Formats,
    ) -> Result<(), CliError> {
        let method = self.job.args.calibration.method.method();
        // What is measured tells how far the sum of the sensitivities is off.
        let (mut factor, mut round) = (0.0, 0);
        loop {
            round += 1;
            let budget = match round {
                ROUNDS => Budget::Bytes(u64::MAX),
                _ => Budget::Divergence { limit, factor },
            };
            let (chosen, expected) = choose(found, budget);
            let all_eight = chosen.values().all(|format| *format == Format::Q8);
            formats.chosen = chosen;
            let done = self.round(self.shown, formats, method, None)?;
            let measured = self.divergence(&done.weights, probes)?.mean;
            if measured <= limit {
                return Ok(());
            }
            if all_eight {
                return Err(CliError::new(format!(
                    "the divergence is {measured:.1e} nats with 8 bits everywhere; give a larger --max-kl"
                )));
            }
            factor = (measured / expected).max(factor * 1.2);
        }
    }

    /// Bytes that `size` leaves beyond an image with 4 bits everywhere.
    fn spare_bytes(&self, size: u64) -> Result<u64, CliError> {
        let quantization = Quantization::keep(layout_for(self.job.args.processor));
        let least = image_bytes(&self.job.sections, quantization, &FourBits).problem()?;
        size.checked_sub(least).ok_or_else(|| {
            CliError::new(format!(
                "an image of this model has at least {least} bytes, with 4 bits everywhere; --size must \
                 not be smaller"
            ))
        })
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
