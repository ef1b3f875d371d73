//! The tests that every kernel must pass: the same bits as the definition, whatever the sizes.
//!
//! For tests only (cargo feature `kernel-check`); it needs `std`.
#![allow(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use super::scalar::{dot, quantize_row};
use super::{Activations, Kernels};
use crate::math::{exp, max, silu, sum_by};
use crate::packed::{BLOCK_ROWS, GROUP, PackedMatrix, WeightFormat};
use std::vec::Vec;
use std::{eprintln, vec};

/// Runs `check` if the processor can, that is if `kernels` is there; else says loudly that nothing
/// was tested, and fails if the environment variable `DEMASK_REQUIRE_FEATURES` (a comma-separated
/// list of names) asks for `name`.
///
/// # Panics
/// If the kernel is required and missing.
pub fn if_available<K: Kernels>(kernels: Option<K>, check: impl Fn(K)) {
    let required = std::env::var("DEMASK_REQUIRE_FEATURES").unwrap_or_default();
    let required = required.split(',').any(|name| name.trim() == K::NAME);
    match kernels {
        Some(kernels) => check(kernels),
        None if required => panic!("{} is required, but this processor does not have it", K::NAME),
        None => eprintln!("*** SKIPPED: no {} on this processor, NOTHING was tested ***", K::NAME),
    }
}

/// Checks everything.
///
/// # Panics
/// If a result differs from the definition.
pub fn all<K: Kernels>(kernels: K) {
    matmul(kernels);
    row_operations(kernels);
}

/// Row operations give the same bits inside [`Kernels::vectorize`] as outside.
fn row_operations<K: Kernels>(kernels: K) {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for len in 0..=200 {
        let x: Vec<f32> = (0..len).map(|_| random.number()).collect();
        let integers: Vec<i8> = (0..len).map(|_| random.activation(4)).collect();
        let expected = row_results(&x, &integers);
        let got = kernels.vectorize(|| row_results(&x, &integers));
        assert!(got == expected, "{}: length {len}\n{got:?}\n{expected:?}", K::NAME);
    }
}

/// The bits of every row operation.
#[inline(always)]
fn row_results(x: &[f32], integers: &[i8]) -> Vec<u32> {
    let groups = x.len().div_ceil(GROUP);
    let (mut q, mut scales) = (vec![1i8; groups * GROUP], vec![1.0; groups]);
    quantize_row(x, &mut q, &mut scales).expect("finite");
    let mut below: Vec<f32> = x.iter().map(|x| exp(-x.abs())).collect();
    let gates = x.iter().map(|&x| silu(x));
    let sums = [sum_by(x, |x| x), sum_by(x, |x| x * x), max(x), dot(integers, &q) as f32];
    below.extend(gates);
    below.extend(sums);
    below.extend(scales);
    let bits = below.iter().map(|x| x.to_bits());
    bits.chain(q.iter().map(|&q| q as u32)).collect()
}

/// Checks [`Kernels::matmul`].
fn matmul<K: Kernels>(kernels: K) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for format in [WeightFormat::Q4, WeightFormat::Q8] {
        // All remainders of rows, outputs and groups; then sizes at random.
        let small = (0..=70).map(|rows| (rows, 20, 64));
        let narrow = (1..=50).map(|outputs| (3, outputs, 96));
        let deep = (1..=70).map(|groups| (1 + groups % 9, 18, groups * GROUP));
        let ragged = (1..=GROUP).map(|cols| (5, 17, 64 + cols));
        let sizes: Vec<_> = small.chain(narrow).chain(deep).chain(ragged).collect();
        for (rows, outputs, cols) in sizes {
            one_product(kernels, format, (rows, outputs, cols), &mut random);
        }
        for _ in 0..60 {
            let sizes = (1 + random.below(300), 1 + random.below(300), 32 + random.below(993));
            one_product(kernels, format, sizes, &mut random);
        }
        misfits(kernels, format, &mut random);
    }
}

fn one_product<K: Kernels>(
    kernels: K,
    format: WeightFormat,
    (rows, outputs, cols): (usize, usize, usize),
    random: &mut Random,
) {
    let weights = Weights::random(format, outputs, cols, random);
    let rows_in = Rows::random(rows, cols, random);
    let matrix = PackedMatrix::new(format, outputs, cols, &weights.packed).expect("length");
    // One more output than there is room for shows writes beyond the end.
    const GUARD: f32 = 123.25;
    let mut out = vec![GUARD; rows * outputs + 1];
    kernels.matmul(&matrix, &rows_in.activations(), &mut out[..rows * outputs]);
    assert_eq!(out.pop(), Some(GUARD));
    let groups = matrix.groups();
    for (i, got) in out.iter().enumerate() {
        let (row, output) = (i / outputs, i % outputs);
        let expected = rows_in.dot(row, &weights, output, groups);
        assert!(
            got.to_bits() == expected.to_bits(),
            "{} {format:?} {rows}x{outputs}x{cols}: row {row} output {output} is {got:e}, not {expected:e}",
            K::NAME,
        );
    }
}

