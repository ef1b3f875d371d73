//! f32 matrix products, shaped so that plain Rust turns into vector code on any target.
//!
//! Each output is a dot product in `LANES` partial sums, added up by a fixed tree: the same number
//! whatever tile it falls into. Several rows and several weight rows are worked on at a time, so
//! that each loaded vector is used more than once and weights are fetched once per row block.

use rayon::prelude::*;

/// Partial sums of one dot product.
const LANES: usize = 8;
/// Rows and weight rows of a register tile. Its sums fill half of the 16 vector registers of plain
/// x86-64; larger tiles spill and measured two to four times slower.
const TILE_ROWS: usize = 2;
const TILE_OUTS: usize = 2;
/// Rows that share one pass over the weights.
const BLOCK_ROWS: usize = 8;

/// `x` `[rows, cols]` times the transpose of `weights` `[outs, cols]`: `[rows, outs]`. `cols` is not
/// zero; what does not fill a row is ignored.
pub(super) fn linear(x: &[f32], cols: usize, weights: &[f32]) -> Vec<f32> {
    let outs = weights.len() / cols;
    let mut out = vec![0.0; x.len() / cols * outs];
    if outs > 0 {
        out.par_chunks_mut(BLOCK_ROWS * outs)
            .zip(x.par_chunks(BLOCK_ROWS * cols))
            .for_each(|(out, x)| block(x, cols, weights, out, outs));
    }
    out
}

/// Dot product of two vectors of one length.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let [[sum]] = tile([a], [b]);
    sum
}

/// All outputs of a few rows.
fn block(x: &[f32], cols: usize, weights: &[f32], out: &mut [f32], outs: usize) {
    for (o, weights) in weights.chunks(TILE_OUTS * cols).enumerate() {
        for (x, out) in x.chunks(TILE_ROWS * cols).zip(out.chunks_mut(TILE_ROWS * outs)) {
            let at = o * TILE_OUTS;
            match (rows(x, cols), rows(weights, cols)) {
                (Some(x), Some(weights)) => {
                    let sums: [[f32; TILE_OUTS]; TILE_ROWS] = tile(x, weights);
                    for (out, sums) in out.chunks_exact_mut(outs).zip(sums) {
                        out[at..][..TILE_OUTS].copy_from_slice(&sums);
                    }
                }
                // The last rows or outputs, where a tile is not full.
                _ => {
                    for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(outs)) {
                        let weights = weights.chunks_exact(cols);
                        out[at..].iter_mut().zip(weights).for_each(|(o, w)| *o = dot(x, w));
                    }
                }
            }
        }
    }
}

/// The `N` rows of a matrix, if it has that many.
fn rows<const N: usize>(matrix: &[f32], cols: usize) -> Option<[&[f32]; N]> {
    let mut rows = [&matrix[..0]; N];
    let mut chunks = matrix.chunks_exact(cols);
    for row in &mut rows {
        *row = chunks.next()?;
    }
    Some(rows)
}

/// The dot products of each `x` with each `w`.
#[inline(always)]
fn tile<const R: usize, const O: usize>(x: [&[f32]; R], w: [&[f32]; O]) -> [[f32; O]; R] {
    let mut sums = [[[0.0; LANES]; O]; R];
    let (x, x_rest) = split(x);
    let (w, w_rest) = split(w);
    let steps = x.iter().chain(&w).map(|v| v.len()).min().unwrap_or(0);
    // Cut to one length, so that the loop below needs no bounds checks.
    let (x, w) = (x.map(|v| &v[..steps]), w.map(|v| &v[..steps]));
    for k in 0..steps {
        let x = x.map(|v| v[k]);
        let w = w.map(|v| v[k]);
        for (sums, x) in sums.iter_mut().zip(&x) {
            for (sums, w) in sums.iter_mut().zip(&w) {
                *sums = std::array::from_fn(|l| sums[l] + x[l] * w[l]);
            }
        }
    }
    std::array::from_fn(|r| {
        std::array::from_fn(|o| {
            let rest = sums[r][o].iter_mut().zip(x_rest[r]).zip(w_rest[o]);
            rest.for_each(|((sum, x), w)| *sum += x * w);
            tree(sums[r][o])
        })
    })
}

/// Whole groups of lanes, and what is left over.
#[inline(always)]
fn split<const N: usize>(v: [&[f32]; N]) -> ([&[[f32; LANES]]; N], [&[f32]; N]) {
    (v.map(|v| v.as_chunks().0), v.map(|v| v.as_chunks::<LANES>().1))
}

#[inline(always)]
fn tree(s: [f32; LANES]) -> f32 {
    ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}
