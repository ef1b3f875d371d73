//! LLaDA-MoE and LLaDA2.

use demask::image::{Architecture, Attention, Experts, Features};

use super::*;

const EXPERTS: Experts = Experts::plain(4, 2, 16);

/// The fields of inclusionAI/LLaDA-MoE-7B-A1B, with smaller numbers.
fn llada_moe() -> Value {
    json!({
        "architectures": ["LLaDAMoEModelLM"], "model_type": "llada", "attention_bias": false,
        "attention_dropout": 0.0, "clip_qkv": null, "dense_intermediate_size": 24,
        "eos_token_id": 18, "expert_intermediate_size": 16, "hidden_act": "silu",
        "hidden_size": 16, "mask_token_id": 19, "max_position_embeddings": 8192,
        "moe_layer_freq": [1, 1], "moe_router_enable_expert_bias": false,
        "moe_router_score_function": "softmax", "norm_topk_prob": null,
        "num_attention_heads": 4, "num_experts": 4, "num_experts_per_tok": 2,
        "num_hidden_layers": 2, "num_key_value_heads": 4, "pad_token_id": 18,
        "partial_rotary_factor": 1, "qk_layernorm": true, "rms_norm_eps": 1e-5,
        "rope_scaling": null, "rope_theta": 50_000, "routed_scaling_factor": 1,
        "router_aux_loss_coef": 0.01, "router_num_group": null, "router_topk_group": null,
        "shared_expert_intermediate_size": null, "tie_word_embeddings": false, "vocab_size": 20,
    })
}

const LLADA_MOE_ATTENTION: [(&str, &[usize]); 11] = [
    ("model.embed_tokens.weight", &[20, 16]),
    ("model.norm.weight", &[16]),
    ("lm_head.weight", &[20, 16]),
    ("model.layers.LAYER.input_layernorm.weight", &[16]),
    ("model.layers.LAYER.self_attn.q_proj.weight", &[16, 16]),
    ("model.layers.LAYER.self_attn.k_proj.weight", &[16, 16]),
    ("model.layers.LAYER.self_attn.v_proj.weight", &[16, 16]),
    ("model.layers.LAYER.self_attn.q_norm.weight", &[4]),
    ("model.layers.LAYER.self_attn.k_norm.weight", &[4]),
    ("model.layers.LAYER.self_attn.o_proj.weight", &[16, 16]),
    ("model.layers.LAYER.post_attention_layernorm.weight", &[16]),
];

/// The layer's experts, each of them 16 wide in a model of 16 or 32.
fn add_experts(shapes: &mut Shapes, layer: u32, count: usize, model: usize) {
    let mlp = format!("model.layers.{layer}.mlp");
    shapes.insert(format!("{mlp}.gate.weight"), vec![count, model]);
    for expert in 0..count {
        let name = |part| format!("{mlp}.experts.{expert}.{part}.weight");
        shapes.insert(name("gate_proj"), vec![16, model]);
        shapes.insert(name("up_proj"), vec![16, model]);
        shapes.insert(name("down_proj"), vec![model, 16]);
    }
}

/// A plain feed-forward network under some name.
fn add_ffn(shapes: &mut Shapes, name: &str, width: usize, model: usize) {
    shapes.insert(format!("{name}.gate_proj.weight"), vec![width, model]);
    shapes.insert(format!("{name}.up_proj.weight"), vec![width, model]);
    shapes.insert(format!("{name}.down_proj.weight"), vec![model, width]);
}

/// The tensor is the experts' tensors, one behind the other.
fn is_stacked(folder: &HfFolder, role: TensorRole, part: &str, count: usize) {
    let found = read(folder, role);
    let layer = role.layer().unwrap();
    let each = found.len() / count;
    let expected: Vec<f32> = (0..count)
        .flat_map(|e| numbers(&format!("model.layers.{layer}.mlp.experts.{e}.{part}.weight"), each))
        .collect();
    assert_eq!(found, expected, "{role:?}");
    // Rows of two experts in one request.
    let (rows, cols) = role.shape(&folder.config().model);
    let edge = rows / count;
    let mut across = vec![0.0; 3 * cols];
    folder.read_rows(role, edge - 2..edge + 1, &mut across).unwrap();
    assert_eq!(across, expected[(edge - 2) * cols..(edge + 1) * cols]);
    assert!(folder.read_rows(role, rows - 2..rows + 1, &mut across).is_err());
}

