//! Rows of tensors: what can be wrong with a request and with the numbers, in any kind of file.

use std::ops::Range;

/// Why rows of a tensor were not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// The request does not fit the tensor or the buffer: a mistake of the caller.
    #[error(
        "rows {}..{} of {tensor} ({have} rows of {cols}) were asked for in a buffer of {buffer}",
        rows.start, rows.end
    )]
    Request {
        /// The tensor.
        tensor: String,
        /// Rows asked for.
        rows: Range<usize>,
        /// Rows that exist.
        have: usize,
        /// Numbers per row.
        cols: usize,
        /// Numbers or groups that fit the buffer.
        buffer: usize,
    },
    /// NaN or infinity among the weights.
    #[error(
        "{tensor} holds {value} in row {row}, column {column}; the file is damaged or the model's \
         training diverged"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Row of the first such number.
        row: usize,
        /// Its column.
        column: usize,
        /// NaN, inf or -inf.
        value: f32,
    },
}

/// Refuses NaN and infinity in `values` `[rows, cols]`, which are a tensor's rows from `first` on.
pub(super) fn check_finite(
    tensor: &str,
    first: usize,
    cols: usize,
    values: &[f32],
) -> Result<(), RowsError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(RowsError::NotFinite {
            tensor: tensor.to_owned(),
            row: first + at / cols,
            column: at % cols,
            value: values[at],
        }),
    }
}
