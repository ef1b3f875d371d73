//! Writing an image: what `quantize` and `pack` have in common.

use super::{CliError, Problem};
use crate::atomic::write_atomic;
use crate::load::LoadedModel;
use demask::image::TensorRole;
use demask_quant::{
    FilterData, Quantization, Report, Sections, TensorReport, WeightSource, write_image,
};
use indicatif::{ProgressBar, ProgressStyle};
use std::io;
use std::path::Path;

/// Everything of a model but its weights.
pub(super) fn sections_of(model: &LoadedModel, security_counter: u32) -> Sections {
    Sections {
        config: *model.config(),
        tokenizer: model.tokenizer_section().map(<[u8]>::to_vec),
        prompt: (*model.prompt() != Default::default()).then(|| model.prompt().clone()),
        filter: model.filter().map(FilterData::from),
        security_counter,
    }
}

/// Writes an image, whole or not at all, with a progress bar if standard error is a terminal.
pub(super) fn write(
    weights: &dyn WeightSource,
    sections: &Sections,
    quantization: Quantization,
    path: &Path,
    threads: usize,
) -> Result<Report, CliError> {
    let count = TensorRole::all(&sections.config).count() as u64;
    let bar = ProgressBar::new(count)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}").problem()?);
    let mut progress = |tensor: &TensorReport| {
        bar.set_message(label(tensor.role));
        bar.inc(1);
    };
    let (mut report, mut failed) = (None, None);
    let written = write_atomic(path, |file| {
        let written = write_image(sections, quantization, weights, file, threads, &mut progress);
        match written {
            Ok(written) => report = Some(written),
            // Keep the system's own kind, so that a full disk is called a full disk.
            Err(demask_quant::WriteError::Output(error)) => return Err(error),
            Err(other) => {
                failed = Some(other);
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    });
    bar.finish_and_clear();
    if let Some(error) = failed {
        return Err(CliError::new(error.to_string()));
    }
    written.problem()?;
    report.ok_or_else(|| CliError::new("nothing was written"))
}

/// A tensor's name for tables: `3.query`.
pub(super) fn label(role: TensorRole) -> String {
    match role.layer() {
        Some(layer) => format!("{layer}.{}", role.name()),
        None => role.name().to_owned(),
    }
}

pub(super) fn refuse_same_file(source: &Path, out: &Path) -> Result<(), CliError> {
    let same = match (source.canonicalize(), out.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    match same {
        true => Err(CliError::new("source and output are the same file; give another output name")),
        false => Ok(()),
    }
}
