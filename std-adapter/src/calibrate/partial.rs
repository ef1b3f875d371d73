//! What is done of a long run, beside the file that it will be.
//!
//! A header of magic and digest, then records that are only ever added. A record that a killed run has left half
//! written fails its own digest, and is written again.

use super::error::CalibrateError;
use super::layers::Outcome;
use crate::atomic::write_atomic_bytes;
use demask::image::{ModelConfig, TensorRole};
use demask::packed::{GROUP, Group, GroupScale, WeightFormat};
use demask_quant::calibrated::QuantizedTensor;
use half::f16;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"dmkpart1";
const DIGEST: usize = 32;
/// Role, layer, format, then how many groups.
const RECORD_HEAD: usize = 3 * 2 + 8;
/// Three `f64`.
const NUMBERS: usize = 3 * 8;
const GROUP_BYTES: usize = GROUP + 2;

/// The file, and what was found in it.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
    found: BTreeMap<TensorRole, (Outcome, QuantizedTensor)>,
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
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let header = [&MAGIC[..], &digest].concat();
        let mut found = BTreeMap::new();
        let mut whole = header.len();
        match bytes.strip_prefix(&header[..]) {
            Some(mut rest) => {
                while let Some((outcome, tensor, more)) = record(rest, config) {
                    found.insert(outcome.role, (outcome, tensor));
                    rest = more;
                }
                whole = bytes.len() - rest.len();
            }
            None if bytes.len() >= MAGIC.len() && !bytes.starts_with(MAGIC) => {
                let reason = "it is not the file of a calibration run";
                return Err(failed(io::Error::new(io::ErrorKind::InvalidData, reason)));
            }
            None => write_atomic_bytes(path, &header)?,
        }
        // Not opened for appending: Windows would not shorten it.
        let mut file = OpenOptions::new().write(true).open(path).map_err(failed)?;
        file.set_len(whole as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, found })
    }

    /// Matrices that were found and have not been taken.
    #[must_use]
    pub fn found(&self) -> usize {
        self.found.len()
    }

    pub(super) fn has(&self, role: TensorRole) -> bool {
        self.found.contains_key(&role)
    }

    pub(super) fn take(&mut self, role: TensorRole) -> Option<(Outcome, QuantizedTensor)> {
        self.found.remove(&role)
    }

    /// Adds a finished matrix.
    pub(super) fn add(
        &mut self,
        outcome: &Outcome,
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
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(|source| CalibrateError::Partial { path: self.path.clone(), source })
    }

    /// Removes the file: the image is complete.
    pub fn finish(self) {
        drop(self.file);
        // A leftover is harmless: another run finds it, or replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The next record and what follows it; `None` if there is none, or it is damaged.
fn record<'b>(
    bytes: &'b [u8],
    config: &ModelConfig,
) -> Option<(Outcome, QuantizedTensor, &'b [u8])> {
    let (head, _) = bytes.split_at_checked(RECORD_HEAD)?;
    let word = |at: usize| Some(u16::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let code = (word(0)?, word(2)?);
    let role = TensorRole::all(config).find(|role| role.code() == code)?;
    let format = if word(4)? == 1 { WeightFormat::Q8 } else { WeightFormat::Q4 };
    let (rows, cols) = role.shape(config);
    let count = rows.checked_mul(cols.div_ceil(GROUP))?;
    if u64::from_le_bytes(*head.get(6..)?.first_chunk()?) != count as u64 {
        return None;
    }
    let length = count.checked_mul(GROUP_BYTES)?.checked_add(RECORD_HEAD + NUMBERS)?;
    let (content, rest) = bytes.split_at_checked(length)?;
    let (digest, rest) = rest.split_at_checked(DIGEST)?;
    if Sha256::digest(content)[..] != *digest {
        return None;
    }
    let numbers = content.get(RECORD_HEAD..RECORD_HEAD + NUMBERS)?.as_chunks().0;
    let &[outputs, error, nearest] = numbers else { return None };
    let [outputs, error, nearest] = [outputs, error, nearest].map(f64::from_le_bytes);
    let groups = content.get(RECORD_HEAD + NUMBERS..)?.chunks_exact(GROUP_BYTES).map(group);
    let groups = groups.collect::<Option<Vec<Group>>>()?;
    let outcome = Outcome { role, format, outputs, error, nearest };
    Some((outcome, QuantizedTensor { format, cols, groups }, rest))
}

fn group(bytes: &[u8]) -> Option<Group> {
    let (values, scale) = bytes.split_first_chunk::<GROUP>()?;
    let scale = f16::from_le_bytes(*scale.first_chunk()?);
    Some((values.map(|value| value as i8), GroupScale::Plain(scale)))
}