/// Slices that do not fit together may give anything but a crash.
fn misfits<K: Kernels>(kernels: K, format: WeightFormat, random: &mut Random) {
    let weights = Weights::random(format, 40, 96, random);
    let matrix = PackedMatrix::new(format, 40, 96, &weights.packed).expect("length");
    let rows = Rows::random(5, 96, random);
    let (values, scales) = (&rows.values[1..], &rows.scales[..]);
    let mut out = vec![0.0; 5 * 40];
    for (values, scales, room) in [
        (values, scales, 0),
        (values, scales, 199),
        (&values[..300], scales, 200),
        (values, &scales[..13], 200),
        (&[], scales, 200),
        (values, &[], 200),
    ] {
        for groups in [0, 1, 2, 3, 4] {
            kernels.matmul(&matrix, &Activations::new(groups, values, scales), &mut out[..room]);
        }
    }
    let empty = PackedMatrix::new(format, 0, 96, &[]).expect("length");
    kernels.matmul(&empty, &rows.activations(), &mut []);
}

/// Weights before and after packing.
struct Weights {
    /// `[outputs, groups * 32]`
    values: Vec<i8>,
    /// `[outputs, groups]`
    scales: Vec<f32>,
    packed: Vec<u8>,
}

impl Weights {
    fn random(format: WeightFormat, outputs: usize, cols: usize, random: &mut Random) -> Self {
        let (groups, blocks) = (cols.div_ceil(GROUP), outputs.div_ceil(BLOCK_ROWS));
        let mut values = vec![0i8; outputs * groups * GROUP];
        let mut scales = vec![0.0; outputs * groups];
        let zero_cell = match format {
            WeightFormat::Q4 => 0x88,
            WeightFormat::Q8 => 0,
        };
        let mut cells = vec![zero_cell; blocks * groups * format.weight_bytes()];
        let mut packed_scales = vec![0u8; blocks * groups * BLOCK_ROWS * 2];
        let style = random.below(6);
        for output in 0..outputs {
            for group in 0..groups {
                let cell = output / BLOCK_ROWS * groups + group;
                let lane = output % BLOCK_ROWS;
                let bytes = &mut cells[cell * format.weight_bytes()..][..format.weight_bytes()];
                for input in 0..GROUP.min(cols - group * GROUP) {
                    let weight = random.weight(format, style);
                    values[(output * groups + group) * GROUP + input] = weight;
                    format.put(bytes, lane, input, weight);
                }
                let scale = random.half_scale();
                scales[output * groups + group] = scale.to_f32();
                packed_scales[(cell * BLOCK_ROWS + lane) * 2..][..2]
                    .copy_from_slice(&scale.to_le_bytes());
            }
        }
        cells.extend(packed_scales);
        Self { values, scales, packed: cells }
    }
}

/// Quantized rows; the values start one byte into their memory, so that nothing relies on alignment.
struct Rows {
    groups: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
}

impl Rows {
    fn random(rows: usize, cols: usize, random: &mut Random) -> Self {
        let groups = cols.div_ceil(GROUP);
        let style = random.below(5);
        let values = (0..1 + rows * groups * GROUP).map(|_| random.activation(style)).collect();
        let scales = (0..rows * groups).map(|_| random.activation_scale()).collect();
        Self { groups, values, scales }
    }

    fn activations(&self) -> Activations<'_> {
        Activations::new(self.groups, &self.values[1..], &self.scales)
    }

    /// The definition (docs/numerics.md), with nothing in common with any kernel.
    fn dot(&self, row: usize, weights: &Weights, output: usize, groups: usize) -> f32 {
        let mut sum = 0.0f32;
        for group in 0..groups {
            let (cell, x_cell) = (output * groups + group, row * groups + group);
            let w = &weights.values[cell * GROUP..][..GROUP];
            let x = &self.values[1 + x_cell * GROUP..][..GROUP];
            let isum: i32 = w.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum();
            let scale = weights.scales[cell] * self.scales[x_cell];
            let term = scale * isum as f32;
            sum += term;
        }
        sum
    }
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn weight(&mut self, format: WeightFormat, style: usize) -> i8 {
        let (min, max) = format.range();
        match style {
            0 => min,
            1 => max,
            2 => [min, max][self.below(2)],
            _ => {
                let range = i32::from(max) - i32::from(min) + 1;
                (i32::from(min) + self.below(range as usize) as i32) as i8
            }
        }
    }

    fn activation(&mut self, style: usize) -> i8 {
        match style {
            0 => 127,
            1 => -127,
            2 => [-127, 127][self.below(2)],
            _ => (self.below(255) as i32 - 127) as i8,
        }
    }

    /// Of any size that activations have, and often zero or the same again.
    fn number(&mut self) -> f32 {
        let sign = [1.0, -1.0][self.below(2)];
        let magnitude = match self.below(6) {
            0 => 0.0,
            1 => 1.5,
            2 => 1e-25,
            _ => self.below(1 << 20) as f32 * 3e-5,
        };
        sign * magnitude
    }

    /// Any finite `f16`, with more than its share of zeros, subnormals and extremes.
    fn half_scale(&mut self) -> half::f16 {
        const SPECIAL: [u16; 8] = [0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x3c00];
        let bits = match self.below(4) {
            0 => SPECIAL[self.below(8)],
            _ => self.below(0x7c00) as u16 | (self.below(2) as u16) << 15,
        };
        half::f16::from_bits(bits)
    }

    /// Scales as quantization makes them, up to where the sums would overflow.
    fn activation_scale(&mut self) -> f32 {
        match self.below(8) {
            0 => 0.0,
            1 => f32::from_bits((127 - 60) << 23) / 127.0,
            2 => 1e24,
            _ => (self.below(1 << 24) as f32 + 1.0) * 1e-9,
        }
    }
}
