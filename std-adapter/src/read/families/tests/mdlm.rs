//! MDLM and BD3-LM: what is folded in must give what the published code computes.

use demask::image::{Architecture, Attention, Features, FeedForward, Norm};

use super::*;

/// The fields of kuleshov-group/mdlm-owt, with smaller numbers.
fn mdlm() -> Value {
    json!({
        "architectures": ["MDLM"], "model_type": "mdlm", "cond_dim": 6, "dropout": 0.1,
        "hidden_dim": 4, "model_length": 1024, "n_blocks": 2, "n_heads": 2,
        "time_conditioning": false, "vocab_size": 9,
    })
}

/// The fields of kuleshov-group/bd3lm-owt-block_size4, with smaller numbers.
fn bd3lm() -> Value {
    let more = json!({"architectures": ["BD3LM"], "model_type": "bd3lm", "block_size": 4,
        "cross_attn": true, "adaln": true, "attn_backend": "flex", "causal": false,
        "var_min": true, "sampling_eps_min": 1e-3, "sampling_eps_max": 0.999});
    with(&mdlm(), more)
}

const PLAIN: [(&str, &[usize]); 12] = [
    ("backbone.vocab_embed.embedding", &[9, 4]),
    ("backbone.rotary_emb.inv_freq", &[1]),
    ("backbone.blocks.LAYER.norm1.weight", &[4]),
    ("backbone.blocks.LAYER.attn_qkv.weight", &[12, 4]),
    ("backbone.blocks.LAYER.attn_out.weight", &[4, 4]),
    ("backbone.blocks.LAYER.norm2.weight", &[4]),
    ("backbone.blocks.LAYER.mlp.0.weight", &[16, 4]),
    ("backbone.blocks.LAYER.mlp.0.bias", &[16]),
    ("backbone.blocks.LAYER.mlp.2.weight", &[4, 16]),
    ("backbone.blocks.LAYER.mlp.2.bias", &[4]),
    ("backbone.output_layer.norm_final.weight", &[4]),
    ("backbone.output_layer.linear.weight", &[9, 4]),
];
const HEAD_BIAS: (&str, &[usize]) = ("backbone.output_layer.linear.bias", &[9]);

const MODULATION: [(&str, &[usize]); 8] = [
    ("backbone.sigma_map.mlp.0.weight", &[6, 256]),
    ("backbone.sigma_map.mlp.0.bias", &[6]),
    ("backbone.sigma_map.mlp.2.weight", &[6, 6]),
    ("backbone.sigma_map.mlp.2.bias", &[6]),
    ("backbone.blocks.LAYER.adaLN_modulation.weight", &[24, 6]),
    ("backbone.blocks.LAYER.adaLN_modulation.bias", &[24]),
    ("backbone.output_layer.adaLN_modulation.weight", &[8, 6]),
    ("backbone.output_layer.adaLN_modulation.bias", &[8]),
];

fn modulated() -> Shapes {
    shapes(&[&PLAIN[..], &MODULATION, &[HEAD_BIAS]].concat())
}

fn linear(name: &str, x: &[f64], outputs: usize) -> Vec<f64> {
    let weights = numbers(&format!("{name}.weight"), outputs * x.len());
    let bias = numbers(&format!("{name}.bias"), outputs);
    let row = |row: usize| {
        let weights = &weights[row * x.len()..][..x.len()];
        weights.iter().zip(x).fold(f64::from(bias[row]), |sum, (w, x)| sum + f64::from(*w) * x)
    };
    (0..outputs).map(row).collect()
}

fn silu(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|x| x / (1.0 + (-x).exp())).collect()
}

/// The runs of four values that the published code computes at noise level `sigma`.
fn runs(name: &str, sigma: f64, count: usize) -> Vec<Vec<f64>> {
    let angle = |i: usize| sigma * (-(10_000f64.ln()) * i as f64 / 128.0).exp();
    let level: Vec<f64> =
        (0..256).map(|i| if i < 128 { angle(i).cos() } else { angle(i - 128).sin() }).collect();
    let c = silu(linear("backbone.sigma_map.mlp.0", &level, 6));
    let c = silu(linear("backbone.sigma_map.mlp.2", &c, 6));
    linear(name, &c, 4 * count).chunks(4).map(<[f64]>::to_vec).collect()
}

