//! The `demask` command on GGUF files: every way to the same answer, and what it says about them.

use crate::call::{complaint, demask, json, succeed, temporary, text};
use crate::gguf_models::{END, file, model};
use demask_quant::ggml::GgmlType;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

fn logits(model: &Path, more: &[&str]) -> Vec<u8> {
    let out = temporary(&format!("{}.npy", model.file_name().unwrap().to_str().unwrap()));
    let args = ["logits", text(model), "--ids", "3,40,96,7,96,96,12", "-o", text(&out)];
    succeed(&[&args[..], more].concat());
    std::fs::read(out).unwrap()
}

#[test]
fn every_way_gives_the_same_logits() {
    for (stored_as, name) in
        [(GgmlType::Q4_0, "q4_0"), (GgmlType::Q8_0, "q8_0"), (GgmlType::Q4_K, "q4_k")]
    {
        let gguf = file(&format!("ways-{name}.gguf"), &model("llada", stored_as));
        let expected = logits(&gguf, &[]);
        assert!(logits(&gguf, &["--no-mmap", "--threads", "3"]) == expected);
        assert!(logits(&gguf, &["--kernels", "scalar"]) == expected);
        let here = temporary(&format!("ways-{name}.dmk"));
        let report = json(&["pack", text(&gguf), text(&here), "--json"]);
        assert_eq!(
            (report["rounded_tensors"].as_u64(), report["from"].as_str()),
            (Some(0), Some("gguf"))
        );
        assert!(logits(&here, &[]) == expected);
        assert!(logits(&here, &["--no-mmap"]) == expected);
        let there = temporary(&format!("ways-{name}-there.dmk"));
        json(&["pack", text(&here), text(&there), "--for", "aarch64", "--json"]);
        assert!(logits(&there, &[]) == expected, "packed in memory for this processor");
        let back = temporary(&format!("ways-{name}-back.dmk"));
        json(&["pack", text(&there), text(&back), "--json"]);
        assert!(std::fs::read(&back).unwrap() == std::fs::read(&here).unwrap());
    }
}

#[test]
fn shifted_rows_are_the_rows_before() {
    let mut dream = model("dream", GgmlType::F32);
    for layer in 0..crate::gguf_models::LAYERS {
        for (name, width) in [("attn_q", 256), ("attn_k", 128), ("attn_v", 128)] {
            dream.add(&format!("blk.{layer}.{name}.bias"), &[width], GgmlType::F32);
        }
    }
    let path = file("shift.gguf", &dream);
    let (plain, shifted) = (logits(&path, &[]), logits(&path, &["--shift"]));
    let row = crate::gguf_models::VOCAB as usize * 4;
    let at = plain.len() - 7 * row;
    assert!(shifted[at..at + row] == plain[at..at + row]);
    assert!(shifted[at + row..] == plain[at..plain.len() - row]);
}

#[test]
fn quantize_says_what_is_exact() {
    let gguf = file("report-q4_0.gguf", &model("llada", GgmlType::Q4_0));
    let out = temporary("report.dmk");
    let matrices = |report: &Value| -> Vec<(String, bool)> {
        let tensors = report["tensors"].as_array().unwrap().iter();
        let quantized = tensors.filter(|t| t["source"] == "Q4_0");
        quantized
            .map(|t| (t["format"].as_str().unwrap().to_owned(), t["exact"].as_bool().unwrap()))
            .collect()
    };
    let kept = json(&["quantize", text(&gguf), text(&out), "--json"]);
    assert_eq!(kept["bytes"], std::fs::metadata(&out).unwrap().len());
    assert_eq!(matrices(&kept).len(), 16);
    assert!(matrices(&kept).iter().all(|t| *t == ("q4".into(), true)));
    // Q8 holds the same integers.
    let wide = json(&["quantize", text(&gguf), text(&out), "--type", "q8", "--json"]);
    assert!(matrices(&wide).iter().all(|t| *t == ("q8".into(), true)));
    let rounded = json(&["quantize", text(&gguf), text(&out), "--type", "q4k", "--json"]);
    assert!(matrices(&rounded).iter().any(|t| *t == ("q4k".into(), false)));
    let threads = temporary("report-3.dmk");
    json(&["quantize", text(&gguf), text(&threads), "--type", "q4k", "--threads", "3", "--json"]);
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&threads).unwrap());
    let unknown = complaint(&["quantize", text(&gguf), text(&out), "--type", "q4_k_m"]);
    assert!(unknown.contains(".gguf"), "{unknown}");
    let table = String::from_utf8(succeed(&["quantize", text(&gguf), text(&out)]).stdout).unwrap();
    assert!(table.contains("exact"), "{table}");
}

