//! The reference kernels: plain safe Rust, the norm for all others.

use super::{Activations, Kernels};
use crate::math::{finite_max_abs, round_ties_even};
use crate::packed::{BLOCK_ROWS, GROUP, PackedMatrix};

/// Runs everywhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scalar;

/// Activation rows whose sums are kept at once: each unpacked cell serves all of them.
const TILE: usize = 32;

impl Kernels for Scalar {
    const NAME: &'static str = "scalar";

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        let stride = weights.rows().max(1);
        for first_row in (0..activations.rows()).step_by(TILE) {
            let Some(out) = out.get_mut(first_row * stride..) else { return };
            for (block, cells) in weights.blocks().enumerate() {
                let mut sums = [[0.0f32; BLOCK_ROWS]; TILE];
                for (group, cell) in cells.enumerate() {
                    let mut unpacked = [[0; GROUP]; BLOCK_ROWS];
                    cell.unpack(&mut unpacked);
                    let rows = activations.group(group).skip(first_row);
                    add_cell(&unpacked, &cell.scales(), rows, &mut sums);
                }
                let first_column = block * BLOCK_ROWS;
                for (row, sums) in out.chunks_exact_mut(stride).zip(&sums) {
                    let columns = row.get_mut(first_column..).unwrap_or_default();
                    for (y, sum) in columns.iter_mut().zip(sums) {
                        *y = *sum;
                    }
                }
            }
        }
    }
}

/// Adds one cell's contribution to the sums of up to [`TILE`] activation rows.
#[inline(always)]
fn add_cell<'a>(
    weights: &[[i8; GROUP]; BLOCK_ROWS],
    scales: &[f32; BLOCK_ROWS],
    rows: impl Iterator<Item = (&'a [i8; GROUP], f32)>,
    sums: &mut [[f32; BLOCK_ROWS]; TILE],
) {
    for ((values, scale), sums) in rows.zip(sums) {
        for ((weights, weight_scale), sum) in weights.iter().zip(scales).zip(sums) {
            *sum += (weight_scale * scale) * dot_of(weights, values) as f32;
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

/// Quantizes one activation row group by group; the last group is padded with zeros.
///
/// # Errors
/// [`NotFinite`] if the row holds a NaN or an infinity.
#[inline(always)]
pub fn quantize_row(x: &[f32], q: &mut [i8], scales: &mut [f32]) -> Result<(), NotFinite> {
    // Not `chunks`: unless it is inlined everywhere, zipping it leaves a check of its length behind.
    let (groups, rest) = x.as_chunks::<GROUP>();
    let rest = (!rest.is_empty()).then_some(rest);
    let groups = groups.iter().map(|group| group.as_slice()).chain(rest);
    for ((x, q), scale) in groups.zip(q.as_chunks_mut::<GROUP>().0).zip(scales) {
        *scale = quantize(x, ACTIVATION_FLOOR, q)?;
    }
    Ok(())
}
