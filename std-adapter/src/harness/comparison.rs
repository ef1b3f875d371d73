//! Two builds of a model on the same masked canvases: how far their distributions are apart.
//!
//! A model that writes by unmasking has no next token, so what llama.cpp measures on next tokens
//! (`llama-perplexity --kl-divergence`) is measured on masked rows here: with the same masks for both, and
//! apart by mask ratio.

use super::likelihood::{
    Bound, DECILES, PieceNats, column, decile_range, log_probabilities, masked, piece_nats,
};
use super::masks::{Key, draws, of_ratio};
use super::pieces::Piece;
use super::statistics::{Estimate, mean, quantile, ratio};
use serde::Serialize;

/// Mask ratios at which distributions are compared.
pub const RATIOS: [f64; 6] = [0.1, 0.3, 0.5, 0.7, 0.9, 1.0];

/// Two distributions of the same masked token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// KL(a || b) in nats.
    pub kl: f64,
    /// Both think the same token the most probable; the lower id of equal ones.
    pub same_top: bool,
    /// Probability of the true token: b's less a's.
    pub delta_p: f64,
    /// Natural logarithms of both probabilities of the true token.
    pub logs: (f64, f64),
}

impl Distance {
    /// Of two rows of logits, where `truth` is right. The mask has no probability.
    #[must_use]
    pub fn of(a: &[f32], b: &[f32], mask: u32, truth: u32) -> Self {
        let (a, b) = (log_probabilities(a, mask), log_probabilities(b, mask));
        let term = |(a, b): (&f64, &f64)| match a.exp() {
            0.0 => 0.0,
            p => p * (a - b),
        };
        let top = |row: &[f64]| {
            let best = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter().position(|log| *log == best)
        };
        let log = |row: &[f64]| row.get(truth as usize).copied().unwrap_or(f64::NEG_INFINITY);
        let logs = (log(&a), log(&b));
        let kl: f64 = a.iter().zip(&b).map(term).sum();
        Self {
            // Never below zero but by rounding. What is no number stays so.
            kl: if kl < 0.0 { 0.0 } else { kl },
            same_top: top(&a) == top(&b),
            delta_p: logs.1.exp() - logs.0.exp(),
            logs,
        }
    }
}

/// What both models make of one piece of text.
#[derive(Debug, Clone, PartialEq)]
pub struct PiecePair {
    /// The bounds, on the same masks.
    pub nats: [PieceNats; 2],
    /// The second one less the first, with the error of that.
    pub difference: PieceNats,
    /// Distances of the masked tokens, by [`RATIOS`].
    pub distances: [Vec<Distance>; RATIOS.len()],
}

impl PiecePair {
    /// Measures a piece with `count` draws for the bounds and one for each ratio. `distances` compares the
    /// models on a canvas, at its masked positions.
    ///
    /// # Errors
    /// The first of `distances`.
    pub fn measure<E>(
        piece: &Piece,
        count: usize,
        key: Key,
        mask: u32,
        mut distances: impl FnMut(&[u32], &[usize]) -> Result<Vec<Distance>, E>,
    ) -> Result<Self, E> {
        let length = piece.hidden.len();
        let mut at = |numbers: &[usize]| {
            let places = numbers.iter().filter_map(|number| piece.hidden.get(*number));
            distances(&masked(piece, numbers, mask), &places.copied().collect::<Vec<_>>())
        };
        let draws = draws(length, count, key);
        let mut nats = [Vec::new(), Vec::new()];
        let mut differences = Vec::new();
        for draw in &draws {
            let found = at(&draw.hidden)?;
            nats[0].push(found.iter().map(|d| -d.logs.0).collect());
            nats[1].push(found.iter().map(|d| -d.logs.1).collect());
            differences.push(found.iter().map(|d| d.logs.0 - d.logs.1).collect());
        }
        let mut by_ratio: [Vec<Distance>; RATIOS.len()] = Default::default();
        for (number, (ratio, list)) in RATIOS.into_iter().zip(&mut by_ratio).enumerate() {
            *list = at(&of_ratio(length, ratio, key, number as u32))?;
        }
        let sum = |nats: Vec<_>| piece_nats(length, &draws, &nats);
        Ok(Self { nats: nats.map(sum), difference: sum(differences), distances: by_ratio })
    }

    /// Says how much text the piece is.
    pub fn set_text(&mut self, chars: usize, bytes: usize) {
        for nats in &mut self.nats {
            (nats.chars, nats.bytes) = (chars as f64, bytes as f64);
        }
    }
}

/// Distances of many masked tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distances {
    /// Masked tokens.
    pub tokens: usize,
    /// Mean of KL(a || b), nats.
    pub kl: Estimate,
    /// Its median,
    pub kl_median: f64,
    /// 99th percentile,
    pub kl_p99: f64,
    /// and largest value.
    pub kl_max: f64,
    /// Percent of tokens with the same most probable one.
    pub same_top: Estimate,
    /// Mean change of the true token's probability, in points of percent.
    pub delta_p: Estimate,
    /// Root of its mean square, in points of percent.
    pub delta_p_rms: f64,
}

