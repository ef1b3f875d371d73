//! 2 rows in 16-byte vectors, first row first.
//!
//! - Bytes: two vectors per row, inputs 0 to 15 and 16 to 31.
//! - Nibbles: one vector per row; a byte's low nibble is input `i`, its high nibble input `i + 16`, in
//!   two's complement: a shift or a mask leaves 16 times the weight.

use super::{byte, from_signed_nibble, nibble, put_nibble, signed_nibble};
use crate::packed::{GROUP, Width};

const HALF: usize = GROUP / 2;

pub(super) fn write(width: Width, cell: &mut [u8], row: usize, values: &[i8; GROUP]) {
    for (input, &weight) in values.iter().enumerate() {
        match width {
            Width::Byte => {
                if let Some(byte) = cell.get_mut(row * GROUP + input) {
                    *byte = weight as u8;
                }
            }
            Width::Nibble => {
                let at = row * HALF + input % HALF;
                put_nibble(cell, at, input >= HALF, signed_nibble(weight));
            }
        }
    }
}

#[inline(always)]
pub(super) fn read(width: Width, cell: &[u8], row: usize) -> [i8; GROUP] {
    core::array::from_fn(|input| match width {
        Width::Byte => byte(cell, row * GROUP + input) as i8,
        Width::Nibble => from_signed_nibble(nibble(cell, row * HALF + input % HALF, input >= HALF)),
    })
}
