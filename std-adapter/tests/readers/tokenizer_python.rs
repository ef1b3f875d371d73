//! The same ids as Hugging Face's Python package, from tokenizers that it trained.
//!
//! That package is built with another regex engine than the Rust crate, so it is another witness.
//! Without it the test says so and passes.

use std::path::{Path, PathBuf};
use std::process::Command;

use demask::text::{Specials, Tokenizer};
use demask_std::prompt;
use demask_std::read::tokenizer_json;
use unicode_normalization::is_nfc;

/// Text and code from this repository, and prose if there is some.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["CONTRIBUTING.md", "core/src/session.rs", "docs/format.md"]
        .map(|name| root.join(name))
        .into();
    let prose = root.join("../shared/data/shakespeare/train.txt");
    files.extend(prose.exists().then_some(prose));
    files
}

#[test]
fn the_python_package_gives_the_same_ids() {
    let has_package = Command::new("python3").args(["-c", "import tokenizers"]).output();
    if !has_package.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: python3 has no package `tokenizers`");
        return;
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizer_python");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let out = tempfile::tempdir().unwrap();
    let status = Command::new("python3")
        .arg(tests.join("make.py"))
        .arg(out.path())
        .args(sources(&root))
        .env("TOKENIZERS_PARALLELISM", "false")
        .status()
        .unwrap();
    assert!(status.success());
    for kind in ["gpt2", "qwen2", "llama3", "llada"] {
        let path = |ending: &str| out.path().join(format!("{kind}.{ending}"));
        let section = tokenizer_json::read(&path("json")).unwrap().to_section().unwrap();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        let lines = std::fs::read_to_string(path("jsonl")).unwrap();
        let mut count = 0;
        for line in lines.lines() {
            let (text, found, plain): (String, Vec<u32>, Vec<u32>) =
                serde_json::from_str(line).unwrap();
            assert_eq!(prompt::ids_with_specials(&tokenizer, &text).unwrap(), found, "{text:?}");
            assert_eq!(prompt::plain_ids(&tokenizer, &text).unwrap(), plain, "{text:?}");
            if !tokenizer.wants_nfc() || is_nfc(&text) {
                assert_eq!(prompt::decode(&tokenizer, &found, Specials::Render), text);
            }
            count += 1;
        }
        assert_eq!(count, 10_000, "{kind}");
    }
}
