//! The policies with special needs on the engine itself: what it gives is what they asked for, in tiles of any
//! size.

#![cfg(feature = "decoders")]

use crate::common::{Aligned, SMALLEST, image};
use demask::cache::NoCache;
use demask::decode::{
    CREDITS, CommitPolicy, Credit, CreditPair, Daedal, Even, FillAll, HierarchicalRemask, Klass,
    LogitBias, Needs, Remdm, Saber, Score, TokenEditing, Wino,
};
use demask::image::ModelImage;
use demask::packed::{Format, Layout};
use demask::{Checksum, Engine, Limits, Method, Options, Plan, Scalar, Serial, Session, StepEvent};

const CANVAS: usize = 40;
/// Length of the prompt.
const PROMPT: usize = 3;

/// What is known about a run.
#[derive(Debug, Default, PartialEq)]
struct Run {
    canvas: Vec<u32>,
    checksum: Checksum,
    commits: usize,
    revisions: usize,
    /// Whether a decided position has a finite logit of its token, and any position a divergence.
    current: bool,
    divergence: bool,
}

/// Decodes 16 tokens in blocks of eight.
fn run(image: &ModelImage<'_>, policy: &mut dyn CommitPolicy, tile: usize) -> Run {
    let needs = policy.needs();
    let limits = Limits { canvas: CANVAS, tile, layout: Layout::Rows16, workers: 1, needs };
    let plan = Plan::new(image.config(), &limits).unwrap();
    let mut memory = Aligned::zeroed(plan.bytes());
    memory.fill(0xff);
    let (for_engine, for_session) = plan.carve(&mut memory).unwrap();
    let engine = Engine::new(image, for_engine, Scalar, Serial).unwrap();
    let method = Method { policy, schedule: Even, eos: FillAll, cache: NoCache };
    let mut session = Session::new(engine, for_session, method);
    let options = Options { block_length: 8, steps: 40, temperature: 1.0, ..Options::one_block(8) };
    session.begin(&[5, 6, 7], 16, options).unwrap();
    let mut run = Run::default();
    let mut watch = |event: &StepEvent<'_>| {
        run.commits += event.commits.len();
        run.revisions += event.revisions.len();
        let told = |score: &Score| score.current_logit > f32::MIN;
        run.current |= event.scores.iter().any(told);
        run.divergence |= event.scores.iter().any(|score| score.divergence > 0.0);
    };
    session.run(&mut watch).unwrap();
    Run { canvas: session.canvas().to_vec(), checksum: session.checksum(), ..run }
}

#[test]
fn policies_with_needs_decode_on_the_engine() {
    let mut pairs = [[CreditPair::default(); CREDITS]; CANVAS];
    let mut bias = [LogitBias::default(); CREDITS * CANVAS];
    let (mut memory, mut more) = ([[0.0; 2]; CANVAS], [[0.0; 2]; CANVAS]);
    let (mut still, mut confidences) = ([0; CANVAS], [0.0; CANVAS]);
    let mut policies: [&mut dyn CommitPolicy; 9] = [
        &mut TokenEditing::new(0.2, 0.2),
        &mut Wino::new(0.15, 0.5),
        &mut Klass::with_thresholds(0.1, 0.5, &mut still),
        &mut Saber::llada(&mut memory),
        &mut Saber::dream(&mut more),
        &mut Credit::new(0.3, &mut pairs, &mut bias),
        &mut HierarchicalRemask::new(0.1, 0.3, 0.2),
        &mut Remdm::by_confidence(&mut confidences),
        &mut Daedal::new(30),
    ];
    for seed in 0..if cfg!(miri) { 1 } else { 6 } {
        let bytes = image(SMALLEST, Format::Q8, seed);
        let image = ModelImage::parse(&bytes).unwrap();
        let mask = image.config().mask_id;
        for policy in &mut policies {
            let (name, needs) = (policy.name(), policy.needs());
            let whole = run(&image, &mut **policy, 4);
            assert_eq!(whole, run(&image, &mut **policy, 1), "{name}");
            assert!(!whole.canvas.contains(&mask) && whole.canvas[..PROMPT] == [5, 6, 7], "{name}");
            let revises = needs.include(Needs::REVISIONS);
            assert!(revises || whole.revisions == 0, "{name}");
            let rows = needs.include(Needs::BLOCK_ROWS) || needs.include(Needs::ALL_ROWS);
            assert_eq!(whole.current, rows, "{name}");
            assert_eq!(whole.divergence, needs.include(Needs::DIVERGENCE), "{name}");
            if !needs.include(Needs::RESIZING) {
                assert_eq!(whole.canvas.len(), PROMPT + 16, "{name}");
            } else {
                assert_eq!(whole.canvas.len(), PROMPT + 30, "{name}: nothing says that it ends");
            }
        }
    }
}
