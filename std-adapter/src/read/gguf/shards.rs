//! Models in several files: `name-00001-of-00003.gguf` and so on.
//!
//! The files are found by their number, so that no file can lead anywhere else or around in a
//! circle, and each must say itself that it has this number.

use std::path::{Path, PathBuf};

use super::error::GgufError;
use super::header::Header;
use super::value::{Number, Value};
use crate::mmap::Access;
use crate::read::data::Data;

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";
/// Keys that say how a model is split.
pub(crate) const SPLIT_KEYS: [&str; 3] = [NUMBER, COUNT, TENSORS];
/// A model of a trillion parameters comes in a few dozen files.
const MAX_SHARDS: u64 = 1024;

/// One file of a model.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) data: Data,
    pub(super) header: Header,
}

impl Shard {
    fn open(path: &Path, access: Access) -> Result<Self, GgufError> {
        Self::parse(Data::open(path, access)?)
    }

    fn parse(data: Data) -> Result<Self, GgufError> {
        let header = Header::parse(data.reader(), data.length())
            .map_err(|source| GgufError::Header { path: data.path().to_owned(), source })?;
        Ok(Self { data, header })
    }

    /// A whole number of the metadata.
    fn count(&self, key: &str) -> Result<Option<u64>, GgufError> {
        let Some(value) = self.header.metadata.get(key) else { return Ok(None) };
        match value.number() {
            Some(Number::Whole(number)) if number >= 0 => Ok(u64::try_from(number).ok()),
            _ => Err(wrong_type(key, value, "a whole number")),
        }
    }

    fn unfit(&self, reason: String) -> GgufError {
        GgufError::Shards { path: self.data.path().to_owned(), reason }
    }

    /// Refuses a file that is not number `index` of `count`.
    fn check_place(&self, index: u64, count: u64) -> Result<(), GgufError> {
        match (self.count(NUMBER)?, self.count(COUNT)?) {
            (Some(n), Some(c)) if n == index && c == count => Ok(()),
            (number, of) => {
                let said = |n: Option<u64>, add: u64| {
                    n.map_or("nothing".into(), |n| n.saturating_add(add).to_string())
                };
                let (number, of, index) = (said(number, 1), said(of, 0), index + 1);
                Err(self.unfit(format!(
                    "it says that it is part {number} of {of}, its name that it is {index} of {count}"
                )))
            }
        }
    }
}

pub(super) fn wrong_type(key: &str, value: &Value, expected: &'static str) -> GgufError {
    GgufError::Type { key: super::shortened(key), found: value.kind(), expected }
}

/// A whole model in memory.
pub(super) fn in_memory(bytes: Vec<u8>) -> Result<Shard, GgufError> {
    let shard = Shard::parse(Data::Memory(bytes))?;
    match shard.count(COUNT)? {
        Some(count @ 2..) => Err(shard.unfit(format!("it is one of {count} files of a model"))),
        _ => Ok(shard),
    }
}

/// Opens a file, and with it all other files of its model. Any of them may be given.
pub(super) fn open_all(path: &Path, access: Access) -> Result<Vec<Shard>, GgufError> {
    let given = Shard::open(path, access)?;
    let count = given.count(COUNT)?.unwrap_or(1);
    if count <= 1 {
        return Ok(vec![given]);
    }
    if count > MAX_SHARDS {
        return Err(
            given.unfit(format!("it is split into {count} files, at most {MAX_SHARDS} can be"))
        );
    }
    let Some((prefix, index)) = parse_name(path, count) else {
        let name = format!("name-00001-of-{count:05}.gguf");
        return Err(
            given.unfit(format!("it is part of a split model, whose files are named {name}"))
        );
    };
    given.check_place(index, count)?;
    let mut given = Some(given);
    let mut shards = Vec::new();
    for other in 0..count {
        let shard = match given.take_if(|_| other == index) {
            Some(given) => given,
            None => {
                let path = numbered(path, prefix, other, count);
                if !path.exists() {
                    return Err(GgufError::MissingShard { path, count });
                }
                Shard::open(&path, access)?
            }
        };
        shard.check_place(other, count)?;
        shards.push(shard);
    }
    check_tensor_count(&shards)?;
    Ok(shards)
}

fn check_tensor_count(shards: &[Shard]) -> Result<(), GgufError> {
    let found: u64 = shards.iter().map(|shard| shard.header.tensors.len() as u64).sum();
    for shard in shards {
        if let Some(promised) = shard.count(TENSORS)?.filter(|promised| *promised != found) {
            let reason = format!("it promises {promised} tensors, all files together have {found}");
            return Err(shard.unfit(reason));
        }
    }
    Ok(())
}

/// What stands before the numbers in a file name, and the file's number counted from 0.
fn parse_name(path: &Path, count: u64) -> Option<(&str, u64)> {
    let name = path.file_name()?.to_str()?;
    let (rest, number) = name.strip_suffix(&format!("-of-{count:05}.gguf"))?.rsplit_once('-')?;
    let plain = number.len() >= 5 && number.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|n| plain && (1..=count).contains(n))?;
    Some((rest, number - 1))
}

fn numbered(path: &Path, prefix: &str, index: u64, count: u64) -> PathBuf {
    path.with_file_name(format!("{prefix}-{:05}-of-{count:05}.gguf", index + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_numbers() {
        let parsed = |name: &'static str| parse_name(Path::new(name), 3);
        assert_eq!(parsed("a/x-00001-of-00003.gguf"), Some(("x", 0)));
        assert_eq!(parsed("x-y-00003-of-00003.gguf"), Some(("x-y", 2)));
        for wrong in ["x.gguf", "x-00004-of-00003.gguf", "x-00000-of-00003.gguf", "x-1-of-3.gguf"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        assert_eq!(parsed("x-+0001-of-00003.gguf"), None);
        let other = numbered(Path::new("a/x-00001-of-00003.gguf"), "x", 1, 3);
        assert_eq!(other, Path::new("a/x-00002-of-00003.gguf"));
    }
}
