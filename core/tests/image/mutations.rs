//! A quarter of a million broken images: random damage of every kind, from a fixed seed.
//!
//! A fuzzer does the same with more patience and with coverage: see `core/fuzz`.

use crate::common::{Aligned, Random, reseal, section_at, small_image, with_engine};
use demask::Model;
use demask::Pass;
use demask::decode::{Sampling, Score};
use demask::image::{ModelImage, SectionKind};
use demask::packed::Format;
use demask::text::{Specials, Utf8Stream};

/// Numbers that arithmetic goes wrong at.
const EDGES: [u64; 12] = [
    0,
    1,
    63,
    64,
    255,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffc0,
    0xffff_ffff_ffff_ffff,
    0x7fc0_0000_7f80_0000,
];

/// Where damage should land: half of it in the parts that say where things are.
fn place(random: &mut Random, image: &[u8], words: &[usize]) -> usize {
    match random.below(2) {
        0 => words[random.below(words.len())],
        _ => random.below(image.len()),
    }
}

/// One change of a random kind.
fn damage(random: &mut Random, image: &mut [u8], words: &[usize]) {
    let at = place(random, image, words);
    let room = image.len() - at;
    match random.below(6) {
        0 => image[at] ^= 1 << random.below(8),
        1 => image[at] = random.next() as u8,
        2 => {
            let n = room.min([4, 8][random.below(2)]);
            let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
            image[at..at + n].copy_from_slice(&edge[..n]);
        }
        3 => {
            // One more or less.
            let change = [1u8, 255][random.below(2)];
            image[at] = image[at].wrapping_add(change);
        }
        4 => {
            let (from, n) = (random.below(image.len()), 1 + random.below(64));
            let n = n.min(room).min(image.len() - from);
            image.copy_within(from..from + n, at);
        }
        _ => {
            let n = room.min(1 + random.below(32));
            image[at..at + n].fill([0, 255][random.below(2)]);
        }
    }
}

/// Uses everything a parsed image offers; returns whether a forward pass gave a result.
fn exercise(image: &ModelImage<'_>) -> bool {
    for tensor in image.tensors() {
        let _ = (tensor.packed().map(|m| m.values_are_valid()), tensor.as_f32());
    }
    let _ = (image.prompt().prefix().count(), image.prompt().suffix().count());
    if let Some(tokenizer) = image.tokenizer() {
        let mut ids = [0; 24];
        if let Ok(count) = tokenizer.encode_with_specials("abc<end> bab", &mut ids) {
            let mut stream = Utf8Stream::new();
            tokenizer.decode(&ids[..count], Specials::Render, &mut stream, |_| {}).unwrap();
        }
    }
    let config = *image.config();
    let canvas = [config.mask_id, config.eos_id, config.vocab_size - 1, config.mask_id];
    let mut scores = [Score::default(); 2];
    with_engine(image, 4, |mut engine| {
        engine.score(&Pass::whole(&canvas, &[0, 3]), &Sampling::GREEDY, &mut scores).is_ok()
    })
    .unwrap_or(false)
}

#[test]
fn a_quarter_of_a_million_damaged_images() {
    const EACH: usize = 125_000;
    let mut random = Random(20_260);
    let (mut unverified, mut verified, mut ran) = (0, 0, 0);
    for format in [Format::Q4, Format::Q8] {
        let original = small_image(format);
        let (tensors, _) = section_at(&original, SectionKind::Tensors);
        let weights = section_at(&original, SectionKind::Weights).0;
        let tokenizer = section_at(&original, SectionKind::Tokenizer).0;
        let words: Vec<usize> = (8..tokenizer + 64).chain(tensors..weights).step_by(4).collect();
        let mut image = original.clone();
        for case in 0..EACH {
            image.copy_from_slice(&original);
            for _ in 0..1 + random.below(3) {
                damage(&mut random, &mut image, &words);
            }
            // Most damage is found by digests: make them right again now and then.
            let resealed = case % 3 == 0;
            if resealed {
                reseal(&mut image);
            }
            if let Ok(parsed) = ModelImage::parse_unverified(&image) {
                unverified += 1;
                ran += usize::from(exercise(&parsed));
                if let Ok(parsed) = ModelImage::parse(&image) {
                    verified += 1;
                    assert!(resealed || parsed.as_bytes() == &original[..]);
                }
            }
        }
    }
    println!("{} parsed: {unverified} accepted, {verified} with digests, {ran} ran", 2 * EACH);
    assert!(unverified > 20_000 && verified > 5_000 && ran > 20_000);
}

#[test]
fn random_bytes_are_no_image() {
    let mut random = Random(3);
    for _ in 0..20_000 {
        let mut bytes = Aligned::zeroed(random.below(2000));
        bytes.iter_mut().for_each(|byte| *byte = random.next() as u8);
        // Past the magic number, now and then.
        if bytes.len() > 64 {
            bytes[..16].copy_from_slice(b"\x89DMK\r\n\x1a\n\x01\0\0\0\0\0\0\0");
            let length = bytes.len() as u64;
            bytes[16..24].copy_from_slice(&length.to_le_bytes());
        }
        assert!(ModelImage::parse_unverified(&bytes).is_err());
    }
}
