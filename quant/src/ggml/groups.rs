//! Blocks as the engine's groups of 32 integers, where those hold the same numbers.

use super::decode::{MXFP4_CODES, five_bits, mxfp4_scale, nibbles, scale_and_min};
use super::{BlockError, GgmlType};
use demask::packed::{GROUP, Group, GroupScale, WeightFormat};
use half::f16;

impl GgmlType {
    /// The engine's format that holds blocks of this type without rounding, if there is one. Single
    /// blocks of Q8_0 and MXFP4 may still not fit: see [`Self::to_groups`].
    #[must_use]
    pub const fn exact_format(self) -> Option<WeightFormat> {
        match self {
            Self::Q4_0 => Some(WeightFormat::Q4),
            Self::Q4_K => Some(WeightFormat::Q4K),
            Self::Q5_0 => Some(WeightFormat::Q5),
            Self::Q8_0 | Self::MXFP4 => Some(WeightFormat::Q8),
            _ => None,
        }
    }

    /// Converts whole blocks to groups that stand for exactly the same weights.
    ///
    /// # Errors
    /// [`BlockError::NotExact`] if the type has no such format, a weight of Q8_0 is -128, or a scale
    /// of MXFP4 is not an `f16`; [`BlockError::NotFinite`]; [`BlockError::Length`].
    pub fn to_groups(self, blocks: &[u8], out: &mut [Group]) -> Result<(), BlockError> {
        self.check_lengths(blocks.len(), out.len() * GROUP)?;
        let groups = self.block_values() / GROUP;
        let pairs = blocks.chunks_exact(self.block_bytes());
        for (block, out) in pairs.zip(out.chunks_exact_mut(groups.max(1))) {
            match (self, out) {
                (Self::Q4_0, [(values, scale)]) => {
                    *scale = plain(block)?;
                    let (low, high) = values.split_at_mut(GROUP / 2);
                    unpack(&block[2..], 0, low);
                    unpack(&block[2..], 4, high);
                }
                (Self::Q5_0, [group]) => {
                    *group = (five_bits(&block[2..]).map(|q| q as i8 - 16), plain(block)?);
                }
                (Self::Q8_0, [(values, scale)]) => {
                    *scale = plain(block)?;
                    eight_bits(&block[2..], values)?;
                }
                (Self::MXFP4, [group]) => *group = mxfp4(block)?,
                (Self::Q4_K, groups) => affine(block, groups)?,
                _ => return Err(BlockError::NotExact(self)),
            }
        }
        Ok(())
    }
}

/// The `f16` at a byte of a block, if it is a number.
fn finite(block: &[u8], at: usize) -> Result<f16, BlockError> {
    let d = f16::from_le_bytes([block[at], block[at + 1]]);
    if d.is_finite() { Ok(d) } else { Err(BlockError::NotFinite) }
}

fn plain(block: &[u8]) -> Result<GroupScale, BlockError> {
    Ok(GroupScale::Plain(finite(block, 0)?))
}

/// Nibbles from bit `shift` of each byte on, less 8. A loop that becomes vector code: models are
/// packed while they load.
fn unpack(bytes: &[u8], shift: u32, out: &mut [i8]) {
    for (q, byte) in out.iter_mut().zip(bytes) {
        *q = (byte >> shift & 15) as i8 - 8;
    }
}

fn eight_bits(bytes: &[u8], out: &mut [i8; GROUP]) -> Result<(), BlockError> {
    // Above -127, and unsigned, which every processor can compare.
    let mut most = 0;
    for (q, byte) in out.iter_mut().zip(bytes) {
        *q = *byte as i8;
        most = most.max(byte.wrapping_add(127));
    }
    // The kernels multiply with magnitudes up to 127. ggml's quantizer never writes -128.
    if most == u8::MAX { Err(BlockError::NotExact(GgmlType::Q8_0)) } else { Ok(()) }
}

