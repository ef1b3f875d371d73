//! When a text counts as finished, and how early it may end.

use super::StepCount;
use core::ops::Range;

/// Rules about the end token.
pub trait EosPolicy {
    /// Name as the command line spells it.
    fn name(&self) -> &'static str {
        "custom"
    }

    /// Whether the end token may not be proposed at all.
    fn forbids(&self) -> bool {
        false
    }

    /// Factor on the rank of positions that propose the end token, 0 to 1; 0 ranks them below all
    /// others. `None` leaves ranks alone.
    fn weight(&self, _count: &StepCount) -> Option<f32> {
        None
    }

    /// Whether a finished text ends the canvas, instead of filling it with end tokens.
    fn truncates(&self) -> bool {
        false
    }

    /// Where the text ends, asked after every step: masks from there on become the end token and
    /// decoding stops. `region` is the part being generated.
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
    fn name(&self) -> &'static str {
        "fill"
    }

    fn stop(&self, _: &[u32], _: Range<usize>, _: u32, _: u32) -> Option<usize> {
        None
    }
}

impl EosPolicy for StopAtEos {
    fn name(&self) -> &'static str {
        "stop"
    }

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

/// A borrowed or boxed one is one too.
macro_rules! forward {
    ($type:ty) => {
        impl<P: EosPolicy + ?Sized> EosPolicy for $type {
            fn name(&self) -> &'static str {
                (**self).name()
            }

            fn forbids(&self) -> bool {
                (**self).forbids()
            }

            fn weight(&self, count: &StepCount) -> Option<f32> {
                (**self).weight(count)
            }

            fn truncates(&self) -> bool {
                (**self).truncates()
            }

            fn stop(
                &self,
                canvas: &[u32],
                region: Range<usize>,
                mask: u32,
                eos: u32,
            ) -> Option<usize> {
                (**self).stop(canvas, region, mask, eos)
            }
        }
    };
}

forward!(&P);
#[cfg(feature = "alloc")]
forward!(alloc::boxed::Box<P>);

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
