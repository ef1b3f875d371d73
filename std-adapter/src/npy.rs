//! Matrices for numpy: the `.npy` format, version 1.0
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).

use std::io::Write;
use std::path::Path;

use crate::atomic::{WriteError, write_atomic};

/// Why a matrix was not written.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// The numbers do not fill the shape.
    #[error("{values} numbers do not make a matrix of {rows} rows and {cols} columns")]
    Shape {
        /// Numbers given.
        values: usize,
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Writes `values` `[rows, cols]`, row by row, as little-endian f32. `numpy.load` reads it.
///
/// # Errors
/// [`NpyError::Shape`] when `values` does not hold `rows * cols` numbers, [`NpyError::Write`] when
/// the file cannot be written; nothing is left behind then.
pub fn write_npy(path: &Path, values: &[f32], rows: usize, cols: usize) -> Result<(), NpyError> {
    if rows.checked_mul(cols) != Some(values.len()) {
        return Err(NpyError::Shape { values: values.len(), rows, cols });
    }
    let header = header(rows, cols);
    write_atomic(path, |file| {
        file.write_all(&header)?;
        values.iter().try_for_each(|v| file.write_all(&v.to_le_bytes()))
    })?;
    Ok(())
}

/// Magic, version, length and the description, padded so that the numbers start at a multiple of 64.
fn header(rows: usize, cols: usize) -> Vec<u8> {
    const PREFIX: usize = 10;
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {cols}), }}");
    // One byte for the closing newline. Two 20-digit numbers give 128 bytes: the length fits a u16.
    let total = (PREFIX + text.len() + 1).next_multiple_of(64);
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(b"\x93NUMPY\x01\x00");
    out.extend_from_slice(&((total - PREFIX) as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.resize(total - 1, b' ');
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_aligned_and_described() {
        for (rows, cols) in [(0, 3), (2, 3), (70, 1024), (usize::MAX, usize::MAX)] {
            let bytes = header(rows, cols);
            assert_eq!(bytes.len() % 64, 0);
            assert_eq!(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])), bytes.len() - 10);
            let text = std::str::from_utf8(&bytes[10..]).unwrap();
            assert!(text.contains(&format!("'shape': ({rows}, {cols}), }}")), "{text}");
            assert!(text.ends_with('\n'));
        }
    }

    #[test]
    fn writes_the_numbers_after_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.npy");
        write_npy(&path, &[1.0, -2.5], 1, 2).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let tail = &bytes[bytes.len() - 8..];
        assert_eq!(tail, [1f32.to_le_bytes(), (-2.5f32).to_le_bytes()].concat());
        let shape = write_npy(&path, &[1.0], 1, 2);
        assert!(matches!(shape, Err(NpyError::Shape { values: 1, rows: 1, cols: 2 })));
    }
}
