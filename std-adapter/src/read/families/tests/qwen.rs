//! Families with the names of `transformers`' Llama.

use demask::image::{Architecture, Attention, Features};

use super::*;

const EMBEDDING: (&str, &[usize]) = ("model.embed_tokens.weight", &[20, 8]);
const HEAD: (&str, &[usize]) = ("lm_head.weight", &[20, 8]);

/// What every one of these models has. Two heads of six, one key and value head.
const DENSE: [(&str, &[usize]); 11] = [
    EMBEDDING,
    ("model.norm.weight", &[8]),
    ("model.layers.LAYER.input_layernorm.weight", &[8]),
    ("model.layers.LAYER.self_attn.q_proj.weight", &[12, 8]),
    ("model.layers.LAYER.self_attn.k_proj.weight", &[6, 8]),
    ("model.layers.LAYER.self_attn.v_proj.weight", &[6, 8]),
    ("model.layers.LAYER.self_attn.o_proj.weight", &[8, 12]),
    ("model.layers.LAYER.post_attention_layernorm.weight", &[8]),
    ("model.layers.LAYER.mlp.gate_proj.weight", &[10, 8]),
    ("model.layers.LAYER.mlp.up_proj.weight", &[10, 8]),
    ("model.layers.LAYER.mlp.down_proj.weight", &[8, 10]),
];

const BIASES: [(&str, &[usize]); 3] = [
    ("model.layers.LAYER.self_attn.q_proj.bias", &[12]),
    ("model.layers.LAYER.self_attn.k_proj.bias", &[6]),
    ("model.layers.LAYER.self_attn.v_proj.bias", &[6]),
];

const NORMS: [(&str, &[usize]); 2] = [
    ("model.layers.LAYER.self_attn.q_norm.weight", &[6]),
    ("model.layers.LAYER.self_attn.k_norm.weight", &[6]),
];

/// The fields that all of these files have.
fn config(class: &str, more: Value) -> Value {
    let shape = json!({
        "architectures": [class], "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6,
        "intermediate_size": 10, "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0, "rope_scaling": null, "vocab_size": 20, "eos_token_id": 0,
        "hidden_act": "silu", "attention_dropout": 0.0, "tie_word_embeddings": false,
        "use_sliding_window": false, "sliding_window": null, "torch_dtype": "bfloat16",
    });
    with(&shape, more)
}

/// Names with shapes.
type Names = Vec<(&'static str, &'static [usize])>;

/// A small folder of each class, its family and its features.
fn families() -> Vec<(Value, Names, Architecture, Features)> {
    let biased = || [&DENSE[..], &BIASES, &[HEAD]].concat();
    let normed = || [&DENSE[..], &NORMS, &[HEAD]].concat();
    let causal =
        Features { attention: Attention::BlockCausal(1), shifted_logits: true, ..Features::PLAIN };
    let qwen2 = Features { qkv_bias: true, ..causal };
    let blocks = |block| Attention::BlockCausal(block);
    vec![
        (
            config("LlamaForCausalLM", json!({"attention_bias": false, "mlp_bias": false})),
            [&DENSE[..], &[HEAD]].concat(),
            Architecture::Llama,
            causal,
        ),
        (config("Qwen2ForCausalLM", json!({})), biased(), Architecture::Qwen2, qwen2),
        (
            config("Qwen3ForCausalLM", json!({"attention_bias": false})),
            normed(),
            Architecture::Qwen3,
            Features { qk_norm: true, ..causal },
        ),
        (
            config("DreamModel", json!({"mask_token_id": 19})),
            biased(),
            Architecture::Dream,
            Features { attention: Attention::Bidirectional, ..qwen2 },
        ),
        (
            config("Fast_dLLM_QwenForCausalLM", json!({"mask_token_id": 19, "bd_size": 32})),
            biased(),
            Architecture::FastDllm2,
            Features { attention: blocks(32), ..qwen2 },
        ),
        (
            config("SDARForCausalLM", json!({"mask_token_id": 19, "block_size": 8})),
            normed(),
            Architecture::Sdar,
            Features { attention: blocks(8), qk_norm: true, ..Features::PLAIN },
        ),
    ]
}

