//! Packing rounded weights into cells: the inverse of [`demask::packed`].

use crate::round::round_group;
use demask::packed::{BLOCK_ROWS, GROUP, WeightFormat};

/// One packed block of up to 16 rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedBlock {
    /// Integers of all cells.
    pub weights: Vec<u8>,
    /// Scales of all cells.
    pub scales: Vec<u8>,
}

/// Rounds and packs `rows` (at most 16 of them, each `cols` long). Missing rows and columns become
/// zeros.
#[must_use]
pub fn pack_block(rows: &[f32], cols: usize, format: WeightFormat) -> PackedBlock {
    let groups = cols.div_ceil(GROUP);
    let cell_len = format.weight_bytes();
    let mut block = PackedBlock {
        weights: vec![0; groups * cell_len],
        scales: Vec::with_capacity(groups * 32),
    };
    for (group, cell) in block.weights.chunks_exact_mut(cell_len).enumerate() {
        for lane in 0..BLOCK_ROWS {
            let row = rows.chunks_exact(cols).nth(lane).unwrap_or_default();
            let weights = row.get(group * GROUP..cols.min((group + 1) * GROUP)).unwrap_or_default();
            let rounded = round_group(weights, format);
            for (input, &weight) in rounded.values.iter().enumerate() {
                format.put(cell, lane, input, weight);
            }
            block.scales.extend(rounded.scale.to_le_bytes());
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use demask::packed::PackedMatrix;

    #[test]
    fn packed_rows_read_back() {
        let (rows, cols) = (21, 70);
        let weights: Vec<f32> =
            (0..rows * cols).map(|i| ((i * 97 % 255) as f32 - 127.0) / 64.0).collect();
        for (format, bound) in [(WeightFormat::Q8, 0.009), (WeightFormat::Q4, 0.19)] {
            let blocks: Vec<_> =
                weights.chunks(16 * cols).map(|rows| pack_block(rows, cols, format)).collect();
            let mut bytes: Vec<u8> = blocks.iter().flat_map(|b| b.weights.clone()).collect();
            bytes.extend(blocks.iter().flat_map(|b| b.scales.clone()));
            let matrix = PackedMatrix::new(format, rows, cols, &bytes).unwrap();
            assert!(matrix.values_are_valid());
            let mut row = vec![0.0; cols];
            for (r, expected) in weights.chunks(cols).enumerate() {
                assert!(matrix.dequantize_row(r, &mut row));
                for (w, e) in row.iter().zip(expected) {
                    assert!((w - e).abs() <= bound, "{format:?} row {r}: {w} {e}");
                }
            }
            assert!(!matrix.dequantize_row(rows, &mut row));
        }
    }
}
