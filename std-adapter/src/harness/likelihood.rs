//! The bound on a text's negative log-likelihood that a masked-diffusion model gives, by Monte Carlo.

use super::masks::{Draw, Key, MAX_EVERY, draws};
use super::pieces::Piece;
use super::statistics::{Estimate, mean, ratio};

/// Parts that mask ratios are divided into.
pub const DECILES: usize = 10;

/// Natural logarithms of the probabilities of one row of logits. The mask has none: a mask is never what
/// stands behind a mask (SUBS, MDLM, arXiv 2406.07524).
#[must_use]
pub fn log_probabilities(logits: &[f32], mask: u32) -> Vec<f64> {
    let of = |(token, logit): (usize, &f32)| match token == mask as usize {
        true => f64::NEG_INFINITY,
        false => f64::from(*logit),
    };
    let mut row: Vec<f64> = logits.iter().enumerate().map(of).collect();
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|logit| (logit - most).exp()).sum();
    let all = most + sum.ln();
    row.iter_mut().for_each(|logit| *logit -= all);
    row
}

/// The canvas of a piece with some of its tokens hidden.
#[must_use]
pub fn masked(piece: &Piece, hidden: &[usize], mask: u32) -> Vec<u32> {
    let mut canvas = piece.canvas.clone();
    for place in hidden.iter().filter_map(|number| piece.hidden.get(*number)) {
        if let Some(token) = canvas.get_mut(*place) {
            *token = mask;
        }
    }
    canvas
}

/// The decile of a mask ratio: (0, 0.1] is the first, (0.9, 1] the last.
#[must_use]
pub fn decile(hidden: usize, length: usize) -> usize {
    (hidden * DECILES).div_ceil(length.max(1)).clamp(1, DECILES) - 1
}

/// What one piece of text costs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PieceNats {
    /// The bound for all of its tokens.
    pub nats: f64,
    /// Tokens, characters and bytes that it is about.
    pub tokens: f64,
    /// See `tokens`.
    pub chars: f64,
    /// See `tokens`.
    pub bytes: f64,
    /// Standard error of `nats` over draws, as if they were independent: at least what it is. 0 if every
    /// mask was taken.
    pub error: f64,
    /// By mask ratio: nats of hidden tokens, and how many those are.
    pub deciles: [(f64, f64); DECILES],
}

/// Costs up the nats of each draw: `nats` has one number per hidden token.
#[must_use]
pub fn piece_nats(length: usize, draws: &[Draw], nats: &[Vec<f64>]) -> PieceNats {
    let mut piece = PieceNats { tokens: length as f64, ..PieceNats::default() };
    let mut losses = Vec::new();
    for (draw, nats) in draws.iter().zip(nats) {
        let sum: f64 = nats.iter().sum();
        piece.nats += draw.weight * sum;
        losses.push(draw.weight * sum * draws.len() as f64);
        let (of, count) = &mut piece.deciles[decile(draw.hidden.len(), length)];
        *of += sum;
        *count += nats.len() as f64;
    }
    let exact = length <= MAX_EVERY && draws.len() == (1 << length) - 1;
    piece.error = if exact { 0.0 } else { mean(&losses).error };
    piece
}

/// The bound of one piece under a model. `predict` gives the log-probabilities of the true tokens at hidden
/// positions, for a canvas with masks there.
///
/// # Errors
/// The first of `predict`.
pub fn bound<E>(
    piece: &Piece,
    count: usize,
    key: Key,
    mask: u32,
    mut predict: impl FnMut(&[u32], &[usize]) -> Result<Vec<f64>, E>,
) -> Result<PieceNats, E> {
    let length = piece.hidden.len();
    let draws = draws(length, count, key);
    let mut nats = Vec::with_capacity(draws.len());
    for draw in &draws {
        let places: Vec<usize> =
            draw.hidden.iter().filter_map(|number| piece.hidden.get(*number)).copied().collect();
        let found = predict(&masked(piece, &draw.hidden, mask), &places)?;
        nats.push(found.iter().map(|log| -log).collect());
    }
    Ok(piece_nats(length, &draws, &nats))
}

/// What tokens cost at some mask ratios.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct DecileNats {
    /// Ratios above this,
    pub above: f64,
    /// up to this.
    pub up_to: f64,
    /// Per hidden token; `None` where no draw has such a ratio.
    pub nats: Option<Estimate>,
    /// Hidden tokens.
    pub tokens: f64,
}

/// The bound over many pieces.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Bound {
    /// Nats per token.
    pub per_token: Estimate,
    /// Nats per character.
    pub per_character: Estimate,
    /// Nats per byte of UTF-8.
    pub per_byte: Estimate,
    /// By mask ratio.
    pub deciles: Vec<DecileNats>,
    /// Predicted tokens.
    pub tokens: f64,
    /// Their characters.
    pub characters: f64,
    /// Their bytes.
    pub bytes: f64,
    /// Pieces.
    pub pieces: usize,
}

impl Bound {
    /// From all pieces. Standard errors are over pieces and hold both what texts and what masks differ in; of
    /// a single piece, over its draws.
    #[must_use]
    pub fn of(pieces: &[PieceNats]) -> Self {
        let nats = column(pieces, |p| p.nats);
        let per = |unit: fn(&PieceNats) -> f64| match pieces {
            [one] => match unit(one) {
                0.0 => Estimate::default(),
                count => Estimate { value: one.nats / count, error: one.error / count },
            },
            _ => ratio(&nats, &column(pieces, unit)).unwrap_or_default(),
        };
        let decile = |at: usize| {
            let (of, tokens) =
                (column(pieces, |p| p.deciles[at].0), column(pieces, |p| p.deciles[at].1));
            let (above, up_to) = decile_range(at);
            DecileNats { above, up_to, nats: ratio(&of, &tokens), tokens: tokens.iter().sum() }
        };
        let sum = |unit: fn(&PieceNats) -> f64| pieces.iter().map(unit).sum();
        Self {
            per_token: per(|p| p.tokens),
            per_character: per(|p| p.chars),
            per_byte: per(|p| p.bytes),
            deciles: (0..DECILES).map(decile).collect(),
            tokens: sum(|p| p.tokens),
            characters: sum(|p| p.chars),
            bytes: sum(|p| p.bytes),
            pieces: pieces.len(),
        }
    }
}

/// The mask ratios of a decile: above the first, up to the second.
#[must_use]
pub fn decile_range(at: usize) -> (f64, f64) {
    (at as f64 / DECILES as f64, (at + 1) as f64 / DECILES as f64)
}

/// One number of each piece.
pub(crate) fn column<T, N>(pieces: &[T], number: impl Fn(&T) -> N) -> Vec<N> {
    pieces.iter().map(number).collect()
}

#[cfg(test)]
#[path = "likelihood_tests.rs"]
pub(super) mod tests;
