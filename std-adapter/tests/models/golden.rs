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

/// Share of masked positions with the same most probable token, and the mean KL divergence there.
fn agreement(model: &LoadedModel, name: &str) -> (f64, f64) {
    let vocab = model.config().vocab_size as usize;
    let (mut same, mut divergence, mut n) = (0.0, 0.0, 0.0);
    for case in cases(name) {
        let logits = logits_of(model, &case.ids);
        let rows = logits.chunks(vocab).zip(case.logits.chunks(vocab));
        for ((got, exact), _) in rows.zip(&case.ids).filter(|(_, id)| **id == MASK) {
            same += f64::from(u8::from(argmax(got) == argmax(exact)));
            let (p, q) = (log_softmax(exact), log_softmax(got));
            divergence += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            n += 1.0;
        }
    }
    (same / n, divergence / n)
}

#[test]
fn float_reference_matches_pytorch() {
    for name in ["intents", "lists"] {
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
    assert!(same >= 0.98 && kl < 0.001, "{same} {kl}");
}

#[test]
fn four_bits_agree_with_pytorch() {
    let format = Quantization { embedding: Format::Q8, ..Quantization::uniform(Format::Q4) };
    let (same, kl) = agreement(&quantized(format, "golden-q4.dmk"), "intents");
    println!("q4: {:.2} % agree, KL {kl:.5}", 100.0 * same);
    assert!(same >= 0.95 && kl < 0.02, "{same} {kl}");
}

/// The images are calibrated: their bytes depend on the platform's `exp`, so they are judged by what they compute.
#[test]
fn the_images_agree_with_pytorch() {
    // Where several answers are right, or the prompt is masked, two tokens may be about as probable.
    for (name, least_same, most_kl) in [("lists", 0.97, 0.003), ("intents", 0.96, 0.005)] {
        let image = LoadedModel::open(&models().join(format!("{name}-q4.dmk")), true).unwrap();
        let (same, kl) = agreement(&image, name);
        println!("{name}: {:.2} % agree, KL {kl:.5}", 100.0 * same);
        assert!(same >= least_same && kl < most_kl, "{name}: {same} {kl}");
    }
}
