//! Any canvas, any options: refused with the session unchanged, or decoded to the end.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/fake_model/mod.rs"]
mod fake_model;

use demask::cache::NoCache;
use demask::decode::{
    Commit, CommitPolicy, Edit, EosPolicy, Even, FillAll, StepView, StopAtEos, Threshold, TopQ,
};
use demask::{Method, Options, Progress, Session, SessionError};
use fake_model::{MASK, Table, with_memory};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Policy {
    TopQ,
    Threshold(f32),
    /// Commits whatever these say, legal or not.
    Wild(Vec<(u32, u32, f32)>),
}

impl CommitPolicy for Policy {
    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        match self {
            Self::TopQ => TopQ.select(view, edit),
            Self::Threshold(least) => Threshold(*least).select(view, edit),
            Self::Wild(commits) => {
                for &(position, token, confidence) in &*commits {
                    edit.offer(Commit { position, token, confidence }, view.quota + 3);
                }
            }
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    seed: u64,
    rows: u8,
    scale: f32,
    memory: u8,
    canvas: Vec<u8>,
    /// The last entry of the canvas is this id as it is.
    odd: Option<u32>,
    /// Masks to add, or the canvas as it is.
    length: Option<u32>,
    block_length: u8,
    steps: u16,
    temperature: f32,
    policy: Policy,
    stop: bool,
}

fn begin<P: CommitPolicy, X: EosPolicy>(
    session: &mut Session<'_, Table, P, Even, X>,
    input: &Input,
    canvas: &[u32],
) -> Result<(), SessionError> {
    let options = Options {
        block_length: input.block_length.into(),
        steps: input.steps.into(),
        temperature: input.temperature,
        pinned: 0,
        seed: input.seed,
        ..Options::one_block(1)
    };
    match input.length {
        Some(length) => session.begin(canvas, length as usize, options),
        None => session.begin_infill(canvas, options),
    }
}

fn decode(input: &mut Input, eos: &dyn EosPolicy) {
    let mut canvas: Vec<u32> = input.canvas.iter().map(|id| u32::from(id % 13)).collect();
    if let (Some(last), Some(odd)) = (canvas.last_mut(), input.odd) {
        *last = odd;
    }
    let model = Table {
        rows: input.rows.into(),
        scale: input.scale,
        max_canvas: 96,
        ..Table::new(input.seed)
    };
    let mut policy = std::mem::replace(&mut input.policy, Policy::TopQ);
    with_memory(usize::from(input.memory).max(1), |memory| {
        let method = Method { policy: &mut policy, schedule: Even, eos, cache: NoCache };
        let mut session = Session::new(model, memory, method);
        session.begin(&[], 1, Options::one_block(1)).unwrap();
        if begin(&mut session, input, &canvas).is_err() {
            assert_eq!(session.canvas(), [MASK], "changed by a refused start");
            return;
        }
        let before = session.canvas().to_vec();
        let masks = before.iter().filter(|id| **id == MASK).count();
        let blocks = session.generated().len() / usize::from(input.block_length).max(1);
        for _ in 0..=2 * masks + 9 * blocks {
            match session.step(&mut ()) {
                Ok(Progress::Running) => {}
                Ok(Progress::Finished) => {
                    let generated = session.generated();
                    assert!(generated.is_empty() || !session.canvas().contains(&MASK));
                    let kept = |(a, b): (&u32, &u32)| *b == MASK || a == b;
                    assert!(session.canvas().iter().zip(&before).all(kept));
                    return;
                }
                // Logits that are no numbers, from a scale that is none.
                Err(error) => return assert!(matches!(error, SessionError::Forward(_))),
            }
        }
        panic!("no end");
    });
}

fuzz_target!(|input: Input| {
    let mut input = input;
    match input.stop {
        true => decode(&mut input, &StopAtEos),
        false => decode(&mut input, &FillAll),
    }
});
