//! The checksum covers every bit that a decision could depend on.

use crate::common::{Aligned, SMALLEST, image, mix};
use crate::fake_model::{Table, with_memory};
use demask::Pass;
use demask::decode::{Needs, Sampling, Score};
use demask::image::ModelImage;
use demask::packed::Format;
use demask::packed::Layout;
use demask::{
    Checksum, Engine, ForwardError, Limits, Method, Model, Options, Plan, Scalar, Serial, Session,
    Vocabulary,
};
use std::collections::HashSet;

/// A table whose scores have one bit changed in one step.
struct Flipped {
    table: Table,
    step: u32,
    index: usize,
    bit: u32,
}

impl Model for Flipped {
    fn vocabulary(&self) -> Vocabulary {
        self.table.vocabulary()
    }

    fn max_canvas(&self) -> usize {
        self.table.max_canvas
    }

    fn score(
        &mut self,
        pass: &Pass<'_>,
        sampling: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError> {
        self.table.score(pass, sampling, scores)?;
        if sampling.step == self.step {
            let words: &mut [u32] = bytemuck::cast_slice_mut(scores);
            words[self.index] ^= 1 << self.bit;
        }
        Ok(())
    }
}

fn checksum(model: impl Model, prompt: &[u32]) -> u64 {
    with_memory(64, |memory| {
        let mut session = Session::new(model, memory, <Method>::default());
        session.begin(prompt, 4, Options::one_block(4)).unwrap();
        session.run(&mut ()).unwrap();
        session.checksum().value()
    })
}

#[test]
fn every_bit_of_every_score_changes_it() {
    let table = Table::new(1);
    let expected = checksum(table.clone(), &[5, 6]);
    assert_eq!(checksum(table.clone(), &[5, 6]), expected);
    let mut seen = HashSet::from([expected]);
    // The scores of the first step: four of them, ten words each. The last word, and the last
    // step, too: what comes last is hashed least.
    let words = size_of::<Score>() / 4;
    for (step, scores) in [(0, 4), (3, 1)] {
        for (index, bit) in (0..scores * words).flat_map(|i| (0..32).map(move |bit| (i, bit))) {
            let model = Flipped { table: table.clone(), step, index, bit };
            let sum = checksum(model, &[5, 6]);
            assert!(seen.insert(sum), "step {step}, word {index}, bit {bit}");
        }
    }
}

#[test]
fn words_count_by_value_and_place() {
    let sum = |words: &[u32]| {
        let mut checksum = Checksum::default();
        words.iter().for_each(|word| checksum.absorb(*word));
        checksum.value()
    };
    let words: Vec<u32> = (0..50).map(|i| mix(i) as u32).collect();
    let mut seen = HashSet::from([sum(&words)]);
    for i in 0..words.len() {
        for bit in 0..32 {
            let mut other = words.clone();
            other[i] ^= 1 << bit;
            assert!(seen.insert(sum(&other)));
        }
        let mut other = words.clone();
        other.remove(i);
        assert!(seen.insert(sum(&other)));
        if i > 0 {
            let mut other = words.clone();
            other.swap(0, i);
            assert!(seen.insert(sum(&other)));
        }
    }
    assert_eq!(sum(&[]), 0xcbf2_9ce4_8422_2325, "the offset of FNV-1a");
    let mut checksum = Checksum::default();
    checksum.absorb(7);
    assert_eq!(checksum.to_string(), format!("{:016x}", checksum.value()));
}

#[test]
fn another_prompt_seed_or_model_has_another_checksum() {
    let mut seen = HashSet::new();
    for seed in 0..3 {
        let bytes = image(SMALLEST, Format::Q4, seed);
        let image = ModelImage::parse(&bytes).unwrap();
        let limits =
            Limits { canvas: 8, tile: 2, layout: Layout::Rows16, workers: 1, needs: Needs::NONE };
        let plan = Plan::new(image.config(), &limits).unwrap();
        let mut memory = Aligned::zeroed(plan.bytes());
        let (for_engine, for_session) = plan.carve(&mut memory).unwrap();
        let engine = Engine::new(&image, for_engine, Scalar, Serial).unwrap();
        let mut session = Session::new(engine, for_session, <Method>::default());
        for prompt in [[2, 3], [3, 2], [2, 4]] {
            for temperature in [0.0, 1.0] {
                let options = Options { temperature, ..Options::one_block(4) };
                session.begin(&prompt, 4, options).unwrap();
                session.run(&mut ()).unwrap();
                assert!(seen.insert(session.checksum().value()), "{prompt:?} {temperature}");
            }
        }
    }
    assert_eq!(seen.len(), 18);
}
