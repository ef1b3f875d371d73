//! Cache plans that say they are exact, and those that compute everything in every pass, decide as without
//! a cache, score for score.

use crate::common::Random;
use crate::fake_model::MASK;
use crate::kv_model::{Job, KvModel, Reviser, decode};
use demask::cache::{
    BlockCache, CachePlan, CacheView, DkvCache, DkvGreedy, DualCache, LavidaPrefix, NoCache,
    PrefixCache, RowList, SubBlockCache, VicinityCache,
};
use demask::decode::{CommitPolicy, Needs, Threshold, TopQ};
use demask::image::Attention;
use demask::{Options, Visible};

fn prompt(random: &mut Random, masks: usize) -> Vec<u32> {
    let length = 2 + random.below(9);
    let mut prompt: Vec<u32> = (0..length).map(|_| 2 + random.below(11) as u32).collect();
    (0..random.below(masks + 1)).for_each(|_| prompt[random.below(length)] = MASK);
    prompt
}

fn job(random: &mut Random, masks: usize) -> Job {
    let job = Job::new(&prompt(random, masks), 1 + random.below(7), 1 + random.below(4));
    let temperature = if random.below(3) == 0 { 0.7 } else { 0.0 };
    Job { options: Options { temperature, seed: random.next(), ..job.options }, ..job }
}

/// Decodes with a threshold, one token at a time, and with revisions.
fn same(model: &KvModel, job: &Job, mut plan: impl CachePlan, all: impl Fn() -> Whole) {
    fn each<P: CommitPolicy>(
        model: &KvModel,
        job: &Job,
        policy: impl Fn() -> P,
        plan: &mut dyn CachePlan,
        all: Whole,
    ) {
        let plain = decode(model, job, policy(), all);
        let cached = decode(model, job, policy(), &mut *plan);
        assert_eq!(cached.outcomes(), plain.outcomes(), "{}: {job:?}", plan.name());
        assert!(cached.rows() <= plain.rows());
    }
    each(model, job, || Threshold(0.6), &mut plan, all());
    each(model, job, || TopQ, &mut plan, all());
    each(model, job, || Reviser(job.options.seed), &mut plan, all());
}

/// All rows, every time, with a prefix if there is one.
struct Whole(usize);

impl CachePlan for Whole {
    fn name(&self) -> &'static str {
        "whole"
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn needs(&self) -> Needs {
        if self.0 > 0 { Needs::VISIBILITY } else { Needs::NONE }
    }

    fn visible(&self) -> Visible<'_> {
        Visible { prefix: self.0, ..Visible::ALL }
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        rows.add_all(0..view.visible_end());
    }
}

#[test]
fn approximate_plans_that_compute_everything_decide_as_without_a_cache() {
    let mut random = Random(31);
    let mut bits = [0; 32];
    for case in 0..150 {
        let attention = match random.below(3) {
            0 => Attention::BlockCausal(8),
            _ => Attention::Bidirectional,
        };
        let model = KvModel::new(case, attention, case % 2 == 0);
        let mut job = job(&mut random, 3);
        if attention != Attention::Bidirectional {
            job.options.block_length = 4;
            job.options.steps = 4 * 3 * 5 * 7 * 8 * 11;
        }
        let all = || Whole(0);
        same(&model, &job, PrefixCache::refreshed_every(1), all);
        same(&model, &job, DualCache::refreshed_every(1), all);
        same(&model, &job, VicinityCache::default().refreshed_every(1), all);
        same(&model, &job, DkvCache::decode(&mut bits).refreshed_every(1), all);
        same(&model, &job, DkvCache::decode(&mut bits).across_blocks().refreshed_every(1), all);
        same(&model, &job, VicinityCache::new(99, 99, 0), all);
        same(&model, &job, NoCache, all);
    }
}

