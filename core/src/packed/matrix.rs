//! The borrowed view that kernels take.

use super::group::{HALVES_BYTES, SUPER_BYTES, UNIT_BYTES};
use super::{BLOCK_ROWS, GROUP, Group, GroupScale, Layout, WeightFormat, Width};
use crate::pieces::pieces;

/// A packed weight matrix `[rows, cols]` in borrowed memory.
#[derive(Debug, Clone, Copy)]
pub struct PackedMatrix<'a> {
    format: WeightFormat,
    layout: Layout,
    rows: usize,
    cols: usize,
    weights: &'a [u8],
    scales: &'a [u8],
}

impl<'a> PackedMatrix<'a> {
    /// Views `bytes` as a packed matrix; `None` if the length is not that of its shape, or the
    /// number of columns no multiple of the format's [unit](WeightFormat::column_unit).
    #[must_use]
    pub fn new(
        format: WeightFormat,
        layout: Layout,
        rows: usize,
        cols: usize,
        bytes: &'a [u8],
    ) -> Option<Self> {
        let cells = rows.div_ceil(BLOCK_ROWS).checked_mul(cols.div_ceil(GROUP))?;
        let fits = bytes.len() == cells.checked_mul(format.cell_bytes())?;
        if !fits || !cols.is_multiple_of(format.column_unit()) {
            return None;
        }
        let apart = layout.keeps_scales_apart(format);
        let scales = if apart { cells * format.scale_bytes() } else { 0 };
        let (weights, scales) = bytes.split_at_checked(bytes.len() - scales)?;
        Some(Self { format, layout, rows, cols, weights, scales })
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

    /// In which order they are stored.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The stored bytes, for kernels that read whole registers: all weights and all scales, or, in a
    /// layout that does not keep scales apart, all cells and nothing.
    #[must_use]
    pub fn planes(&self) -> (&'a [u8], &'a [u8]) {
        (self.weights, self.scales)
    }

    /// The same matrix if it is stored in `layout`. With a constant, what follows is compiled for
    /// that layout alone.
    #[inline(always)]
    #[must_use]
    pub fn in_layout(self, layout: Layout) -> Option<Self> {
        (self.layout == layout).then_some(Self { layout, ..self })
    }

    /// The rows from `first` (a multiple of 16) on, at most `count`.
    #[must_use]
    pub fn slice_rows(&self, first: usize, count: usize) -> Option<Self> {
        let rows = count.min(self.rows.checked_sub(first)?);
        let (start, end) = (first / BLOCK_ROWS, (first + rows).div_ceil(BLOCK_ROWS));
        let (weights, scales) = self.layout.block_bytes(self.format, self.groups());
        let part = |plane: &'a [u8], block: usize| plane.get(start * block..end * block);
        let (weights, scales) = (part(self.weights, weights)?, part(self.scales, scales)?);
        Some(Self { rows, weights, scales, ..*self })
    }

    /// The blocks of 16 rows, the last one perhaps partly padding.
    #[inline]
    pub fn blocks(&self) -> impl Iterator<Item = Block<'a>> {
        let (format, layout, groups) = (self.format, self.layout, self.groups());
        let (weights, scales) = layout.block_bytes(format, groups);
        let mut scales = pieces(self.scales, scales);
        pieces(self.weights, weights).take(self.rows.div_ceil(BLOCK_ROWS)).map(move |weights| {
            let scales = match layout.keeps_scales_apart(format) {
                true => scales.next().unwrap_or_default(),
                false => &[],
            };
            Block { format, layout, groups, weights, scales }
        })
    }

