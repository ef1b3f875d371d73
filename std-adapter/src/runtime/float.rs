//! A float model as a network.

use super::Network;
use crate::reference::{ReferenceError, ReferenceModel, Sight};
use demask::decode::{LogitRow, Needs, Sampling, Score};
use demask::image::{Attention, ModelConfig};
use demask::{ForwardError, Model, Pass, Vocabulary};

/// What a network needs of a float model.
pub(crate) trait FloatModel: Sync {
    /// Shape and constants.
    fn config(&self) -> &ModelConfig;

    /// As [`ReferenceModel::hidden_rows`].
    fn hidden_rows(
        &self,
        ids: &[u32],
        wanted: &[usize],
        sight: &Sight<'_>,
    ) -> Result<Vec<f32>, ReferenceError>;

    /// As [`ReferenceModel::head`].
    fn head(&self, rows: &[f32]) -> Vec<f32>;
}

impl FloatModel for ReferenceModel {
    fn config(&self) -> &ModelConfig {
        self.config()
    }

    fn hidden_rows(
        &self,
        ids: &[u32],
        wanted: &[usize],
        sight: &Sight<'_>,
    ) -> Result<Vec<f32>, ReferenceError> {
        self.hidden_rows(ids, wanted, sight)
    }

    fn head(&self, rows: &[f32]) -> Vec<f32> {
        self.head(rows)
    }
}

/// A float model that scores canvases.
pub(crate) struct Float<'a, M> {
    model: &'a M,
    /// The reference works on plain slices and is not short of time: rayon's kind of work. `None`: in the
    /// pool of the caller.
    pool: Option<rayon::ThreadPool>,
    canvas: usize,
    needs: Needs,
    /// With [`Needs::DIVERGENCE`], final hidden states of the last pass that scored each position.
    last: Vec<Option<Vec<f32>>>,
}

impl<'a, M: FloatModel> Float<'a, M> {
    /// For canvases of up to `canvas` tokens and policies with these needs.
    pub(crate) fn new(
        model: &'a M,
        pool: Option<rayon::ThreadPool>,
        canvas: usize,
        needs: Needs,
    ) -> Self {
        let canvas = canvas.min(model.config().context as usize);
        let slots = if needs.include(Needs::DIVERGENCE) { canvas } else { 0 };
        Self { model, pool, canvas, needs, last: vec![None; slots] }
    }

    fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    fn rows(
        &self,
        canvas: &[u32],
        wanted: &[usize],
        sight: &Sight<'_>,
    ) -> Result<Vec<f32>, ForwardError> {
        if canvas.is_empty() || wanted.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.install(|| self.model.hidden_rows(canvas, wanted, sight));
        rows.map_err(|error| match error {
            ReferenceError::TokenId { position, id, .. } => {
                ForwardError::UnknownToken { position, id }
            }
            ReferenceError::TooLong { rows, context } => {
                ForwardError::CanvasTooLong { len: rows, max: context }
            }
            _ => ForwardError::NotFinite { layer: None },
        })
    }

    fn head(&self, rows: &[f32]) -> Vec<f32> {
        if rows.is_empty() { Vec::new() } else { self.install(|| self.model.head(rows)) }
    }
}

impl<M: FloatModel> Model for Float<'_, M> {
    fn vocabulary(&self) -> Vocabulary {
        self.model.config().into()
    }

    fn max_canvas(&self) -> usize {
        self.canvas
    }

    fn attention(&self) -> Attention {
        self.model.config().features.attention
    }

    fn shifted_logits(&self) -> bool {
        self.model.config().features.shifted_logits
    }

    fn gives(&self) -> Needs {
        let all = Needs::VISIBILITY.and(Needs::BIAS).and(Needs::FILTER);
        let Vocabulary { size, mask_id, .. } = self.vocabulary();
        // The row before a shadow has seen what the shadow must not see.
        let shadows = match !self.shifted_logits() && mask_id < size {
            true => Needs::SHADOWS,
            false => Needs::NONE,
        };
        match self.needs.include(Needs::DIVERGENCE) {
            true => all.and(shadows).and(Needs::DIVERGENCE),
            false => all.and(shadows),
        }
    }

    fn begin(&mut self) {
        self.last.fill(None);
    }

    fn score(
        &mut self,
        pass: &Pass<'_>,
        sampling: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError> {
        let config = *self.model.config();
        let back = usize::from(self.shifted_logits());
        let source = |position: &u16| usize::from(*position).saturating_sub(back);
        let rows: Vec<usize> = pass.wanted.iter().map(source).collect();
        let len = pass.canvas.len();
        let sight = Sight::new(&config, len, pass.visible);
        // What a row from here on holds, no wanted row sees; it may be a mask that is no token.
        let last = rows.last().map_or(0, |row| self.attention().visible_end(*row, len));
        let end = if pass.visible.shadowed == (0, 0) { last } else { len };
        let hidden = self.rows(&pass.canvas[..end], &rows, &sight)?;
        let (width, size) = (config.model_dim as usize, config.vocab_size as usize);
        let logits = self.head(&hidden);
        let rows = hidden.chunks_exact(width).zip(logits.chunks_exact(size));
        for ((score, &slot), (hidden, logits)) in scores.iter_mut().zip(pass.wanted).zip(rows) {
            let last = self.last.get(usize::from(slot)).and_then(Option::as_deref);
            let previous = last.map(|last| self.head(last));
            let current = pass.canvas.get(sight.position(usize::from(slot)));
            let row = LogitRow {
                current: current.copied().unwrap_or(config.mask_id),
                bias: pass.bias,
                previous: previous.as_deref(),
                ..LogitRow::new(slot.into(), logits, config.mask_id)
            };
            let row = row.score(sampling);
            *score = row.map_err(|_| ForwardError::NotFinite { layer: None })?;
            if let Some(last) = self.last.get_mut(usize::from(slot)) {
                if last.is_none() {
                    score.divergence = f32::INFINITY;
                }
                *last = Some(hidden.to_vec());
            }
        }
        Ok(())
    }
}

impl<M: FloatModel> Network for Float<'_, M> {
    fn logits_from(&mut self, canvas: &[u32], first: usize) -> Result<Vec<f32>, ForwardError> {
        let wanted: Vec<usize> = (first..canvas.len()).collect();
        let sight = Sight::of_model(self.model.config(), canvas.len());
        Ok(self.head(&self.rows(canvas, &wanted, &sight)?))
    }

    fn kernels(&self) -> &'static str {
        "f32"
    }
}