#[test]
fn reads_llada_moe() {
    let mut names = shapes(&LLADA_MOE_ATTENTION);
    (0..2).for_each(|layer| add_experts(&mut names, layer, 4, 16));
    let folder = open(&llada_moe(), &names).unwrap();
    let m = &folder.config().model;
    let features = Features { qk_norm: true, experts: Some(EXPERTS), ..Features::PLAIN };
    assert_eq!((m.architecture, m.features), (Architecture::LladaMoe, features));
    assert_eq!((m.context, m.rope_theta, m.mask_id, m.eos_id), (8192, 50_000.0, 19, 18));
    for layer in 0..2 {
        is_stacked(&folder, TensorRole::ExpertGates(layer), "gate_proj", 4);
        is_stacked(&folder, TensorRole::ExpertUps(layer), "up_proj", 4);
        is_stacked(&folder, TensorRole::ExpertDowns(layer), "down_proj", 4);
    }
    is_stored_as(&folder, TensorRole::Embedding, "model.embed_tokens.weight");
    is_stored_as(&folder, TensorRole::Router(1), "model.layers.1.mlp.gate.weight");
    is_stored_as(&folder, TensorRole::Query(1), "model.layers.1.self_attn.q_proj.weight");
    is_stored_as(&folder, TensorRole::KeyNorm(1), "model.layers.1.self_attn.k_norm.weight");
    assert_eq!(folder.stored_type(TensorRole::ExpertDowns(1)).unwrap().name(), "F32");

    names.remove("model.layers.1.mlp.experts.3.up_proj.weight");
    let error = open(&llada_moe(), &names).unwrap_err().to_string();
    assert!(error.contains("layers.1.mlp.experts.3.up_proj"), "{error}");
}

#[test]
fn reads_llada_moe_with_dense_layers_and_a_shared_expert() {
    let mut names = shapes(&LLADA_MOE_ATTENTION);
    add_ffn(&mut names, "model.layers.0.mlp", 24, 16);
    add_experts(&mut names, 1, 4, 16);
    add_ffn(&mut names, "model.layers.1.shared_expert", 32, 16);
    let more = json!({"moe_layer_freq": [0, 1], "shared_expert_intermediate_size": 32});
    let folder = open(&with(&llada_moe(), more), &names).unwrap();
    let experts = folder.config().model.features.experts.unwrap();
    assert_eq!((experts.dense_layers, experts.shared_ffn_dim), (1, 32));
    is_stored_as(&folder, TensorRole::Down(0), "model.layers.0.mlp.down_proj.weight");
    is_stored_as(&folder, TensorRole::Down(1), "model.layers.1.shared_expert.down_proj.weight");
}

#[test]
fn refuses_other_llada_moe_options() {
    let config = llada_moe();
    for (field, value) in [
        ("attention_bias", json!(true)),
        ("clip_qkv", json!(8.0)),
        ("hidden_act", json!("gelu")),
        ("moe_router_score_function", json!("sigmoid")),
        ("moe_router_enable_expert_bias", json!(true)),
        ("norm_topk_prob", json!(true)),
        ("routed_scaling_factor", json!(2.5)),
        ("router_num_group", json!(8)),
        ("router_topk_group", json!(4)),
        ("moe_layer_freq", json!([1, 0])),
        ("moe_layer_freq", json!([1])),
        ("moe_layer_freq", json!(null)),
        ("num_experts", json!(2048)),
        ("num_experts_per_tok", json!(null)),
        ("partial_rotary_factor", json!(0.1)),
        ("rope_scaling", json!({"rope_type": "linear", "factor": 2.0})),
    ] {
        refuses(&config, field, value);
    }
    // What the engine itself refuses.
    let error = open(&with(&config, json!({"num_experts_per_tok": 5})), &Shapes::new());
    assert!(error.unwrap_err().to_string().contains("experts"));
}

