//! The tile unit: whether it is there, and permission to use it.

use std::arch::x86_64::{__cpuid_count, _xgetbv};

/// What the tile kernels need of it.
pub(super) fn features() -> [(&'static str, bool); 3] {
    // Leaf 7 is there on all processors with AVX2.
    let bits = if is_x86_feature_detected!("avx2") { __cpuid_count(7, 0).edx } else { 0 };
    [
        ("AMX-TILE", bits & 1 << 24 != 0),
        ("AMX-INT8", bits & 1 << 25 != 0),
        ("an operating system that saves tiles", saved_by_the_system()),
    ]
}

/// Whether the operating system saves the tile configuration and the tiles of a thread.
fn saved_by_the_system() -> bool {
    #[target_feature(enable = "xsave")]
    fn enabled_state() -> u64 {
        // SAFETY: register 0 is there on every processor with the instruction.
        unsafe { _xgetbv(0) }
    }
    const TILES: u64 = 0b11 << 17;
    // Detection of AVX includes that the system has enabled the instruction.
    // SAFETY: see above.
    is_x86_feature_detected!("avx") && unsafe { enabled_state() } & TILES == TILES
}

/// Whether this process may use tiles. They are large, so that Linux saves them only for processes
/// that ask; once for all threads is enough.
#[cfg(target_os = "linux")]
pub(super) fn permitted() -> bool {
    use std::sync::OnceLock;
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    // SAFETY: the call takes two numbers and touches no memory.
    let ask =
        || unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
    *PERMITTED.get_or_init(|| ask() == 0)
}

/// How other systems give their permission is not implemented.
#[cfg(not(target_os = "linux"))]
pub(super) fn permitted() -> bool {
    false
}
