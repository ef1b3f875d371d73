//! Any bytes as an image: refused, or a model that runs.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use common::{Aligned, reseal, with_engine};
use demask::Pass;
use demask::decode::{Needs, Sampling, Score};
use demask::image::{Header, ModelImage, peek_config};
use demask::text::{Specials, Utf8Stream};
use demask::{Limits, Model, Plan};
use libfuzzer_sys::fuzz_target;

/// Uses everything that a parsed image offers.
fn exercise(image: &ModelImage<'_>) {
    let config = *image.config();
    assert_eq!(config.validate(), Ok(()));
    for tensor in image.tensors() {
        if let Some(matrix) = tensor.packed() {
            let _ = matrix.values_are_valid();
            let mut row = vec![0.0; matrix.cols()];
            assert!(matrix.dequantize_row(matrix.rows() - 1, &mut row));
            assert!(!matrix.dequantize_row(matrix.rows(), &mut row));
        } else {
            assert!(tensor.as_f32().is_some() || tensor.as_f16_bits().is_some());
        }
    }
    assert!(
        image.prompt().prefix().chain(image.prompt().suffix()).all(|id| id < config.vocab_size)
    );
    if let Some(tokenizer) = image.tokenizer() {
        let mut ids = [0; 32];
        if let Ok(count) = tokenizer.encode_with_specials("abc<end> bab", &mut ids) {
            let mut stream = Utf8Stream::new();
            tokenizer.decode(&ids[..count], Specials::Render, &mut stream, |_| {}).unwrap();
        }
    }
    forward(image);
}

/// One pass, if it is a small one.
fn forward(image: &ModelImage<'_>) {
    let config = *image.config();
    let plan = Plan::new(
        &config,
        &Limits { canvas: 4, tile: 4, layout: image.layout(), workers: 1, needs: Needs::NONE },
    );
    if plan.is_ok_and(|plan| plan.bytes() < 1 << 20) {
        let canvas = [config.mask_id, config.eos_id, config.vocab_size - 1, config.mask_id];
        let sampling = Sampling { temperature: 0.7, seed: 1, step: 2, ..Sampling::GREEDY };
        let mut scores = [Score::default(); 2];
        let _ = with_engine(image, 4, |mut engine| {
            if engine.score(&Pass::whole(&canvas, &[0, 3]), &sampling, &mut scores).is_ok() {
                assert!(scores.iter().all(|s| s.proposal < config.vocab_size));
                assert!(scores.iter().all(|s| s.proposal != config.mask_id));
            }
        });
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Aligned::copy_of(data);
    let _ = peek_config(&bytes);
    let _ = Header::parse(&bytes);
    if let Ok(image) = ModelImage::parse_unverified(&bytes) {
        exercise(&image);
    }
    // Once more with the total length and all digests right, to get past them.
    if bytes.len() >= 64 {
        let length = bytes.len() as u64;
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
        reseal(&mut bytes);
        if let Ok(image) = ModelImage::parse(&bytes) {
            exercise(&image);
        }
    }
});
