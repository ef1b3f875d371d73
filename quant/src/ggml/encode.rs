//! `f32` to blocks of 32 values, as ggml's reference quantizers do it.

use super::decode::{MXFP4_CODES, mxfp4_scale};
use super::{GgmlType, SUPER_BLOCK, k_quants};
use half::{bf16, f16};

/// Quantizes blocks whose number matches `out`.
pub(super) fn encode(stored_as: GgmlType, values: &[f32], out: &mut [u8]) {
    match stored_as {
        GgmlType::F32 => each::<1, 4>(values, out, |x, b| *b = x[0].to_le_bytes()),
        GgmlType::F16 => each::<1, 2>(values, out, |x, b| *b = f16::from_f32(x[0]).to_le_bytes()),
        GgmlType::BF16 => each::<1, 2>(values, out, |x, b| *b = bf16::from_f32(x[0]).to_le_bytes()),
        GgmlType::Q4_0 => each::<32, 18>(values, out, |x, b| {
            let codes = symmetric::<8>(x, b);
            put_nibbles(&codes, &mut b[2..]);
        }),
        GgmlType::Q4_1 => each::<32, 20>(values, out, |x, b| {
            let codes = affine(x, b, 15);
            put_nibbles(&codes, &mut b[4..]);
        }),
        GgmlType::Q5_0 => each::<32, 22>(values, out, |x, b| {
            let codes = symmetric::<16>(x, b);
            put_five_bits(&codes, &mut b[2..]);
        }),
        GgmlType::Q5_1 => each::<32, 24>(values, out, |x, b| {
            let codes = affine(x, b, 31);
            put_five_bits(&codes, &mut b[4..]);
        }),
        GgmlType::Q8_0 => each::<32, 34>(values, out, encode_q8_0),
        GgmlType::MXFP4 => each::<32, 17>(values, out, encode_mxfp4),
        GgmlType::Q4_K => each::<SUPER_BLOCK, 144>(values, out, k_quants::encode_q4_k),
        GgmlType::Q5_K => each::<SUPER_BLOCK, 176>(values, out, k_quants::encode_q5_k),
        GgmlType::Q6_K => each::<SUPER_BLOCK, 210>(values, out, k_quants::encode_q6_k),
    }
}

fn each<const VALUES: usize, const BYTES: usize>(
    values: &[f32],
    out: &mut [u8],
    encode: impl Fn(&[f32; VALUES], &mut [u8; BYTES]),
) {
    let values = values.as_chunks::<VALUES>().0;
    for (values, block) in values.iter().zip(out.as_chunks_mut::<BYTES>().0) {
        encode(values, block);
    }
}

/// The first of the values with the largest magnitude, zero if there is none above it.
pub(super) fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m: f32, x| if x.abs() > m.abs() { *x } else { m })
}

pub(super) fn put_half(x: f32, block: &mut [u8], at: usize) {
    block[at..at + 2].copy_from_slice(&f16::from_f32(x).to_le_bytes());
}

/// One divided by the step, zero for a block without one. The step is not rounded to `f16` first.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Codes around `ZERO`; the extreme value gets code 0.
fn symmetric<const ZERO: u8>(x: &[f32; 32], block: &mut [u8]) -> [u8; 32] {
    let d = extreme(x) / -f32::from(ZERO);
    put_half(d, block, 0);
    let (inverse, middle) = (inverse(d), f32::from(ZERO) + 0.5);
    x.map(|x| ((x * inverse + middle) as u8).min(2 * ZERO - 1))
}

/// Codes from the smallest value (0) to the largest (`top`).
fn affine(x: &[f32; 32], block: &mut [u8], top: u8) -> [u8; 32] {
    let (min, max) = x.iter().fold((f32::MAX, -f32::MAX), |(min, max), &x| {
        (if x < min { x } else { min }, if x > max { x } else { max })
    });
    let d = (max - min) / f32::from(top);
    put_half(d, block, 0);
    put_half(min, block, 2);
    let inverse = inverse(d);
    x.map(|x| (((x - min) * inverse + 0.5) as u8).min(top))
}

fn encode_q8_0(x: &[f32; 32], block: &mut [u8; 34]) {
    let d = extreme(x).abs() / 127.0;
    put_half(d, block, 0);
    let inverse = inverse(d);
    for (b, x) in block[2..].iter_mut().zip(x) {
        // `round` takes halves away from zero, as C's roundf does.
        *b = (x * inverse).round() as i8 as u8;
    }
}

fn encode_mxfp4(x: &[f32; 32], block: &mut [u8; 17]) {
    let largest = extreme(x).abs();
    // ggml takes the logarithm in f32, where that of a number just below a power of two is whole.
    let exponent = (f64::from(largest).log2() as f32).floor();
    block[0] = if largest > 0.0 { (exponent - 2.0 + 127.0) as u8 } else { 0 };
    let scale = mxfp4_scale(block[0]);
    let codes = x.map(|x| {
        let error = |code: i8| (f32::from(code) * scale - x).abs();
        let mut best = 0;
        for (i, code) in MXFP4_CODES.into_iter().enumerate() {
            if error(code) < error(MXFP4_CODES[best]) {
                best = i;
            }
        }
        best as u8
    });
    put_nibbles(&codes, &mut block[1..]);
}

/// Inverse of [`nibbles`](super::decode::nibbles); only the low four bits of a code count.
fn put_nibbles(codes: &[u8; 32], out: &mut [u8]) {
    let (low, high) = codes.split_at(16);
    for (b, (low, high)) in out.iter_mut().zip(low.iter().zip(high)) {
        *b = low & 15 | high << 4;
    }
}

/// Inverse of [`five_bits`](super::decode::five_bits).
fn put_five_bits(codes: &[u8; 32], out: &mut [u8]) {
    let fifth = codes.iter().rev().fold(0u32, |bits, code| bits << 1 | u32::from(code >> 4 & 1));
    out[..4].copy_from_slice(&fifth.to_le_bytes());
    put_nibbles(codes, &mut out[4..]);
}
