//! Texts cut into what one forward pass can hold: tokens to predict, given tokens before them.
//!
//! The likelihood of a text is a product over its pieces, each given the clean text before it, as far back as
//! the window reaches. Block-causal models are cut at their blocks: a later block is not there yet when an
//! earlier one is written.

use demask::image::Attention;
use std::ops::Range;

/// A canvas, and which of its tokens are to be predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// All tokens.
    pub canvas: Vec<u32>,
    /// Positions of those to predict, ascending.
    pub hidden: Vec<usize>,
}

/// How a long text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// What the model's rows see.
    pub attention: Attention,
    /// Tokens of a canvas, at most.
    pub window: usize,
    /// Tokens by which a window moves on; what is predicted in it. A block, for a block-causal model.
    pub stride: usize,
}

impl Windows {
    /// The pieces of a text of which everything is to be predicted. The first window has nothing before it;
    /// each later one predicts its last `stride` tokens.
    pub fn pieces<'t>(&'t self, text: &'t [u32]) -> impl Iterator<Item = Piece> + 't {
        let (first, step) = match self.attention {
            Attention::Bidirectional => {
                (self.window.max(1), self.stride.clamp(1, self.window.max(1)))
            }
            Attention::BlockCausal(block) => (block.max(1) as usize, block.max(1) as usize),
        };
        let mut from = 0;
        std::iter::from_fn(move || {
            let to = text.len().min(from + if from == 0 { first } else { step });
            let piece = (from < to).then(|| self.piece(text, from..to));
            from = to;
            piece
        })
    }

    /// The text up to the end of `predicted`, from as far back as the window reaches.
    fn piece(&self, text: &[u32], predicted: Range<usize>) -> Piece {
        let block = match self.attention {
            Attention::Bidirectional => 1,
            Attention::BlockCausal(block) => block.max(1) as usize,
        };
        // Blocks are counted from the start of a canvas.
        let start =
            predicted.end.saturating_sub(self.window).next_multiple_of(block).min(predicted.start);
        Piece {
            canvas: text.get(start..predicted.end).unwrap_or_default().to_vec(),
            hidden: (predicted.start - start..predicted.end - start).collect(),
        }
    }
}

/// The pieces of a canvas of which the tokens at `hidden`, ascending, are to be predicted given all others
/// that the model sees.
#[must_use]
pub fn given(canvas: &[u32], hidden: &[usize], attention: Attention) -> Vec<Piece> {
    let end_of = |at: usize| attention.visible_end(at, canvas.len());
    hidden
        .chunk_by(|a, b| end_of(*a) == end_of(*b))
        .filter_map(|hidden| {
            let end = end_of(*hidden.first()?);
            Some(Piece { canvas: canvas.get(..end)?.to_vec(), hidden: hidden.to_vec() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: u32) -> Vec<u32> {
        (100..100 + length).collect()
    }

    /// Every token is predicted once, in order.
    fn predicted(pieces: &[Piece]) -> Vec<u32> {
        pieces.iter().flat_map(|p| p.hidden.iter().map(|at| p.canvas[*at])).collect()
    }

    #[test]
    fn windows_move_by_their_stride() {
        let windows = Windows { attention: Attention::Bidirectional, window: 8, stride: 3 };
        let pieces = windows.pieces(&text(15)).collect::<Vec<_>>();
        assert_eq!(predicted(&pieces), text(15));
        assert_eq!(pieces[0], Piece { canvas: text(8), hidden: (0..8).collect() });
        assert_eq!(pieces[1].canvas, text(11)[3..]);
        assert_eq!(pieces[1].hidden, [5, 6, 7]);
        assert_eq!((pieces[3].canvas.len(), &*pieces[3].hidden), (8, &[7][..]));
        assert!(windows.pieces(&[]).next().is_none());
        for (window, stride) in [(0, 0), (1, 9), (4, 4), (99, 1)] {
            let windows = Windows { attention: Attention::Bidirectional, window, stride };
            assert_eq!(predicted(&windows.pieces(&text(15)).collect::<Vec<_>>()), text(15));
        }
    }

    #[test]
    fn blocks_see_whole_blocks_before_them() {
        let windows = Windows { attention: Attention::BlockCausal(4), window: 10, stride: 1 };
        let pieces = windows.pieces(&text(14)).collect::<Vec<_>>();
        assert_eq!(predicted(&pieces), text(14));
        let lengths: Vec<usize> = pieces.iter().map(|p| p.canvas.len()).collect();
        assert_eq!(lengths, [4, 8, 8, 10]);
        assert_eq!(pieces[2].canvas, text(12)[4..]);
        assert_eq!(pieces[3].hidden, [8, 9]);
    }

    #[test]
    fn what_is_given_stays() {
        let canvas = text(10);
        let whole = given(&canvas, &[2, 3, 7], Attention::Bidirectional);
        assert_eq!(whole, [Piece { canvas: canvas.clone(), hidden: vec![2, 3, 7] }]);
        let blocks = given(&canvas, &[2, 3, 4, 9], Attention::BlockCausal(4));
        let ends: Vec<usize> = blocks.iter().map(|p| p.canvas.len()).collect();
        assert_eq!(ends, [4, 8, 10]);
        assert_eq!(blocks[1].hidden, [4]);
        assert!(given(&canvas, &[], Attention::Bidirectional).is_empty());
    }
}
