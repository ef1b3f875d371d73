//! Damaged images: whatever byte changes and wherever an image ends, parsing says so, or gives a
//! model that can be run.

use crate::common::{
    Aligned, SMALLEST, image_with, reseal, sections_of_every_kind, small_image,
    small_image_with_experts, with_engine,
};
use demask::Pass;
use demask::decode::{Sampling, Score};
use demask::image::{ImageError, ModelImage, SectionKind};
use demask::packed::Format;
use demask::{ForwardError, Model};
use demask_quant::Quantization;

/// Everything that an image says, apart from digests and counters.
fn meaning(image: &ModelImage<'_>) -> impl PartialEq + std::fmt::Debug + use<> {
    let tensors: Vec<_> = image.tensors().map(|t| (t.role, t.format, t.bytes.to_vec())).collect();
    let pieces: Vec<_> = image
        .tokenizer()
        .map(|tokenizer| (0..tokenizer.vocab_len()).map(|id| tokenizer.piece(id)).collect())
        .unwrap_or_default();
    let pieces: Vec<Vec<u8>> = pieces.into_iter().flatten().map(<[u8]>::to_vec).collect();
    let prompt = image.prompt();
    let prompt: (Vec<u32>, Vec<u32>, bool) =
        (prompt.prefix().collect(), prompt.suffix().collect(), prompt.leading_space);
    (*image.config(), pieces, prompt, tensors)
}

/// One forward pass over a short canvas: a result or an error, never a crash.
fn forward(image: &ModelImage<'_>) -> Result<[Score; 2], ForwardError> {
    let config = *image.config();
    let sampling = Sampling { temperature: 0.5, seed: 3, step: 1, ..Sampling::GREEDY };
    let mut scores = [Score::default(); 2];
    let canvas = [config.vocab_size - 1, config.mask_id, config.eos_id, config.mask_id];
    with_engine(image, 4, |mut engine| {
        engine.score(&Pass::whole(&canvas, &[1, 3]), &sampling, &mut scores)
    })
    .expect("the image is quantized")?;
    Ok(scores)
}

/// A plain transformer in both formats, and a model with experts; every how many-th change to try.
fn images() -> [(&'static str, Aligned, usize); 3] {
    [
        ("q4", small_image(Format::Q4), 1),
        ("q8", small_image(Format::Q8), 1),
        ("experts", small_image_with_experts(Format::Q4), 7),
    ]
}

/// Bytes in front of the tokenizer: header, section table and CONFIG.
fn manifest_and_config(image: &[u8]) -> usize {
    crate::common::section_at(image, SectionKind::Tokenizer).0
}

/// All other values for header, section table, CONFIG and TENSORS; a few for every other byte.
fn changes(image: &[u8]) -> impl Iterator<Item = (usize, u8)> + use<> {
    let head = manifest_and_config(image);
    let (table, length) = crate::common::section_at(image, SectionKind::Tensors);
    let table = table..table + length;
    (0..image.len()).flat_map(move |at| {
        let all = at < head || table.contains(&at);
        let some = [1u8, 2, 4, 8, 16, 32, 64, 128, 255];
        (1..=255u8).filter(move |change| all || some.contains(change)).map(move |c| (at, c))
    })
}

#[test]
fn no_changed_byte_passes_the_digests() {
    for (name, mut image, step) in images() {
        ModelImage::parse(&image).unwrap();
        for (at, change) in changes(&image).step_by(step) {
            image[at] ^= change;
            let result = ModelImage::parse(&image);
            assert!(result.is_err(), "{name}: byte {at} changed by {change:#x}");
            image[at] ^= change;
        }
    }
}

#[test]
fn without_digests_every_changed_byte_is_refused_or_gives_a_model_that_runs() {
    for (name, mut image, step) in images() {
        let original = image.clone();
        let before = meaning(&ModelImage::parse(&original).unwrap());
        let outside_sections = crate::common::section_at(&image, SectionKind::Config).0;
        let (mut refused, mut same, mut ran, mut not_finite) = (0, 0, 0, 0);
        for (at, change) in changes(&image).step_by(step) {
            image[at] ^= change;
            match ModelImage::parse_unverified(&image) {
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
                Ok(parsed) if at < outside_sections => {
                    // Digests, minor version, security counter. Few need comparing in full.
                    if change.is_power_of_two() {
                        assert_eq!(meaning(&parsed), before, "byte {at}");
                    }
                    same += 1;
                }
                Ok(parsed) => match forward(&parsed) {
                    Ok(_) => ran += 1,
                    Err(ForwardError::NotFinite { .. }) => not_finite += 1,
                    Err(error) => panic!("byte {at}: {error}"),
                },
            }
            image[at] ^= change;
        }
        println!("{name}: {refused} refused, {same} the same, {ran} ran, {not_finite} not finite");
        assert!(refused > 50_000 && same > 5_000 && ran > 10_000 && not_finite > 10);
    }
}

#[test]
fn every_truncation_is_named() {
    let image = small_image(Format::Q4);
    let needed = image.len() as u64;
    for length in 0..image.len() {
        let cut = Aligned::copy_of(&image[..length]);
        let needed = if length < 64 { 64 } else { needed };
        let error = ImageError::Truncated { needed };
        assert_eq!(ModelImage::parse(&cut).unwrap_err(), error, "{length}");
        assert_eq!(ModelImage::parse_unverified(&cut).unwrap_err(), error, "{length}");
    }
}

#[test]
fn resealed_changes_are_found_without_the_help_of_digests() {
    let mut image = small_image(Format::Q8);
    let original = image.clone();
    let mut accepted = 0;
    for (at, change) in changes(&original).step_by(7) {
        image.copy_from_slice(&original);
        image[at] ^= change;
        reseal(&mut image);
        if let Ok(parsed) = ModelImage::parse(&image) {
            accepted += 1;
            let _ = forward(&parsed);
        }
    }
    println!("{accepted} accepted");
    assert!(accepted > 1000);
}

#[test]
fn an_image_of_every_format_parses_and_the_engine_takes_the_quantized_ones() {
    let formats = [Format::F32, Format::F16, Format::Q8, Format::Q4, Format::Q5];
    for (layers, embedding) in formats.into_iter().flat_map(|a| formats.map(|b| (a, b))) {
        let quantization = Quantization { embedding, ..Quantization::uniform(layers) };
        let image = image_with(&sections_of_every_kind(), quantization, 5);
        let image = ModelImage::parse(&image).unwrap();
        assert_eq!(*image.config(), SMALLEST);
        assert_eq!(image.header().security_counter, 7);
        let packed = |format: Format| format.packed().is_some();
        let built = with_engine(&image, 4, |_| ());
        assert_eq!(built.is_ok(), packed(layers) && packed(embedding), "{quantization:?}");
    }
}
