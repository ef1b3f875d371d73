//! A loaded model made ready to score canvases: the packed engine, or the float reference.

mod float;
mod packed;

pub use packed::PackedModel;

use crate::detect::{Choice, DetectError, with_kernels};
use crate::load::LoadedModel;
use crate::pool::{Pool, PoolError};
use crate::reference::ReferenceModel;
use demask::decode::Needs;
use demask::image::ImageError;
use demask::packed::Format;
use demask::{EngineError, ForwardError, Model, ModelImage, PlanError, SessionMemory};
use demask_quant::{BoxError, PackProgress, Quantization, WeightSource};
pub(crate) use float::{Float, FloatModel};
use packed::BuildEngine;

/// Rows that a host engine pushes through a layer together.
pub const HOST_TILE: usize = 64;

/// Why a model could not be made ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// Threads.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// Processor.
    #[error(transparent)]
    Kernels(#[from] DetectError),
    /// Memory.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Image and engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The weights could not be packed for this processor.
    #[error("cannot pack the weights: {0}")]
    Pack(demask_quant::WriteError),
    /// The packed image is not valid.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The weights could not be read.
    #[error("cannot read the weights: {0}")]
    Weights(BoxError),
    /// The forward pass failed.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Chunk([u8; 64]);

/// Zeroed memory, aligned for [`Plan::carve`](demask::Plan::carve) and to the lines of a cache.
#[derive(Default)]
pub struct Memory(Vec<Chunk>);

impl Memory {
    /// At least `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(vec![Chunk([0; 64]); bytes.div_ceil(size_of::<Chunk>())])
    }

    /// The bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }

    /// Memory of a session over any model, for canvases of up to `canvas` tokens.
    ///
    /// # Errors
    /// [`PlanError`] for a canvas of absurd size.
    pub fn for_session(canvas: usize) -> Result<Self, PlanError> {
        Ok(Self::new(SessionMemory::bytes(canvas).ok_or(PlanError::TooLarge)?))
    }
}

/// A network that can also give all its logits.
pub trait Network: Model + Send {
    /// Logits of every position, `[canvas.len(), vocab_size]`.
    ///
    /// # Errors
    /// [`ForwardError`].
    fn logits(&mut self, canvas: &[u32]) -> Result<Vec<f32>, ForwardError> {
        self.logits_from(canvas, 0)
    }

    /// Logits of the rows from `first` on, `[canvas.len() - first, vocab_size]`. The rows before must be as
    /// in the pass before, and see nothing that has changed since:
    /// [`Attention::seen_from`](demask::image::Attention::seen_from) tells.
    ///
    /// # Errors
    /// [`ForwardError`].
    fn logits_from(&mut self, canvas: &[u32], first: usize) -> Result<Vec<f32>, ForwardError>;

    /// Name of the arithmetic: `scalar`, `avx2`, ..., `f32`.
    fn kernels(&self) -> &'static str;
}

/// How to run a model.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Longest canvas.
    pub canvas: usize,
    /// Threads of one forward pass.
    pub threads: usize,
    /// Kernels of the packed engine.
    pub kernels: Choice,
    /// What policies will ask of the model: see [`Limits::needs`](demask::Limits::needs).
    pub needs: Needs,
}

/// How the weights of a model are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Held {
    /// Quantized ones in their own format, or in Q8 where the engine has no such format; a model of
    /// nothing but floats in floats.
    #[default]
    AsStored,
    /// Rounded to this format; the embedding and the head to Q8 if it has fewer bits.
    Rounded(Format),
}

impl Held {
    /// Formats of the tensors, in the default layout; `None` for the float reference.
    #[must_use]
    pub fn quantization(self, model: &LoadedModel) -> Option<Quantization> {
        match self {
            Self::AsStored if model.is_quantized() => Some(Quantization::keep(Default::default())),
            Self::AsStored => None,
            Self::Rounded(format) => {
                Some(Quantization { embedding: Format::Q8, ..Quantization::uniform(format) })
            }
        }
    }
}

/// A model with everything that does not depend on the canvas length.
pub enum Runtime<'m> {
    /// Quantized: runs in place if it is packed for the kernels.
    Packed(Box<PackedModel<'m>>),
    /// Floating point.
    Float(Box<ReferenceModel>),
}

impl<'m> Runtime<'m> {
    /// Binds to a quantized image.
    #[must_use]
    pub fn packed(image: ModelImage<'m>) -> Self {
        Self::Packed(Box::new(PackedModel::image(image, Box::new(|_, _| ()))))
    }

    /// Binds to a loaded model, its weights held as they are stored.
    ///
    /// # Errors
    /// [`RuntimeError::Weights`] if float weights cannot be read.
    pub fn new(model: &'m LoadedModel) -> Result<Self, RuntimeError> {
        Self::held(model, Held::AsStored, Box::new(|_, _| ()))
    }

    /// Binds to a loaded model. What has to be packed is packed when the first
    /// [`network`](Self::network) needs it, and `progress` is then told how far that is.
    ///
    /// # Errors
    /// [`RuntimeError::Weights`] if float weights cannot be read.
    pub fn held(
        model: &'m LoadedModel,
        held: Held,
        progress: Box<PackProgress<'m>>,
    ) -> Result<Self, RuntimeError> {
        let packed = match (held.quantization(model), model.image()) {
            (Some(quantization), Some(image)) if quantization.keep => {
                PackedModel::image(image, progress)
            }
            (Some(quantization), _) => PackedModel::source(model, quantization, progress),
            (None, _) => {
                let weights = model.weights();
                let read = |role, rows: std::ops::Range<usize>, out: &mut [f32]| {
                    weights.read_rows(role, rows.start, out)?;
                    weights.release(role, rows);
                    Ok(())
                };
                let reference = ReferenceModel::from_rows(*model.config(), read);
                return Ok(Self::Float(Box::new(reference.map_err(RuntimeError::Weights)?)));
            }
        };
        Ok(Self::Packed(Box::new(packed)))
    }

    /// A network on `memory`, which is resized to what it needs.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub fn network<'n>(
        &'n self,
        settings: &Settings,
        memory: &'n mut Memory,
    ) -> Result<Box<dyn Network + 'n>, RuntimeError> {
        match self {
            Self::Packed(model) => {
                let pool = Pool::new(settings.threads)?;
                let build = BuildEngine { model, memory, pool, settings: *settings };
                with_kernels(settings.kernels, build)?
            }
            Self::Float(model) => {
                let threads = settings.threads.clamp(1, crate::pool::MAX_THREADS);
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let pool = pool.map_err(|source| PoolError::new(threads, source))?;
                Ok(Box::new(Float::new(&**model, Some(pool), settings.canvas, settings.needs)))
            }
        }
    }
}
