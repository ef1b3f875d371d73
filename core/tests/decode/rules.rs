//! What the session makes of policies that take tokens back, change the length of the canvas or never come to
//! an end: legal decisions only, always an end.

use crate::common::Random;
use crate::fake_model::{EOS, MASK, Table, with_memory};
use demask::cache::{DualCache, NoCache};
use demask::decode::{
    Ancestral, CREDITS, Commit, CommitPolicy, Credit, CreditPair, Daedal, Edit, EosPolicy, EosRamp,
    Even, FillAll, FirstHitting, HierarchicalRemask, Insertion, Klass, LogitBias, Needs, Phases,
    Remdm, Saber, StepView, StopAtEos, SuppressLogit, SuppressRank, TokenEditing, TruncateAtEos,
    Wino,
};
use demask::{Checksum, Method, Options, Progress, Session, SessionError, StepEvent};
use std::collections::BTreeMap;

/// A policy made of closures.
struct With<F> {
    needs: Needs,
    free: bool,
    continues: bool,
    decide: F,
}

impl<F: FnMut(&StepView<'_>, &mut Edit<'_>)> With<F> {
    fn new(needs: Needs, decide: F) -> Self {
        Self { needs, free: false, continues: false, decide }
    }
}

impl<F: FnMut(&StepView<'_>, &mut Edit<'_>)> CommitPolicy for With<F> {
    fn needs(&self) -> Needs {
        self.needs
    }

    fn bounds_itself(&self) -> bool {
        self.free
    }

    fn continues(&self) -> bool {
        self.continues
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        (self.decide)(view, edit);
    }
}

/// A finished run: masks after every pass, and the canvas.
#[derive(Debug, PartialEq)]
struct Run {
    masks: Vec<usize>,
    canvas: Vec<u32>,
    checksum: Checksum,
}

/// Decodes and checks that only legal things happen.
fn run<P: CommitPolicy, X: EosPolicy>(
    model: Table,
    (policy, eos): (P, X),
    (prompt, length): (&[u32], usize),
    options: Options,
) -> Run {
    let resizes = policy.needs().include(Needs::RESIZING);
    let revises = policy.needs().include(Needs::REVISIONS);
    let free = policy.bounds_itself();
    let vocab = model.vocab;
    with_memory(model.max_canvas, |memory| {
        let method = Method { policy, schedule: Even, eos, cache: NoCache };
        let mut session = Session::new(model, memory, method);
        session.begin(prompt, length, options).unwrap();
        let is_open = |at: usize| prompt.get(at).is_none_or(|id| *id == MASK);
        let mut before = session.canvas().to_vec();
        let mut masks = Vec::new();
        let mut passes = BTreeMap::<usize, (usize, usize)>::new();
        loop {
            let mut check = |event: &StepEvent<'_>| {
                let of_block = passes.entry(event.block.start).or_insert_with(|| {
                    (0, before[..event.block.end].iter().filter(|id| **id == MASK).count())
                });
                of_block.0 += 1;
                assert!(free || !event.commits.is_empty() || revises || resizes);
                for commit in event.commits {
                    assert_eq!(before[commit.position as usize], MASK);
                    assert!(commit.token < vocab && commit.token != MASK);
                }
                let back = event.revisions.iter().filter(|r| r.token == MASK).count();
                assert!(free || back == 0 || back < event.commits.len(), "no net progress");
                for revision in event.revisions {
                    let at = revision.position as usize;
                    assert!(revises && before[at] != MASK && before[at] != revision.token);
                    assert!(is_open(at) && revision.token < vocab);
                }
                masks.push(event.masks);
            };
            if session.step(&mut check).unwrap() == Progress::Finished {
                break;
            }
            before = session.canvas().to_vec();
            assert!(masks.len() < 10_000, "no end");
        }
        let steps = options.steps / (length / options.block_length).max(1);
        for (passes, candidates) in passes.into_values().filter(|_| !resizes) {
            let cap = if free { (2 * candidates).max(steps) } else { 2 * candidates } + 8;
            // The pass at the cap, and looks at the finished block.
            assert!(passes <= cap + 1 + 2 * 16, "{passes} passes for {candidates} masks");
        }
        assert_eq!(session.step(&mut ()), Ok(Progress::Finished));
        let canvas = session.canvas().to_vec();
        assert!(!canvas.contains(&MASK));
        for (after, before) in canvas.iter().zip(prompt) {
            assert!(before == after || *before == MASK, "the prompt has changed");
        }
        Run { masks, canvas, checksum: session.checksum() }
    })
}

