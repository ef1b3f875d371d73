//! `demask compare`, `demask eval` and `demask lists` as a user or a script meets them.

use crate::call::{demask, failed, json, models, text};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a command that fails says: one line.
fn complaint(args: &[&str]) -> String {
    let output = failed(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn temporary(name: &str, content: &str) -> PathBuf {
    let folder = crate::call::temporary("compare");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// The first `count` lines of the bundled task.
fn frames(name: &str, count: usize) -> PathBuf {
    let valid = std::fs::read_to_string(models().join("intents/valid.jsonl")).unwrap();
    temporary(name, &valid.lines().take(count).collect::<Vec<_>>().join("\n"))
}

const GAPS: &str = concat!(
    "{\"text\":\"<|user|> play jazz<|json|>{\\\"intent\\\":\\\"PlayMusic\\\"}\",\"hide\":[[36,45]]}\n",
    "{\"text\":\"<|user|> book a table<|json|>{\\\"intent\\\":\\\"BookRestaurant\\\"}\",\"hide\":[[39,53],[54,55]]}\n",
);

#[test]
fn a_model_is_itself_and_another_processor_changes_nothing() {
    let task = frames("same.jsonl", 2);
    let packed = temporary("same.dmk", "");
    assert!(demask(&["pack", "intents", text(&packed), "--for", "cortex-m4"]).status.success());
    let args = ["compare", "intents", text(&packed), "--task", text(&task), "--json", "-"];
    let report = json(&[&args[..], &["--threshold", "0.9", "--draws", "3"]].concat());
    let texts = &report["texts"];
    assert_eq!(texts["distances"]["kl_max"], 0.0, "{report:#}");
    assert_eq!(texts["distances"]["same_top"]["value"], 100.0);
    assert_eq!((&texts["a"], texts["difference"]["value"].as_f64()), (&texts["b"], Some(0.0)));
    let decoded = &report["decoded"];
    for share in ["trajectory", "same_path", "same_answers"] {
        assert_eq!(decoded[share]["value"], 100.0, "{share}");
    }
    // Digests are of the weights, in whatever order they lie.
    assert_eq!(report["about"]["a"]["digest"], report["about"]["b"]["digest"]);
    // The decodes are those of `eval`.
    let args = ["eval", "intents", "--task", text(&task), "--threshold", "0.9", "--json"];
    let eval = json(&[&args[..], &["--nll", "--draws", "3"]].concat());
    assert_eq!(decoded["forwards"][0]["value"], eval["forwards"]);
    assert_eq!(decoded["scores"][0]["a"]["value"], eval["frame"]);
    assert_eq!(texts["a"]["per_token"]["value"], eval["nll"]);
    assert_eq!(report["about"]["a"]["digest"], eval["model"]);
}

#[test]
fn rounding_is_seen_and_reported() {
    let task = frames("rounded.jsonl", 3);
    let page = temporary("rounded.html", "");
    let file = temporary("rounded.json", "");
    let folder = models().join("intents");
    let args = ["compare", text(&folder), text(&folder), "--type-a", "q8", "--type-b", "q4"];
    let rest = ["--task", text(&task), "--draws", "4", "--threshold", "0.9"];
    let out = [
        "--report",
        text(&page),
        "--json",
        text(&file),
        "--budget",
        "kl>0",
        "--budget",
        "same_top>=50",
    ];
    let output = demask(&[&args[..], &rest, &out].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("KL mean") && said.contains("whole frame right"), "{said}");

    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let kl = report["texts"]["distances"]["kl"]["value"].as_f64().unwrap();
    assert!((1e-6..0.3).contains(&kl), "{kl}");
    assert_eq!(report["texts"]["ratios"].as_array().unwrap().len(), 6);
    assert_eq!(report["about"]["b"]["rounded_to"], "q4");
    // Both have the digest of what was rounded.
    assert_eq!(report["about"]["a"]["digest"], report["about"]["b"]["digest"]);

    let html = std::fs::read_to_string(&page).unwrap();
    for part in
        ["prefers-color-scheme", "viewport", "class=\"verdict\"", "intents as q4", "<svg viewBox"]
    {
        assert!(html.contains(part), "{part}");
    }
    assert_eq!(html.matches("<figure>").count(), 6);
    assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("<script"));
    assert!(!html.contains("NaN") && !html.contains("inf\""), "numbers that are none");
    // The same again, on any number of threads.
    let again = |threads| {
        let args = [&args[..], &rest, &["--json", "-", "--threads", threads]].concat();
        json(&args)
    };
    assert_eq!(again("1"), again("3"));
}

/// One row of one matrix is multiplied: the comparison says so, and the budget is missed.
#[test]
fn a_damaged_tensor_is_found() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare-damaged");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let whole = models().join("intents");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(whole.join(name), folder.join(name)).unwrap();
    }
    let mut weights = std::fs::read(folder.join("model.safetensors")).unwrap();
    damage(&mut weights);
    std::fs::write(folder.join("model.safetensors"), weights).unwrap();
    let task = frames("damaged.jsonl", 2);
    let args = ["compare", text(&whole), text(&folder), "--task", text(&task), "--no-decode"];
    let rest = ["--type-a", "q8", "--type-b", "q8", "--draws", "2"];
    let report = json(&[&args[..], &rest, &["--json", "-"]].concat());
    assert!(report["texts"]["distances"]["kl"]["value"].as_f64().unwrap() > 0.001, "{report:#}");
    assert_ne!(report["about"]["a"]["digest"], report["about"]["b"]["digest"]);
    let said = complaint(
        &[&args[..], &rest, &["--budget", "kl<=0.0005", "--budget", "kl_max>0"]].concat(),
    );
    assert!(said.contains("kl <= 0.0005 is missed: kl is ") && !said.contains("kl_max"), "{said}");
}

