//! The rows of every pass, against the rules of the papers and releases once more, with sets and lists.

use crate::common::Random;
use crate::fake_model::MASK;
use crate::kv_model::{Job, KvModel, Run, Step, decode};
use demask::Options;
use demask::cache::{
    BlockCache, CachePlan, DkvCache, DkvGreedy, DualCache, EntropyRefresh, FreeCache, NoCache,
    PrefixCache, SubBlockCache, VicinityCache,
};
use demask::decode::{CommitPolicy, Edit, StepView, Threshold, TopQ, philox4x32};
use demask::image::Attention;
use std::collections::BTreeSet;
use std::ops::Range;

type Rows = BTreeSet<usize>;

/// The rule of a plan: rows of step `t`, besides those that predict candidates.
type Rule<'r> = &'r dyn Fn(&Run, usize) -> Rows;

fn compare(run: &Run, rule: Rule<'_>, name: &str) {
    for (t, step) in run.steps.iter().enumerate() {
        let mut expected = rule(run, t);
        let row_of = |position: usize| position.saturating_sub(usize::from(run.shifted));
        expected.extend(step.scored().into_iter().map(row_of));
        let rows: Rows = step.rows.iter().copied().collect();
        assert_eq!(rows, expected, "{name}, step {t}: {step:?}");
    }
}

/// A prompt without masks and an answer in blocks; or an answer with gaps.
fn job(random: &mut Random) -> Job {
    let prompt: Vec<u32> = (0..1 + random.below(6)).map(|_| 2 + random.below(11) as u32).collect();
    let job = Job::new(&prompt, 1 + random.below(12), 1 + random.below(4));
    if random.below(3) > 0 {
        return job;
    }
    let canvas =
        (0..job.length).map(|i| if random.below(2) == 0 { MASK } else { 2 + i as u32 % 11 });
    Job { prompt: canvas.chain([MASK]).take(job.length).collect(), length: 0, ..job }
}

/// Each case with one token per step and with a threshold.
fn check<C: CachePlan>(rule: impl Fn(&Run, usize) -> Rows, mut plan: impl FnMut() -> C) {
    let mut random = Random(41);
    for case in 0..120 {
        let model = KvModel::bidirectional(case, case % 2 == 0);
        let job = job(&mut random);
        if !job.prompt.contains(&MASK) && job.length == 0 {
            continue;
        }
        let name = plan().name();
        compare(&decode(&model, &job, TopQ, plan()), &rule, name);
        compare(&decode(&model, &job, Threshold(0.6), plan()), &rule, name);
    }
}

fn all(run: &Run) -> Rows {
    (0..run.canvas.len()).collect()
}

fn is_token(step: &Step, position: usize) -> bool {
    // There is nothing to predict behind the canvas.
    step.canvas.get(position) != Some(&MASK)
}

/// Both a row's token and the one it predicts are decided.
fn settled(run: &Run, step: &Step, row: usize) -> bool {
    is_token(step, row) && (!run.shifted || is_token(step, row + 1))
}

fn prompt_end(run: &Run) -> usize {
    // A canvas with gaps has no prompt.
    if run.region.is_empty() { 0 } else { run.region.start }
}

#[test]
fn none_prefix_dual_and_vicinity() {
    check(|run, _| all(run), || NoCache);
    let from = |run: &Run, start: usize| (start..run.canvas.len()).collect::<Rows>();
    let prefix = |run: &Run, t: usize| match &run.steps[t] {
        step if step.pass == 0 => all(run),
        step => from(run, step.block.start),
    };
    check(prefix, PrefixCache::default);
    let around = |run: &Run, t: usize, margin: usize| {
        let Range { start, end } = run.steps[t].block;
        (start.saturating_sub(margin)..run.canvas.len().min(end + margin)).collect()
    };
    let dual = |run: &Run, t: usize| match run.steps[t].pass {
        0 => all(run),
        _ => around(run, t, 0),
    };
    check(dual, DualCache::default);
    let every = |run: &Run, t: usize| match run.steps[t].pass % 3 {
        0 => all(run),
        _ => around(run, t, 0),
    };
    check(every, || DualCache::refreshed_every(3));
    let vicinity = |run: &Run, t: usize| match run.steps[t].pass {
        pass if pass == 0 || t < 4 => all(run),
        _ => around(run, t, 16),
    };
    check(vicinity, VicinityCache::default);
    let near = |run: &Run, t: usize| match run.steps[t].pass {
        pass if pass % 5 == 0 || t < 2 => all(run),
        _ => around(run, t, 3),
    };
    check(near, || VicinityCache::new(3, 3, 2).refreshed_every(5));
}

