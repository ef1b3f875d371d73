//! Times demask on request, so that a program that times others too can take turns with it.
//!
//! Reads one request per line and answers with one line:
//!
//! | request | answer |
//! |---|---|
//! | `kernels` | names of the kernels that this processor has, fastest first |
//! | `matmul FORMAT ROWS INPUTS OUTPUTS KERNELS RUNS MS` | a time, quantization of the rows included |
//! | `write FORMAT FILE` | `ok`, when there is an image of a random model in the file |
//! | `load FORMAT FILE` | `ok` |
//! | `forward FORMAT ROWS WANTED KERNELS RUNS MS` | a time; `WANTED` 0: logits of all rows |
//! | `open FILE KERNELS CANVAS` | `WALL_NS CPU_NS` from nothing to the end of a first step |
//! | `step WANTED RUNS MS` | a time, of the opened file; `WANTED` 0: logits of all rows |
//! | `generate STEPS` | `WALL_NS CPU_NS PASSES ROWS` for a whole canvas; `STEPS` 0: by threshold |
//! | `peak` | most bytes of memory that the process had |
//!
//! `FORMAT` is `q4`, `q8` or, for products with inputs in multiples of 256, `q4k`; a time is
//! `BEST_WALL_NS MEDIAN_CPU_NS RUNS LEAST_CPU_NS`, of at least `RUNS` runs and `MS` milliseconds. A
//! request that fails is answered with `error` and why.
#![forbid(unsafe_code)]

use demask::decode::{Sampling, Score};
use demask::image::ModelImage;
use demask::packed::Format;
use demask::{Engine, Kernels, Model, Pass, Serial};
use demask_benches::clock::{Timing, time};
use demask_benches::opened::Opened;
use demask_benches::random::write_edge;
use demask_benches::{Product, engine, format_named};
use demask_quant::BoxError;
use demask_std::detect::{Choice, WithKernels, available, with_kernels};
use demask_std::load::LoadedModel;
use demask_std::runtime::Memory;
use demask_std::usage::peak_memory;
use std::collections::HashMap;
use std::hint::black_box;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::time::Duration;

/// Longest canvas.
const CANVAS: usize = 256;

fn main() -> Result<(), BoxError> {
    let mut server = Server::default();
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = server.answer(&words).unwrap_or_else(|error| format!("error {error}"));
        writeln!(stdout(), "{answer}")?;
        stdout().flush()?;
    }
    Ok(())
}

/// What earlier requests have made. Models stay to the end.
#[derive(Default)]
struct Server {
    products: HashMap<String, Product>,
    images: HashMap<String, ModelImage<'static>>,
    networks: HashMap<String, Box<dyn Network>>,
    logits: Vec<f32>,
    opened: Option<Opened>,
}

impl Server {
    fn answer(&mut self, words: &[&str]) -> Result<String, BoxError> {
        match *words {
            ["kernels"] => Ok(available().iter().map(|c| c.name()).collect::<Vec<_>>().join(" ")),
            ["matmul", format, rows, inputs, outputs, kernels, runs, ms] => {
                let timed = Timed { runs: runs.parse()?, ms: ms.parse()? };
                let weights = format_named(format).ok_or("no such format")?;
                let (rows, inputs, outputs) = (rows.parse()?, inputs.parse()?, outputs.parse()?);
                let name = format!("{format} {rows} {inputs} {outputs}");
                let product = self.products.entry(name);
                let product =
                    product.or_insert_with(|| Product::new(weights, rows, outputs, inputs));
                Ok(show(with_kernels(kernels.parse()?, Multiply { product, timed })?))
            }
            ["write", format, path] => {
                let format = match format {
                    "q4" => Format::Q4,
                    "q8" => Format::Q8,
                    _ => return Err("no such format".into()),
                };
                write_edge(format, Path::new(path))?;
                Ok("ok".into())
            }
            ["load", format, path] => {
                let model = Box::leak(Box::new(LoadedModel::open(Path::new(path), false)?));
                self.images.insert(format.into(), model.image().ok_or("not an image")?);
                self.networks.clear();
                Ok("ok".into())
            }
            ["forward", format, rows, wanted, kernels, runs, ms] => {
                let timed = Timed { runs: runs.parse()?, ms: ms.parse()? };
                self.forward(format, rows.parse()?, wanted.parse()?, kernels.parse()?, timed)
            }
            ["open", path, kernels, canvas] => {
                let (path, kernels) = (Path::new(path), kernels.parse()?);
                let (opened, took) = Opened::open(path, kernels, canvas.parse()?)?;
                self.opened = Some(opened);
                Ok(format!("{} {}", took.0.as_nanos(), took.1.as_nanos()))
            }
            ["step", wanted, runs, ms] => {
                let (runs, ms) = (runs.parse()?, Duration::from_millis(ms.parse()?));
                let opened = self.opened.as_mut().ok_or("open a file first")?;
                match wanted.parse()? {
                    0 => Ok(show(opened.logits(runs, ms)?)),
                    wanted => Ok(opened.step(wanted, runs, ms)?.map(show).ok_or("no runs")?),
                }
            }
            ["generate", steps] => {
                let opened = self.opened.as_mut().ok_or("open a file first")?;
                let done = opened.generate(steps.parse()?)?;
                let (wall, cpu) = (done.took.0.as_nanos(), done.took.1.as_nanos());
                Ok(format!("{wall} {cpu} {} {}", done.passes, done.rows))
            }
            ["peak"] => Ok(peak_memory().ok_or("the system does not say")?.to_string()),
            _ => Err("no such request".into()),
        }
    }

