//! 32-bit RISC-V on QEMU's `virt` machine: 16550 UART, test finisher, retired-instruction counter.

use core::arch::asm;
use demask_firmware_demo::stack::Stack;
use demask_firmware_demo::{Board, Console, Count, report_ram, run};
use riscv::register::{instret, mcause, mepc};
use riscv_rt::entry;

const UART: *mut u8 = 0x1000_0000 as *mut u8;
/// The line status register of the UART, and its bit for "ready to send".
const UART_STATUS: *const u8 = 0x1000_0005 as *const u8;
const UART_READY: u8 = 0x20;
/// Ends the emulation: with status 0, or with the status in the upper half.
const FINISHER: *mut u32 = 0x10_0000 as *mut u32;
const FINISHER_PASS: u32 = 0x5555;
const FINISHER_FAIL: u32 = 0x3333;

/// Exit status after a fault. The numbers below it belong to the demo.
const FAULT: u32 = 100;

unsafe extern "C" {
    // The memory map in memory/ and the linker script of riscv-rt define these.
    static mut _stack_end: u32;
    static mut _stack_start: u32;
    static _statics_start: u32;
    static __sheap: u32;
}

/// The UART and the counter in the processor.
pub(crate) struct Machine;

impl Machine {
    pub(crate) fn new() -> Self {
        Self
    }
}

impl Console for Machine {
    #[inline(never)]
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            // SAFETY: both addresses are registers of the machine's UART.
            unsafe {
                while UART_STATUS.read_volatile() & UART_READY == 0 {}
                UART.write_volatile(byte);
            }
        }
    }
}

impl Board for Machine {
    const NAME: &'static str = "RV32 without FPU";

    fn count(&mut self) -> Count {
        Count::Instructions(instret::read64())
    }
}

#[entry]
fn main() -> ! {
    // SAFETY: the linker script reserves these words for the stack, which `sp` points into.
    let stack = unsafe {
        let pointer: usize;
        asm!("mv {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
        Stack::paint(&raw mut _stack_end, &raw mut _stack_start, pointer)
    };
    let mut machine = Machine::new();

    let status = run(&mut machine, &crate::IMAGE.0, &crate::PLAN, crate::ARENA.take());

    let statics = (&raw const __sheap as usize).wrapping_sub(&raw const _statics_start as usize);
    exit(report_ram(&mut machine, statics, &stack, status) as u32)
}

/// Ends the emulation with an exit status.
pub(crate) fn exit(status: u32) -> ! {
    let code = if status == 0 { FINISHER_PASS } else { status << 16 | FINISHER_FAIL };
    // SAFETY: the address is the register of the machine's test finisher.
    unsafe { FINISHER.write_volatile(code) };
    loop {
        riscv::asm::wfi();
    }
}

/// Ends the run instead of hanging in it. riscv-rt looks for this name.
#[unsafe(export_name = "ExceptionHandler")]
extern "C" fn exception(_: &riscv_rt::TrapFrame) -> ! {
    let mut machine = Machine::new();
    machine.text("fault ");
    machine.number(mcause::read().code() as u64);
    machine.text(" at ");
    machine.hex(mepc::read() as u64);
    machine.text("\n");
    exit(FAULT)
}
