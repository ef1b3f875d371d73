//! SwiGLU feed-forward network (Shazeer 2020): `down(silu(gate(x)) * up(x))`.

use super::norm::NormInput;
use super::weights::LayerWeights;
use crate::kernels::Kernels;
use crate::kernels::scalar::NotFinite;
use crate::memory::Scratch;

/// Leaves the output `[input.rows, model_dim]` in `scratch.b`.
pub(crate) fn feed_forward<K: Kernels>(
    kernels: K,
    weights: &LayerWeights<'_>,
    input: NormInput<'_>,
    scratch: &mut Scratch<'_>,
) -> Result<(), NotFinite> {
    let hidden = weights.gate.rows();
    let Scratch { activations, a, b, row, .. } = scratch;
    let mut x = input.quantize(kernels, weights.gate.format(), row, activations)?;
    x.multiply(kernels, &weights.gate, a);
    if weights.up.format() != weights.gate.format() {
        x = input.quantize(kernels, weights.up.format(), row, activations)?;
    }
    x.multiply(kernels, &weights.up, b);
    let rows = input.rows.len();
    let mut x = activations.tile(weights.down.format(), rows, hidden);
    let gates = a.chunks_exact_mut(hidden.max(1)).take(rows);
    // Row by row: what the gate leaves is quantized while it is in the cache.
    for (row, (gate, up)) in gates.zip(b.chunks_exact(hidden.max(1))).enumerate() {
        kernels.vectorize(|| kernels.swiglu(gate, up));
        x.quantize_row(kernels, row, gate)?;
    }
    x.multiply(kernels, &weights.down, b);
    Ok(())
}
