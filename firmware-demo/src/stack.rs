//! How deep the stack went: the free part is painted at start, and what lost its paint was used.

/// A value that code hardly ever stores.
const PAINT: u32 = 0xcccc_cccc;

/// Bytes left unpainted under the stack pointer, for the frames of the painting itself.
const MARGIN: usize = 256;

/// A painted stack that grows down from `top` to `end`.
#[derive(Clone, Copy)]
pub struct Stack {
    end: *mut u32,
    top: *mut u32,
}

impl Stack {
    /// Paints the free part of a stack, from its lowest word `end` to just under `pointer`.
    ///
    /// # Safety
    ///
    /// `end..top` is the stack that this call runs on and nothing else, both ends are aligned to
    /// four bytes, and `pointer` is the stack pointer of the caller.
    #[inline(never)]
    pub unsafe fn paint(end: *mut u32, top: *mut u32, pointer: usize) -> Self {
        let limit = pointer.saturating_sub(MARGIN);
        let mut word = end;
        while (word as usize) < limit {
            // SAFETY: the word is in the stack, and below every frame that is in use.
            unsafe {
                word.write_volatile(PAINT);
                word = word.add(1);
            }
        }
        Self { end, top }
    }

    /// The size of the stack in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        (self.top as usize).wrapping_sub(self.end as usize)
    }

    /// The most bytes that were in use at any time since the painting.
    #[must_use]
    pub fn high_water(&self) -> usize {
        let mut word = self.end.cast_const();
        // SAFETY: the loop stays in `end..top`, which `paint` was promised to be the stack.
        while word < self.top.cast_const() && unsafe { word.read_volatile() } == PAINT {
            // SAFETY: as above.
            word = unsafe { word.add(1) };
        }
        (self.top as usize).wrapping_sub(word as usize)
    }
}
