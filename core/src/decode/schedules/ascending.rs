//! Twice as many at every step.

use crate::decode::{Schedule, StepCount};

/// Ascending step size (ASS, arXiv 2509.23924): step `s` takes `2^s` masks, and the last of
/// `floor(log2 L)` steps takes the rest, at least half of the answer.
///
/// In several blocks the counts are dealt out from the end: the last block is what the last step takes, those
/// before it are one step each, and the first one is what is left, with all the small steps. An answer of 128
/// in 4 blocks is 15, 16, 32 and 65 tokens in 4, 1, 1 and 1 steps. It takes no more blocks than steps; with
/// more, blocks are equal and each ascends on its own. Steps of the options play no part.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ascending;

/// How an answer falls into blocks of different lengths.
#[derive(Clone, Copy)]
struct Split {
    /// Steps of the whole answer.
    steps: u32,
    blocks: u32,
}

impl Split {
    /// `None` if blocks are equal.
    fn new(blocks: usize, length: usize) -> Option<Self> {
        let steps = steps_of(length);
        let blocks = u32::try_from(blocks).ok().filter(|blocks| (2..=steps).contains(blocks))?;
        Some(Self { steps, blocks })
    }

    /// Steps of the first block; the others have one each.
    fn first_steps(self) -> u32 {
        self.steps - self.blocks + 1
    }
}

/// Steps of an answer in one block.
fn steps_of(length: usize) -> u32 {
    length.checked_ilog2().unwrap_or(0)
}

impl Ascending {
    /// Steps before this one and steps in all, of the whole answer if it falls into blocks of different
    /// lengths.
    pub(in crate::decode) fn progress(count: &StepCount) -> (u32, u32) {
        let step = u32::try_from(count.step).unwrap_or(u32::MAX);
        let Some(split) = Split::new(count.blocks, count.length) else {
            return (step, steps_of(count.masks));
        };
        let before = match u32::try_from(count.block).unwrap_or(u32::MAX) {
            0 => 0,
            block => split.first_steps().saturating_add(block - 1),
        };
        (before.saturating_add(step), split.steps)
    }
}

impl Schedule for Ascending {
    fn name(&self) -> &'static str {
        "ascending"
    }

    fn quota(&self, count: &StepCount) -> usize {
        let last = match Split::new(count.blocks, count.length) {
            Some(_) if count.block > 0 => 0,
            Some(split) => split.first_steps() - 1,
            None => steps_of(count.masks).saturating_sub(1),
        };
        let step = u32::try_from(count.step).unwrap_or(u32::MAX);
        match step < last {
            true => 1usize.checked_shl(step).unwrap_or(usize::MAX),
            false => count.left,
        }
    }

    fn block_length(&self, index: usize, blocks: usize, length: usize) -> Option<usize> {
        let split = Split::new(blocks, length)?;
        let first = (1usize << split.first_steps()) - 1;
        let last = blocks - 1;
        Some(match index {
            0 => first,
            // What is left for the last step.
            _ if index >= last => length - ((1usize << (split.steps - 1)) - 1),
            _ => 1usize << (split.first_steps() as usize + index - 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Ascending;
    use crate::decode::schedules::testing::counts;
    use crate::decode::{Schedule, StepCount};
    use std::vec::Vec;

    #[test]
    fn conformance_vectors() {
        assert_eq!(counts(&Ascending, 6, 64), [1, 2, 4, 8, 16, 33]);
        assert_eq!(counts(&Ascending, 8, 256), [1, 2, 4, 8, 16, 32, 64, 129]);
        let sizes = |blocks, length| -> Vec<Option<usize>> {
            (0..blocks).map(|index| Ascending.block_length(index, blocks, length)).collect()
        };
        assert_eq!(sizes(4, 128), [Some(15), Some(16), Some(32), Some(65)]);
        assert_eq!(sizes(1, 128), [None]);
    }

    #[test]
    fn blocks_have_the_steps_of_the_whole() {
        let sizes = [15, 16, 32, 65];
        let mut all = Vec::new();
        for (block, masks) in sizes.into_iter().enumerate() {
            let mut left = masks;
            for step in 0.. {
                let count = StepCount {
                    blocks: 4,
                    block,
                    length: 128,
                    masks,
                    left,
                    step,
                    ..StepCount::default()
                };
                assert_eq!(Ascending::progress(&count), (all.len() as u32, 7));
                let quota = Ascending.quota(&count);
                all.push(quota);
                left -= quota;
                if left == 0 {
                    break;
                }
            }
        }
        assert_eq!(all, [1, 2, 4, 8, 16, 32, 65]);
    }

    #[test]
    fn blocks_cover_the_answer() {
        for length in 1..300usize {
            for blocks in 1..12 {
                let sizes: Option<Vec<usize>> =
                    (0..blocks).map(|i| Ascending.block_length(i, blocks, length)).collect();
                let fits = blocks > 1 && blocks as u32 <= length.ilog2();
                assert_eq!(sizes.is_some(), fits, "{length} {blocks}");
                if let Some(sizes) = sizes {
                    assert_eq!(sizes.iter().sum::<usize>(), length);
                    assert!(sizes.iter().all(|size| *size > 0));
                }
            }
        }
    }

    #[test]
    fn short_answers() {
        assert_eq!(counts(&Ascending, 3, 1), [1, 0, 0]);
        assert_eq!(counts(&Ascending, 3, 3), [3, 0, 0]);
        assert_eq!(counts(&Ascending, 3, 4), [1, 3, 0]);
        assert_eq!(counts(&Ascending, 2, 0), [0, 0]);
    }
}
