//! The instructions of the tile unit. The compiler knows none of them yet.

use super::order::TILE_ROWS;
use crate::kernels::x86_64::blocked::{Cell, Q8};
use crate::packed::BLOCK_ROWS;
use core::arch::asm;

/// Result tiles that take turns.
pub(super) const TURNS: usize = 4;

/// Results as they leave the unit, `[rows, outputs]`.
pub(super) type Integers = [[i32; BLOCK_ROWS]; TILE_ROWS];

/// One for each turn.
#[repr(align(64))]
pub(super) struct Results(pub(super) [Integers; TURNS]);

impl Results {
    pub(super) const ZERO: Self = Self([[[0; BLOCK_ROWS]; TILE_ROWS]; TURNS]);
}

/// What a product multiplies: `[rows][32 bytes]`, and a cell in 64-byte lines.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub(super) values: *const u32,
    pub(super) weights: *const Cell<Q8>,
}

/// Loads the tile configuration: results 0 to 3, values 4 and 5, weights 6 and 7. Zeroes all tiles.
///
/// # Safety
/// The processor must have AMX, and the thread must be permitted to use tiles.
pub(super) unsafe fn configure(height: usize) {
    let mut configuration = [0u8; 64];
    let (bytes, rows) = configuration.split_at_mut(48);
    let result = (BLOCK_ROWS as u8 * 4, height as u8);
    let tiles = [result, result, result, result, (32, result.1), (32, result.1), (64, 8), (64, 8)];
    // Byte 0 is the palette, 1; widths are 16-bit numbers from byte 16 on.
    let widths = bytes.split_at_mut(16).1.as_chunks_mut::<2>().0;
    for ((width, rows), tile) in widths.iter_mut().zip(rows).zip(tiles) {
        (*width, *rows) = ([tile.0, 0], tile.1);
    }
    if let Some(palette) = bytes.first_mut() {
        *palette = 1;
    }
    // SAFETY: reads the 64 bytes; the caller vouches for the rest.
    unsafe {
        asm!("ldtilecfg [{0}]", in(reg) &configuration, options(readonly, nostack, preserves_flags));
    }
}

/// Leaves the tiles, so that the system need not keep them for this thread.
///
/// # Safety
/// The processor must have AMX.
pub(super) unsafe fn release() {
    // SAFETY: the caller vouches for the processor.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
}

/// Moves the result of a turn to memory, and starts its next product.
///
/// # Safety
/// The tiles must be configured, and the operands good for reading a tile each.
#[inline(always)]
pub(super) unsafe fn store_and_multiply<const TURN: usize>(result: &mut Integers, next: Operands) {
    macro_rules! step {
        ($result:literal, $values:literal, $weights:literal) => {
            // One register serves for all distances between rows: an address that depends on the
            // stack would have to wait for the stores of whole tiles before it.
            asm!(
                concat!("tilestored [{to} + 2*{half_line}], tmm", $result),
                concat!("tileloadd tmm", $values, ", [{values} + {half_line}]"),
                concat!("tileloadd tmm", $weights, ", [{weights} + 2*{half_line}]"),
                concat!("tilezero tmm", $result),
                concat!("tdpbssd tmm", $result, ", tmm", $values, ", tmm", $weights),
                to = in(reg) result,
                values = in(reg) next.values,
                weights = in(reg) next.weights,
                half_line = in(reg) 32usize,
                options(nostack, preserves_flags),
            )
        };
    }
    // SAFETY: `result` is as large as a result tile; the caller vouches for the rest.
    unsafe {
        match TURN {
            0 => step!(0, 4, 6),
            1 => step!(1, 5, 7),
            2 => step!(2, 4, 6),
            _ => step!(3, 5, 7),
        }
    }
}
