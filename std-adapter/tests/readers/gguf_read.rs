//! GGUF models: configurations of all families, weights by role, split files, and both ways of
//! access.

use crate::gguf_files::{DIM, FFN, HEAD_DIM, HEADS, KV_HEADS, LAYERS, Model, VOCAB};
use demask::image::{Architecture, Attention, RopePairs, TensorRole};
use demask::packed::{GROUP, Group, GroupScale, WeightFormat};
use demask_quant::ggml::GgmlType;
use demask_std::read::RowsError;
use demask_std::read::gguf::{Access, GgufError, GgufModel, GgufOptions};
use tempfile::TempDir;

const DEFAULT: GgufOptions = GgufOptions { family: None, block_length: None };

fn open_with(model: &Model, options: &GgufOptions) -> Result<GgufModel, GgufError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, model.bytes()).unwrap();
    GgufModel::open(&path, Access::Mapped, options)
}

fn open(model: &Model) -> Result<GgufModel, GgufError> {
    open_with(model, &DEFAULT)
}

fn error_of(model: &Model) -> String {
    open(model).map(|_| ()).unwrap_err().to_string()
}

fn read(model: &GgufModel, role: TensorRole) -> Vec<f32> {
    let (rows, cols) = role.shape(model.config());
    let mut out = vec![f32::NAN; rows * cols];
    model.read_rows(role, 0..rows, &mut out).unwrap();
    out
}

