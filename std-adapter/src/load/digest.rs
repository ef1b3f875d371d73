//! Which model it is, whatever file it comes in.

use super::LoadedModel;
use demask::image::TensorRole;
use demask_quant::{BoxError, WeightSource};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Numbers that are read at a time.
const PART: usize = 1 << 20;

impl LoadedModel {
    /// SHA-256 over shape, vocabulary and all weights as f32, in hexadecimal. A model has the same digest as
    /// an image, in any order of its weights, and as a file of another kind with the same numbers.
    ///
    /// # Errors
    /// If the weights cannot be read.
    pub fn digest(&self) -> Result<String, BoxError> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", self.config()));
        hash.update(self.tokenizer_section().unwrap_or_default());
        let weights = self.weights();
        let mut part = Vec::new();
        for role in TensorRole::all(self.config()) {
            let (rows, cols) = role.shape(self.config());
            let step = (PART / cols.max(1)).max(1);
            for first in (0..rows).step_by(step) {
                let end = rows.min(first + step);
                part.resize((end - first) * cols, 0.0f32);
                weights.read_rows(role, first, &mut part)?;
                weights.release(role, first..end);
                hash.update(bytemuck::cast_slice::<f32, u8>(&part));
            }
        }
        let mut text = String::new();
        for byte in hash.finalize() {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(text)
    }
}
