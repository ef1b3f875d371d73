//! Small GGUF models, made here.
#![allow(dead_code)] // every test file uses its own part

use demask_quant::ggml::GgmlType;
use demask_std::read::gguf::value::{Strings, Value};
use demask_std::write::gguf::{NewTensor, write};

/// A model that tests may change before they write it.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<(NewTensor, Vec<f32>)>,
}

pub(crate) const VOCAB: u64 = 40;
pub(crate) const DIM: u64 = 64;
pub(crate) const FFN: u64 = 96;
pub(crate) const LAYERS: u64 = 2;
pub(crate) const HEADS: u64 = 4;
pub(crate) const KV_HEADS: u64 = 2;
pub(crate) const HEAD_DIM: u64 = 16;

impl Model {
    /// A model of an architecture without what only some have.
    pub(crate) fn new(architecture: &str, matrices: GgmlType) -> Self {
        let mut model = Self { metadata: Vec::new(), tensors: Vec::new() };
        model.set("general.architecture", architecture);
        let mut size = |name: &str, value: u64| {
            model.set(&format!("{architecture}.{name}"), value as u32);
        };
        size("context_length", 128);
        size("embedding_length", DIM);
        size("block_count", LAYERS);
        size("feed_forward_length", FFN);
        size("attention.head_count", HEADS);
        size("attention.head_count_kv", KV_HEADS);
        model.set(&format!("{architecture}.attention.layer_norm_rms_epsilon"), 1e-5f32);
        model.set("tokenizer.ggml.model", "gpt2");
        let tokens: Strings = (0..VOCAB).map(|i| format!("t{i}")).collect();
        model.metadata.push(("tokenizer.ggml.tokens".into(), Value::Strings(tokens)));
        model.set("tokenizer.ggml.eos_token_id", 1u32);
        model.set("tokenizer.ggml.mask_token_id", 39u32);

        model.add("token_embd.weight", &[DIM, VOCAB], matrices);
        for layer in 0..LAYERS {
            let name = |name: &str| format!("blk.{layer}.{name}.weight");
            model.add(&name("attn_norm"), &[DIM], GgmlType::F32);
            model.add(&name("attn_q"), &[DIM, HEADS * HEAD_DIM], matrices);
            model.add(&name("attn_k"), &[DIM, KV_HEADS * HEAD_DIM], matrices);
            model.add(&name("attn_v"), &[DIM, KV_HEADS * HEAD_DIM], matrices);
            model.add(&name("attn_output"), &[HEADS * HEAD_DIM, DIM], matrices);
            model.add(&name("ffn_norm"), &[DIM], GgmlType::F32);
            model.add(&name("ffn_gate"), &[DIM, FFN], matrices);
            model.add(&name("ffn_up"), &[DIM, FFN], matrices);
            model.add(&name("ffn_down"), &[FFN, DIM], matrices);
        }
        model.add("output_norm.weight", &[DIM], GgmlType::F32);
        model.add("output.weight", &[DIM, VOCAB], matrices);
        model
    }

    /// Sets a metadata key, whether it is there or not.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.unset(key);
        self.metadata.push((key.into(), value.into()));
    }

    pub(crate) fn unset(&mut self, key: &str) {
        self.metadata.retain(|(k, _)| k != key);
    }

    /// Adds a tensor of values that depend on its name.
    pub(crate) fn add(&mut self, name: &str, dimensions: &[u64], stored_as: GgmlType) {
        let mut state = name.bytes().fold(7u32, |s, b| s.wrapping_mul(31).wrapping_add(b.into()));
        let count: u64 = dimensions.iter().product();
        let values = (0..count).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        });
        self.add_values(name, dimensions, stored_as, values.collect());
    }

    pub(crate) fn add_values(
        &mut self,
        name: &str,
        dimensions: &[u64],
        stored_as: GgmlType,
        values: Vec<f32>,
    ) {
        let dimensions = dimensions.to_vec();
        self.tensors.push((NewTensor { name: name.into(), dimensions, stored_as }, values));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.tensors.retain(|(tensor, _)| tensor.name != name);
    }

    /// The values that a tensor was made from.
    pub(crate) fn values(&self, name: &str) -> &[f32] {
        &self.tensors.iter().find(|(tensor, _)| tensor.name == name).unwrap().1
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let metadata: Vec<_> = self.metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
        let tensors: Vec<_> = self.tensors.iter().map(|(tensor, _)| tensor.clone()).collect();
        let mut file = Vec::new();
        write(&mut file, &metadata, &tensors, |index, out| {
            let (tensor, values) = &self.tensors[index];
            let mut blocks = vec![0; tensor.stored_as.bytes_of(values.len()).unwrap()];
            tensor.stored_as.quantize(values, &mut blocks).unwrap();
            out.write_all(&blocks)
        })
        .unwrap();
        file
    }
}