fn close(found: &[f32], expected: impl IntoIterator<Item = f64>) {
    let expected: Vec<f64> = expected.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= 1e-6 * expected.abs().max(1.0), "{found} is not {expected}");
    }
}

/// `x W^T` for a matrix of `rows`.
fn product(matrix: &[f32], rows: usize, x: &[f64]) -> Vec<f64> {
    let cols = matrix.len() / rows;
    let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
    matrix.chunks(cols).map(dot).collect()
}

#[test]
fn folds_the_modulation_into_norms_and_projections() {
    for config in [mdlm(), bd3lm()] {
        let folder = open(&config, &modulated()).unwrap();
        let stored = |name: &str, count| numbers(&format!("backbone.{name}"), count);
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
        for layer in 0..2 {
            let block = format!("blocks.{layer}");
            let name = format!("backbone.{block}.adaLN_modulation");
            let [shift1, scale1, gate1, shift2, scale2, gate2] =
                runs(&name, 0.0, 6).try_into().unwrap();
            for (norm, bias, stored_name, shift, scale) in [
                (
                    TensorRole::AttentionNorm(layer),
                    TensorRole::AttentionNormBias(layer),
                    "norm1",
                    &shift1,
                    &scale1,
                ),
                (
                    TensorRole::FfnNorm(layer),
                    TensorRole::FfnNormBias(layer),
                    "norm2",
                    &shift2,
                    &scale2,
                ),
            ] {
                let weight = wide(stored(&format!("{block}.{stored_name}.weight"), 4));
                let folded = weight.iter().zip(scale).map(|(w, s)| w * (1.0 + s));
                close(&read(&folder, norm), folded);
                close(&read(&folder, bias), shift.clone());
            }
            // A gate multiplies what a projection adds to the residual stream.
            let x = [0.5, -1.0, 0.25, 2.0];
            let matrix = stored(&format!("{block}.attn_out.weight"), 16);
            let expected = product(&matrix, 4, &x).into_iter().zip(&gate1).map(|(y, g)| y * g);
            let found = product(&read(&folder, TensorRole::AttentionOutput(layer)), 4, &x);
            close(&found.iter().map(|y| *y as f32).collect::<Vec<_>>(), expected);
            let x: Vec<f64> = (0..16).map(|i| f64::from(i) / 8.0 - 1.0).collect();
            let matrix = stored(&format!("{block}.mlp.2.weight"), 64);
            let bias = wide(stored(&format!("{block}.mlp.2.bias"), 4));
            let plain = product(&matrix, 4, &x).into_iter().zip(bias).map(|(y, b)| y + b);
            let expected = plain.zip(&gate2).map(|(y, g)| y * g);
            let folded_bias = read(&folder, TensorRole::DownBias(layer));
            let found = product(&read(&folder, TensorRole::Down(layer)), 4, &x);
            let found = found.iter().zip(&folded_bias).map(|(y, b)| (y + f64::from(*b)) as f32);
            close(&found.collect::<Vec<_>>(), expected);
            // The rest is as it was.
            let fused = stored(&format!("{block}.attn_qkv.weight"), 48);
            assert_eq!(read(&folder, TensorRole::Query(layer)), fused[..16]);
            assert_eq!(read(&folder, TensorRole::Key(layer)), fused[16..32]);
            assert_eq!(read(&folder, TensorRole::Value(layer)), fused[32..]);
            let mlp = format!("backbone.{block}.mlp.0");
            is_stored_as(&folder, TensorRole::Up(layer), &format!("{mlp}.weight"));
            is_stored_as(&folder, TensorRole::UpBias(layer), &format!("{mlp}.bias"));
        }
        let [shift, scale] =
            runs("backbone.output_layer.adaLN_modulation", 0.0, 2).try_into().unwrap();
        let weight = wide(stored("output_layer.norm_final.weight", 4));
        let folded = weight.iter().zip(scale).map(|(w, s)| w * (1.0 + s));
        close(&read(&folder, TensorRole::OutputNorm), folded);
        close(&read(&folder, TensorRole::OutputNormBias), shift);
        is_stored_as(&folder, TensorRole::Embedding, "backbone.vocab_embed.embedding");
        is_stored_as(&folder, TensorRole::Head, "backbone.output_layer.linear.weight");
        is_stored_as(&folder, TensorRole::HeadBias, "backbone.output_layer.linear.bias");
    }
}