#[test]
fn gguf_to_gguf() {
    let source = file("to-gguf-f32.gguf", &model("llada", GgmlType::F32));
    for (name, stored_as) in [("q8_0", "Q8_0"), ("q4_k_s", "Q4_K"), ("bf16", "BF16")] {
        let out = temporary(&format!("to-gguf-{name}.gguf"));
        let report = json(&["quantize", text(&source), text(&out), "--type", name, "--json"]);
        assert_eq!(report["bytes"], std::fs::metadata(&out).unwrap().len());
        let inspected = json(&["inspect", text(&out), "--json"]);
        let query =
            inspected["tensors"].as_array().unwrap().iter().find(|t| t["name"] == "0.query");
        assert_eq!(query.unwrap()["type"], stored_as);
        assert_eq!(logits(&out, &[]).len(), logits(&source, &[]).len());
    }
    let out = temporary("from-folder.gguf");
    let intents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/intents");
    complaint(&["quantize", text(&intents), text(&out), "--type", "q8_0"]);
    complaint(&["quantize", text(&source), text(&out), "--type", "q4"]);
    let image_only = ["--type", "q8_0", "--embedding-type", "q8"];
    complaint(&[&["quantize", text(&source), text(&out)], &image_only[..]].concat());
    complaint(&["quantize", text(&source), text(&source), "--type", "q8_0"]);
    assert!(!out.exists());
}

#[test]
fn inspect_shows_how_weights_are_held() {
    let held = |name: &str, stored_as, more: &[&str]| {
        let path = file(&format!("inspect-{name}.gguf"), &model("llada", stored_as));
        let limits = ["--canvas", "64", "--tile", "32", "--threads", "2", "--json"];
        json(&[&["inspect", text(&path)], &limits[..], more].concat())
    };
    let tensor = |value: &Value, name: &str| {
        let tensors = value["tensors"].as_array().unwrap().clone();
        tensors.into_iter().find(|t| t["name"] == name).unwrap()
    };
    let q6 = held("q6_k", GgmlType::Q6_K, &[]);
    assert_eq!(
        (&q6["architecture"], &q6["chat_template"], &q6["tokenizer"]),
        (&"llada".into(), &true.into(), &crate::gguf_models::VOCAB.into())
    );
    let gate = tensor(&q6, "1.gate");
    assert_eq!(
        (&gate["type"], &gate["held"], &gate["how"]),
        (&"Q6_K".into(), &"q8".into(), &"rounded".into())
    );
    assert_eq!(q6["plan"]["canvas"], 64);
    assert!(q6["plan"]["ram"].as_u64().unwrap() > 64 * 256 * 4);
    let q4k = tensor(&held("q4_k", GgmlType::Q4_K, &[]), "1.gate");
    assert_eq!((&q4k["held"], &q4k["how"]), (&"q4k".into(), &"exact".into()));
    let float = tensor(&held("f16", GgmlType::F16, &[]), "1.gate");
    assert_eq!((&float["held"], &float["how"]), (&"f16".into(), &"exact".into()));
    let rounded = tensor(&held("f16-q4", GgmlType::F16, &["--type", "q4"]), "1.gate");
    assert_eq!((&rounded["held"], &rounded["how"]), (&"q4".into(), &"rounded".into()));
}

#[test]
fn run_reports_loading_and_memory() {
    let path = file("run.gguf", &model("llada", GgmlType::Q4_0));
    let args = ["run", text(&path), "--prompt", "hi", "--gen-length", "96", "--json"];
    let value = json(&args);
    assert!(value["load_seconds"].as_f64().unwrap() > 0.0);
    if cfg!(target_os = "linux") {
        assert!(value["peak_rss"].as_u64().unwrap() > 1 << 20);
    }
    // Several blocks are decoded with a cache: fewer rows than all of them each time.
    let rows = |more: &[&str]| {
        let value = json(&[&args[..], more].concat());
        value["rows"].as_f64().unwrap() / value["forwards"].as_f64().unwrap()
    };
    assert!(rows(&[]) < 0.7 * rows(&["--cache", "none"]));
    let float = file("run-f16.gguf", &model("llada", GgmlType::F16));
    let kernels = |more: &[&str]| {
        let args = ["run", text(&float), "--prompt", "hi", "--gen-length", "4", "--json"];
        json(&[&args[..], more].concat())["kernels"].as_str().unwrap().to_owned()
    };
    assert_eq!(kernels(&[]), "f32");
    assert_eq!(kernels(&["--type", "q4k", "--kernels", "scalar"]), "scalar");
}

