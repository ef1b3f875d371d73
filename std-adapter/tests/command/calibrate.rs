//! Calibrated rounding, from canvases to images.

use crate::noise::{CONFIG, Noise};
use demask::cache::NoCache;
use demask::decode::{Even, FillAll, Needs, TopQ};
use demask::image::{Attention, Features, ModelConfig, Norm, TensorRole};
use demask::packed::{Format, GROUP, GroupScale};
use demask::{Options, Progress, Session, SessionMemory, StepEvent, Trace};
use demask_quant::calibrated::{QuantizedTensor, Rounded};
use demask_quant::{Rotated, WeightSource};
use demask_std::calibrate::{
    Formats, Layered, Masks, Method, Outcome, Partial, RowWeights, Settings, Setup, Shown,
    Streamed, Text,
};
use demask_std::detect::Choice;
use demask_std::load::LoadedModel;
use demask_std::reference::ReferenceModel;
use demask_std::runtime::{Memory, Runtime, Settings as RunSettings};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

fn texts() -> Vec<Text> {
    let ids = |seed: u32, count: u32| (0..count).map(|i| 2 + (seed * 7 + i * i) % 38).collect();
    (0..20).map(|t| Text { prompt: ids(t, 3 + t % 4), answer: ids(t + 100, 12 + t % 5) }).collect()
}

fn settings(masks: Masks) -> Settings {
    Settings { canvases: 40, masks, snapshots: 0.25, seed: 3 }
}

fn shown(setup: &Setup<'_>) -> Shown {
    let canvases = setup.canvases(&texts(), &settings(Masks::Stratified)).unwrap();
    setup.show(canvases, &RowWeights::default()).unwrap()
}

fn formats() -> Formats {
    let chosen = BTreeMap::from([(TensorRole::Down(1), Format::Q8)]);
    Formats { layers: Format::Q4, embedding: Format::Q4, chosen }
}

fn rounded<'s>(
    setup: &Setup<'s>,
    shown: &'s Shown,
    formats: &'s Formats,
    method: Method,
    partial: Option<Partial>,
) -> (Layered<'s>, Vec<Outcome>) {
    let mut layered = setup.layered(shown, formats, method, partial);
    let outcomes = layered.run(&shown.rows.head, &mut |_| {}).unwrap();
    (layered, outcomes)
}

/// What has been rounded, wherever it is kept.
fn tensors(layered: &Layered<'_>) -> BTreeMap<TensorRole, QuantizedTensor> {
    let rounded = &layered.weights.rounded;
    let all = TensorRole::all(&CONFIG).filter_map(|role| {
        let (format, cols) = rounded.shape(role)?;
        let (rows, _) = role.shape(&CONFIG);
        let mut groups = vec![([0; GROUP], GroupScale::zero(format)); rows * cols.div_ceil(GROUP)];
        rounded.read_groups(role, 0, &mut groups).unwrap();
        let beyond = rounded.read_groups(role, 1, &mut groups.clone()).unwrap_err().to_string();
        assert!(beyond.contains("no such rows"), "{beyond}");
        Some((role, QuantizedTensor { format, cols, groups }))
    });
    all.collect()
}

#[test]
fn canvases_have_every_mask_ratio_and_no_other_masks() {
    let setup = Setup::new(CONFIG, &Noise(CONFIG), 2);
    let canvases = setup.canvases(&texts(), &settings(Masks::Stratified)).unwrap();
    let mut ratios = Vec::new();
    for canvas in &canvases {
        let masks: Vec<usize> = (0..canvas.ids.len()).filter(|&p| canvas.ids[p] == 1).collect();
        assert_eq!(masks, canvas.outputs);
        assert!(!masks.is_empty() && masks.iter().all(|p| canvas.answer.contains(p)));
        ratios.push(canvas.mask_ratio(1));
    }
    ratios.sort_by(f64::total_cmp);
    for (j, ratio) in ratios.iter().enumerate() {
        let expected = (j as f64 + 0.5) / 40.0;
        // Whole tokens of answers of at least 12, and decodes that take several tokens per step.
        assert!((ratio - expected).abs() < 0.13, "{j}: {ratio}");
    }
    let again = Setup::new(CONFIG, &Noise(CONFIG), 1);
    assert_eq!(canvases, again.canvases(&texts(), &settings(Masks::Stratified)).unwrap());
    for canvas in setup.canvases(&texts(), &settings(Masks::None)).unwrap() {
        assert!(!canvas.ids.contains(&1));
        assert_eq!(canvas.outputs, canvas.answer.collect::<Vec<_>>());
    }
}

