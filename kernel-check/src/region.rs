//! Regions whose instructions the emulator counts: `scripts/insncount.c` knows the two instructions
//! that enclose them. They do nothing, and compilers do not emit them.

#[cfg(not(any(board = "host", board = "wasm")))]
use core::arch::asm;

use crate::console::print;

/// Does `work` in a region, and prints a line to go with the emulator's count: what was done, and
/// how many `units` (multiply-accumulates or elements) that were.
#[inline(never)]
pub(crate) fn region(
    kernel: &str,
    operation: &str,
    shape: &str,
    units: usize,
    work: impl FnOnce(),
) {
    begin();
    work();
    end();
    print!("region {kernel} {operation} {shape} {units}\n");
}

#[inline(always)]
fn begin() {
    // SAFETY: a register is copied to itself, or a constant written to the register that is
    // always zero. Not `nomem`: the work must not move out of the region.
    #[cfg(not(any(board = "host", board = "wasm")))]
    unsafe {
        #[cfg(target_arch = "arm")]
        asm!("mov r9, r9", options(nostack, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        asm!("mov x9, x9", options(nostack, preserves_flags));
        #[cfg(target_arch = "riscv32")]
        asm!("slti x0, x0, 0x51", options(nostack, preserves_flags));
    }
}

#[inline(always)]
fn end() {
    // SAFETY: as in `begin`.
    #[cfg(not(any(board = "host", board = "wasm")))]
    unsafe {
        #[cfg(target_arch = "arm")]
        asm!("mov r10, r10", options(nostack, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        asm!("mov x10, x10", options(nostack, preserves_flags));
        #[cfg(target_arch = "riscv32")]
        asm!("slti x0, x0, 0x52", options(nostack, preserves_flags));
    }
}
