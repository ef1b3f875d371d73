//! The order in which a packed matrix keeps its weights: one per family of processors.
//!
//! Every layout cuts a matrix into *blocks* of [`BLOCK_ROWS`] rows, and each block into as many
//! bytes: only the order inside a block differs, so that an image can be packed for another family
//! without moving anything else.

mod dsp;
mod fifth_bits;
mod helium;
mod rows16;
mod rows4;
mod rows4x8;
mod words;

use super::{BLOCK_ROWS, GROUP, Group, GroupScale, WeightFormat};

/// How the weights and scales of a block of 16 rows are ordered.
///
/// Inside a block, `rows()` rows are interleaved; a *cell* holds one group of 32 inputs of each of
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Layout {
    /// 16 rows in runs of 4 inputs, nibbles plus 8, all scales behind all weights: x86-64,
    /// WebAssembly, RISC-V vectors. The norm.
    #[default]
    Rows16,
    /// 4 rows in runs of 4 inputs, signed nibbles: aarch64 with or without dot products.
    Rows4,
    /// 4 rows in runs of 8 inputs, signed nibbles: aarch64 with `i8mm`.
    Rows4x8,
    /// 2 rows in 32-bit words for `SMLAD`: Cortex-M4, M7, M33.
    Dsp,
    /// 2 rows in 16-byte vectors, signed nibbles: Cortex-M55, M85.
    Helium,
    /// 2 rows in 32-bit words of nibbles plus 8, for processors without a float unit: Cortex-M0+,
    /// M3, RV32.
    Words,
}

/// Where one row's 32 weights of one group lie.
#[derive(Clone, Copy)]
struct Place {
    /// Byte among the block's weights where the cell starts, with its scales unless they are kept
    /// apart.
    start: usize,
    /// Byte among the block's weights where the cell's integers start.
    integers: usize,
    /// Row inside the cell.
    lane: usize,
}

impl Layout {
    /// All layouts, in the order of their codes.
    pub const ALL: [Self; 6] =
        [Self::Rows16, Self::Rows4, Self::Rows4x8, Self::Dsp, Self::Helium, Self::Words];

