//! Which experts a row goes through, and with which weight (docs/numerics.md, rule 6).

use crate::image::Experts;
use crate::kernels::Kernels;
use crate::kernels::scalar::NotFinite;
use crate::math::{dots, exp, finite_max_abs, max, sigmoid, sum_by};

/// What scores the experts.
#[derive(Clone, Copy)]
pub(crate) struct RouterWeights<'a> {
    /// `[count, model_dim]`
    pub(crate) weights: &'a [f32],
    /// `[count]`, added to the scores for the choice alone.
    pub(crate) choice_bias: Option<&'a [f32]>,
}

/// An expert that a row goes through.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Choice {
    pub(crate) expert: u32,
    pub(crate) weight: f32,
}

/// Experts whose dot products with a row are computed together.
const TOGETHER: usize = 4;

impl RouterWeights<'_> {
    /// `logits[row][expert] = dot(x[row], weights[expert])` for rows `x` of `dim` values.
    ///
    /// Some experts for all rows, then the next ones: a router is megabytes large, a tile is not.
    pub(crate) fn logits<K: Kernels>(
        &self,
        kernels: K,
        (x, dim): (&[f32], usize),
        (logits, count): (&mut [f32], usize),
    ) {
        let (dim, count) = (dim.max(1), count.max(1));
        let stacks = self.weights.chunks((TOGETHER * dim).max(1));
        for (first, stack) in (0..).step_by(TOGETHER).zip(stacks) {
            // Fewer than four at the end are repeated; what is too much is not stored.
            let mut experts = stack.chunks_exact(dim).cycle();
            let mut next = || experts.next().unwrap_or_default();
            let experts: [&[f32]; TOGETHER] = [next(), next(), next(), next()];
            kernels.vectorize(|| {
                for (x, logits) in x.chunks_exact(dim).zip(logits.chunks_exact_mut(count)) {
                    let products = dots(x, experts);
                    let logits = logits.get_mut(first..).unwrap_or_default();
                    for (logit, product) in logits.iter_mut().zip(products) {
                        *logit = product;
                    }
                }
            });
        }
    }

    /// Chooses the experts of one row, in ascending order. Turns its logits (`[count]`) into scores;
    /// `room` is for [`rank_room`] numbers; as many `choices` as `experts.per_token`.
    #[inline(always)]
    pub(crate) fn choose(
        &self,
        experts: &Experts,
        logits: &mut [f32],
        room: &mut [f32],
        choices: &mut [Choice],
    ) -> Result<(), NotFinite> {
        let scores = logits;
        if finite_max_abs(scores).is_none() {
            return Err(NotFinite);
        }
        match experts.sigmoid {
            true => scores.iter_mut().for_each(|score| *score = sigmoid(*score)),
            false => softmax(scores),
        }
        let (ranks, groups) = room.split_at_mut(scores.len().min(room.len()));
        for (rank, score) in ranks.iter_mut().zip(&*scores) {
            *rank = *score;
        }
        for (rank, bias) in ranks.iter_mut().zip(self.choice_bias.unwrap_or_default()) {
            *rank += bias;
        }
        if finite_max_abs(ranks).is_none() {
            return Err(NotFinite);
        }
        if experts.groups_per_token < experts.groups {
            keep_groups(experts, ranks, groups)?;
        }
        mark_highest(ranks, experts.per_token);
        let chosen = (0..).zip(ranks.iter().zip(&*scores)).filter(|(_, (rank, _))| is_marked(rank));
        for (choice, (expert, (_, score))) in choices.iter_mut().zip(chosen) {
            *choice = Choice { expert, weight: *score };
        }
        if experts.normalize {
            let sum = choices.iter().fold(0.0, |sum, choice| sum + choice.weight);
            choices.iter_mut().for_each(|choice| choice.weight /= sum);
        }
        choices.iter_mut().for_each(|choice| choice.weight *= experts.scale);
        Ok(())
    }
}

/// Floats that [`RouterWeights::choose`] needs room for: a rank for each expert and each group.
pub(crate) const fn rank_room(experts: &Experts) -> usize {
    experts.count as usize + experts.groups as usize
}

#[inline(always)]
fn softmax(scores: &mut [f32]) {
    let max = max(scores);
    scores.iter_mut().for_each(|score| *score = exp(*score - max));
    let sum = sum_by(scores, |score| score);
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// Takes the experts of all but the highest groups out of the choice.
fn keep_groups(experts: &Experts, ranks: &mut [f32], groups: &mut [f32]) -> Result<(), NotFinite> {
    let size = (experts.count.checked_div(experts.groups).unwrap_or(1) as usize).max(1);
    for (group, ranks) in groups.iter_mut().zip(ranks.chunks_exact(size)) {
        *group = sum_of_top_two(ranks);
    }
    if finite_max_abs(groups).is_none() {
        return Err(NotFinite);
    }
    mark_highest(groups, experts.groups_per_token);
    for (group, ranks) in groups.iter().zip(ranks.chunks_exact_mut(size)) {
        if !is_marked(group) {
            ranks.fill(f32::NEG_INFINITY);
        }
    }
    Ok(())
}

/// Largest number plus second largest, or the only one.
fn sum_of_top_two(numbers: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &x in numbers {
        if x > first {
            (first, second) = (x, first);
        } else if x > second {
            second = x;
        }
    }
    if numbers.len() > 1 { first + second } else { first }
}

/// Replaces the `count` largest finite numbers by infinity, of equal ones the first.
fn mark_highest(numbers: &mut [f32], count: u32) {
    for _ in 0..count {
        let (mut highest, mut place) = (f32::NEG_INFINITY, None);
        for x in numbers.iter_mut() {
            if *x > highest && !is_marked(x) {
                (highest, place) = (*x, Some(x));
            }
        }
        if let Some(place) = place {
            *place = f32::INFINITY;
        }
    }
}

fn is_marked(number: &f32) -> bool {
    *number == f32::INFINITY
}