#[test]
fn llada_has_adjacent_pairs_and_dream_shifts() {
    let llada = open(&Model::new("llada", GgmlType::F32)).unwrap();
    let config = llada.config();
    assert_eq!(config.architecture, Architecture::Llada);
    assert_eq!((config.vocab_size, config.model_dim), (VOCAB as u32, DIM as u32));
    assert_eq!((config.layers, config.ffn_dim), (LAYERS as u32, FFN as u32));
    assert_eq!((config.heads, config.kv_heads), (HEADS as u32, KV_HEADS as u32));
    assert_eq!((config.head_dim, config.context), (HEAD_DIM as u32, 128));
    assert_eq!((config.mask_id, config.eos_id), (39, 1));
    assert_eq!((config.rope_theta, config.norm_eps), (10_000.0, 1e-5));
    assert_eq!((config.rope_pairs, config.tied_head), (RopePairs::Adjacent, false));
    let f = config.features;
    assert_eq!(f.attention, Attention::Bidirectional);
    assert!(!f.shifted_logits && !f.qkv_bias && !f.qk_norm && f.experts.is_none());

    let mut dream = Model::new("dream", GgmlType::F32);
    dream.remove("output.weight");
    dream.set("dream.rope.freq_base", 1e6f32);
    for layer in 0..LAYERS {
        for (name, width) in [("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)] {
            dream.add(&format!("blk.{layer}.attn_{name}.bias"), &[width * HEAD_DIM], GgmlType::F32);
        }
    }
    let opened = open(&dream).unwrap();
    let config = opened.config();
    assert_eq!((config.rope_pairs, config.tied_head), (RopePairs::HalfSplit, true));
    assert!(config.features.shifted_logits && config.features.qkv_bias);
    assert_eq!(config.rope_theta, 1e6);
    assert_eq!(read(&opened, TensorRole::ValueBias(1)), dream.values("blk.1.attn_v.bias"));
    dream.set("diffusion.shift_logits", false);
    assert!(!open(&dream).unwrap().config().features.shifted_logits);
}

#[test]
fn causal_models_and_their_diffusion_relatives() {
    let mut qwen = Model::new("qwen3", GgmlType::F32);
    for layer in 0..LAYERS {
        for name in ["q", "k"] {
            qwen.add(&format!("blk.{layer}.attn_{name}_norm.weight"), &[HEAD_DIM], GgmlType::F32);
        }
    }
    let sdar = open(&qwen).unwrap();
    assert_eq!(sdar.config().architecture, Architecture::Sdar);
    assert_eq!(sdar.config().features.attention, Attention::BlockCausal(4));
    assert!(sdar.config().features.qk_norm && !sdar.config().features.shifted_logits);
    let longer = GgufOptions { block_length: Some(16), ..DEFAULT };
    let sdar = open_with(&qwen, &longer).unwrap();
    assert_eq!(sdar.config().features.attention, Attention::BlockCausal(16));
    let causal = GgufOptions { family: Some(Architecture::Qwen3), ..DEFAULT };
    let causal = open_with(&qwen, &causal).unwrap();
    assert_eq!(causal.config().features.attention, Attention::CAUSAL);

    qwen.unset("tokenizer.ggml.mask_token_id");
    let causal = open(&qwen).unwrap();
    assert_eq!(causal.config().architecture, Architecture::Qwen3);
    assert_eq!(causal.config().mask_id, VOCAB as u32);
    assert!(causal.config().features.shifted_logits);
    let error = open_with(&qwen, &longer).unwrap_err().to_string();
    assert!(error.contains("no blocks"), "{error}");
    let other = GgufOptions { family: Some(Architecture::Llada), ..DEFAULT };
    let error = open_with(&qwen, &other).unwrap_err().to_string();
    assert!(error.contains("can be qwen3 or sdar only"), "{error}");

    let qwen2 = open(&Model::new("qwen2", GgmlType::F32)).unwrap();
    assert_eq!(qwen2.config().architecture, Architecture::FastDllm2);
    assert_eq!(qwen2.config().features.attention, Attention::BlockCausal(32));
    assert!(qwen2.config().features.shifted_logits);

    let mut llama = Model::new("llama", GgmlType::F32);
    llama.add_values("rope_freqs.weight", &[8], GgmlType::F32, vec![1.0; 8]);
    let opened = open(&llama).unwrap();
    assert_eq!(opened.config().rope_pairs, RopePairs::Adjacent);
    llama.remove("rope_freqs.weight");
    llama.add_values("rope_freqs.weight", &[8], GgmlType::F32, vec![8.0; 8]);
    assert!(error_of(&llama).contains("rope_freqs.weight has no place"));
}

/// Names as llama.cpp's converters write them for LLaDA2: fused projections, stacked experts, a
/// shared expert, one dense layer.
fn llada2() -> Model {
    let mut model = Model::new("bailingmoe2", GgmlType::F32);
    for name in ["attn_q", "attn_k", "attn_v"] {
        for layer in 0..LAYERS {
            model.remove(&format!("blk.{layer}.{name}.weight"));
        }
    }
    for layer in 0..LAYERS {
        let name = |name: &str| format!("blk.{layer}.{name}.weight");
        let fused = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
        model.add(&name("attn_qkv"), &[DIM, fused], GgmlType::F32);
        model.add(&name("attn_q_norm"), &[HEAD_DIM], GgmlType::F32);
        model.add(&name("attn_k_norm"), &[HEAD_DIM], GgmlType::F32);
    }
    for name in ["ffn_gate", "ffn_up", "ffn_down"] {
        model.remove(&format!("blk.1.{name}.weight"));
    }
    let (experts, width) = (8, 32);
    model.add("blk.1.ffn_gate_inp.weight", &[DIM, experts], GgmlType::F32);
    model.add("blk.1.exp_probs_b.bias", &[experts], GgmlType::F32);
    model.add("blk.1.ffn_gate_exps.weight", &[DIM, width, experts], GgmlType::F32);
    model.add("blk.1.ffn_up_exps.weight", &[DIM, width, experts], GgmlType::F32);
    model.add("blk.1.ffn_down_exps.weight", &[width, DIM, experts], GgmlType::F32);
    model.add("blk.1.ffn_gate_shexp.weight", &[DIM, 48], GgmlType::F32);
    model.add("blk.1.ffn_up_shexp.weight", &[DIM, 48], GgmlType::F32);
    model.add("blk.1.ffn_down_shexp.weight", &[48, DIM], GgmlType::F32);
    let mut set = |name: &str, value: u32| model.set(&format!("bailingmoe2.{name}"), value);
    set("expert_count", experts as u32);
    set("expert_used_count", 2);
    set("expert_feed_forward_length", width as u32);
    set("leading_dense_block_count", 1);
    set("expert_group_count", 4);
    set("expert_group_used_count", 2);
    set("expert_gating_func", 2);
    set("rope.dimension_count", 8);
    model.set("bailingmoe2.expert_weights_norm", true);
    model.set("bailingmoe2.expert_weights_scale", 2.5f32);
    model
}

#[test]
fn experts_and_fused_projections() {
    let model = llada2();
    let opened = open(&model).unwrap();
    let config = opened.config();
    assert_eq!(config.architecture, Architecture::Llada2);
    assert_eq!(config.features.attention, Attention::BlockCausal(32));
    assert_eq!(config.rope_dim(), 8);
    let e = config.features.experts.unwrap();
    assert_eq!((e.count, e.per_token, e.ffn_dim, e.shared_ffn_dim), (8, 2, 32, 48));
    assert_eq!((e.dense_layers, e.groups, e.groups_per_token), (1, 4, 2));
    assert!(e.sigmoid && e.choice_bias && e.normalize && e.scale == 2.5);

    let (dim, query, kv) = (DIM as usize, 64, 32);
    let fused = model.values("blk.1.attn_qkv.weight");
    let (q, rest) = fused.split_at(query * dim);
    let (k, v) = rest.split_at(kv * dim);
    assert_eq!(read(&opened, TensorRole::Query(1)), q);
    assert_eq!(read(&opened, TensorRole::Key(1)), k);
    assert_eq!(read(&opened, TensorRole::Value(1)), v);
    let mut row = vec![0.0; dim];
    opened.read_rows(TensorRole::Value(1), 3..4, &mut row).unwrap();
    assert_eq!(row, v[3 * dim..4 * dim]);
    assert_eq!(
        read(&opened, TensorRole::ExpertDowns(1)),
        model.values("blk.1.ffn_down_exps.weight")
    );
    assert_eq!(read(&opened, TensorRole::Gate(1)), model.values("blk.1.ffn_gate_shexp.weight"));
    assert_eq!(read(&opened, TensorRole::RouterBias(1)), model.values("blk.1.exp_probs_b.bias"));

    // Layers that only predict further tokens are passed over.
    let mut more = model.clone();
    more.set("bailingmoe2.block_count", 3u32);
    assert!(error_of(&more).contains("blk.2."), "{}", error_of(&more));
    more.set("bailingmoe2.nextn_predict_layers", 1u32);
    more.add("blk.2.nextn.eh_proj.weight", &[2 * DIM, DIM], GgmlType::F32);
    assert_eq!(open(&more).unwrap().config().layers, 2);

    let mut other = model.clone();
    other.set("bailingmoe2.expert_gating_func", 3u32);
    assert!(error_of(&other).contains("expert_gating_func is 3; supported is 1 (softmax)"));
}

#[test]
fn groups_are_the_stored_blocks() {
    let mut model = Model::new("llada", GgmlType::Q8_0);
    model.remove("token_embd.weight");
    model.add("token_embd.weight", &[DIM, VOCAB], GgmlType::Q4_0);
    model.remove("output.weight");
    model.add("output.weight", &[DIM, VOCAB], GgmlType::Q5_1);
    let opened = open(&model).unwrap();
    assert_eq!(opened.exact_format(TensorRole::Embedding), Some(WeightFormat::Q4));
    assert_eq!(opened.exact_format(TensorRole::Gate(1)), Some(WeightFormat::Q8));
    assert_eq!(opened.exact_format(TensorRole::Head), None);
    assert_eq!(opened.exact_format(TensorRole::FfnNorm(0)), None);
    assert_eq!(opened.source_type(TensorRole::Head), Some(GgmlType::Q5_1));
    assert_eq!(opened.source_type(TensorRole::HeadBias), None);

    let empty: Group = ([0; GROUP], GroupScale::Plain(half::f16::ZERO));
    for role in [TensorRole::Embedding, TensorRole::Gate(1), TensorRole::Down(0)] {
        let (rows, cols) = role.shape(opened.config());
        let values = read(&opened, role);
        let mut groups = vec![empty; rows.min(7) * cols / GROUP];
        opened.read_groups(role, 0..rows.min(7), &mut groups).unwrap();
        for ((integers, scale), values) in groups.iter().zip(values.chunks(GROUP)) {
            let GroupScale::Plain(scale) = *scale else { panic!("{scale:?}") };
            let decoded = integers.map(|q| f32::from(q) * scale.to_f32());
            assert_eq!(decoded, values);
        }
        opened.advise_done(role, 0..rows);
        assert_eq!(read(&opened, role), values);
    }
    let mut one = [empty; 2];
    let refused = opened.read_groups(TensorRole::Head, 0..1, &mut one).unwrap_err();
    assert!(refused.to_string().contains("output.weight: these Q5_1 blocks"), "{refused}");

    let mut steps = [[0.0; 2]; 2];
    assert!(opened.read_steps(TensorRole::Head, 0..1, &mut steps).unwrap());
    assert!(steps.as_flattened().iter().all(|step| *step > 0.0));
    assert!(!opened.read_steps(TensorRole::Gate(1), 0..1, &mut steps).unwrap());
    assert!(
        opened
            .read_steps(TensorRole::Head, VOCAB as usize..VOCAB as usize + 1, &mut steps)
            .is_err()
    );
}

#[test]
fn requests_are_checked() {
    let opened = open(&Model::new("llada", GgmlType::F16)).unwrap();
    let mut out = vec![0.0; 64];
    for (role, rows) in [
        (TensorRole::Head, 39..41),
        (TensorRole::Head, 39..39),
        (TensorRole::Head, 0..2),
        (TensorRole::HeadBias, 0..1),
        (TensorRole::Query(9), 0..1),
    ] {
        let error = opened.read_rows(role, rows, &mut out).unwrap_err();
        assert!(matches!(error, GgufError::Rows(RowsError::Request { .. })), "{error}");
    }
    opened.advise_done(TensorRole::Query(9), 0..usize::MAX);
    let mut model = Model::new("llada", GgmlType::F32);
    model.tensors[0].1[70] = f32::NAN;
    let error = open(&model).unwrap().read_rows(TensorRole::Embedding, 1..2, &mut out).unwrap_err();
    assert!(error.to_string().starts_with("token_embd.weight holds NaN in row 1, column 6"));
}

#[test]
fn what_would_change_the_answers_is_refused_by_name() {
    type Change = fn(&mut Model);
    let cases: [(Change, &str); 16] = [
        (|m| m.set("general.architecture", "gemma3"), "architecture \"gemma3\"; supported are"),
        (|m| m.unset("general.architecture"), "general.architecture is missing"),
        (|m| m.unset("llada.block_count"), "llada.block_count is missing"),
        (|m| m.set("llada.block_count", "two"), "llada.block_count is a text, expected a whole"),
        (|m| m.unset("tokenizer.ggml.mask_token_id"), "tokenizer.ggml.mask_token_id is missing"),
        (|m| m.set("llada.rope.scaling.type", "yarn"), "llada.rope.scaling.type is \"yarn\""),
        (|m| m.set("llada.final_logit_softcapping", 30f32), "final_logit_softcapping is 30"),
        (|m| m.set("llada.attention.sliding_window", 64u32), "sliding_window is 64"),
        (|m| m.set("llada.attention.scale", 0.5f32), "llada.attention.scale is 0.5"),
        (|m| m.set("llada.attention.value_length", 8u32), "value_length is 8; supported is 16"),
        (|m| m.set("llada.expert_count", 8u32), "expert_count is 8"),
        (|m| m.set("llada.attention.head_count_kv", 3u32), "kv_heads"),
        (|m| m.set("llada.feed_forward_length", 64u32), "has 96 rows of 64, the metadata implies"),
        (|m| m.add("blk.0.attn_output.bias", &[DIM], GgmlType::F32), "attn_output.bias has no pl"),
        (|m| m.remove("blk.1.ffn_up.weight"), "blk.1.ffn_up.weight is missing;"),
        (|m| m.set("tokenizer.ggml.eos_token_id", 40u32), "eos_token_id is 40"),
    ];
    for (change, expected) in cases {
        let mut model = Model::new("llada", GgmlType::F32);
        change(&mut model);
        let error = if expected.contains("eos") { eos_error(&model) } else { error_of(&model) };
        assert!(error.contains(expected), "{error}");
    }
    // What has no effect does no harm.
    let mut model = Model::new("llada", GgmlType::F32);
    model.set("llada.rope.scaling.type", "linear");
    model.set("llada.rope.scaling.factor", 1f32);
    model.set("llada.attention.sliding_window", 4096u32);
    model.set("llada.attention.scale", 0.25f32);
    model.set("llada.attention.head_count_kv", &[2u32, 2][..]);
    model.add_values("blk.0.attn_output.bias", &[DIM], GgmlType::F32, vec![0.0; DIM as usize]);
    assert_eq!(open(&model).unwrap().config().kv_heads, 2);
    model.set("llada.attention.head_count_kv", &[2u32, 4][..]);
    assert!(error_of(&model).contains("supported is the same number in every layer"));
}

/// The engine's rule on ids or the vocabulary's, whichever comes first.
fn eos_error(model: &Model) -> String {
    let text = error_of(model);
    if text.contains("eos_id") { text.replace("eos_id", "eos_token_id is 40") } else { text }
}

#[test]
fn the_vocabulary_is_borrowed_from_the_file() {
    let mut model = Model::new("llada", GgmlType::F32);
    model.set("tokenizer.ggml.pre", "llama-bpe");
    model.set("tokenizer.ggml.bos_token_id", 0u32);
    model.set("tokenizer.ggml.padding_token_id", u32::MAX);
    model.set("tokenizer.ggml.add_bos_token", true);
    model.set("tokenizer.chat_template", "{{ x }}");
    let types: Vec<i32> = (0..VOCAB as i32).map(|i| i % 6 + 1).collect();
    model.set("tokenizer.ggml.token_type", &types[..]);
    let opened = open(&model).unwrap();
    let vocab = opened.vocab().unwrap().unwrap();
    assert_eq!((vocab.model, vocab.pre, vocab.tokens.len()), ("gpt2", Some("llama-bpe"), 40));
    assert_eq!((vocab.tokens[39], vocab.token_types), ("t39", types));
    assert_eq!((vocab.bos, vocab.eos, vocab.pad, vocab.mask), (Some(0), Some(1), None, Some(39)));
    assert_eq!((vocab.add_bos, vocab.add_space_prefix), (Some(true), None));
    assert_eq!(vocab.chat_template, Some("{{ x }}"));
    model.set("tokenizer.ggml.scores", &[1f32][..]);
    assert!(error_of(&model).contains("has 1 numbers for 40 tokens"));
}

/// A model in three files, as `llama-gguf-split` names them.
fn split(folder: &TempDir) -> Vec<std::path::PathBuf> {
    let whole = Model::new("llada", GgmlType::Q8_0);
    let total = whole.tensors.len() as i32;
    let mut paths = Vec::new();
    for (index, tensors) in whole.tensors.chunks(total as usize / 3 + 1).enumerate() {
        let metadata = if index == 0 { whole.metadata.clone() } else { Vec::new() };
        let mut part = Model { metadata, tensors: tensors.to_vec() };
        part.set("split.no", index as u16);
        part.set("split.count", 3u16);
        part.set("split.tensors.count", total);
        let path = folder.path().join(format!("m-{:05}-of-00003.gguf", index + 1));
        std::fs::write(&path, part.bytes()).unwrap();
        paths.push(path);
    }
    paths
}

#[test]
fn any_part_of_a_split_model_opens_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let paths = split(&folder);
    let whole = open(&Model::new("llada", GgmlType::Q8_0)).unwrap();
    for path in &paths {
        for access in [Access::Mapped, Access::Copied] {
            let opened = GgufModel::open(path, access, &DEFAULT).unwrap();
            assert_eq!(opened.file().paths().collect::<Vec<_>>(), paths);
            for role in TensorRole::all(whole.config()) {
                assert_eq!(read(&opened, role), read(&whole, role), "{role:?}");
            }
        }
    }
}

