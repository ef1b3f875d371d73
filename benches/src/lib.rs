//! What the benchmarks share: operands of matrix products, and the bundled model ready to run.
//!
//! `cargo bench -p demask-benches` runs them, once with each kind of kernels that the processor has;
//! `-- --test` runs each one time only. Results are in `docs/benchmarks.md`.
#![forbid(unsafe_code)]

use demask::image::ModelImage;
use demask::kernels::Activations;
use demask::packed::{BLOCK_ROWS, GROUP, PackedMatrix, WeightFormat};
use demask::{Engine, Kernels, Limits, Plan, Serial, SessionMemory};
use demask_std::runtime::{HOST_TILE, Memory};

/// The operands of one product `[rows, inputs] * [outputs, inputs]^T`, filled with numbers that a
/// kernel cannot tell from real ones.
pub struct Product {
    format: WeightFormat,
    outputs: usize,
    inputs: usize,
    packed: Vec<u8>,
    values: Vec<i8>,
    scales: Vec<f32>,
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
        let values = (0..rows * groups * GROUP).map(|_| byte() as i8).collect();
        Self { format, outputs, inputs, packed, values, scales: vec![0.01; rows * groups] }
    }

    /// The packed weights.
    ///
    /// # Panics
    /// Never: the bytes are as many as the sizes need.
    #[must_use]
    pub fn weights(&self) -> PackedMatrix<'_> {
        PackedMatrix::new(self.format, self.outputs, self.inputs, &self.packed).expect("length")
    }

    /// The quantized rows.
    #[must_use]
    pub fn activations(&self) -> Activations<'_> {
        Activations::new(self.inputs.div_ceil(GROUP), &self.values, &self.scales)
    }

    /// Multiplications by weights.
    #[must_use]
    pub fn macs(&self) -> u64 {
        (self.activations().rows() * self.outputs * self.inputs) as u64
    }

    /// Room for the result.
    #[must_use]
    pub fn output(&self) -> Vec<f32> {
        vec![0.0; self.activations().rows() * self.outputs]
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
    let limits = Limits { canvas, tile: HOST_TILE, workers: 1 };
    let plan = Plan::new(image.config(), &limits).expect("the canvas is short");
    *memory = Memory::new(plan.bytes());
    let (for_engine, for_session) = plan.carve(memory.bytes()).expect("as much as planned");
    let engine = Engine::new(image, for_engine, kernels, Serial).expect("the image is packed");
    (engine, for_session)
}