/// The fields of inclusionAI/LLaDA2.0-mini, with smaller numbers.
fn llada2() -> Value {
    let shape = json!({
        "architectures": ["LLaDA2MoeModelLM"], "model_type": "llada2_moe", "head_dim": 8,
        "hidden_size": 32, "intermediate_size": 40, "max_position_embeddings": 32_768,
        "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
        "partial_rotary_factor": 0.5, "rms_norm_eps": 1e-6, "rope_scaling": null,
        "rope_theta": 600_000, "rotary_dim": 4, "vocab_size": 20, "eos_token_id": 18,
        "mask_token_id": 19, "pad_token_id": 18, "tie_word_embeddings": false,
    });
    let experts = json!({
        "first_k_dense_replace": 1, "moe_intermediate_size": 16,
        "moe_router_enable_expert_bias": true, "n_group": 4, "norm_topk_prob": true,
        "num_experts": 8, "num_experts_per_tok": 2, "num_shared_experts": 2,
        "output_router_logits": false, "routed_scaling_factor": 2.5, "router_dtype": "fp32",
        "score_function": "sigmoid", "topk_group": 2,
    });
    let options = json!({
        "attention_dropout": 0.0, "embedding_dropout": 0.0, "hidden_act": "silu",
        "max_window_layers": 28, "norm_head": false, "norm_softmax": false,
        "output_dropout": 0.0, "sliding_window": 4096, "use_bias": false, "use_qk_norm": true,
        "use_qkv_bias": false, "use_rmsnorm": true, "use_sliding_window": false,
        "using_split_qkv_in_self_attention": false,
    });
    with(&with(&shape, experts), options)
}

fn llada2_names() -> Shapes {
    let mut names = shapes(&[
        ("model.word_embeddings.weight", &[20, 32]),
        ("model.norm.weight", &[32]),
        ("lm_head.weight", &[20, 32]),
        ("model.layers.LAYER.input_layernorm.weight", &[32]),
        ("model.layers.LAYER.attention.query_key_value.weight", &[64, 32]),
        ("model.layers.LAYER.attention.query_layernorm.weight", &[8]),
        ("model.layers.LAYER.attention.key_layernorm.weight", &[8]),
        ("model.layers.LAYER.attention.dense.weight", &[32, 32]),
        ("model.layers.LAYER.post_attention_layernorm.weight", &[32]),
        ("model.layers.1.mlp.gate.expert_bias", &[8]),
    ]);
    add_ffn(&mut names, "model.layers.0.mlp", 40, 32);
    add_experts(&mut names, 1, 8, 32);
    add_ffn(&mut names, "model.layers.1.mlp.shared_experts", 32, 32);
    names
}

#[test]
fn reads_llada2() {
    let folder = open(&llada2(), &llada2_names()).unwrap();
    let m = &folder.config().model;
    let experts = Experts {
        count: 8,
        shared_ffn_dim: 32,
        dense_layers: 1,
        groups: 4,
        groups_per_token: 2,
        sigmoid: true,
        choice_bias: true,
        normalize: true,
        scale: 2.5,
        ..EXPERTS
    };
    let features = Features {
        attention: Attention::BlockCausal(32),
        qk_norm: true,
        rope_dim: 4,
        experts: Some(experts),
        ..Features::PLAIN
    };
    assert_eq!((m.architecture, m.features), (Architecture::Llada2, features));
    assert_eq!(folder.config().generation.block_length, Some(32));
    // Queries, keys and values are rows 0, 32 and 48 of one tensor.
    for layer in 0..2 {
        let name = format!("model.layers.{layer}.attention.query_key_value.weight");
        let fused = numbers(&name, 64 * 32);
        assert_eq!(read(&folder, TensorRole::Query(layer)), fused[..32 * 32]);
        assert_eq!(read(&folder, TensorRole::Key(layer)), fused[32 * 32..48 * 32]);
        assert_eq!(read(&folder, TensorRole::Value(layer)), fused[48 * 32..]);
        let outside = folder.read_rows(TensorRole::Key(layer), 15..17, &mut [0.0; 64]);
        assert!(outside.is_err(), "rows of the values are not keys");
    }
    is_stacked(&folder, TensorRole::ExpertGates(1), "gate_proj", 8);
    is_stacked(&folder, TensorRole::ExpertDowns(1), "down_proj", 8);
    for (role, name) in [
        (TensorRole::Embedding, "model.word_embeddings.weight"),
        (TensorRole::QueryNorm(0), "model.layers.0.attention.query_layernorm.weight"),
        (TensorRole::KeyNorm(0), "model.layers.0.attention.key_layernorm.weight"),
        (TensorRole::AttentionOutput(1), "model.layers.1.attention.dense.weight"),
        (TensorRole::Router(1), "model.layers.1.mlp.gate.weight"),
        (TensorRole::RouterBias(1), "model.layers.1.mlp.gate.expert_bias"),
        (TensorRole::Gate(0), "model.layers.0.mlp.gate_proj.weight"),
        (TensorRole::Gate(1), "model.layers.1.mlp.shared_experts.gate_proj.weight"),
        (TensorRole::Down(1), "model.layers.1.mlp.shared_experts.down_proj.weight"),
        (TensorRole::FfnNorm(1), "model.layers.1.post_attention_layernorm.weight"),
    ] {
        is_stored_as(&folder, role, name);
    }
}

