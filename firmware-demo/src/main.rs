//! One program for every machine; `board/` holds what differs. Built for a computer with an
//! operating system it prints the same answer to stdout, which is what `check.sh` compares with.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg_attr(all(target_os = "none", target_arch = "arm"), path = "board/cortex_m.rs")]
#[cfg_attr(all(target_os = "none", target_arch = "riscv32"), path = "board/riscv.rs")]
#[cfg_attr(not(target_os = "none"), path = "board/host.rs")]
mod board;
#[cfg(target_os = "none")]
mod panic;

use demask::Plan;
use demask::image::peek_config;
use demask_firmware_demo::arena::Arena;
use demask_firmware_demo::limits;

/// The model image, read where it lies. It is aligned as the format asks, and on a device it goes
/// to a section of its own, in flash.
#[cfg_attr(target_os = "none", unsafe(link_section = ".model"))]
static IMAGE: Aligned<[u8; BYTES.len()]> = Aligned(*BYTES);
const BYTES: &[u8; include_bytes!(env!("DEMASK_IMAGE_PATH")).len()] =
    include_bytes!(env!("DEMASK_IMAGE_PATH"));

/// What the engine needs for this image, known when the program is compiled.
const PLAN: Plan = match peek_config(BYTES) {
    Ok(config) => match Plan::new(&config, &limits(&config)) {
        Ok(plan) => plan,
        Err(_) => panic!("the model does not fit the address space"),
    },
    Err(_) => panic!("the file that DEMASK_IMAGE names is not a demask image"),
};

/// The memory that the engine works in.
static ARENA: Arena<{ PLAN.bytes() }> = Arena::new();

#[repr(C, align(64))]
struct Aligned<T>(T);

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    board::main()
}
