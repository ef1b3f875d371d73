//! What the benchmarks share: operands of matrix products, models ready to run, and a clock.
//!
//! `cargo bench -p demask-benches` runs those that compare demask with itself, once with each kind of
//! kernels that the processor has; `-- --test` runs each one time only. The programs in `src/bin`
//! compare it with others and count instructions. Results are in `docs/benchmarks.md`.
#![forbid(unsafe_code)]

pub mod clock;
pub mod opened;
pub mod random;

use demask::decode::Needs;
use demask::image::ModelImage;
use demask::kernels::ActivationsMut;
use demask::packed::{BLOCK_ROWS, GROUP, Layout, PackedMatrix, WeightFormat};
use demask::{Engine, Kernels, Limits, Plan, Serial, SessionMemory};
use demask_std::runtime::{HOST_TILE, Memory};

/// The operands of one product `[rows, inputs] * [outputs, inputs]^T`, filled with numbers that a
/// kernel cannot tell from real ones, and room for everything between them and the result.
pub struct Product {
    format: WeightFormat,
    rows: usize,
    outputs: usize,
    inputs: usize,
    /// In layout [`Layout::Rows16`], and repacked for kernels that read another one.
    packed: Vec<u8>,
    layout: Layout,
    x: Vec<f32>,
    words: Vec<u32>,
    out: Vec<f32>,
}

impl Product {
    /// Makes operands of these sizes; Q4K needs inputs in multiples of 256.
    #[must_use]
    pub fn new(format: WeightFormat, rows: usize, outputs: usize, inputs: usize) -> Self {
        let groups = inputs.div_ceil(GROUP);
        let cells = outputs.div_ceil(BLOCK_ROWS) * groups;
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // -128 is the one byte that is not a weight.
            ((state >> 24) as u8).max(1) ^ 0x80
        };
        let mut packed: Vec<u8> = (0..cells * format.weight_bytes()).map(|_| byte()).collect();
        if format.is_affine() {
            for _ in 0..cells / 8 {
                // Two f16 per row, 0.00012 and 0.00098; then scales and minima of eight groups.
                packed.extend(
                    [[0x00, 0x08].repeat(BLOCK_ROWS), [0x00, 0x14].repeat(BLOCK_ROWS)].concat(),
                );
                packed.extend((0..8 * 2 * BLOCK_ROWS).map(|_| byte() & 63));
            }
        } else {
            // f16 0.0078
            packed.extend([0x00, 0x20].repeat(cells * BLOCK_ROWS));
        }
        let x = (0..rows * inputs).map(|_| f32::from(byte() as i8) / 64.0).collect();
        Self {
            format,
            rows,
            outputs,
            inputs,
            packed,
            layout: Layout::Rows16,
            x,
            words: Vec::new(),
            out: vec![0.0; rows * outputs],
        }
    }

    /// Quantizes the rows and multiplies them by the weights, as the engine does; returns the
    /// product, `[rows, outputs]`.
    ///
    /// # Panics
    /// Never: the bytes are as many as the sizes need, and the rows are finite.
    pub fn multiply<K: Kernels>(&mut self, kernels: K) -> &[f32] {
        self.pack_for::<K>();
        quantize(kernels, self.format, self.inputs, &self.x, &mut self.words);
        let (rows, groups) = (self.rows, self.inputs.div_ceil(GROUP));
        let input = ActivationsMut::new(self.format, K::LAYOUT, rows, groups, &mut self.words);
        let weights =
            PackedMatrix::new(self.format, self.layout, self.outputs, self.inputs, &self.packed);
        let (input, weights) =
            (input.expect("just made"), weights.expect("as many bytes as needed"));
        kernels.matmul(&weights, &input.view(), &mut self.out);
        &self.out
    }

    /// The first half of [`multiply`](Self::multiply).
    pub fn quantize<K: Kernels>(&mut self, kernels: K) {
        quantize(kernels, self.format, self.inputs, &self.x, &mut self.words);
    }

    /// Packs the weights for other kernels, the first time they are used.
    fn pack_for<K: Kernels>(&mut self) {
        if self.layout == K::LAYOUT || K::READS_ANY_LAYOUT {
            return;
        }
        let (outputs, inputs) = (self.outputs, self.inputs);
        let mut packed = vec![0; self.packed.len()];
        let weights = PackedMatrix::new(self.format, self.layout, outputs, inputs, &self.packed);
        let weights = weights.expect("as many bytes as needed");
        assert!(weights.repack(K::LAYOUT, &mut packed), "as long in every layout");
        (self.packed, self.layout) = (packed, K::LAYOUT);
    }

    /// Multiplications by weights.
    #[must_use]
    pub fn macs(&self) -> u64 {
        (self.rows * self.outputs * self.inputs) as u64
    }
}

/// Quantizes the rows of `x` into `words`.
fn quantize<K: Kernels>(
    kernels: K,
    format: WeightFormat,
    inputs: usize,
    x: &[f32],
    words: &mut Vec<u32>,
) {
    let (rows, groups) = (x.len() / inputs, inputs.div_ceil(GROUP));
    words.resize(K::LAYOUT.activation_words(rows, groups).expect("few rows"), 0);
    let mut into =
        ActivationsMut::new(format, K::LAYOUT, rows, groups, words).expect("as many as needed");
    for (row, x) in x.chunks_exact(inputs).enumerate() {
        kernels.quantize_row(x, row, &mut into).expect("the rows are finite");
    }
}

/// The format called `name`.
#[must_use]
pub fn format_named(name: &str) -> Option<WeightFormat> {
    match name {
        "q4" => Some(WeightFormat::Q4),
        "q8" => Some(WeightFormat::Q8),
        "q4k" => Some(WeightFormat::Q4K),
        _ => None,
    }
}

/// The engine and the session memory for canvases of up to `canvas` tokens, on one thread.
///
/// # Panics
/// If the model cannot be run, which is a mistake in the benchmark.
pub fn engine<'a, K: Kernels>(
    image: &ModelImage<'a>,
    kernels: K,
    canvas: usize,
    memory: &'a mut Memory,
) -> (Engine<'a, K, Serial>, SessionMemory<'a>) {
    let limits =
        Limits { canvas, tile: HOST_TILE, layout: image.layout(), workers: 1, needs: Needs::NONE };
    let plan = Plan::new(image.config(), &limits).expect("the canvas is short");
    *memory = Memory::new(plan.bytes());
    let (for_engine, for_session) = plan.carve(memory.bytes()).expect("as much as planned");
    let engine = Engine::new(image, for_engine, kernels, Serial).expect("the image is packed");
    (engine, for_session)
}
