//! 2 rows in 32-bit words of 8 nibbles, first row first; nibble `j` of word `w` is input `8 w + j`.
//!
//! - Nibbles: 4 words per row; a nibble is the weight plus 8.
//! - Bytes: 8 words per row: 4 of upper digits plus 8, then 4 of lower digits, so that weight
//!   `= 16 (upper - 8) + lower`.

use super::{nibble, put_nibble};
use crate::packed::{GROUP, Width};

/// Bytes of one row's words of one digit.
const PLANE: usize = GROUP / 2;

pub(super) fn write(width: Width, cell: &mut [u8], row: usize, values: &[i8; GROUP]) {
    for (input, &weight) in values.iter().enumerate() {
        match width {
            Width::Byte => {
                let at = row * 2 * PLANE + input / 2;
                let (upper, lower) = ((weight >> 4) + 8, weight & 15);
                put_nibble(cell, at, input % 2 == 1, upper as u8);
                put_nibble(cell, at + PLANE, input % 2 == 1, lower as u8);
            }
            Width::Nibble => {
                let at = row * PLANE + input / 2;
                put_nibble(cell, at, input % 2 == 1, (weight + 8) as u8 & 15);
            }
        }
    }
}

#[inline(always)]
pub(super) fn read(width: Width, cell: &[u8], row: usize) -> [i8; GROUP] {
    core::array::from_fn(|input| match width {
        Width::Byte => {
            let at = row * 2 * PLANE + input / 2;
            let upper = nibble(cell, at, input % 2 == 1) as i8 - 8;
            (upper << 4) | nibble(cell, at + PLANE, input % 2 == 1) as i8
        }
        Width::Nibble => nibble(cell, row * PLANE + input / 2, input % 2 == 1) as i8 - 8,
    })
}
