//! Quantization with hardly any float operation.

use super::float::unpack;
use super::{BLOCK, PAIRS, TILE};
use crate::kernels::ActivationsMut;
use crate::kernels::scalar::{ACTIVATION_FLOOR, NotFinite};
use crate::math::{finite_max_abs, round_ties_even};
use crate::packed::GROUP;
use core::hint::black_box;

/// [`Kernels::quantize_row`](crate::kernels::Kernels::quantize_row)
pub(super) fn quantize_row(
    x: &[f32],
    row: usize,
    into: &mut ActivationsMut<'_>,
) -> Result<(), NotFinite> {
    let (rows, groups) = (into.rows(), into.groups());
    let (lane, width) = if row < rows / TILE * TILE { (row % TILE, TILE) } else { (0, 1) };
    let first = (row - lane).saturating_mul(groups.saturating_mul(BLOCK));
    let mut blocks = into.words().get_mut(first..).unwrap_or_default();
    let mut x = x;
    for _ in 0..groups {
        let Some((block, rest)) = blocks.split_at_mut_checked(width * BLOCK) else { return Ok(()) };
        blocks = rest;
        let (group, rest) = x.split_at(x.len().min(GROUP));
        x = rest;
        let mut values = [0; GROUP];
        let scale = quantize(group, &mut values)?;
        // A length that the compiler does not know keeps loops from being unrolled: small code.
        write(block, lane, width, black_box(values.as_slice()), scale);
    }
    Ok(())
}

/// Writes the values of one row into a block.
fn write(block: &mut [u32], lane: usize, width: usize, values: &[i32], scale: f32) {
    let (scales, values_of_all) = block.split_at_mut(block.len().min(2 * width));
    if let Some(to) = scales.as_chunks_mut().0.get_mut(lane) {
        *to = unpack(scale);
    }
    let mut place = lane;
    let mut put = |word: i32| {
        if let Some(to) = values_of_all.get_mut(place) {
            *to = word as u32;
        }
        place += width;
    };
    // The start value takes back the 8 that is added to all weights. Its lower half-word is in the
    // middle, so that it never borrows from the upper.
    let sum: i32 = values.iter().sum();
    put((sum * -8) << 16 | 0x8000);
    for [u0, u1, u2, u3, lower @ ..] in values.as_chunks::<8>().0 {
        for (upper, lower) in [u0, u1, u2, u3].into_iter().zip(lower) {
            put((upper << 16) + lower);
        }
    }
}

/// [`scalar::quantize`](crate::kernels::scalar::quantize), bit for bit. `values` are all zero.
#[inline(never)]
fn quantize(x: &[f32], values: &mut [i32]) -> Result<f32, NotFinite> {
    let max = finite_max_abs(x).ok_or(NotFinite)?;
    if max < ACTIVATION_FLOOR {
        return Ok(0.0);
    }
    let inverse = 127.0 / max;
    let factor = Factor::new(inverse);
    for (value, x) in values.iter_mut().zip(x) {
        *value = factor.quantize(*x);
    }
    Ok(max / 127.0)
}

/// What a group's values are multiplied with.
struct Factor {
    value: f32,
    /// The upper 16 bits of its mantissa.
    mantissa: u32,
    /// What to subtract a value's exponent field from to get the shift that leaves 16 fraction bits.
    shift: i32,
}

impl Factor {
    #[inline(always)]
    fn new(value: f32) -> Self {
        let bits = value.to_bits();
        let mantissa = (bits & 0x7f_ffff | 0x80_0000) >> 8;
        // 150 each for the mantissas as integers, 8 bits less in each, and 16 fraction bits.
        Self { value, mantissa, shift: 300 - 16 - 16 - (bits >> 23) as i32 }
    }

    /// `round_ties_even(x * value)` for products up to 127.
    #[inline(always)]
    fn quantize(&self, x: f32) -> i32 {
        let bits = x.to_bits();
        let shift = self.shift - (bits >> 23 & 0xff) as i32;
        // Below 1/2; among them is zero, and what is subnormal.
        if shift >= 32 {
            return 0;
        }
        let product = ((bits & 0x7f_ffff | 0x80_0000) >> 8) * self.mantissa;
        // Too small by 2^17 / 2^8 (and by one, from the shift) at most, since products below 128
        // are shifted by 8 or more. Rounding to 24 bits can add or take one more.
        let fixed = (product >> (shift & 31)) + 0x8000;
        if (fixed.wrapping_add(516) & 0xffff) < 520 {
            return nearly_a_tie(x, self.value);
        }
        let sign = bits as i32 >> 31;
        ((fixed >> 16) as i32 ^ sign) - sign
    }
}

/// The definition, where the next integer is not certain.
#[cold]
#[inline(never)]
fn nearly_a_tie(x: f32, factor: f32) -> i32 {
    round_ties_even(x * factor)
}

const _: () = assert!(PAIRS * 2 == GROUP);
