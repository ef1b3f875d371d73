//! Fixed pieces of work for an instruction counter: `benches/counts.sh` runs this under callgrind.
//!
//! `counts list` prints `OPERATION SHAPE UNITS` lines, the units being multiplications by weights
//! where there are such, else elements; `counts OPERATION SHAPE KERNELS` does one of them twice, the
//! second time in a function whose name holds `counted_work`.
#![forbid(unsafe_code)]

use demask::Pass;
use demask::decode::{Sampling, Score};
use demask::image::TensorRole;
use demask::{Kernels, Model};
use demask_benches::{Product, engine, format_named};
use demask_std::detect::{WithKernels, with_kernels};
use demask_std::load::LoadedModel;
use demask_std::runtime::Memory;
use std::env::args;
use std::hint::black_box;
use std::process::ExitCode;

/// Shapes are `rows x outputs x inputs` of products, `rows x length` of row operations and `rows`
/// of passes over the bundled model.
const WORK: &[(&str, &str)] = &[
    ("matmul-q4", "1x256x256"),
    ("matmul-q4", "32x256x256"),
    ("matmul-q8", "1x256x256"),
    ("matmul-q8", "32x256x256"),
    ("quantize", "32x256"),
    ("rms-norm", "32x256"),
    ("softmax", "32x256"),
    ("forward-intents-q4", "64"),
];

/// What stands between the two halves of a callgrind run.
#[inline(never)]
fn counted_work(work: &mut dyn FnMut()) {
    work();
}

struct Work<'a> {
    operation: &'a str,
    shape: &'a [usize],
}

impl WithKernels for Work<'_> {
    type Output = Option<()>;

    fn run<K: Kernels + 'static>(self, kernels: K) -> Option<()> {
        match (self.operation.split_once('-'), self.shape) {
            (Some(("matmul", format)), &[rows, outputs, inputs]) => {
                let mut product = Product::new(format_named(format)?, rows, outputs, inputs);
                twice(&mut || {
                    black_box(black_box(&mut product).multiply(kernels));
                });
            }
            (_, &[rows, length]) if self.operation == "quantize" => {
                let mut product = Product::new(format_named("q4")?, rows, 16, length);
                twice(&mut || black_box(&mut product).quantize(kernels));
            }
            (Some(("rms", _)), &[rows, length]) => {
                let (x, weight) = (numbers(rows * length), numbers(length));
                let mut out = vec![0.0; length];
                twice(&mut || {
                    for x in black_box(&x).chunks_exact(length) {
                        let norm = || kernels.rms_norm(x, &weight, 1e-5, &mut out);
                        kernels.vectorize(norm).expect("the rows are finite");
                        black_box(&mut out);
                    }
                });
            }
            (_, &[rows, length]) if self.operation == "softmax" => {
                // Works in place: the second run needs scores of its own.
                let (mut scores, mut next) = (numbers(rows * length), numbers(rows * length));
                twice(&mut || {
                    for scores in black_box(&mut scores).chunks_exact_mut(length) {
                        black_box(kernels.vectorize(|| kernels.exponentiate(scores)));
                    }
                    std::mem::swap(&mut scores, &mut next);
                });
            }
            (Some(("forward", _)), &[rows]) => {
                let model = LoadedModel::bundled(false).ok()?;
                let image = model.image()?;
                let mut memory = Memory::default();
                let (mut engine, _) = engine(&image, kernels, rows, &mut memory);
                let canvas = vec![image.config().mask_id; rows];
                let wanted: Vec<u16> = (0..rows as u16).collect();
                let mut scores = vec![Score::default(); rows];
                twice(&mut || {
                    let canvas = black_box(&canvas);
                    let done =
                        engine.score(&Pass::whole(canvas, &wanted), &Sampling::GREEDY, &mut scores);
                    assert!(done.is_ok(), "the bundled model runs");
                });
            }
            _ => return None,
        }
        Some(())
    }
}

fn twice(work: &mut dyn FnMut()) {
    work();
    counted_work(work);
}

/// Between -8 and 8, as scores and hidden states are.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 4001) as f32 / 250.0 - 8.0).collect()
}

fn units(operation: &str, shape: &[usize]) -> usize {
    let per_row =
        if operation.starts_with("forward") { weights_of_bundled().unwrap_or(1) } else { 1 };
    shape.iter().product::<usize>() * per_row
}

/// Multiplications by weights for one row of the bundled model, head included.
fn weights_of_bundled() -> Option<usize> {
    let model = LoadedModel::bundled(false).ok()?;
    let config = model.config();
    let size = |role: TensorRole| role.shape(config).0 * role.shape(config).1;
    let lookup = if config.tied_head { 0 } else { size(TensorRole::Embedding) };
    let matrices = TensorRole::all(config).filter(|role| !role.stays_f32());
    Some(matrices.map(size).sum::<usize>() - lookup)
}

fn main() -> ExitCode {
    let shape = |text: &str| -> Vec<usize> {
        text.split('x').map(|n| n.parse().unwrap_or_default()).collect()
    };
    let arguments: Vec<String> = args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match *arguments {
        ["list"] => {
            for (operation, size) in WORK {
                println!("{operation} {size} {}", units(operation, &shape(size)));
            }
            true
        }
        [operation, size, kernels] if WORK.contains(&(operation, size)) => {
            let work = Work { operation, shape: &shape(size) };
            let kernels = kernels.parse();
            matches!(kernels.and_then(|kernels| with_kernels(kernels, work)), Ok(Some(())))
        }
        _ => false,
    };
    if !done {
        eprintln!("usage: counts list | counts OPERATION SHAPE KERNELS (that this processor has)");
    }
    ExitCode::from(u8::from(!done))
}