/// The mask and the end are constants of the published code.
#[test]
fn fills_in_the_tokens_of_llada2() {
    let tokens = json!({"mask_token_id": null, "eos_token_id": null, "vocab_size": 157_184});
    let config =
        HfConfig::parse(with(&llada2(), tokens).to_string().as_bytes(), Default::default())
            .unwrap();
    assert_eq!((config.model.mask_id, config.model.eos_id), (156_895, 156_892));
}

#[test]
fn refuses_other_llada2_options() {
    let config = llada2();
    for (field, value) in [
        ("use_bias", json!(true)),
        ("use_qkv_bias", json!(true)),
        ("use_rmsnorm", json!(false)),
        ("use_sliding_window", json!(true)),
        ("norm_head", json!(true)),
        ("norm_softmax", json!(true)),
        ("norm_topk_prob", json!(false)),
        ("score_function", json!("softmax")),
        ("moe_router_enable_expert_bias", json!(false)),
        ("using_split_qkv_in_self_attention", json!(true)),
        ("rope_scaling", json!({"type": "yarn", "factor": 4.0})),
        ("hidden_act", json!("relu")),
        ("n_group", json!(null)),
        ("topk_group", json!(null)),
        ("moe_intermediate_size", json!(null)),
        ("num_shared_experts", json!(65)),
        ("partial_rotary_factor", json!(1.5)),
    ] {
        refuses(&config, field, value);
    }
    for impossible in [json!({"n_group": 3}), json!({"topk_group": 5}), json!({"head_dim": 7})] {
        assert!(open(&with(&config, impossible), &Shapes::new()).is_err());
    }
}

#[test]
fn reads_sdar_with_experts() {
    // The fields of JetLM/SDAR-30B-A3B-Chat, with smaller numbers.
    let config = with(
        &llada_moe(),
        json!({"architectures": ["SDARMoeForCausalLM"], "model_type": "sdar_moe",
            "block_size": 8, "head_dim": 4, "decoder_sparse_step": 1, "mlp_only_layers": [],
            "moe_intermediate_size": 16, "norm_topk_prob": true, "expert_intermediate_size": null}),
    );
    let mut names = shapes(&LLADA_MOE_ATTENTION);
    (0..2).for_each(|layer| add_experts(&mut names, layer, 4, 16));
    let folder = open(&config, &names).unwrap();
    let m = &folder.config().model;
    let features = Features {
        attention: Attention::BlockCausal(8),
        qk_norm: true,
        experts: Some(Experts { normalize: true, ..EXPERTS }),
        ..Features::PLAIN
    };
    assert_eq!((m.architecture, m.features), (Architecture::Sdar, features));
    is_stacked(&folder, TensorRole::ExpertDowns(1), "down_proj", 4);
    is_stored_as(&folder, TensorRole::Router(0), "model.layers.0.mlp.gate.weight");
    refuses(&config, "mlp_only_layers", json!([0]));
    refuses(&config, "decoder_sparse_step", json!(2));
    refuses(&config, "attention_bias", json!(true));
}
