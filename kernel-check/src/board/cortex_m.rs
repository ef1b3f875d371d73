//! Cortex-M: console and exit status by semihosting.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, Ordering};

// Operations and the exit reason, as numbered in Arm's semihosting specification.
const SYS_OPEN: u32 = 0x01;
const SYS_WRITE: u32 = 0x05;
const SYS_EXIT_EXTENDED: u32 = 0x20;
const OPEN_FOR_WRITING: u32 = 4;
const APPLICATION_EXIT: u32 = 0x2_0026;

/// Exit status after a fault.
const FAULT: u32 = 100;

// Vectors: every exception is the end. All that must be done before the first Rust instruction is
// done here: floats on (CPACR), cached low-overhead loops of the M55 on (CCR.LOB), memory zeroed.
// Arm's first architecture has few instructions, so this uses only those.
#[cfg(target_abi = "eabihf")]
global_asm!(".set demask_fpu, 1");
#[cfg(not(target_abi = "eabihf"))]
global_asm!(".set demask_fpu, 0");
#[cfg(machine = "m55")]
global_asm!(".set demask_loops, 1");
#[cfg(not(machine = "m55"))]
global_asm!(".set demask_loops, 0");
global_asm!(
    r#"
    .section .start, "ax"
    .p2align 7
    .word __stack_top, demask_start
    .rept 14
    .word demask_fault
    .endr

    .global demask_start
    .type demask_start, %function
    .thumb_func
demask_start:
    .if demask_fpu
    ldr r0, =0xE000ED88
    ldr r1, [r0]
    ldr r2, =0x00F00000
    orrs r1, r2
    str r1, [r0]
    .endif
    .if demask_loops
    ldr r0, =0xE000ED14
    ldr r1, [r0]
    ldr r2, =0x00080000
    orrs r1, r2
    str r1, [r0]
    .endif
    dsb
    isb
    ldr r0, =__bss_start
    ldr r1, =__bss_end
    movs r2, #0
1:  cmp r0, r1
    bhs 2f
    str r2, [r0]
    adds r0, #4
    b 1b
2:  bl demask_main
    .pool

    .type demask_fault, %function
    .thumb_func
demask_fault:
    mov r0, sp
    ldr r0, [r0, #24]
    bl demask_fault_at
    "#
);

#[unsafe(no_mangle)]
extern "C" fn demask_main() -> ! {
    let name = b":tt\0";
    let request = [name.as_ptr() as u32, OPEN_FOR_WRITING, 3];
    CONSOLE.store(semihosting(SYS_OPEN, &request), Ordering::Relaxed);
    crate::run();
    exit(0)
}

/// Ends the run instead of hanging in it.
#[unsafe(no_mangle)]
extern "C" fn demask_fault_at(address: u32) -> ! {
    crate::print!("fault at {address:#x}\n");
    exit(FAULT)
}

/// Handle of the debugger's console.
static CONSOLE: AtomicU32 = AtomicU32::new(0);

pub(crate) fn write(bytes: &[u8]) {
    let console = CONSOLE.load(Ordering::Relaxed);
    semihosting(SYS_WRITE, &[console, bytes.as_ptr() as u32, bytes.len() as u32]);
}

/// Ends the program with an exit status that the emulator passes on.
pub(crate) fn exit(status: u32) -> ! {
    semihosting(SYS_EXIT_EXTENDED, &[APPLICATION_EXIT, status]);
    loop {
        core::hint::spin_loop();
    }
}

fn semihosting(operation: u32, arguments: &[u32]) -> u32 {
    let result;
    // SAFETY: the debugger reads the arguments, which the caller keeps alive, and what they point
    // to; of the registers it changes r0 only. The operations used here write no memory.
    unsafe {
        asm!(
            "bkpt #0xab",
            inout("r0") operation => result,
            in("r1") arguments.as_ptr(),
            options(nostack, preserves_flags, readonly),
        );
    }
    result
}
