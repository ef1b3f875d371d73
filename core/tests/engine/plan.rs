//! A plan counts exactly the bytes that dividing the memory takes.

use crate::common::{Aligned, Random, SMALLEST, random_config};
use demask::decode::Needs;
use demask::image::{Architecture, Attention, Features, ModelConfig, RopePairs};
use demask::packed::Layout;
use demask::{Limits, Plan, PlanError, SessionMemory};

const DEVICE: ModelConfig = ModelConfig {
    architecture: Architecture::Llada,
    vocab_size: 1024,
    model_dim: 128,
    layers: 6,
    heads: 4,
    kv_heads: 2,
    head_dim: 32,
    ffn_dim: 384,
    context: 128,
    mask_id: 1,
    eos_id: 0,
    rope_theta: 10_000.0,
    norm_eps: 1e-5,
    rope_pairs: RopePairs::HalfSplit,
    tied_head: true,
    features: Features::PLAIN,
};

/// Firmware sizes a static with this: it has to work in a constant.
const PLAN: Plan = match Plan::new(
    &DEVICE,
    &Limits { canvas: 96, tile: 8, layout: Layout::Rows16, workers: 1, needs: Needs::NONE },
) {
    Ok(plan) => plan,
    Err(_) => panic!("the model does not fit"),
};
static MEMORY_BYTES: [u8; PLAN.bytes()] = [0; PLAN.bytes()];

/// A valid configuration with sizes that are multiples of nothing, half of them with features of any
/// family.
fn config(random: &mut Random) -> ModelConfig {
    if random.below(2) == 0 {
        return random_config(random, Attention::Bidirectional);
    }
    let kv_heads = 1 + random.below(3);
    let config = ModelConfig {
        vocab_size: 2 + random.below(300) as u32,
        model_dim: 1 + random.below(200) as u32,
        layers: 1 + random.below(4) as u32,
        heads: (kv_heads * (1 + random.below(3))) as u32,
        kv_heads: kv_heads as u32,
        head_dim: 2 * (1 + random.below(40)) as u32,
        ffn_dim: 1 + random.below(300) as u32,
        ..SMALLEST
    };
    config.validate().unwrap();
    config
}

#[test]
fn the_plan_is_exact_to_the_byte() {
    let mut random = Random(1);
    for _ in 0..if cfg!(miri) { 10 } else { 2000 } {
        let config = config(&mut random);
        let limits = Limits {
            layout: Layout::ALL[random.below(6)],
            canvas: 1 + random.below(70),
            tile: 1 + random.below(40),
            workers: 1 + random.below(5),
            needs: [
                Needs::NONE,
                Needs::FILTER,
                Needs::DIVERGENCE,
                Needs::FILTER.and(Needs::DIVERGENCE),
            ][random.below(4)],
        };
        let plan = Plan::new(&config, &limits).unwrap();
        assert_eq!((plan.limits(), *plan.config()), (limits, config));
        let needed = plan.bytes();
        let mut memory = Aligned::zeroed(needed + 16);
        assert!(plan.carve(&mut memory[..needed]).is_ok());
        assert!(plan.carve(&mut memory).is_ok(), "more than needed");
        for given in [needed - 1, needed - 16, needed / 2, 0] {
            let error = plan.carve(&mut memory[..given]).unwrap_err();
            assert_eq!(error, PlanError::Memory { needed, given });
        }
        let misaligned = plan.carve(&mut memory[8..]).unwrap_err();
        assert_eq!(misaligned, PlanError::Misaligned);
    }
}

#[test]
fn the_parts_add_up_and_are_what_they_say() {
    let mut random = Random(2);
    for _ in 0..if cfg!(miri) { 10 } else { 500 } {
        let (config, canvas) = (config(&mut random), 1 + random.below(70));
        let plan = |tile, workers| {
            Plan::new(
                &config,
                &Limits { canvas, tile, layout: Layout::Rows16, workers, needs: Needs::NONE },
            )
            .unwrap()
        };
        let parts = plan(4, 1).parts();
        let sum = parts.hidden + parts.kv_ring + parts.rope + parts.scratch + parts.session;
        assert_eq!(sum, plan(4, 1).bytes());
        let padded = |bytes: usize| bytes.next_multiple_of(16);
        assert_eq!(parts.hidden, padded(canvas * config.model_dim as usize * 4));
        let slots = canvas * config.layers as usize;
        let heads = config.kv_heads as usize;
        let entries = padded(slots * heads * config.head_dim as usize);
        assert_eq!(parts.kv_ring, 2 * entries + 2 * padded(slots * heads * 4));
        assert_eq!(parts.rope, 2 * padded(canvas * config.rope_dim() as usize / 2 * 4));
        assert_eq!(Some(parts.session), SessionMemory::bytes(canvas));
        // Only scratch memory depends on tile and workers.
        assert_eq!(plan(4, 3).parts().scratch, 3 * parts.scratch);
        let wide = demask::Parts { scratch: plan(9, 1).parts().scratch, ..parts };
        assert_eq!(plan(9, 1).parts(), wide);
    }
}

