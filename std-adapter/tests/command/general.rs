//! The `demask` command as a user or a script meets it.

use crate::call::{demask, failed, json, models, temporary, text};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The one line that a failing command prints, and nothing else.
fn complaint(args: &[&str]) -> String {
    let output = failed(args);
    assert!(output.stdout.is_empty(), "{args:?} printed to standard output");
    String::from_utf8(output.stderr).unwrap()
}

fn folder() -> PathBuf {
    models().join("intents")
}

/// An image of the folder, written by the command.
fn image(kind: &str, name: &str) -> PathBuf {
    let path = temporary(name);
    let report = json(&["quantize", text(&folder()), text(&path), "--type", kind, "--json"]);
    assert_eq!(report["bytes"], std::fs::metadata(&path).unwrap().len());
    path
}

const PROMPTS: [&str; 20] = [
    "play the latest album by weezer",
    "book a table for two at a sushi bar in boston",
    "what is the weather in paris tomorrow",
    "add this song to my workout playlist",
    "rate this book five stars",
    "find the movie schedule for tonight",
    "search for the novel dune",
    "play some jazz on spotify",
    "will it snow in denver next week",
    "reserve a restaurant in new york for six people",
    "give the current essay a rating of 3 out of 6",
    "add the album to classical relaxations",
    "show me the trailer of the last picture",
    "play music from 1985",
    "book a pub with a pool for my family",
    "is it going to be chilly in the park at noon",
    "i want to hear the top ten by madonna",
    "what films are at the nearest cinema",
    "put sungmin into my summer playlist",
    "rate the chronicle two points",
];

#[test]
fn the_answer_does_not_depend_on_threads_or_kernels() {
    for kind in ["q4", "q8"] {
        let path = image(kind, &format!("threads-{kind}.dmk"));
        for prompt in PROMPTS {
            let run = |threads: &str, kernels: &str| {
                let model = text(&path);
                let sampling = ["--temperature", "0.7", "--seed", "5"];
                let args = ["run", model, "--prompt", prompt, "--threshold", "0.9", "--json"];
                let mut value = json(
                    &[&args[..], &sampling, &["--threads", threads, "--kernels", kernels]].concat(),
                );
                for varying in ["seconds", "load_seconds", "peak_rss", "kernels"] {
                    value.as_object_mut().unwrap().remove(varying);
                }
                value
            };
            assert_eq!(run("1", "scalar"), run("3", "auto"), "{kind} {prompt}");
        }
    }
}

#[test]
fn run_prints_the_documented_fields() {
    let args = ["run", "intents", "--prompt", PROMPTS[0], "--gen-length", "56"];
    let more = ["--block-length", "28", "--steps", "56", "--seed", "3", "--temperature", "0"];
    let value = json(&[&args[..], &more, &["--threads", "2", "--json"]].concat());
    assert_eq!(value["tokens"].as_array().unwrap().len(), 56);
    assert!(value["forwards"].as_u64().unwrap() <= 56);
    assert_eq!(value["checksum"].as_str().unwrap().len(), 16);
    assert!(value["seconds"].as_f64().unwrap() > 0.0);
    let frame: Value = serde_json::from_str(value["text"].as_str().unwrap()).unwrap();
    assert_eq!(frame["intent"], "PlayMusic");
}

#[test]
fn text_in_any_dress_gives_the_same_answer() {
    let answer = |prompt: &str| {
        json(&["run", "intents", "--prompt", prompt, "--threshold", "0.9", "--json"])["text"]
            .clone()
    };
    assert_eq!(answer("Play the LATEST album, by Weezer!"), answer(PROMPTS[0]));
}

#[test]
fn seeds_matter_only_with_a_temperature() {
    let checksum = |temperature: &str, seed: &str| {
        let args = ["run", "intents", "--prompt", PROMPTS[1], "--steps", "7", "--json"];
        let more = ["--temperature", temperature, "--seed", seed];
        json(&[&args[..], &more].concat())["checksum"].clone()
    };
    assert_eq!(checksum("0", "1"), checksum("0", "2"));
    assert_ne!(checksum("1", "1"), checksum("1", "2"));
    assert_eq!(checksum("1", "1"), checksum("1", "1"));
}

#[test]
fn infill_keeps_what_was_given() {
    let given = "<|user|> play [MASK:5] by weezer<|json|>{\"intent\":\"PlayMusic\"}<|endoftext|>x";
    let value = json(&["infill", "intents", "--text", given, "--json"]);
    let result = value["text"].as_str().unwrap();
    assert!(result.starts_with("<|user|> play"), "{result}");
    let tail = " by weezer<|json|>{\"intent\":\"PlayMusic\"}<|endoftext|>x";
    assert!(result.ends_with(tail), "{result}");
    assert_eq!(value["forwards"], 5);
    let none = json(&["infill", "intents", "--text", "no gaps", "--json"]);
    assert_eq!((none["text"].as_str(), none["forwards"].as_u64()), (Some("no gaps"), Some(0)));
}

