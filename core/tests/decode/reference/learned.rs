//! Learn2PD, pass by pass, against a slow reimplementation whose network is computed in f64; and a canvas that
//! ends early beside caches.

use crate::common::Random;
use crate::fake_model::{EOS, MASK, Table, with_memory};
use crate::reference::pass_by_pass::{Now, Rule, compare, model, options, prompt};
use demask::cache::{DualCache, NoCache};
use demask::decode::{CommitFilter, EndOfText, Even, FillAll, Learn2pd, StopAtEos};
use demask::{Method, Options, Session, SessionError};

/// The network as the paper describes it, on lists.
struct Network {
    block: usize,
    hidden: usize,
    numbers: Vec<f32>,
}

impl Network {
    fn random(random: &mut Random, block: usize, hidden: usize) -> Self {
        let count = 2 * block * hidden + block + hidden;
        let numbers = (0..count).map(|_| random.below(4001) as f32 / 1000.0 - 2.0).collect();
        Self { block, hidden, numbers }
    }

    /// How sure it is of each position of a block.
    fn sure(&self, probabilities: &[f32]) -> Vec<f64> {
        let mut padded = probabilities.to_vec();
        padded.resize(self.block, 1.0);
        let mut numbers = self.numbers.iter().map(|number| f64::from(*number));
        let mut layer = |input: &[f64], outputs: usize| -> Vec<f64> {
            let rows: Vec<Vec<f64>> =
                (0..outputs).map(|_| numbers.by_ref().take(input.len()).collect()).collect();
            let biases: Vec<f64> = numbers.by_ref().take(outputs).collect();
            let sums = rows.iter().zip(&biases);
            sums.map(|(row, b)| row.iter().zip(input).map(|(w, x)| w * x).sum::<f64>() + b)
                .collect()
        };
        let input: Vec<f64> = padded.iter().map(|p| f64::from(*p)).collect();
        let hidden: Vec<f64> = layer(&input, self.hidden).iter().map(|x| x.max(0.0)).collect();
        layer(&hidden, self.block).iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect()
    }
}

struct Learned {
    network: Network,
    threshold: f64,
    end: EndOfText,
    accepted: usize,
    cuts: usize,
}

impl Rule for Learned {
    fn step(&mut self, now: &Now<'_>) -> Vec<u32> {
        let mut canvas = now.canvas.to_vec();
        let block = now.block.clone();
        let top = |at| crate::reference::pass_by_pass::top(&now.logits(at)).1;
        let probabilities: Vec<f32> = block.clone().take(self.network.block).map(top).collect();
        let sure = self.network.sure(&probabilities);
        let ranked = now.ranked();
        let is_sure = |at: usize| {
            let place = at.checked_sub(block.start);
            place.and_then(|place| sure.get(place)).is_some_and(|sure| *sure > self.threshold)
        };
        let mut ready: Vec<_> = ranked.iter().filter(|(at, ..)| is_sure(*at)).collect();
        self.accepted += ready.len();
        ready.sort_by_key(|(at, ..)| *at);
        let accepted = ready.iter().find(|(_, token, _)| *token == EOS).map(|(at, ..)| *at);
        let proposed = ranked.iter().find(|(_, token, _)| *token == EOS).map(|(at, ..)| *at);
        let end = match self.end {
            EndOfText::Kept => None,
            EndOfText::Accepted => accepted,
            EndOfText::Proposed => accepted.or(proposed),
        };
        for (at, token, _) in ready.into_iter().chain(ranked.first()) {
            canvas[*at] = *token;
        }
        if let Some(end) = end {
            self.cuts += usize::from(end + 1 < canvas.len());
            canvas.truncate((end + 1).max(now.prompt.len()));
        }
        canvas
    }
}

