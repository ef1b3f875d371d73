//! Random numbers that are the same everywhere.

use demask::decode::philox4x32;

/// What the numbers are for. Streams of one seed and different purposes have nothing in common, with
/// each other or with the draws of decoding.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// Training of a network.
    Training = 0x7261_696e,
    /// Choice of masks.
    Masks = 0x6d61_736b,
}

/// A stream of random numbers.
pub(crate) struct Random {
    key: [u32; 2],
    purpose: Purpose,
    drawn: u64,
}

impl Random {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], purpose, drawn: 0 }
    }

    fn word(&mut self) -> u32 {
        let counter = [self.drawn as u32, (self.drawn >> 32) as u32, 0, self.purpose as u32];
        self.drawn += 1;
        philox4x32(counter, self.key)[0]
    }

    /// A number between `-limit` and `limit`.
    pub(crate) fn uniform(&mut self, limit: f32) -> f32 {
        let unit = (self.word() >> 8) as f32 * (1.0 / 16_777_216.0);
        (2.0 * unit - 1.0) * limit
    }

    /// Puts a list into random order.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let at = (u64::from(self.word()) * (last as u64 + 1)) >> 32;
            list.swap(last, at as usize);
        }
    }
}