    fn forward(
        &mut self,
        format: &str,
        rows: usize,
        wanted: usize,
        kernels: Choice,
        timed: Timed,
    ) -> Result<String, BoxError> {
        let image = self.images.get(format).ok_or("load a model first")?;
        let name = format!("{format} {kernels}");
        if !self.networks.contains_key(&name) {
            self.networks.insert(name.clone(), with_kernels(kernels, Build { image })?);
        }
        let network = self.networks.get_mut(&name).ok_or("no network")?;
        let config = image.config();
        // Every token another one, but for the masks that are wanted.
        let mut canvas: Vec<u32> = (0..rows as u32).map(|i| i * 97 % config.mask_id).collect();
        let masks: Vec<u16> = (rows.saturating_sub(wanted) as u16..rows as u16).collect();
        masks.iter().for_each(|&row| canvas[usize::from(row)] = config.mask_id);
        let mut scores = vec![Score::default(); masks.len()];
        self.logits.resize(rows * config.vocab_size as usize, 0.0);
        let logits = &mut self.logits;
        let mut result = Ok(());
        let timing = timed.run(|| {
            result = match wanted {
                0 => network.logits(&canvas, logits),
                _ => network.score(&canvas, &masks, &mut scores),
            };
            black_box((&mut *logits, &mut scores));
        });
        result?;
        Ok(show(timing))
    }
}

fn show(t: Timing) -> String {
    let (wall, median, least) = (t.best_wall, t.median_cpu, t.least_cpu);
    format!("{} {} {} {}", wall.as_nanos(), median.as_nanos(), t.runs, least.as_nanos())
}

#[derive(Clone, Copy)]
struct Timed {
    runs: usize,
    ms: u64,
}

impl Timed {
    fn run(self, work: impl FnMut()) -> Timing {
        time(self.runs, Duration::from_millis(self.ms), work)
    }
}

struct Multiply<'a> {
    product: &'a mut Product,
    timed: Timed,
}

impl WithKernels for Multiply<'_> {
    type Output = Timing;

    fn run<K: Kernels + 'static>(self, kernels: K) -> Timing {
        self.timed.run(|| {
            black_box(black_box(&mut *self.product).multiply(kernels));
        })
    }
}

/// An engine of some kernels.
trait Network {
    fn logits(&mut self, canvas: &[u32], out: &mut [f32]) -> Result<(), BoxError>;
    fn score(&mut self, canvas: &[u32], rows: &[u16], out: &mut [Score]) -> Result<(), BoxError>;
}

impl<K: Kernels> Network for Engine<'static, K, Serial> {
    fn logits(&mut self, canvas: &[u32], out: &mut [f32]) -> Result<(), BoxError> {
        Ok(Self::logits(self, canvas, out)?)
    }

    fn score(&mut self, canvas: &[u32], rows: &[u16], out: &mut [Score]) -> Result<(), BoxError> {
        Ok(Model::score(self, &Pass::whole(canvas, rows), &Sampling::GREEDY, out)?)
    }
}

struct Build<'i> {
    image: &'i ModelImage<'static>,
}

impl WithKernels for Build<'_> {
    type Output = Box<dyn Network>;

    fn run<K: Kernels + 'static>(self, kernels: K) -> Self::Output {
        let memory = Box::leak(Box::new(Memory::default()));
        Box::new(engine(self.image, kernels, CANVAS, memory).0)
    }
}
