//! `demask tokenize`: a text's tokens, and the text of tokens.

use super::options::ModelArgs;
use super::run::tokenizer_of;
use super::{CliError, Problem};
use crate::prompt;
use clap::Args;
use demask::text::{Specials, Tokenizer};
use serde_json::json;
use std::io::{Read, Write};

#[derive(Debug, Args)]
pub(super) struct TokenizeArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Text, as it is [default: standard input]
    #[arg(long, value_name = "TEXT", conflicts_with = "ids")]
    text: Option<String>,
    /// Token ids to turn into text instead, such as 1,2,3
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    ids: Option<Vec<u32>>,
    /// Special tokens in the text are tokens, not plain text
    #[arg(long)]
    specials: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TokenizeArgs) -> Result<(), CliError> {
    let model = args.model.open()?;
    let tokenizer = tokenizer_of(&model)?;
    let ids = match &args.ids {
        Some(ids) => known(&tokenizer, ids)?,
        None => encode(&tokenizer, args)?,
    };
    let text = prompt::decode(&tokenizer, &ids, Specials::Render);
    let pieces = ids.iter().map(|&id| tokenizer.piece(id).unwrap_or_default());
    let mut out = std::io::stdout().lock();
    if args.json {
        let pieces: Vec<_> = pieces.map(String::from_utf8_lossy).collect();
        let count = ids.len();
        writeln!(out, "{}", json!({ "count": count, "ids": ids, "pieces": pieces, "text": text }))?;
        return Ok(());
    }
    if args.ids.is_some() {
        writeln!(out, "{text}")?;
        return Ok(());
    }
    for (id, piece) in ids.iter().zip(pieces) {
        writeln!(out, "{id:>7}  {}", shown(piece))?;
    }
    writeln!(out, "{} tokens", ids.len())?;
    Ok(())
}

fn encode(tokenizer: &Tokenizer<'_>, args: &TokenizeArgs) -> Result<Vec<u32>, CliError> {
    let text = match &args.text {
        Some(text) => text.clone(),
        None => {
            let mut text = String::new();
            let read = std::io::stdin().lock().read_to_string(&mut text);
            read.map_err(|error| CliError::new(format!("cannot read the text: {error}")))?;
            text
        }
    };
    match args.specials {
        true => prompt::ids_with_specials(tokenizer, &text).problem(),
        false => prompt::plain_ids(tokenizer, &text).problem(),
    }
}

/// Ids of the vocabulary, or which one is not.
fn known(tokenizer: &Tokenizer<'_>, ids: &[u32]) -> Result<Vec<u32>, CliError> {
    let size = tokenizer.vocab_len();
    match ids.iter().find(|&&id| id >= size) {
        Some(id) => Err(CliError::new(format!(
            "there is no token {id}; the vocabulary has the ids 0 to {}",
            size.saturating_sub(1)
        ))),
        None => Ok(ids.to_vec()),
    }
}

/// A piece in quotes; of characters spread over several tokens, the bytes.
pub(super) fn shown(piece: &[u8]) -> String {
    match std::str::from_utf8(piece) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("\"{}\"", piece.escape_ascii()),
    }
}
