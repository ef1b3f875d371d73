//! 2 rows in 16-byte vectors, first row first.
//!
//! - Q8: two vectors per row, inputs 0 to 15 and 16 to 31.
//! - Q4: one vector per row; a byte's low nibble is input `i`, its high nibble input `i + 16`, in
//!   two's complement: a shift or a mask leaves 16 times the weight.

use super::{byte, from_signed_nibble, nibble, put_nibble, signed_nibble};
use crate::packed::{GROUP, WeightFormat};

const HALF: usize = GROUP / 2;

pub(super) fn write(format: WeightFormat, cell: &mut [u8], row: usize, values: &[i8; GROUP]) {
    for (input, &weight) in values.iter().enumerate() {
        match format {
            WeightFormat::Q8 => {
                if let Some(byte) = cell.get_mut(row * GROUP + input) {
                    *byte = weight as u8;
                }
            }
            WeightFormat::Q4 => {
                let at = row * HALF + input % HALF;
                put_nibble(cell, at, input >= HALF, signed_nibble(weight));
            }
        }
    }
}

#[inline(always)]
pub(super) fn read(format: WeightFormat, cell: &[u8], row: usize) -> [i8; GROUP] {
    core::array::from_fn(|input| match format {
        WeightFormat::Q8 => byte(cell, row * GROUP + input) as i8,
        WeightFormat::Q4 => {
            from_signed_nibble(nibble(cell, row * HALF + input % HALF, input >= HALF))
        }
    })
}
