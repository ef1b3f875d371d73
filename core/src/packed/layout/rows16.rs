//! 16 rows interleaved in steps of 4 inputs.
//!
//! - Q8: 512 bytes in 8 steps of 64; step `s` holds, row after row, inputs `4 s .. 4 s + 4`.
//! - Q4: 256 bytes in 4 steps of 64; a byte's low nibble belongs to step `s`, its high nibble to
//!   step `s + 4`. A nibble is the weight plus 8.

use super::{byte, nibble, put_nibble};
use crate::packed::{BLOCK_ROWS, GROUP, WeightFormat};

/// Inputs that lie next to each other for one row.
const STEP: usize = 4;
const HALF: usize = GROUP / 2;

const fn offset(row: usize, input: usize) -> usize {
    (input / STEP * BLOCK_ROWS + row) * STEP + input % STEP
}

pub(super) fn write(format: WeightFormat, cell: &mut [u8], row: usize, values: &[i8; GROUP]) {
    for (input, &weight) in values.iter().enumerate() {
        match format {
            WeightFormat::Q8 => {
                if let Some(byte) = cell.get_mut(offset(row, input)) {
                    *byte = weight as u8;
                }
            }
            WeightFormat::Q4 => {
                let nibble = (weight + 8) as u8 & 15;
                put_nibble(cell, offset(row, input % HALF), input >= HALF, nibble);
            }
        }
    }
}

#[inline(always)]
pub(super) fn read(format: WeightFormat, cell: &[u8], row: usize) -> [i8; GROUP] {
    core::array::from_fn(|input| match format {
        WeightFormat::Q8 => byte(cell, offset(row, input)) as i8,
        WeightFormat::Q4 => nibble(cell, offset(row, input % HALF), input >= HALF) as i8 - 8,
    })
}
