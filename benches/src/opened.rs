//! A model file as a user opens it: whatever it is, on one thread, timed from the first byte.

use crate::clock::{Timing, stopwatch, time};
use demask::cache::DualCache;
use demask::decode::{CommitPolicy, Even, FillAll, Needs, Sampling, Score, Threshold, TopQ};
use demask::image::ModelConfig;
use demask::{Method, Options, Pass, Session, SessionMemory};
use demask_quant::BoxError;
use demask_std::detect::Choice;
use demask_std::load::LoadedModel;
use demask_std::runtime::{Memory, Network, Runtime, Settings};
use std::path::Path;
use std::time::Duration;

/// Block length and threshold that `demask run --threshold 0.9` has for long answers.
const BLOCK: usize = 32;
const THRESHOLD: f32 = 0.9;

/// A model that is ready, in memory that stays to the end of the program.
pub struct Opened {
    network: Box<dyn Network + 'static>,
    config: ModelConfig,
    canvas: usize,
}

/// A whole answer.
pub struct Generation {
    /// Wall and processor time.
    pub took: (Duration, Duration),
    /// Forward passes.
    pub passes: u32,
    /// Rows that went through the network in all of them.
    pub rows: u64,
}

impl Opened {
    /// Opens a file and makes a first step on a canvas of masks; returns how long that took, wall and
    /// processor time.
    ///
    /// # Errors
    /// Whatever keeps the file from being used.
    pub fn open(
        path: &Path,
        kernels: Choice,
        canvas: usize,
    ) -> Result<(Self, (Duration, Duration)), BoxError> {
        let (opened, took) = stopwatch(|| {
            let model = Box::leak(Box::new(LoadedModel::open(path, false)?));
            let runtime = Box::leak(Box::new(Runtime::new(model)?));
            let memory = Box::leak(Box::new(Memory::default()));
            let settings = Settings { canvas, threads: 1, kernels, needs: Needs::NONE };
            let network = runtime.network(&settings, memory)?;
            let mut opened = Self { network, config: *model.config(), canvas };
            opened.step(canvas, 0, Duration::ZERO)?;
            Ok::<_, BoxError>(opened)
        });
        Ok((opened?, took))
    }

    /// Times steps that compute all rows and score the last `wanted`, which are masks. With no run
    /// asked for there is one, untimed.
    ///
    /// # Errors
    /// That of the forward pass.
    pub fn step(
        &mut self,
        wanted: usize,
        runs: usize,
        budget: Duration,
    ) -> Result<Option<Timing>, BoxError> {
        let (rows, mask) = (self.canvas, self.config.mask_id);
        let masks: Vec<u16> = (rows.saturating_sub(wanted) as u16..rows as u16).collect();
        // Every token another one, but for the masks.
        let mut canvas: Vec<u32> = (0..rows as u32).map(|i| i * 97 % mask).collect();
        masks.iter().for_each(|&row| canvas[usize::from(row)] = mask);
        let mut scores = vec![Score::default(); masks.len()];
        let pass = Pass::whole(&canvas, &masks);
        let mut result = Ok(());
        let mut work = || result = self.network.score(&pass, &Sampling::GREEDY, &mut scores);
        let timing = match runs {
            0 => {
                work();
                None
            }
            _ => Some(time(runs, budget, work)),
        };
        Ok(result.map(|()| timing)?)
    }

    /// Times passes that give the logits of all rows.
    ///
    /// # Errors
    /// That of the forward pass.
    pub fn logits(&mut self, runs: usize, budget: Duration) -> Result<Timing, BoxError> {
        let rows = self.canvas as u32;
        let canvas: Vec<u32> = (0..rows).map(|i| i * 97 % self.config.mask_id).collect();
        let mut result = Ok(Vec::new());
        let timing = time(runs, budget, || result = self.network.logits(&canvas));
        result?;
        Ok(timing)
    }

    /// Fills a canvas of masks as `demask run` does by default: blocks of 32, dual cache. With `steps`
    /// of 0 the threshold decides how many tokens a pass commits, else there are as many passes.
    ///
    /// # Errors
    /// That of the session.
    pub fn generate(&mut self, steps: usize) -> Result<Generation, BoxError> {
        match steps {
            0 => self.generate_by(Threshold(THRESHOLD), self.canvas),
            _ => self.generate_by(TopQ, steps),
        }
    }

    fn generate_by<P: CommitPolicy>(
        &mut self,
        policy: P,
        steps: usize,
    ) -> Result<Generation, BoxError> {
        let length = self.canvas;
        let options = Options { block_length: BLOCK.min(length), ..Options::one_block(length) };
        let mut memory = Memory::for_session(length)?;
        let memory = SessionMemory::carve(memory.bytes(), length)?;
        let method = Method { policy, schedule: Even, eos: FillAll, cache: DualCache::default() };
        let mut session = Session::new(&mut *self.network, memory, method);
        session.begin(&[], length, Options { steps, ..options })?;
        let (result, took) = stopwatch(|| session.run(&mut ()));
        result?;
        Ok(Generation { took, passes: session.forwards(), rows: session.rows_computed() })
    }
}
