//! When a text counts as finished.

use core::ops::Range;

/// Decides after every step whether the rest of the canvas still matters.
pub trait EosPolicy {
    /// Where the text ends: masks from there on become the end token and decoding stops. `region`
    /// is the part being generated.
    fn stop(&self, canvas: &[u32], region: Range<usize>, mask: u32, eos: u32) -> Option<usize>;
}

/// Decodes every mask, as LLaDA's reference does.
#[derive(Debug, Clone, Copy, Default)]
pub struct FillAll;

/// Stops at the first end token that has no mask before it. What stands before it is then final,
/// so the text is the same as [`FillAll`]'s, for fewer forward passes.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopAtEos;

impl EosPolicy for FillAll {
    fn stop(&self, _: &[u32], _: Range<usize>, _: u32, _: u32) -> Option<usize> {
        None
    }
}

impl EosPolicy for StopAtEos {
    fn stop(&self, canvas: &[u32], region: Range<usize>, mask: u32, eos: u32) -> Option<usize> {
        let start = region.start;
        if canvas.get(..start)?.contains(&mask) {
            return None;
        }
        let first = canvas.get(region)?.iter().position(|&id| id == mask || id == eos)?;
        let end = start + first;
        (canvas.get(end) == Some(&eos)).then_some(end)
    }
}

impl<P: EosPolicy + ?Sized> EosPolicy for &P {
    fn stop(&self, canvas: &[u32], region: Range<usize>, mask: u32, eos: u32) -> Option<usize> {
        (**self).stop(canvas, region, mask, eos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_without_a_mask_before_it_stops() {
        let stop = |canvas: &[u32]| StopAtEos.stop(canvas, 1..canvas.len(), 1, 0);
        assert_eq!(stop(&[0, 5, 6, 0, 1]), Some(3), "the end token in the prompt does not count");
        assert_eq!(stop(&[9, 5, 1, 0, 1]), None);
        assert_eq!(stop(&[1, 5, 0, 1]), None, "a mask in the prompt");
        assert_eq!(stop(&[9, 0]), Some(1));
        assert_eq!(stop(&[9, 5, 6]), None);
    }
}