    /// Number that stands for the layout in a tensor entry; 0 is the row-major order of tensors
    /// that are not packed.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Rows16 => 1,
            Self::Rows4 => 2,
            Self::Rows4x8 => 3,
            Self::Dsp => 4,
            Self::Helium => 5,
            Self::Words => 6,
        }
    }

    /// Inverse of [`Layout::code`].
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.code() == code)
    }

    /// Name as the command line spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rows16 => "rows16",
            Self::Rows4 => "rows4",
            Self::Rows4x8 => "rows4x8",
            Self::Dsp => "dsp",
            Self::Helium => "helium",
            Self::Words => "words",
        }
    }

    /// Rows that are interleaved in a cell.
    #[must_use]
    pub const fn rows(self) -> usize {
        match self {
            Self::Rows16 => BLOCK_ROWS,
            Self::Rows4 | Self::Rows4x8 => 4,
            Self::Dsp | Self::Helium | Self::Words => 2,
        }
    }

    /// True if all scales of a matrix lie behind all its weights, as affine ones always do; else
    /// each cell starts with the scales of its rows.
    #[inline(always)]
    #[must_use]
    pub const fn keeps_scales_apart(self, format: WeightFormat) -> bool {
        matches!(self, Self::Rows16) || format.is_affine()
    }

    /// 32-bit words that the kernels for this layout keep for `rows` quantized activation rows of
    /// `groups` groups; `None` if they cannot be counted.
    ///
    /// # Example
    /// ```
    /// use demask::packed::Layout;
    /// assert_eq!(Layout::Rows16.activation_words(8, 4), Some(8 * 4 * 10));
    /// ```
    #[must_use]
    pub const fn activation_words(self, rows: usize, groups: usize) -> Option<usize> {
        // 32 bytes of values make 8 words; a scale, and a start value or scaled sum, one each.
        let words = match self {
            Self::Rows16 | Self::Rows4 => 10,
            // Two of each, for pairs of rows.
            Self::Rows4x8 => 12,
            // Signed weights and sums of signed products need no start value.
            Self::Helium => 9,
            // Values are widened to 16 bits.
            Self::Dsp => 17,
            // The same, and the scale is in two parts.
            Self::Words => 19,
        };
        match rows.checked_mul(groups) {
            Some(cells) => cells.checked_mul(words),
            None => None,
        }
    }

    /// Bytes of weights and of scales of a block of 16 rows; the scales count as weights unless
    /// they are kept apart.
    #[must_use]
    pub const fn block_bytes(self, format: WeightFormat, groups: usize) -> (usize, usize) {
        let (weights, scales) = (groups * format.weight_bytes(), groups * format.scale_bytes());
        if self.keeps_scales_apart(format) { (weights, scales) } else { (weights + scales, 0) }
    }

    /// Writes the 32 weights of row `row` (below 16) and group `group` of a block whose bytes are
    /// all zero, and their scale. `weights` and `scales` are as long as [`Layout::block_bytes`] says.
    ///
    /// A row or group outside the block, or a scale that is not of the format's kind, is ignored.
    pub fn write(
        self,
        format: WeightFormat,
        (weights, scales): (&mut [u8], &mut [u8]),
        (row, group): (usize, usize),
        (all, scale): &Group,
    ) {
        let groups = (weights.len() + scales.len()) / format.cell_bytes();
        let (place, width) = (self.place(format, groups, row, group), format.width());
        if row >= BLOCK_ROWS || group >= groups || scale.is_affine() != format.is_affine() {
            return;
        }
        let values = match format.has_fifth_bits() {
            true => &fifth_bits::lower_four(all),
            false => all,
        };
        if let Some(cell) = weights.get_mut(place.integers..) {
            match self {
                Self::Rows16 => rows16::write(width, cell, place.lane, values),
                Self::Rows4 => rows4::write(width, cell, place.lane, values),
                Self::Rows4x8 => rows4x8::write(width, cell, place.lane, values),
                Self::Dsp => dsp::write(width, cell, place.lane, values),
                Self::Helium => helium::write(width, cell, place.lane, values),
                Self::Words => words::write(width, cell, place.lane, values),
            }
            if format.has_fifth_bits() {
                fifth_bits::write(cell, self.rows(), place.lane, all);
            }
        }
        if self.keeps_scales_apart(format) {
            scale.write(scales, (row, group));
        } else if let Some(cell) = weights.get_mut(place.start..) {
            scale.write(cell, (place.lane, 0));
        }
    }

    /// The weights that [`Layout::write`] wrote; `None` outside the block.
    #[inline(always)] // a build for one layout then carries the code of that one only
    pub(super) fn values(
        self,
        format: WeightFormat,
        weights: &[u8],
        groups: usize,
        (row, group): (usize, usize),
    ) -> Option<[i8; GROUP]> {
        let (place, width) = (self.place(format, groups, row, group), format.width());
        let cell = weights.get(place.integers..)?;
        let mut values = match self {
            Self::Rows16 => rows16::read(width, cell, place.lane),
            Self::Rows4 => rows4::read(width, cell, place.lane),
            Self::Rows4x8 => rows4x8::read(width, cell, place.lane),
            Self::Dsp => dsp::read(width, cell, place.lane),
            Self::Helium => helium::read(width, cell, place.lane),
            Self::Words => words::read(width, cell, place.lane),
        };
        if format.has_fifth_bits() {
            fifth_bits::add(cell, self.rows(), place.lane, &mut values);
        }
        Some(values)
    }

    /// The scale that [`Layout::write`] wrote; `None` outside the block.
    #[inline(always)] // see `values`
    pub(super) fn scale(
        self,
        format: WeightFormat,
        (weights, scales): (&[u8], &[u8]),
        groups: usize,
        (row, group): (usize, usize),
    ) -> Option<GroupScale> {
        if self.keeps_scales_apart(format) {
            return GroupScale::read(format, scales, (row, group));
        }
        let place = self.place(format, groups, row, group);
        GroupScale::read(format, weights.get(place.start..)?, (place.lane, 0))
    }

    #[inline(always)]
    fn place(self, format: WeightFormat, groups: usize, row: usize, group: usize) -> Place {
        let rows = self.rows();
        let (sub_block, lane) = (row / rows, row % rows);
        let cell = sub_block * groups + group;
        if self.keeps_scales_apart(format) {
            let start = cell * (format.weight_bytes() * rows / BLOCK_ROWS);
            return Place { start, integers: start, lane };
        }
        let start = cell * (format.cell_bytes() * rows / BLOCK_ROWS);
        Place { start, integers: start + 2 * rows, lane }
    }
}

