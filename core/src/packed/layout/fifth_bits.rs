//! The fifth bits of weights in -16..=15, behind the nibbles of a cell.
//!
//! A weight plus 16 has a lower half, which every layout stores as it stores the 4-bit weight 8 less
//! than it, and an upper bit. The bits of a cell lie in the order of [`Layout::Rows16`]'s bytes, with
//! as many rows as the layout interleaves: input `4 s + i` of row `r` of `n` is bit `4 r + i` of the
//! `4 n` bits of step `s`.
//!
//! [`Layout::Rows16`]: super::Layout::Rows16

use super::byte;
use crate::packed::GROUP;

/// Inputs of a row that lie next to each other.
const STEP: usize = 4;

/// Byte, counted from the start of a cell of `rows` rows, and bit.
const fn place(rows: usize, row: usize, input: usize) -> (usize, u32) {
    let nibbles = rows * GROUP / 2;
    let bit = (input / STEP * rows + row) * STEP + input % STEP;
    (nibbles + bit / 8, bit as u32 % 8)
}

/// The weights less their fifth bits, in -8..=7.
pub(super) fn lower_four(values: &[i8; GROUP]) -> [i8; GROUP] {
    values.map(|value| (value & 15) - 8)
}

/// Writes the fifth bits of a row, which have been zero.
pub(super) fn write(cell: &mut [u8], rows: usize, row: usize, values: &[i8; GROUP]) {
    for (input, value) in values.iter().enumerate() {
        let (at, bit) = place(rows, row, input);
        if let Some(byte) = cell.get_mut(at) {
            *byte |= u8::from(*value >= 0) << bit;
        }
    }
}

/// Makes 5-bit weights of 4-bit ones.
#[inline(always)]
pub(super) fn add(cell: &[u8], rows: usize, row: usize, values: &mut [i8; GROUP]) {
    for (input, value) in values.iter_mut().enumerate() {
        let (at, bit) = place(rows, row, input);
        let upper = byte(cell, at) >> bit & 1;
        *value += 16 * upper as i8 - 8;
    }
}
