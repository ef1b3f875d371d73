//! Weights some of which have been rounded already.

use crate::source::{BoxError, WeightSource};
use demask::image::TensorRole;
use demask::packed::{GROUP, Group, WeightFormat};
use std::collections::BTreeMap;

/// The integers and scales of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedTensor {
    /// Q4 or Q8.
    pub format: WeightFormat,
    /// Inputs.
    pub cols: usize,
    /// Row by row, `cols.div_ceil(32)` each.
    pub groups: Vec<Group>,
}

impl QuantizedTensor {
    /// The groups of rows from `first_row` on, `count` of them.
    fn rows(&self, first_row: usize, count: usize) -> Result<&[Group], BoxError> {
        let start = first_row.checked_mul(self.cols.div_ceil(GROUP));
        let groups = start.and_then(|start| self.groups.get(start..)?.get(..count));
        groups.ok_or_else(|| "the tensor has no such rows".into())
    }

    /// Writes rows `first_row..` as numbers into `out`, a whole number of rows.
    ///
    /// # Errors
    /// If the tensor has no such rows.
    pub fn read_rows(&self, first_row: usize, out: &mut [f32]) -> Result<(), BoxError> {
        let (cols, per_row) = (self.cols.max(1), self.cols.div_ceil(GROUP).max(1));
        let groups = self.rows(first_row, out.len() / cols * per_row)?;
        for (out, groups) in out.chunks_exact_mut(cols).zip(groups.chunks_exact(per_row)) {
            for (out, (values, scale)) in out.chunks_mut(GROUP).zip(groups) {
                let step = scale.factors(self.format).step;
                out.iter_mut().zip(values).for_each(|(w, v)| *w = step * f32::from(*v));
            }
        }
        Ok(())
    }
}

/// A source, and what is to be stored in place of some of its tensors. Written to an image with
/// [`Quantization::keep`](crate::Quantization::keep), these are stored as they are.
pub struct QuantizedWeights<'s> {
    /// The weights as they were: errors are measured against them.
    pub source: &'s dyn WeightSource,
    /// What has been rounded.
    pub tensors: BTreeMap<TensorRole, QuantizedTensor>,
}

impl<'s> QuantizedWeights<'s> {
    /// Nothing rounded yet.
    #[must_use]
    pub fn new(source: &'s dyn WeightSource) -> Self {
        Self { source, tensors: BTreeMap::new() }
    }

    /// Rows as the image will hold them.
    ///
    /// # Errors
    /// As [`WeightSource::read_rows`].
    pub fn read_stored(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), BoxError> {
        match self.tensors.get(&role) {
            Some(tensor) => tensor.read_rows(first_row, out),
            None => self.source.read_rows(role, first_row, out),
        }
    }
}

impl WeightSource for QuantizedWeights<'_> {
    fn read_rows(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), BoxError> {
        self.source.read_rows(role, first_row, out)
    }

    fn exact_format(&self, role: TensorRole) -> Option<WeightFormat> {
        self.tensors.get(&role).map(|tensor| tensor.format)
    }

    fn read_groups(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [Group],
    ) -> Result<bool, BoxError> {
        let tensor = self.tensors.get(&role).ok_or("the tensor has not been rounded")?;
        out.copy_from_slice(tensor.rows(first_row, out.len())?);
        Ok(true)
    }
}
