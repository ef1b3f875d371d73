//! DAEDAL, pass by pass, against a slow reimplementation.

use crate::common::Random;
use crate::fake_model::{EOS, MASK, Table};
use crate::reference::pass_by_pass::{Now, Rule, compare, prompt, top};
use demask::Options;
use demask::decode::Daedal;

/// Both stages, with a canvas that is a list.
struct TwoStages {
    longest: usize,
    /// Tokens that memory has room for.
    memory: usize,
    filling: bool,
    /// The length did not change although it should have.
    refused: bool,
    grown: usize,
    expanded: usize,
}

impl TwoStages {
    fn end_score(now: &Now<'_>) -> f32 {
        let answer = (now.prompt.len()..now.canvas.len()).rev();
        let ends = answer.map(|at| top(&now.logits(at))).filter(|(token, _)| *token == EOS);
        ends.take(32).map(|(_, p)| p).sum::<f32>() / 32.0
    }

    fn insert(&self, canvas: &mut Vec<u32>, at: usize, count: usize, token: u32) -> usize {
        let count = count.min(self.memory - canvas.len());
        for _ in 0..count {
            canvas.insert(at, token);
        }
        count
    }
}

impl Rule for TwoStages {
    fn step(&mut self, now: &Now<'_>) -> Vec<u32> {
        let mut canvas = now.canvas.to_vec();
        let length = canvas.len() - now.prompt.len();
        let (end, room) = (canvas.len(), self.longest.saturating_sub(length));
        if !self.filling {
            if Self::end_score(now) < 0.5 && room > 0 && !self.refused {
                let grown = self.insert(&mut canvas, end, room.min(8), MASK);
                self.refused = grown == 0;
                self.grown += grown;
                return canvas;
            }
            self.filling = true;
            if room > 0 {
                self.insert(&mut canvas, end, room.min(16), EOS);
                return canvas;
            }
        }
        let ranked = now.ranked();
        let sure = ranked.iter().filter(|(.., p)| *p > 0.9).count().max(1);
        ranked[..sure].iter().for_each(|(at, token, _)| canvas[*at] = *token);
        let doubtful = ranked[sure..].iter().filter(|(.., p)| *p < 0.1);
        let lowest = doubtful.min_by(|a, b| a.2.total_cmp(&b.2).then(a.0.cmp(&b.0)));
        if let Some((at, ..)) = lowest
            && room > 0
            && Self::end_score(now) < 0.9
        {
            // One mask becomes eight.
            self.expanded += self.insert(&mut canvas, at + 1, room.min(7), MASK);
        }
        canvas
    }
}

#[test]
fn daedal_step_for_step() {
    let mut random = Random(41);
    let (mut passes, mut grown, mut expanded) = (0, 0, 0);
    for case in 0..400 {
        let vocab = [3, 13, 70][random.below(3)];
        let memory = [60, 100][random.below(2)];
        let end = (random.below(60) as u32, [0.0, 4.0, 6.0, 30.0][random.below(4)]);
        let mut model = Table {
            rows: [0, 2, 7][random.below(3)],
            scale: [0.5, 3.0, 12.0][random.below(3)],
            vocab,
            max_canvas: memory,
            end,
            ..Table::of_all_rows(random.next())
        };
        let (mut block_length, mut blocks) = (1 + random.below(12), 1 + random.below(4));
        if case % 3 == 0 {
            // Flat at the front, rather sure of the end: what makes several masks of one.
            (model.vocab, model.scale) = (70, [0.5, 3.0, 3.7][random.below(3)]);
            model.end = (12 + random.below(12) as u32, 6.0);
            (block_length, blocks) = [(20, 2), (40, 1), (8, 5)][random.below(3)];
        }
        let options = Options { block_length, steps: blocks, ..Options::one_block(1) };
        // Masks in the prompt would be outside of the answer.
        let prompt: Vec<u32> = prompt(&mut random, model.vocab)
            .iter()
            .map(|id| if *id == MASK { 2 } else { *id })
            .collect();
        let longest = [0, 20, 60, 2048][random.below(4)];
        let mut rule =
            TwoStages { longest, memory, filling: false, refused: false, grown: 0, expanded: 0 };
        let mut policy = Daedal::new(longest);
        let input = (prompt.as_slice(), block_length * blocks);
        passes += compare(&model, &mut policy, &mut rule, input, options);
        (grown, expanded) = (grown + rule.grown, expanded + rule.expanded);
    }
    println!("{passes} passes compared, {grown} masks grown, {expanded} by expansion");
    assert!(passes > 10_000 && grown > 3000 && expanded > 200);
}