impl Distances {
    /// Of lists, one per piece. Errors are over pieces.
    fn of(lists: &[Vec<&Distance>]) -> Self {
        let counts = column(lists, |list| list.len() as f64);
        let per_token = |number: fn(&Distance) -> f64| {
            let sums = column(lists, |list| list.iter().map(|d| number(d)).sum());
            match lists {
                // Of one piece, as if its tokens were independent.
                [list] => mean(&list.iter().map(|d| number(d)).collect::<Vec<_>>()),
                _ => ratio(&sums, &counts).unwrap_or_default(),
            }
        };
        let all = || lists.iter().flatten();
        let mut kl: Vec<f64> = all().map(|d| d.kl).collect();
        kl.sort_by(f64::total_cmp);
        let squares = per_token(|d| d.delta_p * d.delta_p).value;
        Self {
            tokens: kl.len(),
            kl: per_token(|d| d.kl),
            kl_median: quantile(&kl, 0.5),
            kl_p99: quantile(&kl, 0.99),
            kl_max: quantile(&kl, 1.0),
            same_top: per_token(|d| if d.same_top { 100.0 } else { 0.0 }),
            delta_p: per_token(|d| d.delta_p).times(100.0),
            delta_p_rms: 100.0 * squares.sqrt(),
        }
    }
}

/// Distances at one mask ratio.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtRatio {
    /// Share of hidden tokens.
    pub ratio: f64,
    /// Distances of these.
    #[serde(flatten)]
    pub distances: Distances,
}

/// Nats of both models at the mask ratios of a decile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DecilePair {
    /// Ratios above this,
    pub above: f64,
    /// up to this.
    pub up_to: f64,
    /// Hidden tokens.
    pub tokens: f64,
    /// Nats per hidden token of both,
    pub a: Option<Estimate>,
    /// see `a`,
    pub b: Option<Estimate>,
    /// and b's less a's, pair by pair.
    pub difference: Option<Estimate>,
}

/// Two builds of a model on the same texts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Over all ratios; each piece counts at each of them.
    pub distances: Distances,
    /// By mask ratio.
    pub ratios: Vec<AtRatio>,
    /// Bound of the first model,
    pub a: Bound,
    /// of the second,
    pub b: Bound,
    /// and the second's less the first's, nats per token.
    pub difference: Estimate,
    /// By decile of the mask ratio.
    pub deciles: Vec<DecilePair>,
}

impl Comparison {
    /// From all pieces.
    #[must_use]
    pub fn of(pieces: &[PiecePair]) -> Self {
        let of = |which: usize| pieces.iter().map(|p| p.nats[which]).collect::<Vec<_>>();
        let lists = |ratios: std::ops::Range<usize>| {
            let list = |p| PiecePair::list(p, ratios.clone());
            Distances::of(&pieces.iter().map(list).collect::<Vec<_>>())
        };
        let ratios = RATIOS.into_iter().enumerate();
        let ratios = ratios.map(|(at, ratio)| AtRatio { ratio, distances: lists(at..at + 1) });
        let (a, b) = (Bound::of(&of(0)), Bound::of(&of(1)));
        let difference = Bound::of(&column(pieces, |p| p.difference));
        let deciles = (0..DECILES).map(|at| DecilePair {
            above: decile_range(at).0,
            up_to: decile_range(at).1,
            tokens: a.deciles[at].tokens,
            a: a.deciles[at].nats,
            b: b.deciles[at].nats,
            difference: difference.deciles[at].nats,
        });
        Self {
            distances: lists(0..RATIOS.len()),
            ratios: ratios.collect(),
            deciles: deciles.collect(),
            difference: difference.per_token,
            a,
            b,
        }
    }

    /// The decile whose nats change most for the worse, if any clearly does; of a single piece, nobody knows.
    #[must_use]
    pub fn worst_decile(&self) -> Option<&DecilePair> {
        if self.a.pieces < 2 {
            return None;
        }
        let clear = |d: &&DecilePair| d.difference.is_some_and(|d| d.is_clear() && d.value > 0.0);
        let change = |d: &DecilePair| d.difference.map_or(0.0, |d| d.value);
        self.deciles.iter().filter(clear).max_by(|a, b| change(a).total_cmp(&change(b)))
    }
}

impl PiecePair {
    fn list(&self, ratios: std::ops::Range<usize>) -> Vec<&Distance> {
        self.distances.get(ratios).unwrap_or_default().iter().flatten().collect()
    }
}

#[cfg(test)]
#[path = "comparison_tests.rs"]
mod tests;