#[test]
fn a_block_causal_model_decodes_its_way_to_every_mask_ratio() {
    let features = Features { attention: Attention::BlockCausal(8), ..Features::PLAIN };
    let config = ModelConfig { features, ..CONFIG };
    let weights = Noise(config);
    let setup = Setup::new(config, &weights, 2);
    let settings = Settings { snapshots: 1.0, ..settings(Masks::Stratified) };
    let canvases = setup.canvases(&texts(), &settings).unwrap();
    let mut ratios: Vec<f64> = canvases.iter().map(|canvas| canvas.mask_ratio(1)).collect();
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[0] < 0.15 && ratios[39] > 0.85, "{ratios:?}");
    for canvas in &canvases {
        // Blocks are filled from left to right: behind one with masks, all is masked.
        let first = canvas.outputs[0] / 8 * 8 + 8;
        assert!((first..canvas.ids.len()).all(|p| canvas.ids[p] == 1), "{canvas:?}");
    }
}

/// Every canvas of a decode.
struct Stations(Vec<Vec<u32>>);

impl Trace for Stations {
    fn step(&mut self, event: &StepEvent<'_>) {
        self.0.push(event.canvas.to_vec());
    }
}

#[test]
fn snapshots_are_what_the_whole_model_decodes_its_way_through() {
    for (attention, blocks) in
        [(Attention::Bidirectional, None), (Attention::BlockCausal(8), Some(8))]
    {
        let config = ModelConfig { features: Features { attention, ..Features::PLAIN }, ..CONFIG };
        let settings = Settings { snapshots: 1.0, ..settings(Masks::Stratified) };
        let canvases = Setup::new(config, &Noise(config), 2).canvases(&texts(), &settings).unwrap();
        let runtime = Runtime::Float(Box::new(reference(config, &Noise(config))));
        let settings =
            RunSettings { canvas: 48, threads: 1, kernels: Choice::default(), needs: Needs::NONE };
        for canvas in &canvases {
            let (length, prompt) = (canvas.answer.len(), &canvas.ids[..canvas.answer.start]);
            let mut memories = (Memory::default(), Memory::for_session(canvas.ids.len()).unwrap());
            let mut network = runtime.network(&settings, &mut memories.0).unwrap();
            let memory = SessionMemory::carve(memories.1.bytes(), canvas.ids.len()).unwrap();
            let method =
                demask::Method { policy: TopQ, schedule: Even, eos: FillAll, cache: NoCache };
            let mut session = Session::new(&mut *network, memory, method);
            let mut options = Options::one_block(length);
            options.steps = length.min(16);
            if let Some(block) = blocks {
                options.block_length = block;
                options.steps = (canvas.ids.len().div_ceil(block) - prompt.len() / block) * block;
            }
            session.begin(prompt, length, options).unwrap();
            let mut stations = Stations(vec![[prompt, &vec![1; length]].concat()]);
            while session.step(&mut stations).unwrap() == Progress::Running {}
            assert!(stations.0.contains(&canvas.ids), "{attention:?}: {canvas:?}");
        }
    }
}

