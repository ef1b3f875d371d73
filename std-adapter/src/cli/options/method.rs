//! Cache plan, policy and end rule, chosen at run time.

use demask::Method;
use demask::cache::CachePlan;
use demask::decode::{CommitPolicy, EosPolicy, Even};
use std::ops::Range;

/// A policy chosen at run time.
pub type AnyPolicy = Box<dyn CommitPolicy>;

/// A cache plan chosen at run time.
pub type AnyCache = Box<dyn CachePlan>;

/// A method chosen at run time.
pub type AnyMethod = Method<AnyPolicy, Even, AnyEos, AnyCache>;

/// An end rule chosen at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyEos {
    /// When every mask is filled.
    Fill,
    /// At the first end token with no mask before it: the model's own, or one of these.
    Stop(Vec<u32>),
}

impl EosPolicy for AnyEos {
    fn stop(&self, canvas: &[u32], region: Range<usize>, mask: u32, eos: u32) -> Option<usize> {
        let Self::Stop(others) = self else { return None };
        if canvas.get(..region.start)?.contains(&mask) {
            return None;
        }
        let ends = |id: &u32| *id == eos || others.contains(id);
        let first = canvas.get(region.clone())?.iter().position(|id| *id == mask || ends(id))?;
        let end = region.start + first;
        canvas.get(end).is_some_and(ends).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use demask::decode::StopAtEos;

    #[test]
    fn other_end_tokens_end_a_text_too() {
        let canvases: [&[u32]; 6] =
            [&[0, 5, 6, 0, 1], &[9, 5, 1, 0, 1], &[1, 5, 0, 1], &[9, 0], &[9, 5, 6], &[9, 7, 5, 1]];
        for canvas in canvases {
            let (region, own) = (1..canvas.len(), StopAtEos);
            let expected = own.stop(canvas, region.clone(), 1, 0);
            assert_eq!(AnyEos::Stop(vec![]).stop(canvas, region.clone(), 1, 0), expected);
            assert_eq!(AnyEos::Fill.stop(canvas, region, 1, 0), None);
        }
        let both = AnyEos::Stop(vec![7, 8]);
        assert_eq!(both.stop(&[7, 5, 8, 1, 1], 1..5, 1, 0), Some(2));
        assert_eq!(both.stop(&[7, 1, 8, 1, 1], 1..5, 1, 0), None);
    }
}
