//! Scores of numbers that are none, and of extreme ones.

use demask::decode::{Sampling, Score};

const SAMPLED: Sampling = Sampling { temperature: 0.7, seed: 1, step: 2, ..Sampling::GREEDY };

#[test]
fn every_nan_is_an_error_whatever_its_payload() {
    // Payloads in the low bits, too: a NaN must not come out of an exponential as a number.
    for payload in [0u32, 1, 2, 0x40, 0x80, 0xff, 0x100, 0x1ff, 0x200, 0x1fff, 0x3f_ffff] {
        for sign in [0, 1 << 31] {
            for kind in [0x7fc0_0000, 0x7f80_0000] {
                let nan = f32::from_bits(sign | kind | payload);
                if !nan.is_nan() {
                    continue;
                }
                for (at, length) in [(0, 3), (2, 3), (64, 65), (70, 200), (5, 64)] {
                    let mut logits = vec![1.0; length];
                    logits[at] = nan;
                    for sampling in [&Sampling::GREEDY, &SAMPLED] {
                        let score = Score::from_logits(0, &logits, 1, sampling);
                        assert!(score.is_err(), "{:#x} at {at} of {length}", nan.to_bits());
                    }
                }
            }
        }
    }
}

#[test]
fn infinity_is_an_error_and_the_mask_may_be_anything() {
    for at in [0, 2, 64] {
        let mut logits = vec![1.0; 70];
        logits[at] = f32::INFINITY;
        assert!(Score::from_logits(0, &logits, 1, &Sampling::GREEDY).is_err());
    }
    let plain = Score::from_logits(0, &[1.0, 0.0, 2.0], 1, &SAMPLED);
    for mask in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        assert_eq!(Score::from_logits(0, &[1.0, mask, 2.0], 1, &SAMPLED), plain);
    }
}

#[test]
fn extreme_logits_have_scores() {
    for size in [f32::MIN_POSITIVE, 1e-10, 1.0, 1e4, 1e10, 1e30, f32::MAX] {
        for length in [2, 3, 64, 65, 300] {
            let logits: Vec<f32> =
                (0..length).map(|i| if i % 2 == 0 { size } else { -size }).collect();
            for sampling in [&Sampling::GREEDY, &SAMPLED] {
                let score = Score::from_logits(9, &logits, 999, sampling).unwrap();
                assert_eq!((score.position, score.top), (9, 0));
                let confidence = score.confidence();
                assert!((0.0..=1.0).contains(&confidence), "{size} {length}: {confidence}");
                assert!(score.entropy >= 0.0 && score.entropy <= (length as f32).ln() + 1e-4);
            }
        }
    }
    // Everything but the mask is missing.
    assert!(Score::from_logits(0, &[], 1, &Sampling::GREEDY).is_err());
    assert!(Score::from_logits(0, &[5.0], 0, &Sampling::GREEDY).is_err());
}

#[test]
fn the_coldest_draw_is_the_largest_logit() {
    let logits = [1.0, 7.0, 3.0, 2.0, 6.5];
    for temperature in [1e-3, 1e-6, 1e-20, 1e-37, f32::MIN_POSITIVE, 1e-42, 1e-45] {
        for step in 0..20 {
            let sampling = Sampling { temperature, seed: 5, step, ..Sampling::GREEDY };
            let score = Score::from_logits(0, &logits, 99, &sampling).unwrap();
            assert_eq!(score.proposal, 1, "at temperature {temperature:e}");
        }
    }
}
