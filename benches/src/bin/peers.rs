//! demask, the crate embedded-nn and a plain loop on the same products and rows, in turns, in one
//! process; prints times and ratios. `peers [ROUNDS]`
//!
//! They do not compute the same: embedded-nn and the loop have one scale per tensor and take rows that
//! are quantized already, and embedded-nn rounds its result to 8 bits. demask has a scale per 32
//! weights, quantizes the rows itself (that time is in its figures) and gives `f32`.
#![forbid(unsafe_code)]

use demask::Kernels;
use demask_benches::clock::time;
use demask_benches::{Product, format_named};
use demask_std::detect::{Choice, WithKernels, available, with_kernels};
use embedded_nn::types::{Activation, Dims, FcParams, PerTensorQuantParams};
use embedded_nn::{fully_connected_s4, fully_connected_s8, softmax_s8};
use std::hint::black_box;
use std::time::Duration;

/// Rows, outputs, inputs.
const PRODUCTS: [(usize, usize, usize); 4] =
    [(1, 256, 256), (8, 256, 256), (32, 256, 256), (32, 512, 128)];
/// Rows and their length.
const SOFTMAX: (usize, usize) = (16, 256);

fn main() {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(20);
    let best = available()[0];
    println!("best kernels here: {best}; best wall time of {rounds} rounds in turns, one thread\n");
    println!(
        "| work | scalar | {best} | embedded-nn | plain loop | embedded-nn / scalar | embedded-nn / {best} | loop / scalar | loop / {best} |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for format in ["q4", "q8"] {
        for (rows, outputs, inputs) in PRODUCTS {
            let weights = format_named(format).expect("one of the two");
            let mut product = Product::new(weights, rows, outputs, inputs);
            let mut other = Other::new(format == "q4", rows, outputs, inputs);
            let mut times = [Duration::MAX; 4];
            for _ in 0..rounds {
                let turn = [
                    multiply(Choice::Scalar, &mut product),
                    multiply(best, &mut product),
                    best_of(|| other.embedded_nn()),
                    best_of(|| other.plain_loop()),
                ];
                keep_best(&mut times, turn);
            }
            print(&format!("{format} {rows}x{outputs}x{inputs}"), times);
        }
    }
    let (rows, length) = SOFTMAX;
    let scores: Vec<f32> = (0..rows * length).map(|i| (i * 7919 % 4001) as f32 / 250.0).collect();
    let bytes: Vec<i8> = (0..rows * length).map(|i| (i * 7919 % 255) as u8 as i8).collect();
    let mut times = [Duration::MAX; 4];
    for _ in 0..rounds {
        let mut room = scores.clone();
        let mut out = vec![0i8; bytes.len()];
        let turn = [
            softmax(Choice::Scalar, &scores, &mut room),
            softmax(best, &scores, &mut room),
            best_of(|| {
                let done = softmax_s8(&bytes, rows, length, 1 << 30, 20, -256, &mut out);
                done.expect("the sizes fit");
                black_box(&mut out);
            }),
            best_of(|| {
                for (out, x) in room.chunks_exact_mut(length).zip(scores.chunks_exact(length)) {
                    let max = x.iter().copied().fold(f32::MIN, f32::max);
                    let mut sum = 0.0;
                    for (y, x) in out.iter_mut().zip(x) {
                        *y = (x - max).exp();
                        sum += *y;
                    }
                    black_box(sum);
                }
                black_box(&mut room);
            }),
        ];
        keep_best(&mut times, turn);
    }
    print(&format!("softmax {rows}x{length}"), times);
}

fn best_of(work: impl FnMut()) -> Duration {
    time(3, Duration::from_millis(3), work).best_wall
}

fn keep_best(times: &mut [Duration; 4], turn: [Duration; 4]) {
    for (best, time) in times.iter_mut().zip(turn) {
        *best = time.min(*best);
    }
}

