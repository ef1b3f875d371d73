//! GGUF models of a size that every block format takes, with a vocabulary that people can type.
#![allow(dead_code)] // every test file uses its own part

use super::gguf_files::Model;
use demask::image::TensorRole;
use demask_quant::ggml::GgmlType;
use demask_std::read::gguf::value::Strings;
use demask_std::read::gguf::value::Value;
use std::path::{Path, PathBuf};

pub(crate) const DIM: u64 = 256;
pub(crate) const FFN: u64 = 512;
pub(crate) const LAYERS: u64 = 2;
/// Printable ASCII as GPT-2 spells it, a space, the end and the mask.
pub(crate) const VOCAB: u64 = 97;
pub(crate) const END: u32 = 95;
const MASK: u32 = 96;

const TEMPLATE: &str = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}\
                        {% if add_generation_prompt %}a:{% endif %}";

/// A model with matrices of one type; `architecture` is `llada`, or `qwen3` for block-causal ones.
pub(crate) fn model(architecture: &str, matrices: GgmlType) -> Model {
    let mut model = Model { metadata: Vec::new(), tensors: Vec::new() };
    model.set("general.architecture", architecture);
    for (name, value) in [
        ("context_length", 128),
        ("embedding_length", DIM),
        ("block_count", LAYERS),
        ("feed_forward_length", FFN),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 64),
        ("attention.value_length", 64),
    ] {
        model.set(&format!("{architecture}.{name}"), value as u32);
    }
    model.set(&format!("{architecture}.attention.layer_norm_rms_epsilon"), 1e-5f32);
    vocabulary(&mut model);
    model.add("token_embd.weight", &[DIM, VOCAB], matrices);
    for layer in 0..LAYERS {
        let name = |name: &str| format!("blk.{layer}.{name}.weight");
        model.add(&name("attn_norm"), &[DIM], GgmlType::F32);
        if architecture == "qwen3" {
            model.add(&name("attn_q_norm"), &[64], GgmlType::F32);
            model.add(&name("attn_k_norm"), &[64], GgmlType::F32);
        }
        model.add(&name("attn_q"), &[DIM, 256], matrices);
        model.add(&name("attn_k"), &[DIM, 128], matrices);
        model.add(&name("attn_v"), &[DIM, 128], matrices);
        model.add(&name("attn_output"), &[256, DIM], matrices);
        model.add(&name("ffn_norm"), &[DIM], GgmlType::F32);
        model.add(&name("ffn_gate"), &[DIM, FFN], matrices);
        model.add(&name("ffn_up"), &[DIM, FFN], matrices);
        model.add(&name("ffn_down"), &[FFN, DIM], matrices);
    }
    model.add("output_norm.weight", &[DIM], GgmlType::F32);
    model.add("output.weight", &[DIM, VOCAB], matrices);
    model
}

fn vocabulary(model: &mut Model) {
    let printable = (b'!'..=b'~').map(|byte| char::from(byte).to_string());
    let others = ["\u{120}", "<end>", "<mask>"].map(str::to_owned);
    let tokens: Strings = printable.chain(others).collect();
    model.set("tokenizer.ggml.model", "gpt2");
    model.set("tokenizer.ggml.pre", "gpt-2");
    model.metadata.push(("tokenizer.ggml.tokens".into(), Value::Strings(tokens)));
    let kinds: Vec<i32> = (0..VOCAB as u32).map(|id| if id >= END { 3 } else { 1 }).collect();
    model.set("tokenizer.ggml.token_type", &kinds[..]);
    model.metadata.push(("tokenizer.ggml.merges".into(), Value::Strings(Strings::default())));
    model.set("tokenizer.ggml.eos_token_id", END);
    model.set("tokenizer.ggml.mask_token_id", MASK);
    model.set("tokenizer.chat_template", TEMPLATE);
}

/// Writes a model under a name of its own.
pub(crate) fn file(name: &str, model: &Model) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, model.bytes()).unwrap();
    path
}

/// Name of a matrix in the file.
pub(crate) fn name_of(role: TensorRole) -> String {
    let (layer, name) = match role {
        TensorRole::Embedding => return "token_embd.weight".into(),
        TensorRole::Head => return "output.weight".into(),
        TensorRole::Query(layer) => (layer, "attn_q"),
        TensorRole::Key(layer) => (layer, "attn_k"),
        TensorRole::Value(layer) => (layer, "attn_v"),
        TensorRole::AttentionOutput(layer) => (layer, "attn_output"),
        TensorRole::Gate(layer) => (layer, "ffn_gate"),
        TensorRole::Up(layer) => (layer, "ffn_up"),
        TensorRole::Down(layer) => (layer, "ffn_down"),
        other => panic!("{other:?} is no matrix"),
    };
    format!("blk.{layer}.{name}.weight")
}
