//! SwiGLU feed-forward network (Shazeer 2020): `down(silu(gate(x)) * up(x))`.

use super::weights::LayerWeights;
use crate::kernels::Kernels;
use crate::kernels::scalar::NotFinite;
use crate::math::silu;
use crate::memory::Scratch;

/// Reads the normalized rows from the activation buffer, leaves the output `[rows, model_dim]` in
/// `scratch.b`.
pub(crate) fn feed_forward<K: Kernels>(
    kernels: K,
    weights: &LayerWeights<'_>,
    rows: usize,
    scratch: &mut Scratch<'_>,
) -> Result<(), NotFinite> {
    let hidden = weights.gate.rows();
    scratch.activations.multiply(kernels, rows, &weights.gate, scratch.a);
    scratch.activations.multiply(kernels, rows, &weights.up, scratch.b);
    let gate = scratch.a.get_mut(..rows * hidden).unwrap_or_default();
    kernels.vectorize(|| {
        for (gate, up) in gate.iter_mut().zip(scratch.b.iter()) {
            *gate = silu(*gate) * up;
        }
        scratch.activations.quantize_rows(gate, hidden)
    })?;
    scratch.activations.multiply(kernels, rows, &weights.down, scratch.b);
    Ok(())
}
