//! An image packed for other processors is the image that would have been written for them, and
//! gives the same answers.

use crate::common::{Aligned, SMALLEST, image_with, sections, sections_of_every_kind};
use demask::Pass;
use demask::decode::{Needs, Sampling, Score};
use demask::image::{ImageError, ModelConfig, ModelImage};
use demask::packed::{Format, Layout};
use demask::{Engine, Limits, Model, Plan, Scalar, Serial};
use demask_quant::{ImageBuffer, ImageWeights, Quantization, pack_image, repack};

/// Sizes that are multiples of nothing, in both formats.
fn written(layout: Layout) -> Aligned {
    let config = ModelConfig {
        vocab_size: 77,
        model_dim: 45,
        layers: 2,
        heads: 3,
        kv_heads: 1,
        head_dim: 6,
        ffn_dim: 70,
        ..SMALLEST
    };
    let quantization =
        Quantization { embedding: Format::Q8, layout, ..Quantization::uniform(Format::Q4) };
    image_with(&sections(config), quantization, 11)
}

#[test]
fn repacked_is_written_that_way() {
    for from in Layout::ALL {
        for to in Layout::ALL {
            let mut image = ImageBuffer::copy_of(&written(from)).unwrap();
            repack(image.bytes_mut(), to).unwrap();
            assert_eq!(image.bytes(), &written(to)[..], "{from:?} {to:?}");
        }
    }
}

#[test]
fn every_section_keeps_its_place_and_digest() {
    let quantization = Quantization::uniform(Format::Q8);
    let original = image_with(&sections_of_every_kind(), quantization, 2);
    let mut image = ImageBuffer::copy_of(&original).unwrap();
    repack(image.bytes_mut(), Layout::Words).unwrap();
    let repacked = ModelImage::parse(image.bytes()).unwrap();
    assert_eq!(repacked.layout(), Layout::Words);
    repack(image.bytes_mut(), Layout::Rows16).unwrap();
    assert_eq!(image.bytes(), &original[..]);
}

#[test]
fn damage_is_not_sealed() {
    let mut image = ImageBuffer::copy_of(&written(Layout::Rows16)).unwrap();
    let last = image.bytes().len() - 1;
    image.bytes_mut()[last] ^= 1;
    let before = image.bytes().to_vec();
    assert!(matches!(repack(image.bytes_mut(), Layout::Dsp), Err(ImageError::Digest { .. })));
    assert_eq!(image.bytes(), before);
    assert!(matches!(repack(&mut [0; 100], Layout::Dsp), Err(ImageError::NotAnImage)));
}

#[test]
fn an_image_is_a_source_of_the_same_weights() {
    for (from, to) in Layout::ALL.into_iter().flat_map(|a| Layout::ALL.map(|b| (a, b))) {
        let (image, expected) = (written(from), written(to));
        let (image, expected) =
            (ModelImage::parse(&image).unwrap(), ModelImage::parse(&expected).unwrap());
        let (sections, keep) = (sections(*image.config()), Quantization::keep(to));
        let packed = pack_image(&sections, keep, &ImageWeights(image), 2, &|_, _| ()).unwrap();
        let packed = ModelImage::parse_unverified(packed.bytes()).unwrap();
        for (a, b) in packed.tensors().zip(expected.tensors()) {
            assert_eq!((a.role, a.format, a.layout), (b.role, b.format, b.layout));
            assert!(a.bytes == b.bytes, "{from:?} {to:?} {:?}", a.role);
        }
    }
}

fn scores(image: &[u8]) -> Vec<Score> {
    let image = ModelImage::parse(image).unwrap();
    let limits =
        Limits { canvas: 13, tile: 5, layout: image.layout(), workers: 1, needs: Needs::NONE };
    let plan = Plan::new(image.config(), &limits).unwrap();
    let mut memory = Aligned::zeroed(plan.bytes());
    let (memory, _) = plan.carve(&mut memory).unwrap();
    let mut engine = Engine::new(&image, memory, Scalar, Serial).unwrap();
    let canvas: Vec<u32> = (0..13).map(|i| if i % 2 == 0 { 1 } else { i * 5 }).collect();
    let wanted = [0, 2, 4, 6, 8, 10, 12];
    let mut scores = vec![Score::default(); wanted.len()];
    let sampling = Sampling { temperature: 0.5, seed: 4, step: 1, ..Sampling::GREEDY };
    engine.score(&Pass::whole(&canvas, &wanted), &sampling, &mut scores).unwrap();
    scores
}

#[test]
fn every_layout_gives_the_same_scores() {
    let expected = scores(&written(Layout::Rows16));
    for layout in Layout::ALL {
        assert_eq!(scores(&written(layout)), expected, "{layout:?}");
    }
}
