//! The float reference as a network.

use super::Network;
use crate::reference::{ReferenceError, ReferenceModel};
use demask::decode::{Sampling, Score};
use demask::image::Attention;
use demask::{ForwardError, Model, Pass, Vocabulary};

/// The float reference.
pub(super) struct Float<'a> {
    pub(super) model: &'a ReferenceModel,
    /// The reference works on plain slices and is not short of time: rayon's kind of work.
    pub(super) pool: rayon::ThreadPool,
    pub(super) canvas: usize,
}

impl Float<'_> {
    fn rows(&self, canvas: &[u32], wanted: &[usize]) -> Result<Vec<f32>, ForwardError> {
        if canvas.is_empty() || wanted.is_empty() {
            return Ok(Vec::new());
        }
        self.pool.install(|| self.model.logits(canvas, wanted)).map_err(|error| match error {
            ReferenceError::TokenId { position, id, .. } => {
                ForwardError::UnknownToken { position, id }
            }
            ReferenceError::TooLong { rows, context } => {
                ForwardError::CanvasTooLong { len: rows, max: context }
            }
            _ => ForwardError::NotFinite { layer: None },
        })
    }
}

impl Model for Float<'_> {
    fn vocabulary(&self) -> Vocabulary {
        self.model.config().into()
    }

    fn max_canvas(&self) -> usize {
        self.canvas.min(self.model.config().context as usize)
    }

    fn attention(&self) -> Attention {
        self.model.config().features.attention
    }

    fn shifted_logits(&self) -> bool {
        self.model.config().features.shifted_logits
    }

    fn score(
        &mut self,
        pass: &Pass<'_>,
        sampling: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError> {
        let vocabulary = self.vocabulary();
        let back = usize::from(self.shifted_logits());
        let source = |position: &u16| usize::from(*position).saturating_sub(back);
        let rows: Vec<usize> = pass.wanted.iter().map(source).collect();
        // What a row from here on holds, no wanted row sees; it may be a mask that is no token.
        let len = pass.canvas.len();
        let end = rows.last().map_or(0, |row| self.attention().visible_end(*row, len));
        let logits = self.rows(&pass.canvas[..end], &rows)?;
        let logits = logits.chunks_exact(vocabulary.size as usize);
        for ((score, position), logits) in scores.iter_mut().zip(pass.wanted).zip(logits) {
            *score = Score::from_logits((*position).into(), logits, vocabulary.mask_id, sampling)
                .map_err(|_| ForwardError::NotFinite { layer: None })?;
        }
        Ok(())
    }
}

impl Network for Float<'_> {
    fn logits(&mut self, canvas: &[u32]) -> Result<Vec<f32>, ForwardError> {
        self.rows(canvas, &(0..canvas.len()).collect::<Vec<_>>())
    }

    fn kernels(&self) -> &'static str {
        "f32"
    }
}
