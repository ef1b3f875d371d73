//! The K formats' reference quantizers: a search over step sizes for each sub-block, then scales of
//! the scales.
//!
//! Every sum runs from the first element to the last in `f32`, and products are formed in the order
//! that ggml writes them: another order gives other bytes.

use super::SUPER_BLOCK;
use super::decode::half_at;
use super::encode::{extreme, put_half};

/// Magnitudes below this count as zero.
const NOTHING: f32 = 1e-15;

/// How one of the affine K formats searches for its step.
struct Search {
    /// Largest code.
    top: f32,
    /// Added to `top` in the first trial.
    first: f32,
    /// Trials beyond the first.
    steps: u8,
}

const Q4_K: Search = Search { top: 15.0, first: -1.0, steps: 20 };
const Q5_K: Search = Search { top: 31.0, first: -0.5, steps: 15 };
/// How much the trials are apart.
const TRIAL_STEP: f32 = 0.1;

/// A sub-block of 32 values as `scale * code - min`.
struct SubBlock {
    codes: [u8; 32],
    scale: f32,
    /// Never negative.
    min: f32,
}

/// The nearest whole number, ties to even, within bounds. Adding 1.5 * 2^23 leaves no bits for a
/// fraction; a number so large that this is inexact is far out of bounds.
fn nearest(x: f32, low: f32, high: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    ((x + ROUND) - ROUND).clamp(low, high)
}

impl Search {
    /// Codes, scale and minimum of least weighted squared error among the trials.
    fn sub_block(&self, x: &[f32; 32]) -> SubBlock {
        let square: f32 = x.iter().fold(0.0, |sum, x| sum + x * x);
        let typical = (square / 32.0).sqrt();
        let weights = x.map(|x| typical + x.abs());
        let mut min = x.iter().fold(x[0], |m, &x| if x < m { x } else { m });
        let max = x.iter().fold(x[0], |m, &x| if x > m { x } else { m });
        if min > 0.0 {
            min = 0.0;
        }
        if max == min {
            return SubBlock { codes: [0; 32], scale: 0.0, min: -min };
        }
        let sum_w = weights.iter().copied().reduce(|sum, w| sum + w).unwrap_or_default();
        let sum_x = weights.iter().zip(x).map(|(w, x)| w * x).reduce(|sum, wx| sum + wx);
        let sum_x = sum_x.unwrap_or_default();
        let codes_for =
            |inverse: f32, min: f32| x.map(|x| nearest(inverse * (x - min), 0.0, self.top));
        let error = |codes: &[f32; 32], scale: f32, min: f32| {
            let terms = codes.iter().zip(x).zip(&weights);
            terms.fold(0.0f32, |sum, ((l, x), w)| {
                let difference = scale * l + min - x;
                sum + w * (difference * difference)
            })
        };
        let inverse = self.top / (max - min);
        let mut scale = 1.0 / inverse;
        let mut codes = codes_for(inverse, min);
        let mut least = error(&codes, scale, min);
        for trial in 0..=self.steps {
            // `min` is that of the best trial so far.
            let inverse = (self.first + TRIAL_STEP * f32::from(trial) + self.top) / (max - min);
            let trial = codes_for(inverse, min);
            let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0f32, 0.0f32, 0.0f32);
            for ((l, x), w) in trial.iter().zip(x).zip(&weights) {
                sum_l += w * l;
                sum_l2 += w * l * l;
                sum_xl += w * l * x;
            }
            let determinant = sum_w * sum_l2 - sum_l * sum_l;
            if determinant > 0.0 {
                let mut fitted = (sum_w * sum_xl - sum_x * sum_l) / determinant;
                let mut fitted_min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
                if fitted_min > 0.0 {
                    fitted_min = 0.0;
                    fitted = sum_xl / sum_l2;
                }
                let error = error(&trial, fitted, fitted_min);
                if error < least {
                    (codes, least, scale, min) = (trial, error, fitted, fitted_min);
                }
            }
        }
        SubBlock { codes: codes.map(|l| l as u8), scale, min: -min }
    }

    /// Fills `d`, `d_min` and the twelve bytes of scales, and returns the 256 codes.
    fn super_block(&self, x: &[f32; SUPER_BLOCK], head: &mut [u8]) -> [u8; SUPER_BLOCK] {
        let x = x.as_chunks::<32>().0;
        let mut parts: [SubBlock; 8] = std::array::from_fn(|j| self.sub_block(&x[j]));
        let max_scale = parts.iter().fold(0.0, |m: f32, p| if p.scale > m { p.scale } else { m });
        let max_min = parts.iter().fold(0.0, |m: f32, p| if p.min > m { p.min } else { m });
        let inverse = |max: f32| if max > 0.0 { 63.0 / max } else { 0.0 };
        let (to_scale, to_min) = (inverse(max_scale), inverse(max_min));
        put_half(max_scale / 63.0, head, 0);
        put_half(max_min / 63.0, head, 2);
        let (d, d_min) = (half_at(head, 0), half_at(head, 2));
        let mut codes = [0; SUPER_BLOCK];
        for (j, (part, x)) in parts.iter_mut().zip(x).enumerate() {
            let scale = nearest(to_scale * part.scale, 0.0, 63.0);
            let min = nearest(to_min * part.min, 0.0, 63.0);
            put_scale_and_min(&mut head[4..16], j, scale as u8, min as u8);
            // The codes are chosen again for the scale and minimum as they are stored.
            let (scale, min) = (d * scale, d_min * min);
            if scale != 0.0 {
                part.codes = x.map(|x| nearest((x + min) / scale, 0.0, self.top) as u8);
            }
            codes[j * 32..][..32].copy_from_slice(&part.codes);
        }
        codes
    }
}

