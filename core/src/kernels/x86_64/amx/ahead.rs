//! What the tile unit multiplies, in order: it runs ahead of the float operations, across the ends of
//! tiles, parts and blocks.

use super::order::Tiles;
use super::unit::{Operands, TURNS};
use crate::kernels::x86_64::avx512_vnni::{five_bits, load, nibbles};
use crate::kernels::x86_64::blocked::{Cell, Q4, Q5, Q8};
use crate::kernels::x86_64::scales::Scales;
use crate::packed::BLOCK_ROWS;
use core::arch::x86_64::*;

/// Groups of a part: cells of 16 KiB are unpacked, or stay near, for all tiles.
pub(super) const PART: usize = 32;

const _: () = assert!(PART.is_multiple_of(TURNS));

/// A run of groups of one block and one tile of rows.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) block: usize,
    pub(super) tile: usize,
    pub(super) first_group: usize,
}

impl Run {
    pub(super) const FIRST: Self = Self { block: 0, tile: 0, first_group: 0 };
}

/// All there is to multiply. The lengths fit together; unsafe code relies on it.
pub(super) struct Product<'a, S, const STEPS: usize> {
    /// `[blocks, groups]`
    pub(super) cells: &'a [Cell<STEPS>],
    /// `[blocks, groups / S::GROUPS]`
    pub(super) scales: &'a [S],
    pub(super) blocks: usize,
    pub(super) tiles: &'a Tiles<'a>,
    pub(super) columns: usize,
}

impl<S: Scales, const STEPS: usize> Product<'_, S, STEPS> {
    pub(super) fn groups_in(&self, run: Run) -> usize {
        (self.tiles.groups - run.first_group).min(PART)
    }

    /// The cells of a run.
    pub(super) fn cells_of(&self, run: Run) -> &[Cell<STEPS>] {
        let first = self.first_cell(run);
        self.cells.get(first..first + self.groups_in(run)).unwrap_or_default()
    }

    /// The weights of the parts to come that this run brings near: a line per step and turn.
    #[inline(always)]
    pub(super) fn coming(&self, run: Run) -> *const [u8; 64] {
        let groups = self.groups_in(run);
        let share = groups * STEPS / TURNS;
        let next = self.cells.as_ptr().wrapping_add(self.first_cell(run) + groups);
        next.cast::<[u8; 64]>().wrapping_add(run.tile * share)
    }

    /// Number of the cell that a run starts with.
    pub(super) fn first_cell(&self, run: Run) -> usize {
        run.block * self.tiles.groups + run.first_group
    }

    /// Where the outputs of a row of a run start, and which of sixteen there are: none of the rows
    /// that a lower tile lacks.
    #[inline(always)]
    pub(super) fn outputs(&self, run: Run, row: usize) -> (usize, u16) {
        let first_column = run.block * BLOCK_ROWS;
        let width = (self.columns - first_column).min(BLOCK_ROWS);
        let lanes = if width < BLOCK_ROWS { (1 << width) - 1 } else { u16::MAX };
        let first = (run.tile * self.tiles.height + row) * self.columns + first_column;
        (first, if row < self.tiles.height { lanes } else { 0 })
    }

    /// All tiles share a part of a block before the next one's turn.
    #[inline(always)]
    pub(super) fn after(&self, run: Run) -> Option<Run> {
        let Run { block, tile, first_group } = run;
        if tile + 1 < self.tiles.count {
            return Some(Run { tile: tile + 1, ..run });
        }
        if first_group + PART < self.tiles.groups {
            return Some(Run { block, tile: 0, first_group: first_group + PART });
        }
        (block + 1 < self.blocks).then_some(Run { block: block + 1, tile: 0, first_group: 0 })
    }
}

/// Where the tile unit is in a run. Kept in registers: through memory, each load of an address would
/// have to be compared with the stores of whole tiles before it.
#[derive(Clone, Copy)]
pub(super) struct Cursor {
    next: Operands,
    /// Groups of the run that are left.
    left: usize,
}

