//! `demask train-filter`, and what the other commands make of an image with a filter.

use crate::call::{complaint, json, temporary, text};
use serde_json::Value;
use std::path::Path;

/// The utterances beside the bundled model.
fn utterances() -> String {
    format!("{}/../models/intents/valid.jsonl", env!("CARGO_MANIFEST_DIR"))
}

fn train(out: &Path, more: &[&str]) -> Value {
    let task = utterances();
    let few =
        ["--limit", "5", "--epochs", "3", "--gen-length", "48", "--block-length", "24", "--json"];
    let args = ["train-filter", "intents", "--task", &task, "--out", text(out)];
    json(&[&args[..], &few, more].concat())
}

#[test]
fn a_filter_is_trained_kept_and_used() {
    let (one, two) = (temporary("trained-1.dmk"), temporary("trained-2.dmk"));
    let report = train(&one, &["--threads", "1"]);
    assert_eq!((report["block"].as_u64(), report["hidden"].as_u64()), (Some(24), Some(24)));
    assert_eq!(report["numbers"], 2 * 24 * 24 + 24 + 24);
    assert!(report["passes"].as_u64() > Some(10), "{report}");
    assert!(report["held_out"]["loss"].as_f64().is_some_and(|loss| loss > 0.0 && loss < 1.0));
    // The result depends on the seed, and not on the threads.
    train(&two, &["--threads", "2"]);
    let bytes = |path: &Path| std::fs::read(path).unwrap();
    assert!(bytes(&one) == bytes(&two));
    train(&two, &["--threads", "2", "--seed", "1"]);
    assert!(bytes(&one) != bytes(&two));

    let inspect = |path: &Path| json(&["inspect", text(path), "--json"])["filter"].clone();
    assert_eq!(inspect(&one), serde_json::json!({ "block": 24, "hidden": 24 }));
    assert_eq!(json(&["inspect", "intents", "--json"])["filter"], Value::Null);
    let (packed, kept) = (temporary("trained-m4.dmk"), temporary("trained-kept.dmk"));
    json(&["pack", text(&one), text(&packed), "--for", "cortex-m4", "--json"]);
    json(&["quantize", text(&one), text(&kept), "--json"]);
    assert_eq!((inspect(&packed), inspect(&kept)), (inspect(&one), inspect(&one)));

    let run = |model: &Path, more: &[&str]| {
        let args = ["run", text(model), "--prompt", "play some jazz", "--json"];
        let blocks = ["--gen-length", "48", "--block-length", "24"];
        json(&[&args[..], &blocks, more].concat())
    };
    let answer = run(&one, &["--policy", "learn2pd:p=0.9", "--cache", "none"]);
    assert!(answer["forwards"].as_u64() > Some(0), "{answer}");
    assert_eq!(
        run(&packed, &["--policy", "learn2pd:p=0.9", "--cache", "none"])["text"],
        answer["text"]
    );
    run(&one, &["--policy", "learn2pd:p=0.9,end=kept", "--cache", "dual"]);
}

#[test]
fn what_does_not_go_together_is_said() {
    let error = complaint(&["run", "intents", "--prompt", "a", "--policy", "learn2pd"]);
    assert!(error.contains("no filter") && error.contains("train-filter"), "{error}");
    let image = temporary("trained-3.dmk");
    train(&image, &[]);
    let learned = ["run", text(&image), "--prompt", "a", "--policy", "learn2pd"];
    let error = complaint(&learned);
    assert!(error.contains("blocks of 24") && error.contains("--block-length 24"), "{error}");
    let blocks = ["--gen-length", "48", "--block-length", "24", "--cache", "dual"];
    let error = complaint(&[&learned[..], &blocks].concat());
    assert!(error.contains("grows or shrinks"), "{error}");

    // A damaged filter, its digests made right.
    let damaged = temporary("trained-damaged.dmk");
    let mut bytes = std::fs::read(&image).unwrap();
    let at = bytes.windows(12).position(|w| w == [1, 0, 0, 0, 24, 0, 0, 0, 24, 0, 0, 0]).unwrap();
    bytes[at + 8] = 23;
    std::fs::write(&damaged, &bytes).unwrap();
    assert!(complaint(&["inspect", text(&damaged)]).contains("digest"));
    assert!(complaint(&["inspect", text(&damaged), "--no-verify"]).contains("FILTER"));

    let folder = format!("{}/../models/intents", env!("CARGO_MANIFEST_DIR"));
    let task = utterances();
    let to = |model: &str, more: &[&str]| {
        let out = temporary("never.dmk");
        let args = ["train-filter", model, "--task", &task, "--out", text(&out)];
        complaint(&[&args[..], more].concat())
    };
    assert!(to(&folder, &[]).contains("quantize"));
    assert!(to("intents", &["--rate", "0"]).contains("--rate"));
    assert!(to("intents", &["--limit", "0"]).contains("--limit"));
    // The last prompt of many is refused before the first is decoded.
    let long = temporary("long.jsonl");
    let mut lines = std::fs::read_to_string(utterances()).unwrap();
    let segments = [(None::<&str>, "play ".repeat(60))];
    lines += &serde_json::json!({ "intent": "PlayMusic", "segments": segments }).to_string();
    std::fs::write(&long, lines).unwrap();
    let out = temporary("never.dmk");
    let args = ["train-filter", "intents", "--task", text(&long), "--out", text(&out)];
    let error = complaint(&[&args[..], &["--limit", "701", "--gen-length", "56"]].concat());
    assert!(error.contains("prompt 701") && error.contains("shorten"), "{error}");
    assert!(!temporary("never.dmk").exists());
}