/// Multiplies the first numbers of the second layer's down projection by 30.
fn damage(weights: &mut [u8]) {
    let length = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&weights[8..8 + length]).unwrap();
    let tensors = header.as_object().unwrap();
    let (name, tensor) = tensors
        .iter()
        .find(|(name, _)| {
            name.contains(".1.") && (name.contains("down") || name.contains("ff_out"))
        })
        .unwrap_or_else(|| panic!("{:?}", tensors.keys()));
    assert_eq!(tensor["dtype"], "BF16", "{name}");
    let start = 8 + length + tensor["data_offsets"][0].as_u64().unwrap() as usize;
    let cols = tensor["shape"][1].as_u64().unwrap() as usize;
    for number in weights[start..start + 2 * 8 * cols].chunks_exact_mut(2) {
        let value = half::bf16::from_le_bytes((&*number).try_into().unwrap());
        let larger = half::bf16::from_f32(30.0 * value.to_f32());
        number.copy_from_slice(&larger.to_le_bytes());
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let task = frames("refused.jsonl", 1);
    let said = complaint(&["compare", "intents", "nowhere.dmk", "--task", text(&task)]);
    assert!(said.contains("nowhere.dmk"), "{said}");
    let said =
        complaint(&["compare", "intents", "intents", "--task", text(&task), "--budget", "speed>1"]);
    assert!(said.contains("kl, kl_median"), "{said}");
    let said = complaint(&["compare", "intents", "intents", "--task", text(&task), "--limit", "0"]);
    assert!(said.contains("--limit"), "{said}");

    // Before anything is measured, let alone overwritten.
    for (option, path) in [("--report", "no/such/page.html"), ("--json", text(&task))] {
        let args = ["compare", "intents", "intents", "--task", text(&task), option, path];
        let said = complaint(&args);
        assert!(said.contains("create it first") || said.contains("same file"), "{said}");
    }

    // The same network with another vocabulary.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare-stranger");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let whole = models().join("intents");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(whole.join(name), folder.join(name)).unwrap();
    }
    let tokenizer = std::fs::read_to_string(whole.join("tokenizer.json")).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer.replace("<|user|>", "<|person|>"))
        .unwrap();
    let said = complaint(&["compare", "intents", text(&folder), "--task", text(&task)]);
    assert!(said.contains("different vocabularies") && said.contains("demask eval"), "{said}");
}

