//! Weights as the kernels read them: rows interleaved, groups of 32 inputs, `f16` scales.
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

pub use group::{Group, GroupScale};
pub use layout::Layout;
pub use matrix::{Block, PackedMatrix};

/// Inputs that share one scale.
pub const GROUP: usize = 32;
/// Rows (outputs) of a block: what every layout interleaves divides it.
pub const BLOCK_ROWS: usize = 16;
/// Bytes of the scales of a block and group.
const SCALE_BYTES: usize = BLOCK_ROWS * 2;

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
}

impl Format {
    /// Number that stands for the format in a tensor entry.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::F32 => 1,
            Self::F16 => 2,
            Self::Q8 => 3,
            Self::Q4 => 4,
        }
    }

    /// Inverse of [`Format::code`].
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::F32, Self::F16, Self::Q8, Self::Q4].into_iter().find(|f| f.code() == code)
    }

    /// The format of the integers, or `None` for an unquantized tensor.
    #[must_use]
    pub const fn packed(self) -> Option<WeightFormat> {
        match self {
            Self::F32 | Self::F16 => None,
            Self::Q8 => Some(WeightFormat::Q8),
            Self::Q4 => Some(WeightFormat::Q4),
        }
    }

    /// The format of a tensor whose integers are stored like this.
    #[must_use]
    pub const fn of(weights: WeightFormat) -> Self {
        match weights {
            WeightFormat::Q8 => Self::Q8,
            WeightFormat::Q4 => Self::Q4,
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
        }
    }
}

/// The formats that the integer kernels read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// `i8` in -127..=127.
    Q8,
    /// -8..=7, two to a byte.
    Q4,
}

impl WeightFormat {
    /// Bytes of integers of a block and group.
    #[must_use]
    pub const fn weight_bytes(self) -> usize {
        match self {
            Self::Q8 => BLOCK_ROWS * GROUP,
            Self::Q4 => BLOCK_ROWS * GROUP / 2,
        }
    }

    /// Bytes of integers and scales of a block and group.
    #[must_use]
    pub const fn cell_bytes(self) -> usize {
        self.weight_bytes() + SCALE_BYTES
    }

    /// Smallest and largest weight.
    #[must_use]
    pub const fn range(self) -> (i8, i8) {
        match self {
            Self::Q8 => (-127, 127),
            Self::Q4 => (-8, 7),
        }
    }
}