/// The two's complement nibble of a weight.
const fn signed_nibble(weight: i8) -> u8 {
    weight as u8 & 15
}

/// The weight of a two's complement nibble in the low bits of `bits`.
const fn from_signed_nibble(bits: u8) -> i8 {
    (bits << 4) as i8 >> 4
}

/// Puts `nibble` into the high or low half of a byte that has been zero there.
fn put_nibble(cell: &mut [u8], at: usize, high: bool, nibble: u8) {
    if let Some(byte) = cell.get_mut(at) {
        *byte |= nibble << (4 * u8::from(high));
    }
}

#[inline(always)]
fn byte(cell: &[u8], at: usize) -> u8 {
    cell.get(at).copied().unwrap_or_default()
}

#[inline(always)]
fn nibble(cell: &[u8], at: usize, high: bool) -> u8 {
    byte(cell, at) >> (4 * u8::from(high)) & 15
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another one for each row and group.
    fn scale(format: WeightFormat, row: usize, group: usize) -> GroupScale {
        let half = |x: usize| half::f16::from_f32(x as f32);
        match format.is_affine() {
            false => GroupScale::Plain(half(1 + row * 40 + group)),
            true => GroupScale::Affine {
                d: half(1 + row * 8 + group / 8),
                d_min: half(200 + row * 8 + group / 8),
                scale: (row * 3 + group) as u8,
                min: (63 - row * 2 - group) as u8,
            },
        }
    }

    #[test]
    fn every_layout_reads_back_what_was_written() {
        let groups = 16;
        for (layout, format) in
            Layout::ALL.into_iter().flat_map(|l| WeightFormat::ALL.map(|format| (l, format)))
        {
            assert_eq!(Layout::from_code(layout.code()), Some(layout));
            let (min, max) = format.range();
            let span = i32::from(max) - i32::from(min) + 1;
            let value = |row: usize, group: usize, i: usize| {
                (i32::from(min) + ((row * 31 + group * 17 + i * 7) as i32 * 5) % span) as i8
            };
            let group_of = |row: usize, group: usize| -> Group {
                (core::array::from_fn(|i| value(row, group, i)), scale(format, row, group))
            };
            let (weights, scales) = layout.block_bytes(format, groups);
            assert_eq!(weights + scales, groups * format.cell_bytes());
            let (mut weights, mut scales) = (std::vec![0; weights], std::vec![0; scales]);
            for (row, group) in (0..BLOCK_ROWS).flat_map(|r| (0..groups).map(move |g| (r, g))) {
                let planes = (&mut weights[..], &mut scales[..]);
                layout.write(format, planes, (row, group), &group_of(row, group));
            }
            for (row, group) in (0..BLOCK_ROWS).flat_map(|r| (0..groups).map(move |g| (r, g))) {
                let place = (row, group);
                let values = layout.values(format, &weights, groups, place);
                let scale = layout.scale(format, (&weights, &scales), groups, place);
                let expected = group_of(row, group);
                assert_eq!(values.zip(scale), Some(expected), "{layout:?} {format:?} {place:?}");
            }
        }
    }

    #[test]
    fn a_scale_of_another_kind_is_ignored() {
        for format in WeightFormat::ALL {
            let other = if format.is_affine() { WeightFormat::Q4 } else { WeightFormat::Q4K };
            let (mut weights, mut scales) = ([0; 8 * 512], [0; 512]);
            let planes = (&mut weights[..], &mut scales[..]);
            Layout::Rows16.write(format, planes, (1, 2), &([1; GROUP], scale(other, 1, 2)));
            assert!(weights.iter().chain(&scales).all(|byte| *byte == 0));
        }
    }
}
