//! The 32 weights of one row that share a scale, as integers; and how scales are stored.

use super::{BLOCK_ROWS, GROUP, WeightFormat};
use half::f16;

/// Groups that share the units of their scales in an affine format.
pub(crate) const SUPER_GROUPS: usize = 8;
/// Bytes of the units of a block of rows and eight groups, `f16` each: `d`, then `d_min`.
pub(super) const UNIT_BYTES: usize = 2 * HALVES_BYTES;
/// Bytes of the scales of a block of rows and a group in an affine format, then as many of minima.
const SCALES_BYTES: usize = BLOCK_ROWS;
/// Bytes of all there is about a block of rows and eight groups.
pub(super) const SUPER_BYTES: usize = UNIT_BYTES + SUPER_GROUPS * 2 * SCALES_BYTES;
/// Bytes of an `f16` for each row of a block.
pub(super) const HALVES_BYTES: usize = BLOCK_ROWS * 2;

/// What turns the integers of a group into weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GroupScale {
    /// `weight = scale * value` (Q8, Q5, Q4).
    Plain(f16),
    /// `weight = (d * scale) * (value + 8) - (d_min * min)` (Q4K, as in ggml's Q4_K): eight groups
    /// share `d` and `d_min`; both products are exact in `f32`.
    Affine {
        /// Unit of the scales.
        d: f16,
        /// Unit of the minima.
        d_min: f16,
        /// 0..=63
        scale: u8,
        /// 0..=63
        min: u8,
    },
}

/// One row's weights in one group, as the packer takes them: the integers and their scale.
pub type Group = ([i8; GROUP], GroupScale);

/// A [`GroupScale`] multiplied out: `weight = step * (value + zero) - minimum`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Factors {
    /// Difference of neighbouring weights.
    pub step: f32,
    /// What makes the integers unsigned: 8, or 0 without a minimum.
    pub zero: i8,
    /// Taken from every weight.
    pub minimum: f32,
}

impl GroupScale {
    /// The scale of rows that do not exist.
    #[must_use]
    pub const fn zero(format: WeightFormat) -> Self {
        match format.is_affine() {
            true => Self::Affine { d: f16::ZERO, d_min: f16::ZERO, scale: 0, min: 0 },
            false => Self::Plain(f16::ZERO),
        }
    }

    /// Whether it has a minimum.
    #[inline(always)]
    #[must_use]
    pub const fn is_affine(self) -> bool {
        matches!(self, Self::Affine { .. })
    }

    /// The factors in a format of its kind, exact; zeros in another one.
    #[inline(always)]
    #[must_use]
    pub fn factors(self, format: WeightFormat) -> Factors {
        match (self, format.is_affine()) {
            (Self::Plain(scale), false) => Factors { step: scale.to_f32(), zero: 0, minimum: 0.0 },
            (Self::Affine { d, d_min, scale, min }, true) => Factors {
                step: d.to_f32() * f32::from(scale),
                zero: 8,
                minimum: d_min.to_f32() * f32::from(min),
            },
            _ => Factors::default(),
        }
    }

    /// Whether every number in it is finite.
    #[inline(always)]
    #[must_use]
    pub fn is_finite(self) -> bool {
        match self {
            Self::Plain(scale) => scale.is_finite(),
            Self::Affine { d, d_min, .. } => d.is_finite() && d_min.is_finite(),
        }
    }

    /// Reads the scale of row `row` and group `group` from those of a block.
    #[inline(always)]
    pub(super) fn read(
        format: WeightFormat,
        scales: &[u8],
        (row, group): (usize, usize),
    ) -> Option<Self> {
        if !format.is_affine() {
            return Some(Self::Plain(half(scales, group * HALVES_BYTES + 2 * row)?));
        }
        let (units, bytes) = super_group(group);
        Some(Self::Affine {
            d: half(scales, units + 2 * row)?,
            d_min: half(scales, units + HALVES_BYTES + 2 * row)?,
            scale: *scales.get(bytes + row)?,
            min: *scales.get(bytes + SCALES_BYTES + row)?,
        })
    }

    /// Writes it where [`read`](Self::read) finds it in a format of its kind.
    pub(super) fn write(self, scales: &mut [u8], (row, group): (usize, usize)) {
        match self {
            Self::Plain(scale) => put(scales, group * HALVES_BYTES + 2 * row, scale.to_le_bytes()),
            Self::Affine { d, d_min, scale, min } => {
                let (units, bytes) = super_group(group);
                put(scales, units + 2 * row, d.to_le_bytes());
                put(scales, units + HALVES_BYTES + 2 * row, d_min.to_le_bytes());
                put(scales, bytes + row, [scale]);
                put(scales, bytes + SCALES_BYTES + row, [min]);
            }
        }
    }
}

/// Where the units and the scales of an affine group start, among those of a block.
const fn super_group(group: usize) -> (usize, usize) {
    let units = group / SUPER_GROUPS * SUPER_BYTES;
    (units, units + UNIT_BYTES + group % SUPER_GROUPS * (2 * SCALES_BYTES))
}

#[inline(always)]
fn half(bytes: &[u8], at: usize) -> Option<f16> {
    Some(f16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value;
    }
}