/// Inverse of [`scale_and_min`](super::decode::scale_and_min), on bytes that start as zeros.
fn put_scale_and_min(b: &mut [u8], j: usize, scale: u8, min: u8) {
    if j < 4 {
        b[j] |= scale;
        b[j + 4] |= min;
    } else {
        b[j + 4] = scale & 15 | min << 4;
        b[j - 4] |= scale >> 4 << 6;
        b[j] |= min >> 4 << 6;
    }
}

/// Inverse of [`super_nibble`](super::decode::super_nibble) for all values, on zeroed bytes.
fn put_super_nibbles(codes: &[u8; SUPER_BLOCK], out: &mut [u8]) {
    for (i, code) in codes.iter().enumerate() {
        out[i / 64 * 32 + i % 32] |= (code & 15) << (i / 32 % 2 * 4);
    }
}

pub(super) fn encode_q4_k(x: &[f32; SUPER_BLOCK], block: &mut [u8; 144]) {
    *block = [0; 144];
    let codes = Q4_K.super_block(x, block);
    put_super_nibbles(&codes, &mut block[16..]);
}

pub(super) fn encode_q5_k(x: &[f32; SUPER_BLOCK], block: &mut [u8; 176]) {
    *block = [0; 176];
    let codes = Q5_K.super_block(x, block);
    for (i, code) in codes.iter().enumerate() {
        block[16 + i % 32] |= code >> 4 << (i / 32);
    }
    put_super_nibbles(&codes, &mut block[48..]);
}

/// Codes (0..=63, 32 stands for zero) and scale of a sub-block of Q6_K.
fn signed_sub_block(x: &[f32; 16]) -> ([u8; 16], f32) {
    let max = extreme(x);
    if max.abs() < NOTHING {
        return ([0; 16], 0.0);
    }
    let trial = |inverse: f32| {
        let codes = x.map(|x| nearest(inverse * x, -32.0, 31.0));
        let (mut sum_xl, mut sum_l2) = (0.0f32, 0.0f32);
        for (l, x) in codes.iter().zip(x) {
            let w = x * x;
            sum_xl += w * x * l;
            sum_l2 += w * l * l;
        }
        (codes, sum_xl, sum_l2)
    };
    let (mut codes, sum_xl, sum_l2) = trial(-32.0 / max);
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_xl / sum_l2 };
    let mut best = scale * sum_xl;
    for k in (-9..=9i8).filter(|k| *k != 0) {
        let (other, sum_xl, sum_l2) = trial(-(32.0 + 0.1 * f32::from(k)) / max);
        if sum_l2 > 0.0 && sum_xl * sum_xl > best * sum_l2 {
            codes = other;
            scale = sum_xl / sum_l2;
            best = scale * sum_xl;
        }
    }
    (codes.map(|l| (l + 32.0) as u8), scale)
}

pub(super) fn encode_q6_k(x: &[f32; SUPER_BLOCK], block: &mut [u8; 210]) {
    *block = [0; 210];
    let x = x.as_chunks::<16>().0;
    let mut parts: [([u8; 16], f32); 16] = std::array::from_fn(|j| signed_sub_block(&x[j]));
    let max_scale = extreme(&parts.map(|(_, scale)| scale));
    if max_scale.abs() < NOTHING {
        return;
    }
    let inverse = -128.0 / max_scale;
    put_half(1.0 / inverse, block, 208);
    let d = half_at(block, 208);
    for (j, ((codes, scale), x)) in parts.iter_mut().zip(x).enumerate() {
        let stored = nearest(inverse * *scale, -128.0, 127.0);
        block[192 + j] = stored as i8 as u8;
        let step = d * stored;
        if step != 0.0 {
            *codes = x.map(|x| (nearest(x / step, -32.0, 31.0) + 32.0) as u8);
        }
        for (i, code) in codes.iter().enumerate() {
            put_six_bits(block, j * 16 + i, *code);
        }
    }
}

/// Stores the code of value `i` in a block of zeros: four low bits in `ql`, two high ones in `qh`,
/// for each half of 128 values.
fn put_six_bits(block: &mut [u8; 210], i: usize, code: u8) {
    let (half, i) = (i / 128, i % 128);
    block[half * 64 + i % 64] |= (code & 15) << (i / 64 * 4);
    block[128 + half * 32 + i % 32] |= code >> 4 << (i / 32 * 2);
}
