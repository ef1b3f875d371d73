//! The borrowed view that kernels take.

use super::{BLOCK_ROWS, CELL_WEIGHTS, GROUP, SCALE_BYTES, WeightFormat, q4, q8};
use crate::pieces::pieces;

/// A packed weight matrix `[rows, cols]` in borrowed memory.
#[derive(Debug, Clone, Copy)]
pub struct PackedMatrix<'a> {
    format: WeightFormat,
    rows: usize,
    cols: usize,
    weights: &'a [u8],
    scales: &'a [u8],
}

/// The integers and scales of 16 outputs and 32 inputs.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    format: WeightFormat,
    weights: &'a [u8],
    scales: &'a [u8],
}

impl<'a> PackedMatrix<'a> {
    /// Views `bytes` as a packed matrix; `None` if the length is not that of its shape.
    #[must_use]
    pub fn new(format: WeightFormat, rows: usize, cols: usize, bytes: &'a [u8]) -> Option<Self> {
        let cells = rows.div_ceil(BLOCK_ROWS).checked_mul(cols.div_ceil(GROUP))?;
        if bytes.len() != cells.checked_mul(format.cell_bytes())? {
            return None;
        }
        let (weights, scales) = bytes.split_at_checked(cells * format.weight_bytes())?;
        Some(Self { format, rows, cols, weights, scales })
    }

    /// Outputs.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Groups of 32 inputs, the last one perhaps partly padding.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.cols.div_ceil(GROUP)
    }

    /// How the weights are stored.
    #[must_use]
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// All cells' integers and all cells' scales, as they are stored. For kernels that read whole
    /// registers.
    #[must_use]
    pub fn planes(&self) -> (&'a [u8], &'a [u8]) {
        (self.weights, self.scales)
    }

    /// The cells of each block of 16 rows, in row order; cells in group order.
    pub fn blocks(&self) -> impl Iterator<Item = impl Iterator<Item = Cell<'a>>> {
        let (format, groups) = (self.format, self.groups());
        let weights = pieces(self.weights, groups * format.weight_bytes());
        let scales = pieces(self.scales, groups * SCALE_BYTES);
        weights.zip(scales).map(move |(weights, scales)| {
            pieces(weights, format.weight_bytes())
                .zip(pieces(scales, SCALE_BYTES))
                .map(move |(weights, scales)| Cell { format, weights, scales })
        })
    }

    /// The rows from `first` (a multiple of 16) on, at most `count`.
    #[must_use]
    pub fn slice_rows(&self, first: usize, count: usize) -> Option<Self> {
        let groups = self.groups();
        let rows = count.min(self.rows.checked_sub(first)?);
        let (start, end) = (first / BLOCK_ROWS, (first + rows).div_ceil(BLOCK_ROWS));
        let part =
            |plane: &'a [u8], cell: usize| plane.get(start * groups * cell..end * groups * cell);
        Some(Self {
            rows,
            weights: part(self.weights, self.format.weight_bytes())?,
            scales: part(self.scales, SCALE_BYTES)?,
            ..*self
        })
    }

    /// Dequantizes row `row` into `out[..cols]`; false if there is no such row.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> bool {
        let Some(block) = self.slice_rows(row / BLOCK_ROWS * BLOCK_ROWS, BLOCK_ROWS) else {
            return false;
        };
        let lane = row % BLOCK_ROWS;
        let mut unpacked = [[0; GROUP]; BLOCK_ROWS];
        for (cell, out) in block.blocks().flatten().zip(out.chunks_mut(GROUP)) {
            cell.unpack(&mut unpacked);
            let (Some(weights), Some(&scale)) = (unpacked.get(lane), cell.scales().get(lane))
            else {
                return false;
            };
            for (x, &w) in out.iter_mut().zip(weights) {
                *x = scale * f32::from(w);
            }
        }
        row < self.rows
    }

    /// True if every scale is finite and every weight in its format's range.
    ///
    /// Reads the whole matrix: part of checking an image, not of using it.
    #[must_use]
    pub fn values_are_valid(&self) -> bool {
        let scales = self.scales.as_chunks::<2>().0;
        let finite = scales.iter().all(|s| u16::from_le_bytes(*s) & 0x7c00 != 0x7c00);
        // Every nibble is a valid 4-bit weight; of the bytes only -128 is not a valid 8-bit one.
        finite && (self.format == WeightFormat::Q4 || !self.weights.contains(&0x80))
    }
}

impl Cell<'_> {
    /// Widens the weights into one run of 32 per row.
    #[inline(never)] // a call per 512 weights costs nothing, two copies in flash do
    pub fn unpack(&self, out: &mut [[i8; GROUP]; BLOCK_ROWS]) {
        match self.format {
            WeightFormat::Q8 => {
                if let Some(cell) = self.weights.first_chunk::<CELL_WEIGHTS>() {
                    q8::unpack(cell, out);
                }
            }
            WeightFormat::Q4 => {
                if let Some(cell) = self.weights.first_chunk::<{ CELL_WEIGHTS / 2 }>() {
                    q4::unpack(cell, out);
                }
            }
        }
    }

    /// The 16 scales, widened exactly.
    #[inline(never)] // as above
    #[must_use]
    pub fn scales(&self) -> [f32; BLOCK_ROWS] {
        let mut out = [0.0; BLOCK_ROWS];
        for (scale, bytes) in out.iter_mut().zip(self.scales.as_chunks::<2>().0) {
            *scale = half::f16::from_le_bytes(*bytes).to_f32();
        }
        out
    }
}
