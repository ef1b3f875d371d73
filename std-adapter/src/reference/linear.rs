//! f32 matrix products, shaped so that plain Rust turns into vector code on any target.
//!
//! Each output is a dot product in `LANES` partial sums, added up by a fixed tree: the same number
//! whatever tile it falls into, however many threads there are, and with or without AVX2. A thread
//! takes a panel of weight rows through all rows of the input, so that weights are fetched once, and
//! are shared among threads even where the input has a single row.

use std::ops::Range;

use rayon::prelude::*;

use super::matrix::Matrix;

/// Partial sums of one dot product.
const LANES: usize = 8;
/// Weight rows of a register tile; it has 2 rows of the input as well, or 4 where a vector register
/// holds all lanes. Larger tiles spill and measured two to ten times slower.
const TILE_OUTS: usize = 2;
/// Weight rows of a panel: few enough to stay in the second-level cache.
const PANEL_OUTS: usize = 16;
/// Rows that are turned around together: a cache line of f32.
const TURN_ROWS: usize = 16;

/// `x` `[rows, cols]` times the transpose of all weights `[outs, cols]`: `[rows, outs]`.
pub(super) fn linear(x: &[f32], weights: &Matrix) -> Vec<f32> {
    linear_rows(x, weights, 0..weights.rows())
}

/// As [`linear`], with some of the weights' rows.
pub(super) fn linear_rows(x: &[f32], weights: &Matrix, outs: Range<usize>) -> Vec<f32> {
    let cols = weights.cols();
    let rows = x.len() / cols;
    let mut turned = vec![0.0; rows * outs.len()]; // [outs, rows]
    if turned.is_empty() {
        return turned;
    }
    let panels = turned.par_chunks_mut(PANEL_OUTS * rows).enumerate();
    panels.for_each_init(Vec::new, |scratch, (i, out)| {
        let first = outs.start + i * PANEL_OUTS;
        let weights = weights.widened(first..first + out.len() / rows, scratch);
        panel(x, cols, weights, out);
    });
    turn_around(&turned, rows)
}

/// Dot product of two vectors of one length.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let [[sum]] = tile([a], [b]);
    sum
}

/// All rows of the input times a few weight rows, into `out` `[outs, rows]`.
fn panel(x: &[f32], cols: usize, weights: &[f32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, the only thing that the function needs.
        #[allow(unsafe_code)]
        return unsafe { panel_avx2(x, cols, weights, out) };
    }
    panel_of_tiles::<2>(x, cols, weights, out);
}

/// The same code, compiled for wider registers: 1.7 times faster, and equal in every bit.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn panel_avx2(x: &[f32], cols: usize, weights: &[f32], out: &mut [f32]) {
    panel_of_tiles::<4>(x, cols, weights, out);
}

#[inline(always)]
fn panel_of_tiles<const TILE_ROWS: usize>(
    x: &[f32],
    cols: usize,
    weights: &[f32],
    out: &mut [f32],
) {
    let total = x.len() / cols;
    for (t, x) in x.chunks(TILE_ROWS * cols).enumerate() {
        let at = t * TILE_ROWS;
        let outs = out.chunks_mut(TILE_OUTS * total);
        for (weights, out) in weights.chunks(TILE_OUTS * cols).zip(outs) {
            match (rows(x, cols), rows(weights, cols)) {
                (Some(x), Some(weights)) => {
                    let sums: [[f32; TILE_ROWS]; TILE_OUTS] = tile(weights, x);
                    for (out, sums) in out.chunks_exact_mut(total).zip(sums) {
                        out[at..][..TILE_ROWS].copy_from_slice(&sums);
                    }
                }
                // The last rows or outputs, where a tile is not full.
                _ => {
                    let weights = weights.chunks_exact(cols);
                    for (weights, out) in weights.zip(out.chunks_exact_mut(total)) {
                        let rows = x.chunks_exact(cols);
                        out[at..].iter_mut().zip(rows).for_each(|(o, x)| *o = dot(x, weights));
                    }
                }
            }
        }
    }
}

/// `[outs, rows]` to `[rows, outs]`.
fn turn_around(turned: &[f32], rows: usize) -> Vec<f32> {
    let outs = turned.len() / rows;
    let mut out = vec![0.0; turned.len()];
    out.par_chunks_mut(TURN_ROWS * outs).enumerate().for_each(|(i, out)| {
        for (o, values) in turned.chunks_exact(rows).enumerate() {
            let values = &values[i * TURN_ROWS..];
            out.iter_mut().skip(o).step_by(outs).zip(values).for_each(|(out, v)| *out = *v);
        }
    });
    out
}

/// The `N` rows of a matrix, if it has that many.
#[inline(always)]
fn rows<const N: usize>(matrix: &[f32], cols: usize) -> Option<[&[f32]; N]> {
    let mut rows = [&matrix[..0]; N];
    let mut chunks = matrix.chunks_exact(cols);
    for row in &mut rows {
        *row = chunks.next()?;
    }
    Some(rows)
}

/// The dot products of each `a` with each `b`.
#[inline(always)]
// With iterators and closures the compiler keeps the sums in memory, at half the speed.
#[allow(clippy::needless_range_loop)]
fn tile<const R: usize, const O: usize>(a: [&[f32]; R], b: [&[f32]; O]) -> [[f32; O]; R] {
    let mut sums = [[[0.0; LANES]; O]; R];
    let (a, a_rest) = split(a);
    let (b, b_rest) = split(b);
    let steps = a.iter().chain(&b).map(|v| v.len()).min().unwrap_or(0);
    // Cut to one length, so that the loop below needs no bounds checks.
    let (a, b) = (a.map(|v| &v[..steps]), b.map(|v| &v[..steps]));
    for k in 0..steps {
        let a = a.map(|v| v[k]);
        let b = b.map(|v| v[k]);
        for (sums, a) in sums.iter_mut().zip(&a) {
            for (sums, b) in sums.iter_mut().zip(&b) {
                for l in 0..LANES {
                    sums[l] += a[l] * b[l];
                }
            }
        }
    }
    let mut out = [[0.0; O]; R];
    for r in 0..R {
        for o in 0..O {
            for ((sum, a), b) in sums[r][o].iter_mut().zip(a_rest[r]).zip(b_rest[o]) {
                *sum += a * b;
            }
            out[r][o] = tree(sums[r][o]);
        }
    }
    out
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
