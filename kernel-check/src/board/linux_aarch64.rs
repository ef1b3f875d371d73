//! 64-bit Arm as a Linux program without a C library, for `qemu-aarch64`: system calls, and what
//! the kernel says about the processor.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

const SYS_WRITE: usize = 64;
const SYS_EXIT_GROUP: usize = 94;
const STDOUT: usize = 1;

/// Keys of the auxiliary vector: the processor's features, and more of them.
const AT_HWCAP: usize = 16;
const AT_HWCAP2: usize = 26;
/// Bit of `AT_HWCAP`: SDOT and UDOT.
const ASIMDDP: u64 = 1 << 20;
/// Bit of `AT_HWCAP2`: SMMLA and its kin.
const I8MM: u64 = 1 << 13;

static HWCAP: AtomicU64 = AtomicU64::new(0);
static HWCAP2: AtomicU64 = AtomicU64::new(0);

global_asm!(
    r#"
    .global _start
    .type _start, %function
_start:
    mov x29, #0
    mov x30, #0
    mov x0, sp
    bl demask_main
    "#
);

/// `stack` is what the kernel put there: the number of arguments, the arguments, a zero, the
/// environment, a zero, and the auxiliary vector, in pairs of key and value up to key 0.
#[unsafe(no_mangle)]
unsafe extern "C" fn demask_main(stack: *const usize) -> ! {
    // SAFETY: the layout above is Linux's interface.
    unsafe {
        let mut word = stack.add(stack.read() + 2);
        while word.read() != 0 {
            word = word.add(1);
        }
        word = word.add(1);
        while word.read() != 0 {
            match word.read() {
                AT_HWCAP => HWCAP.store(word.add(1).read() as u64, Ordering::Relaxed),
                AT_HWCAP2 => HWCAP2.store(word.add(1).read() as u64, Ordering::Relaxed),
                _ => {}
            }
            word = word.add(2);
        }
    }
    let (dot_product, i8mm) = (has_dot_product(), has_i8mm());
    crate::print!("processor: dot product {dot_product}, i8mm {i8mm}\n");
    crate::run();
    exit(0)
}

/// Whether the processor has SDOT.
pub(crate) fn has_dot_product() -> bool {
    HWCAP.load(Ordering::Relaxed) & ASIMDDP != 0
}

/// Whether the processor has SMMLA.
pub(crate) fn has_i8mm() -> bool {
    HWCAP2.load(Ordering::Relaxed) & I8MM != 0
}

pub(crate) fn write(mut bytes: &[u8]) {
    // A pipe may take less than it is given.
    while !bytes.is_empty() {
        let written = system_call(SYS_WRITE, STDOUT, bytes.as_ptr() as usize, bytes.len());
        let Some(rest) = bytes.get(written..).filter(|_| written > 0) else { return };
        bytes = rest;
    }
}

pub(crate) fn exit(status: u32) -> ! {
    loop {
        system_call(SYS_EXIT_GROUP, status as usize, 0, 0);
    }
}

fn system_call(number: usize, a: usize, b: usize, c: usize) -> usize {
    let result;
    // SAFETY: the two calls used here read the memory they are given and write none.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            options(nostack, readonly),
        );
    }
    result
}
