//! The tile unit at work, several groups ahead of the float operations.
//!
//! A group of sixteen rows and sixteen outputs is one product of tiles: values `[16 rows][32 bytes]`
//! times a cell of Q8 weights, `[8][64 bytes]` in memory already as the unit wants it. The product
//! takes some fifty cycles, goes through memory to the vector unit, and becomes sixteen float terms
//! there. Four result tiles take turns so that nobody waits: a result goes to memory four products
//! after it was started, and is added another four later. The tile unit runs ahead across the ends of
//! tiles, parts and blocks.
//!
//! What counts is the number of operations in flight: a product takes longer than the processor can
//! look ahead. So nothing is done per product that can be done per run, and addresses stay in
//! registers. (Results that start from 1.5 * 2^23, which saves the conversion, take a load of a whole
//! tile more and were slower; so were values as `bf16`, twice as long, and prefetched values.)

use super::ahead::{Ahead, PART, Product, Run, prefetch};
use super::order::{TILE_ROWS, Tiles};
use super::unit::{Integers, Results, TURNS, configure, release, store_and_multiply};
use crate::kernels::x86_64::avx512_vnni::add_term;
use crate::kernels::x86_64::blocked::Cell;
use crate::kernels::x86_64::prepared::WORDS;
use crate::kernels::x86_64::scales::{Factors, Scales};
use crate::packed::{BLOCK_ROWS, PackedMatrix};
use core::arch::x86_64::*;

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
        && tiles.groups.is_multiple_of(TURNS)
        && out.len() >= tiles.count * tiles.height * columns;
    if !enough || blocks * tiles.groups * tiles.count == 0 {
        return;
    }
    let product = Product { cells, scales, blocks, tiles, columns };
    // SAFETY: the caller vouches for the processor and the permission.
    unsafe {
        match tiles.height {
            TILE_ROWS => multiply::<S, STEPS, TILE_ROWS>(&product, out),
            _ => multiply::<S, STEPS, 0>(&product, out),
        }
    }
}

/// # Safety
/// See [`matmul`]. `HEIGHT` is that of the tiles, for the compiler to know, or 0.
#[target_feature(enable = "avx512f,avx512bw,f16c,gfni")]
unsafe fn multiply<S: Scales, const STEPS: usize, const HEIGHT: usize>(
    product: &Product<'_, S, STEPS>,
    out: &mut [f32],
) {
    let tiles = product.tiles;
    let height = if HEIGHT > 0 { HEIGHT } else { tiles.height };
    let stride = height * WORDS;
    let mut results = Results::ZERO;
    let [a, b, c, d] = &mut results.0;
    let mut ahead = Ahead::new(product);
    let mut cursor = ahead.begin();
    // SAFETY: the caller vouches for the processor and the permission.
    unsafe { configure(tiles.height) };
    for _ in 0..2 {
        let next = ahead.next(&mut cursor, stride);
        // SAFETY: as above; what is ahead can be read.
        unsafe {
            store_and_multiply::<0>(a, next[0]);
            store_and_multiply::<1>(b, next[1]);
            store_and_multiply::<2>(c, next[2]);
            store_and_multiply::<3>(d, next[3]);
        }
    }
    let none = Factors { step: _mm512_setzero_ps(), minimum: _mm512_setzero_ps() };
    let mut factors = [none; PART];
    let mut run = Run::FIRST;
    loop {
        if run.tile == 0 {
            widen_scales(product, run, &mut factors);
        }
        let mut sums = load_sums(product, run, out);
        // SAFETY: the run is of the product.
        let mut scales = unsafe { tiles.scales(run.tile, run.first_group) };
        let mut coming = product.coming(run);
        let turns = product.groups_in(run) / TURNS;
        for factors in factors.as_chunks::<TURNS>().0.iter().take(turns) {
            let next = ahead.next(&mut cursor, stride);
            for _ in 0..STEPS {
                prefetch(coming);
                coming = coming.wrapping_add(1);
            }
            let scales_of = |turn: usize| (scales.wrapping_add(turn * stride), height);
            // SAFETY: as above; the scales are those of the run.
            unsafe {
                add_terms::<S>(&mut sums, a, scales_of(0), factors[0]);
                store_and_multiply::<0>(a, next[0]);
                add_terms::<S>(&mut sums, b, scales_of(1), factors[1]);
                store_and_multiply::<1>(b, next[1]);
                add_terms::<S>(&mut sums, c, scales_of(2), factors[2]);
                store_and_multiply::<2>(c, next[2]);
                add_terms::<S>(&mut sums, d, scales_of(3), factors[3]);
                store_and_multiply::<3>(d, next[3]);
            }
            scales = scales.wrapping_add(TURNS * stride);
        }
        store_sums(product, run, &sums, out);
        match product.after(run) {
            Some(next) => run = next,
            None => break,
        }
    }
    // SAFETY: the processor has the instruction.
    unsafe { release() };
}

/// The factors of all groups of a part, for all its tiles.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen_scales<S: Scales, const STEPS: usize>(
    product: &Product<'_, S, STEPS>,
    run: Run,
    factors: &mut [Factors<__m512>; PART],
) {
    let (first, groups) = (product.first_cell(run), product.groups_in(run));
    for (cell, factors) in (first..first + groups).zip(factors) {
        if let Some(scales) = product.scales.get(cell / S::GROUPS) {
            // SAFETY: this function has the vector unit.
            let widened = unsafe { scales.sixteen(cell % S::GROUPS) };
            factors.step = widened.step;
            if S::AFFINE {
                factors.minimum = widened.minimum;
            }
        }
    }
    // Those of the next part.
    let coming = product.scales.as_ptr().wrapping_add((first + groups) / S::GROUPS);
    for line in 0..(groups * size_of::<S>() / S::GROUPS).div_ceil(64) {
        prefetch(coming.cast::<[u8; 64]>().wrapping_add(line));
    }
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
    integers: &Integers,
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
