//! What holds for every canvas and all options.

use crate::fake_model::{EOS, MASK, Table, with_memory};
use demask::cache::NoCache;
use demask::decode::{CommitPolicy, EosPolicy, Even, FillAll, StopAtEos, Threshold, TopQ};
use demask::session::MIN_TEMPERATURE;
use demask::{Checksum, Method, Options, Progress, Session, SessionError, StepEvent};
use proptest::prelude::*;

const VOCAB: u32 = 13;

/// Masks are common, so are end tokens.
fn token() -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(MASK), 1 => Just(EOS), 4 => 2..VOCAB]
}

/// A canvas in whole blocks, and how to decode it.
fn infill() -> impl Strategy<Value = (Vec<u32>, Options)> {
    (1..7usize, 1..6usize, 1..9usize, any::<u64>(), prop_oneof![Just(0.0f32), 0.01f32..4.0])
        .prop_flat_map(|(block_length, blocks, steps, seed, temperature)| {
            let options = Options {
                block_length,
                steps: steps * blocks,
                temperature,
                seed,
                pinned: 0,
                ..Options::one_block(1)
            };
            (prop::collection::vec(token(), block_length * blocks), Just(options))
        })
}

fn model() -> impl Strategy<Value = Table> {
    (any::<u64>(), 0..5u64, 0.1f32..15.0).prop_map(|(seed, rows, scale)| Table {
        rows,
        scale,
        ..Table::new(seed)
    })
}

/// Decodes and checks every step. Returns the canvas, the checksum and the number of passes.
fn decode<P: CommitPolicy, X: EosPolicy>(
    model: Table,
    (policy, eos): (P, X),
    canvas: &[u32],
    options: Options,
) -> (Vec<u32>, Checksum, u32) {
    with_memory(64, |memory| {
        let mut session =
            Session::new(model, memory, Method { policy, schedule: Even, eos, cache: NoCache });
        session.begin_infill(canvas, options).unwrap();
        let mut before = canvas.to_vec();
        let mut check = |event: &StepEvent<'_>| {
            assert!(!event.commits.is_empty(), "a pass without a commit");
            assert!(event.scores.is_sorted_by(|a, b| a.position < b.position));
            for commit in event.commits {
                let position = commit.position as usize;
                assert!(position < event.block.end, "right of the block");
                assert_eq!(before[position], MASK, "not a mask");
                assert!(commit.token < VOCAB && commit.token != MASK);
                assert_eq!(event.canvas[position], commit.token);
            }
            let left = event.canvas.iter().filter(|id| **id == MASK).count();
            assert_eq!(event.masks, left);
            before.copy_from_slice(event.canvas);
        };
        let masks = canvas.iter().filter(|id| **id == MASK).count();
        let mut steps = 0;
        while session.step(&mut check).unwrap() == Progress::Running {
            steps += 1;
            assert!(steps <= masks, "more passes than masks");
        }
        assert_eq!(session.step(&mut ()), Ok(Progress::Finished));
        assert!(!session.canvas().contains(&MASK), "a mask is left");
        for (after, before) in session.canvas().iter().zip(canvas) {
            assert!(*before == MASK || before == after, "a token was changed");
        }
        (session.canvas().to_vec(), session.checksum(), session.forwards())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_canvas_ends_complete(
        model in model(),
        (canvas, options) in infill(),
        threshold in 0.0f32..1.1,
    ) {
        let topq = decode(model.clone(), (TopQ, FillAll), &canvas, options);
        prop_assert_eq!(&topq, &decode(model.clone(), (TopQ, FillAll), &canvas, options));
        let stop = decode(model.clone(), (TopQ, StopAtEos), &canvas, options);
        prop_assert!(stop.2 <= topq.2);
        let rule = Threshold(threshold);
        let fast = decode(model.clone(), (rule, FillAll), &canvas, options);
        prop_assert_eq!(&fast, &decode(model.clone(), (rule, FillAll), &canvas, options));
        decode(model, (rule, StopAtEos), &canvas, options);
    }

    #[test]
    fn stopping_early_gives_the_same_text(
        model in model(),
        prompt in prop::collection::vec(2..VOCAB, 0..8),
        (canvas, options) in infill(),
    ) {
        let answer = |eos: &dyn EosPolicy| {
            with_memory(64, |memory| {
                let method = Method { policy: TopQ, schedule: Even, eos, cache: NoCache };
                let mut session = Session::new(model.clone(), memory, method);
                session.begin(&prompt, canvas.len(), options).unwrap();
                session.run(&mut ()).unwrap();
                (session.answer().to_vec(), session.forwards())
            })
        };
        let (all, stopped) = (answer(&FillAll), answer(&StopAtEos));
        prop_assert_eq!(all.0, stopped.0);
        prop_assert!(stopped.1 <= all.1);
    }

    /// Anything is either legal or refused with its error, and a refusal changes nothing.
    #[test]
    fn illegal_options_are_refused_and_leave_the_session_alone(
        prompt in prop::collection::vec(prop_oneof![9 => 0..VOCAB, 1 => any::<u32>()], 0..12),
        length in prop_oneof![8 => 0..24usize, 1 => any::<usize>()],
        block_length in prop_oneof![8 => 0..9usize, 1 => any::<usize>()],
        steps in prop_oneof![8 => 0..30usize, 1 => any::<usize>()],
        temperature in prop_oneof![
            5 => 0.0f32..3.0,
            1 => any::<f32>(),
            1 => Just(f32::NAN),
            1 => Just(f32::INFINITY)
        ],
    ) {
        let options = Options { block_length, steps, temperature, seed: 1, pinned: 0, ..Options::one_block(1) };
        let len = prompt.len().saturating_add(length);
        // Without a length the prompt itself is the region, if it has masks.
        let whole = length == 0 && prompt.contains(&MASK);
        let region = if whole { prompt.len() } else { length };
        let blocks = region.checked_div(block_length).unwrap_or(0);
        let unknown = prompt.iter().position(|id| *id >= VOCAB);
        let expected = if len > 32 {
            Err(SessionError::CanvasTooLong { len, max: 32 })
        } else if let Some(position) = unknown {
            Err(SessionError::UnknownToken { position, id: prompt[position] })
        } else if region == 0 {
            Ok(())
        } else if block_length == 0 || region % block_length != 0 {
            Err(SessionError::BlockLength { region, block: block_length })
        } else if steps == 0 || steps % blocks != 0 {
            Err(SessionError::Steps { steps, blocks })
        } else if temperature != 0.0 && !(MIN_TEMPERATURE..f32::INFINITY).contains(&temperature) {
            Err(SessionError::Temperature)
        } else {
            Ok(())
        };
        with_memory(32, |memory| {
            let mut session = Session::new(Table::new(1), memory, Method::with_policy(TopQ));
            session.begin(&[3, 4], 6, Options::one_block(6)).unwrap();
            session.step(&mut ()).unwrap();
            let state = (session.canvas().to_vec(), session.checksum(), session.forwards());
            let result = session.begin(&prompt, length, options);
            assert_eq!(result, expected);
            match result {
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    let after = (session.canvas().to_vec(), session.checksum(), session.forwards());
                    assert_eq!(state, after);
                    session.run(&mut ()).unwrap();
                    assert_eq!(session.forwards(), 6, "goes on where it was");
                }
                Ok(()) => {
                    session.run(&mut ()).unwrap();
                    assert_eq!(session.canvas().len(), len);
                    assert!(!session.canvas().contains(&MASK));
                }
            }
        });
    }
}
