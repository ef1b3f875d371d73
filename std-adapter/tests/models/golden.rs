//! The bundled models' sources against logits from PyTorch: the float reference exactly, the packed
//! engine by agreement and divergence.

use demask::decode::Needs;
use demask::packed::Format;
use demask_quant::{Quantization, Sections, write_image};
use demask_std::detect::Choice;
use demask_std::load::LoadedModel;
use demask_std::runtime::{Memory, Runtime, Settings};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

const MASK: u32 = 1;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

/// A canvas and its logits, `[ids, vocabulary]`.
struct Case {
    ids: Vec<u32>,
    logits: Vec<f32>,
}

fn cases(name: &str) -> Vec<Case> {
    let bytes = std::fs::read(models().join(name).join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: String| -> Vec<[u8; 4]> {
        let (words, rest) = file.tensor(&name).unwrap().data().as_chunks::<4>();
        assert!(rest.is_empty());
        words.to_vec()
    };
    (0..6)
        .map(|i| Case {
            ids: words(format!("case{i}.ids")).into_iter().map(u32::from_le_bytes).collect(),
            logits: words(format!("case{i}.logits")).into_iter().map(f32::from_le_bytes).collect(),
        })
        .collect()
}

fn logits_of(model: &LoadedModel, ids: &[u32]) -> Vec<f32> {
    let runtime = Runtime::new(model).unwrap();
    let mut memory = Memory::default();
    let settings =
        Settings { canvas: ids.len(), threads: 2, kernels: Choice::Auto, needs: Needs::NONE };
    runtime.network(&settings, &mut memory).unwrap().logits(ids).unwrap()
}

/// Writes an image of `intents` and opens it.
fn quantized(format: Quantization, name: &str) -> LoadedModel {
    let source = LoadedModel::open(&models().join("intents"), true).unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let sections = Sections {
        config: *source.config(),
        tokenizer: source.tokenizer_section().map(<[u8]>::to_vec),
        prompt: Some(source.prompt().clone()),
        filter: None,
        security_counter: 0,
    };
    let mut file = std::fs::File::create(&path).unwrap();
    write_image(&sections, format, &source.weights(), &mut file, 2, &mut |_| {}).unwrap();
    LoadedModel::open(&path, true).unwrap()
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    logits.iter().map(|l| f64::from(l - max) - sum.ln()).collect()
}

fn argmax(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

/// By how much the most probable token leads.
fn lead(logits: &[f32]) -> f32 {
    let best = argmax(logits);
    let others = logits.iter().enumerate().filter(|(i, _)| *i != best);
    logits[best] - others.fold(f32::MIN, |most, (_, l)| most.max(*l))
}

/// A lead below this is a tie: where several answers are right, or the prompt is masked as well.
const TIE: f32 = 0.25;

/// Share of masked positions with the same most probable token, but for ties, and the mean KL divergence at all
/// of them.
fn agreement(model: &LoadedModel, name: &str) -> (f64, f64) {
    let vocab = model.config().vocab_size as usize;
    let (mut same, mut decided, mut divergence, mut n) = (0.0, 0.0, 0.0, 0.0);
    for case in cases(name) {
        let logits = logits_of(model, &case.ids);
        let rows = logits.chunks(vocab).zip(case.logits.chunks(vocab));
        for ((got, exact), _) in rows.zip(&case.ids).filter(|(_, id)| **id == MASK) {
            if lead(exact) >= TIE {
                same += f64::from(u8::from(argmax(got) == argmax(exact)));
                decided += 1.0;
            }
            let (p, q) = (log_softmax(exact), log_softmax(got));
            divergence += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            n += 1.0;
        }
    }
    println!("{name}: {n} masked positions, {} of them ties", n - decided);
    (same / decided, divergence / n)
}

#[test]
fn float_reference_matches_pytorch() {
    for name in ["intents", "lists", "bard", "bard-twin"] {
        let model = LoadedModel::open(&models().join(name), true).unwrap();
        let mut worst = 0.0f32;
        for case in cases(name) {
            let logits = logits_of(&model, &case.ids);
            assert_eq!(logits.len(), case.logits.len());
            let difference = logits.iter().zip(&case.logits).map(|(a, b)| (a - b).abs());
            worst = difference.fold(worst, f32::max);
        }
        println!("{name}: largest difference {worst}");
        assert!(worst <= 2e-4, "{name}: {worst}");
    }
}

#[test]
fn eight_bits_agree_with_pytorch() {
    let (same, kl) =
        agreement(&quantized(Quantization::uniform(Format::Q8), "golden-q8.dmk"), "intents");
    println!("q8: {:.2} % agree, KL {kl:.5}", 100.0 * same);
    assert!(same >= 0.999 && kl < 0.0005, "{same} {kl}");
}

#[test]
fn four_bits_agree_with_pytorch() {
    let format = Quantization { embedding: Format::Q8, ..Quantization::uniform(Format::Q4) };
    let (same, kl) = agreement(&quantized(format, "golden-q4.dmk"), "intents");
    println!("q4: {:.2} % agree, KL {kl:.5}", 100.0 * same);
    assert!(same >= 0.99 && kl < 0.02, "{same} {kl}");
}

/// The images are calibrated: their bytes depend on the platform's `exp`, so they are judged by what they compute.
#[test]
fn the_images_agree_with_pytorch() {
    for (name, most_kl) in
        [("lists", 0.003), ("intents", 0.005), ("bard", 0.008), ("bard-twin", 0.006)]
    {
        let image = LoadedModel::open(&models().join(format!("{name}-q4.dmk")), true).unwrap();
        let (same, kl) = agreement(&image, name);
        println!("{name}: {:.2} % agree, KL {kl:.5}", 100.0 * same);
        assert!(same >= 0.99 && kl < most_kl, "{name}: {same} {kl}");
    }
}
