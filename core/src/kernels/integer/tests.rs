use super::*;
use crate::kernels::check;
use crate::packed::{BLOCK_ROWS, WeightFormat};

#[test]
fn integer_is_the_same_as_scalar() {
    check::all(Integer::new(), check::Effort::Quick);
}

#[test]
fn cells_may_lie_anywhere() {
    let (rows, outputs, cols) = (5, 9usize, 64);
    for format in [WeightFormat::Q4, WeightFormat::Q8] {
        let length = outputs.div_ceil(BLOCK_ROWS) * cols / GROUP * format.cell_bytes();
        let mut memory = std::vec![0u8; length + 8];
        let mut products = std::vec::Vec::new();
        for offset in 0..5 {
            let bytes = &mut memory[offset..][..length];
            // No scale is infinite.
            bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 37) as u8 & 0x3b);
            let weights = PackedMatrix::new(format, Layout::Words, outputs, cols, bytes).unwrap();
            let words = Layout::Words.activation_words(rows, weights.groups()).unwrap();
            let mut words = std::vec![0; words];
            let mut activations =
                ActivationsMut::new(format, Layout::Words, rows, weights.groups(), &mut words)
                    .unwrap();
            for row in 0..rows {
                let x: std::vec::Vec<f32> = (0..cols).map(|i| (i * row) as f32 - 50.0).collect();
                Integer::new().quantize_row(&x, row, &mut activations).unwrap();
            }
            let mut out = std::vec![0.0; rows * outputs];
            Integer::new().matmul(&weights, &activations.view(), &mut out);
            assert!(out.iter().all(|y| *y != 0.0));
            products.push(out);
        }
        assert!(products.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
