//! Cache plans give the scores that computing everything gives, where they say that they do; and a
//! text that outgrows its canvas goes on in a window.

use crate::common::{Aligned, Random, SMALLEST, image, random_config};
use demask::cache::{
    BlockCache, CachePlan, CacheView, DkvCache, DualCache, EntropyRefresh, FreeCache, LavidaPrefix,
    NoCache, PrefixCache, RowList, SubBlockCache, SuffixWindow, VicinityCache,
};
use demask::decode::{Even, FillAll, Needs, Score, Threshold};
use demask::image::{Attention, Experts, Features, ModelConfig, ModelImage};
use demask::packed::{Format, Layout};
use demask::{
    Engine, Limits, Method, Model, Options, Plan, Scalar, Serial, Session, SessionError,
    SessionMemory, StepEvent, Trace, Visible,
};

/// The bits of all scores of a step, and its commits.
type Step = (Vec<[u32; 10]>, Vec<(u32, u32)>);

/// Every score and every commit of a decode, with the bits of the scores.
#[derive(Debug, Default, PartialEq)]
struct Record {
    steps: Vec<Step>,
    dropped: Vec<u32>,
    canvas: Vec<u32>,
}

impl Trace for Record {
    fn step(&mut self, event: &StepEvent<'_>) {
        let bits = |score: &Score| bytemuck::cast::<Score, [u32; 10]>(*score);
        let commits = event.commits.iter().map(|c| (c.position, c.token)).collect();
        self.steps.push((event.scores.iter().map(bits).collect(), commits));
        self.canvas = event.canvas.to_vec();
    }

    fn dropped(&mut self, tokens: &[u32]) {
        self.dropped.extend(tokens);
    }
}

/// What a decode is asked to do.
#[derive(Debug, Clone)]
struct Job {
    /// Slots of canvas and ring.
    canvas: usize,
    prompt: Vec<u32>,
    length: usize,
    threshold: f32,
    options: Options,
}

/// Computes everything, in a window too; the first `prefix` rows see each other alone.
struct Everything {
    prefix: usize,
}

impl CachePlan for Everything {
    fn name(&self) -> &'static str {
        "everything"
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn has_window(&self) -> bool {
        true
    }

    fn needs(&self) -> Needs {
        if self.prefix > 0 { Needs::VISIBILITY } else { Needs::NONE }
    }

    fn visible(&self) -> Visible<'_> {
        Visible { prefix: self.prefix, ..Visible::ALL }
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        NoCache.plan(view, rows);
    }
}

fn decode(
    image: &ModelImage<'_>,
    job: &Job,
    cache: impl CachePlan,
) -> Result<(Record, u64), SessionError> {
    let limits = Limits {
        canvas: job.canvas,
        tile: 3,
        layout: Layout::Rows16,
        workers: 1,
        needs: Needs::NONE,
    };
    let plan = Plan::new(image.config(), &limits).unwrap();
    let mut memory = Aligned::zeroed(plan.bytes());
    // What nobody has computed must not be read.
    memory.fill(0x7f);
    let (for_engine, for_session) = plan.carve(&mut memory).unwrap();
    let engine = Engine::new(image, for_engine, Scalar, Serial).unwrap();
    let method = Method { policy: Threshold(job.threshold), schedule: Even, eos: FillAll, cache };
    let mut session = Session::new(engine, for_session, method);
    session.begin(&job.prompt, job.length, job.options)?;
    let mut record = Record::default();
    session.run(&mut record)?;
    assert_eq!(session.dropped() as usize, record.dropped.len());
    Ok((record, session.rows_computed()))
}

/// A plain transformer, or one with features of any family.
fn model(attention: Attention, shifted_logits: bool, random: &mut Random) -> ModelConfig {
    let causal = attention == Attention::CAUSAL;
    let config = match random.below(2) {
        0 => random_config(random, attention),
        _ => ModelConfig { layers: 1 + random.below(3) as u32, ..SMALLEST },
    };
    ModelConfig {
        vocab_size: 29,
        mask_id: if causal { 29 } else { 1 },
        features: Features { attention, shifted_logits, ..config.features },
        ..config
    }
}

fn with_layers(config: ModelConfig, layers: u32) -> ModelConfig {
    let fewer = |e: Experts| Experts { dense_layers: e.dense_layers.min(layers), ..e };
    let features = Features { experts: config.features.experts.map(fewer), ..config.features };
    ModelConfig { layers, features, ..config }
}

fn prompt(length: usize, random: &mut Random) -> Vec<u32> {
    (0..length).map(|_| 2 + random.below(27) as u32).collect()
}

