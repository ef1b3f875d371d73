//! Forward passes on 1 to all processors, on a quiet machine and beside a program that keeps one
//! processor busy.
//!
//!     cargo run --release -p demask-benches --bin threads [-- ROUNDS]
//!
//! Numbers of threads take turns in one process, and ratios are taken within a turn, so that what
//! else the machine does meets all of them. Needs `taskset` for the busy neighbour.
#![forbid(unsafe_code)]

use demask::ModelImage;
use demask::Pass;
use demask::decode::{Needs, Sampling, Score};
use demask::image::{Architecture, Features, ModelConfig, RopePairs, TensorRole};
use demask::packed::Format;
use demask_quant::{BoxError, Quantization, Sections, WeightSource, write_image};
use demask_std::detect::Choice;
use demask_std::load::LoadedModel;
use demask_std::runtime::{Memory, Network, Runtime, Settings};
use std::io::Cursor;
use std::process::{Child, Command};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// Time of one measurement: many of the 3 to 4 ms that the system gives a program at a stretch.
const TURN: Duration = Duration::from_millis(150);

/// 13 million parameters in 12 layers, with random weights.
const RANDOM: ModelConfig = ModelConfig {
    architecture: Architecture::Llada,
    vocab_size: 4096,
    model_dim: 256,
    layers: 12,
    heads: 8,
    kv_heads: 4,
    head_dim: 32,
    ffn_dim: 1024,
    context: 1024,
    mask_id: 1,
    eos_id: 0,
    rope_theta: 10_000.0,
    norm_eps: 1e-5,
    rope_pairs: RopePairs::HalfSplit,
    tied_head: true,
    features: Features::PLAIN,
};

/// Weights that a kernel cannot tell from real ones.
struct RandomWeights;

impl WeightSource for RandomWeights {
    fn read_rows(&self, _: TensorRole, row: usize, out: &mut [f32]) -> Result<(), BoxError> {
        let mut state = row as u32;
        out.fill_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / f32::from(u16::MAX) / 2048.0 - 0.0625
        });
        Ok(())
    }
}

/// The image of the random model, on the boundary that images need.
fn random_model(room: &mut Vec<u8>) -> Result<&[u8], BoxError> {
    let sections = Sections {
        config: RANDOM,
        tokenizer: None,
        prompt: None,
        filter: None,
        security_counter: 0,
    };
    let mut out = Cursor::new(Vec::new());
    let format = Quantization::uniform(Format::Q4);
    write_image(&sections, format, &RandomWeights, &mut out, 1, &mut |_| ())?;
    let image = out.into_inner();
    room.resize(image.len() + 64, 0);
    let start = room.as_ptr().align_offset(64);
    let aligned = &mut room[start..start + image.len()];
    aligned.copy_from_slice(&image);
    Ok(aligned)
}

/// A program that never rests, bound to one processor; ends with the value.
struct Neighbour(Child);

impl Neighbour {
    fn on(processor: usize) -> std::io::Result<Self> {
        let busy = "while :; do :; done";
        let mut command = Command::new("taskset");
        Ok(Self(command.args(["-c", &processor.to_string(), "sh", "-c", busy]).spawn()?))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // If it has ended by itself, there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seconds per pass over `canvas`, all of its rows scored.
fn turn(network: &mut dyn Network, canvas: &[u32], scores: &mut [Score]) -> Result<f64, BoxError> {
    let wanted: Vec<u16> = (0..canvas.len() as u16).collect();
    let (start, mut passes) = (Instant::now(), 0u32);
    while start.elapsed() < TURN || passes == 0 {
        network.score(&Pass::whole(canvas, &wanted), &Sampling::GREEDY, scores)?;
        passes += 1;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(passes))
}

/// `rounds` measurements of each number of threads, `[threads - 1][round]`.
fn measure(
    image: &ModelImage<'_>,
    canvas: &[u32],
    threads: usize,
    rounds: usize,
) -> Result<Vec<Vec<f64>>, BoxError> {
    let runtime = Runtime::packed(*image);
    let mut memories: Vec<_> = (0..threads).map(|_| Memory::default()).collect();
    let mut networks = Vec::new();
    for (memory, threads) in memories.iter_mut().zip(1..) {
        let settings =
            Settings { canvas: canvas.len(), threads, kernels: Choice::Auto, needs: Needs::NONE };
        networks.push(runtime.network(&settings, memory)?);
    }
    let mut times = vec![Vec::new(); threads];
    let mut scores = vec![Score::default(); canvas.len()];
    for _ in 0..rounds {
        for (network, times) in networks.iter_mut().zip(&mut times) {
            times.push(turn(&mut **network, canvas, &mut scores)?);
        }
    }
    Ok(times)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn report(name: &str, rows: usize, condition: &str, times: &[Vec<f64>]) {
    for (these, threads) in times.iter().zip(1..) {
        let best = these.iter().copied().fold(f64::INFINITY, f64::min);
        let ratio = median(these.iter().zip(&times[0]).map(|(t, one)| t / one).collect());
        let (best, middle) = (best * 1e3, median(these.clone()) * 1e3);
        println!(
            "{name:<12} {rows:>4}  {condition:<9} {threads:>7}  {best:>8.3}  {middle:>9.3}  {ratio:>5.2}"
        );
    }
}

fn main() -> Result<(), BoxError> {
    let rounds = std::env::args().nth(1).map_or(Ok(15), |n| n.parse())?.max(1);
    let threads = available_parallelism()?.get();
    let bundled = LoadedModel::bundled(true)?;
    let intents = bundled.image().ok_or("the bundled model is not an image")?;
    let mut room = Vec::new();
    let random = ModelImage::parse(random_model(&mut room)?)?;
    println!("model        rows  neighbour threads   best ms  median ms  to one thread");
    for (name, image, rows) in
        [("intents-q4", intents, 16), ("intents-q4", intents, 64), ("random-13M", random, 256)]
    {
        let canvas = vec![image.config().mask_id; rows];
        report(name, rows, "quiet", &measure(&image, &canvas, threads, rounds)?);
        let neighbour = Neighbour::on(threads - 1)?;
        let times = measure(&image, &canvas, threads, rounds)?;
        drop(neighbour);
        report(name, rows, "one busy", &times);
    }
    Ok(())
}
