//! 16 rows interleaved in steps of 4 inputs.
//!
//! - Bytes: 512 bytes in 8 steps of 64; step `s` holds, row after row, inputs `4 s .. 4 s + 4`.
//! - Nibbles: 256 bytes in 4 steps of 64; a byte's low nibble belongs to step `s`, its high nibble to
//!   step `s + 4`. A nibble is the weight plus 8.

use crate::packed::{BLOCK_ROWS, GROUP, Width};

/// Inputs that lie next to each other for one row.
const STEP: usize = 4;
const HALF: usize = GROUP / 2;

const fn offset(row: usize, input: usize) -> usize {
    (input / STEP * BLOCK_ROWS + row) * STEP + input % STEP
}

/// Four inputs at a time, as one word each: models are packed while they load.
#[inline]
pub(super) fn write(width: Width, cell: &mut [u8], row: usize, values: &[i8; GROUP]) {
    let word = |run: &[i8; STEP]| u32::from_le_bytes(bytemuck::cast(*run));
    let mut put = |step: usize, word: u32| {
        let place = cell.get_mut(offset(row, step * STEP)..);
        if let Some(place) = place.and_then(|rest| rest.first_chunk_mut()) {
            *place = word.to_le_bytes();
        }
    };
    match width {
        Width::Byte => {
            for (step, run) in values.as_chunks().0.iter().enumerate() {
                put(step, word(run));
            }
        }
        Width::Nibble => {
            let (low, high) = values.split_at(HALF);
            let runs = low.as_chunks().0.iter().zip(high.as_chunks().0);
            for (step, (low, high)) in runs.enumerate() {
                // To add 8 to a nibble is to flip its upper bit.
                let nibbles = |run| (word(run) ^ 0x0808_0808) & 0x0f0f_0f0f;
                put(step, nibbles(low) | nibbles(high) << 4);
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
