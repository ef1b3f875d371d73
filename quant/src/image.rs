//! An image as the source of another one.

use crate::source::{BoxError, WeightSource};
use demask::ModelImage;
use demask::image::{Tensor, TensorRole};
use demask::packed::{BLOCK_ROWS, GROUP, Group, PackedMatrix, WeightFormat};
use half::f16;

/// The weights of an image. Packed ones are handed over as they are, so that an image for another
/// processor holds the same numbers.
#[derive(Debug, Clone, Copy)]
pub struct ImageWeights<'a>(pub ModelImage<'a>);

impl<'a> ImageWeights<'a> {
    fn tensor(&self, role: TensorRole) -> Result<Tensor<'a>, BoxError> {
        self.0.tensor(role).ok_or_else(|| "the image has no such tensor".into())
    }
}

const NO_ROWS: &str = "the tensor has no such rows";

impl WeightSource for ImageWeights<'_> {
    fn read_rows(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), BoxError> {
        let tensor = self.tensor(role)?;
        let start = first_row.checked_mul(tensor.cols).ok_or(NO_ROWS)?;
        if let Some(values) = tensor.as_f32() {
            out.copy_from_slice(
                values.get(start..).and_then(|v| v.get(..out.len())).ok_or(NO_ROWS)?,
            );
        } else if let Some(bits) = tensor.as_f16_bits() {
            let bits = bits.get(start..).and_then(|b| b.get(..out.len())).ok_or(NO_ROWS)?;
            for (x, bits) in out.iter_mut().zip(bits) {
                *x = f16::from_bits(*bits).to_f32();
            }
        } else if let Some(matrix) = tensor.packed() {
            for (row, out) in (first_row..).zip(out.chunks_exact_mut(tensor.cols.max(1))) {
                if !matrix.dequantize_row(row, out) {
                    return Err(NO_ROWS.into());
                }
            }
        }
        Ok(())
    }

    fn exact_format(&self, role: TensorRole) -> Option<WeightFormat> {
        self.0.tensor(role)?.format.packed()
    }

    fn read_groups(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [Group],
    ) -> Result<bool, BoxError> {
        let matrix = self.tensor(role)?.packed().ok_or("the tensor is not packed")?;
        let per_row = matrix.cols().div_ceil(GROUP).max(1);
        let mut rows = first_row..;
        let mut rest = out;
        while !rest.is_empty() {
            // A view of a block finds its rows; making one for every row would take longer than that.
            let first = rows.start / BLOCK_ROWS * BLOCK_ROWS;
            let count = (first + BLOCK_ROWS - rows.start).min(rest.len() / per_row);
            if count == 0 {
                return Err(NO_ROWS.into());
            }
            let (these, more) = rest.split_at_mut(count * per_row);
            read_block(&matrix, first, rows.start - first, these).ok_or(NO_ROWS)?;
            (rest, rows) = (more, rows.start + count..);
        }
        Ok(true)
    }
}

/// Reads rows from `skip` on of the block that starts at row `first`.
fn read_block(
    matrix: &PackedMatrix<'_>,
    first: usize,
    skip: usize,
    out: &mut [Group],
) -> Option<()> {
    let view = matrix.slice_rows(first, BLOCK_ROWS)?;
    let block = view.blocks().next()?;
    for (row, groups) in (skip..).zip(out.chunks_exact_mut(view.groups().max(1))) {
        for (index, group) in groups.iter_mut().enumerate() {
            *group = (row < view.rows()).then(|| block.read(row, index))??;
        }
    }
    Some(())
}
