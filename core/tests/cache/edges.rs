//! The corner cases of caching: full blocks, gaps, short last blocks, cut texts, plans that leave out
//! candidates, and edits of blocks that are behind.

use crate::fake_model::{EOS, MASK, with_memory};
use crate::kv_model::{Job, KvModel, Run, Step, decode, try_decode};
use demask::cache::{
    BlockCache, CachePlan, CacheView, D2Cache, DkvCache, DkvGreedy, DualCache, EntropyRefresh,
    FreeCache, LavidaPrefix, NoCache, PrefixCache, RowList, SubBlockCache, SuffixWindow,
    VicinityCache,
};
use demask::decode::{
    Commit, CommitPolicy, Edit, EosPolicy, Even, Needs, StepView, Threshold, TopQ,
};
use demask::image::Attention;
use demask::{Method, Options, Session, SessionError};
use std::ops::Range;

const SHIFTS: [bool; 2] = [false, true];

/// Plans for any model.
fn plans() -> Vec<Box<dyn CachePlan>> {
    let bits = || -> &'static mut [u8] { vec![0xff; 32].leak() };
    let list = |length: usize| -> &'static mut [u16] { vec![7; length].leak() };
    let d2 = || D2Cache::new(vec![0xff; 32].leak(), vec![0.0; 512].leak()).masks(2);
    vec![
        Box::new(NoCache),
        Box::new(PrefixCache::default()),
        Box::new(DualCache::default()),
        Box::new(VicinityCache::new(1, 1, 1)),
        Box::new(DkvCache::decode(bits())),
        Box::new(DkvCache::prefill(bits())),
        Box::new(DkvCache::pd(bits())),
        Box::new(DkvGreedy::new(bits(), 3)),
        Box::new(EntropyRefresh::new(bits(), list(2), 2.0)),
        Box::new(d2()),
        Box::new(LavidaPrefix::default()),
        Box::new(FreeCache::repaired()),
        Box::new(SuffixWindow::whole(DualCache::default(), list(256), 3)),
        Box::new(SuffixWindow::new(d2(), list(256), 3).window(6)),
    ]
}

/// Slots that were trusted held what stood there, and nothing was computed in blocks without masks.
fn check(run: &Run, name: &str) {
    for step in &run.steps {
        assert!(step.stale.is_empty() && !step.candidates().is_empty(), "{name}: {step:?}");
    }
}

#[test]
fn full_blocks_take_no_pass() {
    let mut canvas = vec![MASK, 3, MASK, 4];
    canvas.extend([5, 6, 7, 8, 9, 2, MASK, MASK, 3, 4, 5, 6]);
    let options = Options { block_length: 4, ..Options::one_block(16) };
    let job = Job { prompt: canvas, length: 0, options };
    for shifted in SHIFTS {
        let model = KvModel::bidirectional(1, shifted);
        for mut plan in plans() {
            let run = decode(&model, &job, TopQ, &mut *plan);
            check(&run, plan.name());
            let blocks: Vec<usize> = run.steps.iter().map(|step| step.block.start).collect();
            assert_eq!(blocks, [0, 0, 8, 8], "{}", plan.name());
            let full = Job { prompt: run.canvas.clone(), length: 0, ..job.clone() };
            assert!(decode(&model, &full, TopQ, &mut *plan).steps.is_empty());
        }
    }
}

#[test]
fn gaps_before_the_block_are_filled_and_then_trusted() {
    let job = Job::new(&[2, MASK, 4, MASK, 6], 4, 3);
    for shifted in SHIFTS {
        let model = KvModel::bidirectional(2, shifted);
        for mut plan in plans() {
            let run = decode(&model, &job, Threshold(0.5), &mut *plan);
            check(&run, plan.name());
            assert!(run.canvas[..5].iter().all(|token| *token != MASK));
        }
    }
}

