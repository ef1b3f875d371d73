//! `demask sweep` and `demask policies` as a user or a script meets them.

use crate::call::{complaint, demask, models, succeed, temporary, text};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn json(args: &[&str]) -> (Value, String) {
    let output = succeed(args);
    (
        serde_json::from_slice(&output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr).into(),
    )
}

/// The first `count` lines of the bundled task, and an empty folder beside them.
fn task(name: &str, count: usize) -> (PathBuf, PathBuf) {
    let folder = temporary(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let valid = models().join("intents/valid.jsonl");
    let text = std::fs::read_to_string(valid).unwrap();
    let lines: Vec<&str> = text.lines().take(count).collect();
    let file = folder.join("task.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    (file, folder.join("out"))
}

/// A small sweep with something that is refused.
fn sweep(file: &Path, out: &Path, more: &[&str]) -> (Value, String) {
    let args = ["sweep", "intents", "--task", text(file), "--out", text(out), "--json"];
    let grid = ["--policies", "low-confidence", "threshold:0.9", "--caches", "none", "block"];
    json(&[&args[..], more, &grid].concat())
}

/// What a resumed sweep must repeat: everything but nothing.
fn results(out: &Path) -> Vec<Value> {
    let lines = std::fs::read_to_string(out.join("results.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_sweep_measures_refuses_and_reports() {
    let (file, out) = task("sweep-reports", 3);
    let (report, _) = sweep(&file, &out, &[]);
    let cells = report["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 2, "{report:#}");
    let gain = |cell: &Value, of: &str| cell["gain"][of]["value"].as_f64().unwrap();
    assert_eq!(cells[0]["label"], "low-confidence");
    for cost in ["forwards", "rows", "seconds"] {
        assert!((gain(&cells[0], cost) - 1.0).abs() < 1e-9, "the baseline against itself");
    }
    assert!(gain(&cells[1], "forwards") > 2.0 && gain(&cells[1], "rows") > 2.0);
    let refused = report["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 2);
    assert!(refused[0]["reason"].as_str().unwrap().contains("block-causal"), "{refused:?}");
    // Of the same items by themselves.
    let args = ["eval", "intents", "--task", text(&file), "--json"];
    let (eval, _) = json(&[&args[..], &["--threshold", "0.9"]].concat());
    let close = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-9;
    assert!(close(&cells[1]["quality"]["value"], &eval["frame"]), "{cells:?} {eval:?}");
    assert!(close(&cells[1]["cost"]["forwards"]["value"], &eval["forwards"]), "{cells:?} {eval:?}");
    // Published: the threshold, alone against the baseline.
    let claims = report["published"].as_array().unwrap();
    assert_eq!((claims.len(), claims[0]["of"].as_str()), (1, Some("forwards")));

    let saved: Value =
        serde_json::from_slice(&std::fs::read(out.join("sweep.json")).unwrap()).unwrap();
    assert_eq!(saved, report);
    let csv = std::fs::read_to_string(out.join("sweep.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 + 2);
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(csv.lines().all(|line| line.split(',').count() >= columns), "{csv}");
    assert!(csv.lines().last().unwrap().contains("threshold:p=0.9,even,block,stop"), "{csv}");
    let page = std::fs::read_to_string(out.join("index.html")).unwrap();
    for part in ["<svg viewBox", "prefers-color-scheme", "viewport", "Published gains", "Refused"] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!((page.matches("<figure>").count(), page.matches("class=\"front\"").count()), (3, 3));
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));
}

#[test]
fn a_sweep_goes_on_where_it_was() {
    let (file, out) = task("sweep-resumes", 2);
    let (first, said) = sweep(&file, &out, &[]);
    assert_eq!(said, "");
    let before = results(&out);
    // Nothing to do: the measured seconds would differ if anything ran again.
    let (second, _) = sweep(&file, &out, &[]);
    assert_eq!((&second, results(&out)), (&first, before.clone()));

    // A line is damaged: it and only it is measured again.
    let lines = std::fs::read_to_string(out.join("results.jsonl")).unwrap();
    let place = lines.find("threshold").unwrap();
    std::fs::write(out.join("results.jsonl"), &lines[..place]).unwrap();
    let (third, said) = sweep(&file, &out, &[]);
    assert!(said.contains("line 3") && said.contains("measured again"), "{said}");
    let after = results(&out);
    assert_eq!(after[..2], before[..2]);
    assert_eq!(third["cells"][1]["quality"], first["cells"][1]["quality"]);
    assert_eq!(third["cells"][1]["cost"]["rows"], first["cells"][1]["cost"]["rows"]);

    // Other items and other settings are other results.
    let (_, said) = sweep(&file, &out, &["--limit", "1"]);
    assert!(said.contains("4 results are of another model, task, setting or grid"), "{said}");
    let (_, said) = sweep(&file, &out, &["--gen-length", "48"]);
    assert!(said.contains("8 results"), "{said}");
    assert_eq!(results(&out).len(), 12);
    let (last, _) = sweep(&file, &out, &[]);
    assert_eq!(last, third);
}

#[test]
fn grids_and_tasks_of_other_kinds() {
    let (_, out) = task("sweep-grid", 1);
    let folder = out.parent().unwrap();
    let file = folder.join("answers.jsonl");
    let line = "{\"prompt\":\"play some jazz\",\"answer\":\"never this\"}\n";
    std::fs::write(&file, line).unwrap();
    let grid = folder.join("grid.json");
    std::fs::write(&grid, "{\"cells\":[{\"policy\":\"local-leap\",\"block_length\":14}]}").unwrap();
    let args = ["sweep", "intents", "--task", text(&file), "--out", text(&out), "--json"];
    let (report, _) = json(&[&args[..], &["--grid", text(&grid)]].concat());
    assert_eq!(report["about"]["measure"], "answers right");
    assert_eq!(report["cells"][1]["quality"]["value"], 0.0);
    assert_eq!(report["cells"][1]["block_length"], 14);

    std::fs::write(&grid, "{\"polices\":[]}").unwrap();
    assert!(complaint(&[&args[..], &["--grid", text(&grid)]].concat()).contains("policies"));
    assert!(complaint(&[&args[..], &["--policies", "treshold"]].concat()).contains("threshold?"));
    assert!(complaint(&[&args[..], &["--limit", "0"]].concat()).contains("--limit"));
    std::fs::write(&file, "{\"prompt\":1}\n").unwrap();
    assert!(complaint(&args).contains("line 1"));
}

#[test]
fn policies_lists_everything_and_details() {
    let (all, _) = json(&["policies", "--json"]);
    for (kind, least) in [("policies", 20), ("schedules", 4), ("caches", 10), ("eos", 5)] {
        let list = all[kind].as_array().unwrap();
        assert!(list.len() >= least, "{kind}: {}", list.len());
        for entry in list {
            let name = entry["name"].as_str().unwrap();
            assert!(!entry["rule"].as_str().unwrap().is_empty(), "{name}");
            assert!(!entry["source"].as_str().unwrap().is_empty(), "{name}");
            assert!(entry["needs"].is_array() && entry["parameters"].is_array(), "{name}");
            assert_eq!(kind == "caches", entry["exact"].is_boolean(), "{name}");
        }
    }
    let listing = String::from_utf8(demask(&["policies"]).stdout).unwrap();
    for name in ["low-confidence", "threshold", "p=0.9", "approximate", "arXiv 2505.22618"] {
        assert!(listing.contains(name), "{name}");
    }
    let one = demask(&["policies", "--policy", "prophet+threshold"]).stdout;
    let one = String::from_utf8(one).unwrap();
    for part in ["--policy prophet", "--policy threshold", "p=0.9", "published", "source"] {
        assert!(one.contains(part), "{part}: {one}");
    }
}

const RUN: [&str; 5] = ["run", "intents", "--prompt", "play some jazz by weezer", "--json"];

#[test]
fn every_policy_cache_and_rule_answers_or_says_why_not() {
    let (all, _) = json(&["policies", "--json"]);
    for (kind, option) in [
        ("policies", "--policy"),
        ("schedules", "--schedule"),
        ("caches", "--cache"),
        ("eos", "--eos"),
    ] {
        for entry in all[kind].as_array().unwrap() {
            let name = entry["name"].as_str().unwrap();
            let output = demask(&[&RUN[..], &[option, name, "--gen-length", "24"]].concat());
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!said.contains("panicked"), "{option} {name}: {said}");
            if !output.status.success() {
                // This model is bidirectional, and hides nothing if it is not asked to.
                let reasons = ["block-causal", "does not", "cannot", "needs", "goes with"];
                assert!(reasons.iter().any(|reason| said.contains(reason)), "{name}: {said}");
                eprintln!("refused: {option} {name}: {}", said.trim());
                continue;
            }
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(answer["forwards"].as_u64().unwrap() > 0, "{name}");
        }
    }
}

#[test]
fn presets_are_the_familys_and_options_go_before_them() {
    let explained = |more: &[&str]| {
        let output = demask(&[&RUN[..], &["--explain"], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stderr).unwrap()
    };
    let faithful = explained(&["--preset", "faithful"]);
    let expected =
        "policy low-confidence, schedule even, cache none, end fill; 56 tokens in blocks of 56";
    assert!(
        faithful.contains("preset faithful of llada") && faithful.contains(expected),
        "{faithful}"
    );
    let single = explained(&["--preset", "fast"]);
    assert!(single.contains("policy threshold:p=0.9") && single.contains("cache none"), "{single}");
    let blocks = explained(&["--preset", "fast", "--gen-length", "64"]);
    assert!(blocks.contains("blocks of 32") && blocks.contains("cache dual"), "{blocks}");
    let mixed = explained(&["--preset", "faithful", "--policy", "local-leap", "--eos", "stop"]);
    assert!(
        mixed.contains("policy local-leap:anchor=0.9") && mixed.contains("end stop"),
        "{mixed}"
    );
    let threshold = explained(&["--preset", "faithful", "--threshold", "0.8"]);
    assert!(threshold.contains("threshold:p=0.8"), "{threshold}");
    // What is usual is said too, and the same tokens come out of the same choice.
    assert!(explained(&[]).contains("policy low-confidence"));
    let tokens = |more: &[&str]| json(&[&RUN[..], more].concat()).0["tokens"].clone();
    assert_eq!(tokens(&["--threshold", "0.7"]), tokens(&["--policy", "threshold:0.7"]));
}

#[test]
fn contradictions_about_methods_are_named() {
    // Some of these are found while the options are read, and come with a hint of more than one line.
    let run = |more: &[&str]| {
        let output = demask(&[&RUN[..], more].concat());
        assert!(!output.status.success(), "{more:?} should fail");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(&["--policy", "treshold"]).contains("did you mean threshold?"));
    assert!(run(&["--policy", "threshold:p=2"]).contains("between 0 and 1"));
    assert!(run(&["--policy", "threshold:0.8", "--threshold", "0.9"]).contains("--threshold"));
    assert!(run(&["--policy", "threshold", "--steps", "8"]).contains("--steps"));
    assert!(run(&["--cache", "block"]).contains("block-causal"));
    assert!(run(&["--cache", "dul"]).contains("did you mean dual?"));
    assert!(run(&["--policy", "daedal", "--cache", "dual"]).contains("dual"));
}
