//! A heap for machines that have none: the tests use vectors.
//!
//! Blocks lie one above the other. Memory is free again when a block and all above it are, which
//! suits tests: they give back in reverse, more or less, what they took.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;

/// Enough for the largest matrix product of the tests.
const BYTES: usize = 3 << 20;

#[global_allocator]
static HEAP: Heap = Heap {
    memory: UnsafeCell::new(Memory([0; BYTES])),
    top: UnsafeCell::new(Top { end: 0, last: 0 }),
};

struct Heap {
    memory: UnsafeCell<Memory>,
    top: UnsafeCell<Top>,
}

/// As aligned as any block can ask for.
#[repr(C, align(64))]
struct Memory([u8; BYTES]);

/// Where the uppermost block ends and starts; all zero if there is none, so that the heap takes no
/// room in the program.
#[derive(Clone, Copy)]
struct Top {
    end: u32,
    last: u32,
}

/// Lies directly below a block.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Header {
    /// The top before this block.
    below: Top,
    free: bool,
}

const HEADER: usize = size_of::<Header>();

// SAFETY: the program has one thread and no interrupt handlers.
unsafe impl Sync for Heap {}

impl Heap {
    /// The header of the block that starts at `start`.
    fn header(&self, start: u32) -> *mut Header {
        self.memory.get().cast::<u8>().wrapping_add(start as usize - HEADER).cast()
    }

    /// Where `block` starts.
    fn start(&self, block: *mut u8) -> u32 {
        (block as usize - self.memory.get() as usize) as u32
    }
}

// SAFETY: blocks lie inside `memory`, above everything that is in use, and as aligned as they must.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: nothing else holds a reference to it (one thread).
        let top = unsafe { &mut *self.top.get() };
        let align = layout.align().max(align_of::<Header>());
        let start = (top.end as usize + HEADER).next_multiple_of(align);
        let end = start.saturating_add(layout.size());
        if align > align_of::<Memory>() || end > BYTES {
            return ptr::null_mut();
        }
        let last = start as u32;
        // SAFETY: inside `memory`, aligned, and above the blocks that are in use.
        unsafe { self.header(last).write(Header { below: *top, free: false }) };
        *top = Top { end: end as u32, last };
        self.memory.get().cast::<u8>().wrapping_add(start)
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the block is from `alloc`, so that a header lies below it, as below every block
        // down to the first; one thread.
        unsafe {
            (*self.header(self.start(block))).free = true;
            let top = &mut *self.top.get();
            while top.last != 0 && (*self.header(top.last)).free {
                *top = (*self.header(top.last)).below;
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: nothing else holds a reference to it (one thread).
        let top = unsafe { &mut *self.top.get() };
        let start = self.start(block);
        // The uppermost block grows and shrinks where it is.
        let end = (start as usize).saturating_add(size);
        if start == top.last && end <= BYTES {
            top.end = end as u32;
            return block;
        }
        let new_layout = Layout::from_size_align(size, layout.align());
        let Ok(new_layout) = new_layout else { return ptr::null_mut() };
        // SAFETY: as the caller promises for `block`; the new block is another one.
        unsafe {
            let new = self.alloc(new_layout);
            if !new.is_null() {
                ptr::copy_nonoverlapping(block, new, size.min(layout.size()));
                self.dealloc(block, layout);
            }
            new
        }
    }
}
