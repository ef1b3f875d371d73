//! Where weights come from.

use crate::round::Steps;
use demask::image::TensorRole;
use demask::packed::{Group, WeightFormat};
use std::ops::Range;

/// An error of the source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Weights of a model, asked for in pieces and by several threads at once.
pub trait WeightSource: Sync {
    /// Writes rows `first_row..` of a tensor into `out`, a whole number of rows.
    ///
    /// # Errors
    /// Whatever keeps the source from reading them.
    fn read_rows(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), BoxError>;

    /// The packed format that holds a tensor as it is stored, without rounding it once more; `None`
    /// where there is no such format.
    fn exact_format(&self, _role: TensorRole) -> Option<WeightFormat> {
        None
    }

    /// Writes the integers and scales of rows `first_row..` into `out`: row by row, each
    /// `cols.div_ceil(32)` groups. Only asked of tensors with an [exact format](Self::exact_format).
    /// Returns false if one of these groups does not fit that format after all: rows with such a
    /// group are then rounded.
    ///
    /// # Errors
    /// Whatever keeps the source from reading them.
    fn read_groups(
        &self,
        _role: TensorRole,
        _first_row: usize,
        _out: &mut [Group],
    ) -> Result<bool, BoxError> {
        Ok(false)
    }

    /// Writes how far apart the values of rows `first_row..` can be, as many entries as groups: a hint
    /// for rounding weights to Q8 that are quantized in a way of their own. Returns false where they
    /// are not.
    ///
    /// # Errors
    /// Whatever keeps the source from reading them.
    fn read_steps(
        &self,
        _role: TensorRole,
        _first_row: usize,
        _out: &mut [Steps],
    ) -> Result<bool, BoxError> {
        Ok(false)
    }

    /// Told when rows will not be read again, so that a mapped source may give their pages back.
    fn release(&self, _role: TensorRole, _rows: Range<usize>) {}
}
