//! Every policy with every schedule and every end rule: the text is completed within the cap, nothing given is
//! changed, and it comes out the same twice.

mod common;
mod fake_model;

use common::Random;
use demask::cache::NoCache;
use demask::decode::{
    Ascending, CommitPolicy, Cosine, CutAtEos, Dream, DreamGrid, Dynamic, EntropyBound, EosPolicy,
    EosRamp, Even, Factor, FillAll, Hierarchical, LavidaShift, LocalLeap, NearBest, Origin,
    Prophet, RandomOrder, Rank, Schedule, Sequential, SlowFast, StablePrefix, StopAtEos,
    SuppressLogit, SuppressRank, Threshold, TopQ, TruncateAtEos,
};
use demask::{Method, Options, Progress, Session, SessionError, StepEvent};
use fake_model::{EOS, MASK, Table, with_memory};

const CANVAS: usize = 64;

/// The `index`-th policy, for a random setting; `None` behind the last.
fn policy<'m>(
    index: usize,
    random: &mut Random,
    last: &'m mut [u32],
) -> Option<Box<dyn CommitPolicy + 'm>> {
    let p = [0.0, 0.3, 0.7, 0.9, 1.5][random.below(5)];
    let rank = [Rank::Confidence, Rank::Margin, Rank::Entropy][random.below(3)];
    let alg_temp = [0.0, 0.2, 5.0][random.below(3)];
    Some(match index {
        0 => Box::new(TopQ),
        1 => Box::new(Threshold(p)),
        2 => Box::new(RandomOrder),
        3 => Box::new(Origin::default()),
        4 => Box::new(Dream::new(rank).with_temperature(alg_temp)),
        5 => Box::new(Factor(p * 2.0)),
        6 => Box::new(EntropyBound::new(p).by(rank)),
        7 => Box::new(LocalLeap::new(p, p / 2.0, random.below(9) as u32)),
        8 => Box::new(Dynamic::new(p)),
        9 => Box::new(Dynamic::with_least(p, random.below(5))),
        10 => Box::new(Sequential),
        11 => Box::new(NearBest(p)),
        12 => Box::new(Hierarchical::new(p / 2.0, p)),
        13 => Box::new(SlowFast::new(p, p / 3.0)),
        14 => Box::new(Prophet::new(TopQ).with_gaps([4.0, 2.0, p])),
        15 => Box::new(Prophet::new(Threshold(p)).over(2..7)),
        16 => Box::new(StablePrefix::new(Threshold(p))),
        17 => Box::new(StablePrefix::with_memory(TopQ, last)),
        18 => Box::new(CutAtEos(LocalLeap::default())),
        19 => Box::new(CutAtEos(Prophet::new(SlowFast::default()))),
        _ => return None,
    })
}

const SCHEDULES: [&dyn Schedule; 5] = [&Even, &DreamGrid::new(1000), &Ascending, &Cosine, &Shift];

/// LaViDa's in a constant.
struct Shift;

impl Schedule for Shift {
    fn quota(&self, count: &demask::decode::StepCount) -> usize {
        LavidaShift::new(1, 3).quota(count)
    }
}

fn ends() -> [Box<dyn EosPolicy>; 8] {
    [
        Box::new(FillAll),
        Box::new(StopAtEos),
        Box::new(TruncateAtEos),
        Box::new(SuppressLogit),
        Box::new(SuppressRank(StopAtEos)),
        Box::new(EosRamp::linear().then(StopAtEos)),
        Box::new(EosRamp::ascending()),
        Box::new(EosRamp::ascending().starting_at(0.0).then(TruncateAtEos)),
    ]
}

/// Masks are common, so are end tokens.
fn canvas(random: &mut Random, length: usize) -> Vec<u32> {
    let token = |random: &mut Random| match random.below(8) {
        0..=3 => MASK,
        4 => EOS,
        _ => 2 + random.below(11) as u32,
    };
    (0..length).map(|_| token(random)).collect()
}

