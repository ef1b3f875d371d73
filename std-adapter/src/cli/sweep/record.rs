//! Results on disk: one line of JSON per finished cell, so that a sweep that was broken off goes on
//! where it was.

use super::grid::CellText;
use crate::atomic::{WriteError, write_atomic};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Changes when a measurement means something else than before.
const VERSION: &str = "demask sweep 2";
/// Longest results file.
const MAX_RESULTS: u64 = 1 << 30;

/// A finished cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Digest of everything that the result depends on.
    pub(super) key: String,
    pub(super) cell: CellText,
    /// Why it was not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) measured: Option<Measured>,
}

/// One number per item.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    /// 1 for a right answer, 0 for a wrong one; for several gaps, the share that is right.
    pub(super) quality: Vec<f64>,
    pub(super) forwards: Vec<f64>,
    pub(super) rows: Vec<f64>,
    pub(super) seconds: Vec<f64>,
    /// Tokens that were replaced or taken back, in all.
    pub(super) revisions: u64,
    /// Seconds are processor time.
    pub(super) cpu_time: bool,
}

impl Record {
    /// Whether it holds what a record of so many items must.
    fn is_sound(&self, items: usize) -> bool {
        let lists = |m: &Measured| {
            let lists = [&m.quality, &m.forwards, &m.rows, &m.seconds];
            let whole = |list: &&Vec<f64>| {
                list.len() == items && list.iter().all(|x| x.is_finite() && *x >= 0.0)
            };
            lists.iter().all(whole)
        };
        match (&self.refused, &self.measured) {
            (Some(_), None) => true,
            (None, Some(measured)) => lists(measured),
            _ => false,
        }
    }
}

/// The digest that a record is known by.
pub(super) fn key(common: &str, cell: &CellText) -> String {
    let mut hash = Sha256::new();
    for part in [VERSION, common, &serde_json::to_string(cell).unwrap_or_default()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut key = String::new();
    for byte in hash.finalize().iter().take(16) {
        // Writing to a `String` cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    key
}

/// What a file of results holds.
#[derive(Debug, Default)]
pub(super) struct Results {
    records: Vec<Record>,
    /// Numbers of lines that are none.
    pub(super) damaged: Vec<usize>,
}

impl Results {
    /// Reads a file; none is no results.
    pub(super) fn read(path: &Path, items: usize) -> std::io::Result<Self> {
        match crate::read::read_capped(path, MAX_RESULTS) {
            Ok(bytes) => Ok(Self::parse(&bytes, items)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8], items: usize) -> Self {
        let mut results = Self::default();
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            // A record of another number of items has another key: it is sound for its own number.
            let record: Option<Record> = serde_json::from_slice(line).ok();
            let count = |r: &Record| r.measured.as_ref().map_or(items, |m| m.quality.len());
            match record.filter(|record| record.is_sound(count(record))) {
                Some(record) => results.put(record),
                None => results.damaged.push(number),
            }
        }
        results
    }

    pub(super) fn find(&self, key: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.key == key)
    }

    /// Number of records whose key is not among `keys`.
    pub(super) fn others(&self, keys: &[String]) -> usize {
        self.records.iter().filter(|record| !keys.contains(&record.key)).count()
    }

    pub(super) fn put(&mut self, record: Record) {
        self.records.retain(|other| other.key != record.key);
        self.records.push(record);
    }

    /// Writes all records, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> Result<(), WriteError> {
        write_atomic(path, |file| {
            for record in &self.records {
                serde_json::to_writer(&mut *file, record)?;
                file.write_all(b"\n")?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, quality: Vec<f64>) -> Record {
        let n = quality.len();
        let measured = Measured {
            quality,
            forwards: vec![3.0; n],
            rows: vec![9.0; n],
            seconds: vec![0.5; n],
            ..Measured::default()
        };
        let (key, cell) = (key.to_owned(), CellText::default());
        Record { key, cell, refused: None, measured: Some(measured) }
    }

    #[test]
    fn what_is_written_reads_back_and_damage_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        assert!(Results::read(&path, 2).unwrap().records.is_empty());
        let mut results = Results::default();
        results.put(record("a", vec![1.0, 0.0]));
        results.put(record("b", vec![1.0, 1.0]));
        let refused = Record { refused: Some("no".into()), measured: None, ..record("c", vec![]) };
        results.put(refused.clone());
        results.write(&path).unwrap();
        let back = Results::read(&path, 2).unwrap();
        assert_eq!(back.records, results.records);
        assert_eq!((back.find("c"), back.others(&["a".into()])), (Some(&refused), 2));

        let text = std::fs::read_to_string(&path).unwrap();
        // Cut in the middle of the second line, and nonsense after it.
        let second = text.find('\n').unwrap() + 20;
        let broken = format!("{}\nnonsense\n{{\"key\":\"d\"}}\n", &text[..second]);
        std::fs::write(&path, broken).unwrap();
        let back = Results::read(&path, 2).unwrap();
        assert_eq!(back.damaged, [2, 3, 4]);
        assert_eq!(back.records, [record("a", vec![1.0, 0.0])]);
    }

    #[test]
    fn lists_of_different_lengths_are_damage() {
        let mut odd = record("a", vec![1.0, 0.0]);
        odd.measured.as_mut().unwrap().rows.pop();
        let line = serde_json::to_vec(&odd).unwrap();
        assert_eq!(Results::parse(&line, 2).damaged, [1]);
    }

    #[test]
    fn keys_depend_on_everything() {
        let cell = CellText::default();
        let other = CellText { steps: Some(3), ..cell.clone() };
        assert_eq!(key("x", &cell), key("x", &cell));
        assert_ne!(key("x", &cell), key("y", &cell));
        assert_ne!(key("x", &cell), key("x", &other));
        assert_eq!(key("x", &cell).len(), 32);
    }
}
