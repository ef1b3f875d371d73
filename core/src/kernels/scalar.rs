//! The reference kernels: plain safe Rust, the norm for all others.

use super::{Activations, ActivationsMut, Kernels};
use crate::cache::KvHead;
use crate::math::{exp, finite_max_abs, max, round_ties_even, silu, sqrt, sum_by};
use crate::packed::{BLOCK_ROWS, Block, Factors, GROUP, Layout, PackedMatrix};
use crate::pieces::pieces;

/// Runs everywhere, and reads every layout.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scalar;

/// Activation rows whose sums are kept at once: each unpacked weight serves all of them.
const TILE: usize = 32;

/// The words of one group of one row: 32 values, and the scale's bits.
type Group = [u32; GROUP / 4 + 1];

impl Kernels for Scalar {
    const NAME: &'static str = "scalar";
    const LAYOUT: Layout = Layout::Rows16;
    const READS_ANY_LAYOUT: bool = true;
    const READS_Q5: bool = true;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        let groups = into.groups();
        let all = into.words().as_chunks_mut().0;
        let row = all.get_mut(row * groups..).and_then(|rest| rest.get_mut(..groups));
        let cells: &mut [Group] = row.unwrap_or_default();
        let mut x = x;
        for [values @ .., scale] in cells {
            let (group, rest) = x.split_at(x.len().min(GROUP));
            x = rest;
            let values: &mut [i8] = bytemuck::cast_slice_mut(values);
            *scale = quantize(group, ACTIVATION_FLOOR, values)?.to_bits();
        }
        Ok(())
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        let (groups, stride) = (weights.groups(), weights.rows().max(1));
        if groups != activations.groups() {
            return;
        }
        let cells: &[Group] = activations.words().as_chunks().0;
        let format = weights.format();
        for first in (0..activations.rows()).step_by(TILE) {
            let rows = TILE.min(activations.rows() - first);
            let cells = cells.get(first * groups..).unwrap_or_default();
            let Some(out) = out.get_mut(first * stride..) else { return };
            for (block, first_column) in weights.blocks().zip((0..).step_by(BLOCK_ROWS)) {
                let mut sums = [[0.0f32; BLOCK_ROWS]; TILE];
                for group in 0..groups {
                    let rows = cells.get(group..).unwrap_or_default().iter().step_by(groups);
                    match format.is_affine() {
                        false => add_group::<false>(&block, group, rows.take(TILE), &mut sums),
                        true => add_group::<true>(&block, group, rows.take(TILE), &mut sums),
                    }
                }
                for (row, sums) in out.chunks_exact_mut(stride).zip(&sums).take(rows) {
                    let columns = row.get_mut(first_column..).unwrap_or_default();
                    for (y, sum) in columns.iter_mut().zip(sums) {
                        *y = *sum;
                    }
                }
            }
        }
    }
}

/// Adds one group's contribution to the sums of up to [`TILE`] activation rows; `AFFINE` if the
/// weights have a minimum.
fn add_group<'a, const AFFINE: bool>(
    block: &Block<'_>,
    group: usize,
    rows: impl Iterator<Item = &'a Group>,
    sums: &mut [[f32; BLOCK_ROWS]; TILE],
) {
    let mut weights = [([0; GROUP], Factors::default()); BLOCK_ROWS];
    for (row, (values, factors)) in weights.iter_mut().enumerate() {
        let Some((read, scale)) = block.read(row, group) else { return };
        (*values, *factors) = (read, scale.factors(block.format()));
        if AFFINE {
            values.iter_mut().for_each(|value| *value += factors.zero);
        }
    }
    for ([values @ .., scale], sums) in rows.zip(sums) {
        let values: &[i8] = bytemuck::cast_slice(values);
        let scale = f32::from_bits(*scale);
        let scaled_sum = if AFFINE { scale * sum_of(values) as f32 } else { 0.0 };
        for ((weights, factors), sum) in weights.iter().zip(sums) {
            let term = (factors.step * scale) * dot_of(weights, values) as f32;
            *sum += if AFFINE { term - factors.minimum * scaled_sum } else { term };
        }
    }
}

