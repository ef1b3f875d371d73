//! Calibrated rounding takes memory for one layer, however many there are.

mod noise;
mod peak_memory;

use demask::image::ModelConfig;
use demask::packed::Format;
use demask_std::calibrate::{
    Formats, Method, Partial, RowWeights, Settings, Setup, Streamed, Text,
};
use noise::{CONFIG, Noise};
use std::collections::BTreeMap;
use std::path::Path;

const fn config(layers: u32) -> ModelConfig {
    ModelConfig {
        model_dim: 128,
        layers,
        heads: 4,
        kv_heads: 4,
        head_dim: 32,
        ffn_dim: 384,
        ..CONFIG
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
        let weights = Noise(config(layers));
        let setup = Setup::new(weights.0, &weights, 1);
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
