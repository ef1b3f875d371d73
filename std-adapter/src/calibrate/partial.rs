//! What is done of a long run, beside the file that it will be; it is read from there again.
//!
//! A header of magic and digest, then records that are only ever added. A record that a killed run has left half
//! written fails its own digest, and is written again.

use super::error::CalibrateError;
use super::layers::Outcome;
use crate::atomic::write_atomic_bytes;
use crate::read::read_exact_at;
use demask::image::{ModelConfig, TensorRole};
use demask::packed::{GROUP, Group, GroupScale, WeightFormat};
use demask_quant::BoxError;
use demask_quant::calibrated::{QuantizedTensor, Rounded};
use half::f16;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"dmkpart1";
const DIGEST: usize = 32;
/// Role, layer, format, then how many groups.
const RECORD_HEAD: usize = 3 * 2 + 8;
/// Three `f64`.
const NUMBERS: usize = 3 * 8;
/// What stands before the groups.
const PREFIX: usize = RECORD_HEAD + NUMBERS;
const GROUP_BYTES: usize = GROUP + 2;
/// Bytes that are checked at a time.
const CHUNK: usize = 1 << 16;

/// The file, and where in it the matrices are.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
    records: BTreeMap<TensorRole, Record>,
    found: usize,
    end: u64,
}

/// A finished matrix.
#[derive(Debug, Clone, Copy)]
struct Record {
    outcome: Outcome,
    cols: usize,
    groups: u64,
    /// Where the first group begins.
    start: u64,
}

impl Partial {
    /// The file that goes with `out`: the same name with `.partial` behind it.
    #[must_use]
    pub fn path_for(out: &Path) -> PathBuf {
        let mut name = out.as_os_str().to_owned();
        name.push(".partial");
        name.into()
    }

    /// Opens what a run of the same `digest` has left, or begins anew. The digest is of everything that decides
    /// what is stored: weights, options, canvases.
    ///
    /// # Errors
    /// [`CalibrateError::Partial`] if the file cannot be read or written, or is no such file.
    pub fn open(
        path: &Path,
        digest: [u8; DIGEST],
        config: &ModelConfig,
    ) -> Result<Self, CalibrateError> {
        let failed = |source| CalibrateError::Partial { path: path.to_owned(), source };
        let header = [&MAGIC[..], &digest].concat();
        let (mut records, mut end) = (BTreeMap::new(), header.len() as u64);
        match beginning(path, header.len()).map_err(failed)? {
            Some(found) if found == header => {
                let mut file = BufReader::new(File::open(path).map_err(failed)?);
                file.seek(SeekFrom::Start(end)).map_err(failed)?;
                while let Some(record) = next_record(&mut file, end, config) {
                    end = record.end();
                    records.insert(record.outcome.role, record);
                }
            }
            Some(found) if found.len() >= MAGIC.len() && !found.starts_with(MAGIC) => {
                let reason = "it is not the file of a calibration run";
                return Err(failed(io::Error::new(io::ErrorKind::InvalidData, reason)));
            }
            _ => write_atomic_bytes(path, &header)?,
        }
        // Not opened for appending: Windows would not shorten it.
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        file.set_len(end).map_err(failed)?;
        let found = records.len();
        Ok(Self { path: path.to_owned(), file, records, found, end })
    }

    /// Matrices that another run had done.
    #[must_use]
    pub fn found(&self) -> usize {
        self.found
    }

    pub(super) fn outcome(&self, role: TensorRole) -> Option<Outcome> {
        self.records.get(&role).map(|record| record.outcome)
    }

