//! Every kernel that this processor can run gives the bits of the definition.
//!
//! `DEMASK_REQUIRE_FEATURES=avx2,avx512-vnni` makes a missing one a failure. AVX-VNNI and AMX are
//! emulated where the processor lacks them.
#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod emulated;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod emulated_kernels;

use demask::Kernels;
use demask::decode::{Filter, LogitBias, Needs, Sampling, Score};
use demask::kernels::check::{Effort, all, if_available};
use demask::{Pass, Visible};
use demask_std::detect::{self, Choice};
use demask_std::load::LoadedModel;
use demask_std::runtime::{Memory, Runtime, Settings};

fn check<K: Kernels>(kernels: K) {
    println!("{}: {} cases", K::NAME, all(kernels, Effort::Thorough));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn avx2() {
    if_available(detect::avx2().ok(), check);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn avx512_vnni() {
    if_available(detect::avx512_vnni().ok(), check);
}

#[cfg(target_arch = "aarch64")]
#[test]
fn neon() {
    check(demask::kernels::aarch64::Neon::new());
}

#[cfg(target_arch = "aarch64")]
#[test]
fn dotprod() {
    if_available(detect::dot_prod().ok(), check);
}

#[cfg(target_arch = "aarch64")]
#[test]
fn i8mm() {
    if_available(detect::i8mm().ok(), check);
}

/// The bundled model's scores of a half-masked canvas.
fn scores(kernels: Choice) -> Vec<Score> {
    let model = LoadedModel::bundled(false).unwrap();
    let runtime = Runtime::new(&model).unwrap();
    let mut memory = Memory::new(0);
    let settings = Settings { canvas: 75, threads: 2, kernels, needs: Needs::NONE };
    let mut network = runtime.network(&settings, &mut memory).unwrap();
    let mask = model.config().mask_id;
    let canvas: Vec<u32> = (0..75).map(|i| if i % 2 == 0 { mask } else { 5 + i * 7 }).collect();
    let wanted: Vec<u16> = (0..75).step_by(2).collect();
    let mut scores = vec![Score::default(); wanted.len()];
    network.score(&Pass::whole(&canvas, &wanted), &Sampling::GREEDY, &mut scores).unwrap();
    scores
}

/// The same of passes that ask for everything at once: the second has hidden slots, shadows, biases and
/// a filter, and is compared with the first.
fn scores_for_decoders(kernels: Choice) -> Vec<Score> {
    let model = LoadedModel::bundled(false).unwrap();
    let runtime = Runtime::new(&model).unwrap();
    let mut memory = Memory::new(0);
    let needs = Needs::DIVERGENCE.and(Needs::FILTER);
    let settings = Settings { canvas: 75, threads: 2, kernels, needs };
    let mut network = runtime.network(&settings, &mut memory).unwrap();
    let all = needs.and(Needs::SHADOWS).and(Needs::BIAS).and(Needs::VISIBILITY);
    assert!(network.gives().include(all));
    let mask = model.config().mask_id;
    let canvas: Vec<u32> =
        (0..75).map(|i| if i % 2 == 0 || i >= 67 { mask } else { 5 + i * 7 }).collect();
    let wanted: Vec<u16> = (20..75).collect();
    let mut scores = vec![Score::default(); wanted.len()];
    network.score(&Pass::whole(&canvas, &wanted), &Sampling::GREEDY, &mut scores).unwrap();
    let nats = |position| LogitBias { position, id: 3 * position, nats: 4.0 };
    let bias: Vec<LogitBias> = (20..40).map(nats).collect();
    let visible = Visible { prefix: 9, end: 60, hidden: &[2, 3, 30], shadowed: (24, 32) };
    let pass = Pass { visible, bias: &bias, ..Pass::whole(&canvas, &wanted) };
    let filter = Filter { tempered: true, top_k: 40, top_p: 0.9 };
    let sampling = Sampling { temperature: 0.8, seed: 4, filter, ..Sampling::GREEDY };
    network.score(&pass, &sampling, &mut scores).unwrap();
    scores
}

#[test]
fn passes_for_decoders_are_the_same_on_all_kernels() {
    let expected = scores_for_decoders(Choice::Scalar);
    assert!(expected.iter().all(|score| score.divergence.is_finite()));
    for kernels in detect::available() {
        assert_eq!(scores_for_decoders(kernels), expected, "{kernels}");
    }
}

#[test]
fn the_whole_model_gives_the_same_scores() {
    let expected = scores(Choice::Scalar);
    for kernels in detect::available() {
        assert_eq!(scores(kernels), expected, "{kernels}");
    }
}
