//! `demask logits`: every position's logits, for parity work.

use super::options::{MachineArgs, ModelArgs};
use super::{CliError, Problem};
use crate::npy::write_npy;
use crate::runtime::Memory;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct LogitsArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Token ids of the canvas, separated by commas
    #[arg(long, value_delimiter = ',', required = true, value_name = "ID,ID,...")]
    ids: Vec<u32>,
    /// Row i is what predicts position i: of a model with shifted logits the row before
    #[arg(long)]
    shift: bool,
    /// Where to write [ids, vocabulary] f32 numbers as .npy
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(super) fn run(args: &LogitsArgs) -> Result<(), CliError> {
    let model = args.model.open()?;
    let (size, context) = (args.ids.len(), model.config().context as usize);
    if size > context {
        return Err(CliError::new(format!(
            "these are {size} ids, but the model's context is {context} tokens; leave some out"
        )));
    }
    let runtime = args.model.runtime(&model)?;
    let mut memory = Memory::default();
    let mut network = runtime.network(&args.machine.settings(size), &mut memory).problem()?;
    let mut logits = network.logits(&args.ids).problem()?;
    let vocabulary = model.config().vocab_size as usize;
    if args.shift && model.config().features.shifted_logits {
        // The row of a position predicts the next one; the first position has only its own.
        let rows = logits.len() - vocabulary;
        logits.copy_within(..rows, vocabulary);
    }
    write_npy(&args.out, &logits, args.ids.len(), vocabulary).problem()
}