fn one_block(length: usize) -> Options {
    Options::one_block(length)
}

/// Commits the best `count` and takes back everything else.
fn give_and_take(count: usize) -> impl FnMut(&StepView<'_>, &mut Edit<'_>) {
    move |view, edit| {
        for score in view.candidates() {
            edit.offer(view.proposed(score), count);
        }
        for position in 0..view.canvas.len() as u32 {
            edit.revise(Commit { position, token: MASK, confidence: 0.0 });
        }
    }
}

#[test]
fn no_more_is_taken_back_than_given() {
    // One commit per pass leaves no room to take anything back, three leave room for two.
    for (count, net) in [(1, 1), (3, 1)] {
        let policy = With::new(Needs::REVISIONS, give_and_take(count));
        let run = run(Table::new(1), (policy, FillAll), (&[5, 6], 12), one_block(12));
        let first = 12 - count;
        assert_eq!(run.masks[0], first, "nothing to take back yet");
        assert!(run.masks.windows(2).all(|pair| pair[0] <= pair[1] + count.max(net)));
        assert!(run.masks.windows(2).all(|pair| pair[1] < pair[0]), "{:?}", run.masks);
    }
    // Who does not ask for it takes nothing back.
    let policy = With::new(Needs::NONE, give_and_take(3));
    let run = run(Table::new(1), (policy, FillAll), (&[5, 6], 12), one_block(12));
    assert_eq!(run.masks, [9, 6, 3, 0]);
}

#[test]
fn a_policy_that_bounds_itself_and_does_not_ends_at_the_cap() {
    // Takes back all that it gives.
    let policy = With { free: true, ..With::new(Needs::REVISIONS, give_and_take(3)) };
    let run = run(Table::new(1), (policy, FillAll), (&[5], 6), one_block(6));
    assert_eq!(run.masks.len(), 2 * 6 + 8 + 1);
    assert!(run.masks[..20].iter().all(|masks| *masks == 3) && run.masks[20] == 0);
    // Does nothing at all; the cap is that of the planned steps.
    let idle =
        With { free: true, ..With::new(Needs::NONE, |_: &StepView<'_>, _: &mut Edit<'_>| ()) };
    let options = Options { steps: 50, ..one_block(6) };
    let run = self::run(Table::new(1), (idle, FillAll), (&[5], 6), options);
    assert_eq!(run.masks.len(), 50 + 8 + 1);
    assert!(run.masks[..58].iter().all(|masks| *masks == 6));
}

#[test]
fn a_finished_block_is_looked_at_sixteen_times_at_most_even_beyond_the_cap() {
    let mut looks = 0;
    let policy = With {
        continues: true,
        ..With::new(
            Needs::BLOCK_ROWS.and(Needs::REVISIONS),
            |view: &StepView<'_>, edit: &mut Edit<'_>| {
                if view.candidates().next().is_none() {
                    looks += 1;
                    let token = 2 + looks;
                    edit.revise(Commit { position: 1, token, confidence: 0.0 });
                }
            },
        )
    };
    let run = run(Table::of_all_rows(1), (policy, FillAll), (&[5], 1), Options { ..one_block(1) });
    // The cap of a single mask is ten passes.
    assert_eq!(looks, 16);
    assert_eq!(
        (run.masks.len(), run.canvas[1]),
        (17, 12),
        "ids end at 12, what is beyond is dropped"
    );
}

