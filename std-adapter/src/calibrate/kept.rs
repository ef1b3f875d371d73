//! Where the matrices of a run are kept once they are rounded.

use super::error::CalibrateError;
use super::layers::Outcome;
use super::partial::Partial;
use demask::image::TensorRole;
use demask::packed::{Group, WeightFormat};
use demask_quant::BoxError;
use demask_quant::calibrated::{QuantizedTensor, Rounded};
use std::collections::BTreeMap;

/// Rounded matrices.
#[derive(Debug)]
pub enum Kept {
    /// In memory, for a run that nothing is left of.
    Memory(BTreeMap<TensorRole, QuantizedTensor>),
    /// In a file, so that a run that is killed can go on, and a large model needs no memory for them.
    File(Partial),
}

impl Default for Kept {
    fn default() -> Self {
        Self::Memory(BTreeMap::new())
    }
}

impl Kept {
    fn place(&self) -> &dyn Rounded {
        match self {
            Self::Memory(tensors) => tensors,
            Self::File(partial) => partial,
        }
    }

    /// What is known of a matrix that is in the file.
    pub(super) fn outcome(&self, role: TensorRole) -> Option<Outcome> {
        match self {
            Self::Memory(_) => None,
            Self::File(partial) => partial.outcome(role),
        }
    }

    /// Adds a finished matrix.
    pub(super) fn add(
        &mut self,
        outcome: Outcome,
        tensor: QuantizedTensor,
    ) -> Result<(), CalibrateError> {
        match self {
            Self::Memory(tensors) => {
                tensors.insert(outcome.role, tensor);
                Ok(())
            }
            Self::File(partial) => partial.add(outcome, &tensor),
        }
    }

    /// The image is complete: removes the file.
    pub fn finish(self) {
        if let Self::File(partial) = self {
            partial.finish();
        }
    }
}

impl Rounded for Kept {
    fn shape(&self, role: TensorRole) -> Option<(WeightFormat, usize)> {
        self.place().shape(role)
    }

    fn read_groups(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [Group],
    ) -> Result<(), BoxError> {
        self.place().read_groups(role, first_row, out)
    }
}