/// Blocks of the attention are aligned to position 0, so the last one may be short, and a prompt may end
/// with one.
#[test]
fn last_blocks_may_be_short_and_prompts_whole_blocks() {
    for shifted in SHIFTS {
        for prompt in [1usize, 7, 8, 9, 16] {
            for length in [1, 3, 8, 13, 16] {
                let model = KvModel::new(5, Attention::BlockCausal(8), shifted);
                let sub_block = 4;
                let blocks = (prompt + length).div_ceil(sub_block) - prompt / sub_block;
                let steps = blocks * 4;
                let options = Options { block_length: 4, steps, ..Options::one_block(length) };
                let prompt = (0..prompt as u32).map(|i| 2 + i % 11).collect();
                let job = Job { prompt, length, options };
                let [mut block, mut sub] = [BlockCache::default(), BlockCache::default()];
                let mut sub_block = SubBlockCache::default();
                let blocks: [&mut dyn CachePlan; 3] = [&mut block, &mut sub, &mut sub_block];
                for plan in blocks {
                    check(&decode(&model, &job, Threshold(0.6), &mut *plan), plan.name());
                }
                for mut plan in plans() {
                    check(&decode(&model, &job, Threshold(0.6), &mut *plan), plan.name());
                }
            }
        }
    }
}

/// Ends the canvas at the first end token.
struct Cut;

impl EosPolicy for Cut {
    fn truncates(&self) -> bool {
        true
    }

    fn stop(&self, canvas: &[u32], region: Range<usize>, mask: u32, eos: u32) -> Option<usize> {
        let first = canvas[region.clone()].iter().position(|id| [mask, eos].contains(id))?;
        let end = region.start + first;
        (canvas[end] == eos).then_some(end)
    }
}

/// What was trusted behind the cut is not trusted in the next text, whose canvas is longer again.
#[test]
fn a_text_that_was_cut_leaves_nothing_behind() {
    let mut cuts = 0;
    for mut plan in plans() {
        for seed in 0..12 {
            let mut model = KvModel::bidirectional(seed, seed % 2 == 0);
            let name = plan.name();
            with_memory(32, |memory| {
                let method =
                    Method { policy: Threshold(0.5), schedule: Even, eos: Cut, cache: &mut *plan };
                let mut session = Session::new(&mut model, memory, method);
                let mut checksums = Vec::new();
                for prompt in [&[2, 3][..], &[4], &[2, 3]] {
                    let options = Options { block_length: 5, ..Options::one_block(15) };
                    session.begin(prompt, 15, options).unwrap();
                    session.run(&mut ()).unwrap();
                    cuts += usize::from(session.canvas().len() < prompt.len() + 15);
                    assert!(
                        session.canvas()[prompt.len()..].iter().rev().skip(1).all(|t| *t != EOS)
                    );
                    checksums.push(session.checksum());
                }
                assert_eq!(checksums[0], checksums[2], "{name}");
            });
        }
    }
    assert!(cuts > 100, "{cuts}");
}

/// Lets the canvas grow.
struct Grower;

impl CommitPolicy for Grower {
    fn needs(&self) -> Needs {
        Needs::RESIZING
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        view.candidates().for_each(|score| edit.offer(view.proposed(score), 1));
        if view.count.forward == 2 {
            edit.insert(demask::decode::Insertion {
                position: view.block.start + 1,
                count: 3,
                token: MASK,
            });
        }
    }
}

#[test]
fn a_canvas_that_grows_is_refused_where_slots_would_be_wrong() {
    let model = KvModel::bidirectional(3, false);
    let job = Job::new(&[2, 3], 6, 1);
    for mut plan in plans() {
        let name = plan.name();
        let result = try_decode(&model, &job, Grower, &mut *plan).map(|_| ());
        let need = "a canvas that grows or shrinks";
        let clash = Err(SessionError::Clash { policy: "custom", plan: name, need });
        let expected = if ["none", "lavida"].contains(&name) { Ok(()) } else { clash };
        assert_eq!(result, expected);
    }
}

