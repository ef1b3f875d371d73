//! One of each: all policies, schedules, end rules and cache plans, for random settings; and a decode that
//! checks at every step what holds for all of them.

use crate::common::Random;
use crate::fake_model::{EOS, MASK, with_memory};
use crate::kv_model::{KvModel, VOCAB};
use demask::cache::{
    BlockCache, CachePlan, D2Cache, DkvCache, DkvGreedy, DualCache, EntropyRefresh, FreeCache,
    LavidaPrefix, NoCache, PrefixCache, SubBlockCache, SuffixWindow, VicinityCache,
};
use demask::decode::{
    Ancestral, Ascending, CREDITS, CommitFilter, CommitPolicy, Cosine, Credit, CreditPair,
    CutAtEos, Daedal, Dream, DreamGrid, Dynamic, EndOfText, EntropyBound, EosPolicy, EosRamp, Even,
    Factor, FillAll, FirstHitting, Hierarchical, HierarchicalRemask, Klass, LavidaShift, Learn2pd,
    LocalLeap, LogitBias, NearBest, Needs, Origin, Phases, Prophet, RandomOrder, Rank, Remdm,
    Saber, Schedule, Sequential, SlowFast, StablePrefix, StopAtEos, SuppressLogit, SuppressRank,
    Threshold, TokenEditing, TopQ, TruncateAtEos, Wino,
};
use demask::{
    Checksum, MAX_POST_STEPS, Method, Options, Progress, Session, SessionError, StepEvent,
};
use std::cell::RefCell;

/// Tokens that the memory of all of them is made for.
pub const CANVAS: usize = 64;

/// The name of its type, and one.
pub type Named<T> = (&'static str, Box<T>);

/// Memory for as long as the tests run.
fn memory<T: Clone>(value: T, len: usize) -> &'static mut [T] {
    vec![value; len].leak()
}

/// Every policy, for random settings.
pub fn policies(random: &mut Random) -> Vec<Named<dyn CommitPolicy>> {
    fn one<P: CommitPolicy + 'static>(policy: P) -> Named<dyn CommitPolicy> {
        (std::any::type_name::<P>(), Box::new(policy))
    }
    let p = [0.0, 0.3, 0.7, 0.9, 1.5][random.below(5)];
    let q = [0.0, 0.2, 0.6, 1.0][random.below(4)];
    let rank = [Rank::Confidence, Rank::Margin, Rank::Entropy][random.below(3)];
    let alg_temp = [0.0, 0.2, 5.0][random.below(3)];
    let phases = Phases { on: 0.8, off: 0.2, level: 0.5, rate: q };
    let credit = Credit::new(
        p,
        memory([CreditPair::default(); CREDITS], CANVAS),
        memory(LogitBias::default(), CANVAS * CREDITS),
    );
    vec![
        one(TopQ),
        one(Threshold(p)),
        one(RandomOrder),
        one(Origin::default()),
        one(Dream::new(rank).with_temperature(alg_temp)),
        one(Factor(p * 2.0)),
        one(EntropyBound::new(p).by(rank)),
        one(LocalLeap::new(p, p / 2.0, random.below(9) as u32)),
        one(Dynamic::new(p)),
        one(Dynamic::with_least(p, random.below(5))),
        one(Sequential),
        one(NearBest(p)),
        one(Hierarchical::new(p / 2.0, p)),
        one(SlowFast::new(p, p / 3.0)),
        one(Prophet::new(TopQ).with_gaps([4.0, 2.0, p])),
        one(Prophet::new(Threshold(p)).over(2..7)),
        one(StablePrefix::new(Threshold(p))),
        one(StablePrefix::with_memory(TopQ, memory(0, CANVAS))),
        one(CutAtEos(LocalLeap::default())),
        one(CutAtEos(Prophet::new(SlowFast::default()))),
        one(Ancestral::cached()),
        one(Ancestral::uncached()),
        one(FirstHitting),
        one(Remdm::cap(q)),
        one(Remdm::rescale(q)),
        one(Remdm::by_confidence(memory(0.0, CANVAS))),
        one(Remdm::loop_between(phases)),
        one(TokenEditing::new(p, q)),
        one(Wino::new(q, p)),
        one(Klass::with_thresholds(p, q, memory(0, CANVAS))),
        one(Saber::llada(memory([0.0; 2], CANVAS))),
        one(Saber::dream(memory([0.0; 2], CANVAS))),
        one(credit),
        one(HierarchicalRemask::new(q / 2.0, q, p)),
        one(Daedal::new(24)),
        one(learned(random, p, EndOfText::Kept)),
        one(learned(random, p, EndOfText::Accepted)),
        one(learned(random, p, EndOfText::Proposed)),
    ]
}

