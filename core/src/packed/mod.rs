//! Weights as the kernels read them: rows interleaved, groups of 32 inputs that share a scale.
//!
//! A matrix `[rows, cols]` is cut into *blocks* of [`BLOCK_ROWS`] rows and *groups* of [`GROUP`]
//! columns. How the weights of a block are ordered is its [`Layout`], one per family of processors.
//!
//! Interleaving lets a vector unit compute several outputs at once without ever summing across
//! lanes, which is what keeps the additions of every build in the same order. Rows and columns
//! beyond the matrix are stored as zero weights, and rows beyond it with zero scales.

mod group;
mod layout;
mod matrix;

pub use group::{Factors, Group, GroupScale};
pub use layout::Layout;
pub use matrix::{Block, PackedMatrix};

/// Inputs that share one scale.
pub const GROUP: usize = 32;
/// Rows (outputs) of a block: what every layout interleaves divides it.
pub const BLOCK_ROWS: usize = 16;
/// Whether this build has [`WeightFormat::Q4K`] and [`WeightFormat::Q5`]: the cargo feature `q4k`.
/// Without it no matrix has affine scales or high bits, and what they need is left out.
pub(crate) const HAS_Q4K: bool = cfg!(feature = "q4k");

/// Storage format of a tensor in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Row-major `f32`.
    F32,
    /// Row-major `f16`. For reference runs on a host; the packed engine does not read it.
    F16,
    /// 8-bit weights, 8.5 bits each with their scale.
    Q8,
    /// 4-bit weights, 4.5 bits each with their scale.
    Q4,
    /// 4-bit weights with a minimum, 4.625 bits each with their scales: ggml's Q4_K, exactly. Needs
    /// the cargo feature `q4k`.
    Q4K,
    /// 5-bit weights, 5.5 bits each with their scale: ggml's Q5_0, exactly. Needs the cargo feature
    /// `q4k`.
    Q5,
}

impl Format {
    /// All formats, in the order of their codes.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::Q8, Self::Q4, Self::Q4K, Self::Q5];

    /// Number that stands for the format in a tensor entry.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::F32 => 1,
            Self::F16 => 2,
            Self::Q8 => 3,
            Self::Q4 => 4,
            Self::Q4K => 5,
            Self::Q5 => 6,
        }
    }

    /// Inverse of [`Format::code`], for the formats that this build has.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        let known = if HAS_Q4K { 6 } else { 4 };
        Self::ALL.into_iter().take(known).find(|f| f.code() == code)
    }

    /// The format of the integers, or `None` for an unquantized tensor.
    #[must_use]
    pub const fn packed(self) -> Option<WeightFormat> {
        match self {
            Self::F32 | Self::F16 => None,
            Self::Q8 => Some(WeightFormat::Q8),
            Self::Q4 => Some(WeightFormat::Q4),
            Self::Q4K => Some(WeightFormat::Q4K),
            Self::Q5 => Some(WeightFormat::Q5),
        }
    }

    /// The format of a tensor whose integers are stored like this.
    #[must_use]
    pub const fn of(weights: WeightFormat) -> Self {
        match weights {
            WeightFormat::Q8 => Self::Q8,
            WeightFormat::Q4 => Self::Q4,
            WeightFormat::Q4K => Self::Q4K,
            WeightFormat::Q5 => Self::Q5,
        }
    }

    /// Name as the command line spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
            Self::Q4K => "q4k",
            Self::Q5 => "q5",
        }
    }
}

/// The formats that the integer kernels read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// `i8` in -127..=127, an `f16` scale per row and group.
    Q8,
    /// -8..=7, two to a byte, an `f16` scale per row and group.
    Q4,
    /// -8..=7, two to a byte, with [affine](GroupScale::Affine) scales. Columns come in 256.
    Q4K,
    /// -16..=15, the lower four bits two to a byte and the fifth bits apart, an `f16` scale per row
    /// and group.
    Q5,
}

/// How the integers of a format are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// One to a byte.
    Byte,
    /// Two to a byte, in some formats with a [fifth bit](WeightFormat::has_fifth_bits) elsewhere.
    Nibble,
}

impl WeightFormat {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Q8, Self::Q4, Self::Q4K, Self::Q5];

    /// How the integers are stored.
    #[inline(always)]
    #[must_use]
    pub const fn width(self) -> Width {
        match self {
            Self::Q8 => Width::Byte,
            Self::Q4 | Self::Q4K | Self::Q5 => Width::Nibble,
        }
    }

    /// Whether the scales are [affine](GroupScale::Affine).
    #[inline(always)]
    #[must_use]
    pub const fn is_affine(self) -> bool {
        HAS_Q4K && matches!(self, Self::Q4K)
    }

    /// Whether the integers have a fifth bit, behind the nibbles of a cell.
    #[inline(always)]
    #[must_use]
    pub const fn has_fifth_bits(self) -> bool {
        HAS_Q4K && matches!(self, Self::Q5)
    }

    /// The number of columns of a matrix is a multiple of this.
    #[must_use]
    pub const fn column_unit(self) -> usize {
        if self.is_affine() { group::SUPER_GROUPS * GROUP } else { 1 }
    }

    /// Bytes of integers of a block and group.
    #[must_use]
    pub const fn weight_bytes(self) -> usize {
        match self.width() {
            Width::Byte => BLOCK_ROWS * GROUP,
            Width::Nibble if self.has_fifth_bits() => BLOCK_ROWS * GROUP / 8 * 5,
            Width::Nibble => BLOCK_ROWS * GROUP / 2,
        }
    }

    /// Bytes of scales of a block and group: of an affine format, the eighth part of eight groups.
    #[must_use]
    pub const fn scale_bytes(self) -> usize {
        match self.is_affine() {
            true => group::SUPER_BYTES / group::SUPER_GROUPS,
            false => group::HALVES_BYTES,
        }
    }

    /// Bytes of integers and scales of a block and group.
    #[must_use]
    pub const fn cell_bytes(self) -> usize {
        self.weight_bytes() + self.scale_bytes()
    }

    /// Smallest and largest integer.
    #[must_use]
    pub const fn range(self) -> (i8, i8) {
        match self.width() {
            Width::Byte => (-127, 127),
            Width::Nibble if self.has_fifth_bits() => (-16, 15),
            Width::Nibble => (-8, 7),
        }
    }
}
