//! A loaded model made ready to score canvases: the packed engine, or the float reference.

use crate::detect::{Choice, DetectError, WithKernels, with_kernels};
use crate::load::LoadedModel;
use crate::pool::{Pool, PoolError};
use crate::reference::{ReferenceError, ReferenceModel};
use demask::decode::{Sampling, Score};
use demask::image::{Attention, ImageError};
use demask::packed::Layout;
use demask::{
    Engine, EngineError, ForwardError, Kernels, Limits, Model, ModelImage, Pass, Plan, PlanError,
    SessionMemory, Vocabulary,
};
use demask_quant::{BoxError, ImageBuffer, WeightSource, repack_unsealed};
use std::sync::OnceLock;

/// Rows that a host engine pushes through a layer together.
pub const HOST_TILE: usize = 32;

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
    /// The image could not be packed for this processor.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The weights could not be read.
    #[error("cannot read the weights: {0}")]
    Weights(BoxError),
    /// The forward pass failed.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(16))]
struct Chunk([u8; 16]);

/// Zeroed memory, aligned for [`Plan::carve`].
#[derive(Default)]
pub struct Memory(Vec<Chunk>);

impl Memory {
    /// At least `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(vec![Chunk::default(); bytes.div_ceil(16)])
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
    fn logits(&mut self, canvas: &[u32]) -> Result<Vec<f32>, ForwardError>;

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
}

/// A model with everything that does not depend on the canvas length.
pub enum Runtime<'m> {
    /// Quantized: runs in place if it is packed for the kernels.
    Packed(Box<PackedImage<'m>>),
    /// Floating point: weights copied out as `f32`.
    Float(Box<ReferenceModel>),
}

impl<'m> Runtime<'m> {
    /// Binds to a quantized image.
    #[must_use]
    pub fn packed(image: ModelImage<'m>) -> Self {
        Self::Packed(Box::new(PackedImage { image, repacked: Default::default() }))
    }

    /// Binds to a loaded model.
    ///
    /// # Errors
    /// [`RuntimeError::Weights`] if float weights cannot be read.
    pub fn new(model: &'m LoadedModel) -> Result<Self, RuntimeError> {
        let quantized = |image: &ModelImage<'_>| image.tensors().any(|t| t.packed().is_some());
        if let Some(image) = model.image().filter(quantized) {
            return Ok(Self::packed(image));
        }
        let mut source = model;
        let read = |role, rows: std::ops::Range<usize>, out: &mut [f32]| {
            source.read_rows(role, rows.start, out)
        };
        let reference = ReferenceModel::from_rows(*model.config(), read);
        Ok(Self::Float(Box::new(reference.map_err(RuntimeError::Weights)?)))
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
            Self::Packed(image) => {
                let pool = Pool::new(settings.threads)?;
                let build = BuildEngine { image, memory, pool, settings: *settings };
                with_kernels(settings.kernels, build)?
            }
            Self::Float(model) => {
                let threads = settings.threads.clamp(1, crate::pool::MAX_THREADS);
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let pool = pool.map_err(|source| PoolError::new(threads, source))?;
                Ok(Box::new(Float { model, pool, canvas: settings.canvas }))
            }
        }
    }
}

/// A quantized image, and its copies for kernels that read other layouts.
pub struct PackedImage<'m> {
    image: ModelImage<'m>,
    /// By [`Layout::code`].
    repacked: [OnceLock<ImageBuffer>; Layout::ALL.len() + 1],
}

impl PackedImage<'_> {
    /// The image as `K` reads it. Packed ahead for this processor it is used where it lies; else it
    /// is packed in memory, the first time.
    fn packed_for<K: Kernels>(&self) -> Result<ModelImage<'_>, RuntimeError> {
        if K::READS_ANY_LAYOUT || self.image.layout() == K::LAYOUT {
            return Ok(self.image);
        }
        let buffer = self.repacked[usize::from(K::LAYOUT.code())].get_or_init(|| {
            let mut buffer = ImageBuffer::copy_of(self.image.as_bytes());
            // Both checks passed when the image was opened; the engine refuses what is left.
            let _ = repack_unsealed(buffer.bytes_mut(), K::LAYOUT, &mut |_| ());
            buffer
        });
        ModelImage::parse_unverified(buffer.bytes()).map_err(RuntimeError::Image)
    }
}

/// Builds the engine for whichever kernels are chosen.
struct BuildEngine<'a> {
    image: &'a PackedImage<'a>,
    memory: &'a mut Memory,
    pool: Pool,
    settings: Settings,
}

impl<'a> WithKernels for BuildEngine<'a> {
    type Output = Result<Box<dyn Network + 'a>, RuntimeError>;

    fn run<K: Kernels + 'static>(self, kernels: K) -> Self::Output {
        let image = self.image.packed_for::<K>()?;
        let limits = Limits {
            canvas: self.settings.canvas,
            tile: HOST_TILE.min(self.settings.canvas.max(1)),
            layout: image.layout(),
            workers: self.settings.threads.clamp(1, crate::pool::MAX_THREADS),
        };
        let plan = Plan::new(image.config(), &limits)?;
        *self.memory = Memory::new(plan.bytes());
        let (memory, _) = plan.carve(self.memory.bytes())?;
        Ok(Box::new(Packed(Engine::new(&image, memory, kernels, self.pool)?)))
    }
}

/// The packed engine.
struct Packed<'a, K>(Engine<'a, K, Pool>);

impl<K: Kernels> Model for Packed<'_, K> {
    fn vocabulary(&self) -> Vocabulary {
        self.0.vocabulary()
    }

    fn max_canvas(&self) -> usize {
        self.0.max_canvas()
    }

    fn score(
        &mut self,
        pass: &Pass<'_>,
        sampling: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError> {
        self.0.score(pass, sampling, scores)
    }

    fn attention(&self) -> Attention {
        self.0.attention()
    }

    fn shifted_logits(&self) -> bool {
        self.0.shifted_logits()
    }

    fn begin(&mut self) {
        self.0.begin();
    }

    fn slide(&mut self, keep: usize, drop: usize) -> bool {
        self.0.slide(keep, drop)
    }
}

impl<K: Kernels> Network for Packed<'_, K> {
    fn logits(&mut self, canvas: &[u32]) -> Result<Vec<f32>, ForwardError> {
        let mut out = vec![0.0; canvas.len() * self.0.config().vocab_size as usize];
        self.0.logits(canvas, &mut out)?;
        Ok(out)
    }

    fn kernels(&self) -> &'static str {
        K::NAME
    }
}

/// The float reference.
struct Float<'a> {
    model: &'a ReferenceModel,
    /// The reference works on plain slices and is not short of time: rayon's kind of work.
    pool: rayon::ThreadPool,
    canvas: usize,
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
        let c = self.model.config();
        Vocabulary { size: c.vocab_size, mask_id: c.mask_id, eos_id: c.eos_id }
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
