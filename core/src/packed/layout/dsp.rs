//! 2 rows in 32-bit words, as `SMLAD` takes them; the rows' words alternate.
//!
//! - Nibbles: 4 words per row, each 8 inputs. Nibble `j` of the low half-word is input `8 w + 2 j`, of the
//!   high half-word input `8 w + 2 j + 1`, in two's complement: a shift and a mask make two
//!   half-words of 4096 times a weight.
//! - Bytes: 8 words per row, each 4 inputs, as two half-words: 256 times input `4 w + 2` plus input
//!   `4 w`, and the same with the next input each. The upper byte so takes a borrow from a
//!   negative lower one.

use super::{byte, from_signed_nibble, nibble, put_nibble, signed_nibble};
use crate::packed::{GROUP, Width};

/// Byte of the half-word that holds `input`, for `per_word` inputs to a word.
const fn half_word(row: usize, input: usize, per_word: usize) -> usize {
    (input / per_word * 2 + row) * 4 + input % 2 * 2
}

pub(super) fn write(width: Width, cell: &mut [u8], row: usize, values: &[i8; GROUP]) {
    for (input, &weight) in values.iter().enumerate() {
        match width {
            Width::Byte => {
                let at = half_word(row, input, 4);
                let Some([low, high]) = cell.get_mut(at..).and_then(|rest| rest.first_chunk_mut())
                else {
                    return;
                };
                if input % 4 < 2 {
                    // Comes before its upper neighbour, which the borrow belongs to.
                    (*low, *high) = (weight as u8, if weight < 0 { 0xff } else { 0 });
                } else {
                    *high = high.wrapping_add(weight as u8);
                }
            }
            Width::Nibble => {
                let at = half_word(row, input, 8) + input % 8 / 4;
                put_nibble(cell, at, input % 4 >= 2, signed_nibble(weight));
            }
        }
    }
}

#[inline(always)]
pub(super) fn read(width: Width, cell: &[u8], row: usize) -> [i8; GROUP] {
    core::array::from_fn(|input| match width {
        Width::Byte => {
            let at = half_word(row, input, 4);
            let (low, high) = (byte(cell, at), byte(cell, at + 1));
            if input % 4 < 2 { low as i8 } else { high.wrapping_add(low >> 7) as i8 }
        }
        Width::Nibble => {
            let at = half_word(row, input, 8) + input % 8 / 4;
            from_signed_nibble(nibble(cell, at, input % 4 >= 2))
        }
    })
}
