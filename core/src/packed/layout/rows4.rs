//! 4 rows interleaved in steps of 4 inputs, as the `SDOT` instruction takes them.
//!
//! - Bytes: 128 bytes in 8 vectors of 16; vector `v` holds, row after row, inputs `4 v .. 4 v + 4`.
//! - Nibbles: 64 bytes in 4 vectors; a byte's low nibble belongs to vector `v`, its high nibble to vector
//!   `v + 4`. Nibbles are in two's complement: a shift or a mask leaves 16 times the weight.

use super::{byte, from_signed_nibble, nibble, put_nibble, signed_nibble};
use crate::packed::{GROUP, Width};

const STEP: usize = 4;
const ROWS: usize = 4;
const HALF: usize = GROUP / 2;

const fn offset(row: usize, input: usize) -> usize {
    (input / STEP * ROWS + row) * STEP + input % STEP
}

pub(super) fn write(width: Width, cell: &mut [u8], row: usize, values: &[i8; GROUP]) {
    for (input, &weight) in values.iter().enumerate() {
        match width {
            Width::Byte => {
                if let Some(byte) = cell.get_mut(offset(row, input)) {
                    *byte = weight as u8;
                }
            }
            Width::Nibble => {
                let at = offset(row, input % HALF);
                put_nibble(cell, at, input >= HALF, signed_nibble(weight));
            }
        }
    }
}

#[inline(always)]
pub(super) fn read(width: Width, cell: &[u8], row: usize) -> [i8; GROUP] {
    core::array::from_fn(|input| match width {
        Width::Byte => byte(cell, offset(row, input)) as i8,
        Width::Nibble => from_signed_nibble(nibble(cell, offset(row, input % HALF), input >= HALF)),
    })
}
