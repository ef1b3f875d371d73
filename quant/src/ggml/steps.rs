//! How far apart the values of a block can be: a hint for whoever rounds them once more.

use super::decode::{half_at, scale_and_min};
use super::{BlockError, GgmlType};
use crate::round::Steps;
use demask::packed::GROUP;

impl GgmlType {
    /// Writes the distance of neighbouring values for both halves of every group of 32, which helps to
    /// [round](crate::round::round_steps) them to Q8. Returns false for types that need no rounding and
    /// for floats, whose values have no such distance.
    ///
    /// # Errors
    /// [`BlockError::Length`] if `blocks` and `out` are not of the same number of values.
    pub fn steps(self, blocks: &[u8], out: &mut [Steps]) -> Result<bool, BlockError> {
        self.check_lengths(blocks.len(), out.len() * GROUP)?;
        let groups = (self.block_values() / GROUP).max(1);
        let pairs = blocks.chunks_exact(self.block_bytes());
        for (block, out) in pairs.zip(out.chunks_exact_mut(groups)) {
            for (j, steps) in out.iter_mut().enumerate() {
                *steps = match self {
                    Self::Q4_1 | Self::Q5_1 => [half_at(block, 0).abs(); 2],
                    Self::Q5_K => {
                        let (scale, _) = scale_and_min(&block[4..16], j);
                        [(half_at(block, 0) * f32::from(scale)).abs(); 2]
                    }
                    Self::Q6_K => [0, 1].map(|half| {
                        let scale = block[192 + 2 * j + half] as i8;
                        (half_at(block, 208) * f32::from(scale)).abs()
                    }),
                    _ => return Ok(false),
                };
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value is a whole number of steps away from the first one of its half.
    #[test]
    fn values_are_whole_steps_apart() {
        let mut state = 5u32;
        let values: Vec<f32> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .take(512)
        .collect();
        for stored_as in [GgmlType::Q4_1, GgmlType::Q5_1, GgmlType::Q5_K, GgmlType::Q6_K] {
            let mut blocks = vec![0; stored_as.bytes_of(512).unwrap()];
            stored_as.quantize(&values, &mut blocks).unwrap();
            let (mut decoded, mut steps) = (vec![0.0; 512], vec![[0.0; 2]; 16]);
            stored_as.dequantize(&blocks, &mut decoded).unwrap();
            assert_eq!(stored_as.steps(&blocks, &mut steps), Ok(true));
            for (half, step) in decoded.chunks(GROUP / 2).zip(steps.as_flattened()) {
                assert!(*step > 0.0, "{stored_as}");
                for value in half {
                    let apart = (value - half[0]) / step;
                    assert!((apart - apart.round()).abs() < 1e-3, "{stored_as}: {apart} steps");
                }
            }
        }
    }

    #[test]
    fn other_types_have_none() {
        for stored_as in [GgmlType::Q4_0, GgmlType::Q8_0, GgmlType::F16, GgmlType::Q4_K] {
            let blocks = vec![0; stored_as.bytes_of(256).unwrap()];
            assert_eq!(stored_as.steps(&blocks, &mut [[0.0; 2]; 8]), Ok(false), "{stored_as}");
        }
        let wrong = GgmlType::Q6_K.steps(&[0; 210], &mut [[0.0; 2]; 7]);
        assert!(matches!(wrong, Err(BlockError::Length { .. })));
    }
}