fn options(block_length: usize, blocks: usize, random: &mut Random) -> Options {
    Options {
        block_length,
        steps: blocks * block_length,
        temperature: if random.below(3) == 0 { 0.8 } else { 0.0 },
        seed: random.next(),
        ..Options::one_block(1)
    }
}

#[test]
fn block_causal_decoding_with_the_cache_is_that_without() {
    let mut random = Random(1);
    for case in 0..200 {
        let block = [1, 2, 3, 4, 6, 8][random.below(6)];
        let causal = block == 1;
        let attention = Attention::BlockCausal(block as u32);
        let config = model(attention, causal || random.below(2) == 0, &mut random);
        let format = if random.below(2) == 0 { Format::Q8 } else { Format::Q4 };
        let image = image(config, format, random.next());
        let image = ModelImage::parse(&image).unwrap();
        let sub_block = (1..=block).rev().find(|b| block % b == 0 && random.below(2) == 0);
        let sub_block = sub_block.unwrap_or(block);
        let mut prompt = prompt(usize::from(causal) + random.below(20), &mut random);
        // Some infilling: masks in the prompt.
        for _ in 0..random.below(3) {
            if let Some(token) = prompt.get_mut(usize::from(causal) + case % 7) {
                *token = if causal { *token } else { 1 };
            }
        }
        let length = 1 + random.below(20);
        let blocks = (prompt.len() + length).div_ceil(sub_block) - prompt.len() / sub_block;
        let options = options(sub_block, blocks, &mut random);
        let canvas = prompt.len() + length;
        let threshold = [0.05, 0.2, 2.0][random.below(3)];
        let job = Job { canvas, prompt, length, threshold, options };
        let (cached, rows) = decode(&image, &job, BlockCache::default()).unwrap();
        let (plain, all_rows) = decode(&image, &job, NoCache).unwrap();
        assert_eq!(cached, plain, "case {case}: {job:?}");
        assert!(rows <= all_rows && !plain.steps.is_empty());
    }
}

#[test]
fn approximate_plans_that_refresh_every_step_are_exact() {
    let mut random = Random(2);
    for case in 0..40 {
        let config = model(Attention::Bidirectional, random.below(2) == 0, &mut random);
        let image = image(config, Format::Q8, random.next());
        let image = ModelImage::parse(&image).unwrap();
        let (prompt, length) = (prompt(1 + random.below(6), &mut random), 1 + random.below(10));
        // Blocks of one token: each step is the first of its block.
        let options = options(1, length, &mut random);
        let canvas = prompt.len() + length;
        let job = Job { canvas, prompt, length, threshold: 0.2, options };
        let (plain, _) = decode(&image, &job, NoCache).unwrap();
        assert_eq!(decode(&image, &job, PrefixCache::default()).unwrap().0, plain, "case {case}");
        assert_eq!(decode(&image, &job, DualCache::default()).unwrap().0, plain, "case {case}");
    }
}

#[test]
fn hidden_slots_and_prompts_that_see_themselves() {
    let mut random = Random(9);
    for case in 0..40 {
        let config = model(Attention::Bidirectional, case % 2 == 0, &mut random);
        let image = image(config, Format::Q8, random.next());
        let image = ModelImage::parse(&image).unwrap();
        let prompt = prompt(2 + random.below(6), &mut random);
        let job = |blocks: usize| Job {
            canvas: prompt.len() + 4 * blocks,
            prompt: prompt.clone(),
            length: 4 * blocks,
            threshold: 2.0,
            options: Options { block_length: 4, ..Options::one_block(4 * blocks) },
        };
        // LaViDa's prompt is computed once, and nothing changes.
        let prefix = prompt.len();
        let (plain, all) = decode(&image, &job(3), Everything { prefix }).unwrap();
        let (cached, rows) = decode(&image, &job(3), LavidaPrefix::default()).unwrap();
        assert_eq!(cached, plain);
        assert!(rows < all);
        // A window of one block makes the first block that of a shorter canvas.
        let hidden = &mut [0; 32];
        let (windowed, _) =
            decode(&image, &job(5), SuffixWindow::whole(NoCache, hidden, 4)).unwrap();
        let (short, _) = decode(&image, &job(2), NoCache).unwrap();
        assert_eq!(windowed.steps[..4], short.steps[..4]);
        let (long, _) = decode(&image, &job(5), NoCache).unwrap();
        assert_ne!(windowed.steps[..4], long.steps[..4]);
    }
}

