//! Q4 cells: two weights per byte, each stored plus 8.

use super::{BLOCK_ROWS, CELL_WEIGHTS, GROUP, STEP, step_offset};

const HALF: usize = GROUP / 2;

/// Unpacks a cell into one run of 32 weights per row.
#[inline]
pub(super) fn unpack(cell: &[u8; CELL_WEIGHTS / 2], out: &mut [[i8; GROUP]; BLOCK_ROWS]) {
    for (step, rows) in cell.as_chunks::<{ BLOCK_ROWS * STEP }>().0.iter().enumerate() {
        for (row, bytes) in out.iter_mut().zip(rows.as_chunks::<STEP>().0) {
            let (low, high) = row.split_at_mut(HALF);
            if let Some(target) = low.as_chunks_mut::<STEP>().0.get_mut(step) {
                *target = bytes.map(|b| (b & 15) as i8 - 8);
            }
            if let Some(target) = high.as_chunks_mut::<STEP>().0.get_mut(step) {
                *target = bytes.map(|b| (b >> 4) as i8 - 8);
            }
        }
    }
}

pub(super) fn put(cell: &mut [u8], row: usize, input: usize, weight: i8) {
    if row >= BLOCK_ROWS || input >= GROUP {
        return;
    }
    let at = step_offset(row, input % HALF / STEP) + input % STEP;
    let nibble = (weight + 8) as u8 & 15;
    if let Some(byte) = cell.get_mut(at) {
        *byte = if input < HALF { *byte & 0xf0 | nibble } else { *byte & 0x0f | nibble << 4 };
    }
}
