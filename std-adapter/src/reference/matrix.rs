//! Weight matrices, held in the smallest float format that loses nothing.
//!
//! Most published weights are f16 or bf16 numbers, and most readers give f32. Whoever asks does not
//! see the difference: a matrix of numbers that two bytes hold exactly takes two bytes each, and is
//! widened again a few rows at a time.

use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Values that are read from a source at a time.
const CHUNK_VALUES: usize = 1 << 18;

/// Row-major `[rows, cols]`.
#[derive(Debug, Clone)]
pub(super) struct Matrix {
    cols: usize,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    F32(Vec<f32>),
}

impl Matrix {
    /// Reads a matrix of this shape; `read` fills a buffer with some of its rows.
    pub(super) fn read<E>(
        (rows, cols): (usize, usize),
        mut read: impl FnMut(Range<usize>, &mut [f32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut values = Values::F16(Vec::with_capacity(rows * cols));
        let step = (CHUNK_VALUES / cols.max(1)).max(1);
        let mut buffer = Vec::new();
        for first in (0..rows).step_by(step) {
            let some = first..rows.min(first + step);
            buffer.resize(some.len() * cols, 0.0);
            read(some, &mut buffer)?;
            values.extend(&buffer, rows * cols);
        }
        Ok(Self { cols, values })
    }

    pub(super) const fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn rows(&self) -> usize {
        let values = match &self.values {
            Values::F16(values) => values.len(),
            Values::Bf16(values) => values.len(),
            Values::F32(values) => values.len(),
        };
        values / self.cols.max(1)
    }

    /// Some rows as f32: where they lie, or widened into `scratch`.
    pub(super) fn widened<'a>(
        &'a self,
        rows: Range<usize>,
        scratch: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let range = rows.start * self.cols..rows.end * self.cols;
        scratch.resize(range.len(), 0.0);
        match &self.values {
            Values::F16(values) => values[range].convert_to_f32_slice(scratch),
            Values::Bf16(values) => values[range].convert_to_f32_slice(scratch),
            Values::F32(values) => return &values[range],
        }
        scratch
    }

    /// For tests: changes one value.
    #[cfg(test)]
    pub(super) fn set(&mut self, at: usize, value: f32) {
        let Values::F32(values) = &mut self.values else { panic!("a matrix of f32") };
        values[at] = value;
    }

    /// For tests: bytes of one value.
    #[cfg(test)]
    pub(super) const fn bytes_per_value(&self) -> usize {
        match self.values {
            Values::F16(_) | Values::Bf16(_) => 2,
            Values::F32(_) => 4,
        }
    }
}

impl Values {
    /// Adds values; what is held so far changes its format where these do not fit it. `total` is
    /// what will be held in the end.
    fn extend(&mut self, more: &[f32], total: usize) {
        let fits = match self {
            Self::F16(values) => exactly(more).map(|more| values.extend::<Vec<f16>>(more)),
            Self::Bf16(values) => exactly(more).map(|more| values.extend::<Vec<bf16>>(more)),
            Self::F32(values) => {
                values.extend_from_slice(more);
                Some(())
            }
        };
        if fits.is_none() {
            *self = match self {
                Self::F16(values) if values.is_empty() => Self::Bf16(Vec::with_capacity(total)),
                _ => Self::F32(self.wide(total)),
            };
            self.extend(more, total);
        }
    }

    fn wide(&self, total: usize) -> Vec<f32> {
        let mut wide = Vec::with_capacity(total);
        match self {
            Self::F16(values) => wide.extend(values.iter().map(|v| v.to_f32())),
            Self::Bf16(values) => wide.extend(values.iter().map(|v| v.to_f32())),
            Self::F32(values) => wide.extend_from_slice(values),
        }
        wide
    }
}

/// The values in a smaller format, if each of them is one of its numbers.
fn exactly<H: Copy + Default>(values: &[f32]) -> Option<Vec<H>>
where
    [H]: HalfFloatSliceExt,
{
    let mut halves = vec![H::default(); values.len()];
    halves.convert_from_f32_slice(values);
    let mut again = vec![0.0; values.len()];
    halves.convert_to_f32_slice(&mut again);
    let same = values.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits());
    same.then_some(halves)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix of two chunks and a bit, made of `value` of the index.
    fn matrix(value: impl Fn(usize) -> f32) -> Matrix {
        let cols = 100;
        let shape = (2 * CHUNK_VALUES / cols + 7, cols);
        let read = |rows: Range<usize>, out: &mut [f32]| {
            let indices = rows.start * cols..rows.end * cols;
            out.iter_mut().zip(indices).for_each(|(out, i)| *out = value(i));
            Ok::<_, ()>(())
        };
        let matrix = Matrix::read(shape, read).unwrap();
        let mut scratch = Vec::new();
        assert_eq!((matrix.rows(), matrix.cols()), shape);
        for rows in [0..2, 3000..3005, shape.0 - 1..shape.0] {
            let expected: Vec<f32> = (rows.start * cols..rows.end * cols).map(&value).collect();
            assert_eq!(matrix.widened(rows, &mut scratch), expected);
        }
        matrix
    }

    #[test]
    fn nothing_is_lost_and_two_bytes_are_used_where_they_do() {
        assert_eq!(matrix(|i| (i % 2048) as f32 / 64.0).bytes_per_value(), 2);
        // Beyond the range of f16, but with few digits.
        assert_eq!(matrix(|i| (i % 128) as f32 * 1_048_576.0).bytes_per_value(), 2);
        assert_eq!(matrix(|i| i as f32 / 3.0).bytes_per_value(), 4);
        // The last value alone needs f32.
        let last = 2 * CHUNK_VALUES + 600;
        assert_eq!(matrix(|i| if i > last { 0.1 } else { 0.5 }).bytes_per_value(), 4);
    }
}