#[test]
fn reads_every_class() {
    for (config, names, architecture, features) in families() {
        let folder = open(&config, &shapes(&names)).unwrap();
        let m = &folder.config().model;
        assert_eq!((m.architecture, m.features), (architecture, features));
        assert_eq!((m.model_dim, m.heads, m.kv_heads, m.head_dim, m.ffn_dim), (8, 2, 1, 6, 10));
        // The engine's limit; the file says twice as much.
        assert_eq!((m.context, m.norm_eps, m.rope_theta), (65_536, 1e-6, 1e6));
        let mask = if features.attention == Attention::CAUSAL { 20 } else { 19 };
        assert_eq!((m.eos_id, m.mask_id, m.tied_head), (0, mask, false));
        for (role, name) in [
            (TensorRole::Embedding, "model.embed_tokens.weight"),
            (TensorRole::OutputNorm, "model.norm.weight"),
            (TensorRole::Head, "lm_head.weight"),
            (TensorRole::AttentionNorm(1), "model.layers.1.input_layernorm.weight"),
            (TensorRole::Query(0), "model.layers.0.self_attn.q_proj.weight"),
            (TensorRole::Key(1), "model.layers.1.self_attn.k_proj.weight"),
            (TensorRole::Value(1), "model.layers.1.self_attn.v_proj.weight"),
            (TensorRole::AttentionOutput(1), "model.layers.1.self_attn.o_proj.weight"),
            (TensorRole::FfnNorm(1), "model.layers.1.post_attention_layernorm.weight"),
            (TensorRole::Gate(1), "model.layers.1.mlp.gate_proj.weight"),
            (TensorRole::Up(1), "model.layers.1.mlp.up_proj.weight"),
            (TensorRole::Down(1), "model.layers.1.mlp.down_proj.weight"),
        ] {
            is_stored_as(&folder, role, name);
        }
        let biases = [
            (TensorRole::QueryBias(1), "model.layers.1.self_attn.q_proj.bias"),
            (TensorRole::KeyBias(1), "model.layers.1.self_attn.k_proj.bias"),
            (TensorRole::ValueBias(1), "model.layers.1.self_attn.v_proj.bias"),
        ];
        let norms = [
            (TensorRole::QueryNorm(1), "model.layers.1.self_attn.q_norm.weight"),
            (TensorRole::KeyNorm(1), "model.layers.1.self_attn.k_norm.weight"),
        ];
        for (role, name) in biases.into_iter().filter(|_| features.qkv_bias) {
            is_stored_as(&folder, role, name);
        }
        for (role, name) in norms.into_iter().filter(|_| features.qk_norm) {
            is_stored_as(&folder, role, name);
        }
        let absent = if features.qk_norm { biases[0].0 } else { norms[0].0 };
        assert!(folder.read_rows(absent, 0..1, &mut [0.0; 6]).is_err());
        assert_eq!(folder.stored_type(TensorRole::Query(0)).unwrap().name(), "F32");
    }
}

/// The published files leave these to the code beside them.
#[test]
fn fills_in_published_constants() {
    let large = json!({"vocab_size": 160_000, "eos_token_id": 151_645});
    for (class, mask, block) in [
        ("DreamModel", 151_666, None),
        ("Fast_dLLM_QwenForCausalLM", 151_665, Some(32)),
        ("SDARForCausalLM", 151_669, Some(4)),
        ("Qwen3ForCausalLM", 160_000, None),
    ] {
        let text = with(&config(class, large.clone()), json!({"head_dim": null}));
        let config = HfConfig::parse(text.to_string().as_bytes(), Default::default()).unwrap();
        let m = &config.model;
        let head_dim = if m.features.qk_norm { 128 } else { 4 };
        assert_eq!((m.mask_id, m.head_dim), (mask, head_dim), "{class}");
        assert_eq!(config.generation.block_length, block, "{class}");
        let sub_block = (m.architecture == Architecture::FastDllm2).then_some(8);
        assert_eq!(config.generation.sub_block_length, sub_block, "{class}");
    }
}

#[test]
fn reads_what_newer_and_older_files_have() {
    // Newer versions of transformers keep the base of the rotation elsewhere.
    let parameters = json!({"rope_type": "default", "rope_theta": 5e5});
    let newer = json!({"rope_theta": null, "rope_parameters": parameters,
        "layer_types": ["full_attention", "full_attention"]});
    let names = [&DENSE[..], &[HEAD]].concat();
    let folder = open(&config("LlamaForCausalLM", newer), &shapes(&names)).unwrap();
    assert_eq!(folder.config().model.rope_theta, 5e5);
    // Older ones store the frequencies, and some files a head that nothing uses.
    let older = json!({"tie_word_embeddings": true, "rope_theta": null, "model_type": "llama"});
    let frequencies = ("model.layers.LAYER.self_attn.rotary_emb.inv_freq", &[3][..]);
    let names = [&names[..], &[frequencies]].concat();
    let folder = open(&config("LlamaForCausalLM", older), &shapes(&names)).unwrap();
    let m = &folder.config().model;
    assert_eq!((m.tied_head, m.rope_theta), (true, 10_000.0));
    assert!(folder.read_rows(TensorRole::Head, 0..1, &mut [0.0; 8]).is_err());
    // The class names win over the type, which names the family alone as well.
    let by_type = json!({"architectures": null, "model_type": "qwen2"});
    let names = shapes(&[&DENSE[..], &BIASES, &[HEAD]].concat());
    let folder = open(&config("", by_type), &names).unwrap();
    assert_eq!(folder.config().model.architecture, Architecture::Qwen2);
}

