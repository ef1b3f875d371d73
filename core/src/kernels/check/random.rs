//! Numbers for the tests, with more than their share of extremes.

use crate::packed::{GroupScale, WeightFormat};

/// xorshift64*
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(super) fn weight(&mut self, format: WeightFormat, style: usize) -> i8 {
        let (min, max) = format.range();
        match style {
            0 => min,
            1 => max,
            2 => [min, max][self.below(2)],
            _ => {
                let range = i32::from(max) - i32::from(min) + 1;
                (i32::from(min) + self.below(range as usize) as i32) as i8
            }
        }
    }

    /// One group of activations: ordinary or at some edge of quantization.
    pub(super) fn fill_group(&mut self, group: &mut [f32]) {
        let magnitude = match self.below(8) {
            0 => 0.0,
            // The floor, and just below it.
            1 => f32::from_bits((127 - 60) << 23),
            2 => f32::from_bits(((127 - 60) << 23) - 1),
            3 => 1e24,
            _ => (self.below(1 << 24) as f32 + 1.0) * 1e-6,
        };
        let style = self.below(5);
        for x in group.iter_mut() {
            let sign = [1.0, -1.0][self.below(2)];
            *x = sign
                * match style {
                    // All products as large as they get.
                    0 => magnitude,
                    // Ties, if the largest is 127 steps of a power of two.
                    1 => (self.below(127) as f32 + 0.5) * 0.25,
                    _ => magnitude * (self.below(1 << 16) as f32 / 65536.0),
                };
        }
        if let (1, Some(first)) = (style, group.first_mut()) {
            *first = 127.0 * 0.25;
        }
    }

    /// Of any size that activations have, and often zero or the same again.
    pub(super) fn number(&mut self) -> f32 {
        let sign = [1.0, -1.0][self.below(2)];
        let magnitude = match self.below(6) {
            0 => 0.0,
            1 => 1.5,
            2 => 1e-25,
            _ => self.below(1 << 20) as f32 * 3e-5,
        };
        sign * magnitude
    }

    /// The scale of group `group`, behind one of the same kind.
    pub(super) fn scale(&mut self, before: GroupScale, group: usize) -> GroupScale {
        match before {
            GroupScale::Plain(_) => GroupScale::Plain(self.half_scale()),
            GroupScale::Affine { d, d_min, .. } => {
                let shared = !group.is_multiple_of(8);
                let mut byte = || [0, 63, 255, self.below(64) as u8][self.below(4)];
                let (scale, min) = (byte(), byte());
                let (d, d_min) =
                    if shared { (d, d_min) } else { (self.half_scale(), self.half_scale()) };
                GroupScale::Affine { d, d_min, scale, min }
            }
        }
    }

    /// Any finite `f16`, with more than its share of zeros, subnormals and extremes.
    fn half_scale(&mut self) -> half::f16 {
        const SPECIAL: [u16; 8] = [0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x3c00];
        let bits = match self.below(4) {
            0 => SPECIAL[self.below(8)],
            _ => self.below(0x7c00) as u16 | (self.below(2) as u16) << 15,
        };
        half::f16::from_bits(bits)
    }
}