#[test]
fn block_causal_texts_outgrow_their_canvas() {
    let path = file("sdar.gguf", &model("qwen3", GgmlType::Q8_0));
    let run = |more: &[&str]| {
        let family = ["--family", "sdar", "--attention-block", "8", "--eos", "fill"];
        let args = ["run", text(&path), "--prompt", "hello you", "--gen-length", "90", "--json"];
        json(&[&args[..], &family, more].concat())
    };
    let whole = run(&[]);
    assert_eq!((&whole["dropped"], whole["tokens"].as_array().unwrap().len()), (&0.into(), 90));
    // The exact cache changes nothing but the work.
    let uncached = run(&["--cache", "none"]);
    assert_eq!(
        (&whole["tokens"], &whole["checksum"]),
        (&uncached["tokens"], &uncached["checksum"])
    );
    assert!(whole["rows"].as_u64() < uncached["rows"].as_u64());
    for more in [&["--canvas", "48"][..], &["--canvas", "48", "--pin", "0"]] {
        let windowed = run(more);
        assert_eq!(windowed["dropped"], 56, "of 14 + 90 tokens 48 are left");
        let tokens = windowed["tokens"].as_array().unwrap();
        assert_eq!(tokens.len(), 90, "what was dropped is part of the answer");
        // Up to where the first block leaves, nothing differs.
        assert_eq!(tokens[..34], whole["tokens"].as_array().unwrap()[..34]);
    }
    let sub_blocks = run(&["--block-length", "4"]);
    assert_eq!(sub_blocks["tokens"].as_array().unwrap().len(), 90);
    let nobody = demask(&["run", text(&path), "--prompt", "a", "--family", "nobody"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("fast-dllm-v2"));
}

/// What a chat answers to lines on its standard input.
fn chat(model: &Path, input: &str, more: &[&str]) -> Vec<Value> {
    let args = [&["chat", text(model), "--gen-length", "8", "--json"][..], more].concat();
    let mut child = Command::new(env!("CARGO_BIN_EXE_demask"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn chat_remembers_until_it_is_told_not_to() {
    let path = file("chat.gguf", &model("llada", GgmlType::Q8_0));
    let turns = chat(&path, "hello\nhello\n/reset\nhello\n/quit\nhello\n", &[]);
    assert_eq!(turns.len(), 3);
    assert_eq!(turns[0]["tokens"], turns[2]["tokens"]);
    // "u:hello;a:", and the second time all that again with the answer between.
    assert_eq!(turns[0]["prompt_tokens"], 10);
    assert!(turns[1]["prompt_tokens"].as_u64().unwrap() >= 20);
    let told = chat(&path, "hello\n/system no\nhello\n", &["--system", "yes"]);
    assert_eq!(told[0]["prompt_tokens"], 10 + "s:yes;".len());
    let alone = |model: &Path, line: &str| chat(model, line, &[])[0]["text"].clone();
    assert_eq!(alone(&path, "hello\n"), turns[0]["text"]);
}

#[test]
fn a_full_context_forgets_the_oldest_turns() {
    let path = file("chat-long.gguf", &model("llada", GgmlType::Q8_0));
    let lines: String = (0..8).map(|i| format!("message number {i}\n")).collect();
    let turns = chat(&path, &lines, &[]);
    assert_eq!(turns.len(), 8);
    assert!(turns.iter().all(|t| t["prompt_tokens"].as_u64().unwrap() + 8 <= 128));
    assert!(turns.iter().any(|t| t["forgotten"].as_u64().unwrap() > 0));
    let long = format!("{}\n", "x".repeat(200));
    let mut child = Command::new(env!("CARGO_BIN_EXE_demask"))
        .args(["chat", text(&path), "--json"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(long.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("context"), "{said}");
}

#[test]
fn other_end_tokens_end_an_answer() {
    let mut turns = model("llada", GgmlType::Q8_0);
    // Every token but the end of the text may end a turn; then no answer is longer than one.
    turns.set("tokenizer.ggml.eot_token_id", 5u32);
    let path = file("eot.gguf", &turns);
    assert_eq!(json(&["inspect", text(&path), "--json"])["stop_ids"], serde_json::json!([5]));
    let plain = json(&["run", text(&path), "--prompt", "a", "--gen-length", "16", "--json"]);
    let tokens = plain["tokens"].as_array().unwrap();
    // What follows an end token is end tokens.
    if let Some(at) = tokens.iter().position(|t| *t == 5) {
        assert!(tokens[at + 1..].iter().all(|t| *t == END));
    }
}