#[test]
fn dual_and_prefix_compute_fewer_rows_and_finish() {
    let mut random = Random(3);
    for shifted in [false, true] {
        let config = model(Attention::Bidirectional, shifted, &mut random);
        let image = image(config, Format::Q8, 7);
        let image = ModelImage::parse(&image).unwrap();
        let options = options(8, 4, &mut random);
        let prompt = prompt(9, &mut random);
        let job = Job { canvas: 41, prompt, length: 32, threshold: 2.0, options };
        let (plain, all) = decode(&image, &job, NoCache).unwrap();
        let (prefix, fewer) = decode(&image, &job, PrefixCache::default()).unwrap();
        let (dual, fewest) = decode(&image, &job, DualCache::default()).unwrap();
        assert_eq!(all, 32 * 41);
        assert!(fewest * 3 < all && fewest < fewer && fewer < all, "{fewest} {fewer} {all}");
        for record in [plain, prefix, dual] {
            assert_eq!(record.steps.len(), 32);
            assert!(!record.canvas.contains(&1));
        }
    }
}

/// In a network of one layer keys and values depend on their own token and position only, so every plan
/// whose trusted slots hold what stands there scores like none.
#[test]
fn in_a_network_of_one_layer_every_plan_is_exact() {
    let mut random = Random(8);
    for case in 0..30 {
        let config = model(Attention::Bidirectional, case % 2 == 0, &mut random);
        let image = image(with_layers(config, 1), Format::Q8, random.next());
        let image = ModelImage::parse(&image).unwrap();
        let mut prompt = prompt(2 + random.below(9), &mut random);
        if case % 3 == 0 {
            prompt[1] = 1;
        }
        let block = 1 + random.below(6);
        let blocks = 1 + random.below(4);
        let options = options(block, blocks, &mut random);
        let (length, canvas) = (block * blocks, prompt.len() + block * blocks);
        let job = Job { canvas, prompt, length, threshold: 0.2, options };
        let (plain, all) = decode(&image, &job, NoCache).unwrap();
        let (bits, recent) = (&mut [0xff; 8], &mut [0; 3]);
        let compare = |plan: &mut dyn CachePlan| {
            let (cached, rows) = decode(&image, &job, &mut *plan).unwrap();
            assert_eq!(cached, plain, "{}, case {case}: {job:?}", plan.name());
            assert!(rows <= all);
        };
        compare(&mut PrefixCache::default());
        compare(&mut DualCache::default());
        compare(&mut VicinityCache::new(2, 1, 0));
        compare(&mut DkvCache::decode(bits));
        compare(&mut DkvCache::prefill(bits).across_blocks());
        compare(&mut DkvCache::pd(bits));
        compare(&mut FreeCache::repaired());
        compare(&mut EntropyRefresh::new(bits, recent, 99.0));
    }
}

/// In a network of one layer keys and values depend on their own token and position only, so the
/// window must score like a pass over all its rows.
#[test]
fn a_text_longer_than_the_canvas_goes_on_in_a_window() {
    let mut random = Random(4);
    for case in 0..30 {
        let block = [1, 2, 4][random.below(3)];
        let config = model(Attention::BlockCausal(block), block == 1 || case % 2 == 0, &mut random);
        let image = image(with_layers(config, 1), Format::Q8, random.next());
        let image = ModelImage::parse(&image).unwrap();
        let block = block as usize;
        let prompt = prompt(1 + random.below(9), &mut random);
        let length = 60 + random.below(20);
        let blocks = (prompt.len() + length).div_ceil(block) - prompt.len() / block;
        let pinned = random.below(6);
        let options = Options { pinned, ..options(block, blocks, &mut random) };
        let canvas = 20 + random.below(5);
        let job = Job { canvas, prompt, length, threshold: 0.2, options };
        let (cached, _) = decode(&image, &job, BlockCache::default()).unwrap();
        let (plain, _) = decode(&image, &job, Everything { prefix: 0 }).unwrap();
        assert_eq!(cached, plain, "case {case}: {job:?}");
        let sub_blocks = decode(&image, &job, SubBlockCache::default()).unwrap().0;
        assert_eq!(sub_blocks, plain, "case {case}: {job:?}");
        // Nothing is lost: pinned tokens, what was dropped, and what is on the canvas.
        assert_eq!(cached.dropped.len() + cached.canvas.len(), job.prompt.len() + length);
        assert!(cached.canvas.len() <= canvas && !cached.canvas.contains(&config.mask_id));
        let keep = pinned.div_ceil(block) * block;
        let text: Vec<u32> =
            [&cached.canvas[..keep], &cached.dropped, &cached.canvas[keep..]].concat();
        assert_eq!(text[..job.prompt.len()], job.prompt);
    }
}

