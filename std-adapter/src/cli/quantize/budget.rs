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
/// Times that a budget of divergence is adjusted to what was measured.
const ROUNDS: usize = 4;

impl Run<'_> {
    /// Chooses formats under the budget.
    pub(super) fn choose(
        &self,
        formats: &mut Formats,
        findings: &mut Findings,
    ) -> Result<(), CliError> {
        let args = &self.job.args.calibration;
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
                            "the divergence is {measured:.1e} nats with as many 8-bit matrices as were \
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
