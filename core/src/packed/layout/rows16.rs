//! 16 rows interleaved in steps of 4 inputs.
//!
//! - Bytes: 512 bytes in 8 steps of 64; step `s` holds, row after row, inputs `4 s .. 4 s + 4`.
//! - Nibbles: 256 bytes in 4 steps of 64; a byte's low nibble belongs to step `s`, its high nibble to
//!   step `s + 4`. A nibble is the weight plus 8.

use super::put_nibble;
use crate::packed::{BLOCK_ROWS, GROUP, Width};

/// Inputs that lie next to each other for one row.
const STEP: usize = 4;
const HALF: usize = GROUP / 2;

const fn offset(row: usize, input: usize) -> usize {
    (input / STEP * BLOCK_ROWS + row) * STEP + input % STEP
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
                let nibble = (weight + 8) as u8 & 15;
                put_nibble(cell, offset(row, input % HALF), input >= HALF, nibble);
            }
        }
    }
}

/// Four inputs at a time: `Scalar` reads all its weights here.
#[inline(always)]
pub(super) fn read(width: Width, cell: &[u8], row: usize) -> [i8; GROUP] {
    let mut values = [0; GROUP];
    let run = |step: usize| -> [u8; STEP] {
        let run = cell.get(offset(row, step * STEP)..).and_then(|rest| rest.first_chunk());
        run.copied().unwrap_or_default()
    };
    match width {
        Width::Byte => {
            for (step, target) in values.as_chunks_mut::<STEP>().0.iter_mut().enumerate() {
                *target = run(step).map(|byte| byte as i8);
            }
        }
        Width::Nibble => {
            let (low, high) = values.split_at_mut(HALF);
            let targets = low.as_chunks_mut::<STEP>().0.iter_mut().zip(high.as_chunks_mut().0);
            for (step, (low, high)) in targets.enumerate() {
                let bytes = run(step);
                *low = bytes.map(|byte| (byte & 15) as i8 - 8);
                *high = bytes.map(|byte| (byte >> 4) as i8 - 8);
            }
        }
    }
    values
}