#[test]
fn refuses_other_options_by_name() {
    let scaled = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    for (config, _, architecture, _) in families() {
        refuses(&config, "hidden_act", json!("gelu"));
        refuses(&config, "rope_scaling", scaled.clone());
        refuses(&config, "rope_scaling", json!({"type": "yarn", "factor": 4.0}));
        refuses(&config, "rope_parameters", scaled.clone());
        let by_layer = json!({"full_attention": {"rope_type": "default", "rope_theta": 1e6}});
        let config_of_layers = with(&config, json!({"rope_theta": null}));
        let error =
            open(&with(&config_of_layers, json!({"rope_parameters": by_layer})), &Shapes::new());
        assert!(error.unwrap_err().to_string().contains("rope_theta"));
        refuses(&config, "use_sliding_window", json!(true));
        refuses(&config, "layer_types", json!(["full_attention", "sliding_attention"]));
        refuses(&config, "partial_rotary_factor", json!(0.5));
        refuses(&config, "quantization_config", json!({"quant_method": "gptq"}));
        refuses(&config, "rms_norm_eps", json!(null));
        refuses(&config, "max_position_embeddings", json!(null));
        refuses(&config, "intermediate_size", json!(0));
        refuses(&config, "num_key_value_heads", json!(3));
        refuses(&config, "eos_token_id", json!(20));
        refuses(&config, "eos_token_id", json!(null));
        refuses(&config, "eos_token_id", json!(vec![0; 65]));
        refuses(&config, "mask_token_id", json!(21));
        let biases_are_an_option = !matches!(
            architecture,
            Architecture::Qwen2 | Architecture::Dream | Architecture::FastDllm2
        );
        if biases_are_an_option {
            refuses(&config, "attention_bias", json!(true));
        }
    }
}

#[test]
fn generation_defaults_stand_beside_the_configuration() {
    let names = shapes(&[&DENSE[..], &BIASES, &[HEAD]].concat());
    let published = json!({"do_sample": true, "eos_token_id": [3, 2], "pad_token_id": 2,
        "repetition_penalty": 1.05, "temperature": 0.7, "top_k": 20, "top_p": 0.8});
    let chat = config("Qwen2ForCausalLM", json!({"eos_token_id": 2}));
    let folder = open_with(&chat, Some(published.clone()), &names).unwrap();
    let generation = &folder.config().generation;
    assert_eq!((generation.eos_ids.as_slice(), folder.config().model.eos_id), (&[2, 3][..], 2));
    assert_eq!((generation.temperature, generation.top_p), (Some(0.7), Some(0.8)));
    assert_eq!((generation.top_k, generation.threshold), (Some(20), None));
    // Tokens may be in this file alone.
    let silent = config("Qwen2ForCausalLM", json!({"eos_token_id": null}));
    let folder = open_with(&silent, Some(published.clone()), &names).unwrap();
    assert_eq!(folder.config().model.eos_id, 3);
    let greedy = with(&published, json!({"do_sample": false}));
    let folder = open_with(&chat, Some(greedy), &names).unwrap();
    assert_eq!(folder.config().generation.temperature, Some(0.0));
    let diffusion = json!({"steps": 64, "block_length": 16, "threshold": 0.9});
    let folder = open_with(&chat, Some(diffusion), &names).unwrap();
    let generation = &folder.config().generation;
    let found = (generation.steps, generation.block_length, generation.threshold);
    assert_eq!(found, (Some(64), Some(16), Some(0.9)));
    for bad in [json!({"temperature": -1}), json!({"top_p": "x"}), json!({"eos_token_id": 99})] {
        let error = open_with(&chat, Some(bad.clone()), &names).unwrap_err();
        assert!(matches!(error, FolderError::Config { .. }), "{bad}: {error}");
    }
}
