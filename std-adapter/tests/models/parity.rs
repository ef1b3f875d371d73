//! Every model family against an independent forward pass: the folders in `fixtures`, whose logits
//! numpy computed in double precision straight from the stored tensors, see `fixtures/make.py`.

use demask::decode::Needs;
use demask::image::{Architecture, Attention, Experts, Features, ModelConfig, Norm, RopePairs};
use demask::packed::Format;
use demask_quant::WeightSource;
use demask_std::detect::{self, Choice};
use demask_std::load::LoadedModel;
use demask_std::reference::ReferenceModel;
use demask_std::runtime::{Held, Memory, Runtime, Settings};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

fn folder(family: Architecture) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family.name())
}

fn open(family: Architecture) -> LoadedModel {
    LoadedModel::open(&folder(family), true).unwrap_or_else(|e| panic!("{}: {e}", family.name()))
}

/// A canvas and its logits, `[ids, vocabulary]`.
struct Case {
    ids: Vec<u32>,
    logits: Vec<f32>,
}

fn cases(family: Architecture) -> Vec<Case> {
    let bytes = std::fs::read(folder(family).join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: String| -> Vec<[u8; 4]> {
        let (words, rest) = file.tensor(&name).unwrap().data().as_chunks::<4>();
        assert!(rest.is_empty());
        words.to_vec()
    };
    let case = |i| Case {
        ids: words(format!("case{i}.ids")).into_iter().map(u32::from_le_bytes).collect(),
        logits: words(format!("case{i}.logits")).into_iter().map(f32::from_le_bytes).collect(),
    };
    (0..file.len() / 2).map(case).collect()
}

fn differences(a: &[f32], b: &[f32]) -> Vec<f32> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect()
}

fn largest(values: impl IntoIterator<Item = f32>) -> f32 {
    values.into_iter().fold(0.0, f32::max)
}

fn logits_of(runtime: &Runtime<'_>, kernels: Choice, ids: &[u32]) -> Vec<f32> {
    let mut memory = Memory::default();
    let settings = Settings { canvas: ids.len(), threads: 2, kernels, needs: Needs::NONE };
    runtime.network(&settings, &mut memory).unwrap().logits(ids).unwrap()
}

#[test]
fn the_float_reference_computes_every_family() {
    for family in Architecture::ALL {
        let model = open(family);
        assert_eq!(model.config().architecture, family);
        let runtime = Runtime::new(&model).unwrap();
        for Case { ids, logits } in cases(family) {
            let found = logits_of(&runtime, Choice::Auto, &ids);
            let worst = largest(differences(&found, &logits));
            println!("{} {} rows: largest difference {worst:e}", family.name(), ids.len());
            assert!(worst <= 1e-4, "{}: {worst:e}", family.name());
        }
    }
}

/// Other models made of the same tensors: what differs from the right one in a single respect.
fn wrong_models(right: ModelConfig) -> Vec<(&'static str, ModelConfig)> {
    let f = right.features;
    let with = |features| ModelConfig { features, ..right };
    let mut wrong = vec![
        ("theta", ModelConfig { rope_theta: right.rope_theta * 2.0, ..right }),
        ("pairs", ModelConfig { rope_pairs: RopePairs::Adjacent, ..right }),
        ("epsilon", ModelConfig { norm_eps: 1e-2, ..right }),
        ("rotated part", with(Features { rope_dim: right.rope_dim() - 2, ..f })),
    ];
    for attention in [Attention::Bidirectional, Attention::CAUSAL, Attention::BlockCausal(16)] {
        if attention != f.attention {
            wrong.push(("attention", with(Features { attention, ..f })));
        }
    }
    if f.qkv_bias {
        wrong.push(("biases", with(Features { qkv_bias: false, ..f })));
    }
    if f.qk_norm {
        wrong.push(("head norms", with(Features { qk_norm: false, ..f })));
    }
    if f.norm == Norm::Layer {
        wrong.push(("norm", with(Features { norm: Norm::Rms, ..f })));
    }
    if f.head_bias {
        wrong.push(("head bias", with(Features { head_bias: false, ..f })));
    }
    if let Some(e) = f.experts {
        let mut push = |what, e| wrong.push((what, with(Features { experts: Some(e), ..f })));
        push("scores", Experts { sigmoid: !e.sigmoid, ..e });
        push("normalized weights", Experts { normalize: !e.normalize, ..e });
        push("scale of weights", Experts { scale: e.scale * 1.5, ..e });
        push("experts of a row", Experts { per_token: e.per_token - 1, ..e });
        if e.choice_bias {
            push("choice bias", Experts { choice_bias: false, ..e });
        }
        if e.groups > 1 {
            push("groups", Experts { groups: 1, groups_per_token: 1, ..e });
            push("groups of a row", Experts { groups_per_token: e.groups_per_token + 1, ..e });
        }
        if e.shared_ffn_dim > 0 {
            push("shared expert", Experts { shared_ffn_dim: 0, ..e });
        }
    }
    wrong
}

/// The fixtures would not pass with anything left out or done differently.
#[test]
fn the_fixtures_depend_on_every_feature() {
    for family in Architecture::ALL {
        let model = open(family);
        for (what, config) in wrong_models(*model.config()) {
            let read = |role, rows: std::ops::Range<usize>, out: &mut [f32]| {
                model.weights().read_rows(role, rows.start, out)
            };
            let wrong = ReferenceModel::from_rows(config, read).unwrap();
            let differs = cases(family).into_iter().map(|Case { ids, logits }| {
                let rows: Vec<usize> = (0..ids.len()).collect();
                largest(differences(&wrong.logits(&ids, &rows).unwrap(), &logits))
            });
            let worst = largest(differs);
            assert!(worst > 1e-2, "{}: another {what} changes logits by {worst:e}", family.name());
        }
    }
}

fn argmax(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

/// In rows of 40 numbers one rounding weighs more than in those of real models, so the bound is wide.
#[test]
fn eight_bits_come_close_and_are_the_same_with_all_kernels() {
    for family in Architecture::ALL {
        let model = open(family);
        let vocab = model.config().vocab_size as usize;
        let held = Held::Rounded(Format::Q8);
        let runtime = Runtime::held(&model, held, Box::new(|_, _| ())).unwrap();
        let (mut sum, mut same, mut rows, mut values) = (0.0, 0, 0, 0);
        for Case { ids, logits } in cases(family) {
            let found = logits_of(&runtime, Choice::Scalar, &ids);
            for kernels in detect::available() {
                let others = logits_of(&runtime, kernels, &ids);
                let bits = |logits: &[f32]| logits.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&others), bits(&found), "{} with {kernels}", family.name());
            }
            sum += differences(&found, &logits).iter().sum::<f32>();
            let pairs = found.chunks(vocab).zip(logits.chunks(vocab));
            same += pairs.filter(|(a, b)| argmax(a) == argmax(b)).count();
            rows += ids.len();
            values += logits.len();
        }
        let (mean, agreement) = (sum / values as f32, same as f32 / rows as f32);
        println!("{}: mean difference {mean:.4}, argmax {agreement:.3}", family.name());
        assert!(mean <= 0.1 && agreement >= 0.9, "{}: {mean} {agreement}", family.name());
    }
}
