//! The bundled model on one thread: a forward pass over short and long canvases, and whole answers.
#![allow(missing_docs)] // of what the macros make

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use demask::Pass;
use demask::decode::{CommitPolicy, Sampling, Score, Threshold, TopQ};
use demask::image::ModelImage;
use demask::{Kernels, Method, Model, Options, Session};
use demask_benches::engine;
use demask_std::detect::{WithKernels, available, with_kernels};
use demask_std::load::LoadedModel;
use demask_std::prompt;
use demask_std::runtime::Memory;
use std::hint::black_box;
use std::time::Duration;

/// Canvas lengths. The model was trained on up to 128 tokens; 1,024 of them show what attention
/// costs, which grows with the square.
const CANVASES: [usize; 3] = [16, 64, 1024];
const UTTERANCE: &str = "book a table for two at a sushi bar in boston";
const ANSWER: usize = 56;

/// One pass over a canvas of masks, every row scored. Throughput is in rows.
struct Forward<'b, 'c> {
    group: &'b mut BenchmarkGroup<'c, WallTime>,
    image: &'b ModelImage<'b>,
    canvas: usize,
}

impl WithKernels for Forward<'_, '_> {
    type Output = ();

    fn run<K: Kernels + 'static>(self, kernels: K) {
        let mut memory = Memory::default();
        let (mut engine, _) = engine(self.image, kernels, self.canvas, &mut memory);
        let canvas = vec![self.image.config().mask_id; self.canvas];
        let wanted: Vec<u16> = (0..self.canvas as u16).collect();
        let mut scores = vec![Score::default(); self.canvas];
        self.group.throughput(Throughput::Elements(self.canvas as u64));
        self.group.bench_function(BenchmarkId::new(self.canvas.to_string(), K::NAME), |bencher| {
            bencher.iter(|| {
                let canvas = black_box(&canvas);
                engine
                    .score(&Pass::whole(canvas, &wanted), &Sampling::GREEDY, &mut scores)
                    .expect("it runs");
                black_box(&mut scores);
            });
        });
    }
}

/// One whole answer. Throughput is in tokens.
struct Decode<'b, 'c, P> {
    group: &'b mut BenchmarkGroup<'c, WallTime>,
    image: &'b ModelImage<'b>,
    prompt: &'b [u32],
    name: &'b str,
    policy: P,
}

impl<P: CommitPolicy> WithKernels for Decode<'_, '_, P> {
    type Output = ();

    fn run<K: Kernels + 'static>(self, kernels: K) {
        let mut memory = Memory::default();
        let canvas = self.prompt.len() + ANSWER;
        let (engine, memory) = engine(self.image, kernels, canvas, &mut memory);
        let mut session = Session::new(engine, memory, Method::with_policy(self.policy));
        self.group.throughput(Throughput::Elements(ANSWER as u64));
        self.group.bench_function(BenchmarkId::new(self.name, K::NAME), |bencher| {
            bencher.iter(|| {
                let options = Options::one_block(ANSWER);
                session.begin(black_box(self.prompt), ANSWER, options).expect("it fits");
                session.run(&mut ()).expect("it runs");
                black_box(session.checksum())
            });
        });
    }
}

fn forward(criterion: &mut Criterion) {
    let model = LoadedModel::bundled(true).expect("the bundled model is sound");
    let image = model.image().expect("the bundled model is an image");
    let mut group = criterion.benchmark_group("forward");
    for canvas in CANVASES {
        for choice in available() {
            let code = Forward { group: &mut group, image: &image, canvas };
            with_kernels(choice, code).expect("the choice is available");
        }
    }
}

fn decode(criterion: &mut Criterion) {
    let model = LoadedModel::bundled(true).expect("the bundled model is sound");
    let image = model.image().expect("the bundled model is an image");
    let tokenizer = image.tokenizer().expect("the bundled model has a tokenizer");
    let prompt = prompt::encode(model.prompt(), tokenizer, UTTERANCE).expect("plain letters");
    let (image, prompt) = (&image, &*prompt);
    let mut group = criterion.benchmark_group("decode");
    for choice in available() {
        let (name, policy) = ("threshold-0.9", Threshold(0.9));
        let code = Decode { group: &mut group, image, prompt, name, policy };
        with_kernels(choice, code).expect("the choice is available");
    }
    for choice in available() {
        let (name, policy) = ("one-per-step", TopQ);
        let code = Decode { group: &mut group, image, prompt, name, policy };
        with_kernels(choice, code).expect("the choice is available");
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = forward, decode
}
criterion_main!(benches);
