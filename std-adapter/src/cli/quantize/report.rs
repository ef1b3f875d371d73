//! What `demask quantize` says about what it did.

use super::super::image::label;
use super::super::table::{self, thousands};
use super::super::{CliError, Problem};
use super::QuantizeArgs;
use crate::calibrate::{Divergence, Outcome, Sensitivity};
use crate::load::LoadedModel;
use crate::read::gguf::GgufFile;
use crate::write::gguf::NewTensor;
use demask_quant::Report;
use serde_json::json;
use std::io::{self, Write};

/// What calibration found out.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What rounding did to the outputs of each matrix.
    pub(super) outcomes: Vec<Outcome>,
    /// What each matrix costs in 4 and in 8 bits, if there is a budget.
    pub(super) sensitivities: Vec<Sensitivity>,
    /// On held-out texts.
    pub(super) divergence: Option<Divergence>,
    /// Of other methods, on the same texts.
    pub(super) comparison: Vec<Comparison>,
}

/// Another way of rounding.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) name: &'static str,
    pub(super) divergence: Divergence,
}

pub(super) fn print(
    model: &LoadedModel,
    report: &Report,
    findings: &Findings,
    args: &QuantizeArgs,
) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", to_json(model, report, findings))?;
        return Ok(());
    }
    let calibrated = !findings.outcomes.is_empty();
    let rows: Vec<Vec<String>> = report
        .tensors
        .iter()
        .filter(|t| !t.role.stays_f32())
        .map(|t| {
            let error = match t.is_exact() {
                true => ["exact".to_owned(), "0".to_owned()],
                false => {
                    [format!("{:.3}", 100.0 * t.relative_error()), format!("{:.5}", t.max_error)]
                }
            };
            let [relative, largest] = error;
            let mut row = vec![
                label(t.role),
                model.stored_as(t.role).unwrap_or_default().to_owned(),
                t.format.name().to_owned(),
                t.rows.to_string(),
                t.cols.to_string(),
                thousands(t.bytes),
                relative,
                largest,
            ];
            if calibrated {
                let outcome = findings.outcomes.iter().find(|outcome| outcome.role == t.role);
                row.extend(outcome.map_or_else(Default::default, |outcome| {
                    let percent = |share: f64| format!("{:.2}", 100.0 * share);
                    [percent(outcome.relative_error()), percent(outcome.gain())]
                }));
            }
            row
        })
        .collect();
    let header = [
        "tensor",
        "from",
        "type",
        "rows",
        "cols",
        "bytes",
        "error %",
        "largest error",
        "output error %",
        "gain %",
    ];
    table::print(&mut out, &header[..if calibrated { 10 } else { 8 }], &rows)?;
    writeln!(out, "\n{}: {} bytes", args.out.display(), thousands(report.image_bytes))?;
    if let Some(divergence) = &findings.divergence {
        print_divergences(&mut out, divergence, &findings.comparison)?;
    }
    Ok(())
}

/// Divergences from the float model, this image's first.
fn print_divergences(
    out: &mut impl Write,
    own: &Divergence,
    others: &[Comparison],
) -> Result<(), CliError> {
    let row = |name: &str, divergence: &Divergence| {
        let mut row = vec![
            name.to_owned(),
            format!("{:.5}", divergence.mean),
            format!("{:.5}", divergence.standard_error),
            format!("{:.2}", 100.0 * divergence.same_top),
        ];
        let decile = |mean: &Option<f64>| mean.map_or_else(String::new, |m| format!("{m:.4}"));
        row.extend(divergence.deciles.iter().map(decile));
        row
    };
    let mut rows = vec![row("this image", own)];
    rows.extend(others.iter().map(|other| row(other.name, &other.divergence)));
    let header = [
        "KL from float, nats",
        "mean",
        "+-",
        "same top %",
        "0-10 %",
        "-20",
        "-30",
        "-40",
        "-50",
        "-60",
        "-70",
        "-80",
        "-90",
        "-100 % masked",
    ];
    writeln!(out)?;
    table::print(out, &header, &rows)?;
    writeln!(out, "{} masked rows of held-out texts", own.rows)?;
    Ok(())
}

fn to_json(model: &LoadedModel, report: &Report, findings: &Findings) -> serde_json::Value {
    let tensors: Vec<_> = report
        .tensors
        .iter()
        .map(|t| {
            let mut tensor = json!({
                "name": label(t.role), "source": model.stored_as(t.role),
                "format": t.format.name(), "exact": t.is_exact(), "rows": t.rows,
                "cols": t.cols, "bytes": t.bytes, "rms": t.rms, "rms_error": t.rms_error,
                "relative_error": t.relative_error(), "max_error": t.max_error,
            });
            if let Some(outcome) = findings.outcomes.iter().find(|o| o.role == t.role) {
                tensor["output_error"] = outcome.relative_error().into();
                tensor["gain"] = outcome.gain().into();
            }
            if let Some(found) = findings.sensitivities.iter().find(|s| s.role == t.role) {
                tensor["kl_q4"] = found.four_bits.into();
                tensor["kl_q8"] = found.eight_bits.into();
            }
            tensor
        })
        .collect();
    let mut value = json!({ "bytes": report.image_bytes, "tensors": tensors });
    let divergence = |d: &Divergence| {
        json!({
            "rows": d.rows, "mean": d.mean, "standard_error": d.standard_error,
            "same_top": d.same_top, "deciles": d.deciles,
        })
    };
    if let Some(own) = &findings.divergence {
        value["kl"] = divergence(own);
        for other in &findings.comparison {
            value["compared"][other.name] = divergence(&other.divergence);
        }
    }
    value
}

pub(super) fn print_gguf(
    file: &GgufFile,
    new: &[NewTensor],
    args: &QuantizeArgs,
) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let bytes = std::fs::metadata(&args.out).problem()?.len();
    let from = |tensor: &NewTensor| file.tensor(&tensor.name).map(|t| t.stored_as().name());
    if args.json {
        let tensors: Vec<_> = new
            .iter()
            .map(|t| {
                json!({
                    "name": t.name, "source": from(t), "type": t.stored_as.name(),
                    "dimensions": t.dimensions, "bytes": t.length(),
                })
            })
            .collect();
        writeln!(out, "{}", json!({ "bytes": bytes, "tensors": tensors }))?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = new
        .iter()
        .map(|t| {
            vec![
                t.name.clone(),
                from(t).unwrap_or_default().to_owned(),
                t.stored_as.name().to_owned(),
                thousands(t.length().unwrap_or_default()),
            ]
        })
        .collect();
    table::print(&mut out, &["tensor", "from", "type", "bytes"], &rows)?;
    writeln!(out, "\n{}: {} bytes", args.out.display(), thousands(bytes))?;
    Ok(())
}