/// Exact dot product of two rows of equal length.
#[inline(always)]
#[must_use]
pub fn dot(a: &[i8], b: &[i8]) -> i32 {
    // Groups first: vector units like to know how long a loop is.
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<GROUP>(), b.as_chunks::<GROUP>());
    let groups: i32 = a.iter().zip(b).map(|(a, b)| dot_of(a, b)).sum();
    groups + dot_of(a_rest, b_rest)
}

#[inline(always)]
fn dot_of(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

fn sum_of(values: &[i8]) -> i32 {
    values.iter().map(|&value| i32::from(value)).sum()
}

/// A NaN or an infinity met where a number was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFinite;

/// Magnitudes below this quantize to zero with scale zero: no product of scales is then subnormal
/// (some vector units flush those to zero).
pub const ACTIVATION_FLOOR: f32 = f32::from_bits((127 - 60) << 23);

/// Quantizes up to 127 steps either side of zero: `scale = amax / 127`,
/// `q = round_ties_even(x * (127 / amax))`. Values beyond `x` are set to zero. Returns the scale.
///
/// # Errors
/// [`NotFinite`] if `x` holds a NaN or an infinity.
#[inline(always)]
pub fn quantize(x: &[f32], floor: f32, q: &mut [i8]) -> Result<f32, NotFinite> {
    let max = finite_max_abs(x).ok_or(NotFinite)?;
    if max < floor {
        q.fill(0);
        return Ok(0.0);
    }
    let inverse = 127.0 / max;
    let (head, padding) = q.split_at_mut_checked(x.len()).ok_or(NotFinite)?;
    for (q, x) in head.iter_mut().zip(x) {
        *q = round_ties_even(x * inverse) as i8;
    }
    padding.fill(0);
    Ok(max / 127.0)
}

/// Scores this far below the largest get weight zero instead of less than 2^-40: the result would
/// not change in a visible digit, and products with small value scales would become subnormal.
pub const SOFTMAX_CUTOFF: f32 = -27.725_887;

/// Turns scores into softmax weights, `e^(score - max)` each, zero below [`SOFTMAX_CUTOFF`], and
/// returns their sum, at least 1: what is left of the softmax is one division.
#[inline(always)]
#[must_use]
pub fn exponentiate(scores: &mut [f32]) -> f32 {
    let max = max(scores);
    for score in scores.iter_mut() {
        let below = *score - max;
        *score = if below < SOFTMAX_CUTOFF { 0.0 } else { exp(below) };
    }
    sum_by(scores, |w| w)
}

/// [`Kernels::attention_scores`] by dot products.
#[inline(always)]
pub fn attention_scores<K: Kernels>(
    kernels: K,
    queries: &[i8],
    query_scales: &[f32],
    kv: KvHead<'_>,
    visible: usize,
    scores: &mut [f32],
) {
    let rows = scores.chunks_exact_mut(visible.max(1));
    for ((scores, query), query_scale) in rows.zip(pieces(queries, kv.dim())).zip(query_scales) {
        for (score, (key, key_scale)) in scores.iter_mut().zip(kv.keys()) {
            *score = (query_scale * key_scale) * kernels.dot(query, key) as f32;
        }
    }
}

/// Rows whose attention outputs are summed together: each widened value serves all of them.
const VALUE_ROWS: usize = 4;
/// Entries of a head that are summed together: with four rows they fill a vector unit's registers.
const VALUE_LANES: usize = 32;

/// [`Kernels::attention_values`], four rows at a time.
#[inline(always)]
pub fn attention_values(
    weights: &[f32],
    inverse_sums: &[f32],
    kv: KvHead<'_>,
    visible: usize,
    (out, stride): (&mut [f32], usize),
) {
    let (visible, stride) = (visible.max(1), stride.max(1));
    let tiles = weights.chunks((VALUE_ROWS * visible).max(1)).zip(inverse_sums.chunks(VALUE_ROWS));
    for ((weights, inverse_sums), out) in tiles.zip(out.chunks_mut((VALUE_ROWS * stride).max(1))) {
        for first in (0..kv.dim()).step_by(VALUE_LANES) {
            let width = VALUE_LANES.min(kv.dim() - first);
            let sums = match inverse_sums.len() {
                VALUE_ROWS if width == VALUE_LANES => {
                    value_sums_of_four(weights, kv, visible, first)
                }
                _ => value_sums(weights, kv, visible, first, width),
            };
            let rows = out.chunks_mut(stride).zip(inverse_sums).zip(&sums);
            for ((row, inverse), sums) in rows {
                let row = row.get_mut(first..).and_then(|rest| rest.get_mut(..width));
                for (y, sum) in row.unwrap_or_default().iter_mut().zip(sums) {
                    *y = sum * inverse;
                }
            }
        }
    }
}

type ValueSums = [[f32; VALUE_LANES]; VALUE_ROWS];

/// The sums of four rows and as many entries as there are lanes, from entry `first` on.
#[inline(always)]
fn value_sums_of_four(weights: &[f32], kv: KvHead<'_>, visible: usize, first: usize) -> ValueSums {
    let mut sums = [[0.0f32; VALUE_LANES]; VALUE_ROWS];
    let (a, rest) = weights.split_at(visible.min(weights.len()));
    let (b, rest) = rest.split_at(visible.min(rest.len()));
    let (c, d) = rest.split_at(visible.min(rest.len()));
    let weights = a.iter().zip(b).zip(c).zip(d);
    for ((((a, b), c), d), (values, value_scale)) in weights.zip(kv.values()) {
        let values = values.get(first..).and_then(|rest| rest.first_chunk::<VALUE_LANES>());
        let Some(values) = values else { break };
        // Not `map`: it is a call of its own, outside the vector code.
        let mut widened = [0.0; VALUE_LANES];
        for (x, &value) in widened.iter_mut().zip(values) {
            *x = f32::from(value);
        }
        for (sums, weight) in sums.iter_mut().zip([a, b, c, d]) {
            let scale = weight * value_scale;
            for (sum, value) in sums.iter_mut().zip(&widened) {
                *sum += scale * value;
            }
        }
    }
    sums
}

/// The sums of up to four rows and `width` entries, from entry `first` on.
#[inline(always)]
fn value_sums(
    weights: &[f32],
    kv: KvHead<'_>,
    visible: usize,
    first: usize,
    width: usize,
) -> ValueSums {
    let mut sums = [[0.0f32; VALUE_LANES]; VALUE_ROWS];
    for (sums, weights) in sums.iter_mut().zip(weights.chunks_exact(visible)) {
        for (weight, (values, value_scale)) in weights.iter().zip(kv.values()) {
            let scale = weight * value_scale;
            let values = values.get(first..).unwrap_or_default().iter().take(width);
            for (sum, &value) in sums.iter_mut().zip(values) {
                *sum += scale * f32::from(value);
            }
        }
    }
    sums
}

/// `gate = silu(gate) * up`, both operations of silu's definition rounded ([`silu`]).
#[inline(always)]
pub fn swiglu(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = silu(*gate) * up;
    }
}