#[test]
fn a_window_starts_as_a_canvas_with_room_for_all() {
    let mut random = Random(5);
    let config = model(Attention::BlockCausal(4), false, &mut random);
    let image = image(with_layers(config, 3), Format::Q4, 11);
    let image = ModelImage::parse(&image).unwrap();
    let prompt = prompt(6, &mut random);
    let options = options(4, 23, &mut random);
    let job = |canvas| Job { canvas, prompt: prompt.clone(), length: 90, threshold: 2.0, options };
    let (large, _) = decode(&image, &job(96), BlockCache::default()).unwrap();
    let (small, _) = decode(&image, &job(24), BlockCache::default()).unwrap();
    assert_eq!(large.steps.len(), small.steps.len());
    // Six tokens of prompt: the canvas is full after 18 steps, and the window moves first then.
    assert_eq!(large.steps[..18], small.steps[..18]);
    assert_ne!(large.steps[18..], small.steps[18..]);
}

#[test]
fn a_window_leaves_nothing_behind_for_the_next_text() {
    let mut random = Random(7);
    let config = model(Attention::BlockCausal(4), true, &mut random);
    let image = image(config, Format::Q8, 3);
    let image = ModelImage::parse(&image).unwrap();
    let prompt = prompt(5, &mut random);
    let options = Options { pinned: 4, ..options(4, 23, &mut random) };
    crate::common::with_engine(&image, 20, |engine| {
        let mut memory = Aligned::zeroed(SessionMemory::bytes(20).unwrap());
        let memory = SessionMemory::carve(&mut memory, 20).unwrap();
        let method = Method::with_policy(Threshold(0.5)).with_cache(BlockCache::default());
        let mut session = Session::new(engine, memory, method);
        let mut checksums = [0; 2];
        for checksum in &mut checksums {
            session.begin(&prompt, 91, options).unwrap();
            session.run(&mut ()).unwrap();
            assert_eq!(session.dropped(), 76);
            *checksum = session.checksum().value();
        }
        assert_eq!(checksums[0], checksums[1]);
    })
    .unwrap();
}

#[test]
fn impossible_pairs_are_refused() {
    let mut random = Random(6);
    let blocks = model(Attention::BlockCausal(4), false, &mut random);
    let both = model(Attention::Bidirectional, false, &mut random);
    let causal = model(Attention::CAUSAL, true, &mut random);
    let try_it = |config: ModelConfig, prompt: &[u32], length, block_length, pinned| {
        let image = image(config, Format::Q8, 1);
        let image = ModelImage::parse(&image).unwrap();
        let options = Options { pinned, ..Options::one_block(length) };
        let options = Options { block_length, steps: 1000 * block_length, ..options };
        let job = Job { canvas: 16, prompt: prompt.to_vec(), length, threshold: 0.5, options };
        decode(&image, &job, BlockCache::default()).map(|_| ())
    };
    use SessionError as E;
    assert_eq!(try_it(both, &[2], 8, 8, 0), Err(E::Cache { plan: "block" }));
    let misfit = E::AttentionBlock { block: 3, attention: 4 };
    assert_eq!(try_it(blocks, &[2], 8, 3, 0), Err(misfit));
    assert_eq!(try_it(causal, &[], 8, 1, 0), Err(E::NoPrompt));
    assert_eq!(try_it(blocks, &[2], 999, 4, 9), Err(E::Pinned { pinned: 12, canvas: 16 }));
    let long = vec![2; 13];
    assert_eq!(try_it(blocks, &long, 99, 4, 0), Err(E::CanvasTooLong { len: 17, max: 16 }));
}

#[test]
fn a_pass_without_the_row_that_predicts_is_an_error() {
    use demask::decode::Sampling;
    use demask::{ForwardError, Pass};
    let image = image(SMALLEST, Format::Q8, 1);
    let image = ModelImage::parse(&image).unwrap();
    let (canvas, mut scores) = ([2, 1, 1, 3], [Score::default()]);
    let result = crate::common::with_engine(&image, 4, |mut engine| {
        let pass = Pass { rows: Some(&[0, 1, 3]), ..Pass::whole(&canvas, &[2]) };
        engine.score(&pass, &Sampling::GREEDY, &mut scores)
    });
    assert_eq!(result.unwrap(), Err(ForwardError::RowNotComputed { row: 2 }));
}