#[test]
fn gaps_and_texts_are_measured() {
    let gaps = temporary("gaps.jsonl", GAPS);
    let scores = json(&["eval", "intents", "--task", text(&gaps), "--json", "--nll"]);
    assert_eq!((scores["n"].as_u64(), scores["kind"].as_str()), (Some(2), Some("gaps")));
    assert!((0.0..=100.0).contains(&scores["exact"].as_f64().unwrap()));
    assert!(scores["tokens"].as_f64() >= scores["exact"].as_f64(), "{scores}");
    let hidden = "PlayMusicBookRestaurant}".len();
    assert!(scores["bound"]["bytes"].as_u64().is_none_or(|bytes| bytes as usize >= hidden));
    let said = complaint(&["eval", "intents", "--task", text(&gaps), "--gen-length", "8"]);
    assert!(said.contains("--gen-length"), "{said}");
    let frames = frames("long.jsonl", 1);
    let args = ["eval", "intents", "--task", text(&frames), "--nll", "--gen-length"];
    let said = complaint(&[&args[..], &["1000000000000"]].concat());
    assert!(said.contains("lower --gen-length"), "{said}");

    let words = "play some jazz by weezer é";
    let texts =
        temporary("texts.jsonl", &format!("{{\"text\":\"{words}\"}}\n{{\"text\":\"hello\"}}\n"));
    let args = ["eval", "intents", "--task", text(&texts), "--json"];
    let scores = json(&args);
    let (bytes, chars) = (words.len() + 5, words.chars().count() + 5);
    assert_eq!(scores["bound"]["bytes"].as_f64(), Some(bytes as f64), "{scores}");
    assert_eq!(scores["bound"]["characters"].as_f64(), Some(chars as f64));
    assert!(scores["nll"].as_f64().unwrap() > scores["nll_byte"].as_f64().unwrap());
    // In windows, every token is still there once.
    let windows = json(&[&args[..], &["--window", "6", "--stride", "2"]].concat());
    assert_eq!(windows["bound"]["tokens"], scores["bound"]["tokens"]);
    assert!(windows["bound"]["pieces"].as_u64() > scores["bound"]["pieces"].as_u64());
    for (more, said) in [(["--window", "100000"], "context"), (["--stride", "100000"], "--stride")]
    {
        assert!(complaint(&[&args[..], &more].concat()).contains(said));
    }
    let said = complaint(&["sweep", "intents", "--task", text(&texts)]);
    assert!(said.contains("ask nothing"), "{said}");
}

/// The lines of an answers file.
fn answers(task: &Path, name: &str) -> Vec<Value> {
    let file = temporary(name, "from before");
    let args = ["eval", "intents", "--task", text(task), "--threshold", "0.9", "--json"];
    let scores = json(&[&args[..], &["--answers", text(&file)]].concat());
    let lines = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(scores["n"].as_u64(), Some(lines.len() as u64));
    let items: Vec<u64> = lines.iter().map(|line| line["item"].as_u64().unwrap()).collect();
    assert!(items.iter().copied().eq(1..=lines.len() as u64), "{items:?}");
    lines
}