/// Decodes and checks every step; the canvas and the number of passes.
fn decode(
    model: &Table,
    policy: &mut dyn CommitPolicy,
    (schedule, eos): (&dyn Schedule, &dyn EosPolicy),
    (given, length): (&[u32], usize),
    options: Options,
) -> Result<(Vec<u32>, u32), SessionError> {
    with_memory(CANVAS, |memory| {
        let method = Method { policy, schedule, eos, cache: NoCache };
        let mut session = Session::new(model.clone(), memory, method);
        session.begin(given, length, options)?;
        let mut before = session.canvas().to_vec();
        let masks = before.iter().filter(|id| **id == MASK).count();
        let mut check = |event: &StepEvent<'_>| {
            assert!(!event.commits.is_empty(), "a pass without a commit");
            assert!(event.revisions.is_empty());
            for commit in event.commits {
                let position = commit.position as usize;
                assert_eq!(before[position], MASK, "not a mask");
                assert!(commit.token < model.vocab && commit.token != MASK);
                before[position] = commit.token;
            }
            before = event.canvas.to_vec();
        };
        let mut passes = 0;
        while session.step(&mut check)? == Progress::Running {
            passes += 1;
            assert!(passes <= masks, "more passes than masks");
        }
        assert_eq!(session.step(&mut ()), Ok(Progress::Finished));
        assert!(!session.canvas().contains(&MASK), "a mask is left");
        for (after, before) in session.canvas().iter().zip(given) {
            assert!(*before == MASK || before == after, "a token was changed");
        }
        Ok((session.canvas().to_vec(), session.forwards()))
    })
}

#[test]
fn every_combination_completes_every_canvas() {
    let mut random = Random(60);
    let (mut runs, mut refused) = (0, 0);
    for round in 0..3 {
        for (index, (at, schedule)) in
            (0..20).flat_map(|index| SCHEDULES.into_iter().enumerate().map(move |s| (index, s)))
        {
            for eos in &ends() {
                let mut model = Table::of_all_rows(random.next());
                model.rows = [0, 1, 5][round];
                model.scale = [0.5, 4.0, 12.0][random.below(3)];
                let (block_length, blocks) = (1 + random.below(8), 1 + random.below(4));
                let length = block_length * blocks;
                // Of every third canvas all is given or to be filled as it stands: no length is added.
                let infill = random.below(3) == 0;
                let prompt = if infill { length } else { random.below(10) };
                let given = canvas(&mut random, prompt);
                let added = if infill && given.contains(&MASK) { 0 } else { length };
                let options = Options {
                    block_length,
                    steps: blocks * (1 + random.below(12)),
                    temperature: [0.0, 1.0][random.below(2)],
                    seed: random.next(),
                    ..Options::one_block(1)
                };
                let state = random.clone();
                let once = || {
                    let mut last = [0; CANVAS];
                    let mut policy = policy(index, &mut state.clone(), &mut last).unwrap();
                    decode(&model, &mut *policy, (schedule, &**eos), (&given, added), options)
                };
                let first = once();
                assert_eq!(first, once(), "policy {index}, schedule {at}, end rule {}", eos.name());
                runs += 1;
                refused += usize::from(first.is_err());
            }
        }
    }
    assert!(runs == 2400 && refused == 0, "{runs} {refused}");
    assert!(policy(20, &mut random, &mut []).is_none(), "not all policies were tried");
}

/// One session decodes many canvases: nothing of one shows in the next.
#[test]
fn canvases_do_not_touch_each_other() {
    let mut random = Random(61);
    for index in 0..20 {
        let model = Table::of_all_rows(random.next());
        let state = random.clone();
        let (mut a, mut b) = ([0; CANVAS], [0; CANVAS]);
        let mut used = policy(index, &mut state.clone(), &mut a).unwrap();
        let mut fresh = policy(index, &mut state.clone(), &mut b).unwrap();
        let options = Options { block_length: 16, steps: 8, ..Options::one_block(48) };
        let texts = |policy: &mut dyn CommitPolicy, first: bool| {
            with_memory(CANVAS, |memory| {
                let method = Method { policy, schedule: Ascending, eos: StopAtEos, cache: NoCache };
                let mut session = Session::new(model.clone(), memory, method);
                if first {
                    session.begin(&[3, 4], 48, options).unwrap();
                    session.run(&mut ()).unwrap();
                }
                session.begin(&[7], 48, options).unwrap();
                session.run(&mut ()).unwrap();
                (session.canvas().to_vec(), session.forwards())
            })
        };
        assert_eq!(texts(&mut *used, true), texts(&mut *fresh, false), "policy {index}");
        random.next();
    }
}

#[test]
fn blocks_of_different_lengths_are_only_for_bidirectional_models() {
    let model = Table::new(1);
    let options = Options { block_length: 13, steps: 1, ..Options::one_block(1) };
    let begin = |schedule: &dyn Schedule| {
        with_memory(CANVAS, |memory| {
            let method = Method { policy: TopQ, schedule, eos: FillAll, cache: NoCache };
            Session::new(model.clone(), memory, method).begin(&[3], 50, options)
        })
    };
    assert_eq!(begin(&Ascending), Ok(()));
    assert_eq!(begin(&Even), Err(SessionError::BlockLength { region: 50, block: 13 }));
}
