//! Feed-forward networks: SwiGLU (Shazeer 2020), `down(silu(gate(x)) * up(x))`, and
//! `down(gelu(up(x)))`.

use super::norm::NormInput;
use super::weights::FeedForwardWeights;
use crate::image::FAMILIES;
use crate::kernels::Kernels;
use crate::kernels::scalar::NotFinite;
use crate::math::gelu;
use crate::memory::Scratch;

/// Leaves the output `[input.rows, model_dim]` in `scratch.b`.
pub(crate) fn feed_forward<K: Kernels>(
    kernels: K,
    weights: &FeedForwardWeights<'_>,
    input: NormInput<'_>,
    scratch: &mut Scratch<'_>,
) -> Result<(), NotFinite> {
    let FeedForwardWeights { gate, up, down } = weights;
    let (rows, width) = (input.rows.len(), up.rows().max(1));
    let Scratch { activations, a, b, row, .. } = scratch;
    match gate {
        Some(gate) => {
            let mut x = input.quantize(kernels, gate.format(), row, activations)?;
            x.multiply(kernels, gate, a);
            if up.format() != gate.format() {
                x = input.quantize(kernels, up.format(), row, activations)?;
            }
            x.multiply(kernels, up, b);
        }
        None if FAMILIES => {
            let x = input.quantize(kernels, up.format(), row, activations)?;
            x.multiply(kernels, up, a);
        }
        None => {}
    }
    let mut x = activations.tile(down.format(), rows, width);
    // Row by row: what the function leaves is quantized while it is in the cache.
    let inner = a.chunks_exact_mut(width).take(rows).enumerate();
    match gate {
        None if FAMILIES => {
            for (row, inner) in inner {
                kernels.vectorize(|| inner.iter_mut().for_each(|x| *x = gelu(*x)));
                x.quantize_row(kernels, row, inner)?;
            }
        }
        _ => {
            for ((row, gate), up) in inner.zip(b.chunks_exact(width)) {
                kernels.vectorize(|| kernels.swiglu(gate, up));
                x.quantize_row(kernels, row, gate)?;
            }
        }
    }
    x.multiply(kernels, down, b);
    Ok(())
}