/// A filter that has learned nothing, for blocks longer and shorter than those decoded.
fn learned(random: &mut Random, threshold: f32, end: EndOfText) -> Learn2pd<'static> {
    let (block, hidden) = (1 + random.below(9), 1 + random.below(5));
    let numbers = memory(0.0, CommitFilter::count(block, hidden));
    numbers.fill_with(|| random.below(2001) as f32 / 1000.0 - 1.0);
    let filter = CommitFilter::new(block, hidden, numbers).unwrap();
    let scratch = memory(f32::NAN, Learn2pd::scratch(&filter));
    Learn2pd::new(filter, scratch).with_threshold(threshold).with_end(end)
}

/// Every plan, for random settings.
pub fn plans(random: &mut Random) -> Vec<Named<dyn CachePlan>> {
    fn one<C: CachePlan + 'static>(plan: C) -> Named<dyn CachePlan> {
        (std::any::type_name::<C>(), Box::new(plan))
    }
    let bits = || memory(0xff, CANVAS / 8);
    let list = |len| memory(7, len);
    let some = 1 + random.below(4);
    let d2 = || D2Cache::new(bits(), memory(f32::NAN, 2 * CANVAS)).masks(some);
    vec![
        one(NoCache),
        one(PrefixCache::default()),
        one(PrefixCache::refreshed_every(some)),
        one(DualCache::default()),
        one(DualCache::refreshed_every(some)),
        one(VicinityCache::new(some, 2, 1)),
        one(DkvCache::decode(bits())),
        one(DkvCache::prefill(bits())),
        one(DkvCache::pd(bits()).refreshed_every(some)),
        one(DkvCache::pd(bits()).across_blocks()),
        one(DkvGreedy::new(bits(), 5).tokens(some)),
        one(EntropyRefresh::new(bits(), list(some), 0.5)),
        one(FreeCache::default()),
        one(FreeCache::repaired()),
        one(LavidaPrefix::default()),
        one(d2()),
        one(BlockCache::default()),
        one(SubBlockCache::default()),
        one(SuffixWindow::whole(NoCache, list(CANVAS), some)),
        one(SuffixWindow::new(PrefixCache::default(), list(CANVAS), 1).window(some)),
        one(SuffixWindow::whole(DkvGreedy::new(bits(), 8), list(CANVAS), some)),
        one(SuffixWindow::whole(d2(), list(CANVAS), some)),
        one(SuffixWindow::whole(LavidaPrefix::default(), list(CANVAS), some)),
    ]
}

pub fn schedules() -> Vec<Named<dyn Schedule>> {
    fn one<S: Schedule + 'static>(schedule: S) -> Named<dyn Schedule> {
        (std::any::type_name::<S>(), Box::new(schedule))
    }
    vec![
        one(Even),
        one(DreamGrid::new(1000)),
        one(Ascending),
        one(Cosine),
        one(LavidaShift::new(1, 3)),
    ]
}

pub fn ends() -> Vec<Named<dyn EosPolicy>> {
    fn one<X: EosPolicy + 'static>(end: X) -> Named<dyn EosPolicy> {
        (std::any::type_name::<X>(), Box::new(end))
    }
    vec![
        one(FillAll),
        one(StopAtEos),
        one(TruncateAtEos),
        one(SuppressLogit),
        one(SuppressRank(StopAtEos)),
        one(EosRamp::linear().then(StopAtEos)),
        one(EosRamp::ascending()),
        one(EosRamp::ascending().starting_at(0.0).then(TruncateAtEos)),
    ]
}

/// Four parts of a decode.
pub struct Parts<'a> {
    pub policy: &'a mut dyn CommitPolicy,
    pub schedule: &'a dyn Schedule,
    pub eos: &'a dyn EosPolicy,
    pub cache: &'a mut dyn CachePlan,
}