/// Greedy chooses the candidate, so its scores are compared, not its text.
#[test]
fn greedy_that_computes_everything_scores_as_without_a_cache() {
    let mut random = Random(32);
    let mut bits = [0; 32];
    for case in 0..60 {
        let model = KvModel::bidirectional(case, case % 2 == 0);
        let job = job(&mut random, 3);
        let greedy = DkvGreedy::new(&mut bits, case).refreshed_every(1);
        for step in decode(&model, &job, TopQ, greedy).steps {
            let [score] = step.scores[..] else { panic!("one candidate") };
            let options = Options { block_length: step.canvas.len(), ..job.options };
            let alone = Job { prompt: step.canvas.clone(), length: 0, options };
            let options = Options { temperature: 0.0, ..options };
            if job.options.temperature == 0.0 {
                let fresh = decode(&model, &Job { options, ..alone }, TopQ, Whole(0));
                assert!(fresh.steps[0].scores.contains(&score));
            }
        }
    }
}

#[test]
fn a_prompt_that_sees_itself_alone_is_computed_once() {
    let mut random = Random(33);
    for case in 0..200 {
        let model = KvModel::bidirectional(case, case % 2 == 0);
        let job = job(&mut random, 2 * (case as usize % 2));
        let prefix = job.prompt.len();
        same(&model, &job, LavidaPrefix::default(), || Whole(prefix));
        let run = decode(&model, &job, Threshold(0.6), LavidaPrefix::default());
        if !job.prompt.contains(&MASK) {
            for step in &run.steps[1..] {
                let open = job.prompt.len() - usize::from(model.shifted);
                assert!(step.rows.iter().all(|row| *row >= open));
            }
        }
    }
}

#[test]
fn finished_blocks_are_exact_whatever_is_taken_back() {
    let mut random = Random(34);
    for case in 0..300 {
        let block = [1, 2, 4, 8][random.below(4)];
        let model = KvModel::new(case, Attention::BlockCausal(block as u32), case % 2 == 0);
        let sub_block = if random.below(2) == 0 { block } else { 1 };
        let prompt = prompt(&mut random, 2);
        let length = 1 + random.below(20);
        let blocks = (prompt.len() + length).div_ceil(sub_block) - prompt.len() / sub_block;
        let options = Options {
            block_length: sub_block,
            steps: blocks * sub_block,
            seed: random.next(),
            ..Options::one_block(length)
        };
        let job = Job { prompt, length, options };
        same(&model, &job, BlockCache::default(), || Whole(0));
    }
}

/// A sub-block as long as its block is the exact cache; shorter ones see finished blocks exactly.
#[test]
fn the_prefix_of_sub_blocks_is_exact() {
    let mut random = Random(35);
    for case in 0..100 {
        let model = KvModel::new(case, Attention::BlockCausal(8), case % 2 == 0);
        // The first block is as long as the others.
        let prompt: Vec<u32> = (0..8).map(|_| 2 + random.below(11) as u32).collect();
        let length = 24 - prompt.len();
        let job = |block_length: usize| {
            let blocks = 24 / block_length - prompt.len() / block_length;
            let steps = blocks * block_length;
            let options = Options { block_length, steps, ..Options::one_block(length) };
            Job { prompt: prompt.clone(), length, options }
        };
        let whole = decode(&model, &job(8), Threshold(0.6), Whole(0));
        let cached = decode(&model, &job(8), Threshold(0.6), SubBlockCache::default());
        assert_eq!(cached.outcomes(), whole.outcomes(), "{:?}", job(8));
        let whole = decode(&model, &job(8), Reviser(case), Whole(0));
        let cached = decode(&model, &job(8), Reviser(case), SubBlockCache::default());
        assert_eq!(cached.outcomes(), whole.outcomes(), "{:?}", job(8));
        let first = |run: &crate::kv_model::Run| run.steps[0].outcome().0;
        // Scores of each sub-block's first pass depend on finished blocks and on the block as it stands.
        let cached = decode(&model, &job(4), Threshold(0.6), SubBlockCache::default());
        for step in cached.steps.iter().filter(|step| step.pass == 0) {
            let mut alone = Job { prompt: step.canvas.clone(), length: 0, ..job(4) };
            alone.prompt[step.block.end..].fill(MASK);
            alone.options.steps = 4 * 6 * 5;
            let fresh = decode(&model, &alone, Threshold(0.6), NoCache);
            assert_eq!(step.outcome().0, first(&fresh));
        }
    }
}
