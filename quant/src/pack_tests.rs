//! What is packed reads back, in every layout.

use super::*;
use crate::round::round_group;
use demask::packed::PackedMatrix;
use half::f16;

/// Rows of up to one block, as a matrix keeps them.
struct PackedBlock {
    weights: Vec<u8>,
    scales: Vec<u8>,
}

fn pack_groups(rows: &[Group], groups: usize, format: WeightFormat, layout: Layout) -> PackedBlock {
    let (weights, scales) = layout.block_bytes(format, groups);
    let mut block = PackedBlock { weights: vec![0; weights], scales: vec![0; scales] };
    let planes = (&mut block.weights[..], &mut block.scales[..]);
    write_groups((format, layout), rows, groups, planes);
    block
}

fn pack_block(rows: &[f32], cols: usize, format: WeightFormat, layout: Layout) -> PackedBlock {
    let groups = rows.chunks_exact(cols).flat_map(|row| row.chunks(GROUP));
    let groups: Vec<Group> = groups.map(|g| round_group(g, format).unwrap()).collect();
    pack_groups(&groups, cols.div_ceil(GROUP), format, layout)
}

#[test]
fn packed_rows_read_back() {
    let (rows, cols) = (21, 70);
    let weights: Vec<f32> =
        (0..rows * cols).map(|i| ((i * 97 % 255) as f32 - 127.0) / 64.0).collect();
    let bounds = [(WeightFormat::Q8, 0.009), (WeightFormat::Q4, 0.19)];
    for (layout, (format, bound)) in Layout::ALL.into_iter().flat_map(|l| bounds.map(|b| (l, b))) {
        let blocks: Vec<_> =
            weights.chunks(16 * cols).map(|rows| pack_block(rows, cols, format, layout)).collect();
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

/// Every weight of a matrix with minima, in each layout, is the closed form.
#[test]
fn affine_groups_read_back() {
    let (rows, groups, format) = (21, 16, WeightFormat::Q4K);
    let half = |x: usize| f16::from_f32(x as f32 / 64.0 - 1.0);
    let group = |row: usize, group: usize| {
        let scale = GroupScale::Affine {
            d: half(row + 100 * (group / 8)),
            d_min: half(2 * row + 90 * (group / 8)),
            scale: (row + 2 * group) as u8,
            min: (63 - row - group) as u8,
        };
        (core::array::from_fn(|i| ((i * 5 + row + group * 3) % 16) as i8 - 8), scale)
    };
    let all: Vec<Group> = (0..rows).flat_map(|r| (0..groups).map(move |g| group(r, g))).collect();
    for layout in Layout::ALL {
        let blocks: Vec<_> = all
            .chunks(BLOCK_ROWS * groups)
            .map(|rows| pack_groups(rows, groups, format, layout))
            .collect();
        let mut bytes: Vec<u8> = blocks.iter().flat_map(|b| b.weights.clone()).collect();
        bytes.extend(blocks.iter().flat_map(|b| b.scales.clone()));
        assert_eq!(bytes.len(), 32 * groups * GROUP * 37 / 64, "4.625 bits per weight");
        let matrix = PackedMatrix::new(format, layout, rows, groups * GROUP, &bytes).unwrap();
        assert!(matrix.values_are_valid());
        let mut row = vec![0.0; groups * GROUP];
        for r in 0..rows {
            assert!(matrix.dequantize_row(r, &mut row));
            for (col, w) in row.iter().enumerate() {
                let (g, i) = (col / GROUP, col % GROUP);
                let d = (r + 100 * (g / 8)) as f64 / 64.0 - 1.0;
                let d_min = (2 * r + 90 * (g / 8)) as f64 / 64.0 - 1.0;
                let q = (i * 5 + r + g * 3) % 16;
                let exact = d * ((r + 2 * g) * q) as f64 - d_min * (63 - r - g) as f64;
                assert_eq!(*w, exact as f32, "{layout:?} row {r} column {col}");
            }
        }
    }
}

/// A scale that is not finite is found in each layout, wherever it stands.
#[test]
fn bad_units_are_found() {
    for (layout, at) in Layout::ALL.into_iter().flat_map(|l| [0, 31, 32, 62].map(|at| (l, at))) {
        let rows = vec![([0; GROUP], GroupScale::zero(WeightFormat::Q4K)); 16 * 16];
        let block = pack_groups(&rows, 16, WeightFormat::Q4K, layout);
        let mut bytes = [block.weights, block.scales].concat();
        let valid = |bytes: &[u8]| {
            let matrix = PackedMatrix::new(WeightFormat::Q4K, layout, 16, 512, bytes);
            matrix.unwrap().values_are_valid()
        };
        assert!(valid(&bytes));
        // The second of two super-blocks of 320 bytes, an infinity.
        let place = bytes.len() - 320 + at / 2 * 2;
        bytes[place + 1] = 0x7c;
        assert!(!valid(&bytes), "{layout:?} {at}");
    }
}

#[test]
fn columns_must_be_whole_super_blocks() {
    let bytes = vec![0; 16 * 296];
    for (cols, fits) in [(512, true), (500, false), (481, false)] {
        let matrix = PackedMatrix::new(WeightFormat::Q4K, Layout::Rows16, 16, cols, &bytes);
        assert_eq!(matrix.is_some(), fits, "{cols}");
    }
}
