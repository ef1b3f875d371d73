//! 4 rows, two by two in runs of 8 inputs, as the `SMMLA` instruction takes them.
//!
//! - Bytes: 128 bytes in 8 vectors of 16; vectors 0 to 3 hold rows 0 and 1, 4 to 7 rows 2 and 3; vector
//!   `v` of a pair of rows holds inputs `8 v .. 8 v + 8` of the first row, then of the second.
//! - Nibbles: 64 bytes in 4 vectors, two per pair of rows; a byte's low nibble belongs to vector `v` of
//!   the pair, its high nibble to vector `v + 2`. Nibbles are in two's complement.

use super::{byte, from_signed_nibble, nibble, put_nibble, signed_nibble};
use crate::packed::{GROUP, Width};

const RUN: usize = 8;
const HALF: usize = GROUP / 2;

/// `inputs` is the number of inputs that a pair of rows has bytes for.
const fn offset(row: usize, input: usize, inputs: usize) -> usize {
    row / 2 * 2 * inputs + (input / RUN * 2 + row % 2) * RUN + input % RUN
}

pub(super) fn write(width: Width, cell: &mut [u8], row: usize, values: &[i8; GROUP]) {
    for (input, &weight) in values.iter().enumerate() {
        match width {
            Width::Byte => {
                if let Some(byte) = cell.get_mut(offset(row, input, GROUP)) {
                    *byte = weight as u8;
                }
            }
            Width::Nibble => {
                let at = offset(row, input % HALF, HALF);
                put_nibble(cell, at, input >= HALF, signed_nibble(weight));
            }
        }
    }
}

#[inline(always)]
pub(super) fn read(width: Width, cell: &[u8], row: usize) -> [i8; GROUP] {
    core::array::from_fn(|input| match width {
        Width::Byte => byte(cell, offset(row, input, GROUP)) as i8,
        Width::Nibble => {
            from_signed_nibble(nibble(cell, offset(row, input % HALF, HALF), input >= HALF))
        }
    })
}