    /// Dequantizes row `row` into `out[..cols]`; false if there is no such row.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> bool {
        let first = row / BLOCK_ROWS * BLOCK_ROWS;
        let block = self.slice_rows(first, BLOCK_ROWS).and_then(|rows| rows.blocks().next());
        let Some(block) = block else { return false };
        for (group, out) in out.chunks_mut(GROUP).take(self.groups()).enumerate() {
            let run = block.read_shared(row % BLOCK_ROWS, group);
            let Some((weights, scale)) = run else { return false };
            let scale = scale.factors(self.format);
            for (x, w) in out.iter_mut().zip(weights) {
                *x = scale.step * f32::from(w + scale.zero) - scale.minimum;
            }
        }
        row < self.rows
    }

    /// Writes the same matrix in another layout to `out`, which must be as long as this one's bytes
    /// and all zero; false if it has another length.
    ///
    /// # Example
    /// ```
    /// use demask::packed::{Layout, PackedMatrix, WeightFormat};
    /// let bytes = [0x88; 16 * 16 + 32]; // 16 rows of 32 zeros
    /// let matrix = PackedMatrix::new(WeightFormat::Q4, Layout::Rows16, 16, 32, &bytes).unwrap();
    /// let mut repacked = [0; 16 * 16 + 32];
    /// assert!(matrix.repack(Layout::Helium, &mut repacked));
    /// ```
    #[must_use]
    pub fn repack(&self, layout: Layout, out: &mut [u8]) -> bool {
        if out.len() != self.weights.len() + self.scales.len() {
            return false;
        }
        let (weight_bytes, scale_bytes) = layout.block_bytes(self.format, self.groups());
        let blocks = self.rows.div_ceil(BLOCK_ROWS);
        let Some((mut weights, mut scales)) = out.split_at_mut_checked(blocks * weight_bytes)
        else {
            return false;
        };
        for block in self.blocks() {
            let (Some((to_weights, more_weights)), Some((to_scales, more_scales))) = (
                weights.split_at_mut_checked(weight_bytes),
                scales.split_at_mut_checked(scale_bytes),
            ) else {
                return false;
            };
            (weights, scales) = (more_weights, more_scales);
            for (row, group) in (0..BLOCK_ROWS).flat_map(|r| (0..block.groups).map(move |g| (r, g)))
            {
                if let Some(weights) = block.read(row, group) {
                    let planes = (&mut *to_weights, &mut *to_scales);
                    layout.write(self.format, planes, (row, group), &weights);
                }
            }
        }
        true
    }

    /// True if every scale is finite and every weight in its format's range.
    ///
    /// Reads the whole matrix: part of checking an image, not of using it.
    #[must_use]
    pub fn values_are_valid(&self) -> bool {
        if self.layout.keeps_scales_apart(self.format) {
            let (unit, halves) = match self.format.is_affine() {
                true => (SUPER_BYTES, UNIT_BYTES),
                false => (HALVES_BYTES, HALVES_BYTES),
            };
            let mut units = self.scales.chunks_exact(unit);
            let finite = units.all(|unit| {
                let halves = unit.get(..halves).unwrap_or_default().as_chunks::<2>().0;
                halves.iter().all(|half| half::f16::from_le_bytes(*half).is_finite())
            });
            // Every nibble is a valid 4-bit weight; of the bytes only -128 is no 8-bit one.
            return finite
                && (self.format.width() == Width::Nibble || !self.weights.contains(&0x80));
        }
        self.blocks().all(|block| block.values_are_valid())
    }
}

/// 16 rows of a matrix.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    format: WeightFormat,
    layout: Layout,
    groups: usize,
    weights: &'a [u8],
    scales: &'a [u8],
}

impl Block<'_> {
    /// How the weights are stored.
    #[must_use]
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// The 32 weights of row `row` (below 16) in group `group`, and their scale; `None` outside the
    /// block.
    #[inline]
    #[must_use]
    pub fn read(&self, row: usize, group: usize) -> Option<Group> {
        Some((self.values(row, group)?, self.scale(row, group)?))
    }

    #[inline(always)]
    fn values(&self, row: usize, group: usize) -> Option<[i8; GROUP]> {
        self.layout.values(self.format, self.weights, self.groups, (row, group))
    }

    #[inline(always)]
    fn scale(&self, row: usize, group: usize) -> Option<GroupScale> {
        let planes = (self.weights, self.scales);
        self.layout.scale(self.format, planes, self.groups, (row, group))
    }

    /// [`read`](Self::read) where its code for all layouts and formats is wanted in flash once only.
    #[inline(never)]
    fn read_shared(&self, row: usize, group: usize) -> Option<Group> {
        self.read(row, group)
    }

    fn values_are_valid(&self) -> bool {
        // Plain loops: as iterators they take three times the flash.
        for row in 0..BLOCK_ROWS {
            for group in 0..self.groups {
                let Some((values, scale)) = self.read_shared(row, group) else { return false };
                if !scale.is_finite() || values.contains(&i8::MIN) {
                    return false;
                }
            }
        }
        true
    }
}
