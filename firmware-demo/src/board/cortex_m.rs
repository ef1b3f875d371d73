//! Cortex-M with an FPU: console and exit status by semihosting, cycles by the DWT unit.
//!
//! Semihosting needs a debugger or an emulator; a board that runs alone needs another `Console`.

use core::arch::asm;
use cortex_m::Peripherals;
use cortex_m::peripheral::DWT;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use demask_firmware_demo::stack::Stack;
use demask_firmware_demo::{Board, Console, Count, report_ram, run};

// Operations and the exit reason, as numbered in Arm's semihosting specification.
const SYS_OPEN: u32 = 0x01;
const SYS_WRITE: u32 = 0x05;
const SYS_EXIT_EXTENDED: u32 = 0x20;
const OPEN_FOR_WRITING: u32 = 4;
const APPLICATION_EXIT: u32 = 0x2_0026;

/// Exit status after a fault. The numbers below it belong to the demo.
const FAULT: u32 = 100;

unsafe extern "C" {
    // The memory map in memory/ and the linker script of cortex-m-rt define these.
    static mut _stack_end: u32;
    static mut _stack_start: u32;
    static _statics_start: u32;
    static __sheap: u32;
}

/// The debugger's console and the cycle counter.
pub(crate) struct Machine {
    console: u32,
    /// The counter's last value and what it counted before it wrapped; none if it stands still.
    cycles: Option<(u32, u64)>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let name = b":tt\0";
        let request = [name.as_ptr() as u32, OPEN_FOR_WRITING, 3];
        Self { console: semihosting(SYS_OPEN, &request), cycles: None }
    }

    /// Starts the cycle counter, and finds out whether there is one: an emulator may have none.
    fn start_cycles(&mut self, peripherals: &mut Peripherals) {
        peripherals.DCB.enable_trace();
        peripherals.DWT.enable_cycle_counter();
        let before = DWT::cycle_count();
        cortex_m::asm::delay(16);
        let now = DWT::cycle_count();
        self.cycles = (now != before).then_some((now, 0));
    }
}

impl Console for Machine {
    #[inline(never)]
    fn write(&mut self, bytes: &[u8]) {
        semihosting(SYS_WRITE, &[self.console, bytes.as_ptr() as u32, bytes.len() as u32]);
    }
}

impl Board for Machine {
    const NAME: &'static str = "Cortex-M with FPU";

    fn count(&mut self) -> Count {
        let now = demask_count();
        let Some((last, total)) = &mut self.cycles else { return Count::Unavailable };
        *total += u64::from(now.wrapping_sub(*last));
        *last = now;
        Count::Cycles(*total)
    }
}

/// Reads the cycle counter. QEMU has none, so `check.sh` has the emulator note the executed
/// instructions at each call; it finds the function by its name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn demask_count() -> u32 {
    DWT::cycle_count()
}

#[entry]
fn main() -> ! {
    // SAFETY: the linker script reserves these words for the stack, which `msp` points into.
    let stack = unsafe {
        let pointer = cortex_m::register::msp::read() as usize;
        Stack::paint(&raw mut _stack_end, &raw mut _stack_start, pointer)
    };
    let mut machine = Machine::new();
    // SAFETY: nothing else in this program uses the peripherals.
    machine.start_cycles(&mut unsafe { Peripherals::steal() });

    let status = run(&mut machine, &crate::IMAGE.0, &crate::PLAN, crate::ARENA.take());

    let statics = (&raw const __sheap as usize).wrapping_sub(&raw const _statics_start as usize);
    exit(report_ram(&mut machine, statics, &stack, status) as u32)
}

/// Ends the program with an exit status that the emulator or debugger passes on.
pub(crate) fn exit(status: u32) -> ! {
    semihosting(SYS_EXIT_EXTENDED, &[APPLICATION_EXIT, status]);
    // A debugger may let the program go on.
    loop {
        cortex_m::asm::wfi();
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

/// Ends the run instead of hanging in it. After a stack overflow not even this can run: the
/// processor locks up, and the emulator stops with an error.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    let mut machine = Machine::new();
    machine.text("fault at ");
    machine.hex(u64::from(frame.pc()));
    machine.text("\n");
    exit(FAULT)
}
