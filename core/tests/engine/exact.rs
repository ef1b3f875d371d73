//! The engine gives the bits of the numerics contract, for models of any shape and features.

use crate::common::{
    Random, SMALLEST, WIDE_EXPERTS, image_with, random_config, sections, with_q4k,
};
use crate::engines::{Reverse, all_scores, bits, canvas, masks, score_bits, with_engine};
use demask::decode::{LogitRow, Sampling};
use demask::image::{Attention, ModelConfig, ModelImage, RopePairs, TensorRole};
use demask::packed::{Format, Layout};
use demask::{Engine, Executor, Scalar, Serial};
use demask_quant::Quantization;

/// Shapes in which nothing is a multiple of anything, and ones in which everything is.
fn shapes() -> Vec<(ModelConfig, Quantization)> {
    let q = |layers, embedding| Quantization { embedding, ..Quantization::uniform(layers) };
    let both =
        |vocab_size, model_dim, ffn_dim| ModelConfig { vocab_size, model_dim, ffn_dim, ..SMALLEST };
    let heads = |heads, kv_heads, head_dim| ModelConfig { heads, kv_heads, head_dim, ..SMALLEST };
    vec![
        (SMALLEST, q(Format::Q8, Format::Q8)),
        (both(64, 32, 64), q(Format::Q4, Format::Q8)),
        (both(65, 33, 31), q(Format::Q4, Format::Q4)),
        (both(65, 33, 31), q(Format::Q5, Format::Q5)),
        (both(130, 70, 100), q(Format::Q5, Format::Q8)),
        (both(130, 70, 100), q(Format::Q8, Format::Q4)),
        (ModelConfig { layers: 3, ..both(257, 40, 17) }, q(Format::Q4, Format::Q4)),
        (
            ModelConfig { tied_head: false, layers: 2, ..both(79, 64, 96) },
            q(Format::Q4, Format::Q8),
        ),
        (ModelConfig { layers: 2, ..heads(4, 1, 8) }, q(Format::Q8, Format::Q8)),
        (ModelConfig { layers: 2, ..heads(6, 2, 10) }, q(Format::Q4, Format::Q8)),
        (
            ModelConfig { rope_pairs: RopePairs::Adjacent, layers: 2, ..heads(3, 3, 6) },
            q(Format::Q8, Format::Q8),
        ),
        (
            ModelConfig { rope_pairs: RopePairs::Adjacent, tied_head: false, ..heads(2, 1, 34) },
            q(Format::Q4, Format::Q4),
        ),
    ]
}

#[test]
fn logits_and_scores_are_those_of_the_contract() {
    let mut random = Random(1);
    for (seed, (config, quantization)) in (0..).zip(shapes()) {
        let bytes = image_with(&sections(config), quantization, seed);
        let image = ModelImage::parse(&bytes).unwrap();
        for length in [1, 2, 7, 13] {
            compare_with_the_contract(&image, length, &mut random);
        }
    }
}

/// The engine's logits and scores of a random canvas are the naive ones.
fn compare_with_the_contract(image: &ModelImage<'_>, length: usize, random: &mut Random) {
    let config = *image.config();
    let vocab = config.vocab_size as usize;
    let canvas = canvas(random, &config, length);
    let expected = crate::naive::logits(image, &canvas);
    let mut logits = vec![0.0; length * vocab];
    let every: Vec<u16> = (0..length as u16).collect();
    let wanted = masks(&config, &canvas);
    with_engine(image, Serial, (length, 4), |engine| {
        engine.logits(&canvas, &mut logits).unwrap();
        for (row, expected) in logits.chunks(vocab).zip(&expected) {
            assert_eq!(bits(row), bits(expected), "{config:?}");
        }
        // Scores of all rows, and of masks only, from the same logits.
        for wanted in [&every, &wanted] {
            let sampling = Sampling { temperature: 0.8, seed: 5, step: 3, ..Sampling::GREEDY };
            let score = |&position: &u16| {
                let logits = &expected[usize::from(position)];
                let row = LogitRow::new(position.into(), logits, config.mask_id);
                let row = LogitRow { current: canvas[usize::from(position)], ..row };
                row.score(&sampling).unwrap()
            };
            let expected: Vec<_> = wanted.iter().map(score).collect();
            let expected: Vec<_> = expected.iter().map(score_bits).collect();
            assert_eq!(all_scores(engine, &canvas, wanted), expected);
        }
    });
}