#[test]
fn every_kind_of_file_is_calibrated_on() {
    let folder = tempfile::tempdir().unwrap();
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/lists");
    let model = LoadedModel::open(&lists, true).unwrap();
    let read = |lines: &str, length| {
        let path = folder.path().join("lines.jsonl");
        std::fs::write(&path, lines).unwrap();
        demask_std::calibrate::texts(&model, &path, length)
    };
    let plain = read(r#"{"text": "copy [\"A\", \"B\"]"}"#, None).unwrap();
    assert!(plain[0].prompt.len() == (plain[0].prompt.len() + plain[0].answer.len()) / 4);
    let gaps = read(r#"{"text": "copy [\"A\", \"B\"]", "hide": [[0, 4]]}"#, None).unwrap();
    assert_eq!(gaps, plain);
    // Answers end where the canvas does, however long they are to be.
    let lists = read(r#"{"task": "copy", "list": ["A", "B"]}"#, Some(60_000)).unwrap();
    let context = model.config().context as usize;
    assert_eq!(lists[0].prompt.len() + lists[0].answer.len(), context);
    assert_eq!(lists[0].answer.last(), Some(&model.config().eos_id));
    let error = read("{\"text\": \"a\"}\n{\"text\": 3}\n", None).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("expected"), "{error}");
}

#[test]
fn error_feedback_beats_rounding_to_nearest_on_any_number_of_threads() {
    let run = |threads, method| {
        let setup = Setup::new(CONFIG, &Noise(CONFIG), threads);
        let (shown, formats) = (shown(&setup), formats());
        let (layered, outcomes) = rounded(&setup, &shown, &formats, method, None);
        let canvases =
            setup.canvases(&texts(), &Settings { seed: 9, ..settings(Masks::Stratified) });
        let canvases = canvases.unwrap();
        let stored = |role, first, out: &mut [f32]| layered.weights.read_stored(role, first, out);
        let model = Streamed::new(CONFIG, stored);
        let divergence = setup.distributions(&canvases).unwrap().against_float(&model).unwrap();
        drop(model);
        (tensors(&layered), outcomes, divergence.mean)
    };
    let (tensors, outcomes, divergence) = run(3, Method::Gptq);
    let alone = run(1, Method::Gptq);
    assert_eq!((&tensors, &outcomes, divergence), (&alone.0, &alone.1, alone.2));
    assert_eq!(outcomes.len(), TensorRole::all(&CONFIG).filter(|r| !r.stays_f32()).count());
    assert!(outcomes.iter().all(|outcome| outcome.gain() > 0.1), "{outcomes:?}");
    let (_, nearest, nearest_divergence) = run(3, Method::Nearest);
    assert!(nearest.iter().all(|outcome| outcome.gain() == 0.0));
    assert!(divergence < 0.85 * nearest_divergence, "{divergence} {nearest_divergence}");
}

#[test]
fn a_run_that_was_killed_goes_on_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.dmk.partial");
    let setup = Setup::new(CONFIG, &Noise(CONFIG), 2);
    let (shown, formats) = (shown(&setup), formats());
    let digest = setup.digest(&shown, &formats, Method::Gptq).unwrap();
    let open = |digest| Partial::open(&path, digest, &CONFIG).unwrap();
    let (whole, outcomes) = rounded(&setup, &shown, &formats, Method::Gptq, None);
    let in_memory = tensors(&whole);
    let (whole, same) = rounded(&setup, &shown, &formats, Method::Gptq, Some(open(digest)));
    assert_eq!((&tensors(&whole), &same), (&in_memory, &outcomes));
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(open(digest).found(), outcomes.len());
    for kept in [0, 7, bytes.len() / 3, bytes.len() / 2 + 11, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..kept]).unwrap();
        let partial = open(digest);
        assert!(partial.found() < outcomes.len());
        assert_eq!(partial.found() > 0, kept > bytes.len() / 4);
        let (again, same) = rounded(&setup, &shown, &formats, Method::Gptq, Some(partial));
        assert_eq!((tensors(&again), same), (in_memory.clone(), outcomes.clone()));
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let partial = open(digest);
    assert!(partial.found() > 0 && partial.found() < outcomes.len());
    // Other options, another file.
    let other = setup.digest(&shown, &formats, Method::Importance).unwrap();
    assert_ne!(other, digest);
    let partial = open(other);
    assert_eq!(partial.found(), 0);
    partial.finish();
    assert!(!path.exists());
    // What is somebody else's stays.
    std::fs::write(&path, b"half of a download").unwrap();
    let error = Partial::open(&path, digest, &CONFIG).unwrap_err().to_string();
    assert!(error.contains("remove it"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"half of a download");
}

#[test]
fn every_family_is_rounded_whole() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let model = LoadedModel::open(&path, true).unwrap();
        let (config, weights) = (*model.config(), model.weights());
        let ids =
            |seed: u32| (0..6).map(|i| (seed + 3 * i * i) % (config.vocab_size - 1)).collect();
        let texts =
            [Text { prompt: ids(2), answer: ids(5) }, Text { prompt: ids(7), answer: ids(1) }];
        let setup = Setup::new(config, &weights, 2);
        let settings = Settings { canvases: 6, snapshots: 0.0, ..Settings::default() };
        let canvases = setup.canvases(&texts, &settings).unwrap();
        let streamed =
            Streamed::new(config, |role, first, out| weights.read_rows(role, first, out));
        let whole = reference(config, &weights);
        let ids: Vec<&[u32]> = canvases.iter().map(|canvas| &canvas.ids[..]).collect();
        let expected: Vec<_> = ids.iter().map(|ids| whole.hidden(ids).unwrap()).collect();
        assert_eq!(streamed.hidden(&ids).unwrap(), expected, "{}", path.display());
        let causal = config.mask_id == config.vocab_size;
        assert_eq!(canvases.iter().all(|c| c.mask_ratio(config.mask_id) == 0.0), causal);
        let shown = setup.show(canvases, &RowWeights::default()).unwrap();
        let formats =
            Formats { layers: Format::Q4, embedding: Format::Q8, chosen: BTreeMap::new() };
        let (_, outcomes) = rounded(&setup, &shown, &formats, Method::Gptq, None);
        let roles: Vec<_> = outcomes.iter().map(|outcome| outcome.role).collect();
        let expected: Vec<_> = TensorRole::all(&config).filter(|role| !role.stays_f32()).collect();
        assert_eq!(roles.len(), expected.len(), "{}", path.display());
        assert!(expected.iter().all(|role| roles.contains(role)));
        for outcome in outcomes {
            let fine = outcome.error.is_finite() && outcome.error <= outcome.nearest * 1.05;
            assert!(fine, "{}: {outcome:?}", path.display());
        }
    }
}

