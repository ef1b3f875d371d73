//! Calls of the command, and the places that tests read and write.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn demask(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_demask")).args(args).output().unwrap()
}

pub fn succeed(args: &[&str]) -> Output {
    let output = demask(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

pub fn json(args: &[&str]) -> Value {
    serde_json::from_slice(&succeed(args).stdout).unwrap()
}

/// A call that fails with one line, and does not panic.
pub fn failed(args: &[&str]) -> Output {
    let output = demask(args);
    assert!(!output.status.success(), "{args:?} should fail");
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!errors.contains("panicked") && errors.lines().count() == 1, "{errors}");
    output
}

/// The one line that a failing command prints.
pub fn complaint(args: &[&str]) -> String {
    String::from_utf8(failed(args).stderr).unwrap()
}

pub fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

pub fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
