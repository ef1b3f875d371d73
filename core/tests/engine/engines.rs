//! Engines of any size on executors that work in other orders, and what they compute as bits.

use crate::common::{Aligned, Random, SMALLEST, image_with, sections};
use demask::Pass;
use demask::decode::{Needs, Sampling, Score};
use demask::image::{ModelConfig, ModelImage};
use demask::packed::Format;
use demask::{Engine, Executor, Limits, Model, Plan, Scalar};
use demask_quant::Quantization;
use std::sync::Mutex;

/// Deals the tasks to threads of their own.
#[derive(Clone, Copy)]
pub struct Threads(pub usize);

impl Executor for Threads {
    fn workers(&self) -> usize {
        self.0
    }

    fn run<S: Send, T: Send, E: Send>(
        &self,
        states: impl Iterator<Item = S> + Send,
        tasks: impl Iterator<Item = T> + Send,
        work: impl Fn(&mut S, T) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let tasks = Mutex::new(tasks);
        let (tasks, work) = (&tasks, &work);
        std::thread::scope(|scope| {
            let threads: Vec<_> = states
                .map(|mut state| {
                    scope.spawn(move || {
                        let next = || tasks.lock().unwrap().next();
                        std::iter::from_fn(next).try_for_each(|task| work(&mut state, task))
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap())
        })
    }
}

/// The last task first, each by the next worker in turn.
#[derive(Clone, Copy)]
pub struct Reverse(pub usize);

impl Executor for Reverse {
    fn workers(&self) -> usize {
        self.0
    }

    fn run<S: Send, T: Send, E: Send>(
        &self,
        states: impl Iterator<Item = S> + Send,
        tasks: impl Iterator<Item = T> + Send,
        work: impl Fn(&mut S, T) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let mut states: Vec<_> = states.collect();
        assert_eq!(states.len(), self.0, "a state for each worker");
        let tasks: Vec<_> = tasks.collect();
        let mut first = Ok(());
        for (turn, task) in tasks.into_iter().rev().enumerate() {
            let worker = turn % self.0;
            // An error of an earlier task replaces that of a later one.
            first = work(&mut states[worker], task).and(first);
        }
        first
    }
}

/// Random tokens, with about half of them masks.
pub fn canvas(random: &mut Random, config: &ModelConfig, length: usize) -> Vec<u32> {
    let token = |random: &mut Random| match random.below(2) {
        0 => config.mask_id,
        _ => random.below(config.vocab_size as usize) as u32,
    };
    (0..length).map(|_| token(random)).collect()
}

pub fn masks(config: &ModelConfig, canvas: &[u32]) -> Vec<u16> {
    (0..).zip(canvas).filter(|(_, id)| **id == config.mask_id).map(|(i, _)| i).collect()
}

pub fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// Every bit of a score.
pub fn score_bits(score: &Score) -> [u32; 10] {
    bytemuck::cast(*score)
}

/// An engine within these limits, handed to `work`.
pub fn with_engine<E: Executor, R>(
    image: &ModelImage<'_>,
    executor: E,
    (canvas, tile): (usize, usize),
    work: impl FnOnce(&mut Engine<'_, Scalar, E>) -> R,
) -> R {
    let limits = Limits {
        canvas,
        tile,
        layout: image.layout(),
        workers: executor.workers(),
        needs: Needs::NONE,
    };
    let plan = Plan::new(image.config(), &limits).unwrap();
    let mut memory = Aligned::zeroed(plan.bytes());
    // What an earlier program left behind.
    memory.fill(0xA5);
    let (memory, _) = plan.carve(&mut memory).unwrap();
    work(&mut Engine::new(image, memory, Scalar, executor).unwrap())
}

pub fn all_scores<K: Model>(engine: &mut K, canvas: &[u32], wanted: &[u16]) -> Vec<[u32; 10]> {
    let mut scores = vec![Score::default(); wanted.len()];
    let sampling = Sampling { temperature: 0.8, seed: 5, step: 3, ..Sampling::GREEDY };
    engine.score(&Pass::whole(canvas, wanted), &sampling, &mut scores).unwrap();
    scores.iter().map(score_bits).collect()
}

/// A model with two layers whose sizes are multiples of nothing.
pub fn uneven() -> Aligned {
    let config = ModelConfig {
        vocab_size: 150,
        model_dim: 50,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 14,
        ffn_dim: 75,
        ..SMALLEST
    };
    image_with(&sections(config), Quantization::uniform(Format::Q4), 9)
}
