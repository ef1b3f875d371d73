//! The memory lent to the engine: one aligned static, handed out once.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// `N` bytes aligned to [`demask::MEMORY_ALIGN`].
#[repr(C, align(16))]
pub struct Arena<const N: usize> {
    bytes: UnsafeCell<[u8; N]>,
    taken: AtomicBool,
}

// SAFETY: `bytes` is reached only through `take`, which succeeds once for the program's life.
unsafe impl<const N: usize> Sync for Arena<N> {}

impl<const N: usize> Arena<N> {
    /// Zeroed memory: it lies in `.bss` and takes no flash.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: UnsafeCell::new([0; N]), taken: AtomicBool::new(false) }
    }

    /// The whole memory at the first call, an empty slice at every later one.
    #[expect(clippy::mut_from_ref, reason = "the flag lets it happen once")]
    pub fn take(&'static self) -> &'static mut [u8] {
        if self.taken.swap(true, Ordering::Relaxed) {
            return &mut [];
        }
        // SAFETY: the flag was false, so this is the only reference that is ever made.
        unsafe { &mut *self.bytes.get() }
    }
}

impl<const N: usize> Default for Arena<N> {
    fn default() -> Self {
        Self::new()
    }
}
