//! The float model, read while it runs: all canvases go through a layer before the next one is read.

use super::error::CalibrateError;
use crate::reference::{ReferenceHead, ReferenceLayer, ReferenceNorm, check_canvas, check_hidden};
use demask::image::{ModelConfig, TensorRole};
use demask_quant::BoxError;
use rayon::prelude::*;
use std::ops::{ControlFlow, Range};

/// Reads rows of a tensor, from this one on, into a whole number of rows.
type ReadRows<'s> = dyn Fn(TensorRole, usize, &mut [f32]) -> Result<(), BoxError> + Sync + 's;

/// A model whose weights stay where they are. In memory is one layer, or the head. What comes out is what
/// [`ReferenceModel`](crate::reference::ReferenceModel) says, bit for bit.
pub struct Streamed<'s> {
    config: ModelConfig,
    read: Box<ReadRows<'s>>,
}

impl<'s> Streamed<'s> {
    /// A model of this shape, from any source of f32 rows.
    pub fn new(
        config: ModelConfig,
        read: impl Fn(TensorRole, usize, &mut [f32]) -> Result<(), BoxError> + Sync + 's,
    ) -> Self {
        Self { config, read: Box::new(read) }
    }

    /// Shape and constants.
    #[must_use]
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn rows(&self) -> impl Fn(TensorRole, Range<usize>, &mut [f32]) -> Result<(), CalibrateError> {
        |role, rows, out| (self.read)(role, rows.start, out).map_err(CalibrateError::Weights)
    }

    /// The residual stream `[ids.len(), model_dim]` in front of the first layer.
    pub(super) fn embed(&self, ids: &[u32]) -> Result<Vec<f32>, CalibrateError> {
        check_canvas(&self.config, ids)?;
        let width = self.config.model_dim as usize;
        let mut x = vec![0.0; ids.len() * width];
        for (row, id) in x.chunks_exact_mut(width).zip(ids) {
            let read = (self.read)(TensorRole::Embedding, *id as usize, row);
            read.map_err(CalibrateError::Weights)?;
        }
        Ok(x)
    }

    pub(super) fn layer(&self, l: u32) -> Result<ReferenceLayer, CalibrateError> {
        ReferenceLayer::from_rows(self.config, l, self.rows())
    }

    pub(super) fn norm(&self) -> Result<ReferenceNorm, CalibrateError> {
        ReferenceNorm::from_rows(self.config, self.rows())
    }

    pub(super) fn head(&self) -> Result<ReferenceHead, CalibrateError> {
        ReferenceHead::from_rows(self.config, self.rows())
    }

    /// Final hidden states `[canvas.len(), model_dim]` of each canvas, after the output norm.
    ///
    /// # Errors
    /// [`CalibrateError`] for weights that cannot be read and canvases that do not fit the model.
    pub fn hidden(&self, canvases: &[&[u32]]) -> Result<Vec<Vec<f32>>, CalibrateError> {
        let mut stream =
            canvases.iter().map(|ids| self.embed(ids)).collect::<Result<Vec<_>, _>>()?;
        for l in 0..self.config.layers {
            through(&self.layer(l)?, &mut stream);
        }
        let norm = self.norm()?;
        let finished = stream.par_iter().map(|x| {
            let hidden = norm.apply(x);
            check_hidden(&self.config, &hidden)?;
            Ok(hidden)
        });
        finished.collect()
    }
}

/// Takes the residual streams of all canvases through a layer.
pub(super) fn through(layer: &ReferenceLayer, stream: &mut [Vec<f32>]) {
    stream.par_iter_mut().for_each(|x| {
        // Nobody looks, so nobody breaks.
        let _ = layer.run(x, &mut |_, _| ControlFlow::Continue(()));
    });
}
