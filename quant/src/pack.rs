//! Packing rows of a tensor: the inverse of [`demask::packed`].

use crate::round::{Steps, largest_weight, round_row};
use crate::sections::TensorPlan;
use crate::source::{BoxError, WeightSource};
use crate::write::WriteError;
use demask::packed::{BLOCK_ROWS, Format, GROUP, Group, GroupScale, Layout, WeightFormat};
use half::f16;
use std::ops::Range;

/// Weights of a piece of work: enough for a thread to be busy, few enough to stay in its cache.
const PIECE_WEIGHTS: usize = 1 << 17;

/// The rows of a piece: whole blocks.
pub(crate) fn piece_rows(cols: usize) -> usize {
    (PIECE_WEIGHTS / cols.max(1) / BLOCK_ROWS).max(1) * BLOCK_ROWS
}

/// Bytes of both planes of `rows` rows, padding included.
pub(crate) fn plane_bytes(tensor: &TensorPlan, rows: usize) -> (usize, usize) {
    match tensor.format.packed() {
        Some(format) => {
            let groups = tensor.cols.div_ceil(GROUP);
            let (weights, scales) = tensor.layout.block_bytes(format, groups);
            let blocks = rows.div_ceil(BLOCK_ROWS);
            (blocks * weights, blocks * scales)
        }
        None => (rows * tensor.cols * if tensor.format == Format::F16 { 2 } else { 4 }, 0),
    }
}

/// Memory of one thread, kept from piece to piece.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// `[rows, cols]`
    values: Vec<f32>,
    /// `[rows, groups of a row]`
    groups: Vec<Group>,
    /// Of the source, as many as groups; empty where it has none.
    steps: Vec<Steps>,
}

impl Scratch {
    /// Reads rows as `f32`.
    pub(crate) fn read(
        &mut self,
        tensor: &TensorPlan,
        source: &dyn WeightSource,
        rows: &Range<usize>,
    ) -> Result<&[f32], WriteError> {
        self.values.resize(rows.len() * tensor.cols, 0.0);
        let read = source.read_rows(tensor.role, rows.start, &mut self.values);
        read.map_err(|error| WriteError::Source(tensor.role, error))?;
        Ok(&self.values)
    }

    /// The rows that were read last.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Rounds the rows that were read last, which start at `first_row`.
    fn round(
        &mut self,
        tensor: &TensorPlan,
        source: &dyn WeightSource,
        first_row: usize,
        format: WeightFormat,
    ) -> Result<(), BoxError> {
        let Self { values, groups, steps } = self;
        let per_row = tensor.cols.div_ceil(GROUP);
        groups.resize(values.len() / tensor.cols * per_row, NO_GROUP);
        steps.resize(groups.len(), [0.0; 2]);
        if format != WeightFormat::Q8 || !source.read_steps(tensor.role, first_row, steps)? {
            steps.clear();
        }
        let rows = values.chunks_exact(tensor.cols).zip(groups.chunks_exact_mut(per_row));
        for (index, (row, groups)) in rows.enumerate() {
            let steps = steps.get(index * per_row..).unwrap_or_default();
            round_row(row, steps, format, groups)?;
        }
        Ok(())
    }

    /// Reads rows as integers. A row that does not fit the format is rounded.
    fn take_groups(
        &mut self,
        tensor: &TensorPlan,
        source: &dyn WeightSource,
        rows: &Range<usize>,
    ) -> Result<(), WriteError> {
        let per_row = tensor.cols.div_ceil(GROUP);
        let take = |first_row, groups: &mut [Group]| -> Result<bool, WriteError> {
            let read = source.read_groups(tensor.role, first_row, groups);
            let read = read.map_err(|error| WriteError::Source(tensor.role, error))?;
            Ok(read && fit(tensor, first_row, groups)?)
        };
        self.groups.resize(rows.len() * per_row, NO_GROUP);
        if take(rows.start, &mut self.groups)? {
            return Ok(());
        }
        let (format, mut values) = (tensor.format.packed(), vec![0.0; tensor.cols]);
        for (row, groups) in rows.clone().zip(self.groups.chunks_exact_mut(per_row)) {
            if take(row, groups)? {
                continue;
            }
            let read = source.read_rows(tensor.role, row, &mut values);
            read.map_err(|error| WriteError::Source(tensor.role, error))?;
            check_weights(tensor, row, &values)?;
            let rounded = format.map_or(Ok(()), |format| round_row(&values, &[], format, groups));
            rounded.map_err(|error| WriteError::Source(tensor.role, error.into()))?;
        }
        Ok(())
    }
}

