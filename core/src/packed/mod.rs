//! Weights as the kernels read them: 16 outputs interleaved, groups of 32 inputs, `f16` scales.
//!
//! A matrix `[rows, cols]` is cut into *blocks* of [`BLOCK_ROWS`] rows and *groups* of [`GROUP`]
//! columns; a block and a group meet in a *cell*. All cells' integers come first, block by block
//! and within a block group by group, then all cells' scales in the same order:
//!
//! - scales: 16 `f16`, one per row of the block;
//! - Q8: 512 bytes in 8 steps of 64; step `s` holds, row after row, the weights of inputs
//!   `4 s .. 4 s + 4` as `i8` in -127..=127;
//! - Q4: 256 bytes in 4 steps of 64; a byte's low nibble belongs to step `s`, its high nibble to
//!   step `s + 4`. A nibble is the weight plus 8.
//!
//! Interleaving lets a vector unit compute 16 outputs at once without ever summing across lanes,
//! which is what keeps the additions of every build in the same order. Rows and columns beyond the
//! matrix are stored as zero weights, and rows beyond it with zero scales.

mod matrix;
mod q4;
mod q8;

pub use matrix::{Cell, PackedMatrix};

/// Inputs that share one scale.
pub const GROUP: usize = 32;
/// Rows (outputs) that are interleaved.
pub const BLOCK_ROWS: usize = 16;
/// Weights in a cell.
pub const CELL_WEIGHTS: usize = GROUP * BLOCK_ROWS;
/// Inputs that lie next to each other for one row.
const STEP: usize = 4;
/// Bytes of scales in a cell.
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

/// Code of the row-major layout in a tensor entry.
const ROW_MAJOR: u32 = 0;
/// Code of the layout of this module in a tensor entry.
const ROWS_16: u32 = 1;

impl Format {
    /// Format (byte 0) and layout (byte 1) as a tensor entry stores them.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::F32 => 1 | ROW_MAJOR << 8,
            Self::F16 => 2 | ROW_MAJOR << 8,
            Self::Q8 => 3 | ROWS_16 << 8,
            Self::Q4 => 4 | ROWS_16 << 8,
        }
    }

    /// Inverse of [`Format::code`].
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        [Self::F32, Self::F16, Self::Q8, Self::Q4].into_iter().find(|f| f.code() == code)
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
    /// Bytes of integers in a cell.
    #[must_use]
    pub const fn weight_bytes(self) -> usize {
        match self {
            Self::Q8 => CELL_WEIGHTS,
            Self::Q4 => CELL_WEIGHTS / 2,
        }
    }

    /// Bytes of integers and scales in a cell.
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

    /// Writes one weight of a zeroed cell. `row` is below 16 and `input` below 32; anything else is
    /// ignored.
    pub fn put(self, cell: &mut [u8], row: usize, input: usize, weight: i8) {
        match self {
            Self::Q8 => q8::put(cell, row, input, weight),
            Self::Q4 => q4::put(cell, row, input, weight),
        }
    }
}

/// Byte of a cell where row `row` starts in step `step`.
const fn step_offset(row: usize, step: usize) -> usize {
    step * BLOCK_ROWS * STEP + row * STEP
}
