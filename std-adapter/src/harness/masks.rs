//! Which tokens are hidden in which forward pass: exact counts, spread evenly, the same for the same seed.
//!
//! A masked-diffusion model's likelihood bound is a mean over masks of
//! `L / l * (nats of the l masked tokens of L)`, with `l` uniform in 1 to `L` and the `l` places uniform.
//! An exact count has less variance than hiding each token by chance (LLaDA, arXiv 2502.09992, appendix A).

use demask::decode::philox4x32;

/// Texts of up to so many tokens have few enough masks to take them all, if that is not more than asked for.
pub(super) const MAX_EVERY: usize = 16;

/// One way to hide tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// Numbers of the hidden tokens, ascending, counted among those that may be hidden.
    pub hidden: Vec<usize>,
    /// What the nats of these tokens count in the bound, which is a weighted sum over all draws.
    pub weight: f64,
}

/// What random numbers are drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The user's.
    pub seed: u64,
    /// Number of the piece of text.
    pub piece: u64,
}

impl Key {
    /// A number below `bound`, the `count`th of a stream.
    fn below(self, bound: usize, stream: u32, count: u32) -> usize {
        let counter = [count, stream, self.piece as u32, (self.piece >> 32) as u32];
        let [word, ..] = philox4x32(counter, [self.seed as u32, (self.seed >> 32) as u32]);
        ((u64::from(word) * bound as u64) >> 32) as usize
    }

    /// `count` different numbers below `length`, ascending; every choice is equally probable.
    fn places(self, length: usize, count: usize, stream: u32) -> Vec<usize> {
        let mut all: Vec<usize> = (0..length).collect();
        for at in 0..count.min(length) {
            all.swap(at, at + self.below(length - at, stream, at as u32));
        }
        all.truncate(count);
        all.sort_unstable();
        all
    }
}

/// Draws for a bound over `length` tokens: about `count` of them, or every mask that there is, once, if those
/// are not more; the bound is then exact.
#[must_use]
pub fn draws(length: usize, count: usize, key: Key) -> Vec<Draw> {
    match length <= MAX_EVERY && (1 << length) - 1 <= count {
        true => every(length),
        false => stratified(length, count, key),
    }
}

/// `count` draws whose numbers of hidden tokens are spread evenly over 1 to `length`, from a random start.
#[must_use]
pub fn stratified(length: usize, count: usize, key: Key) -> Vec<Draw> {
    if length == 0 {
        return Vec::new();
    }
    let start = 1 + key.below(length, 0, 0);
    let one = |at: usize| {
        let shift = (at as f64 * length as f64 / count as f64).round() as usize;
        let hidden = (start + shift - 1) % length + 1;
        let weight = length as f64 / hidden as f64 / count as f64;
        Draw { hidden: key.places(length, hidden, 1 + at as u32), weight }
    };
    (0..count).map(one).collect()
}

/// Every mask of at least one of `length` tokens, at most 16, with the weight that makes the bound exact:
/// one over the count and over the number of masks with that count.
#[must_use]
pub fn every(length: usize) -> Vec<Draw> {
    let length = length.min(MAX_EVERY);
    let choose = |k: usize| (0..k).fold(1.0, |c, i| c * (length - i) as f64 / (i + 1) as f64);
    let draw = |mask: u32| {
        let hidden: Vec<usize> = (0..length).filter(|at| mask >> at & 1 == 1).collect();
        let weight = 1.0 / (hidden.len() as f64 * choose(hidden.len()));
        Draw { hidden, weight }
    };
    (1..1u32 << length).map(draw).collect()
}

/// A draw that hides this share of `length` tokens, at least one. `number` tells draws of a piece apart.
#[must_use]
pub fn of_ratio(length: usize, ratio: f64, key: Key, number: u32) -> Vec<usize> {
    let count = ((ratio * length as f64).round() as usize).clamp(1, length.max(1));
    // Streams from the other end: none is that of a stratified draw.
    key.places(length, count, u32::MAX - number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { seed: 5, piece: 3 };

    #[test]
    fn stratified_counts_are_spread_and_exact() {
        for (length, count) in [(1, 3), (7, 7), (10, 5), (10, 30), (100, 8)] {
            let draws = stratified(length, count, KEY);
            assert_eq!(draws.len(), count);
            let mut counts: Vec<usize> = draws.iter().map(|d| d.hidden.len()).collect();
            counts.sort_unstable();
            let gaps = counts.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(gaps.max().unwrap_or(0) <= length.div_ceil(count) + 1, "{counts:?}");
            for Draw { hidden, weight } in draws {
                assert!(
                    hidden.windows(2).all(|pair| pair[0] < pair[1])
                        && hidden.iter().all(|h| *h < length)
                );
                assert!((weight * (count * hidden.len()) as f64 - length as f64).abs() < 1e-9);
            }
        }
        assert!(stratified(0, 4, KEY).is_empty() && every(0).is_empty());
        assert_eq!(stratified(9, 4, KEY), stratified(9, 4, KEY));
        assert_ne!(stratified(9, 4, KEY), stratified(9, 4, Key { piece: 4, ..KEY }));
    }

    /// Both kinds weigh each token the same in the mean: 1 times the sum of 1 / l over all l.
    #[test]
    fn weights_of_all_masks_add_up() {
        for length in 1..=6 {
            let mut weights = vec![0.0; length];
            for draw in every(length) {
                draw.hidden.iter().for_each(|at| weights[*at] += draw.weight);
            }
            // A mean of l/L tokens per draw, times L/l.
            assert!(weights.iter().all(|w: &f64| (w - 1.0).abs() < 1e-12), "{weights:?}");
        }
    }

    #[test]
    fn every_place_is_drawn_alike() {
        let mut counts = [0u32; 5];
        for piece in 0..4000 {
            let draw = of_ratio(5, 0.4, Key { seed: 1, piece }, 2);
            assert_eq!(draw.len(), 2);
            draw.iter().for_each(|at| counts[*at] += 1);
        }
        // 1600 each; the standard deviation is 31.
        assert!(counts.iter().all(|c| c.abs_diff(1600) < 125), "{counts:?}");
        assert_eq!((of_ratio(3, 0.01, KEY, 0).len(), of_ratio(3, 1.0, KEY, 0)), (1, vec![0, 1, 2]));
    }

    #[test]
    fn short_texts_are_enumerated() {
        assert_eq!(draws(3, 8, KEY).len(), 7);
        assert_eq!(draws(4, 8, KEY).len(), 8);
        assert_eq!(draws(60, 8, KEY).len(), 8);
    }
}