/// RMSNorm (Zhang and Sennrich 2019) of one row: `x / sqrt(mean(x^2) + eps) * weight`.
///
/// # Errors
/// [`NotFinite`] if the mean square is not finite: an infinite one would give a row of zeros.
#[inline(always)]
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let inverse = inverse_rms(x, eps)?;
    for ((y, x), w) in out.iter_mut().zip(x).zip(weight) {
        *y = (x * inverse) * w;
    }
    Ok(())
}

/// `1 / sqrt(mean(x^2) + eps)`.
///
/// # Errors
/// [`NotFinite`] if the mean square is not finite.
#[inline(always)]
pub fn inverse_rms(x: &[f32], eps: f32) -> Result<f32, NotFinite> {
    let mean_square = sum_by(x, |x| x * x) / x.len().max(1) as f32;
    if !mean_square.is_finite() {
        return Err(NotFinite);
    }
    Ok(1.0 / sqrt(mean_square + eps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rms_norm_gives_unit_mean_square() {
        let x = [3.0, -4.0, 12.0];
        let mut y = [0.0; 3];
        rms_norm(&x, &[1.0, 1.0, 2.0], 1e-12, &mut y).unwrap();
        let rms = (169.0f32 / 3.0).sqrt();
        for (y, x) in y.iter().zip([3.0, -4.0, 24.0]) {
            assert!((y - x / rms).abs() < 1e-6);
        }
    }

    #[test]
    fn rms_norm_that_overflows_is_an_error() {
        assert_eq!(rms_norm(&[1e30], &[1.0], 1e-5, &mut [0.0]), Err(NotFinite));
        assert_eq!(rms_norm(&[f32::NAN], &[1.0], 1e-5, &mut [0.0]), Err(NotFinite));
    }
}
