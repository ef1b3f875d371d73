//! Calibrated rounding takes memory for one layer, however many there are.

mod peak_memory;

use demask::image::{Architecture, Features, ModelConfig, RopePairs, TensorRole};
use demask::packed::Format;
use demask_quant::{BoxError, WeightSource};
use demask_std::calibrate::{
    Formats, Method, Partial, RowWeights, Settings, Setup, Streamed, Text,
};
use std::collections::BTreeMap;
use std::path::Path;

fn config(layers: u32) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llada,
        vocab_size: 40,
        model_dim: 128,
        layers,
        heads: 4,
        kv_heads: 4,
        head_dim: 32,
        ffn_dim: 384,
        context: 48,
        mask_id: 1,
        eos_id: 0,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        rope_pairs: RopePairs::HalfSplit,
        tied_head: true,
        features: Features::PLAIN,
    }
}

/// A model that lies nowhere.
struct Computed;

impl WeightSource for Computed {
    fn read_rows(&self, role: TensorRole, first: usize, out: &mut [f32]) -> Result<(), BoxError> {
        for (i, out) in (first..).zip(out) {
            // No number of 16 bits.
            let wave = (i as f32 * 0.731).sin() * 0.1;
            *out = if role.stays_f32() { 1.0 } else { wave };
        }
        Ok(())
    }
}

/// Bytes that calibration takes beyond those before, with a file for what is done.
fn peak(layers: u32, folder: &Path) -> usize {
    let ids = |seed: u32, count: u32| (0..count).map(|i| 2 + (seed * 7 + i * i) % 38).collect();
    let texts: Vec<Text> =
        (0..4).map(|t| Text { prompt: ids(t, 4), answer: ids(t + 9, 12) }).collect();
    let settings = Settings { canvases: 8, snapshots: 0.5, ..Settings::default() };
    let formats = Formats { layers: Format::Q4, embedding: Format::Q8, chosen: BTreeMap::new() };
    let run = || {
        let setup = Setup::new(config(layers), &Computed, 1);
        let canvases = setup.canvases(&texts, &settings).unwrap();
        let shown = setup.show(canvases, &RowWeights::default()).unwrap();
        let digest = setup.digest(&shown, &formats, Method::Nearest).unwrap();
        let partial = Partial::open(&folder.join(format!("{layers}")), digest, &setup.config);
        let mut layered = setup.layered(&shown, &formats, Method::Nearest, Some(partial.unwrap()));
        let done = layered.run(&shown.rows.head, &mut |_| {}).unwrap();
        assert_eq!(done.len(), 7 * layers as usize + 1);
        let distributions = setup.distributions(&shown.canvases).unwrap();
        let weights = &layered.weights;
        let stored = |role, first, out: &mut [f32]| weights.read_stored(role, first, out);
        distributions.against_float(&Streamed::new(setup.config, stored)).unwrap().mean
    };
    let (divergence, peak) = peak_memory::peak_of(run);
    assert!(divergence > 0.0, "rounding changes nothing");
    peak
}

#[test]
fn memory_does_not_grow_with_layers() {
    let folder = tempfile::tempdir().unwrap();
    let layer = 4 * (4 * 128 * 128 + 3 * 128 * 384);
    let (two, twelve) = (peak(2, folder.path()), peak(12, folder.path()));
    assert!(two > layer, "{two} bytes cannot hold a layer of {layer}");
    assert!(twelve < two + layer / 4, "{twelve} bytes for 12 layers, {two} for 2 of {layer}");
}
