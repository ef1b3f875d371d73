//! What the benchmarks share: operands of matrix products, and the bundled model ready to run.
//!
//! `cargo bench -p demask-benches` runs them, once with each kind of kernels that the processor has;
//! `-- --test` runs each one time only. Results are in `docs/benchmarks.md`.
#![forbid(unsafe_code)]

use demask::image::ModelImage;
use demask::kernels::{Activations, ActivationsMut};
use demask::packed::{BLOCK_ROWS, GROUP, Layout, PackedMatrix, WeightFormat};
use demask::{Engine, Kernels, Limits, Plan, Serial, SessionMemory};
use demask_std::runtime::{HOST_TILE, Memory};

/// The operands of one product `[rows, inputs] * [outputs, inputs]^T`, filled with numbers that a
/// kernel cannot tell from real ones.
pub struct Product {
    format: WeightFormat,
    rows: usize,
    outputs: usize,
    inputs: usize,
    /// In layout [`Layout::Rows16`].
    packed: Vec<u8>,
    /// `[rows, inputs]`
    input: Vec<f32>,
}

impl Product {
    /// Makes operands of these sizes.
    #[must_use]
    pub fn new(format: WeightFormat, rows: usize, outputs: usize, inputs: usize) -> Self {
        let groups = inputs.div_ceil(GROUP);
        let cells = outputs.div_ceil(BLOCK_ROWS) * groups;
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // -128 is the one byte that is not a weight or an activation.
            ((state >> 24) as u8).max(1) ^ 0x80
        };
        let mut packed: Vec<u8> = (0..cells * format.weight_bytes()).map(|_| byte()).collect();
        // f16 0.0078
        packed.extend([0x00, 0x20].repeat(cells * BLOCK_ROWS));
        let input = (0..rows * inputs).map(|_| f32::from(byte() as i8) * 0.01).collect();
        Self { format, rows, outputs, inputs, packed, input }
    }

    /// The packed weights.
    ///
    /// # Panics
    /// Never: the bytes are as many as the sizes need.
    #[must_use]
    pub fn weights(&self) -> PackedMatrix<'_> {
        let (format, layout) = (self.format, Layout::Rows16);
        PackedMatrix::new(format, layout, self.outputs, self.inputs, &self.packed).expect("length")
    }

    /// Quantizes the rows into `words`.
    ///
    /// # Panics
    /// Never: the rows are finite.
    pub fn quantize<'w, K: Kernels>(
        &self,
        kernels: K,
        words: &'w mut Vec<u32>,
    ) -> ActivationsMut<'w> {
        let groups = self.inputs.div_ceil(GROUP);
        words.resize(K::LAYOUT.activation_words(self.rows, groups).expect("few"), 0);
        let mut activations =
            ActivationsMut::new(self.format, K::LAYOUT, self.rows, groups, words).expect("length");
        for (row, x) in self.input.chunks_exact(self.inputs).enumerate() {
            kernels.quantize_row(x, row, &mut activations).expect("finite");
        }
        activations
    }

    /// The product, with rows that are quantized already.
    pub fn multiply<K: Kernels>(&self, kernels: K, input: &Activations<'_>, out: &mut [f32]) {
        kernels.matmul(&self.weights(), input, out);
    }

    /// Multiplications by weights.
    #[must_use]
    pub fn macs(&self) -> u64 {
        (self.rows * self.outputs * self.inputs) as u64
    }

    /// Room for the result.
    #[must_use]
    pub fn output(&self) -> Vec<f32> {
        vec![0.0; self.rows * self.outputs]
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
    let limits = Limits { canvas, tile: HOST_TILE, layout: Layout::Rows16, workers: 1 };
    let plan = Plan::new(image.config(), &limits).expect("the canvas is short");
    *memory = Memory::new(plan.bytes());
    let (for_engine, for_session) = plan.carve(memory.bytes()).expect("as much as planned");
    let engine = Engine::new(image, for_engine, kernels, Serial).expect("the image is packed");
    (engine, for_session)
}