fn mxfp4(block: &[u8]) -> Result<Group, BlockError> {
    let values = nibbles(&block[1..]).map(|q| MXFP4_CODES[usize::from(q & 15)]);
    let wanted = if values == [0; GROUP] { 0.0 } else { mxfp4_scale(block[0]) };
    let scale = f16::from_f32(wanted);
    if scale.to_f32() == wanted {
        Ok((values, GroupScale::Plain(scale)))
    } else {
        Err(BlockError::NotExact(GgmlType::MXFP4))
    }
}

fn affine(block: &[u8], groups: &mut [Group]) -> Result<(), BlockError> {
    let (d, d_min) = (finite(block, 0)?, finite(block, 2)?);
    for (j, (values, of_group)) in groups.iter_mut().enumerate() {
        // Each run of 64 values has its first half in the low nibbles.
        unpack(&block[16 + j / 2 * GROUP..], j as u32 % 2 * 4, values);
        let (scale, min) = scale_and_min(&block[4..16], j);
        *of_group = GroupScale::Affine { d, d_min, scale, min };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values_of(group: &Group) -> [f32; GROUP] {
        let (values, scale) = group;
        values.map(|q| match *scale {
            GroupScale::Plain(d) => f32::from(q) * d.to_f32(),
            GroupScale::Affine { d, d_min, scale, min } => {
                let (d, d_min) = (d.to_f32(), d_min.to_f32());
                (d * f32::from(scale)) * f32::from(q + 8) - d_min * f32::from(min)
            }
        })
    }

    const EMPTY: Group = ([0; GROUP], GroupScale::Plain(f16::ZERO));

    #[test]
    fn groups_hold_the_same_numbers() {
        let mut state = 3u32;
        let values: Vec<f32> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .take(512)
        .collect();
        for stored_as in
            [GgmlType::Q4_0, GgmlType::Q5_0, GgmlType::Q8_0, GgmlType::MXFP4, GgmlType::Q4_K]
        {
            let mut blocks = vec![0; stored_as.bytes_of(512).unwrap()];
            stored_as.quantize(&values, &mut blocks).unwrap();
            let (mut decoded, mut groups) = (vec![0.0; 512], vec![EMPTY; 16]);
            stored_as.dequantize(&blocks, &mut decoded).unwrap();
            stored_as.to_groups(&blocks, &mut groups).unwrap();
            let of_groups: Vec<f32> = groups.iter().flat_map(values_of).collect();
            assert_eq!(of_groups, decoded, "{stored_as}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let not_exact = |t| Err(BlockError::NotExact(t));
        let mut out = [EMPTY];
        let mut q8 = [1u8; 34];
        assert_eq!(GgmlType::Q8_0.to_groups(&q8, &mut out), Ok(()));
        q8[20] = 0x80;
        assert_eq!(GgmlType::Q8_0.to_groups(&q8, &mut out), not_exact(GgmlType::Q8_0));
        (q8[20], q8[1]) = (0, 0x7c);
        assert_eq!(GgmlType::Q8_0.to_groups(&q8, &mut out), Err(BlockError::NotFinite));
        // 2^(e - 128) is an f16 from 2^-24 to 2^15.
        for (e, fits) in [(0, false), (103, false), (104, true), (143, true), (144, false)] {
            let mut block = [0x21u8; 17];
            block[0] = e;
            assert_eq!(GgmlType::MXFP4.to_groups(&block, &mut out).is_ok(), fits, "{e}");
            block[1..].fill(0);
            assert_eq!(GgmlType::MXFP4.to_groups(&block, &mut out), Ok(()), "zeros at {e}");
        }
        assert_eq!(GgmlType::Q4_1.to_groups(&[0; 20], &mut out), not_exact(GgmlType::Q4_1));
        let wrong = GgmlType::Q4_0.to_groups(&[0; 20], &mut out);
        assert!(matches!(wrong, Err(BlockError::Length { .. })));
    }
}
