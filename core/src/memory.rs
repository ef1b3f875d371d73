//! The caller's memory, divided into typed slices. [`Plan`](crate::Plan) counts what this takes.

use crate::cache::KvRing;
use crate::decode::{Commit, HEAD_CHUNK, Score, ScoreAccumulator};
use crate::image::{FAMILIES, ModelConfig};
use crate::layers::experts::{ExpertScratch, ExpertScratchShape};
use crate::layers::linear::ActivationBuffer;
use crate::packed::{GROUP, Layout};
use crate::plan::{Limits, MAX_CANVAS, MEMORY_ALIGN, PlanError, Size};

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Sizes that scratch memory depends on, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScratchShape {
    tile: usize,
    groups: usize,
    wide_a: usize,
    wide_b: usize,
    layout: Layout,
    model_dim: usize,
    head_dim: usize,
    canvas: usize,
    experts: ExpertScratchShape,
}

impl ScratchShape {
    pub(crate) const fn new(c: &ModelConfig, limits: &Limits) -> Self {
        let (model, ffn) = (c.model_dim as usize, c.widest_ffn());
        let (query, kv) = (c.query_dim(), c.kv_dim());
        let experts = match c.features.experts {
            Some(experts) => experts.count as usize,
            None => 0,
        };
        Self {
            tile: limits.tile,
            groups: max(max(model, ffn), query).div_ceil(GROUP),
            wide_a: max(max(max(ffn, query), kv), experts),
            wide_b: max(max(ffn, model), HEAD_CHUNK),
            layout: limits.layout,
            model_dim: model,
            head_dim: c.head_dim as usize,
            canvas: limits.canvas,
            experts: ExpertScratchShape::new(c, limits.tile),
        }
    }

    pub(crate) const fn bytes(&self) -> Size {
        Size(self.layout.activation_words(self.tile, self.groups))
            .elements::<u32>()
            .plus(Size::product::<f32>(self.tile, self.wide_a))
            .plus(Size::product::<f32>(self.tile, self.wide_b))
            .plus(Size::of::<f32>(self.model_dim))
            .plus(Size::product::<i8>(self.tile, self.head_dim))
            .plus(Size::of::<f32>(self.tile))
            .plus(Size::product::<f32>(self.tile, self.canvas))
            .plus(Size::of::<ScoreAccumulator>(self.tile))
            .plus(self.experts.bytes())
    }
}

/// Cuts typed, aligned slices off the front of a byte slice.
pub(crate) struct Carver<'a>(&'a mut [u8]);

impl<'a> Carver<'a> {
    pub(crate) fn new(memory: &'a mut [u8]) -> Result<Self, PlanError> {
        if memory.as_ptr().align_offset(MEMORY_ALIGN) != 0 {
            return Err(PlanError::Misaligned);
        }
        Ok(Self(memory))
    }

    pub(crate) fn take<T: bytemuck::Pod>(&mut self, a: usize, b: usize) -> Option<&'a mut [T]> {
        let count = a.checked_mul(b)?;
        let bytes = count.checked_mul(size_of::<T>())?;
        let padded = bytes.checked_next_multiple_of(MEMORY_ALIGN)?;
        let (head, rest) = core::mem::take(&mut self.0).split_at_mut_checked(padded)?;
        self.0 = rest;
        let head = head.get_mut(..bytes)?;
        bytemuck::try_cast_slice_mut(head).ok()
    }
}

/// Memory of an [`Engine`](crate::Engine).
#[derive(Debug)]
pub struct EngineMemory<'a> {
    pub(crate) hidden: &'a mut [f32],
    pub(crate) ring: KvRing<'a>,
    pub(crate) cos: &'a mut [f32],
    pub(crate) sin: &'a mut [f32],
    pub(crate) scratch: &'a mut [u8],
    pub(crate) shape: ScratchShape,
    pub(crate) config: ModelConfig,
    pub(crate) workers: usize,
}

/// Memory of a [`Session`](crate::Session).
#[derive(Debug)]
pub struct SessionMemory<'a> {
    pub(crate) canvas: &'a mut [u32],
    /// 1 where the canvas was a mask at the start, else 0.
    pub(crate) open: &'a mut [u8],
    pub(crate) scores: &'a mut [Score],
    pub(crate) wanted: &'a mut [u16],
    pub(crate) rows: &'a mut [u16],
    pub(crate) decisions: &'a mut [Commit],
}

impl<'a> SessionMemory<'a> {
    /// Bytes for a session over another [`Model`](crate::Model) than the engine, or `None` if they
    /// cannot be counted.
    #[must_use]
    pub const fn bytes(canvas: usize) -> Option<usize> {
        Self::size(canvas).0
    }