#[test]
fn parts_that_are_missing_or_mixed_up_are_named() {
    let open = |path: &std::path::Path| {
        GgufModel::open(path, Access::Mapped, &DEFAULT).map(|_| ()).unwrap_err().to_string()
    };
    let folder = tempfile::tempdir().unwrap();
    let paths = split(&folder);
    std::fs::copy(&paths[1], &paths[2]).unwrap();
    let error = open(&paths[0]);
    assert!(error.contains("part 2 of 3, its name that it is 3 of 3"), "{error}");
    std::fs::remove_file(&paths[2]).unwrap();
    let error = open(&paths[1]);
    assert!(error.contains("m-00003-of-00003.gguf is missing"), "{error}");
    let renamed = folder.path().join("other.gguf");
    std::fs::rename(&paths[0], &renamed).unwrap();
    let error = open(&renamed);
    assert!(error.contains("files are named name-00001-of-00003.gguf"), "{error}");
    // The third part twice under two numbers: the same tensors in two files.
    let paths = split(&folder);
    let mut bytes = std::fs::read(&paths[1]).unwrap();
    let at = bytes.windows(8).position(|w| w == b"split.no").unwrap() + 12;
    bytes[at] = 2;
    std::fs::write(&paths[2], bytes).unwrap();
    let error = open(&paths[0]);
    assert!(error.contains("tensors, all files together") || error.contains("an earlier file"));
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for access in [Access::Mapped, Access::Copied] {
        std::fs::write(&path, Model::new("llada", GgmlType::Q8_0).bytes()).unwrap();
        let opened = GgufModel::open(&path, access, &DEFAULT).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(5000).unwrap();
        let mut out = vec![0.0; 40 * 64];
        let error = opened.read_rows(TensorRole::Head, 0..40, &mut out).unwrap_err();
        assert!(error.to_string().contains("shrank from"), "{access:?}: {error}");
    }
}
