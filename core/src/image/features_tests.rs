//! Features as words of the CONFIG section, and the ranges of their numbers.

use super::super::{CONFIG_BYTES, EXTENDED_CONFIG_BYTES, ModelConfig, RopePairs};
use super::*;

const EXPERTS: Experts = Experts {
    count: 8,
    per_token: 2,
    ffn_dim: 32,
    shared_ffn_dim: 48,
    dense_layers: 1,
    groups: 4,
    groups_per_token: 2,
    sigmoid: true,
    choice_bias: true,
    normalize: true,
    scale: 2.5,
};
const PLAIN: ModelConfig = ModelConfig {
    architecture: Architecture::Llada,
    vocab_size: 100,
    model_dim: 64,
    layers: 3,
    heads: 4,
    kv_heads: 2,
    head_dim: 16,
    ffn_dim: 96,
    context: 128,
    mask_id: 1,
    eos_id: 0,
    rope_theta: 10_000.0,
    norm_eps: 1e-5,
    rope_pairs: RopePairs::HalfSplit,
    tied_head: false,
    features: Features::PLAIN,
};

/// A small plain transformer with these features.
pub(in crate::image) fn plain_with(features: Features) -> ModelConfig {
    ModelConfig { features, ..PLAIN }
}

#[test]
fn every_feature_survives_the_section() {
    let attention = Attention::BlockCausal(32);
    let all = Features {
        attention,
        shifted_logits: true,
        qkv_bias: true,
        qk_norm: true,
        rope_dim: 8,
        norm: Norm::Layer,
        feed_forward: FeedForward::SwiGlu,
        head_bias: true,
        experts: Some(EXPERTS),
    };
    let gelu = Features { feed_forward: FeedForward::Gelu, experts: None, ..all };
    for (features, length) in [
        (Features::PLAIN, CONFIG_BYTES),
        (Features { shifted_logits: true, ..Features::PLAIN }, CONFIG_BYTES),
        (Features { rope_dim: 8, attention, ..Features::PLAIN }, CONFIG_BYTES),
        (gelu, CONFIG_BYTES),
        (all, EXTENDED_CONFIG_BYTES),
    ] {
        let config = plain_with(features);
        let bytes = config.to_bytes();
        let section = bytes.get(..config.section_bytes()).unwrap();
        assert_eq!(section.len(), length);
        assert_eq!(ModelConfig::parse(section), Ok(config));
    }
    for family in Architecture::ALL {
        assert_eq!(Architecture::from_code(family as u32), Some(family));
    }
}

#[test]
fn impossible_experts_are_refused() {
    let refused = |experts| {
        let features = Features { experts: Some(experts), ..Features::PLAIN };
        assert!(plain_with(features).validate().is_err(), "{experts:?}");
    };
    for bad in [
        Experts { count: 2000, ..EXPERTS },
        Experts { per_token: 0, ..EXPERTS },
        Experts { per_token: 9, ..EXPERTS },
        Experts { ffn_dim: 40, ..EXPERTS },
        Experts { dense_layers: 4, ..EXPERTS },
        Experts { groups: 3, ..EXPERTS },
        Experts { groups_per_token: 0, ..EXPERTS },
        Experts { per_token: 5, ..EXPERTS },
        Experts { scale: f32::NAN, ..EXPERTS },
    ] {
        refused(bad);
    }
    let gelu = Features { feed_forward: FeedForward::Gelu, ..Features::PLAIN };
    assert!(plain_with(Features { experts: Some(EXPERTS), ..gelu }).validate().is_err());
}

#[test]
fn a_row_sees_its_block_and_what_is_before_it() {
    let blocks = Attention::BlockCausal(4);
    let ends = [0, 3, 4, 8].map(|position| blocks.visible_end(position, 10));
    assert_eq!(ends, [4, 4, 8, 10]);
    assert_eq!(Attention::CAUSAL.visible_end(5, 10), 6);
    assert_eq!([0, 3, 4, 9].map(|position| blocks.seen_from(position)), [0, 0, 4, 8]);
    assert_eq!(Attention::CAUSAL.seen_from(5), 5);
    assert_eq!(Attention::BlockCausal(0).seen_from(5), 5);
    assert_eq!(Attention::Bidirectional.seen_from(5), 0);
    assert_eq!(Attention::Bidirectional.visible_end(0, 10), 10);
}

#[test]
fn parts_that_some_builds_leave_out_have_names() {
    let part = |features: Features| features.part_of_families(16);
    let plain = Features {
        attention: Attention::BlockCausal(4),
        shifted_logits: true,
        qkv_bias: true,
        rope_dim: 16,
        ..Features::PLAIN
    };
    assert_eq!(part(plain), None);
    for (features, name) in [
        (Features { experts: Some(EXPERTS), ..plain }, "a mixture of experts"),
        (Features { qk_norm: true, ..plain }, "norms of query and key heads"),
        (Features { rope_dim: 8, ..plain }, "partly rotated heads"),
        (Features { norm: Norm::Layer, ..plain }, "LayerNorm"),
        (Features { feed_forward: FeedForward::Gelu, ..plain }, "a GELU feed-forward network"),
        (Features { head_bias: true, ..plain }, "a bias of the head"),
    ] {
        assert_eq!(part(features), Some(name));
    }
}