/// What came of a decode.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub canvas: Vec<u32>,
    pub forwards: u32,
    pub checksum: Checksum,
}

/// Tells what was tried when a check fails.
pub struct Trying(pub String);

impl Drop for Trying {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while trying {}", self.0);
        }
    }
}

/// Decodes and checks every step. A refusal leaves the session as it was.
pub fn decode(
    model: &KvModel,
    parts: Parts<'_>,
    (given, length): (&[u32], usize),
    options: Options,
) -> Result<Outcome, SessionError> {
    with_memory(CANVAS, |memory| {
        let Parts { policy, schedule, eos, cache } = parts;
        let (needs, bounds_itself) = (policy.needs(), policy.bounds_itself());
        let method = Method { policy, schedule, eos, cache };
        let mut session = Session::new(model.clone(), memory, method);
        if let Err(error) = session.begin(given, length, options) {
            assert_eq!(session.step(&mut ()), Ok(Progress::Finished));
            let left = (session.canvas(), session.forwards(), session.checksum());
            assert_eq!(left, (&[][..], 0, Checksum::default()));
            return Err(error);
        }
        let start = session.canvas().to_vec();
        // Also changed between steps, where the canvas grows or shrinks.
        let canvas_before = RefCell::new(start.clone());
        let (mut block, mut passes, mut candidates) = (usize::MAX, 0, 0);
        let mut check = |event: &StepEvent<'_>| {
            let mut before = canvas_before.borrow_mut();
            assert!(event.scores.is_sorted_by(|a, b| a.position < b.position));
            if event.block.start != block {
                (block, passes) = (event.block.start, 0);
                candidates = count(&before[..event.block.end]);
            }
            passes += 1;
            let mut after = before.clone();
            for commit in event.commits {
                assert_eq!(before[commit.position as usize], MASK, "not a mask");
                assert!(commit.token < VOCAB && commit.token != MASK);
                after[commit.position as usize] = commit.token;
            }
            assert!(needs.include(Needs::REVISIONS) || event.revisions.is_empty());
            for revision in event.revisions {
                assert_eq!(start[revision.position as usize], MASK, "given");
                assert_ne!(before[revision.position as usize], MASK, "not decided");
                assert!(revision.token < VOCAB);
                after[revision.position as usize] = revision.token;
            }
            let resizes = needs.include(Needs::RESIZING);
            if !bounds_itself && !resizes && count(&before[..event.block.end]) > 0 {
                assert!(count(&after) < count(&before), "no progress");
            }
            if !resizes {
                // Whoever bounds itself may use the planned steps.
                let own = if bounds_itself { options.steps } else { 0 };
                let cap = (2 * candidates).max(own) + 8 + 1 + MAX_POST_STEPS;
                assert!(passes <= cap, "{passes} passes, {candidates} masks");
                // The end rule may fill what is left, and nothing else happens.
                let filled =
                    |(now, then): (&u32, &u32)| now == then || *then == MASK && *now == EOS;
                assert!(event.canvas.iter().zip(&after).all(filled));
            }
            *before = event.canvas.to_vec();
        };
        let mut steps = 0;
        while session.step(&mut check)? == Progress::Running {
            steps += 1;
            assert!(steps < 4000, "does not end");
            if needs.include(Needs::RESIZING) {
                *canvas_before.borrow_mut() = session.canvas().to_vec();
            }
        }
        assert!(!session.canvas().contains(&MASK), "a mask is left");
        let prompt =
            if length == 0 && session.canvas().len() > given.len() { 0 } else { given.len() };
        for (after, before) in session.canvas().iter().zip(&given[..prompt]) {
            assert!(*before == MASK || before == after, "a token was changed");
        }
        let (canvas, forwards) = (session.canvas().to_vec(), session.forwards());
        let checksum = session.checksum();
        assert_eq!(session.step(&mut ()), Ok(Progress::Finished));
        assert_eq!((session.canvas(), session.forwards()), (&canvas[..], forwards));
        Ok(Outcome { canvas, forwards, checksum })
    })
}

fn count(canvas: &[u32]) -> usize {
    canvas.iter().filter(|id| **id == MASK).count()
}
