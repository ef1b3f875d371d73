//! A mixture of experts: rows of a tile go through a few of many feed-forward networks.
//!
//! Expert by expert, so that its weights are read once for all rows of the tile that chose it. Each
//! row adds up its experts in ascending order, whatever the others do: neither the tile nor the
//! workers change a result.

use super::feed_forward::feed_forward;
use super::norm::NormInput;
use super::router::{Choice, rank_room};
use super::weights::{ExpertWeights, FeedForwardWeights};
use crate::image::{Experts, ModelConfig};
use crate::kernels::Kernels;
use crate::kernels::scalar::NotFinite;
use crate::memory::{Carver, Scratch};
use crate::plan::Size;
use crate::rows::Rows;

/// Memory for the choices and sums of a tile; nothing where there are no experts.
#[derive(Default)]
pub(crate) struct ExpertScratch<'a> {
    /// Sums of the experts' outputs, `[tile, model_dim]`.
    pub(crate) sums: &'a mut [f32],
    /// Experts of each row, ascending, `[tile, per_token]`.
    choices: &'a mut [Choice],
    /// Ranks of experts and groups of one row.
    ranks: &'a mut [f32],
    /// Positions of the rows that go through one expert, `[tile]`.
    positions: &'a mut [u16],
}

/// Sizes of an [`ExpertScratch`], in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExpertScratchShape {
    tile: usize,
    model_dim: usize,
    per_token: usize,
    ranks: usize,
}

impl ExpertScratchShape {
    pub(crate) const fn new(config: &ModelConfig, tile: usize) -> Self {
        match config.features.experts {
            None => Self { tile: 0, model_dim: 0, per_token: 0, ranks: 0 },
            Some(experts) => Self {
                tile,
                model_dim: config.model_dim as usize,
                per_token: experts.per_token as usize,
                ranks: rank_room(&experts),
            },
        }
    }

    pub(crate) const fn bytes(&self) -> Size {
        Size::product::<f32>(self.tile, self.model_dim)
            .plus(Size::product::<Choice>(self.tile, self.per_token))
            .plus(Size::of::<f32>(self.ranks))
            .plus(Size::of::<u16>(self.tile))
    }

    pub(crate) fn take<'a>(&self, carver: &mut Carver<'a>) -> Option<ExpertScratch<'a>> {
        Some(ExpertScratch {
            sums: carver.take(self.tile, self.model_dim)?,
            choices: carver.take(self.tile, self.per_token)?,
            ranks: carver.take(self.ranks, 1)?,
            positions: carver.take(self.tile, 1)?,
        })
    }
}

/// Leaves the output `[input.rows, model_dim]` in `scratch.experts.sums`.
pub(crate) fn mixture<K: Kernels>(
    kernels: K,
    experts: &ExpertWeights<'_>,
    shared: Option<&FeedForwardWeights<'_>>,
    input: NormInput<'_>,
    scratch: &mut Scratch<'_>,
) -> Result<(), NotFinite> {
    // Set aside, so that the networks can have the rest of the scratch memory.
    let mut own = core::mem::take(&mut scratch.experts);
    let done = route(kernels, experts, input, scratch, &mut own)
        .and_then(|()| run_experts(kernels, experts, input, scratch, &mut own))
        .and_then(|()| match shared {
            None => Ok(()),
            Some(shared) => {
                feed_forward(kernels, shared, input, scratch)?;
                kernels.vectorize(|| add(own.sums, scratch.b, 1.0));
                Ok(())
            }
        });
    scratch.experts = own;
    done
}

/// Chooses the experts of every row.
fn route<K: Kernels>(
    kernels: K,
    experts: &ExpertWeights<'_>,
    input: NormInput<'_>,
    scratch: &mut Scratch<'_>,
    own: &mut ExpertScratch<'_>,
) -> Result<(), NotFinite> {
    let (dim, rows, shape) = (input.dim(), input.rows.len(), &experts.shape);
    let (count, per_token) = (shape.count as usize, (shape.per_token as usize).max(1));
    let x = scratch.b.get_mut(..rows * dim).unwrap_or_default();
    for (position, x) in input.rows.iter().zip(x.chunks_exact_mut(dim)) {
        input.normalize(kernels, position, x)?;
    }
    let logits = scratch.a.get_mut(..rows * count).unwrap_or_default();
    experts.router.logits(kernels, (x, dim), (logits, count));
    let choices = own.choices.chunks_exact_mut(per_token);
    for (logits, choices) in logits.chunks_exact_mut(count.max(1)).zip(choices) {
        kernels.vectorize(|| experts.router.choose(shape, logits, own.ranks, choices))?;
    }
    Ok(())
}

/// The weighted sums of the chosen experts' outputs.
fn run_experts<K: Kernels>(
    kernels: K,
    experts: &ExpertWeights<'_>,
    input: NormInput<'_>,
    scratch: &mut Scratch<'_>,
    own: &mut ExpertScratch<'_>,
) -> Result<(), NotFinite> {
    let (dim, Experts { count, per_token, .. }) = (input.dim(), experts.shape);
    let (rows, per_token) = (input.rows.len(), (per_token as usize).max(1));
    let choices = own.choices.get(..rows * per_token).unwrap_or_default();
    let sums = own.sums.get_mut(..rows * dim).unwrap_or_default();
    sums.fill(0.0);
    for expert in 0..count {
        let weight_of = |choices: &[Choice]| {
            choices.iter().find(|choice| choice.expert == expert).map(|choice| choice.weight)
        };
        let weights = || choices.chunks_exact(per_token).map(weight_of);
        let chosen = input.rows.iter().zip(weights()).filter(|(_, weight)| weight.is_some());
        let mut count = 0;
        for (place, (position, _)) in own.positions.iter_mut().zip(chosen) {
            // A canvas has at most as many positions as `u16` counts.
            *place = position as u16;
            count += 1;
        }
        let gathered = own.positions.get(..count).unwrap_or_default();
        let Some(network) = experts.expert(expert as usize).filter(|_| count > 0) else { continue };
        let input = NormInput { rows: Rows::List(gathered), ..input };
        feed_forward(kernels, &network, input, scratch)?;
        let sums = sums.chunks_exact_mut(dim).zip(weights());
        let sums = sums.filter_map(|(sum, weight)| Some((sum, weight?)));
        for ((sum, weight), output) in sums.zip(scratch.b.chunks_exact(dim)) {
            kernels.vectorize(|| add(sum, output, weight));
        }
    }
    Ok(())
}

/// `sum += weight * output`, both operations rounded.
#[inline(always)]
fn add(sum: &mut [f32], output: &[f32], weight: f32) {
    for (sum, y) in sum.iter_mut().zip(output) {
        *sum += weight * y;
    }
}