/// A tensor's format does not depend on its neighbours': what shares its rows may have another one,
/// for which they are quantized again.
#[test]
fn formats_may_be_mixed() {
    let mut random = Random(3);
    let config = ModelConfig {
        vocab_size: 77,
        model_dim: 256,
        layers: 2,
        heads: 8,
        kv_heads: 2,
        head_dim: 32,
        ffn_dim: 512,
        ..SMALLEST
    };
    let q = Quantization { embedding: Format::Q4, ..Quantization::uniform(Format::Q8) };
    let other_bytes = image_with(&sections(config), q, 5);
    use TensorRole as T;
    let choices: [fn(T) -> bool; 6] = [
        |role| !role.stays_f32(),
        |role| matches!(role, T::Query(_) | T::Gate(_) | T::AttentionOutput(1)),
        |role| matches!(role, T::Key(_) | T::Up(_)),
        |role| matches!(role, T::Value(_) | T::Down(_)),
        |role| matches!(role, T::Query(0) | T::Key(0) | T::Up(0) | T::Embedding),
        |role| role == T::Embedding,
    ];
    for (seed, choice) in (0..).zip(choices) {
        let bytes = with_q4k(&other_bytes, Layout::Rows16, seed, choice);
        let image = ModelImage::parse(&bytes).unwrap();
        assert!(image.holds(Format::Q4K));
        for length in [1, 6] {
            compare_with_the_contract(&image, length, &mut random);
        }
    }
}

/// Every feature of every family in any combination.
#[test]
fn the_bits_of_the_contract_for_any_set_of_features() {
    let mut random = Random(7);
    for case in 0..if cfg!(miri) { 3 } else { 150 } {
        let attention = match random.below(3) {
            0 => Attention::Bidirectional,
            1 => Attention::CAUSAL,
            _ => Attention::BlockCausal(2 + random.below(4) as u32),
        };
        let config = random_config(&mut random, attention);
        let format = |random: &mut Random| [Format::Q4, Format::Q8][random.below(2)];
        let (layers, embedding) = (format(&mut random), format(&mut random));
        let quantization = Quantization { embedding, ..Quantization::uniform(layers) };
        let bytes = image_with(&sections(config), quantization, case);
        let image = ModelImage::parse(&bytes).unwrap();
        let length = 1 + random.below(12);
        let ids = config.vocab_size as usize;
        let canvas: Vec<u32> = (0..length).map(|_| random.below(ids) as u32).collect();
        let expected = bits(&crate::naive::logits(&image, &canvas).concat());
        let (tile, workers) = (1 + random.below(9), 1 + random.below(4));
        fn logits<E: Executor>(engine: &mut Engine<'_, Scalar, E>, canvas: &[u32]) -> Vec<u32> {
            let mut logits = vec![0.0; canvas.len() * engine.config().vocab_size as usize];
            engine.logits(canvas, &mut logits).unwrap();
            bits(&logits)
        }
        let room = length + random.below(5);
        let got = with_engine(&image, Reverse(workers), (room, tile), |e| logits(e, &canvas));
        assert!(got == expected, "{case}: tile {tile}, {workers} workers, {config:?}");
        let got = with_engine(&image, Serial, (room, length), |e| logits(e, &canvas));
        assert!(got == expected, "{case}: one tile, {config:?}");

        // From the row that sees the first change on, with the rest from the pass before.
        let (mut before, changed) = (canvas.clone(), random.below(length));
        before[changed..].fill_with(|| random.below(ids) as u32);
        let first = attention.seen_from(changed);
        let got = with_engine(&image, Reverse(workers), (room, tile), |e| {
            logits(e, &before);
            let mut logits = vec![0.0; (length - first) * ids];
            // What stands before is not read again.
            let mut canvas = canvas.clone();
            canvas[..first].fill(u32::MAX);
            e.logits_from(&canvas, first, &mut logits).unwrap();
            bits(&logits)
        });
        assert!(got == expected[first * ids..], "{case}: from row {first}, {config:?}");
    }
}

/// Experts are slices of a stack of rows, also where scales have scales.
#[test]
fn experts_in_q4k() {
    let bytes = image_with(&sections(WIDE_EXPERTS), Quantization::uniform(Format::Q8), 5);
    let bytes = with_q4k(&bytes, Layout::Rows16, 6, |role| {
        !role.stays_f32() && role.shape(&WIDE_EXPERTS).1.is_multiple_of(256)
    });
    let image = ModelImage::parse(&bytes).unwrap();
    let canvas = [2, 1, 7, 1, 9, 4];
    let expected = bits(&crate::naive::logits(&image, &canvas).concat());
    for tile in [1, 4, 6] {
        let mut logits = vec![0.0; canvas.len() * WIDE_EXPERTS.vocab_size as usize];
        with_engine(&image, Reverse(2), (8, tile), |e| e.logits(&canvas, &mut logits).unwrap());
        assert!(bits(&logits) == expected, "tile {tile}");
    }
}
