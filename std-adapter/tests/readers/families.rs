//! Models of every family give the same logits with every kernel that this processor can run.

use crate::common::{Aligned, Random, WIDE_EXPERTS, image_with, random_config, sections, with_q4k};
use demask::decode::Needs;
use demask::image::{Attention, ModelConfig, ModelImage};
use demask::packed::Format;
use demask::{Engine, Kernels, Limits, Plan, Serial};
use demask_quant::Quantization;
use demask_std::detect::{self, Choice, WithKernels, with_kernels};

/// A model, what its matrices are written as, and rows that go through a layer together.
struct Job<'a> {
    config: ModelConfig,
    formats: (Format, Format),
    canvas: &'a [u32],
    tile: usize,
    seed: u64,
    /// Matrices are Q4K where they can be.
    q4k: bool,
}

impl WithKernels for Job<'_> {
    type Output = Vec<u32>;

    /// The bits of all logits.
    fn run<K: Kernels + 'static>(self, kernels: K) -> Vec<u32> {
        let (layers, embedding) = self.formats;
        let quantization =
            Quantization { layers, embedding, layout: K::LAYOUT, ..Quantization::uniform(layers) };
        let mut image = image_with(&sections(self.config), quantization, self.seed);
        if self.q4k {
            image = with_q4k(&image, K::LAYOUT, self.seed, |role| {
                !role.stays_f32() && role.shape(&self.config).1.is_multiple_of(256)
            });
        }
        let image = ModelImage::parse(&image).unwrap();
        let limits = Limits {
            canvas: self.canvas.len(),
            tile: self.tile,
            layout: K::LAYOUT,
            workers: 1,
            needs: Needs::NONE,
        };
        let plan = Plan::new(image.config(), &limits).unwrap();
        let mut memory = Aligned::zeroed(plan.bytes());
        memory.fill(0xA5);
        let (memory, _) = plan.carve(&mut memory).unwrap();
        let mut engine = Engine::new(&image, memory, kernels, Serial).unwrap();
        let mut logits = vec![0.0f32; self.canvas.len() * self.config.vocab_size as usize];
        engine.logits(self.canvas, &mut logits).unwrap();
        logits.iter().map(|x| x.to_bits()).collect()
    }
}

#[test]
fn every_kernel_gives_the_same_logits() {
    let mut random = Random(9);
    for seed in 0..60 {
        let attention = match random.below(2) {
            0 => Attention::Bidirectional,
            _ => Attention::BlockCausal(1 + random.below(5) as u32),
        };
        let config = random_config(&mut random, attention);
        let mut format = || [Format::Q4, Format::Q8][random.below(2)];
        let formats = (format(), format());
        let length = 1 + random.below(40);
        let ids = config.vocab_size as usize;
        let canvas: Vec<u32> = (0..length).map(|_| random.below(ids) as u32).collect();
        let tile = 1 + random.below(length);
        let job = |tile| Job { config, formats, canvas: &canvas, tile, seed, q4k: false };
        let expected = with_kernels(Choice::Scalar, job(length)).unwrap();
        for kernels in detect::available() {
            let got = with_kernels(kernels, job(tile)).unwrap();
            assert!(got == expected, "{kernels}, tile {tile}: {config:?}");
        }
    }
}

#[test]
fn every_kernel_gives_the_same_logits_of_experts_in_q4k() {
    let canvas: Vec<u32> = (0..37).map(|i| i * 7 % 11).collect();
    let formats = (Format::Q8, Format::Q8);
    let job =
        |tile| Job { config: WIDE_EXPERTS, formats, canvas: &canvas, tile, seed: 3, q4k: true };
    let expected = with_kernels(Choice::Scalar, job(37)).unwrap();
    for kernels in detect::available() {
        for tile in [1, 3, 16, 37] {
            assert!(with_kernels(kernels, job(tile)).unwrap() == expected, "{kernels}, {tile}");
        }
    }
}
