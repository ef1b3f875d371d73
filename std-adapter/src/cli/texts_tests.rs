//! Rows that are computed once are those of a pass of their own.

use super::*;
use crate::detect::Choice;
use crate::harness::likelihood::masked;
use crate::runtime::{Held, Memory, Runtime, Settings};
use demask::decode::Needs;
use demask::image::Attention;
use demask::packed::Format;
use std::path::Path;

/// Scores the last three tokens of `canvas` behind all their masks, and compares with whole passes.
fn compare(folder: &str, held: Held, canvas: &[u32]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let model = LoadedModel::open(&path, true).unwrap();
    let runtime = Runtime::held(&model, held, Box::new(|_, _| ())).unwrap();
    let (size, mask) = (model.config().vocab_size as usize, model.config().mask_id);
    let shifted = usize::from(model.config().features.shifted_logits);
    let length = canvas.len();
    let settings =
        Settings { canvas: length, threads: 1, kernels: Choice::Auto, needs: Needs::NONE };
    let piece = Piece { canvas: canvas.to_vec(), hidden: (length - 3..length).collect() };
    let mut memory = Memory::default();
    let network = runtime.network(&settings, &mut memory).unwrap();
    let mut scorer = PieceScorer::new(network, &piece);
    for (pass, hidden) in [&[0, 1, 2][..], &[1], &[0, 2], &[0]].into_iter().enumerate() {
        let canvas = masked(&piece, hidden, mask);
        let mut memory = Memory::default();
        let whole = runtime.network(&settings, &mut memory).unwrap().logits(&canvas).unwrap();
        let rows = scorer.rows(&canvas).unwrap();
        for position in &piece.hidden {
            let row = &whole[(position - shifted) * size..][..size];
            assert_eq!(rows.row(*position), row, "{folder}, pass {pass}, position {position}");
        }
        // The block of the hidden tokens, and the row before it if that predicts its first.
        let computed = match model.config().features.attention {
            Attention::BlockCausal(_) if pass > 0 => 3 + shifted,
            _ => length,
        };
        assert_eq!(rows.logits.len(), computed * size, "{folder}, pass {pass}");
    }
}

#[test]
fn what_no_mask_changes_is_computed_once() {
    for folder in ["sdar", "fast-dllm-v2", "llada"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
        let attention = LoadedModel::open(&path, true).unwrap().config().features.attention;
        // The hidden tokens begin a block.
        let before = match attention {
            Attention::BlockCausal(block) => 2 * block as usize,
            Attention::Bidirectional => 5,
        };
        let canvas: Vec<u32> = (0..before as u32 + 3).map(|n| 3 + n * 7 % 20).collect();
        for held in [Held::AsStored, Held::Rounded(Format::Q8)] {
            compare(folder, held, &canvas);
        }
    }
}
