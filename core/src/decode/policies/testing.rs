//! Hand-made steps for the tests of policies.

use crate::decode::{Commit, CommitPolicy, Edit, Score, StepCount, StepView};
use std::vec::Vec;

/// Of the conformance vectors.
pub(crate) const CONFIDENCES: [f32; 8] = [0.97, 0.55, 0.92, 0.80, 0.99, 0.60, 0.91, 0.30];

/// The mask of these tests.
pub(crate) const MASK: u32 = 1;
/// The end token of these tests.
pub(crate) const EOS: u32 = 0;

/// Scores with the given probabilities of the proposals at positions 0, 1, ...
pub(crate) fn scores(confidences: &[f32]) -> Vec<Score> {
    (0..)
        .zip(confidences)
        .map(|(position, &c)| Score {
            position,
            top: 100 + position,
            proposal: 100 + position,
            top_logit: c.ln(),
            proposal_logit: c.ln(),
            runner_up_logit: f32::MIN,
            ..Score::default()
        })
        .collect()
}

/// A step on a canvas of nothing but masks.
pub(crate) fn view<'a>(canvas: &'a [u32], open: &'a [u8], scores: &'a [Score]) -> StepView<'a> {
    let masks = canvas.len();
    let count = StepCount {
        steps: masks,
        blocks: 1,
        length: masks,
        masks,
        left: masks,
        ..StepCount::default()
    };
    StepView {
        canvas,
        open,
        region: 0..canvas.len(),
        block: 0..canvas.len(),
        count,
        quota: 1,
        mask_id: MASK,
        eos_id: EOS,
        eos_weight: None,
        seed: 0,
        scores,
        shadows: &[],
    }
}

/// Positions that a policy commits of these scores, ascending.
pub(crate) fn decide(policy: &mut dyn CommitPolicy, scores: &[Score], quota: usize) -> Vec<u32> {
    let (canvas, open) = (std::vec![MASK; scores.len()], std::vec![1; scores.len()]);
    let view = StepView { quota, ..view(&canvas, &open, scores) };
    let mut memory = std::vec![Commit::default(); scores.len()];
    let mut edit = Edit::new(&mut memory);
    policy.select(&view, &mut edit);
    let mut positions: Vec<u32> = edit.commits().iter().map(|c| c.position).collect();
    positions.sort_unstable();
    positions
}

/// The same of proposals with these probabilities.
pub(crate) fn select(policy: &mut dyn CommitPolicy, confidences: &[f32], quota: usize) -> Vec<u32> {
    decide(policy, &scores(confidences), quota)
}