#[test]
fn learn2pd_step_for_step() {
    let mut random = Random(77);
    let (mut passes, mut accepted, mut cuts) = (0, 0, 0);
    for _ in 0..2000 {
        let mut model = model(&mut random);
        model.end = (random.below(40) as u32, [0.0, 3.0, 6.0][random.below(3)]);
        let (length, options) = options(&mut random);
        let prompt = prompt(&mut random, model.vocab);
        let block = (options.block_length + random.below(5)).saturating_sub(2).max(1);
        let hidden = 1 + random.below(12);
        let network = Network::random(&mut random, block, hidden);
        let numbers = network.numbers.clone();
        let filter = CommitFilter::new(block, hidden, &numbers).unwrap();
        let threshold = [0.2, 0.5, 0.96][random.below(3)];
        let end = [EndOfText::Kept, EndOfText::Accepted, EndOfText::Proposed][random.below(3)];
        let mut scratch = vec![9.0; Learn2pd::scratch(&filter) + random.below(3)];
        let mut policy =
            Learn2pd::new(filter, &mut scratch).with_threshold(threshold).with_end(end);
        let threshold = f64::from(threshold);
        let mut rule = Learned { network, threshold, end, accepted: 0, cuts: 0 };
        passes += compare(&model, &mut policy, &mut rule, (&prompt, length), options);
        (accepted, cuts) = (accepted + rule.accepted, cuts + rule.cuts);
    }
    println!("{passes} passes compared, {accepted} accepted, {cuts} cuts");
    assert!(passes > 8000 && accepted > 5000 && cuts > 400);
}

/// Accepts every proposal.
const ALL: [f32; 13] = [0., 0., 0., 0., 0., 0., 0., 0., 0., 9., 9., 9., 9.];

/// What a decode of 12 tokens in blocks of 4 ends with, and its passes.
fn decode<C: demask::cache::CachePlan>(
    end: EndOfText,
    cache: C,
) -> Result<(Vec<u32>, u32), SessionError> {
    let filter = CommitFilter::new(4, 1, &ALL).unwrap();
    let mut scratch = [0.0; 5];
    let policy = Learn2pd::new(filter, &mut scratch).with_end(end);
    with_memory(20, |memory| {
        // The end token is certain from position 5 on.
        let model = Table { end: (5, 90.0), max_canvas: 20, ..Table::of_all_rows(3) };
        let method = Method { policy, schedule: Even, eos: FillAll, cache };
        let mut session = Session::new(model, memory, method);
        let options = Options { block_length: 4, steps: 12, ..Options::one_block(12) };
        session.begin(&[5, 6], 12, options)?;
        session.run(&mut ())?;
        Ok((session.canvas().to_vec(), session.forwards()))
    })
}

#[test]
fn a_canvas_that_ends_early_beside_caches() {
    let (canvas, passes) = decode(EndOfText::Accepted, NoCache).unwrap();
    assert_eq!((canvas.len(), canvas[5], passes), (6, EOS, 1), "{canvas:?}");
    let (canvas, passes) = decode(EndOfText::Kept, NoCache).unwrap();
    assert_eq!((canvas.len(), passes), (14, 3), "{canvas:?}");
    assert!(!canvas.contains(&MASK));
    // What is trusted behind the cut would be wrong: such plans are refused, unless nothing is cut.
    let refused = decode(EndOfText::Accepted, DualCache::default()).unwrap_err();
    assert!(matches!(refused, SessionError::Clash { policy: "learn2pd", .. }), "{refused:?}");
    assert_eq!(decode(EndOfText::Kept, DualCache::default()).unwrap().0.len(), 14);
}

#[test]
fn memory_that_is_too_small_is_refused() {
    let filter = CommitFilter::new(4, 1, &ALL).unwrap();
    let mut scratch = [0.0; 4];
    let policy = Learn2pd::new(filter, &mut scratch);
    with_memory(20, |memory| {
        let model = Table { max_canvas: 20, ..Table::of_all_rows(3) };
        let method = Method { policy, schedule: Even, eos: StopAtEos, cache: NoCache };
        let mut session = Session::new(model, memory, method);
        let refused = session.begin(&[5], 4, Options::one_block(4));
        assert_eq!(refused, Err(SessionError::CanvasTooLong { len: 5, max: 0 }));
    });
}