/// Packs `rows`, which start at a whole block, into their part of the tensor's planes, all zero.
/// Where weights had to be rounded, `scratch` then holds them as they were.
pub(crate) fn pack_rows(
    tensor: &TensorPlan,
    source: &dyn WeightSource,
    rows: Range<usize>,
    planes: (&mut [u8], &mut [u8]),
    scratch: &mut Scratch,
) -> Result<(), WriteError> {
    if tensor.exact {
        scratch.take_groups(tensor, source, &rows)?;
    } else {
        let values = scratch.read(tensor, source, &rows)?;
        check_weights(tensor, rows.start, values)?;
        match tensor.format.packed() {
            Some(format) => {
                let rounded = scratch.round(tensor, source, rows.start, format);
                rounded.map_err(|error| WriteError::Source(tensor.role, error))?;
            }
            None => write_plain(tensor.format, values, &mut *planes.0),
        }
    }
    if let Some(format) = tensor.format.packed() {
        let kind = (format, tensor.layout);
        write_groups(kind, &scratch.groups, tensor.cols.div_ceil(GROUP), planes);
    }
    source.release(tensor.role, rows);
    Ok(())
}

const NO_GROUP: Group = ([0; GROUP], GroupScale::Plain(f16::ZERO));

/// Whether integers are in the range of their format (-128 is no 8-bit weight of this engine).
///
/// # Errors
/// [`WriteError::Weight`] for a scale that is not finite.
fn fit(tensor: &TensorPlan, first_row: usize, groups: &[Group]) -> Result<bool, WriteError> {
    let (min, max) = tensor.format.packed().map_or((0, 0), WeightFormat::range);
    let per_row = tensor.cols.div_ceil(GROUP).max(1);
    let mut fit = true;
    for (index, (values, scale)) in groups.iter().enumerate() {
        if let Some(value) = not_finite(*scale) {
            let row = first_row + index / per_row;
            return Err(WriteError::Weight { role: tensor.role, row, value });
        }
        // Above the smallest, and unsigned, which every processor can compare as vectors.
        let above = |value: &i8| value.wrapping_sub(min) as u8;
        fit &= values.iter().map(above).fold(0, u8::max) <= above(&max);
    }
    Ok(fit)
}

fn not_finite(scale: GroupScale) -> Option<f32> {
    let parts = match scale {
        GroupScale::Plain(scale) => [scale, f16::ZERO],
        GroupScale::Affine { d, d_min, .. } => [d, d_min],
    };
    parts.into_iter().find(|part| !part.is_finite()).map(f16::to_f32)
}

/// Writes `groups`, row by row and `per_row` each, into planes that are all zero.
fn write_groups(
    (format, layout): (WeightFormat, Layout),
    groups: &[Group],
    per_row: usize,
    planes: (&mut [u8], &mut [u8]),
) {
    let (weight_bytes, scale_bytes) = layout.block_bytes(format, per_row);
    let zeros = ([0; GROUP], GroupScale::zero(format));
    let (mut weights, mut scales) = planes;
    for block in groups.chunks(BLOCK_ROWS * per_row) {
        let (block_weights, more_weights) = weights.split_at_mut(weight_bytes);
        let (block_scales, more_scales) = scales.split_at_mut(scale_bytes);
        (weights, scales) = (more_weights, more_scales);
        // Group by group: the rows of one are neighbours.
        for (group, row) in (0..per_row).flat_map(|g| (0..BLOCK_ROWS).map(move |row| (g, row))) {
            // In some layouts a weight of zero is no zero byte, in rows beyond the last one too.
            let values = block.get(row * per_row + group).unwrap_or(&zeros);
            let planes = (&mut *block_weights, &mut *block_scales);
            layout.write(format, planes, (row, group), values);
        }
    }
}

/// Row-major `f32` or `f16`.
fn write_plain(format: Format, values: &[f32], out: &mut [u8]) {
    if format == Format::F16 {
        for (bytes, w) in out.as_chunks_mut().0.iter_mut().zip(values) {
            *bytes = f16::from_f32(*w).to_le_bytes();
        }
    } else {
        for (bytes, w) in out.as_chunks_mut().0.iter_mut().zip(values) {
            *bytes = w.to_le_bytes();
        }
    }
}

fn check_weights(tensor: &TensorPlan, first_row: usize, values: &[f32]) -> Result<(), WriteError> {
    let limit = match tensor.format.packed() {
        Some(format) => largest_weight(format),
        None if tensor.format == Format::F16 => f32::from(f16::MAX),
        None => f32::MAX,
    };
    match values.iter().position(|w| w.is_nan() || w.abs() > limit) {
        Some(at) => {
            let row = first_row + at / tensor.cols;
            Err(WriteError::Weight { role: tensor.role, row, value: values[at] })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