#[test]
fn edits_of_an_earlier_block() {
    // In the second block: one token of the first becomes another, one a mask, one of the prompt as well.
    let policy = With::new(Needs::REVISIONS, |view: &StepView<'_>, edit: &mut Edit<'_>| {
        for score in view.candidates() {
            edit.offer(view.proposed(score), 4);
        }
        if view.block.start == 6 && view.count.step == 0 {
            for (position, token) in [(0, MASK), (1, 9), (2, MASK), (3, 9), (4, MASK), (5, 13)] {
                edit.revise(Commit { position, token, confidence: 0.0 });
            }
        }
    });
    let options = Options { block_length: 4, steps: 2, ..one_block(8) };
    let prompt = [2, 2];
    let mut blocks = Vec::new();
    let canvas = with_memory(16, |memory| {
        let method = Method { policy, schedule: Even, eos: FillAll, cache: NoCache };
        let mut session = Session::new(Table::new(3), memory, method);
        session.begin(&prompt, 8, options).unwrap();
        let mut check = |event: &StepEvent<'_>| {
            let revisions: Vec<_> = event.revisions.iter().map(|r| (r.position, r.token)).collect();
            blocks.push((event.block.clone(), revisions, event.masks));
        };
        session.run(&mut check).unwrap();
        session.canvas().to_vec()
    });
    assert_eq!(canvas[..2], prompt);
    assert_eq!(canvas[3], 9);
    assert!(!canvas.contains(&MASK));
    let edits = vec![(4, MASK), (3, 9), (2, MASK)];
    // Masks of an earlier block are decoded with the current one.
    assert_eq!(blocks, [(2..6, vec![], 4), (6..10, edits, 2), (6..10, vec![], 0)]);
}

#[test]
fn a_text_ends_only_when_its_block_can_no_longer_change() {
    // The end token is committed first, and then replaced.
    let policy = || With {
        continues: false,
        ..With::new(Needs::REVISIONS, |view: &StepView<'_>, edit: &mut Edit<'_>| {
            let first = Commit { position: 0, token: EOS, confidence: 1.0 };
            if view.is_mask(0) {
                return edit.offer(first, 1);
            }
            // The session commits something besides, so that there is progress.
            for _ in 0..view.canvas.len() {
                edit.revise(Commit { token: 7, ..first });
            }
        })
    };
    let stop = run(Table::new(2), (policy(), StopAtEos), (&[], 4), one_block(4));
    assert_eq!(stop.canvas[0], 7);
    assert_eq!(stop, run(Table::new(2), (policy(), FillAll), (&[], 4), one_block(4)));
    // Without revisions the same end token ends the text at once.
    let policy = With::new(Needs::NONE, policy().decide);
    let run = run(Table::new(2), (policy, StopAtEos), (&[], 4), one_block(4));
    assert_eq!((run.canvas, run.masks), (vec![EOS; 4], vec![0]));
}

#[test]
fn a_canvas_that_is_cut_off() {
    let cut = |end: usize| {
        With::new(Needs::RESIZING, move |view: &StepView<'_>, edit: &mut Edit<'_>| {
            for score in view.candidates() {
                edit.offer(view.proposed_by(score, -(score.position as f32)), 1);
            }
            edit.truncate(end);
        })
    };
    // Behind the canvas, inside of the second block, in the first one, in the prompt.
    for (end, length, passes) in [(99, 11, 8), (9, 9, 6), (5, 5, 2), (1, 3, 1)] {
        let options = Options { block_length: 4, steps: 8, ..one_block(8) };
        let run = run(Table::new(1), (cut(end), FillAll), (&[5, 6, 7], 8), options);
        assert_eq!((run.canvas.len(), run.masks.len()), (length, passes), "cut at {end}");
    }
    // Slots that a plan trusts would be wrong: refused.
    with_memory(32, |memory| {
        let method =
            Method { policy: cut(5), schedule: Even, eos: FillAll, cache: DualCache::default() };
        let mut session = Session::new(Table::new(1), memory, method);
        let refusal = session.begin(&[5, 6], 8, one_block(8));
        assert!(matches!(refusal, Err(SessionError::Clash { .. })), "{refusal:?}");
    });
}

#[test]
fn a_canvas_that_grows_for_ever_ends_where_its_memory_does() {
    for (at, token) in [(0, MASK), (2, MASK), (6, EOS), (99, MASK), (3, 99)] {
        let grow = With::new(Needs::RESIZING, |_: &StepView<'_>, edit: &mut Edit<'_>| {
            edit.insert(Insertion { position: at, count: 1, token });
        });
        let model = Table { max_canvas: 20, ..Table::new(1) };
        let options = Options { block_length: 2, steps: 4, ..one_block(4) };
        let run = run(model, (grow, FillAll), (&[5, 6], 4), options);
        let legal = at == 2 || at == 6;
        assert_eq!(run.canvas.len(), if legal { 20 } else { 6 }, "at {at}");
    }
}

