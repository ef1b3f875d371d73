//! Blocks to `f32`.

use super::{GgmlType, SUPER_BLOCK};
use half::{bf16, f16};

/// The values of MXFP4's sixteen codes, doubled so that they are integers.
pub(super) const MXFP4_CODES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Decodes blocks whose number matches `out`.
pub(super) fn decode(stored_as: GgmlType, blocks: &[u8], out: &mut [f32]) {
    match stored_as {
        GgmlType::F32 => each::<4, 1>(blocks, out, |b, x| x[0] = f32::from_le_bytes(*b)),
        GgmlType::F16 => each::<2, 1>(blocks, out, |b, x| x[0] = f16::from_le_bytes(*b).to_f32()),
        GgmlType::BF16 => each::<2, 1>(blocks, out, |b, x| x[0] = bf16::from_le_bytes(*b).to_f32()),
        GgmlType::Q4_0 => each::<18, 32>(blocks, out, |b, x| {
            let d = half_at(b, 0);
            put(x, &nibbles(&b[2..]), |q| f32::from(q as i8 - 8) * d);
        }),
        GgmlType::Q4_1 => each::<20, 32>(blocks, out, |b, x| {
            let (d, m) = (half_at(b, 0), half_at(b, 2));
            put(x, &nibbles(&b[4..]), |q| f32::from(q) * d + m);
        }),
        GgmlType::Q5_0 => each::<22, 32>(blocks, out, |b, x| {
            let d = half_at(b, 0);
            put(x, &five_bits(&b[2..]), |q| f32::from(q as i8 - 16) * d);
        }),
        GgmlType::Q5_1 => each::<24, 32>(blocks, out, |b, x| {
            let (d, m) = (half_at(b, 0), half_at(b, 2));
            put(x, &five_bits(&b[4..]), |q| f32::from(q) * d + m);
        }),
        GgmlType::Q8_0 => each::<34, 32>(blocks, out, |b, x| {
            let d = half_at(b, 0);
            for (x, q) in x.iter_mut().zip(&b[2..]) {
                *x = f32::from(*q as i8) * d;
            }
        }),
        GgmlType::MXFP4 => each::<17, 32>(blocks, out, |b, x| {
            let d = mxfp4_scale(b[0]);
            put(x, &nibbles(&b[1..]), |q| f32::from(MXFP4_CODES[usize::from(q & 15)]) * d);
        }),
        GgmlType::Q4_K => each::<144, SUPER_BLOCK>(blocks, out, |b, x| {
            decode_affine(b, x, |i| super_nibble(&b[16..], i));
        }),
        GgmlType::Q5_K => each::<176, SUPER_BLOCK>(blocks, out, |b, x| {
            decode_affine(b, x, |i| {
                let fifth = b[16 + i % 32] >> (i / 32) & 1;
                super_nibble(&b[48..], i) | fifth << 4
            });
        }),
        GgmlType::Q6_K => each::<210, SUPER_BLOCK>(blocks, out, |b, x| {
            let d = half_at(b, 208);
            for (i, x) in x.iter_mut().enumerate() {
                let scale = d * f32::from(b[192 + i / 16] as i8);
                *x = scale * f32::from(six_bits(b, i) as i8 - 32);
            }
        }),
    }
}

/// Calls `decode` for every block of `BYTES` bytes and `VALUES` values.
fn each<const BYTES: usize, const VALUES: usize>(
    blocks: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; VALUES]),
) {
    let blocks = blocks.as_chunks::<BYTES>().0;
    for (block, out) in blocks.iter().zip(out.as_chunks_mut::<VALUES>().0) {
        decode(block, out);
    }
}

fn put(out: &mut [f32; 32], codes: &[u8; 32], value: impl Fn(u8) -> f32) {
    for (x, q) in out.iter_mut().zip(codes) {
        *x = value(*q);
    }
}

/// The `f16` at a byte of a block.
pub(super) fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The 32 nibbles of 16 bytes: the low ones first, then the high ones.
pub(super) fn nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| bytes[i % 16] >> (i / 16 * 4) & 15)
}

/// The 32 five-bit codes of 4 bytes of fifth bits and 16 bytes of nibbles.
pub(super) fn five_bits(bytes: &[u8]) -> [u8; 32] {
    let fifth = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let mut codes = nibbles(&bytes[4..]);
    for (i, code) in codes.iter_mut().enumerate() {
        *code |= ((fifth >> i & 1) as u8) << 4;
    }
    codes
}

/// `2^(e - 128)`: half of the E8M0 scale, because the codes are doubled.
pub(super) fn mxfp4_scale(e: u8) -> f32 {
    match e {
        0 | 1 => f32::from_bits(0x0020_0000 << e),
        _ => f32::from_bits(u32::from(e - 1) << 23),
    }
}

/// Nibble of value `i`: each run of 64 values has its first half in the low nibbles.
pub(super) fn super_nibble(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15
}

/// The 6-bit scale and minimum of sub-block `j`, from twelve bytes.
pub(super) fn scale_and_min(b: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (b[j] & 63, b[j + 4] & 63)
    } else {
        (b[j + 4] & 15 | b[j - 4] >> 6 << 4, b[j + 4] >> 4 | b[j] >> 6 << 4)
    }
}

/// What Q4_K and Q5_K have in common: `d`, `d_min` and twelve bytes of scales in front.
fn decode_affine(block: &[u8], out: &mut [f32; SUPER_BLOCK], code: impl Fn(usize) -> u8) {
    let (d, d_min) = (half_at(block, 0), half_at(block, 2));
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], j);
        let (scale, min) = (d * f32::from(scale), d_min * f32::from(min));
        for (i, x) in out.iter_mut().enumerate() {
            *x = scale * f32::from(code(j * 32 + i)) - min;
        }
    }
}

/// Code of value `i` of a Q6_K block: four low bits in `ql`, two high bits in `qh`, for each half of
/// 128 values.
fn six_bits(block: &[u8], i: usize) -> u8 {
    let (half, i) = (i / 128, i % 128);
    let low = block[half * 64 + i % 64] >> (i / 64 * 4) & 15;
    let high = block[128 + half * 32 + i % 32] >> (i / 32 * 2) & 3;
    low | high << 4
}
