//! RISC-V on QEMU's `virt` machine: 16550 UART and test finisher.

use core::arch::global_asm;

const UART: *mut u8 = 0x1000_0000 as *mut u8;
/// The line status register of the UART, and its bit for "ready to send".
const UART_STATUS: *const u8 = 0x1000_0005 as *const u8;
const UART_READY: u8 = 0x20;
/// Ends the emulation: with status 0, or with the status in the upper half.
const FINISHER: *mut u32 = 0x10_0000 as *mut u32;
const FINISHER_PASS: u32 = 0x5555;
const FINISHER_FAIL: u32 = 0x3333;

/// Exit status after a fault.
const FAULT: u32 = 100;

// The machine starts at the first address of the program.
global_asm!(
    r#"
    .section .start, "ax"
    .global demask_start
demask_start:
    la sp, __stack_top
    la t0, demask_fault
    csrw mtvec, t0
    # Floats and vectors on (mstatus.FS and .VS), where there are any.
    li t0, 0x2200
    csrs mstatus, t0
    la t0, __bss_start
    la t1, __bss_end
1:  bgeu t0, t1, 2f
    sw x0, 0(t0)
    addi t0, t0, 4
    j 1b
2:  call demask_main

    .p2align 2
demask_fault:
    la sp, __stack_top
    csrr a0, mcause
    csrr a1, mepc
    call demask_fault_at
    "#
);

#[unsafe(no_mangle)]
extern "C" fn demask_main() -> ! {
    crate::run();
    exit(0)
}

/// Ends the run instead of hanging in it.
#[unsafe(no_mangle)]
extern "C" fn demask_fault_at(cause: usize, address: usize) -> ! {
    crate::print!("fault {cause} at {address:#x}\n");
    exit(FAULT)
}

pub(crate) fn write(bytes: &[u8]) {
    for &byte in bytes {
        // SAFETY: both addresses are registers of the machine's UART.
        unsafe {
            while UART_STATUS.read_volatile() & UART_READY == 0 {}
            UART.write_volatile(byte);
        }
    }
}

/// Ends the emulation with an exit status.
pub(crate) fn exit(status: u32) -> ! {
    let code = if status == 0 { FINISHER_PASS } else { status << 16 | FINISHER_FAIL };
    // SAFETY: the address is the register of the machine's test finisher.
    unsafe { FINISHER.write_volatile(code) };
    loop {
        core::hint::spin_loop();
    }
}
