//! A Hugging Face folder: configuration, weights and the place of the tokenizer.
//!
//! Opening one checks that exactly the expected tensors are there, each with the shape that the
//! configuration implies, so that whoever reads the weights afterwards meets no surprise.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use demask::image::{Architecture, TensorRole};

use super::adaln::Modulation;
use super::families::{Place, Source, Stored};
use super::generation::GenerationDefaults;
use super::hf_config::{ConfigError, HfConfig};
use super::rows::check_finite;
use super::safetensors::{StoredType, Weights, WeightsError};
use super::{RowsError, and_more};
use crate::mmap::Access;

/// Why a folder was refused.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Not a folder.
    #[error("{} is not a folder; give the folder that holds config.json", .0.display())]
    NotAFolder(PathBuf),
    /// `config.json` or `generation_config.json` cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The weights cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A tensor that the configuration implies is not there.
    #[error(
        "the tensor {tensor} is missing{}; the download is incomplete or config.json belongs to \
         another model", and_more(*others)
    )]
    Missing {
        /// The first missing tensor.
        tensor: String,
        /// How many more are missing.
        others: usize,
    },
    /// A tensor that the configuration has no use for.
    #[error("the tensor {tensor} has no place in this model{}; {advice}", and_more(*others))]
    Surplus {
        /// The first such tensor.
        tensor: String,
        /// How many more there are.
        others: usize,
        /// What may be behind it.
        advice: &'static str,
    },
    /// A tensor of another shape than the configuration implies.
    #[error(
        "the tensor {tensor} has {} rows of {}, config.json implies {} rows of {}; they belong to \
         different models", found.0, found.1, expected.0, expected.1
    )]
    Shape {
        /// The tensor.
        tensor: String,
        /// Rows and columns in the file.
        found: (usize, usize),
        /// Rows and columns from the configuration.
        expected: (usize, usize),
    },
}

/// An opened folder. The weights stay on disk and are read row by row.
#[derive(Debug)]
pub struct HfFolder {
    config: HfConfig,
    weights: Weights,
    /// What is folded into the weights as they are read.
    modulation: Option<Modulation>,
    tokenizer: Option<PathBuf>,
}