fn reference(config: ModelConfig, source: &dyn WeightSource) -> ReferenceModel {
    let read = |role, rows: Range<usize>, out: &mut [f32]| source.read_rows(role, rows.start, out);
    ReferenceModel::from_rows(config, read).unwrap()
}

fn logits(config: ModelConfig, source: &dyn WeightSource, ids: &[u32]) -> Vec<f32> {
    let every: Vec<usize> = (0..ids.len()).collect();
    reference(config, source).logits(ids, &every).unwrap()
}

#[test]
fn a_rotated_model_is_the_same_model() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut tried = 0;
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let model = LoadedModel::open(&path, true).unwrap();
        let (config, weights) = (*model.config(), model.weights());
        let rotated = match Rotated::new(&weights, config) {
            Ok(rotated) => rotated,
            Err(error) => {
                let layer_norm = config.features.norm == Norm::Layer;
                let reason = if layer_norm { "LayerNorm" } else { "no multiple of 8" };
                assert!(layer_norm || !config.model_dim.is_multiple_of(8));
                assert!(error.to_string().contains(reason), "{}: {error}", path.display());
                continue;
            }
        };
        let ids = [3, 1, 4, 1, 5, 9, 2, 6].map(|id: u32| id % config.vocab_size);
        let before = logits(config, &weights, &ids);
        let after = logits(*rotated.config(), &rotated, &ids);
        let largest = before.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let differences = before.iter().zip(&after).map(|(a, b)| (a - b).abs());
        let difference = differences.fold(0.0f32, f32::max);
        assert!(difference <= 1e-4 * largest, "{}: {difference} of {largest}", path.display());
        let (mut plain, mut turned) = (vec![0.0; 4 * config.model_dim as usize], Vec::new());
        turned.clone_from(&plain);
        weights.read_rows(TensorRole::Embedding, 0, &mut plain).unwrap();
        rotated.read_rows(TensorRole::Embedding, 0, &mut turned).unwrap();
        assert_ne!(plain, turned);
        tried += 1;
    }
    assert!(tried >= 5, "{tried} families");
    // Tied, with a norm that has to go into the head.
    let rotated = Rotated::new(&Noise(CONFIG), CONFIG).unwrap();
    assert!(!rotated.config().tied_head);
    let (before, after) = (
        logits(CONFIG, &Noise(CONFIG), &[5, 6, 1]),
        logits(*rotated.config(), &rotated, &[5, 6, 1]),
    );
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-4 * 5.0));
    let odd = ModelConfig { model_dim: 36, ..CONFIG };
    assert!(Rotated::new(&Noise(CONFIG), odd).is_err_and(|error| error.to_string().contains("36")));
}

