//! Weights some of which have been rounded already.

use crate::source::{BoxError, WeightSource};
use demask::image::TensorRole;
use demask::packed::{GROUP, Group, GroupScale, WeightFormat};
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

/// Where rounded tensors are kept.
pub trait Rounded: Sync {
    /// Format and number of inputs of a tensor; `None` if it has not been rounded.
    fn shape(&self, role: TensorRole) -> Option<(WeightFormat, usize)>;

    /// Writes the groups of rows from `first_row` on into `out`, a whole number of rows.
    ///
    /// # Errors
    /// If there are no such rows, or they cannot be read.
    fn read_groups(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [Group],
    ) -> Result<(), BoxError>;
}

/// In memory.
impl Rounded for BTreeMap<TensorRole, QuantizedTensor> {
    fn shape(&self, role: TensorRole) -> Option<(WeightFormat, usize)> {
        self.get(&role).map(|tensor| (tensor.format, tensor.cols))
    }

    fn read_groups(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [Group],
    ) -> Result<(), BoxError> {
        let tensor = self.get(&role).ok_or("the tensor has not been rounded")?;
        let start = first_row.checked_mul(tensor.cols.div_ceil(GROUP));
        let groups = start.and_then(|start| tensor.groups.get(start..)?.get(..out.len()));
        out.copy_from_slice(groups.ok_or("the tensor has no such rows")?);
        Ok(())
    }
}

/// Writes the numbers that groups stand for into `out`, rows of `cols` numbers each.
pub fn dequantize(groups: &[Group], format: WeightFormat, cols: usize, out: &mut [f32]) {
    let (cols, per_row) = (cols.max(1), cols.div_ceil(GROUP).max(1));
    for (out, groups) in out.chunks_exact_mut(cols).zip(groups.chunks_exact(per_row)) {
        for (out, (values, scale)) in out.chunks_mut(GROUP).zip(groups) {
            let step = scale.factors(format).step;
            out.iter_mut().zip(values).for_each(|(w, v)| *w = step * f32::from(*v));
        }
    }
}

/// A source, and what is to be stored in place of some of its tensors. Written to an image with
/// [`Quantization::keep`](crate::Quantization::keep), these are stored as they are.
pub struct QuantizedWeights<'s, R> {
    /// The weights as they were: errors are measured against them.
    pub source: &'s dyn WeightSource,
    /// What has been rounded.
    pub rounded: R,
}

impl<R: Rounded> QuantizedWeights<'_, R> {
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
        let Some((format, cols)) = self.rounded.shape(role) else {
            return self.source.read_rows(role, first_row, out);
        };
        let count = out.len() / cols.max(1) * cols.div_ceil(GROUP);
        let mut groups = vec![([0; GROUP], GroupScale::zero(format)); count];
        self.rounded.read_groups(role, first_row, &mut groups)?;
        dequantize(&groups, format, cols, out);
        Ok(())
    }
}

impl<R: Rounded> WeightSource for QuantizedWeights<'_, R> {
    fn read_rows(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), BoxError> {
        self.source.read_rows(role, first_row, out)
    }

    fn exact_format(&self, role: TensorRole) -> Option<WeightFormat> {
        self.rounded.shape(role).map(|(format, _)| format)
    }

    fn read_groups(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [Group],
    ) -> Result<bool, BoxError> {
        self.rounded.read_groups(role, first_row, out).map(|()| true)
    }
}