    /// Adds a finished matrix.
    pub(super) fn add(
        &mut self,
        outcome: Outcome,
        tensor: &QuantizedTensor,
    ) -> Result<(), CalibrateError> {
        let mut bytes = Vec::with_capacity(tensor.groups.len() * GROUP_BYTES + 128);
        let (code, layer) = outcome.role.code();
        let format = u16::from(tensor.format == WeightFormat::Q8);
        [code, layer, format].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend((tensor.groups.len() as u64).to_le_bytes());
        for number in [outcome.outputs, outcome.error, outcome.nearest] {
            bytes.extend(number.to_le_bytes());
        }
        for (values, scale) in &tensor.groups {
            bytes.extend(bytemuck::cast_slice::<i8, u8>(values));
            let GroupScale::Plain(scale) = scale else { continue };
            bytes.extend(scale.to_le_bytes());
        }
        let digest = Sha256::digest(&bytes);
        bytes.extend(digest);
        let (start, groups) = (self.end + PREFIX as u64, tensor.groups.len() as u64);
        let record = Record { outcome, cols: tensor.cols, groups, start };
        let to_end = self.file.seek(SeekFrom::Start(self.end));
        let written = to_end.and_then(|_| self.file.write_all(&bytes));
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|source| CalibrateError::Partial { path: self.path.clone(), source })?;
        self.end = record.end();
        self.records.insert(outcome.role, record);
        Ok(())
    }

    /// Removes the file: the image is complete.
    pub fn finish(self) {
        drop(self.file);
        // A leftover is harmless: another run finds it, or replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Rounded for Partial {
    fn shape(&self, role: TensorRole) -> Option<(WeightFormat, usize)> {
        self.records.get(&role).map(|record| (record.outcome.format, record.cols))
    }

    fn read_groups(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [Group],
    ) -> Result<(), BoxError> {
        let record = self.records.get(&role).ok_or("the tensor has not been rounded")?;
        let first = first_row as u64 * record.cols.div_ceil(GROUP) as u64;
        if first + out.len() as u64 > record.groups {
            return Err("the tensor has no such rows".into());
        }
        let mut bytes = vec![0; out.len() * GROUP_BYTES];
        let offset = record.start + first * GROUP_BYTES as u64;
        read_exact_at(&self.file, &mut bytes, offset)
            .map_err(|error| format!("cannot read {}: {error}", self.path.display()))?;
        let groups = bytes.chunks_exact(GROUP_BYTES).filter_map(group);
        out.iter_mut().zip(groups).for_each(|(out, group)| *out = group);
        Ok(())
    }
}

impl Record {
    /// Where the next record begins.
    fn end(&self) -> u64 {
        self.start + self.groups * GROUP_BYTES as u64 + DIGEST as u64
    }
}

/// Up to `length` bytes that a file begins with; `None` if there is no file.
fn beginning(path: &Path, length: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::with_capacity(length);
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The next record, which begins at `offset`; `None` if there is none, or it is damaged.
fn next_record(file: &mut impl Read, offset: u64, config: &ModelConfig) -> Option<Record> {
    let mut prefix = [0; PREFIX];
    file.read_exact(&mut prefix).ok()?;
    let (head, numbers) = prefix.split_at(RECORD_HEAD);
    let word = |at: usize| Some(u16::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let code = (word(0)?, word(2)?);
    let role = TensorRole::all(config).find(|role| role.code() == code)?;
    let format = if word(4)? == 1 { WeightFormat::Q8 } else { WeightFormat::Q4 };
    let (rows, cols) = role.shape(config);
    let groups = rows.checked_mul(cols.div_ceil(GROUP))? as u64;
    if u64::from_le_bytes(*head.get(6..)?.first_chunk()?) != groups {
        return None;
    }
    let &[outputs, error, nearest] = numbers.as_chunks().0 else { return None };
    let [outputs, error, nearest] = [outputs, error, nearest].map(f64::from_le_bytes);
    let mut hash = Sha256::new_with_prefix(prefix);
    let mut left = groups.checked_mul(GROUP_BYTES as u64)?;
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        let some = chunk.get_mut(..left.min(CHUNK as u64) as usize)?;
        file.read_exact(some).ok()?;
        hash.update(&some);
        left -= some.len() as u64;
    }
    let mut digest = [0; DIGEST];
    file.read_exact(&mut digest).ok()?;
    let outcome = Outcome { role, format, outputs, error, nearest };
    let record = Record { outcome, cols, groups, start: offset + PREFIX as u64 };
    (hash.finalize()[..] == digest).then_some(record)
}

fn group(bytes: &[u8]) -> Option<Group> {
    let (values, scale) = bytes.split_first_chunk::<GROUP>()?;
    let scale = f16::from_le_bytes(*scale.first_chunk()?);
    Some((values.map(|value| value as i8), GroupScale::Plain(scale)))
}
