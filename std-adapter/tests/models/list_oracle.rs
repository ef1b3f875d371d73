//! Policies on a model that knows every conditional exactly: how often they are right, against the closed
//! forms. Whatever differs is the fault of a policy or of the session.

use demask::cache::NoCache;
use demask::decode::{
    CommitPolicy, Dream, EntropyBound, Even, FillAll, RandomOrder, Rank, Sequential, StopAtEos,
    Threshold, TopQ,
};
use demask::{Method, Options, Session, SessionMemory};
use demask_std::harness::closed_form::{
    entropy_sizes, even_sizes, left_to_right, replace_random, replace_random_by_confidence,
    replace_random_entropy, replace_random_greedy, replace_random_threshold, shuffle,
    shuffle_entropy, threshold_sizes,
};
use demask_std::harness::lists::ListTask;
use demask_std::harness::oracle::Oracle;

const TRIALS: u64 = 4000;

/// A decode of `n` items in `steps` steps at a temperature.
#[derive(Clone, Copy)]
struct Way {
    n: usize,
    steps: usize,
    temperature: f32,
}

fn drawn(n: usize, steps: usize) -> Way {
    Way { n, steps, temperature: 1.0 }
}

/// How often a policy is right, over random prompts and seeds.
fn simulate(task: ListTask, policy: impl CommitPolicy, way: Way) -> f64 {
    let Way { n, steps, temperature } = way;
    let (prompt, answer) = (task.prompt_len(n), task.answer_len(n));
    let slots = prompt + answer;
    let mut memory = vec![0u64; SessionMemory::bytes(slots).unwrap().div_ceil(8)];
    let memory = SessionMemory::carve(bytemuck::cast_slice_mut(&mut memory), slots).unwrap();
    let method = Method { policy, schedule: Even, eos: FillAll, cache: NoCache };
    let mut session = Session::new(Oracle::new(task, n), memory, method);
    let mut right = 0;
    for seed in 0..TRIALS {
        let given = task.prompt(n, seed);
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let options = Options { steps, temperature, seed, ..Options::one_block(answer) };
        session.begin(&given, answer, options).unwrap();
        session.run(&mut ()).unwrap();
        right += u64::from(task.answers(n, &given).contain(session.generated()));
    }
    right as f64 / TRIALS as f64
}

/// Within four standard errors; exactly where nothing is left to chance.
fn check(what: &str, simulated: f64, expected: f64) {
    let error = (expected * (1.0 - expected) / TRIALS as f64).max(0.0).sqrt();
    let sure = if error < 1e-9 { 1e-9 } else { 4.0 * error };
    println!("{what}: {simulated:.4}, by the closed form {expected:.4} ± {error:.4}");
    assert!((simulated - expected).abs() <= sure, "{what}: {simulated} {expected} {error}");
}

const ONE_ANSWER: [ListTask; 6] = [
    ListTask::Copy,
    ListTask::Reverse,
    ListTask::Sort,
    ListTask::InsertIndex,
    ListTask::RemoveIndex,
    ListTask::ReplaceIndex,
];

#[test]
fn one_right_answer_is_found_in_any_number_of_steps() {
    for task in ONE_ANSWER {
        for (steps, temperature) in [(1, 0.0), (1, 1.0), (2, 1.0), (5, 1.0)] {
            let way = Way { n: 5, steps, temperature };
            check(task.name(), simulate(task, TopQ, way), 1.0);
            check(task.name(), simulate(task, RandomOrder, way), 1.0);
            check(task.name(), simulate(task, Threshold(0.9), way), 1.0);
            check(task.name(), simulate(task, EntropyBound::new(0.0), way), 1.0);
        }
    }
}

#[test]
fn shuffle_with_k_tokens_per_step() {
    for n in [2usize, 4, 6] {
        for k in 1..=n {
            let steps = n.div_ceil(k);
            let (way, expected) = (drawn(n, steps), shuffle(&even_sizes(n, steps)));
            let what = |policy: &str| format!("shuffle of {n}, {k} per step, {policy}");
            let task = ListTask::Shuffle;
            check(&what("low-confidence"), simulate(task, TopQ, way), expected);
            check(&what("random"), simulate(task, RandomOrder, way), expected);
            check(&what("sequential"), simulate(task, Sequential, way), expected);
            let margin = Dream::new(Rank::Margin).with_temperature(1.0);
            check(&what("dream margin"), simulate(task, margin, way), expected);
        }
    }
}