#[test]
fn answers_can_be_seen() {
    let task = frames("seen.jsonl", 3);
    let lines = answers(&task, "seen-answers.jsonl");
    let scores = json(&["eval", "intents", "--task", text(&task), "--threshold", "0.9", "--json"]);
    let right = lines.iter().filter(|line| line["right"] == true).count();
    assert!(
        (scores["frame"].as_f64().unwrap() - 100.0 * right as f64 / 3.0).abs() < 1e-9,
        "{scores}"
    );
    for line in &lines {
        let run = ["run", "intents", "--prompt", line["prompt"].as_str().unwrap()];
        let run = json(&[&run[..], &["--threshold", "0.9", "--json"]].concat());
        assert_eq!(
            (&line["answer"], line["right"] == true),
            (&run["text"], line["answer"] == line["expected"])
        );
    }

    let gaps = answers(&temporary("seen-gaps.jsonl", GAPS), "seen-gaps-answers.jsonl");
    let counts = gaps.iter().map(|line| line["expected"].as_array().unwrap().len());
    assert!(counts.eq([1, 2]), "{gaps:?}");
    for line in &gaps {
        assert_eq!(line["right"] == true, line["answer"] == line["expected"], "{line}");
    }
    assert!(gaps[1]["expected"][0].as_str().unwrap().contains("BookRestaurant"), "{gaps:?}");

    let texts = temporary("seen-texts.jsonl", "{\"text\":\"hello\"}");
    let refused = |task: &Path, file: &str| {
        complaint(&["eval", "intents", "--task", text(task), "--answers", file])
    };
    assert!(refused(&texts, "answers.jsonl").contains("ask nothing"));
    assert!(refused(&task, text(&task)).contains("same file"));
    assert!(refused(&task, "no/such/answers.jsonl").contains("create it first"));
}

#[test]
fn budgets_decide() {
    let task = frames("budget.jsonl", 2);
    let args = ["eval", "intents", "--task", text(&task), "--threshold", "0.5"];
    let said =
        complaint(&[&args[..], &["--budget", "invalid<=100", "--budget", "frame>100"]].concat());
    assert!(said.contains("frame > 100 is missed: frame is"), "{said}");
    assert!(demask(&[&args[..], &["--budget", "frame>=0"]].concat()).status.success());
    let said = complaint(&[&args[..], &["--budget", "nll<=1"]].concat());
    assert!(said.contains("frame, intent, slot_f1"), "{said}");
    // A budget that is none makes no sense of the command line.
    assert_eq!(demask(&[&args[..], &["--budget", "frame"]].concat()).status.code(), Some(2));
}

#[test]
fn lists_are_written_and_read() {
    let args =
        ["lists", "--task", "copy", "shuffle", "--lengths", "3-4", "--count", "3", "--seed", "7"];
    let written = demask(&args).stdout;
    assert_eq!(written, demask(&args).stdout);
    let lines = String::from_utf8(written).unwrap();
    let lengths = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lengths: Vec<usize> = lengths.map(|line| line["list"].as_array().unwrap().len()).collect();
    assert_eq!(lengths, [3, 4, 3, 3, 4, 3]);
    // A task's lines do not depend on the others.
    let alone =
        demask(&["lists", "--task", "shuffle", "--lengths", "3-4", "--count", "3", "--seed", "7"]);
    assert!(lines.ends_with(&String::from_utf8(alone.stdout).unwrap()));
    let file = temporary("lists.jsonl", &lines);
    let scores = json(&["eval", "intents", "--task", text(&file), "--threshold", "0.5", "--json"]);
    assert_eq!((scores["n"].as_u64(), scores["right"].as_f64()), (Some(6), Some(0.0)));
    let groups = scores["groups"].as_array().unwrap();
    assert_eq!(
        (groups.len(), &groups[1]["name"], &groups[1]["n"]),
        (2, &"shuffle".into(), &3.into())
    );
    let args = ["compare", "intents", "intents", "--task", text(&file), "--limit", "2"];
    let rest = [
        "--threshold",
        "0.5",
        "--draws",
        "1",
        "--budget",
        "copy>0",
        "--budget",
        "copy_difference>=0",
    ];
    let said = complaint(&[&args[..], &rest].concat());
    assert!(said.contains("copy > 0 is missed") && !said.contains("copy_difference"), "{said}");
    assert!(complaint(&["lists", "--task", "walk"]).contains("shuffle"));
    let said = complaint(&[
        "eval",
        "intents",
        "--task",
        text(&temporary("bad.jsonl", "{\"task\":\"copy\",\"list\":[1]}")),
    ]);
    assert!(said.contains("line 1"), "{said}");
}