/// Every policy of these, with settings from hostile to sensible, on one model.
fn every_policy(random: &mut Random, mut each: impl FnMut(&str, &mut dyn CommitPolicy)) {
    let mut number = || {
        let numbers = [f32::NAN, -1.0, 0.0, 0.1, 0.5, 0.9, 2.0, f32::INFINITY];
        numbers[random.below(numbers.len())]
    };
    let (a, b) = (number(), number());
    let phases = Phases { on: number(), off: number(), level: number(), rate: number() };
    let (mut pairs, mut bias) =
        ([[CreditPair::default(); CREDITS]; 64], [LogitBias::default(); 64 * CREDITS]);
    let (mut still, mut confidences, mut memory) = ([0; 64], [0.0; 64], [[0.0; 2]; 64]);
    each("ancestral", &mut Ancestral::cached());
    each("ancestral-uncached", &mut Ancestral::uncached());
    each("first-hitting", &mut FirstHitting);
    each("remdm-cap", &mut Remdm::cap(a));
    each("remdm-rescale", &mut Remdm::rescale(a));
    each("remdm-conf", &mut Remdm::by_confidence(&mut confidences));
    each("remdm-loop", &mut Remdm::loop_between(phases));
    each("token-editing", &mut TokenEditing::new(a, b));
    each("wino", &mut Wino::new(a, b));
    each("klass", &mut Klass::with_thresholds(a, b, &mut still));
    each("saber", &mut Saber::llada(&mut memory));
    each("saber-dream", &mut Saber::dream(&mut memory));
    each("credit", &mut Credit::new(a, &mut pairs, &mut bias));
    each("hierarchical-remask", &mut HierarchicalRemask::new(a, b, a));
    each("daedal", &mut Daedal::new(40));
}

#[test]
fn every_policy_ends_whatever_its_settings() {
    let mut random = Random(77);
    for _ in 0..if cfg!(miri) { 2 } else { 120 } {
        let model = Table {
            rows: [0, 1, 7][random.below(3)],
            scale: [0.0, 3.0, 60.0][random.below(3)],
            ..Table::of_all_rows(random.next())
        };
        let (block_length, blocks) = (1 + random.below(9), 1 + random.below(4));
        let options = Options {
            block_length,
            steps: blocks * (1 + random.below(30)),
            temperature: [0.0, 1.0][random.below(2)],
            seed: random.next(),
            ..one_block(1)
        };
        let prompt: Vec<u32> = (0..random.below(8)).map(|_| random.below(13) as u32).collect();
        let input = (prompt.as_slice(), block_length * blocks);
        every_policy(&mut random, |name, policy| {
            assert_eq!(policy.name(), name);
            let fill = run(model.clone(), (&mut *policy, FillAll), input, options);
            assert_eq!(fill, run(model.clone(), (&mut *policy, FillAll), input, options), "{name}");
            let ends: [&dyn EosPolicy; 5] = [
                &StopAtEos,
                &TruncateAtEos,
                &SuppressLogit,
                &SuppressRank(StopAtEos),
                &EosRamp::linear().then(TruncateAtEos),
            ];
            for end in ends {
                run(model.clone(), (&mut *policy, end), input, options);
            }
        });
    }
}

#[test]
fn memory_for_a_shorter_canvas_is_refused() {
    let refuse = |policy: &mut dyn CommitPolicy| {
        with_memory(64, |memory| {
            let model = Table::of_all_rows(1);
            let mut session = Session::new(model, memory, Method::with_policy(policy));
            let error = session.begin(&[5; 4], 8, one_block(8));
            assert_eq!(error, Err(SessionError::CanvasTooLong { len: 12, max: 11 }));
        });
    };
    refuse(&mut Klass::new(&mut [0; 11]));
    refuse(&mut Saber::llada(&mut [[0.0; 2]; 11]));
    refuse(&mut Remdm::by_confidence(&mut [0.0; 11]));
    let mut bias = [LogitBias::default(); 20 * CREDITS];
    let mut pairs = [[CreditPair::default(); CREDITS]; 20];
    refuse(&mut Credit::new(0.9, &mut pairs[..11], &mut bias));
    refuse(&mut Credit::new(0.9, &mut pairs, &mut bias[..12 * CREDITS - 1]));
}
