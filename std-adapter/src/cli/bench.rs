//! `demask bench`: what a forward pass and a whole decode cost on this machine.

use super::options::{DecodeArgs, MachineArgs, ModelArgs};
use super::run::with_session;
use super::table;
use super::{CliError, Problem};
use crate::load::LoadedModel;
use crate::runtime::{Memory, Network, Runtime};
use crate::usage;
use clap::Args;
use demask::Pass;
use demask::decode::{Sampling, Score};
use demask::image::{ModelConfig, TensorRole};
use serde_json::json;
use std::io::Write;
use std::time::Instant;

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Canvas lengths to time
    #[arg(long, value_delimiter = ',', default_values_t = [16, 32, 64])]
    rows: Vec<usize>,
    /// Repetitions; the fastest counts
    #[arg(long, default_value_t = 10)]
    repeat: usize,
    #[command(flatten)]
    decode: DecodeArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// One timed canvas length.
struct Timing {
    rows: usize,
    seconds: f64,
    gigamacs: f64,
}

pub(super) fn run(args: &BenchArgs) -> Result<(), CliError> {
    let model = args.model.open()?;
    let runtime = args.model.runtime(&model)?;
    let context = model.config().context as usize;
    let mut timings = Vec::new();
    let mut kernels = "";
    for &rows in args.rows.iter().filter(|rows| (1..=context).contains(*rows)) {
        let mut memory = Memory::default();
        let settings = args.machine.settings(rows);
        let mut network = runtime.network(&settings, &mut memory).problem()?;
        kernels = network.kernels();
        timings.push(time_forward(&mut *network, model.config(), rows, args.repeat)?);
    }
    let decode = time_decode(&model, &runtime, args)?;
    print(&timings, decode, kernels, args)
}

/// Fastest of several forward passes over a canvas of masks, every row scored.
fn time_forward(
    network: &mut dyn Network,
    config: &ModelConfig,
    rows: usize,
    repeat: usize,
) -> Result<Timing, CliError> {
    let canvas = vec![config.mask_id; rows];
    let wanted: Vec<u16> = (0..rows as u16).collect();
    let mut scores = vec![Score::default(); rows];
    let mut seconds = f64::INFINITY;
    for _ in 0..repeat.max(1) {
        let started = Instant::now();
        network.score(&Pass::whole(&canvas, &wanted), &Sampling::GREEDY, &mut scores).problem()?;
        seconds = seconds.min(started.elapsed().as_secs_f64());
    }
    let macs = rows as f64 * weights_per_row(config) as f64;
    Ok(Timing { rows, seconds, gigamacs: macs / seconds / 1e9 })
}

/// Multiplications by weights for one row, head included.
fn weights_per_row(c: &ModelConfig) -> u64 {
    let matrices = TensorRole::all(c).filter(|r| !r.stays_f32() && *r != TensorRole::Embedding);
    let (vocab, model) = TensorRole::Embedding.shape(c);
    let tied = if c.tied_head { vocab * model } else { 0 };
    matrices.map(|r| r.shape(c)).map(|(r, k)| (r * k) as u64).sum::<u64>() + tied as u64
}

/// Seconds and forward passes for a canvas of nothing but masks.
fn time_decode(
    model: &LoadedModel,
    runtime: &Runtime<'_>,
    args: &BenchArgs,
) -> Result<(f64, u32, usize), CliError> {
    let decoding = args.decode.decoding(model, 0)?;
    args.decode.announce(&decoding);
    let mut memory = Memory::default();
    let settings = decoding.settings(args.machine.threads(), args.machine.kernels);
    let mut network = runtime.network(&settings, &mut memory).problem()?;
    let length = decoding.length;
    with_session(&mut *network, &decoding, |session| {
        session.begin(&[], length, decoding.options).problem()?;
        let started = Instant::now();
        session.run(&mut ()).problem()?;
        Ok((started.elapsed().as_secs_f64(), session.forwards(), length))
    })
}

fn print(
    timings: &[Timing],
    (seconds, forwards, length): (f64, u32, usize),
    kernels: &str,
    args: &BenchArgs,
) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let threads = args.machine.threads();
    if args.json {
        let rows: Vec<_> = timings
            .iter()
            .map(|t| json!({ "rows": t.rows, "seconds": t.seconds, "gmacs": t.gigamacs }))
            .collect();
        let decode = json!({ "tokens": length, "forwards": forwards, "seconds": seconds });
        let value = json!({
            "kernels": kernels, "threads": threads, "forward": rows, "decode": decode,
            "peak_rss": usage::peak_memory(),
        });
        writeln!(out, "{value}")?;
        return Ok(());
    }
    writeln!(out, "kernels {kernels}, {threads} threads\n")?;
    let rows: Vec<_> = timings
        .iter()
        .map(|t| {
            vec![
                t.rows.to_string(),
                format!("{:.3}", t.seconds * 1e3),
                format!("{:.2}", t.gigamacs),
            ]
        })
        .collect();
    table::print(&mut out, &["rows", "ms per forward", "GMAC/s"], &rows)?;
    writeln!(
        out,
        "\ndecode: {length} tokens in {forwards} forwards, {:.1} ms, {:.0} tokens/s",
        seconds * 1e3,
        length as f64 / seconds
    )?;
    Ok(())
}
