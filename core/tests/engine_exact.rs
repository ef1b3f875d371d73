//! The engine gives the bits of the numerics contract, whatever it runs on: tiles, workers, the
//! order in which they work, room to spare, what was decoded before.

mod common;
mod naive;

use common::{
    Aligned, Random, SMALLEST, WIDE_EXPERTS, image_with, random_config, sections, with_q4k,
};
use demask::Pass;
use demask::decode::{Sampling, Score};
use demask::image::{Attention, ModelConfig, ModelImage, RopePairs, TensorRole};
use demask::packed::{Format, Layout};
use demask::{
    Engine, EngineError, Executor, ForwardError, Limits, Method, Model, Options, Plan, Scalar,
    Serial, Session,
};
use demask_quant::Quantization;
use std::sync::Mutex;

/// Deals the tasks to threads of their own.
#[derive(Clone, Copy)]
struct Threads(usize);

impl Executor for Threads {
    fn workers(&self) -> usize {
        self.0
    }

    fn run<S: Send, T: Send, E: Send>(
        &self,
        states: impl Iterator<Item = S> + Send,
        tasks: impl Iterator<Item = T> + Send,
        work: impl Fn(&mut S, T) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let tasks = Mutex::new(tasks);
        let (tasks, work) = (&tasks, &work);
        std::thread::scope(|scope| {
            let threads: Vec<_> = states
                .map(|mut state| {
                    scope.spawn(move || {
                        let next = || tasks.lock().unwrap().next();
                        std::iter::from_fn(next).try_for_each(|task| work(&mut state, task))
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap())
        })
    }
}

/// The last task first, each by the next worker in turn.
#[derive(Clone, Copy)]
struct Reverse(usize);

impl Executor for Reverse {
    fn workers(&self) -> usize {
        self.0
    }

    fn run<S: Send, T: Send, E: Send>(
        &self,
        states: impl Iterator<Item = S> + Send,
        tasks: impl Iterator<Item = T> + Send,
        work: impl Fn(&mut S, T) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let mut states: Vec<_> = states.collect();
        assert_eq!(states.len(), self.0, "a state for each worker");
        let tasks: Vec<_> = tasks.collect();
        let mut first = Ok(());
        for (turn, task) in tasks.into_iter().rev().enumerate() {
            let worker = turn % self.0;
            // An error of an earlier task replaces that of a later one.
            first = work(&mut states[worker], task).and(first);
        }
        first
    }
}

/// Shapes in which nothing is a multiple of anything, and ones in which everything is.
fn shapes() -> Vec<(ModelConfig, Quantization)> {
    let q = |layers, embedding| Quantization { embedding, ..Quantization::uniform(layers) };
    let both =
        |vocab_size, model_dim, ffn_dim| ModelConfig { vocab_size, model_dim, ffn_dim, ..SMALLEST };
    let heads = |heads, kv_heads, head_dim| ModelConfig { heads, kv_heads, head_dim, ..SMALLEST };
    vec![
        (SMALLEST, q(Format::Q8, Format::Q8)),
        (both(64, 32, 64), q(Format::Q4, Format::Q8)),
        (both(65, 33, 31), q(Format::Q4, Format::Q4)),
        (both(65, 33, 31), q(Format::Q5, Format::Q5)),
        (both(130, 70, 100), q(Format::Q5, Format::Q8)),
        (both(130, 70, 100), q(Format::Q8, Format::Q4)),
        (ModelConfig { layers: 3, ..both(257, 40, 17) }, q(Format::Q4, Format::Q4)),
        (
            ModelConfig { tied_head: false, layers: 2, ..both(79, 64, 96) },
            q(Format::Q4, Format::Q8),
        ),
        (ModelConfig { layers: 2, ..heads(4, 1, 8) }, q(Format::Q8, Format::Q8)),
        (ModelConfig { layers: 2, ..heads(6, 2, 10) }, q(Format::Q4, Format::Q8)),
        (
            ModelConfig { rope_pairs: RopePairs::Adjacent, layers: 2, ..heads(3, 3, 6) },
            q(Format::Q8, Format::Q8),
        ),
        (
            ModelConfig { rope_pairs: RopePairs::Adjacent, tied_head: false, ..heads(2, 1, 34) },
            q(Format::Q4, Format::Q4),
        ),
    ]
}

/// Random tokens, with about half of them masks.
fn canvas(random: &mut Random, config: &ModelConfig, length: usize) -> Vec<u32> {
    let token = |random: &mut Random| match random.below(2) {
        0 => config.mask_id,
        _ => random.below(config.vocab_size as usize) as u32,
    };
    (0..length).map(|_| token(random)).collect()
}

fn masks(config: &ModelConfig, canvas: &[u32]) -> Vec<u16> {
    (0..).zip(canvas).filter(|(_, id)| **id == config.mask_id).map(|(i, _)| i).collect()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// Every bit of a score.
fn score_bits(score: &Score) -> [u32; 8] {
    bytemuck::cast(*score)
}

/// An engine within these limits, handed to `work`.
fn with_engine<E: Executor, R>(
    image: &ModelImage<'_>,
    executor: E,
    (canvas, tile): (usize, usize),
    work: impl FnOnce(&mut Engine<'_, Scalar, E>) -> R,
) -> R {
    let limits = Limits { canvas, tile, layout: image.layout(), workers: executor.workers() };
    let plan = Plan::new(image.config(), &limits).unwrap();
    let mut memory = Aligned::zeroed(plan.bytes());
    // What an earlier program left behind.
    memory.fill(0xA5);
    let (memory, _) = plan.carve(&mut memory).unwrap();
    work(&mut Engine::new(image, memory, Scalar, executor).unwrap())
}

fn all_scores<K: Model>(engine: &mut K, canvas: &[u32], wanted: &[u16]) -> Vec<[u32; 8]> {
    let mut scores = vec![Score::default(); wanted.len()];
    let sampling = Sampling { temperature: 0.8, seed: 5, step: 3 };
    engine.score(&Pass::whole(canvas, wanted), &sampling, &mut scores).unwrap();
    scores.iter().map(score_bits).collect()
}

#[test]
fn logits_and_scores_are_those_of_the_contract() {
    let mut random = Random(1);
    for (seed, (config, quantization)) in (0..).zip(shapes()) {
        let bytes = image_with(&sections(config), quantization, seed);
        let image = ModelImage::parse(&bytes).unwrap();
        for length in [1, 2, 7, 13] {
            compare_with_the_contract(&image, length, &mut random);
        }
    }
}

/// The engine's logits and scores of a random canvas are the naive ones.
fn compare_with_the_contract(image: &ModelImage<'_>, length: usize, random: &mut Random) {
    let config = *image.config();
    let vocab = config.vocab_size as usize;
    let canvas = canvas(random, &config, length);
    let expected = naive::logits(image, &canvas);
    let mut logits = vec![0.0; length * vocab];
    let every: Vec<u16> = (0..length as u16).collect();
    let wanted = masks(&config, &canvas);
    with_engine(image, Serial, (length, 4), |engine| {
        engine.logits(&canvas, &mut logits).unwrap();
        for (row, expected) in logits.chunks(vocab).zip(&expected) {
            assert_eq!(bits(row), bits(expected), "{config:?}");
        }
        // Scores of all rows, and of masks only, from the same logits.
        for wanted in [&every, &wanted] {
            let sampling = Sampling { temperature: 0.8, seed: 5, step: 3 };
            let score = |&position: &u16| {
                let logits = &expected[usize::from(position)];
                let mask = config.mask_id;
                Score::from_logits(position.into(), logits, mask, &sampling).unwrap()
            };
            let expected: Vec<_> = wanted.iter().map(score).collect();
            let expected: Vec<_> = expected.iter().map(score_bits).collect();
            assert_eq!(all_scores(engine, &canvas, wanted), expected);
        }
    });
}

/// A tensor's format does not depend on its neighbours': what shares its rows may have another one,
/// for which they are quantized again.
#[test]
fn formats_may_be_mixed() {
    let mut random = Random(3);
    let config = ModelConfig {
        vocab_size: 77,
        model_dim: 256,
        layers: 2,
        heads: 8,
        kv_heads: 2,
        head_dim: 32,
        ffn_dim: 512,
        ..SMALLEST
    };
    let q = Quantization { embedding: Format::Q4, ..Quantization::uniform(Format::Q8) };
    let other_bytes = image_with(&sections(config), q, 5);
    use TensorRole as T;
    let choices: [fn(T) -> bool; 6] = [
        |role| !role.stays_f32(),
        |role| matches!(role, T::Query(_) | T::Gate(_) | T::AttentionOutput(1)),
        |role| matches!(role, T::Key(_) | T::Up(_)),
        |role| matches!(role, T::Value(_) | T::Down(_)),
        |role| matches!(role, T::Query(0) | T::Key(0) | T::Up(0) | T::Embedding),
        |role| role == T::Embedding,
    ];
    for (seed, choice) in (0..).zip(choices) {
        let bytes = with_q4k(&other_bytes, Layout::Rows16, seed, choice);
        let image = ModelImage::parse(&bytes).unwrap();
        assert!(image.holds(Format::Q4K));
        for length in [1, 6] {
            compare_with_the_contract(&image, length, &mut random);
        }
    }
}

/// A model with two layers whose sizes are multiples of nothing.
fn uneven() -> Aligned {
    let config = ModelConfig {
        vocab_size: 150,
        model_dim: 50,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 14,
        ffn_dim: 75,
        ..SMALLEST
    };
    image_with(&sections(config), Quantization::uniform(Format::Q4), 9)
}

#[test]
fn tiles_workers_and_room_change_nothing() {
    let bytes = uneven();
    let image = ModelImage::parse(&bytes).unwrap();
    let mut random = Random(2);
    let canvas = canvas(&mut random, image.config(), 23);
    let wanted = masks(image.config(), &canvas);
    fn compute<E: Executor>(
        engine: &mut Engine<'_, Scalar, E>,
        (canvas, wanted): (&[u32], &[u16]),
    ) -> (Vec<[u32; 8]>, Vec<u32>) {
        let mut logits = vec![0.0; canvas.len() * 150];
        engine.logits(canvas, &mut logits).unwrap();
        (all_scores(engine, canvas, wanted), bits(&logits))
    }
    let input = (canvas.as_slice(), wanted.as_slice());
    let expected = with_engine(&image, Serial, (23, 1), |engine| compute(engine, input));
    for tile in [1, 2, 3, 8, 32, 100] {
        for room in [23, 24, 64] {
            for workers in [1, 2, 3, 5, 8, 40] {
                let threads = with_engine(&image, Threads(workers), (room, tile), |engine| {
                    compute(engine, input)
                });
                assert!(threads == expected, "{workers} threads, tile {tile}, room {room}");
                let reverse = with_engine(&image, Reverse(workers), (room, tile), |engine| {
                    compute(engine, input)
                });
                assert!(reverse == expected, "{workers} reversed, tile {tile}, room {room}");
            }
        }
    }
}

/// Every feature of every family in any combination.
#[test]
fn the_bits_of_the_contract_for_any_set_of_features() {
    let mut random = Random(7);
    for case in 0..if cfg!(miri) { 3 } else { 150 } {
        let attention = match random.below(3) {
            0 => Attention::Bidirectional,
            1 => Attention::CAUSAL,
            _ => Attention::BlockCausal(2 + random.below(4) as u32),
        };
        let config = random_config(&mut random, attention);
        let format = |random: &mut Random| [Format::Q4, Format::Q8][random.below(2)];
        let (layers, embedding) = (format(&mut random), format(&mut random));
        let quantization = Quantization { embedding, ..Quantization::uniform(layers) };
        let bytes = image_with(&sections(config), quantization, case);
        let image = ModelImage::parse(&bytes).unwrap();
        let length = 1 + random.below(12);
        let ids = config.vocab_size as usize;
        let canvas: Vec<u32> = (0..length).map(|_| random.below(ids) as u32).collect();
        let expected = bits(&naive::logits(&image, &canvas).concat());
        let (tile, workers) = (1 + random.below(9), 1 + random.below(4));
        fn logits<E: Executor>(engine: &mut Engine<'_, Scalar, E>, canvas: &[u32]) -> Vec<u32> {
            let mut logits = vec![0.0; canvas.len() * engine.config().vocab_size as usize];
            engine.logits(canvas, &mut logits).unwrap();
            bits(&logits)
        }
        let room = length + random.below(5);
        let got = with_engine(&image, Reverse(workers), (room, tile), |e| logits(e, &canvas));
        assert!(got == expected, "{case}: tile {tile}, {workers} workers, {config:?}");
        let got = with_engine(&image, Serial, (room, length), |e| logits(e, &canvas));
        assert!(got == expected, "{case}: one tile, {config:?}");
    }
}

/// Experts are slices of a stack of rows, also where scales have scales.
#[test]
fn experts_in_q4k() {
    let bytes = image_with(&sections(WIDE_EXPERTS), Quantization::uniform(Format::Q8), 5);
    let bytes = with_q4k(&bytes, Layout::Rows16, 6, |role| {
        !role.stays_f32() && role.shape(&WIDE_EXPERTS).1.is_multiple_of(256)
    });
    let image = ModelImage::parse(&bytes).unwrap();
    let canvas = [2, 1, 7, 1, 9, 4];
    let expected = bits(&naive::logits(&image, &canvas).concat());
    for tile in [1, 4, 6] {
        let mut logits = vec![0.0; canvas.len() * WIDE_EXPERTS.vocab_size as usize];
        with_engine(&image, Reverse(2), (8, tile), |e| e.logits(&canvas, &mut logits).unwrap());
        assert!(bits(&logits) == expected, "tile {tile}");
    }
}

#[test]
fn what_was_decoded_before_changes_nothing() {
    let bytes = uneven();
    let image = ModelImage::parse(&bytes).unwrap();
    let mut random = Random(3);
    let config = image.config();
    with_engine(&image, Serial, (40, 8), |engine| {
        let short = canvas(&mut random, config, 9);
        let wanted = masks(config, &short);
        let first = all_scores(engine, &short, &wanted);
        for length in [40, 1, 9, 17] {
            let other = canvas(&mut random, config, length);
            all_scores(engine, &other, &masks(config, &other));
            assert_eq!(all_scores(engine, &short, &wanted), first);
        }
        // A pass that failed half-way, too.
        let unknown = ForwardError::UnknownToken { position: 8, id: 150 };
        let mut broken = short.clone();
        broken[8] = 150;
        assert_eq!(
            engine.score(&Pass::whole(&broken, &[]), &Sampling::GREEDY, &mut []),
            Err(unknown)
        );
        assert_eq!(all_scores(engine, &short, &wanted), first);
        let long = vec![2; 41];
        let too_long = ForwardError::CanvasTooLong { len: 41, max: 40 };
        assert_eq!(
            engine.score(&Pass::whole(&long, &[]), &Sampling::GREEDY, &mut []),
            Err(too_long)
        );
        assert_eq!(engine.logits(&long, &mut []), Err(too_long));
        assert_eq!(all_scores(engine, &short, &wanted), first);
    });
}

#[test]
fn wanted_rows_do_not_depend_on_which_others_are_wanted() {
    let bytes = uneven();
    let image = ModelImage::parse(&bytes).unwrap();
    let canvas = canvas(&mut Random(4), image.config(), 20);
    with_engine(&image, Reverse(3), (20, 3), |engine| {
        let every: Vec<u16> = (0..20).collect();
        let all = all_scores(engine, &canvas, &every);
        for wanted in [vec![], vec![0], vec![19], vec![3, 4, 18], (5..15).collect()] {
            let expected: Vec<_> = wanted.iter().map(|&i| all[usize::from(i)]).collect();
            assert_eq!(all_scores(engine, &canvas, &wanted), expected);
        }
    });
}

#[test]
fn a_whole_session_is_the_same_on_any_executor() {
    let bytes = uneven();
    let image = ModelImage::parse(&bytes).unwrap();
    fn decode<E: Executor>(image: &ModelImage<'_>, executor: E, tile: usize) -> (Vec<u32>, u64) {
        let limits =
            Limits { canvas: 30, tile, layout: Layout::Rows16, workers: executor.workers() };
        let plan = Plan::new(image.config(), &limits).unwrap();
        let mut memory = Aligned::zeroed(plan.bytes());
        let (for_engine, for_session) = plan.carve(&mut memory).unwrap();
        let engine = Engine::new(image, for_engine, Scalar, executor).unwrap();
        let mut session = Session::new(engine, for_session, <Method>::default());
        let options = Options { block_length: 6, steps: 12, temperature: 0.7, seed: 3, pinned: 0 };
        session.begin(&[5, 6, 7, 8], 24, options).unwrap();
        session.run(&mut ()).unwrap();
        (session.canvas().to_vec(), session.checksum().value())
    }
    let expected = decode(&image, Serial, 8);
    for workers in [2, 3, 7] {
        assert_eq!(decode(&image, Threads(workers), 4), expected);
        assert_eq!(decode(&image, Reverse(workers), 16), expected);
    }
}

#[test]
fn memory_for_more_workers_than_there_are() {
    let bytes = uneven();
    let image = ModelImage::parse(&bytes).unwrap();
    let canvas = canvas(&mut Random(5), image.config(), 20);
    let wanted = masks(image.config(), &canvas);
    let expected =
        with_engine(&image, Serial, (20, 4), |engine| all_scores(engine, &canvas, &wanted));
    for (planned, workers) in (2..8).flat_map(|planned| (1..=planned).map(move |w| (planned, w))) {
        // Odd sizes, so that equal shares of the memory would not be aligned.
        let limits = Limits { canvas: 21, tile: 3, layout: Layout::Rows16, workers: planned };
        let plan = Plan::new(image.config(), &limits).unwrap();
        let mut memory = Aligned::zeroed(plan.bytes());
        let (memory, _) = plan.carve(&mut memory).unwrap();
        let mut engine = Engine::new(&image, memory, Scalar, Reverse(workers)).unwrap();
        let scores = all_scores(&mut engine, &canvas, &wanted);
        assert!(scores == expected, "{workers} workers, planned {planned}");
    }
}

/// What is promised of `wanted` and the outputs does not hold here: results mean nothing, and
/// nothing worse happens.
#[test]
fn careless_callers_do_not_crash_it() {
    let bytes = uneven();
    let image = ModelImage::parse(&bytes).unwrap();
    let canvas = canvas(&mut Random(6), image.config(), 9);
    for workers in [1, 3] {
        with_engine(&image, Reverse(workers), (12, 2), |engine| {
            for wanted in [vec![11], vec![12], vec![u16::MAX], vec![7, 2, 2, 9], vec![3; 40]] {
                for length in [0, 1, wanted.len(), wanted.len() + 3] {
                    let mut scores = vec![Score::default(); length];
                    let _ = engine.score(
                        &Pass::whole(&canvas, &wanted),
                        &Sampling::GREEDY,
                        &mut scores,
                    );
                    let _ =
                        engine.score(&Pass::whole(&[], &wanted), &Sampling::GREEDY, &mut scores);
                }
            }
            for length in [0, 1, 150, 9 * 150 - 1, 9 * 150 + 1] {
                let _ = engine.logits(&canvas, &mut vec![0.0; length]);
            }
        });
    }
}

#[test]
fn an_engine_refuses_memory_of_another_plan() {
    let bytes = uneven();
    let image = ModelImage::parse(&bytes).unwrap();
    let build = |config: &ModelConfig, planned: usize, workers: usize| {
        let plan = Plan::new(
            config,
            &Limits { canvas: 8, tile: 2, layout: Layout::Rows16, workers: planned },
        )
        .unwrap();
        let mut memory = Aligned::zeroed(plan.bytes());
        let (memory, _) = plan.carve(&mut memory).unwrap();
        Engine::new(&image, memory, Scalar, Reverse(workers)).map(|_| ())
    };
    let config = *image.config();
    assert_eq!(build(&config, 3, 3), Ok(()));
    assert_eq!(build(&config, 4, 3), Ok(()), "fewer workers than planned");
    assert_eq!(build(&config, 2, 3), Err(EngineError::WrongPlan));
    let other = ModelConfig { ffn_dim: 76, ..config };
    assert_eq!(build(&other, 3, 3), Err(EngineError::WrongPlan));
}
