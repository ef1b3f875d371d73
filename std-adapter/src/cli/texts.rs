//! The texts whose likelihood is measured, as pieces for a model.

use super::options::DecodeArgs;
use super::run::tokenizer_of;
use super::{CliError, Problem};
use crate::harness::pieces::{Piece, Windows, given};
use crate::harness::task::{Kind, Task};
use crate::load::LoadedModel;
use crate::prompt;
use crate::runtime::Network;
use clap::Args;
use demask::image::ModelConfig;
use demask::text::Tokenizer;

/// Tokens of all pieces together, at most: more would take weeks, and memory before that.
const MAX_TOKENS: usize = 1 << 26;

/// Draws per piece, at most; their masks are made together.
const MAX_DRAWS: i64 = 10_000;

/// How likelihoods are measured.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct BoundArgs {
    /// Forward passes per piece of text for its likelihood; a piece of few tokens is measured exactly if so
    /// many are enough
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=MAX_DRAWS))]
    pub(super) draws: u32,
    /// Tokens of a long text that the model sees at a time [default: its context]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,
    /// Tokens by which that moves on; a block-causal model moves by blocks [default: half a window]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    stride: Option<u32>,
}

/// A piece, and how much text its hidden tokens are.
#[derive(Debug, Clone)]
pub(super) struct TextPiece {
    pub(super) piece: Piece,
    pub(super) chars: usize,
    pub(super) bytes: usize,
}

impl BoundArgs {
    fn windows(&self, config: &ModelConfig) -> Result<Windows, CliError> {
        let context = config.context as usize;
        let window = self.window.map_or(context, |window| window as usize);
        let stride = self.stride.map_or(window.div_ceil(2), |stride| stride as usize);
        if window > context {
            return Err(CliError::new(format!(
                "--window {window} is more than the model's context of {context} tokens; lower it"
            )));
        }
        if stride > window {
            return Err(CliError::new(
                "--stride is more than --window, which would leave tokens out",
            ));
        }
        Ok(Windows { attention: config.features.attention, window, stride })
    }

    /// The pieces of all items.
    pub(super) fn pieces(
        &self,
        task: &Task,
        model: &LoadedModel,
        decode: &DecodeArgs,
    ) -> Result<Vec<TextPiece>, CliError> {
        let (tokenizer, config) = (tokenizer_of(model)?, model.config());
        let windows = self.windows(config)?;
        let (mut pieces, mut all) = (Vec::new(), 0);
        let mut add = |at: usize, piece: Piece| {
            all += piece.canvas.len();
            if all > MAX_TOKENS {
                return Err(CliError::new(format!(
                    "up to item {} the pieces of text have more than {MAX_TOKENS} tokens; give --limit, a \
                     longer --stride, or shorter texts",
                    at + 1
                )));
            }
            pieces.push(TextPiece::new(piece, &tokenizer));
            Ok(())
        };
        for at in 0..task.len() {
            if task.kind() == Kind::Texts {
                let text = prompt::plain_ids(&tokenizer, &task.prompt(at)).problem()?;
                windows.pieces(&text).try_for_each(|piece| add(at, piece))?;
                continue;
            }
            let (canvas, hidden) = item(task, at, model, decode, &tokenizer)
                .map_err(|error| CliError::new(format!("item {}: {error}", at + 1)))?;
            let pieces = given(&canvas, &hidden, config.features.attention);
            pieces.into_iter().try_for_each(|piece| add(at, piece))?;
        }
        if pieces.is_empty() {
            return Err(CliError::new(
                "the texts of this task are empty; there is nothing to measure",
            ));
        }
        Ok(pieces)
    }
}

/// Canvas of an item with what is right on it, and the positions of that.
fn item(
    task: &Task,
    at: usize,
    model: &LoadedModel,
    decode: &DecodeArgs,
    tokenizer: &Tokenizer<'_>,
) -> Result<(Vec<u32>, Vec<usize>), CliError> {
    let config = model.config();
    let fits = |length: usize| match config.context as usize {
        context if length > context => Err(CliError::new(format!(
            "it has {length} tokens, and the model's context is {context}; shorten it, or lower --gen-length"
        ))),
        _ => Ok(()),
    };
    match task.gaps(at) {
        Some(gaps) => {
            let gaps = gaps.tokens(tokenizer).problem()?;
            fits(gaps.tokens.len())?;
            let hidden = gaps.hidden();
            Ok((gaps.tokens, hidden))
        }
        None => {
            let mut canvas =
                prompt::encode(model.prompt(), tokenizer, &task.prompt(at)).problem()?;
            let start = canvas.len();
            canvas.extend(prompt::plain_ids(tokenizer, &task.answer(at)).problem()?);
            canvas.push(config.eos_id);
            let end = canvas.len();
            // What stands behind an answer when it is decoded.
            let length = start.saturating_add(decode.length(config, start)).max(end);
            fits(length)?;
            canvas.resize(length, config.eos_id);
            Ok((canvas, (start..end).collect()))
        }
    }
}

impl TextPiece {
    fn new(piece: Piece, tokenizer: &Tokenizer<'_>) -> Self {
        let tokens = piece.hidden.iter().filter_map(|at| piece.canvas.get(*at));
        let text = tokens.filter(|token| !tokenizer.is_special(**token));
        let text: Vec<u8> =
            text.filter_map(|token| tokenizer.piece(*token)).flatten().copied().collect();
        // Bytes that go on with a character do not begin one.
        let chars = text.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        Self { chars, bytes: text.len(), piece }
    }
}

/// Scores one piece after another set of its tokens is hidden. What no hidden token can change is computed
/// in the first pass only.
pub(super) struct PieceScorer<'n> {
    network: Box<dyn Network + 'n>,
    /// The first row to compute.
    first: usize,
    /// The same from the second pass on.
    changing: usize,
    /// By how many rows a position is behind the one that predicts it.
    back: usize,
}

impl<'n> PieceScorer<'n> {
    pub(super) fn new(network: Box<dyn Network + 'n>, piece: &Piece) -> Self {
        let hidden = piece.hidden.first().copied().unwrap_or_default();
        let back = usize::from(network.shifted_logits());
        let changing = network.attention().seen_from(hidden).saturating_sub(back);
        Self { network, first: 0, changing, back }
    }

    /// The rows that predict the piece's hidden tokens, and maybe others.
    pub(super) fn rows(&mut self, canvas: &[u32]) -> Result<Rows, CliError> {
        let first = std::mem::replace(&mut self.first, self.changing);
        let size = self.network.vocabulary().size as usize;
        let logits = self.network.logits_from(canvas, first).problem()?;
        Ok(Rows { logits, first, size, back: self.back })
    }
}

/// Logits of the rows of a canvas from some row on, and which row predicts which position.
pub(super) struct Rows {
    logits: Vec<f32>,
    first: usize,
    size: usize,
    back: usize,
}

impl Rows {
    /// The row that predicts a position; if logits are shifted, that of the position before it.
    pub(super) fn row(&self, position: usize) -> &[f32] {
        let row = position.saturating_sub(self.back).checked_sub(self.first);
        let row = row.and_then(|row| self.logits.get(row * self.size..(row + 1) * self.size));
        row.unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "texts_tests.rs"]
mod tests;