impl HfFolder {
    /// Opens a folder and checks it whole, except for the numbers themselves. The weights are
    /// mapped.
    ///
    /// # Errors
    /// As [`Self::open_as`].
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        Self::open_as(folder, Access::Mapped)
    }

    /// The same with a choice of how the weights are reached.
    ///
    /// # Errors
    /// [`FolderError`]: a file is missing or malformed, an option is not supported, or
    /// configuration and weights do not belong together.
    pub fn open_as(folder: &Path, access: Access) -> Result<Self, FolderError> {
        if !folder.is_dir() {
            return Err(FolderError::NotAFolder(folder.to_owned()));
        }
        let config = read_config(folder)?;
        let weights = Weights::open(folder, access)?;
        let tokenizer = Some(folder.join("tokenizer.json")).filter(|path| path.is_file());
        let mut opened = Self { config, weights, modulation: None, tokenizer };
        opened.check_names()?;
        opened.check_shapes()?;
        opened.read_modulation()?;
        Ok(opened)
    }

    /// What `config.json` says, and `generation_config.json` where there is one.
    #[must_use]
    pub const fn config(&self) -> &HfConfig {
        &self.config
    }

    /// Path of `tokenizer.json`, if there is one: without it a model still has logits.
    #[must_use]
    pub fn tokenizer(&self) -> Option<&Path> {
        self.tokenizer.as_deref()
    }

    /// Reads `rows` of a tensor as f32 into `out` `[rows, cols]`. The shape is
    /// [`TensorRole::shape`] of the model's configuration: padding rows of the embedding and the
    /// head do not exist here.
    ///
    /// # Errors
    /// [`WeightsError`]: rows that do not exist, a head that is tied, NaN or infinity.
    pub fn read_rows(
        &self,
        role: TensorRole,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), WeightsError> {
        let source = self.source(role)?;
        let (have, cols) = role.shape(&self.config.model);
        let wanted = rows.end.checked_sub(rows.start).and_then(|count| count.checked_mul(cols));
        if rows.end > have || wanted != Some(out.len()) {
            let (tensor, buffer) = (source.name(), out.len());
            return Err(RowsError::Request { tensor, rows, have, cols, buffer }.into());
        }
        let first = rows.start;
        if matches!(source.place, Place::Zeros) {
            out.fill(0.0);
        }
        let mut rest = &mut *out;
        for (tensor, rows) in source.pieces(have, rows) {
            let (piece, more) = rest.split_at_mut((rows.end - rows.start) * cols);
            self.weights.read_rows(&tensor, rows, piece)?;
            rest = more;
        }
        if let (Some(fold), Some(modulation)) = (source.fold, &self.modulation) {
            modulation.apply(fold, first, cols, out);
            check_finite(&source.name(), first, cols, out)?;
        }
        Ok(())
    }

    /// How a tensor's numbers are stored; of several tensors, how the first one's are.
    ///
    /// # Errors
    /// [`WeightsError::NoTensor`] for a tensor that the model does not have.
    pub fn stored_type(&self, role: TensorRole) -> Result<StoredType, WeightsError> {
        let source = self.source(role)?;
        match source.place {
            Place::Zeros => Ok(StoredType::F32),
            _ => self.weights.stored_type(&source.name()),
        }
    }

    fn source(&self, role: TensorRole) -> Result<Source, WeightsError> {
        let source = (self.config.family.source)(role, &self.config);
        match role.exists(&self.config.model) {
            true => Ok(source),
            false => Err(WeightsError::NoTensor(source.name())),
        }
    }

    /// Every tensor that the configuration implies, one by one.
    fn each_expected(&self, visit: &mut dyn FnMut(Stored)) {
        let (config, family) = (&self.config, self.config.family);
        for role in TensorRole::all(&config.model) {
            (family.source)(role, config).each_stored(role.shape(&config.model), visit);
        }
        (family.others)(config).into_iter().for_each(visit);
    }

    fn check_names(&self) -> Result<(), FolderError> {
        let stored: BTreeSet<&str> = self.weights.names().collect();
        let (mut used, mut missing, mut others) = (BTreeSet::new(), None, 0);
        self.each_expected(&mut |(name, _)| match stored.get(name.as_str()) {
            Some(name) => _ = used.insert(*name),
            None if missing.is_none() => missing = Some(name),
            None => others += 1,
        });
        if let Some(tensor) = missing {
            return Err(FolderError::Missing { tensor, others });
        }
        let family = self.config.family;
        let unused = |name: &str| family.unused.iter().any(|ending| name.ends_with(ending));
        let mut surplus = stored.difference(&used).filter(|name| !unused(name));
        if let Some(tensor) = surplus.next() {
            let head = (family.source)(TensorRole::Head, &self.config).name();
            let advice = if **tensor == head {
                "it is an untied head, so weight_tying in config.json should be false"
            } else if family.architecture == Architecture::Llada {
                "only dense LLaDA models without biases are supported"
            } else {
                "give the model alone, without adapters or further heads"
            };
            let tensor = (*tensor).to_owned();
            return Err(FolderError::Surplus { tensor, others: surplus.count(), advice });
        }
        Ok(())
    }

    fn check_shapes(&self) -> Result<(), FolderError> {
        let mut result = Ok(());
        self.each_expected(&mut |(tensor, expected)| {
            if result.is_ok() {
                result = match self.weights.shape(&tensor) {
                    Ok(found) if found == expected => Ok(()),
                    Ok(found) => Err(FolderError::Shape { tensor, found, expected }),
                    Err(error) => Err(error.into()),
                };
            }
        });
        result
    }

    fn read_modulation(&mut self) -> Result<(), FolderError> {
        if let Some(cond) = self.config.conditioning_dim {
            let m = &self.config.model;
            let (width, cond) = (m.model_dim as usize, cond as usize);
            self.modulation = Some(Modulation::read(&self.weights, m.layers, width, cond)?);
        }
        Ok(())
    }
}

/// Reads `config.json`, and `generation_config.json` if there is one.
fn read_config(folder: &Path) -> Result<HfConfig, FolderError> {
    let path = folder.join("generation_config.json");
    let generation = if path.exists() {
        GenerationDefaults::read(&path).map_err(|source| FolderError::Config { path, source })?
    } else {
        GenerationDefaults::default()
    };
    let path = folder.join("config.json");
    HfConfig::read(&path, generation).map_err(|source| FolderError::Config { path, source })
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
