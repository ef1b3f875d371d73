//! `demask infill`: masks anywhere in a text.

use super::options::{DecodeArgs, MachineArgs, ModelArgs, OutputArgs};
use super::outcome::Outcome;
use super::run::{live_view, tokenizer_of, with_session};
use super::{CliError, Problem};
use crate::prompt;
use crate::runtime::Memory;
use clap::Args;
use demask::text::{Specials, Tokenizer};
use std::time::{Duration, Instant};

/// How a gap of one token is written.
const GAP: &str = "[MASK";

#[derive(Debug, Args)]
pub(super) struct InfillArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Text with gaps: [MASK] for one token, [MASK:8] for eight. A space before a gap is left to the
    /// gap, since tokens bring their own. Special tokens may be spelled out
    #[arg(long, value_name = "TEXT")]
    text: String,
    #[command(flatten)]
    decode: DecodeArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &InfillArgs) -> Result<(), CliError> {
    if args.decode.gen_length.is_some() {
        return Err(CliError::new("infill fills the gaps in the text; leave --gen-length out"));
    }
    let opened = Instant::now();
    let model = args.model.open()?;
    let tokenizer = tokenizer_of(&model)?;
    let mask = model.config().mask_id;
    let canvas = parse_gaps(&tokenizer, &args.text, mask, model.config().context as usize)?;
    let masks = canvas.iter().filter(|id| **id == mask).count();
    let decoding = args.decode.infilling(&model, canvas.len(), masks)?;
    args.decode.announce(&decoding);
    let runtime = args.model.runtime(&model)?;
    let mut memory = Memory::default();
    let settings = decoding.settings(args.machine.threads(), args.machine.kernels);
    let mut network = runtime.network(&settings, &mut memory).problem()?;
    let mut outcome = Outcome::of(&*network, opened.elapsed(), canvas.len());
    with_session(&mut *network, &decoding, |session| {
        session.begin_infill(&canvas, decoding.options).problem()?;
        let style = args.output.style();
        let view = live_view(&tokenizer, &model, style, &decoding, Duration::ZERO);
        outcome.run(session, view)?;
        outcome.tokens = session.canvas().to_vec();
        outcome.text = prompt::decode(&tokenizer, &outcome.tokens, Specials::Render);
        Ok(())
    })?;
    outcome.print(&args.output)
}

/// Ids of a text in which gaps stand.
fn parse_gaps(
    tokenizer: &Tokenizer<'_>,
    text: &str,
    mask: u32,
    context: usize,
) -> Result<Vec<u32>, CliError> {
    let mut ids = Vec::new();
    let mut rest = text;
    while let Some((before, count, after)) = next_gap(rest)? {
        // Words of byte-level vocabularies begin with their space: a lone one before the gap is
        // something that the model never saw.
        let before = before.strip_suffix(' ').unwrap_or(before);
        ids.extend(prompt::ids_with_specials(tokenizer, before).problem()?);
        if count > context {
            return Err(CliError::new(format!(
                "a gap of {count} tokens is longer than the model's context of {context}"
            )));
        }
        ids.extend(std::iter::repeat_n(mask, count));
        rest = after;
    }
    ids.extend(prompt::ids_with_specials(tokenizer, rest).problem()?);
    Ok(ids)
}

/// Text before the next gap, its length, and the text after it.
fn next_gap(text: &str) -> Result<Option<(&str, usize, &str)>, CliError> {
    let Some((before, rest)) = text.split_once(GAP) else { return Ok(None) };
    let bad = || CliError::new("a gap is written [MASK] or [MASK:8], with a number of tokens");
    if let Some(after) = rest.strip_prefix(']') {
        return Ok(Some((before, 1, after)));
    }
    let (count, after) = rest.strip_prefix(':').and_then(|r| r.split_once(']')).ok_or_else(bad)?;
    Ok(Some((before, count.parse().map_err(|_| bad())?, after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps() {
        assert_eq!(next_gap("a [MASK] b").unwrap(), Some(("a ", 1, " b")));
        assert_eq!(next_gap("[MASK:12]").unwrap(), Some(("", 12, "")));
        assert_eq!(next_gap("none").unwrap(), None);
        for bad in ["[MASK:]", "[MASK:x]", "[MASK:3", "[MASK 3]", "[MASK:-1]"] {
            assert!(next_gap(bad).is_err(), "{bad}");
        }
    }
}
