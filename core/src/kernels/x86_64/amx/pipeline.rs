//! The tile unit at work, several groups ahead of the float operations.
//!
//! A group of sixteen rows and sixteen outputs is one product of tiles: values `[16 rows][32 bytes]`
//! times a cell of Q8 weights, `[8][64 bytes]` in memory already as the unit wants it. The product
//! takes some fifty cycles, goes through memory to the vector unit, and becomes sixteen float terms
//! there. Four result tiles take turns so that nobody waits: while the terms of group `g` are added,
//! the result of `g + 1` is on its way to memory, and `g + 5` starts in the tile that becomes free.
//! The tile unit runs ahead across the ends of tiles, parts and blocks.

use super::order::{TILE_ROWS, Tiles};
use crate::kernels::x86_64::avx512_vnni::{add_term, load, nibbles};
use crate::kernels::x86_64::blocked::{Cell, Q4, Q8};
use crate::kernels::x86_64::prepared::WORDS;
use crate::kernels::x86_64::scales::{Factors, Scales};
use crate::packed::{BLOCK_ROWS, PackedMatrix};
use core::arch::asm;
use core::arch::x86_64::*;

/// Result tiles that take turns.
const TURNS: usize = 4;
/// Groups of a part: of Q4 weights, that many cells are unpacked at once, 16 KiB.
const PANEL: usize = 32;

/// A run of groups of one block and one tile of rows.
#[derive(Clone, Copy)]
struct Run {
    block: usize,
    tile: usize,
    first_group: usize,
}

/// All there is to multiply. The lengths fit together; unsafe code relies on it.
struct Product<'a, S, const STEPS: usize> {
    /// `[blocks, groups]`
    cells: &'a [Cell<STEPS>],
    /// `[blocks, groups / S::GROUPS]`
    scales: &'a [S],
    blocks: usize,
    tiles: &'a Tiles<'a>,
    columns: usize,
}

impl<S: Scales, const STEPS: usize> Product<'_, S, STEPS> {
    /// Groups of a part. Q8 weights need no unpacking and make one part.
    fn part(&self) -> usize {
        if STEPS == Q4 { PANEL } else { self.tiles.groups }
    }

    fn groups_in(&self, run: Run) -> usize {
        (self.tiles.groups - run.first_group).min(self.part())
    }

    /// Where the outputs of a row of a run start, and which of sixteen there are: none of the rows
    /// that a lower tile lacks.
    #[inline(always)]
    fn outputs(&self, run: Run, row: usize) -> (usize, u16) {
        let first_column = run.block * BLOCK_ROWS;
        let width = (self.columns - first_column).min(BLOCK_ROWS);
        let lanes = if width < BLOCK_ROWS { (1 << width) - 1 } else { u16::MAX };
        let first = (run.tile * self.tiles.height + row) * self.columns + first_column;
        (first, if row < self.tiles.height { lanes } else { 0 })
    }

    /// All tiles share a part of a block before the next one is unpacked.
    #[inline(always)]
    fn after(&self, run: Run) -> Option<Run> {
        let Run { block, tile, first_group } = run;
        if tile + 1 < self.tiles.count {
            return Some(Run { tile: tile + 1, ..run });
        }
        if first_group + self.part() < self.tiles.groups {
            return Some(Run { block, tile: 0, first_group: first_group + self.part() });
        }
        (block + 1 < self.blocks).then_some(Run { block: block + 1, tile: 0, first_group: 0 })
    }
}

/// What the tile unit multiplies next.
struct Ahead<'a, S, const STEPS: usize> {
    product: &'a Product<'a, S, STEPS>,
    /// The run after this one.
    next_run: Option<Run>,
    /// Values and weights of the run, and how many of its groups have been and are in all.
    values: *const u32,
    weights: *const Cell<Q8>,
    group: usize,
    groups: usize,
    /// Q4 weights of the part that are still packed; the first tile unpacks them for the others.
    packed: &'a [Cell<STEPS>],
    panel: &'a mut Panel,
}

#[repr(align(64))]
struct Panel([Cell<Q8>; PANEL]);

#[repr(align(64))]
struct Results([[[i32; BLOCK_ROWS]; TILE_ROWS]; TURNS]);

