//! What every calibrated rounding of a model starts from: its float form, canvases, and what it says about them.

use super::canvases::{Canvas, Settings, canvases};
use super::certainty::{RowWeights, Rows, look};
use super::divergence::Distributions;
use super::error::CalibrateError;
use super::kept::Kept;
use super::layers::{Formats, Layered, Method};
use super::partial::Partial;
use super::streamed::Streamed;
use super::texts::Text;
use demask::image::{ModelConfig, TensorRole};
use demask_quant::WeightSource;
use demask_quant::calibrated::QuantizedWeights;
use sha2::{Digest, Sha256};

/// Changes whenever other bits come out of the same weights, texts and options.
const VERSION: &str = "calibration 1";
/// Rows that are read at a time for a digest.
const DIGEST_ROWS: usize = 64;

/// Weights, and what a calibration run needs to know of them.
pub struct Setup<'a> {
    /// Shape of the model.
    pub config: ModelConfig,
    /// Its weights.
    pub source: &'a dyn WeightSource,
    /// Threads for everything.
    pub threads: usize,
}

/// Canvases, and how much their rows count.
#[derive(Debug)]
pub struct Shown {
    /// The canvases.
    pub canvases: Vec<Canvas>,
    /// What the float model says about them.
    pub rows: Rows,
}

impl<'a> Setup<'a> {
    /// Starts from weights that stay where they are.
    #[must_use]
    pub fn new(config: ModelConfig, source: &'a dyn WeightSource, threads: usize) -> Self {
        Self { config, source, threads }
    }

    /// The float model.
    fn model(&self) -> Streamed<'a> {
        let (config, source) = (self.config, self.source);
        Streamed::new(config, move |role, first, out| {
            source.read_rows(role, first, out)?;
            // They may be read again, but not soon.
            source.release(role, first..first + out.len() / role.shape(&config).1);
            Ok(())
        })
    }

    /// Makes canvases of texts.
    ///
    /// # Errors
    /// [`CalibrateError`].
    pub fn canvases(
        &self,
        texts: &[Text],
        settings: &Settings,
    ) -> Result<Vec<Canvas>, CalibrateError> {
        self.pool()?.install(|| canvases(&self.model(), texts, settings))
    }

    /// Canvases, and what the float model says about them.
    ///
    /// # Errors
    /// [`CalibrateError`].
    pub fn show(
        &self,
        canvases: Vec<Canvas>,
        weights: &RowWeights,
    ) -> Result<Shown, CalibrateError> {
        let look = || look(&self.model(), &canvases, weights, self.threads);
        let rows = self.pool()?.install(look)?;
        Ok(Shown { canvases, rows })
    }

    /// What the float model answers.
    ///
    /// # Errors
    /// [`CalibrateError`].
    pub fn distributions<'s>(
        &self,
        canvases: &'s [Canvas],
    ) -> Result<Distributions<'s>, CalibrateError> {
        self.pool()?.install(|| Distributions::new(&self.model(), canvases))
    }

    /// A run through the layers that rounds every matrix. With a partial file, what is done is there and not in
    /// memory.
    #[must_use]
    pub fn layered<'s>(
        &self,
        shown: &'s Shown,
        formats: &'s Formats,
        method: Method,
        partial: Option<Partial>,
    ) -> Layered<'s>
    where
        'a: 's,
    {
        Layered {
            config: self.config,
            weights: QuantizedWeights {
                source: self.source,
                rounded: partial.map_or_else(Kept::default, Kept::File),
            },
            formats,
            method,
            canvases: &shown.canvases,
            row_weights: &shown.rows.weights,
            threads: self.threads,
        }
    }

    /// A pool with as many threads as are allowed.
    ///
    /// # Errors
    /// [`CalibrateError::Threads`].
    pub fn pool(&self) -> Result<rayon::ThreadPool, CalibrateError> {
        Ok(rayon::ThreadPoolBuilder::new().num_threads(self.threads).build()?)
    }

    /// Digest of everything that decides what a run stores.
    ///
    /// # Errors
    /// [`CalibrateError::Weights`].
    pub fn digest(
        &self,
        shown: &Shown,
        formats: &Formats,
        method: Method,
    ) -> Result<[u8; 32], CalibrateError> {
        let mut hash = Sha256::new();
        hash.update(format!("{VERSION} {method:?} {formats:?} {:?}", self.config));
        for (canvas, weights) in shown.canvases.iter().zip(&shown.rows.weights) {
            hash.update(format!("{:?} {:?}", canvas.answer, canvas.outputs));
            hash.update(bytemuck::cast_slice::<u32, u8>(&canvas.ids));
            hash.update(bytemuck::cast_slice::<f32, u8>(weights));
        }
        let mut values = Vec::new();
        for role in TensorRole::all(&self.config) {
            let (rows, cols) = role.shape(&self.config);
            for first in (0..rows).step_by(DIGEST_ROWS) {
                values.resize(DIGEST_ROWS.min(rows - first) * cols, 0.0);
                let read = self.source.read_rows(role, first, &mut values);
                read.map_err(CalibrateError::Weights)?;
                hash.update(bytemuck::cast_slice::<f32, u8>(&values));
            }
        }
        Ok(hash.finalize().into())
    }
}
