//! The engine gives the same bits whatever it runs on: tiles, workers, the order in which they work,
//! room to spare, what was decoded before. What does not fit is refused.

use crate::common::{Aligned, Random};
use crate::engines::{Reverse, Threads, all_scores, bits, canvas, masks, uneven, with_engine};
use demask::Pass;
use demask::decode::{Needs, Sampling, Score};
use demask::image::{ModelConfig, ModelImage};
use demask::packed::Layout;
use demask::{
    Engine, EngineError, Executor, ForwardError, Limits, Method, Model, Options, Plan, Scalar,
    Serial, Session,
};

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
    ) -> (Vec<[u32; 10]>, Vec<u32>) {
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
        let limits = Limits {
            canvas: 30,
            tile,
            layout: Layout::Rows16,
            workers: executor.workers(),
            needs: Needs::NONE,
        };
        let plan = Plan::new(image.config(), &limits).unwrap();
        let mut memory = Aligned::zeroed(plan.bytes());
        let (for_engine, for_session) = plan.carve(&mut memory).unwrap();
        let engine = Engine::new(image, for_engine, Scalar, executor).unwrap();
        let mut session = Session::new(engine, for_session, <Method>::default());
        let options = Options {
            block_length: 6,
            steps: 12,
            temperature: 0.7,
            seed: 3,
            pinned: 0,
            ..Options::one_block(1)
        };
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
        let limits = Limits {
            canvas: 21,
            tile: 3,
            layout: Layout::Rows16,
            workers: planned,
            needs: Needs::NONE,
        };
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
            &Limits {
                canvas: 8,
                tile: 2,
                layout: Layout::Rows16,
                workers: planned,
                needs: Needs::NONE,
            },
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