#[test]
fn contradictions_are_named() {
    let run = |more: &[&str]| {
        complaint(&[&["run", "intents", "--prompt", "play", "--json"][..], more].concat())
    };
    assert!(run(&["--gen-length", "50", "--block-length", "32"]).contains("does not divide"));
    assert!(run(&["--gen-length", "56", "--block-length", "14", "--steps", "10"]).contains("of 4"));
    assert!(run(&["--gen-length", "1000"]).contains("--gen-length"));
    assert!(run(&["--block-length", "0"]).contains("block length"));
    assert!(run(&["--temperature", "-1"]).contains("temperature"));
    assert!(run(&["--threshold", "2"]).contains("between 0 and 1"));
    assert!(run(&["--policy", "low-confidence", "--threshold", "0.5"]).contains("--policy"));
    let ids = complaint(&["logits", "intents", "--ids", "2,5000", "--out", text(&temporary("x"))]);
    assert!(ids.contains("5000"), "{ids}");
    assert!(!temporary("x").exists());
}

#[test]
fn damaged_files_get_one_sentence() {
    let good = image("q4", "damage.dmk");
    let bytes = std::fs::read(&good).unwrap();
    let damaged = temporary("damaged.dmk");
    let check = |bytes: &[u8], expected: &str| {
        std::fs::write(&damaged, bytes).unwrap();
        let said = complaint(&["inspect", text(&damaged)]);
        assert!(said.contains(expected), "{said}");
    };
    check(&[], "cut off");
    check(&bytes[..bytes.len() - 1], "cut off");
    check(&[&bytes[..], &[0]].concat(), "should end");
    let changed = |at: usize| {
        let mut copy = bytes.clone();
        copy[at] ^= 4;
        copy
    };
    check(&changed(0), "not a demask image");
    check(&changed(40), "digest");
    check(&changed(bytes.len() - 5), "WEIGHTS");
    check(&changed(bytes.len() / 2), "WEIGHTS");
    std::fs::write(&damaged, changed(bytes.len() / 2)).unwrap();
    assert!(demask(&["inspect", text(&damaged), "--no-verify"]).status.success());
    assert!(complaint(&["inspect", "nowhere.dmk"]).contains("does not exist"));
    std::fs::write(&damaged, b"GGUF....").unwrap();
    assert!(complaint(&["inspect", text(&damaged)]).contains("GGUF"));
}

#[test]
fn quantize_is_deterministic_and_writes_all_or_nothing() {
    let read = |name: &str| std::fs::read(image("q8", name)).unwrap();
    assert!(read("one.dmk") == read("two.dmk"));
    let nowhere = temporary("no/such/folder.dmk");
    complaint(&["quantize", text(&folder()), text(&nowhere), "--type", "q4"]);
    let quantized = image("q4", "again.dmk");
    let said = complaint(&["quantize", text(&quantized), text(&temporary("b")), "--type", "q4"]);
    assert!(said.contains("already"), "{said}");
    assert!(!temporary("b").exists());
}

#[test]
fn float_images_run_like_their_folder() {
    let args = |model: &str| {
        let args = ["run", model, "--prompt", PROMPTS[0], "--steps", "7", "--json"];
        let value = json(&args);
        (value["checksum"].clone(), value["tokens"].clone())
    };
    assert_eq!(args(text(&image("f32", "float.dmk"))), args(text(&folder())));
}