#[test]
fn experts_take_scratch_memory_for_choices_and_sums() {
    let with = crate::common::SMALLEST_WITH_EXPERTS;
    let without = ModelConfig { features: Features { experts: None, ..with.features }, ..with };
    let scratch = |config: &ModelConfig| {
        let limits =
            Limits { canvas: 9, tile: 5, layout: Layout::Rows16, workers: 1, needs: Needs::NONE };
        Plan::new(config, &limits).unwrap().parts().scratch
    };
    // Sums, two choices of each row, ranks of six experts and three groups, positions. The networks
    // of the experts are wider than the dense one: one tile's floats, and a group of activations.
    let own = 5 * 16 * 4 + 5 * 2 * 8 + (6 + 3) * 4 + 12 + 5 * 2 + 6;
    let (dense, expert) = (12, 16);
    assert_eq!((with.widest_ffn(), without.widest_ffn()), (expert, dense));
    let wider =
        (5usize * expert * 4).next_multiple_of(16) - (5usize * dense * 4).next_multiple_of(16);
    assert_eq!(scratch(&with), scratch(&without) + own + wider);
}

#[test]
#[cfg(feature = "decoders")]
fn decoders_take_memory_only_if_they_are_planned_for() {
    let limits =
        Limits { canvas: 11, tile: 5, layout: Layout::Rows16, workers: 1, needs: Needs::NONE };
    let parts = |needs| Plan::new(&DEVICE, &Limits { needs, ..limits }).unwrap().parts();
    let none = parts(Needs::NONE);
    // Ids and logits of 64 candidates, and their number.
    let filter = parts(Needs::FILTER);
    assert_eq!(filter.scratch - none.scratch, (5usize * (64 * 8 + 4)).next_multiple_of(16));
    assert_eq!(filter.hidden, none.hidden);
    // Rows of the last pass and which there are; one tile of them quantized, its logits and sums.
    let divergence = parts(Needs::DIVERGENCE);
    assert_eq!(divergence.hidden - none.hidden, 11 * 128 * 4 + 16);
    let words = Layout::Rows16.activation_words(5, 4).unwrap();
    let scratch = words * 4 + 5 * 64 * 4 + (5usize * 5 * 4).next_multiple_of(16);
    assert_eq!(divergence.scratch - none.scratch, scratch);
    // Nothing else takes any.
    let others = Needs::SHADOWS.and(Needs::VISIBILITY).and(Needs::BIAS).and(Needs::REVISIONS);
    assert_eq!(parts(others), none);
}

#[test]
fn limits_that_make_no_sense() {
    let new = |canvas, tile, workers| {
        Plan::new(
            &SMALLEST,
            &Limits { canvas, tile, layout: Layout::Rows16, workers, needs: Needs::NONE },
        )
    };
    for (canvas, tile, workers) in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (65_536, 1, 1)] {
        assert_eq!(new(canvas, tile, workers), Err(PlanError::Limits));
    }
    assert_eq!(new(usize::MAX, 1, 1), Err(PlanError::Limits));
    assert!(new(65_535, 1, 1).is_ok());
    // Sums and products that do not fit a word: at every size of word.
    for huge in [usize::MAX, usize::MAX / 2, usize::MAX / 4, usize::MAX / 16] {
        assert_eq!(new(1, huge, 1), Err(PlanError::TooLarge));
        assert_eq!(new(1, 1, huge), Err(PlanError::TooLarge));
        assert_eq!(new(65_535, huge, huge), Err(PlanError::TooLarge));
    }
}

#[test]
fn the_largest_model_that_the_format_can_describe() {
    let largest = ModelConfig {
        vocab_size: 1 << 20,
        model_dim: 1 << 16,
        layers: 1 << 10,
        heads: 1 << 6,
        kv_heads: 1 << 6,
        head_dim: 1 << 10,
        ffn_dim: 1 << 18,
        context: 1 << 16,
        ..SMALLEST
    };
    largest.validate().unwrap();
    let plan = Plan::new(
        &largest,
        &Limits {
            canvas: 65_535,
            tile: 32,
            layout: Layout::Rows16,
            workers: 64,
            needs: Needs::NONE,
        },
    );
    if usize::BITS == 64 {
        // 8 TiB of keys and values: countable, and nobody has it.
        assert!(plan.unwrap().bytes() > 1 << 43);
    } else {
        assert_eq!(plan, Err(PlanError::TooLarge));
    }
}

#[test]
fn a_session_alone() {
    for canvas in [1, 2, 7, 64, 65_535] {
        let needed = SessionMemory::bytes(canvas).unwrap();
        let mut memory = Aligned::zeroed(needed + 8);
        assert!(SessionMemory::carve(&mut memory[..needed], canvas).is_ok());
        let given = needed - 1;
        let short = SessionMemory::carve(&mut memory[..given], canvas).unwrap_err();
        assert_eq!(short, PlanError::Memory { needed, given });
        let misaligned = SessionMemory::carve(&mut memory[8..], canvas).unwrap_err();
        assert_eq!(misaligned, PlanError::Misaligned);
    }
    assert_eq!(SessionMemory::bytes(usize::MAX), None);
    for canvas in [0, 65_536, usize::MAX] {
        assert_eq!(SessionMemory::carve(&mut [], canvas).unwrap_err(), PlanError::Limits);
    }
}

#[test]
fn a_constant_plan_sizes_a_static() {
    assert_eq!(MEMORY_BYTES.len(), PLAN.bytes());
    assert!(PLAN.bytes() <= 200 * 1024, "{} bytes", PLAN.bytes());
    let mut memory = Aligned::zeroed(MEMORY_BYTES.len());
    assert!(PLAN.carve(&mut memory).is_ok());
    let error = PlanError::Memory { needed: 2, given: 1 };
    assert_eq!(error.to_string(), "2 bytes of memory are needed and 1 were given");
}
