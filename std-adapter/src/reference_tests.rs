use super::*;

use std::path::{Path, PathBuf};

use ::safetensors::SafeTensors;
use demask::image::{Architecture, Features, RopePairs};

use super::linear::dot;

fn config() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llada,
        vocab_size: 11,
        model_dim: 12,
        layers: 2,
        heads: 3,
        kv_heads: 1,
        head_dim: 4,
        ffn_dim: 10,
        context: 8,
        mask_id: 1,
        eos_id: 0,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        rope_pairs: RopePairs::HalfSplit,
        tied_head: false,
        features: Features::PLAIN,
    }
}

/// Numbers in -0.5..0.5 from a multiplicative hash.
fn noise(role: TensorRole, i: usize) -> f32 {
    let (code, layer) = role.code();
    let seed = (u64::from(code) << 40) | (u64::from(layer) << 32) | i as u64;
    let mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (seed << 7);
    (mixed.wrapping_mul(0xd134_2543_de82_ef95) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
}

/// A small random model; with `swap`, q and k rows stand in the order of adjacent pairs.
fn model(swap: bool) -> ReferenceModel {
    let mut config = config();
    if swap {
        config.rope_pairs = RopePairs::Adjacent;
    }
    let (cols, head) = (config.model_dim as usize, config.head_dim as usize);
    let read = |role, rows: Range<usize>, out: &mut [f32]| {
        let permuted = swap && matches!(role, TensorRole::Query(_) | TensorRole::Key(_));
        for (r, row) in rows.zip(out.chunks_exact_mut(role.shape(&config).1)) {
            // Row 2 i + h of a head is row i + h * half of the half-split order.
            let within = if permuted { r % head / 2 + r % 2 * head / 2 } else { r % head };
            let source = (r / head * head + within) * cols;
            row.iter_mut().enumerate().for_each(|(i, v)| *v = noise(role, source + i));
        }
        Ok::<_, ()>(())
    };
    ReferenceModel::from_rows(config, read).unwrap()
}

#[test]
fn both_pairings_compute_the_same_model() {
    let ids = [3, 1, 4, 1, 5, 9];
    let rows = [5, 0, 2];
    let half_split = model(false).logits(&ids, &rows).unwrap();
    let adjacent = model(true).logits(&ids, &rows).unwrap();
    assert_eq!(half_split.len(), 3 * 11);
    assert!(half_split.iter().any(|v| v.abs() > 0.1));
    let difference = max_difference(&half_split, &adjacent);
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn wanted_rows_are_rows_of_the_whole() {
    let (model, ids) = (model(false), [3, 1, 4, 1, 5, 9]);
    let all = model.logits(&ids, &[0, 1, 2, 3, 4, 5]).unwrap();
    assert_eq!(model.logits(&ids, &[4, 1]).unwrap(), [&all[44..55], &all[11..22]].concat());
    assert!(model.logits(&ids, &[]).unwrap().is_empty());
}

#[test]
fn layers_one_by_one_are_the_model_and_show_the_input_of_every_projection() {
    use TensorRole::{AttentionOutput, Down, Gate, Query};
    let (model, ids) = (model(false), [3, 1]);
    let mut x = model.embed(&ids).unwrap();
    // As `model` reads.
    let read = |role: TensorRole, rows: Range<usize>, out: &mut [f32]| {
        for (r, row) in rows.zip(out.chunks_exact_mut(role.shape(&model.config).1)) {
            let start = r * model.config.model_dim as usize;
            row.iter_mut().enumerate().for_each(|(i, v)| *v = noise(role, start + i));
        }
        Ok::<_, ()>(())
    };
    for l in 0..model.config.layers {
        let layer = ReferenceLayer::from_rows(model.config, l, read).unwrap();
        let (mut seen, mut half_done) = (Vec::new(), x.clone());
        let whole = layer.run(&mut x, &mut |role, x| {
            seen.push((role, x.len()));
            CONTINUE
        });
        assert!(whole.is_continue());
        assert_eq!(seen, [(Query(l), 24), (AttentionOutput(l), 24), (Gate(l), 24), (Down(l), 20)]);
        let mut last = None;
        let stopped = layer.run(&mut half_done, &mut |role, _| {
            last = Some(role);
            if role == Gate(l) { ControlFlow::Break(()) } else { CONTINUE }
        });
        assert!(stopped.is_break() && last == Some(Gate(l)) && half_done != x);
    }
    let norm = ReferenceNorm::from_rows(model.config, read).unwrap();
    assert_eq!(norm.apply(&x), model.hidden(&ids).unwrap());
}

#[test]
fn refuses_canvases_that_do_not_fit() {
    let mut model = model(false);
    assert_eq!(model.hidden(&[]), Err(ReferenceError::Empty));
    let long = ReferenceError::TooLong { rows: 9, context: 8 };
    assert_eq!(model.hidden(&[0; 9]), Err(long));
    let id = ReferenceError::TokenId { position: 1, id: 11, vocab_size: 11 };
    assert_eq!(model.hidden(&[10, 11]), Err(id));
    assert_eq!(model.logits(&[1], &[1]), Err(ReferenceError::Row { row: 1, rows: 1 }));
    model.embedding.set(3 * 12, f32::NAN);
    let row = model.hidden(&[1, 3]).unwrap_err();
    assert!(matches!(row, ReferenceError::NotFinite { position: 0 }), "{row}");
}

/// The value does not depend on the tile that an output falls into.
#[test]
fn linear_is_exact_per_output() {
    for (rows, cols, outs) in [(1, 1, 1), (17, 9, 3), (2, 40, 5), (33, 7, 35)] {
        let value = |i: usize| noise(TensorRole::Head, i) * 3.0;
        let x: Vec<f32> = (0..rows * cols).map(value).collect();
        let w: Vec<f32> = (0..outs * cols).map(|i| value(i + 999)).collect();
        let read = |rows: Range<usize>, out: &mut [f32]| {
            out.copy_from_slice(&w[rows.start * cols..rows.end * cols]);
            Ok::<_, ()>(())
        };
        let out = linear(&x, &Matrix::read((outs, cols), read).unwrap());
        for (r, x) in x.chunks(cols).enumerate() {
            for (o, w) in w.chunks(cols).enumerate() {
                assert_eq!(out[r * outs + o], dot(x, w));
                let exact: f64 = x.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                assert!((f64::from(dot(x, w)) - exact).abs() < 1e-5);
            }
        }
    }
}

/// The bundled data of a development checkout; `None`, loudly, where there is none.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} does not exist", path.display());
        return None;
    }
    Some(path)
}

fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    bytes.as_chunks().0.iter().copied()
}

/// Largest difference to the canvases and logits of a file of golden vectors.
fn difference_to_golden(folder: &Path) -> f32 {
    let model = ReferenceModel::from_folder(&HfFolder::open(folder).unwrap()).unwrap();
    let bytes = std::fs::read(folder.join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let mut worst = 0.0f32;
    let cases = golden.names().into_iter().filter_map(|name| name.strip_suffix(".ids"));
    for case in cases {
        let tensor = |part: &str| golden.tensor(&format!("{case}.{part}")).unwrap();
        let ids: Vec<u32> = words(tensor("ids").data()).map(u32::from_le_bytes).collect();
        let expected: Vec<f32> = words(tensor("logits").data()).map(f32::from_le_bytes).collect();
        let wanted: Vec<usize> = (0..ids.len()).collect();
        let difference = max_difference(&model.logits(&ids, &wanted).unwrap(), &expected);
        eprintln!(
            "{} {case}: {} rows, max |difference| {difference:e}",
            folder.display(),
            ids.len()
        );
        worst = worst.max(difference);
    }
    worst
}

#[test]
fn agrees_with_pytorch_on_the_intents_model() {
    let Some(folder) = shared("models/intents") else { return };
    let worst = difference_to_golden(&folder);
    assert!(worst <= 2e-4, "{worst:e}");
}