#[test]
fn pipes_get_plain_lines() {
    let output = demask(&["run", "intents", "--prompt", PROMPTS[0], "--threshold", "0.9"]);
    assert!(output.status.success() && !output.stdout.contains(&0x1b));
    let last = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    assert!(serde_json::from_str::<Value>(&last).is_ok(), "the answer comes last: {last}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_demask"))
        .args(["run", "intents", "--prompt", PROMPTS[0], "--plain"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 8];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn logits_fill_a_numpy_file() {
    let out = temporary("logits.npy");
    let output = demask(&["logits", "intents", "--ids", "2,17,1,1", "--out", text(&out)]);
    assert!(output.status.success());
    let bytes = std::fs::read(&out).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY") && bytes.len().is_multiple_of(64));
    assert!(String::from_utf8_lossy(&bytes[..128]).contains("(4, 1024)"));
}

#[test]
fn eval_scores_a_file() {
    let data = temporary("two.jsonl");
    let lines = concat!(
        r#"{"intent":"PlayMusic","segments":[[null,"play the "],["sort","latest"],[null," "],"#,
        r#"["music_item","album"],[null," by "],["artist","weezer"]]}"#,
        "\n",
        r#"{"intent":"GetWeather","segments":[[null,"weather in "],["city","Paris"]]}"#,
        "\n"
    );
    std::fs::write(&data, lines).unwrap();
    let args = ["eval", "intents", "--task", text(&data), "--json"];
    let score = json(&args);
    assert_eq!((score["n"].as_u64(), score["intent"].as_f64()), (Some(2), Some(100.0)));
    for key in ["frame", "slot_f1", "invalid"] {
        assert!((0.0..=100.0).contains(&score[key].as_f64().unwrap()), "{key}");
    }
}

#[test]
fn plan_counts_what_the_engine_takes() {
    let plan = json(&["plan", "intents", "--canvas", "96", "--tile", "8", "--json"]);
    assert!(plan["ram"].as_u64().unwrap() <= 200 * 1024);
    let parts: u64 = plan["parts"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(plan["ram"].as_u64(), Some(parts));
    assert!(plan["flash"].as_u64().unwrap() > 700_000);
}

#[test]
fn an_image_for_another_processor_answers_the_same() {
    let answer = |model: &str, kernels: &str| {
        let args = ["run", model, "--prompt", PROMPTS[1], "--kernels", kernels, "--json"];
        let value = json(&args);
        (value["checksum"].clone(), value["tokens"].clone())
    };
    let expected = answer("intents", "auto");
    let mut layouts = Vec::new();
    for processor in ["cortex-m4", "cortex-m55", "cortex-m3", "rv32", "aarch64", "aarch64-i8mm"] {
        let path = temporary(&format!("for-{processor}.dmk"));
        let report = json(&["pack", "intents", text(&path), "--for", processor, "--json"]);
        assert_eq!(report["bytes"], std::fs::metadata(&path).unwrap().len());
        assert_eq!(report["layout"], json(&["inspect", text(&path), "--json"])["layout"]);
        layouts.push(report["layout"].as_str().unwrap().to_owned());
        // Packed again in memory where this processor's kernels want it, read as it is by `scalar`.
        assert_eq!(answer(text(&path), "auto"), expected, "{processor}");
        assert_eq!(answer(text(&path), "scalar"), expected, "{processor}");
        // And back.
        let back = temporary("for-x86.dmk");
        json(&["pack", text(&path), text(&back), "--for", "x86-64", "--json"]);
        let bundled = std::fs::read(folder().join("../intents-q4.dmk")).unwrap();
        assert!(std::fs::read(&back).unwrap() == bundled);
    }
    layouts.dedup();
    assert_eq!(layouts, ["dsp", "helium", "words", "rows4", "rows4x8"]);
}

#[test]
fn packing_refuses_what_it_cannot_pack() {
    let out = temporary("unpacked.dmk");
    let said = complaint(&["pack", text(&folder()), text(&out), "--for", "cortex-m4"]);
    assert!(said.contains("not quantized"), "{said}");
    let float = image("f32", "float-to-pack.dmk");
    complaint(&["pack", text(&float), text(&out), "--for", "cortex-m4"]);
    let unknown = demask(&["pack", "intents", text(&out), "--for", "z80"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("cortex-m4"));
    assert!(!out.exists());
}

#[test]
fn tokenize_shows_tokens_and_takes_them_back() {
    let text = "play <|user|> caf\u{e9}\n";
    let plain = json(&["tokenize", "intents", "--text", text, "--json"]);
    let special = json(&["tokenize", "intents", "--text", text, "--specials", "--json"]);
    for report in [&plain, &special] {
        assert_eq!(report["text"], text);
        let ids = report["ids"].as_array().unwrap();
        assert_eq!(
            (ids.len() as u64, ids.len()),
            (report["count"].as_u64().unwrap(), report["pieces"].as_array().unwrap().len())
        );
        let ids: Vec<String> = ids.iter().map(Value::to_string).collect();
        assert_eq!(json(&["tokenize", "intents", "--ids", &ids.join(","), "--json"])["text"], text);
        let output = demask(&["tokenize", "intents", "--ids", &ids.join(",")]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{text}\n"));
    }
    assert!(plain["count"].as_u64() > special["count"].as_u64());
    assert!(special["pieces"].as_array().unwrap().contains(&"<|user|>".into()));

    let mut child = Command::new(env!("CARGO_BIN_EXE_demask"))
        .args(["tokenize", "intents"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all("play\u{1F600}".as_bytes()).unwrap();
    let shown = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(shown.contains("\\xf0") && shown.ends_with(" tokens\n"), "{shown}");
    let error = complaint(&["tokenize", "intents", "--ids", "1,4294967295"]);
    assert!(error.contains("there is no token 4294967295"), "{error}");
}
