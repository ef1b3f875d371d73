use super::*;

const INTENTS: &str = r#"{"architectures":["LLaDAModelLM"],"d_model":128,"n_heads":4,
    "n_layers":6,"vocab_size":1024,"mask_token_id":1,"eos_token_id":0"#;

fn read(json: &[u8]) -> Result<HfConfig, ConfigError> {
    HfConfig::parse(json, GenerationDefaults::default())
}

fn parse(more: &str) -> Result<HfConfig, ConfigError> {
    read(format!("{INTENTS}{more}}}").as_bytes())
}

#[test]
fn fills_in_the_defaults() {
    let config = parse(r#","n_kv_heads":null,"embedding_size":null,"clip_qkv":null"#).unwrap();
    let m = config.model;
    assert_eq!((m.kv_heads, m.head_dim, m.ffn_dim, m.context), (4, 32, 512, 1024));
    assert_eq!((m.rope_theta, m.norm_eps, m.tied_head), (10_000.0, 1e-5, true));
    assert_eq!((config.embedding_rows, config.generation.eos_ids), (1024, vec![0]));
}

/// The options of GSAI-ML/LLaDA-8B-Instruct.
#[test]
fn reads_the_8b_configuration() {
    let json = r#"{"activation_type":"silu","alibi":false,"alibi_bias_max":8.0,
        "architectures":["LLaDAModelLM"],"attention_dropout":0.0,"attention_layer_norm":false,
        "attention_layer_norm_with_affine":true,"bias_for_layer_norm":false,
        "block_group_size":1,"block_type":"llama","d_model":4096,"embedding_dropout":0.0,
        "embedding_size":126464,"eos_token_id":126081,"flash_attention":false,
        "include_bias":false,"include_qkv_bias":false,"init_cutoff_factor":null,
        "input_emb_norm":false,"layer_norm_type":"rms","layer_norm_with_affine":true,
        "mask_token_id":126336,"max_sequence_length":4096,"mlp_hidden_size":12288,"mlp_ratio":4,
        "model_type":"llada","multi_query_attention":null,"n_heads":32,"n_kv_heads":32,
        "n_layers":32,"pad_token_id":126081,"rms_norm_eps":1e-05,"rope":true,
        "rope_full_precision":true,"rope_theta":500000.0,"scale_logits":false,
        "vocab_size":126464,"weight_tying":false}"#;
    let config = read(json.as_bytes()).unwrap();
    let m = config.model;
    assert_eq!((m.layers, m.heads, m.kv_heads, m.head_dim), (32, 32, 32, 128));
    assert_eq!((m.ffn_dim, m.context, m.rope_theta), (12288, 4096, 500_000.0));
    assert!(!m.tied_head);
}

#[test]
fn names_what_it_does_not_support() {
    for (more, field) in [
        (r#","alibi":true"#, "alibi"),
        (r#","layer_norm_type":"default""#, "layer_norm_type"),
        (r#","include_bias":true"#, "include_bias"),
        (r#","include_qkv_bias":true"#, "include_qkv_bias"),
        (r#","activation_type":"gelu""#, "activation_type"),
        (r#","clip_qkv":8.0"#, "clip_qkv"),
        (r#","multi_query_attention":true"#, "multi_query_attention"),
        (r#","block_type":"sequential""#, "block_type"),
        (r#","rope":false"#, "rope"),
        (r#","block_group_size":2"#, "block_group_size"),
    ] {
        let error = parse(more).unwrap_err();
        let named = matches!(error, ConfigError::Unsupported { field: f, .. } if f == field);
        assert!(named, "{more}: {error}");
    }
    let other = read(br#"{"architectures":["GPTModel"]}"#).unwrap_err().to_string();
    assert!(other.contains("GPTModel") && other.contains("SDARForCausalLM"), "{other}");
}

#[test]
fn bounds_every_number() {
    for more in [
        r#","n_layers":0"#,
        r#","n_layers":1e3"#,
        r#","n_layers":-1"#,
        r#","n_layers":18446744073709551615"#,
        r#","d_model":130"#,
        r#","d_model":12"#,
        r#","n_kv_heads":3"#,
        r#","mlp_ratio":65"#,
        r#","d_model":65536,"mlp_ratio":8"#,
        r#","embedding_size":1023"#,
        r#","mask_token_id":1024"#,
        r#","mask_token_id":0"#,
        r#","mask_token_id":[1]"#,
        r#","rope_theta":0"#,
        r#","rms_norm_eps":-1e-5"#,
        r#","max_sequence_length":100000000"#,
        r#","weight_tying":"yes""#,
    ] {
        assert!(parse(more).is_err(), "{more}");
    }
    assert!(matches!(read(b"[]"), Err(ConfigError::Json(_))));
    let deep = "[".repeat(1 << 19);
    assert!(matches!(read(deep.as_bytes()), Err(ConfigError::Json(_))));
}
