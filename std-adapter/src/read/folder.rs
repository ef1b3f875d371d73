//! A Hugging Face LLaDA folder: configuration, weights and the place of the tokenizer.
//!
//! Opening one checks that exactly the expected tensors are there, each with the shape that the
//! configuration implies, so that whoever reads the weights afterwards meets no surprise.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use demask::image::TensorRole;

use super::hf_config::{ConfigError, HfConfig};
use super::safetensors::{Weights, WeightsError};

/// Why a folder was refused.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Not a folder.
    #[error("{} is not a folder; give the folder that holds config.json", .0.display())]
    NotAFolder(PathBuf),
    /// `config.json` cannot be used.
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

fn and_more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" (and {count} more)") }
}

/// An opened folder. The weights stay on disk and are read row by row.
#[derive(Debug)]
pub struct HfFolder {
    config: HfConfig,
    weights: Weights,
    tokenizer: Option<PathBuf>,
}

impl HfFolder {
    /// Opens a folder and checks it whole, except for the numbers themselves.
    ///
    /// # Errors
    /// [`FolderError`]: a file is missing or malformed, an option is not supported, or
    /// configuration and weights do not belong together.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        if !folder.is_dir() {
            return Err(FolderError::NotAFolder(folder.to_owned()));
        }
        let path = folder.join("config.json");
        let config =
            HfConfig::read(&path).map_err(|source| FolderError::Config { path, source })?;
        let weights = Weights::open(folder)?;
        let tokenizer = Some(folder.join("tokenizer.json")).filter(|path| path.is_file());
        let opened = Self { config, weights, tokenizer };
        opened.check_names()?;
        opened.check_shapes()?;
        Ok(opened)
    }

    /// What `config.json` says.
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
        let tensor = tensor_name(role);
        let (have, cols) = role.shape(&self.config.model);
        if rows.end > have {
            return Err(WeightsError::Request { tensor, rows, have, cols, buffer: out.len() });
        }
        self.weights.read_rows(&tensor, rows, out)
    }

    fn check_names(&self) -> Result<(), FolderError> {
        let expected: BTreeSet<String> =
            TensorRole::all(&self.config.model).map(tensor_name).collect();
        let stored: BTreeSet<&str> = self.weights.names().collect();
        let mut missing = expected.iter().filter(|name| !stored.contains(name.as_str()));
        if let Some(tensor) = missing.next() {
            return Err(FolderError::Missing { tensor: tensor.clone(), others: missing.count() });
        }
        let mut surplus = stored.iter().filter(|name| !expected.contains(**name));
        if let Some(tensor) = surplus.next() {
            let advice = if **tensor == tensor_name(TensorRole::Head) {
                "it is an untied head, so weight_tying in config.json should be false"
            } else {
                "only dense LLaDA models without biases are supported"
            };
            let tensor = (*tensor).to_owned();
            return Err(FolderError::Surplus { tensor, others: surplus.count(), advice });
        }
        Ok(())
    }

    fn check_shapes(&self) -> Result<(), FolderError> {
        for role in TensorRole::all(&self.config.model) {
            let tensor = tensor_name(role);
            let found = self.weights.shape(&tensor)?;
            let expected = stored_shape(role, &self.config);
            if found != expected {
                return Err(FolderError::Shape { tensor, found, expected });
            }
        }
        Ok(())
    }
}

/// Shape in the file, where embedding and head may be padded.
fn stored_shape(role: TensorRole, config: &HfConfig) -> (usize, usize) {
    let (rows, cols) = role.shape(&config.model);
    match role {
        TensorRole::Embedding | TensorRole::Head => (config.embedding_rows as usize, cols),
        _ => (rows, cols),
    }
}

/// Name of a tensor in a LLaDA checkpoint. The training code calls the gate `ff_proj`, the down
/// projection `ff_out`, and the head `ff_out` as well, outside of the blocks.
#[must_use]
pub fn tensor_name(role: TensorRole) -> String {
    let (layer, name) = match role {
        TensorRole::Embedding => return "model.transformer.wte.weight".into(),
        TensorRole::OutputNorm => return "model.transformer.ln_f.weight".into(),
        TensorRole::Head => return "model.transformer.ff_out.weight".into(),
        TensorRole::AttentionNorm(layer) => (layer, "attn_norm"),
        TensorRole::Query(layer) => (layer, "q_proj"),
        TensorRole::Key(layer) => (layer, "k_proj"),
        TensorRole::Value(layer) => (layer, "v_proj"),
        TensorRole::AttentionOutput(layer) => (layer, "attn_out"),
        TensorRole::FfnNorm(layer) => (layer, "ff_norm"),
        TensorRole::Gate(layer) => (layer, "ff_proj"),
        TensorRole::Up(layer) => (layer, "up_proj"),
        TensorRole::Down(layer) => (layer, "ff_out"),
        // What only other families have.
        other => return format!("{} (not in LLaDA checkpoints)", other.name()),
    };
    format!("model.transformer.blocks.{layer}.{name}.weight")
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