fn demask(args: &[&str]) -> Result<serde_json::Value, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_demask")).args(args).output().unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn the_command_keeps_budgets_and_refuses_what_it_cannot_do() {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/intents");
    let file = |name: &str| folder.path().join(name);
    let texts = file("texts.jsonl");
    let lines = "{\"text\": \"play the latest album by weezer on spotify tonight\"}\n\
                 {\"text\": \"book a table for two at a sushi bar in boston\"}\n";
    std::fs::write(&texts, lines).unwrap();
    let run = |out: &PathBuf, more: &[&str]| {
        let base = ["quantize", source.to_str().unwrap(), out.to_str().unwrap(), "--json"];
        demask(&[&base[..], more].concat())
    };
    let texts = texts.to_str().unwrap();
    let (one, two) = (file("one.dmk"), file("two.dmk"));
    let few = ["--calibrate", texts, "--canvases", "3", "--held-out", texts, "--method", "gptq"];
    let report = run(&one, &[&few[..], &["--size", "790k", "--threads", "1"]].concat()).unwrap();
    let bytes = report["bytes"].as_u64().unwrap();
    assert!((750_000..=790_000).contains(&bytes), "{bytes}");
    assert_eq!(std::fs::metadata(&one).unwrap().len(), bytes);
    assert!(report["kl"]["mean"].as_f64().unwrap() > 0.0);
    let tensors = report["tensors"].as_array().unwrap();
    let of = |format: &str| tensors.iter().filter(|t| t["format"] == format).count();
    assert!(of("q4") > 0 && of("q8") > 0 && of("q4") + of("q8") == 43);
    assert!(tensors.iter().all(|t| t["format"] == "f32" || t["output_error"].as_f64().is_some()));
    for (out, threads) in [(&one, "1"), (&two, "3")] {
        run(out, &[&few[..], &["--type", "q4", "--threads", threads]].concat()).unwrap();
    }
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    assert!(!Partial::path_for(&one).exists());

    let said = |more: &[&str]| run(&file("none.dmk"), more).unwrap_err();
    assert!(said(&["--type", "q4", "--method", "gptq"]).contains("--calibrate FILE"));
    assert!(said(&["--type", "q4", "--size", "1M"]).contains("--calibrate FILE"));
    assert!(said(&[&few[..], &["--type", "q4k"]].concat()).contains("--type q4"));
    assert!(said(&[&few[..], &["--size", "100k"]].concat()).contains("at least"));
    let twice = ["--size", "790k", "--embedding-type", "q8"];
    assert!(said(&[&few[..], &twice].concat()).contains("leave --embedding-type out"));
    let half = ["--type", "q4", "--embedding-type", "f16"];
    assert!(said(&[&few[..], &half].concat()).contains("give one of these"));
    for idle in ["--snapshots", "--canvases", "--seed", "--answer-length"] {
        assert!(said(&["--type", "q4", idle, "1"]).contains("--calibrate <FILE>"), "{idle}");
    }
    assert!(run(&file("none.gguf"), &["--size", "1M"]).unwrap_err().contains("are for images"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}