#[test]
fn replace_random_with_k_tokens_per_step() {
    for n in [2usize, 4, 6] {
        for k in 1..=n {
            let steps = n.div_ceil(k);
            let (way, sizes) = (drawn(n, steps), even_sizes(n, steps));
            let what = |policy: &str| format!("replace-random of {n}, {k} per step, {policy}");
            let task = ListTask::ReplaceRandom;
            let expected = replace_random(&sizes);
            check(&what("random"), simulate(task, RandomOrder, way), expected);
            check(&what("sequential"), simulate(task, Sequential, way), expected);
            let entropy = Dream::new(Rank::Entropy);
            check(&what("dream entropy"), simulate(task, entropy, way), expected);
            // The order is by what is drawn: another form.
            let expected = replace_random_by_confidence(&sizes);
            check(&what("low-confidence"), simulate(task, TopQ, way), expected);
            let way = Way { temperature: 0.0, ..way };
            let expected = replace_random_greedy(&sizes);
            check(&what("greedy"), simulate(task, TopQ, way), expected);
            check(&what("greedy, random"), simulate(task, RandomOrder, way), expected);
        }
    }
}

#[test]
fn thresholds() {
    for n in [2, 3, 5, 6] {
        for threshold in [0.0f32, 0.18, 0.22, 0.3, 0.45, 0.55, 0.7, 0.78, 0.82, 0.9, 1.0, 1.5] {
            let what = |task: ListTask| format!("{task} of {n}, threshold {threshold}");
            let (way, p) = (drawn(n, 1), f64::from(threshold));
            let simulated = |task| simulate(task, Threshold(threshold), way);
            let expected = shuffle(&threshold_sizes(n, p));
            check(&what(ListTask::Shuffle), simulated(ListTask::Shuffle), expected);
            let expected = replace_random_threshold(n, p);
            check(&what(ListTask::ReplaceRandom), simulated(ListTask::ReplaceRandom), expected);
            if threshold > 0.5 {
                // The published form, at temperature 0.
                let greedy = Way { temperature: 0.0, ..way };
                let sure = p > (n - 1) as f64 / n as f64;
                let got = simulate(ListTask::ReplaceRandom, Threshold(threshold), greedy);
                check(&what(ListTask::ReplaceRandom), got, f64::from(u8::from(sure)));
                check(
                    &what(ListTask::Shuffle),
                    simulate(ListTask::Shuffle, Threshold(threshold), greedy),
                    1.0,
                );
            }
        }
    }
}

#[test]
fn entropy_bounds() {
    for n in [2usize, 4, 6] {
        for nats in [0.0f32, 0.1, 0.5, 0.6, 1.0, 1.5, 2.0, 3.0, 20.0] {
            let what = |task: ListTask| format!("{task} of {n}, {nats} nats");
            let (way, policy) = (drawn(n, 1), EntropyBound::new(nats));
            let expected = shuffle(&entropy_sizes(n, nats.into(), shuffle_entropy));
            check(&what(ListTask::Shuffle), simulate(ListTask::Shuffle, policy, way), expected);
            let sizes = entropy_sizes(n, nats.into(), replace_random_entropy);
            let task = ListTask::ReplaceRandom;
            check(&what(task), simulate(task, policy, way), replace_random(&sizes));
        }
    }
}

#[test]
fn any_task_from_left_to_right() {
    for task in ListTask::ALL {
        let n = 4;
        let answers = task.answers(n, &task.prompt(n, 0));
        for steps in 1..=task.answer_len(n) {
            let expected = left_to_right(&answers, &even_sizes(task.answer_len(n), steps));
            let got = simulate(task, Sequential, drawn(n, steps));
            check(&format!("{task} of {n} in {steps} steps"), got, expected);
        }
    }
}

#[test]
fn what_follows_the_answer_is_the_end() {
    let task = ListTask::Copy;
    let mut memory = vec![0u64; SessionMemory::bytes(16).unwrap().div_ceil(8)];
    let memory = SessionMemory::carve(bytemuck::cast_slice_mut(&mut memory), 16).unwrap();
    let method = Method { policy: TopQ, schedule: Even, eos: StopAtEos, cache: NoCache };
    let mut session = Session::new(Oracle::new(task, 3), memory, method);
    session.begin(&[4, 2, 3], 8, Options { block_length: 4, ..Options::one_block(8) }).unwrap();
    session.run(&mut ()).unwrap();
    assert_eq!(session.answer(), [4, 2, 3]);
}