/// Computes everything once and then nothing; offers some of what there is, or nothing.
struct Lazy {
    limits: bool,
    offers: bool,
}

impl CachePlan for Lazy {
    fn name(&self) -> &'static str {
        "lazy"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn limits_candidates(&self) -> bool {
        self.limits
    }

    fn is_candidate(&self, _: u16) -> bool {
        self.offers
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        if view.forward == 0 {
            rows.add_all(0..view.canvas.len());
        }
    }
}

#[test]
fn candidates_that_a_plan_leaves_out() {
    let job = Job::new(&[2, 3], 5, 2);
    for shifted in SHIFTS {
        let model = KvModel::bidirectional(4, shifted);
        let rows_of = |step: &Step| -> Vec<usize> {
            step.candidates().iter().map(|position| model.row_of(*position)).collect()
        };
        // Their rows are added.
        let run = decode(&model, &job, TopQ, Lazy { limits: false, offers: true });
        assert!(run.steps[1..].iter().all(|step| step.rows == rows_of(step)));
        assert!(run.steps.iter().all(|step| step.scored() == step.candidates()));
        // Or they are none, but for one.
        for offers in [false, true] {
            let run = decode(&model, &job, TopQ, Lazy { limits: true, offers });
            for step in &run.steps[1..] {
                assert_eq!(
                    (&step.rows, step.scored()),
                    (&rows_of(step)[..1].to_vec(), step.candidates()[..1].to_vec())
                );
            }
            let first = run.steps[0].scored();
            assert_eq!(first.len(), if offers { 5 } else { 1 });
        }
    }
}

/// In its second block it takes a token of the first one back, and replaces another.
#[derive(Default)]
struct LooksBack(bool);

impl CommitPolicy for LooksBack {
    fn needs(&self) -> Needs {
        Needs::REVISIONS
    }

    fn begin(&mut self, _: Range<usize>) {
        self.0 = false;
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        view.candidates().for_each(|score| edit.offer(view.proposed(score), 2));
        if view.block.start > 4 && edit.commits().len() > 1 && !self.0 {
            self.0 = true;
            edit.revise(Commit { position: 3, token: MASK, confidence: 0.0 });
            let token = if view.canvas[5] == 7 { 8 } else { 7 };
            edit.revise(Commit { position: 5, token, confidence: 0.0 });
        }
    }
}

#[test]
fn an_edit_of_an_earlier_block_is_computed_in_the_next_pass() {
    for shifted in SHIFTS {
        let model = KvModel::bidirectional(6, shifted);
        let blocks = KvModel::new(6, Attention::BlockCausal(6), shifted);
        let mut cases: Vec<(&KvModel, Box<dyn CachePlan>)> =
            plans().into_iter().map(|plan| (&model, plan)).collect();
        cases.push((&blocks, Box::new(BlockCache::default())));
        cases.push((&blocks, Box::new(SubBlockCache::default())));
        for (model, mut plan) in cases {
            let mut job = Job::new(&[2, 3], 6, 3);
            job.options.steps = 5 * 4 * 3;
            if model.attention != Attention::Bidirectional {
                job.length = 16;
            }
            let name = plan.name();
            if plan.forbids().include(Needs::REVISIONS) {
                assert!(try_decode(model, &job, LooksBack::default(), &mut *plan).is_err());
                continue;
            }
            let run = decode(model, &job, LooksBack::default(), &mut *plan);
            check(&run, name);
            let edited = run.steps.iter().position(|step| !step.revisions.is_empty());
            // Greedy commits one token per pass, and so may not take one back.
            let Some(t) = edited else {
                assert_eq!(name, "dkv-greedy");
                continue;
            };
            assert_eq!(run.steps[t].revisions.len(), 2, "{name}");
            let next = &run.steps[t + 1];
            let computed = |position| next.rows.contains(&position);
            assert!(computed(3) && computed(5), "{name}: {next:?}");
        }
    }
}
