//! A model of random weights, of the size of real ones for small devices: what it says means
//! nothing, what it costs does.

use demask::image::{Architecture, Features, ModelConfig, RopePairs, TensorRole};
use demask::packed::Format;
use demask_quant::{BoxError, Quantization, Sections, WeightSource, write_image};
use std::fs::{File, rename};
use std::io::BufWriter;
use std::path::Path;

/// LLaDA with 448 million parameters. `peers/random_gguf.py` has the same numbers.
pub const EDGE: ModelConfig = ModelConfig {
    architecture: Architecture::Llada,
    vocab_size: 32000,
    model_dim: 896,
    layers: 24,
    heads: 14,
    kv_heads: 14,
    head_dim: 64,
    ffn_dim: 4864,
    context: 2048,
    mask_id: 31997,
    eos_id: 31996,
    rope_theta: 500_000.0,
    norm_eps: 1e-5,
    rope_pairs: RopePairs::Adjacent,
    tied_head: false,
    features: Features::PLAIN,
};

/// Uniform weights that keep the size of a row; norms of 1.
struct Random;

impl WeightSource for Random {
    fn read_rows(&self, role: TensorRole, row: usize, out: &mut [f32]) -> Result<(), BoxError> {
        if role.stays_f32() {
            out.fill(1.0);
            return Ok(());
        }
        let (_, cols) = role.shape(&EDGE);
        let scale = (3.0 / cols as f32).sqrt() / (1 << 23) as f32;
        let (code, layer) = role.code();
        for (row, out) in (row as u32..).zip(out.chunks_exact_mut(cols)) {
            // Each row is a sequence of its own: pieces are asked for in any order.
            let mut state =
                row.wrapping_mul(0x9E37_79B9) ^ u32::from(code) << 16 ^ u32::from(layer);
            for x in out {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *x = ((state as i32) >> 8) as f32 * scale;
            }
        }
        Ok(())
    }
}

/// Writes the [`EDGE`] model to `path`, unless there is such a file.
///
/// # Errors
/// Whatever keeps the file from being written.
pub fn write_edge(format: Format, path: &Path) -> Result<(), BoxError> {
    if path.exists() {
        return Ok(());
    }
    let unfinished = path.with_extension("unfinished");
    let sections =
        Sections { config: EDGE, tokenizer: None, prompt: None, filter: None, security_counter: 0 };
    let quantization = Quantization::uniform(format);
    let mut out = BufWriter::new(File::create(&unfinished)?);
    write_image(&sections, quantization, &Random, &mut out, 1, &mut |_| ())?;
    drop(out);
    Ok(rename(unfinished, path)?)
}
