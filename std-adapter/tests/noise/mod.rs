//! A model that lies nowhere: its weights are computed when they are read.

use demask::image::{Architecture, Features, ModelConfig, RopePairs, TensorRole};
use demask_quant::{BoxError, WeightSource};

/// A small shape.
pub(crate) const CONFIG: ModelConfig = ModelConfig {
    architecture: Architecture::Llada,
    vocab_size: 40,
    model_dim: 32,
    layers: 2,
    heads: 2,
    kv_heads: 1,
    head_dim: 16,
    ffn_dim: 64,
    context: 48,
    mask_id: 1,
    eos_id: 0,
    rope_theta: 10_000.0,
    norm_eps: 1e-5,
    rope_pairs: RopePairs::HalfSplit,
    tied_head: true,
    features: Features::PLAIN,
};

/// A model of this shape, made of random numbers.
pub(crate) struct Noise(pub(crate) ModelConfig);

impl WeightSource for Noise {
    fn read_rows(&self, role: TensorRole, first: usize, out: &mut [f32]) -> Result<(), BoxError> {
        let (code, layer) = role.code();
        let start = first * role.shape(&self.0).1;
        for (i, out) in (start..).zip(out) {
            let seed = (u64::from(code) << 40) | (u64::from(layer) << 32) | i as u64;
            let mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (seed << 7);
            let mixed = mixed.wrapping_mul(0xd134_2543_de82_ef95) >> 40;
            let noise = mixed as f32 / (1u64 << 24) as f32 - 0.5;
            *out = if role.stays_f32() { 1.0 + 0.4 * noise } else { noise };
        }
        Ok(())
    }
}