#[test]
fn reads_both_configurations() {
    let features = Features {
        norm: Norm::Layer,
        feed_forward: FeedForward::Gelu,
        head_bias: true,
        ..Features::PLAIN
    };
    let folder = open(&mdlm(), &modulated()).unwrap();
    let m = &folder.config().model;
    assert_eq!((m.architecture, m.features), (Architecture::Mdlm, features));
    // GPT-2's last token, and the mask behind it.
    assert_eq!((m.eos_id, m.mask_id, m.vocab_size), (7, 8, 9));
    assert_eq!((m.ffn_dim, m.context, m.rope_theta, m.norm_eps), (16, 1024, 10_000.0, 1e-5));
    assert_eq!((m.head_dim, m.kv_heads, m.tied_head), (2, 2, false));
    let given = json!({"mask_token_id": 3, "eos_token_id": 2});
    let folder = open(&with(&mdlm(), given), &modulated()).unwrap();
    assert_eq!((folder.config().model.eos_id, folder.config().model.mask_id), (2, 3));

    let folder = open(&bd3lm(), &modulated()).unwrap();
    let m = &folder.config().model;
    let blocks = Features { attention: Attention::BlockCausal(4), ..features };
    assert_eq!((m.architecture, m.features), (Architecture::Bd3lm, blocks));
    assert_eq!(folder.config().generation.block_length, Some(4));
    // Without cross attention their mask is no mask, whatever the block size.
    let whole = with(&bd3lm(), json!({"cross_attn": false, "block_size": 1024}));
    let folder = open(&whole, &modulated()).unwrap();
    assert_eq!(folder.config().model.features, features);
}

/// Checkpoints without a modulation have plain norms without a bias.
#[test]
fn reads_a_bd3lm_without_modulation() {
    let config = with(&bd3lm(), json!({"adaln": false, "time_conditioning": true}));
    let names = [&PLAIN[..], &[HEAD_BIAS, ("sampling_eps_min", &[]), ("sampling_eps_max", &[])]];
    let folder = open(&config, &shapes(&names.concat())).unwrap();
    is_stored_as(&folder, TensorRole::FfnNorm(1), "backbone.blocks.1.norm2.weight");
    is_stored_as(&folder, TensorRole::Down(1), "backbone.blocks.1.mlp.2.weight");
    assert_eq!(read(&folder, TensorRole::FfnNormBias(1)), [0.0; 4]);
    assert_eq!(folder.stored_type(TensorRole::FfnNormBias(1)).unwrap().name(), "F32");
    let error = open(&config, &modulated()).unwrap_err().to_string();
    assert!(error.contains("adaLN_modulation"), "{error}");
}

#[test]
fn refuses_other_options_by_name() {
    for config in [mdlm(), bd3lm()] {
        for (field, value) in [
            ("time_conditioning", json!(true)),
            ("time_conditioning", json!("no")),
            ("cond_dim", json!(null)),
            ("hidden_dim", json!(6)),
            ("hidden_dim", json!(5)),
            ("n_blocks", json!(0)),
            ("model_length", json!(null)),
            ("mask_token_id", json!(9)),
            ("eos_token_id", json!(8)),
            ("rope_scaling", json!({"type": "linear", "factor": 2.0})),
        ] {
            refuses(&config, field, value);
        }
    }
    refuses(&bd3lm(), "causal", json!(true));
    refuses(&bd3lm(), "block_size", json!(null));
    let learned = with(&mdlm(), json!({"time_conditioning": true}));
    let error = open(&learned, &Shapes::new()).unwrap_err().to_string();
    assert!(error.contains("learned time conditioning"), "{error}");
}