/// The runs in order.
pub(super) struct Ahead<'a, S, const STEPS: usize> {
    product: &'a Product<'a, S, STEPS>,
    /// The run that the cursor is in.
    run: Run,
    /// The unpacked weights of a part.
    panel: Panel,
}

#[repr(align(64))]
struct Panel([Cell<Q8>; PART]);

impl<'a, S: Scales, const STEPS: usize> Ahead<'a, S, STEPS> {
    pub(super) fn new(product: &'a Product<'a, S, STEPS>) -> Self {
        Self { product, run: Run::FIRST, panel: Panel([[[[0; 32]; 2]; Q8]; PART]) }
    }

    /// The start of the run, the first one after [`new`](Self::new).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    pub(super) fn begin(&mut self) -> Cursor {
        let (product, run) = (self.product, self.run);
        if STEPS != Q8 && run.tile == 0 {
            self.unpack();
        }
        // SAFETY: the run is of the product.
        let values = unsafe { product.tiles.values(run.tile, run.first_group) };
        let weights = match STEPS {
            Q8 => product.cells_of(run).as_ptr().cast(),
            _ => self.panel.0.as_ptr(),
        };
        Cursor { next: Operands { values, weights }, left: product.groups_in(run) }
    }

    /// The operands of the next product of each turn; behind the last run, those of that run again.
    /// `stride` words lie between the values of two groups.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    pub(super) fn next(&mut self, cursor: &mut Cursor, stride: usize) -> [Operands; TURNS] {
        if cursor.left == 0 {
            self.run = self.product.after(self.run).unwrap_or(self.run);
            *cursor = self.begin();
        }
        let first = cursor.next;
        let at = |group: usize| Operands {
            values: first.values.wrapping_add(group * stride),
            weights: first.weights.wrapping_add(group),
        };
        *cursor = Cursor { next: at(TURNS), left: cursor.left.saturating_sub(TURNS) };
        [at(0), at(1), at(2), at(3)]
    }

    /// Apart, so that registers are saved only for the tiles that do it.
    #[cold]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn unpack(&mut self) {
        for (cell, to) in self.product.cells_of(self.run).iter().zip(&mut self.panel.0) {
            unpack::<S, STEPS>(cell, to);
        }
    }
}

/// Has a line brought near that may be beyond the end.
#[inline(always)]
pub(super) fn prefetch(line: *const [u8; 64]) {
    // SAFETY: prefetching reads nothing, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
}

/// The weights of a Q4 or Q5 cell as bytes, or the nibbles where weights have a minimum.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn unpack<S: Scales, const STEPS: usize>(cell: &Cell<STEPS>, unpacked: &mut Cell<Q8>) {
    if STEPS == Q5 {
        let sixteen = _mm512_set1_epi8(16);
        for (weights, to) in five_bits(cell).into_iter().zip(unpacked) {
            store(to, _mm512_sub_epi8(weights, sixteen));
        }
        return;
    }
    let (low_half, high_half) = unpacked.split_at_mut(Q4);
    for ((to_low, to_high), step) in low_half.iter_mut().zip(high_half).zip(cell) {
        let bytes = load(step);
        let [low, high] = if S::AFFINE { nibbles(bytes) } else { signed_nibbles(bytes) };
        store(to_low, low);
        store(to_high, high);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(to: &mut [[u8; 32]; 2], bytes: __m512i) {
    // SAFETY: writes exactly the borrowed 64 bytes; this store needs no alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), bytes) };
}

/// The low and the high nibbles less 8.
#[inline]
#[target_feature(enable = "avx512f,gfni")]
fn signed_nibbles(bytes: __m512i) -> [__m512i; 2] {
    // Row by row of a matrix of bits: bits 0 to 2 are those of the nibble, and all others are the
    // opposite of its bit 3.
    const LOW: i64 = 0x0102_0408_0808_0808;
    const OPPOSITE: i32 = 0b1111_1000;
    let low = _mm512_gf2p8affine_epi64_epi8::<OPPOSITE>(bytes, _mm512_set1_epi64(LOW));
    let high = _mm512_gf2p8affine_epi64_epi8::<OPPOSITE>(bytes, _mm512_set1_epi64(LOW << 4));
    [low, high]
}