impl<S: Scales, const STEPS: usize> Ahead<'_, S, STEPS> {
    /// The addresses of the values and of the weights.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn next(&mut self) -> Option<(*const u32, *const Cell<Q8>)> {
        if self.group == self.groups {
            self.begin(self.next_run?);
        }
        let group = self.group;
        self.group += 1;
        if STEPS == Q8 {
            prefetch(self.weights.wrapping_add(group + PANEL));
        }
        // One group before they are needed.
        self.unpack(group + 1);
        let stride = self.product.tiles.height * WORDS;
        Some((self.values.wrapping_add(group * stride), self.weights.wrapping_add(group)))
    }

    #[cold]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn begin(&mut self, run: Run) {
        let (product, tiles) = (self.product, self.product.tiles);
        self.next_run = product.after(run);
        (self.group, self.groups) = (0, product.groups_in(run));
        // SAFETY: the run is of the product.
        self.values = unsafe { tiles.values(run.tile, run.first_group) };
        let first_cell = run.block * tiles.groups + run.first_group;
        let cells = product.cells.get(first_cell..).unwrap_or_default();
        if STEPS == Q8 {
            self.weights = cells.as_ptr().cast();
        } else {
            self.weights = self.panel.0.as_ptr();
            if run.tile == 0 {
                self.packed = cells.get(..self.groups).unwrap_or_default();
                self.unpack(0);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn unpack(&mut self, group: usize) {
        if let (Some((cell, rest)), Some(to)) =
            (self.packed.split_first(), self.panel.0.get_mut(group))
        {
            // Weights come from far away, and in bursts that the processor does not foresee.
            prefetch(core::ptr::from_ref(cell).wrapping_add(PANEL));
            unpack::<S, STEPS>(cell, to);
            self.packed = rest;
        }
    }
}

/// Has a cell brought near that may be beyond the end.
#[inline(always)]
fn prefetch<const STEPS: usize>(cell: *const Cell<STEPS>) {
    let lines: *const [u8; 64] = cell.cast();
    for line in 0..STEPS {
        // SAFETY: prefetching reads nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(lines.wrapping_add(line).cast()) };
    }
}

/// The weights of a Q4 cell as bytes, or the nibbles where weights have a minimum.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn unpack<S: Scales, const STEPS: usize>(cell: &Cell<STEPS>, unpacked: &mut Cell<Q8>) {
    let (low_half, high_half) = unpacked.split_at_mut(Q4);
    for ((to_low, to_high), step) in low_half.iter_mut().zip(high_half).zip(cell) {
        let bytes = load(step);
        let [low, high] = if S::AFFINE { nibbles(bytes) } else { signed_nibbles(bytes) };
        // SAFETY: writes exactly the 64 bytes of a step each.
        unsafe {
            _mm512_storeu_si512(to_low.as_mut_ptr().cast(), low);
            _mm512_storeu_si512(to_high.as_mut_ptr().cast(), high);
        }
    }
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

/// The outputs of all rows of the tiles.
///
/// # Safety
/// The processor must have AMX-INT8, AVX-512 F and BW, F16C and GFNI, and the thread must be
/// permitted to use tiles.
#[target_feature(enable = "avx512f,avx512bw,f16c,gfni")]
pub(super) unsafe fn matmul<S: Scales, const STEPS: usize>(
    weights: &PackedMatrix<'_>,
    tiles: &Tiles<'_>,
    out: &mut [f32],
) {
    let columns = weights.rows();
    let blocks = columns.div_ceil(BLOCK_ROWS);
    let (cells, scales) = weights.planes();
    let cells: &[Cell<STEPS>] = cells.as_chunks().0.as_chunks().0.as_chunks().0;
    let scales: &[S] = bytemuck::try_cast_slice(scales).unwrap_or_default();
    let enough = cells.len().min(scales.len() * S::GROUPS) >= blocks * tiles.groups
        && out.len() >= tiles.count * tiles.height * columns;
    if !enough || blocks * tiles.groups * tiles.count == 0 {
        return;
    }
    let product = Product { cells, scales, blocks, tiles, columns };
    let mut panel = Panel([[[[0; 32]; 2]; Q8]; PANEL]);
    let mut results = Results([[[0; BLOCK_ROWS]; TILE_ROWS]; TURNS]);
    let mut run = Run { block: 0, tile: 0, first_group: 0 };
    let mut ahead = Ahead {
        product: &product,
        next_run: Some(run),
        values: core::ptr::null(),
        weights: core::ptr::null(),
        group: 0,
        groups: 0,
        packed: &[],
        panel: &mut panel,
    };
    // SAFETY: the caller vouches for the processor and the permission; what is ahead can be read.
    unsafe {
        configure(tiles.height);
        for turn in 0..TURNS {
            multiply(turn, ahead.next());
        }
        store_and_multiply(0, &mut results, ahead.next());
    }
    let mut turn = 0;
    loop {
        let mut sums = load_sums(&product, run, out);
        for group in run.first_group..run.first_group + product.groups_in(run) {
            let next_turn = (turn + 1) % TURNS;
            // SAFETY: as above.
            unsafe { store_and_multiply(next_turn, &mut results, ahead.next()) };
            let Some(result) = results.0.get(turn) else { break };
            // SAFETY: the run and its groups are of the product.
            unsafe {
                let scales = tiles.scales(run.tile, group);
                let cell = run.block * tiles.groups + group;
                let factors = (*product.scales.as_ptr().add(cell / S::GROUPS)).sixteen(cell);
                add_terms::<S>(&mut sums, result, (scales, tiles.height), factors);
            }
            turn = next_turn;
        }
        store_sums(&product, run, &sums, out);
        match product.after(run) {
            Some(next) => run = next,
            None => break,
        }
    }
    // SAFETY: the processor has the instruction.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
}

/// Adds the terms of a group to the sums of each row.
///
/// # Safety
/// There must be sixteen scales, and as many scaled sums from the `height`th on. (References to them
/// would say so to the compiler, which then loads several at once and takes them apart with shuffles,
/// instead of broadcasting for free.)
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_terms<S: Scales>(
    sums: &mut [__m512; TILE_ROWS],
    integers: &[[i32; BLOCK_ROWS]; TILE_ROWS],
    (scales, height): (*const f32, usize),
    factors: Factors<__m512>,
) {
    for (row, (sums, integers)) in sums.iter_mut().zip(integers).enumerate() {
        // SAFETY: the caller vouches for scales and scaled sums; the integers are borrowed.
        unsafe {
            let x = (*scales.add(row), *scales.add(height + row));
            let integers = _mm512_loadu_si512(integers.as_ptr().cast());
            add_term::<S>(sums, factors, x, _mm512_cvtepi32_ps(integers));
        }
    }
}

/// The sums that earlier parts left, or zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_sums<S: Scales, const STEPS: usize>(
    product: &Product<'_, S, STEPS>,
    run: Run,
    out: &[f32],
) -> [__m512; TILE_ROWS] {
    let mut sums = [_mm512_setzero_ps(); TILE_ROWS];
    if run.first_group > 0 {
        for (row, sums) in sums.iter_mut().enumerate() {
            let (first, lanes) = product.outputs(run, row);
            // SAFETY: `out` has these lanes.
            *sums = unsafe { _mm512_maskz_loadu_ps(lanes, out.as_ptr().wrapping_add(first)) };
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_sums<S: Scales, const STEPS: usize>(
    product: &Product<'_, S, STEPS>,
    run: Run,
    sums: &[__m512; TILE_ROWS],
    out: &mut [f32],
) {
    for (row, sums) in sums.iter().enumerate() {
        let (first, lanes) = product.outputs(run, row);
        // SAFETY: `out` has these lanes.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr().wrapping_add(first), lanes, *sums) };
    }
}

/// Loads the tile configuration: results 0 to 3, values 4 and 5, weights 6 and 7. Zeroes all tiles.
///
/// # Safety
/// The processor must have AMX, and the thread must be permitted to use tiles.
unsafe fn configure(height: usize) {
    let mut configuration = [0u8; 64];
    let (bytes, rows) = configuration.split_at_mut(48);
    let result = (BLOCK_ROWS as u8 * 4, height as u8);
    let tiles = [result, result, result, result, (32, result.1), (32, result.1), (64, 8), (64, 8)];
    // Byte 0 is the palette, 1; widths are 16-bit numbers from byte 16 on.
    let widths = bytes.split_at_mut(16).1.as_chunks_mut::<2>().0;
    for ((width, rows), tile) in widths.iter_mut().zip(rows).zip(tiles) {
        (*width, *rows) = ([tile.0, 0], tile.1);
    }
    if let Some(palette) = bytes.first_mut() {
        *palette = 1;
    }
    // SAFETY: reads the 64 bytes; the caller vouches for the rest.
    unsafe {
        asm!("ldtilecfg [{0}]", in(reg) &configuration, options(readonly, nostack, preserves_flags));
    }
}

/// Moves the result of a turn to memory, and starts its next product.
///
/// # Safety
/// The tiles must be configured, and the addresses good for reading a tile each.
#[inline(always)]
unsafe fn store_and_multiply(
    turn: usize,
    results: &mut Results,
    next: Option<(*const u32, *const Cell<Q8>)>,
) {
    let Some(result) = results.0.get_mut(turn) else { return };
    macro_rules! store {
        ($tile:literal) => {
            asm!(
                concat!("tilestored [{to} + {stride}], tmm", $tile),
                to = in(reg) result,
                stride = in(reg) 64usize,
                options(nostack, preserves_flags),
            )
        };
    }
    // SAFETY: `result` is as large as a result tile.
    unsafe {
        match turn {
            0 => store!(0),
            1 => store!(1),
            2 => store!(2),
            _ => store!(3),
        }
    }
    // SAFETY: the caller vouches for the rest.
    unsafe { multiply(turn, next) };
}

/// Starts the product of a turn, if there is one.
///
/// # Safety
/// The tiles must be configured, and the addresses good for reading a tile each.
#[inline(always)]
unsafe fn multiply(turn: usize, next: Option<(*const u32, *const Cell<Q8>)>) {
    let Some((values, weights)) = next else { return };
    macro_rules! multiply {
        ($result:literal, $values:literal, $weights:literal) => {
            asm!(
                concat!("tileloadd tmm", $values, ", [{values} + {values_stride}]"),
                concat!("tileloadd tmm", $weights, ", [{weights} + {weights_stride}]"),
                concat!("tilezero tmm", $result),
                concat!("tdpbssd tmm", $result, ", tmm", $values, ", tmm", $weights),
                values = in(reg) values,
                values_stride = in(reg) 32usize,
                weights = in(reg) weights,
                weights_stride = in(reg) 64usize,
                options(nostack, preserves_flags),
            )
        };
    }
    // SAFETY: the caller vouches for the tiles and the addresses.
    unsafe {
        match turn {
            0 => multiply!(0, 4, 6),
            1 => multiply!(1, 5, 7),
            2 => multiply!(2, 4, 6),
            _ => multiply!(3, 5, 7),
        }
    }
}
