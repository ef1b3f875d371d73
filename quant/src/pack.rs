//! Packing rounded weights into blocks: the inverse of [`demask::packed`].

use crate::round::round_group;
use demask::packed::{BLOCK_ROWS, GROUP, Layout, WeightFormat};

/// One packed block of up to 16 rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedBlock {
    /// Integers of all cells, and their scales unless the layout keeps those apart.
    pub weights: Vec<u8>,
    /// Scales of all cells, if the layout keeps them apart.
    pub scales: Vec<u8>,
}

/// Rounds and packs `rows` (at most 16 of them, each `cols` long). Missing rows and columns become
/// zeros.
#[must_use]
pub fn pack_block(rows: &[f32], cols: usize, format: WeightFormat, layout: Layout) -> PackedBlock {
    let groups = cols.div_ceil(GROUP);
    let (weights, scales) = layout.block_bytes(format, groups);
    let mut block = PackedBlock { weights: vec![0; weights], scales: vec![0; scales] };
    for lane in 0..BLOCK_ROWS {
        let row = rows.chunks_exact(cols).nth(lane).unwrap_or_default();
        for group in 0..groups {
            let weights = row.get(group * GROUP..cols.min((group + 1) * GROUP)).unwrap_or_default();
            let rounded = round_group(weights, format);
            let planes = (&mut block.weights[..], &mut block.scales[..]);
            layout.write(format, planes, (lane, group), &rounded.values, rounded.scale);
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
        let bounds = [(WeightFormat::Q8, 0.009), (WeightFormat::Q4, 0.19)];
        for (layout, (format, bound)) in
            Layout::ALL.into_iter().flat_map(|l| bounds.map(|b| (l, b)))
        {
            let blocks: Vec<_> = weights
                .chunks(16 * cols)
                .map(|rows| pack_block(rows, cols, format, layout))
                .collect();
            let mut bytes: Vec<u8> = blocks.iter().flat_map(|b| b.weights.clone()).collect();
            bytes.extend(blocks.iter().flat_map(|b| b.scales.clone()));
            let matrix = PackedMatrix::new(format, layout, rows, cols, &bytes).unwrap();
            assert!(matrix.values_are_valid());
            let mut row = vec![0.0; cols];
            for (r, expected) in weights.chunks(cols).enumerate() {
                assert!(matrix.dequantize_row(r, &mut row));
                for (w, e) in row.iter().zip(expected) {
                    assert!((w - e).abs() <= bound, "{layout:?} {format:?} row {r}: {w} {e}");
                }
            }
            assert!(!matrix.dequantize_row(rows, &mut row));
        }
    }
}