    pub(crate) const fn size(canvas: usize) -> Size {
        Size::of::<u32>(canvas)
            .plus(Size::of::<u8>(canvas))
            .plus(Size::of::<Score>(canvas))
            .plus(Size::of::<u16>(canvas).times(2))
            .plus(Size::of::<Commit>(canvas))
    }

    /// Divides `memory` for a canvas of at most `canvas` tokens.
    ///
    /// # Errors
    /// [`PlanError::Limits`], [`PlanError::Misaligned`] or [`PlanError::Memory`].
    pub fn carve(memory: &'a mut [u8], canvas: usize) -> Result<Self, PlanError> {
        let given = memory.len();
        if canvas == 0 || canvas > MAX_CANVAS {
            return Err(PlanError::Limits);
        }
        let needed = Self::bytes(canvas).ok_or(PlanError::TooLarge)?;
        let mut carver = Carver::new(memory)?;
        Self::take(&mut carver, canvas).ok_or(PlanError::Memory { needed, given })
    }

    pub(crate) fn take(carver: &mut Carver<'a>, canvas: usize) -> Option<Self> {
        Some(Self {
            canvas: carver.take(canvas, 1)?,
            open: carver.take(canvas, 1)?,
            scores: carver.take(canvas, 1)?,
            wanted: carver.take(canvas, 1)?,
            rows: carver.take(canvas, 1)?,
            decisions: carver.take(canvas, 1)?,
        })
    }
}

/// Scratch memory of one worker, for up to `tile` rows.
pub(crate) struct Scratch<'a> {
    /// Quantized input of the matrix products.
    pub(crate) activations: ActivationBuffer<'a>,
    /// `[tile, wide_a]` floats: gates, queries, keys, values, scores of experts.
    pub(crate) a: &'a mut [f32],
    /// `[tile, wide_b]` floats: outputs of the layer's two halves, logits of the head.
    pub(crate) b: &'a mut [f32],
    /// One normalized row.
    pub(crate) row: &'a mut [f32],
    /// One quantized query head of each row, `[tile, head_dim]`, and their scales.
    pub(crate) queries: &'a mut [i8],
    pub(crate) query_scales: &'a mut [f32],
    /// Attention weights of one head, `[tile, canvas]`.
    pub(crate) attention: &'a mut [f32],
    /// Running score records of the tile.
    pub(crate) accumulators: &'a mut [ScoreAccumulator],
    pub(crate) experts: ExpertScratch<'a>,
}

impl<'a> Scratch<'a> {
    pub(crate) fn carve(bytes: &'a mut [u8], s: &ScratchShape) -> Option<Self> {
        let mut carver = Carver(bytes);
        Some(Self {
            activations: ActivationBuffer {
                words: carver.take(s.layout.activation_words(s.tile, s.groups)?, 1)?,
                layout: s.layout,
            },
            a: carver.take(s.tile, s.wide_a)?,
            b: carver.take(s.tile, s.wide_b)?,
            row: carver.take(s.model_dim, 1)?,
            queries: carver.take(s.tile, s.head_dim)?,
            query_scales: carver.take(s.tile, 1)?,
            attention: carver.take(s.tile, s.canvas)?,
            accumulators: carver.take(s.tile, 1)?,
            experts: match FAMILIES {
                true => s.experts.take(&mut carver)?,
                false => ExpertScratch::default(),
            },
        })
    }
}

impl ScratchShape {
    /// Packing of the weights that the activations are kept for.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Rows per tile.
    pub(crate) fn tile(&self) -> usize {
        self.tile
    }
}

/// The scratch memory of all workers, handed out one by one.
pub(crate) struct ScratchAreas<'a> {
    bytes: &'a mut [u8],
    /// Bytes of one worker.
    share: usize,
    pub(crate) workers: usize,
    pub(crate) shape: &'a ScratchShape,
}

impl<'a> ScratchAreas<'a> {
    /// `bytes` is an equal, aligned share for each of `workers`.
    pub(crate) fn new(bytes: &'a mut [u8], workers: usize, shape: &'a ScratchShape) -> Self {
        let workers = workers.max(1);
        Self { share: bytes.len() / workers, bytes, workers, shape }
    }
}

impl<'a> Iterator for ScratchAreas<'a> {
    type Item = Scratch<'a>;

    #[inline(never)] // once in flash, not once for each sweep
    fn next(&mut self) -> Option<Scratch<'a>> {
        let (area, rest) = core::mem::take(&mut self.bytes).split_at_mut_checked(self.share)?;
        self.bytes = rest;
        Scratch::carve(area, self.shape)
    }
}