#[test]
fn free_cache_never_goes_back() {
    let start = |run: &Run, t: usize| run.steps[t].block.start.saturating_sub(run.shifted.into());
    let free = |run: &Run, t: usize| match t {
        0 => all(run),
        _ => (start(run, t)..run.canvas.len()).collect(),
    };
    check(free, FreeCache::default);
    // With the repair the first pass of a block has the rows of the block before too.
    let repaired = |run: &Run, t: usize| match t {
        0 => all(run),
        _ => (start(run, t - 1)..run.canvas.len()).collect(),
    };
    check(repaired, FreeCache::repaired);
}

/// Positions stored before step `t`: decided at the end of the step before the last one.
fn stored(run: &Run, t: usize) -> Rows {
    let before = &run.steps[t - 1];
    (0..run.canvas.len()).filter(|row| settled(run, before, *row)).collect()
}

#[test]
fn dkv_decode_prefill_and_pd() {
    let bits = &mut [0; 32];
    let refresh = |run: &Run, t: usize, every: usize| {
        let pass = run.steps[t].pass;
        let every = if every > 0 {
            every
        } else if run.shifted {
            4
        } else {
            8
        };
        pass < 2 || pass.is_multiple_of(every)
    };
    let is_prompt = |run: &Run, row: &usize| *row < prompt_end(run);
    for every in [0, 1, 2, 3, 100] {
        let decode = |run: &Run, t: usize| match refresh(run, t, every) {
            true => all(run),
            false => &all(run) - &stored(run, t),
        };
        check(decode, || DkvCache::decode(leak(bits)).refreshed_every(every));
        let pd = |run: &Run, t: usize| {
            let kept = if t == 0 { Rows::new() } else { stored(run, t) };
            let again = refresh(run, t, every);
            let kept = kept.into_iter().filter(|row| is_prompt(run, row) || !again).collect();
            &all(run) - &kept
        };
        check(pd, || DkvCache::pd(leak(bits)).refreshed_every(every));
    }
    let prefill = |run: &Run, t: usize| {
        let kept = if t == 0 { Rows::new() } else { stored(run, t) };
        &all(run) - &kept.into_iter().filter(|row| is_prompt(run, row)).collect()
    };
    check(prefill, || DkvCache::prefill(leak(bits)));
    let across = |run: &Run, t: usize| match t < 2 || t.is_multiple_of(6) {
        true => all(run),
        false => &all(run) - &stored(run, t),
    };
    check(across, || DkvCache::decode(leak(bits)).across_blocks().refreshed_every(6));
}

/// Memory of its own for each plan: tests may.
fn leak(bits: &[u8]) -> &'static mut [u8] {
    vec![0xff; bits.len()].leak()
}

/// Commits the masks in a given order, one per step.
struct InOrder(Vec<u32>);

impl CommitPolicy for InOrder {
    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let next = self.0.iter().find_map(|position| view.score(*position));
        edit.offer(view.proposed(next.expect("a mask is left")), 1);
    }
}

#[test]
fn dkv_trace_of_the_specification() {
    let job = Job::new(&[5, 6], 4, 1);
    let plan = DkvCache::decode(leak(&[0])).refreshed_every(100);
    let run = decode(&KvModel::bidirectional(1, false), &job, InOrder(vec![3, 2, 5, 4]), plan);
    let rows: Vec<Vec<usize>> = run.steps.iter().map(|step| step.rows.clone()).collect();
    let all: Vec<usize> = (0..6).collect();
    assert_eq!(rows, [all.clone(), all, vec![2, 4, 5], vec![4, 5]]);
}

