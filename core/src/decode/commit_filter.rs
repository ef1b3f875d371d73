//! A small network that says which proposals of a block are final.

use crate::image::ImageError;
use crate::image::bytes::read_u32;
use crate::math::{dot, sigmoid};

/// Length of a FILTER section without its numbers, in bytes.
pub const FILTER_HEADER_BYTES: usize = 16;
/// Most positions of a block, and most hidden units.
pub const MAX_FILTER_WIDTH: usize = 1024;
/// Two layers with ReLU between them.
const TWO_LAYERS: u32 = 1;

/// The filter of Learn2PD (arXiv 2509.25188): from the top-1 probabilities of a block's `B` positions
/// through `H` hidden units with ReLU to one logit per position. The logistic function of that says how
/// probable it is that the proposal there is what decoding one token at a time would end with.
///
/// The published one has `B` = `H` = 32: 2,112 numbers. It belongs to one model and one block length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CommitFilter<'a> {
    block: usize,
    hidden: usize,
    numbers: &'a [f32],
}

impl<'a> CommitFilter<'a> {
    /// A filter for blocks of `block` tokens with `hidden` units: weights `[hidden, block]`, biases
    /// `[hidden]`, weights `[block, hidden]`, biases `[block]`, one behind the other.
    ///
    /// # Errors
    /// [`ImageError::Filter`] if a width is 0 or above 1,024, there are more or fewer numbers, or one of them
    /// is not finite.
    pub fn new(block: usize, hidden: usize, numbers: &'a [f32]) -> Result<Self, ImageError> {
        let widths = 1..=MAX_FILTER_WIDTH;
        if !widths.contains(&block) {
            return Err(ImageError::Filter("block length"));
        }
        if !widths.contains(&hidden) {
            return Err(ImageError::Filter("hidden width"));
        }
        if numbers.len() != Self::count(block, hidden) {
            return Err(ImageError::Filter("length"));
        }
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(ImageError::Filter("a number is not finite"));
        }
        Ok(Self { block, hidden, numbers })
    }

    /// Reads a FILTER section, which starts on a multiple of 4 bytes.
    ///
    /// # Errors
    /// [`ImageError::Filter`] names the first rule that does not hold.
    pub fn parse(section: &'a [u8]) -> Result<Self, ImageError> {
        let error = ImageError::Filter;
        let split = section.split_at_checked(FILTER_HEADER_BYTES);
        let (head, numbers) = split.ok_or(error("too short"))?;
        let word = |at| read_u32(head, at).ok_or(error("too short"));
        if word(0)? != TWO_LAYERS {
            return Err(error("unknown kind"));
        }
        if word(12)? != 0 {
            return Err(error("reserved field not zero"));
        }
        let numbers = bytemuck::try_cast_slice(numbers).map_err(|_| error("length"))?;
        Self::new(word(4)? as usize, word(8)? as usize, numbers)
    }

    /// The first words of its section.
    #[must_use]
    pub fn section_head(&self) -> [u32; 4] {
        [TWO_LAYERS, self.block as u32, self.hidden as u32, 0]
    }

    /// Numbers of a filter with these widths.
    #[must_use]
    pub const fn count(block: usize, hidden: usize) -> usize {
        let pairs = block.saturating_mul(hidden).saturating_mul(2);
        pairs.saturating_add(hidden).saturating_add(block)
    }

    /// Tokens of the blocks that it was trained on.
    #[must_use]
    pub const fn block(&self) -> usize {
        self.block
    }

    /// Hidden units.
    #[must_use]
    pub const fn hidden(&self) -> usize {
        self.hidden
    }

    /// All its numbers, as [`new`](Self::new) takes them.
    #[must_use]
    pub const fn numbers(&self) -> &'a [f32] {
        self.numbers
    }

    /// Fills the hidden units (`[hidden]`) from the probabilities (`[block]`).
    pub fn hide(&self, probabilities: &[f32], hidden: &mut [f32]) {
        let (weights, rest) = self.layer(self.numbers);
        let rows = weights.chunks_exact(self.block.max(1));
        for ((unit, row), bias) in hidden.iter_mut().zip(rows).zip(rest) {
            *unit = (dot(row, probabilities) + bias).max(0.0);
        }
    }

    /// The probability that the proposal at this place of the block is final; 0 outside of it.
    #[must_use]
    pub fn probability(&self, hidden: &[f32], at: usize) -> f32 {
        let (_, rest) = self.layer(self.numbers);
        let (weights, biases) = self.layer(rest.get(self.hidden..).unwrap_or_default());
        match (weights.chunks_exact(self.hidden.max(1)).nth(at), biases.get(at)) {
            (Some(row), Some(bias)) => sigmoid(dot(row, hidden) + bias),
            _ => 0.0,
        }
    }

    /// The weights of the layer that begins here, as many in both, and what is behind them.
    fn layer(&self, numbers: &'a [f32]) -> (&'a [f32], &'a [f32]) {
        let weights = self.block.saturating_mul(self.hidden);
        numbers.split_at_checked(weights).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Numbers between -1 and 1 without a pattern.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn both_layers_are_those_of_plain_f64() {
        for (block, hidden) in [(32, 32), (56, 32), (5, 9), (1, 1), (9, 5)] {
            let weights = numbers(CommitFilter::count(block, hidden), 7);
            let filter = CommitFilter::new(block, hidden, &weights).unwrap();
            let input: Vec<f32> = numbers(block, 3).iter().map(|x| x.abs()).collect();
            let wide = |x: &f32| f64::from(*x);
            let (first, rest) = weights.split_at(block * hidden);
            let (first_bias, rest) = rest.split_at(hidden);
            let (second, second_bias) = rest.split_at(hidden * block);
            let expected: Vec<f64> = (0..hidden)
                .map(|unit| {
                    let terms =
                        (0..block).map(|i| wide(&first[unit * block + i]) * wide(&input[i]));
                    (terms.sum::<f64>() + wide(&first_bias[unit])).max(0.0)
                })
                .collect();
            let mut units = std::vec![0.0; hidden];
            filter.hide(&input, &mut units);
            for at in 0..block {
                let terms = (0..hidden).map(|i| wide(&second[at * hidden + i]) * expected[i]);
                let logit = terms.sum::<f64>() + wide(&second_bias[at]);
                let expected = 1.0 / (1.0 + (-logit).exp());
                let got = f64::from(filter.probability(&units, at));
                assert!((got - expected).abs() < 2e-6, "{block} {hidden} {at}: {got} {expected}");
            }
            assert_eq!(filter.probability(&units, block), 0.0);
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let new = |block, hidden, numbers: &[f32]| CommitFilter::new(block, hidden, numbers).err();
        let error = |problem| Some(ImageError::Filter(problem));
        assert_eq!(new(2, 1, &[0.5; 7]), None);
        assert_eq!(new(2, 1, &[0.5; 6]), error("length"));
        assert_eq!(new(2, 1, &[0.5; 8]), error("length"));
        assert_eq!(new(0, 1, &[0.5; 1]), error("block length"));
        assert_eq!(new(1025, 1, &[0.5; 7]), error("block length"));
        assert_eq!(new(usize::MAX, usize::MAX, &[]), error("block length"));
        assert_eq!(new(2, 0, &[0.5; 2]), error("hidden width"));
        assert_eq!(new(2, usize::MAX, &[0.5; 2]), error("hidden width"));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(new(2, 1, &[0., 0., 0., bad, 0., 0., 0.]), error("a number is not finite"));
        }
    }

    #[test]
    fn a_section_is_read_and_damage_is_found() {
        let section = |head: [u32; 4], numbers: &[f32]| -> Vec<u32> {
            head.into_iter().chain(numbers.iter().map(|x| x.to_bits())).collect()
        };
        let parse = |words: &[u32], bytes: usize| {
            let all: &[u8] = bytemuck::cast_slice(words);
            CommitFilter::parse(&all[..bytes]).map(|filter| filter.numbers().to_vec())
        };
        let good = section([1, 2, 1, 0], &[1., 2., 3., 4., 5., 6., 7.]);
        assert_eq!(parse(&good, 44).unwrap(), [1., 2., 3., 4., 5., 6., 7.]);
        let error = |problem| Err(ImageError::Filter(problem));
        for (bytes, problem) in
            [(0, "too short"), (15, "too short"), (16, "length"), (43, "length")]
        {
            assert_eq!(parse(&good, bytes), error(problem));
        }
        for (at, word, problem) in [
            (0, 2, "unknown kind"),
            (3, 1, "reserved field not zero"),
            (1, 0, "block length"),
            (1, 3, "length"),
            (2, u32::MAX, "hidden width"),
            (9, f32::NAN.to_bits(), "a number is not finite"),
        ] {
            let mut bad = good.clone();
            bad[at] = word;
            assert_eq!(parse(&bad, 44), error(problem));
        }
        let filter = CommitFilter::new(2, 1, &[0.0; 7]).unwrap();
        assert_eq!(filter.section_head(), [1, 2, 1, 0]);
    }
}
