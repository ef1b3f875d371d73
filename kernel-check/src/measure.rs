//! What is measured, for one kernel: each operation runs once in a region of its own, on the same
//! pseudo-random data everywhere.
//!
//! The small functions at the end call what the engine calls.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::hint::black_box;
use demask::Kernels;
use demask::kernels::ActivationsMut;
use demask::packed::{BLOCK_ROWS, GROUP, GroupScale, Layout, PackedMatrix, WeightFormat, Width};

use crate::region::region;

/// Tokens, outputs and inputs of the matrix products.
const PRODUCTS: [(usize, usize, usize); 4] =
    [(1, 256, 256), (8, 256, 256), (32, 256, 256), (32, 128, 512)];
/// Rows and columns of activation quantization.
const QUANTIZED: (usize, usize) = (32, 256);
/// Rows and columns of softmax and norm.
const ROWS: (usize, usize) = (16, 256);

/// Measures every operation.
pub(crate) fn all<K: Kernels>(kernels: K) {
    // What the counting itself adds. `run.sh` insists that it is next to nothing.
    region(K::NAME, "nothing", "-", 1, || {});
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (format, name) in [(WeightFormat::Q4, "matmul-q4"), (WeightFormat::Q8, "matmul-q8")] {
        for (tokens, outputs, inputs) in PRODUCTS {
            let bytes = random.weights(format, K::LAYOUT, outputs, inputs);
            let weights = PackedMatrix::new(format, K::LAYOUT, outputs, inputs, &bytes);
            let weights = weights.expect("random weights have the length of their shape");
            let x = random.numbers(tokens * inputs);
            let mut rows = Rows::new(format, K::LAYOUT, tokens, inputs);
            let mut rows = rows.activations();
            let mut out = vec![0.0; tokens * outputs];
            let shape = format!("{tokens}x{outputs}x{inputs}");
            region(K::NAME, name, &shape, tokens * outputs * inputs, || {
                quantize(kernels, &x, inputs, &mut rows);
                kernels.matmul(&weights, &rows.view(), &mut out);
            });
            black_box(out);
        }
    }
    quantization(kernels, &mut random);
    row_operations(kernels, &mut random);
}

fn quantization<K: Kernels>(kernels: K, random: &mut Random) {
    let (tokens, inputs) = QUANTIZED;
    let x = random.numbers(tokens * inputs);
    let mut rows = Rows::new(WeightFormat::Q4, K::LAYOUT, tokens, inputs);
    let mut rows = rows.activations();
    region(K::NAME, "quantize", &format!("{tokens}x{inputs}"), x.len(), || {
        quantize(kernels, &x, inputs, &mut rows);
    });
    black_box(rows);
}

fn row_operations<K: Kernels>(kernels: K, random: &mut Random) {
    let (rows, cols) = ROWS;
    let shape = format!("{rows}x{cols}");
    let weight = random.numbers(cols);
    let x = random.numbers(rows * cols);
    let mut out = vec![0.0; x.len()];
    region(K::NAME, "rms-norm", &shape, x.len(), || {
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
            rms_norm(kernels, x, &weight, out);
        }
    });
    black_box(out);
    let mut scores = random.numbers(rows * cols);
    region(K::NAME, "softmax", &shape, scores.len(), || {
        for row in scores.chunks_exact_mut(cols) {
            black_box(softmax(kernels, row));
        }
    });
    black_box(scores);
}

/// Memory for quantized activation rows.
struct Rows {
    words: Vec<u32>,
    format: WeightFormat,
    layout: Layout,
    rows: usize,
    groups: usize,
}

impl Rows {
    fn new(format: WeightFormat, layout: Layout, rows: usize, cols: usize) -> Self {
        let groups = cols.div_ceil(GROUP);
        let words = layout.activation_words(rows, groups).expect("few rows");
        Self { words: vec![0; words], format, layout, rows, groups }
    }

    fn activations(&mut self) -> ActivationsMut<'_> {
        ActivationsMut::new(self.format, self.layout, self.rows, self.groups, &mut self.words)
            .expect("as many words as the layout asks for")
    }
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// Numbers in -4..4.
    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() as i32 >> 8) as f32 / (1 << 21) as f32).collect()
    }

    /// A packed matrix.
    fn weights(
        &mut self,
        format: WeightFormat,
        layout: Layout,
        outputs: usize,
        inputs: usize,
    ) -> Vec<u8> {
        let (blocks, groups) = (outputs.div_ceil(BLOCK_ROWS), inputs.div_ceil(GROUP));
        let (weight_bytes, scale_bytes) = layout.block_bytes(format, groups);
        let mut bytes = vec![0; blocks * (weight_bytes + scale_bytes)];
        let (weights, scales) = bytes.split_at_mut(blocks * weight_bytes);
        let mut scales = scales.chunks_mut(scale_bytes.max(1));
        for weights in weights.chunks_mut(weight_bytes) {
            let scales = scales.next().unwrap_or_default();
            for place in (0..BLOCK_ROWS).flat_map(|row| (0..groups).map(move |g| (row, g))) {
                let value = |bits: u32| ((bits >> 24) as u8 as i8).max(-127);
                let run = core::array::from_fn(|_| match format.width() {
                    Width::Byte => value(self.next()),
                    Width::Nibble => value(self.next()) >> 4,
                });
                // Normal numbers of `f16` between 2^-10 and 2^-4.
                let scale = half::f16::from_bits(0x1400 + (self.next() % 0x1800) as u16);
                let scale = GroupScale::Plain(scale);
                layout.write(format, (&mut *weights, &mut *scales), place, &(run, scale));
            }
        }
        bytes
    }
}

// What is called is what the engine calls.

fn quantize<K: Kernels>(kernels: K, x: &[f32], cols: usize, rows: &mut ActivationsMut<'_>) {
    for (row, x) in x.chunks_exact(cols).enumerate() {
        kernels.quantize_row(x, row, rows).expect("random numbers are finite");
    }
}

fn rms_norm<K: Kernels>(kernels: K, x: &[f32], weight: &[f32], out: &mut [f32]) {
    let result = kernels.vectorize(
        #[inline(always)]
        || kernels.rms_norm(x, weight, 1e-5, out),
    );
    result.expect("random numbers are finite");
}

fn softmax<K: Kernels>(kernels: K, scores: &mut [f32]) -> f32 {
    kernels.vectorize(
        #[inline(always)]
        || kernels.exponentiate(scores),
    )
}