#[test]
fn dkv_greedy_follows_its_order() {
    let mut random = Random(43);
    for case in 0..120 {
        let model = KvModel::bidirectional(case, case % 2 == 0);
        let job = job(&mut random);
        if !job.prompt.contains(&MASK) && job.length == 0 {
            continue;
        }
        let (window, every) = (random.below(7), 1 + random.below(4));
        let plan = DkvGreedy::new(leak(&[0; 32]), case).window(window).refreshed_every(every);
        let run = decode(&model, &job, TopQ, plan);
        for (t, step) in run.steps.iter().enumerate() {
            let turn = |position: &usize| {
                let counter = [*position as u32, step.block.start as u32, 0, 2];
                (philox4x32(counter, [case as u32, 0])[0], *position)
            };
            let next = step.candidates().into_iter().min_by_key(turn).unwrap();
            assert_eq!(step.scored(), [next]);
            assert_eq!(step.commits[0].position as usize, next);
            let rule = |run: &Run, t: usize| {
                if step.pass % every == 0 {
                    return all(run);
                }
                let last = run.steps[t - 1].commits[0].position as usize;
                let mut masks: Vec<usize> =
                    (0..run.canvas.len()).filter(|p| step.canvas[*p] == MASK).collect();
                let row = next.saturating_sub(run.shifted.into());
                masks.retain(|position| ![next, row].contains(position));
                masks.sort_by_key(|position| (position.abs_diff(last), *position));
                masks.truncate(window);
                masks.into_iter().chain([next, last]).collect()
            };
            let one = Run { steps: run.steps[..=t].to_vec(), ..run.clone() };
            let expected: Rows = rule(&one, t).into_iter().chain([model.row_of(next)]).collect();
            assert_eq!(step.rows, expected.into_iter().collect::<Vec<_>>(), "case {case} step {t}");
        }
    }
}

#[test]
fn dkv_greedy_draws_an_order_for_each_block() {
    let model = KvModel::bidirectional(3, false);
    let order = |seed| {
        let plan = DkvGreedy::new(leak(&[0; 32]), seed).tokens(2);
        let run = decode(&model, &Job::new(&[4], 8, 2), Threshold(0.0), plan);
        assert_eq!(run.steps.len(), 8, "two tokens per pass");
        let commits = run.steps.iter().flat_map(|step| step.commits.iter().map(|c| c.position));
        let mut order: Vec<u32> = commits.collect();
        order.chunks_mut(2).for_each(<[u32]>::sort_unstable);
        order
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
    let first: Vec<u32> = order(1)[..8].iter().map(|p| p + 8).collect();
    assert_ne!(first, order(1)[8..], "each block has its own");
}

#[test]
fn entropy_decides_about_a_refresh() {
    let nats = EntropyRefresh::NATS;
    let rule = |run: &Run, t: usize| {
        let step = &run.steps[t];
        let Some(before) = t.checked_sub(1).map(|t| &run.steps[t]) else { return all(run) };
        let uncertain = before.commits.iter().any(|commit| {
            let score = before.scores.iter().find(|s| s.position == commit.position).unwrap();
            score.entropy > nats
        });
        if uncertain {
            return all(run);
        }
        let commits = run.steps[..t].iter().flat_map(|step| &step.commits);
        let decided: Vec<usize> = commits.map(|commit| commit.position as usize).collect();
        // Those of the last step, however many.
        let recent = decided.iter().rev().take(before.commits.len().max(8));
        step.candidates().into_iter().chain(recent.copied()).collect()
    };
    check(rule, || EntropyRefresh::new(leak(&[0; 32]), vec![0; 8].leak(), nats));
}

#[test]
fn sub_blocks_compute_the_block_until_their_first_token_stands() {
    let mut random = Random(44);
    for case in 0..60 {
        let model = KvModel::new(case, Attention::BlockCausal(8), case % 2 == 0);
        let prompt: Vec<u32> = (0..random.below(16) as u32).map(|i| 2 + i % 11).collect();
        let length = 32 - prompt.len();
        let steps = 4 * (8 - prompt.len() / 4);
        let options = Options { block_length: 4, steps, ..Options::one_block(length) };
        let job = Job { prompt, length, options };
        let run = decode(&model, &job, Threshold(0.6), SubBlockCache::default());
        let rule = |run: &Run, t: usize| {
            let step = &run.steps[t];
            let Range { start, end } = step.block;
            let block = start / 8 * 8;
            let first = run.steps[..t].iter().all(|other| other.block.start / 8 * 8 != block);
            let whole = step.pass == 0 || run.shifted && step.canvas[start] == MASK;
            let rows = match (first, whole) {
                // The block before is finished with it.
                (true, _) if t > 0 => block - 8..block + 8,
                (true, _) => 0..block + 8,
                (_, true) => block..block + 8,
                _ => start..end,
            };
            // The first token of a block is predicted from the block before, which sees no further.
            let last = step.candidates().pop().unwrap() - usize::from(run.shifted);
            rows.filter(|row| *row < last / 8 * 8 + 8).collect::<Rows>()
        };
        compare(&run, &rule, "sub-block");
        let whole = decode(&model, &job, Threshold(0.6), BlockCache::default());
        assert!(run.rows() * whole.steps.len() <= whole.rows() * run.steps.len() * 2);
    }
}
