//! Q8 cells: one `i8` per weight.

use super::{BLOCK_ROWS, CELL_WEIGHTS, GROUP, STEP, step_offset};

/// Unpacks a cell into one run of 32 weights per row.
#[inline]
pub(super) fn unpack(cell: &[u8; CELL_WEIGHTS], out: &mut [[i8; GROUP]; BLOCK_ROWS]) {
    for (step, rows) in cell.as_chunks::<{ BLOCK_ROWS * STEP }>().0.iter().enumerate() {
        for (row, weights) in out.iter_mut().zip(rows.as_chunks::<STEP>().0) {
            if let Some(target) = row.as_chunks_mut::<STEP>().0.get_mut(step) {
                *target = weights.map(|b| b as i8);
            }
        }
    }
}

pub(super) fn put(cell: &mut [u8], row: usize, input: usize, weight: i8) {
    if row >= BLOCK_ROWS || input >= GROUP {
        return;
    }
    if let Some(byte) = cell.get_mut(step_offset(row, input / STEP) + input % STEP) {
        *byte = weight as u8;
    }
}