fn print(name: &str, [scalar, best, crate_, naive]: [Duration; 4]) {
    let times = [scalar, best, crate_, naive].map(|t| format!("{:.1} µs", t.as_secs_f64() * 1e6));
    let ratio = |a: Duration, b: Duration| format!("{:.1}", a.as_secs_f64() / b.as_secs_f64());
    let ratios = [(crate_, scalar), (crate_, best), (naive, scalar), (naive, best)];
    let ratios = ratios.map(|(a, b)| ratio(a, b));
    println!("| {name} | {} | {} |", times.join(" | "), ratios.join(" | "));
}

fn multiply(choice: Choice, product: &mut Product) -> Duration {
    struct Multiply<'a>(&'a mut Product);
    impl WithKernels for Multiply<'_> {
        type Output = Duration;
        fn run<K: Kernels + 'static>(self, kernels: K) -> Duration {
            best_of(|| {
                black_box(black_box(&mut *self.0).multiply(kernels));
            })
        }
    }
    with_kernels(choice, Multiply(product)).expect("the processor has them")
}

fn softmax(choice: Choice, scores: &[f32], room: &mut [f32]) -> Duration {
    struct Softmax<'a>(&'a [f32], &'a mut [f32]);
    impl WithKernels for Softmax<'_> {
        type Output = Duration;
        fn run<K: Kernels + 'static>(self, kernels: K) -> Duration {
            best_of(|| {
                self.1.copy_from_slice(self.0); // works in place
                for scores in self.1.chunks_exact_mut(SOFTMAX.1) {
                    black_box(kernels.vectorize(|| kernels.exponentiate(scores)));
                }
            })
        }
    }
    with_kernels(choice, Softmax(scores, room)).expect("the processor has them")
}

/// Operands of the others: rows and weights in `i8`, or weights two to a byte.
struct Other {
    four_bits: bool,
    rows: usize,
    outputs: usize,
    inputs: usize,
    x: Vec<i8>,
    weights: Vec<i8>,
    out: Vec<i8>,
    floats: Vec<f32>,
}

impl Other {
    fn new(four_bits: bool, rows: usize, outputs: usize, inputs: usize) -> Self {
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as i8
        };
        let row = if four_bits { inputs.div_ceil(2) } else { inputs };
        Self {
            four_bits,
            rows,
            outputs,
            inputs,
            x: (0..rows * inputs).map(|_| byte()).collect(),
            weights: (0..outputs * row).map(|_| byte()).collect(),
            out: vec![0; rows * outputs],
            floats: vec![0.0; rows * outputs],
        }
    }

    fn embedded_nn(&mut self) {
        let dims = |n: usize, c: usize| Dims { n: n as i32, h: 1, w: 1, c: c as i32 };
        let activation = Activation { min: -128, max: 127 };
        let params = FcParams { input_offset: 5, filter_offset: 0, output_offset: 3, activation };
        let quant = PerTensorQuantParams { multiplier: 1 << 30, shift: -7 };
        let (input, filter) = (dims(self.rows, self.inputs), dims(self.inputs, self.outputs));
        let output = dims(self.rows, self.outputs);
        let run = if self.four_bits { fully_connected_s4 } else { fully_connected_s8 };
        let (x, weights) = (black_box(&self.x), black_box(&self.weights));
        let out = &mut self.out;
        run(&params, &quant, &input, x, &filter, weights, None, &output, out).expect("sizes fit");
        black_box(out);
    }

    fn plain_loop(&mut self) {
        let (x, weights) = (black_box(&self.x), black_box(&self.weights));
        let row_bytes = weights.len() / self.outputs;
        let rows = x.chunks_exact(self.inputs).zip(self.floats.chunks_exact_mut(self.outputs));
        for (x, out) in rows {
            for (weights, y) in weights.chunks_exact(row_bytes).zip(out) {
                let sum: i32 = if self.four_bits {
                    let pairs = x.as_chunks::<2>().0.iter().zip(weights);
                    pairs
                        .map(|(&[a, b], &w)| {
                            i32::from(a) * i32::from(w << 4 >> 4) + i32::from(b) * i32::from(w >> 4)
                        })
                        .sum()
                } else {
                    x.iter().zip(weights).map(|(&x, &w)| i32::from(x) * i32::from(w)).sum()
                };
                *y = sum as f32 * 0.01;
            }
        }
        black_box(&mut self.floats);
    }
}
