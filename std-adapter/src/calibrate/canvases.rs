//! Canvases at every mask ratio.
//!
//! Activations drift over the steps of a decode, so canvas `j` of `n` has the share `(j + 1/2) / n` of its answer
//! masked (PTQ4DM, arXiv 2211.15736, and DLLMQuant, arXiv 2508.14090, show what is lost otherwise). Most masks
//! are drawn at random over the user's texts; the other canvases are stations of the model's own decoding, which
//! is what it sees when it runs.

use super::error::CalibrateError;
use super::stations::stations;
use super::streamed::Streamed;
use super::texts::Text;
use crate::random::{Purpose, Random};
use demask::image::ModelConfig;
use std::ops::Range;

/// How canvases are masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masks {
    /// Every ratio, evenly.
    Stratified,
    /// None at all: what calibration of an autoregressive model would do. For comparison.
    None,
}

/// Which canvases are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How many.
    pub canvases: usize,
    /// With or without masks.
    pub masks: Masks,
    /// Share of them that the model's own decoding leaves, 0 to 1.
    pub snapshots: f64,
    /// Seed of all that is drawn.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { canvases: 256, masks: Masks::Stratified, snapshots: 0.3, seed: 0 }
    }
}

/// A canvas that a model may meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Where the answer stands.
    pub answer: Range<usize>,
    /// Rows whose logits decide something: those of masks, or of the whole answer where nothing is masked.
    pub outputs: Vec<usize>,
}

impl Canvas {
    fn new(ids: Vec<u32>, answer: Range<usize>, config: &ModelConfig) -> Self {
        // A row of shifted logits speaks for the position behind it.
        let back = usize::from(config.features.shifted_logits);
        let row = |position: usize| position.saturating_sub(back);
        let masks: Vec<usize> =
            answer.clone().filter(|&p| ids[p] == config.mask_id).map(row).collect();
        let outputs = if masks.is_empty() { answer.clone().map(row).collect() } else { masks };
        Self { ids, answer, outputs }
    }

    /// Masks in the answer.
    #[must_use]
    pub fn masks(&self, mask_id: u32) -> usize {
        self.ids[self.answer.clone()].iter().filter(|id| **id == mask_id).count()
    }

    /// Share of the answer that is masked.
    #[must_use]
    pub fn mask_ratio(&self, mask_id: u32) -> f64 {
        self.masks(mask_id) as f64 / self.answer.len().max(1) as f64
    }
}

/// Makes canvases of texts, the same for any number of threads of the pool that calls it. Models whose mask is no
/// token get canvases without masks.
///
/// # Errors
/// [`CalibrateError`] if a decode fails.
pub fn canvases(
    model: &Streamed<'_>,
    texts: &[Text],
    settings: &Settings,
) -> Result<Vec<Canvas>, CalibrateError> {
    let (n, config) = (settings.canvases, model.config());
    let mut random = Random::new(settings.seed, Purpose::Masks);
    // Files are often sorted: the ratio must have nothing to do with the place in the file.
    let mut ratios: Vec<usize> = (0..n).collect();
    random.shuffle(&mut ratios);
    let masked = settings.masks == Masks::Stratified && config.mask_id < config.vocab_size;
    let snapshots = (settings.snapshots.clamp(0.0, 1.0) * n as f64).round() as usize;
    let mut jobs = Vec::with_capacity(n);
    for (j, place) in ratios.into_iter().enumerate() {
        let text = &texts[if n <= texts.len() { j * texts.len() / n } else { j % texts.len() }];
        let ratio = (place as f64 + 0.5) / n as f64;
        let masks =
            ((ratio * text.answer.len() as f64).round() as usize).clamp(1, text.answer.len());
        let mut order: Vec<usize> = (0..text.answer.len()).collect();
        random.shuffle(&mut order);
        order.truncate(if masked { masks } else { 0 });
        // Spread evenly over the list, which is in random order of ratios.
        let watch = masked && (j + 1) * snapshots / n > j * snapshots / n;
        jobs.push((text, order, watch));
    }
    let watched = jobs.iter().filter(|(.., watch)| *watch);
    let watched: Vec<_> = watched.map(|(text, masks, _)| (*text, masks.len())).collect();
    let mut stations = stations(model, &watched)?.into_iter();
    let make = |(text, masks, watch): (&Text, Vec<usize>, bool)| {
        let start = text.prompt.len();
        let mut ids = [&text.prompt[..], &text.answer].concat();
        masks.iter().for_each(|at| ids[start + at] = config.mask_id);
        let answer = start..ids.len();
        let station = if watch { stations.next() } else { None };
        Canvas::new(station.unwrap_or(ids), answer, config)
    };
    Ok(jobs.into_iter().map(make).collect())
}
