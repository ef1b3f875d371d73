//! Runs the kernel tests of demask on the processor that this program is built for, then executes
//! each operation once in a marked region, so that an emulator can count its instructions.
//!
//! One program for every machine; `board/` holds what differs. `run.sh` reads what it prints.
#![cfg_attr(not(board = "host"), no_std, no_main)]

extern crate alloc;

#[cfg_attr(board = "cortex_m", path = "board/cortex_m.rs")]
#[cfg_attr(board = "riscv", path = "board/riscv.rs")]
#[cfg_attr(board = "linux_aarch64", path = "board/linux_aarch64.rs")]
#[cfg_attr(board = "wasm", path = "board/wasm.rs")]
#[cfg_attr(board = "host", path = "board/host.rs")]
mod board;
mod console;
#[cfg(not(board = "host"))]
mod heap;
mod kernels;
mod measure;
mod region;
#[cfg(feature = "prove-check-can-fail")]
mod wrong;

use console::print;
use demask::Kernels;
use demask::kernels::check::{self, Effort};
use kernels::Visitor;

/// All there is to do. A difference is a panic.
fn run() {
    kernels::visit(&mut Check);
    print!("done\n");
}

/// Emulated processors without a float unit take minutes for all sizes.
const EFFORT: Effort =
    if cfg!(any(board = "cortex_m", board = "riscv")) { Effort::Quick } else { Effort::Thorough };

/// Checks a kernel, then measures it.
struct Check;

impl Visitor for Check {
    fn visit<K: Kernels>(&mut self, kernels: Option<K>) {
        let Some(kernels) = kernels else {
            print!("skip {}: not on this processor, NOTHING was tested\n", K::NAME);
            return;
        };
        // The portable kernels go through all sizes natively, in a thorough test of the workspace.
        let effort = if K::READS_ANY_LAYOUT { Effort::Quick } else { EFFORT };
        let cases = check::all(kernels, effort);
        print!("ok {} {cases} cases\n", K::NAME);
        measure::all(kernels);
    }
}

/// Says what went wrong and ends the program with the status of a panic in a hosted program.
#[cfg(not(board = "host"))]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    print!("{info}\n");
    board::exit(101)
}

#[cfg(board = "host")]
fn main() {
    run();
}
