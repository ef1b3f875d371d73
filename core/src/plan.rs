//! How many bytes a model needs within given limits, and how they are handed out.

use crate::cache::KvRing;
use crate::decode::{DECODERS, Needs};
use crate::image::{ImageError, ModelConfig};
use crate::memory::{Carver, EngineMemory, LastPass, ScratchShape, SessionMemory};
use crate::packed::Layout;
use core::fmt;

/// Alignment of the memory that a plan is carved from, in bytes.
pub const MEMORY_ALIGN: usize = 16;
/// Positions are counted in 16 bits.
pub(crate) const MAX_CANVAS: usize = u16::MAX as usize;

/// What a session may ask for at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest canvas in tokens, prompt included; also the slots of the KV ring.
    pub canvas: usize,
    /// Rows that go through a layer together. More rows share each unpacked weight; fewer rows
    /// need less scratch memory. 8 suits a microcontroller, 32 a host.
    pub tile: usize,
    /// Packing of the weights; kernels for other processors keep other activations.
    pub layout: Layout,
    /// Workers of the [`Executor`](crate::Executor); each has its own scratch memory.
    pub workers: usize,
    /// What policies will ask of the engine. [`Needs::DIVERGENCE`] and [`Needs::FILTER`] take memory, and
    /// divergence takes time in every pass: the engine [gives](crate::Model::gives) them only if they are
    /// planned for.
    pub needs: Needs,
}

/// Why limits cannot be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// Canvas, tile and workers must be at least 1, and the canvas at most 65,535.
    Limits,
    /// The configuration was made by hand and breaks a rule.
    Config(ImageError),
    /// The sizes do not fit the address space.
    TooLarge,
    /// The memory is smaller than the plan.
    Memory {
        /// Bytes that the plan needs.
        needed: usize,
        /// Bytes that were given.
        given: usize,
    },
    /// The memory does not start on a 16-byte boundary.
    Misaligned,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limits => {
                f.write_str("canvas, tile and workers must be at least 1, the canvas at most 65535")
            }
            Self::Config(error) => error.fmt(f),
            Self::TooLarge => f.write_str("the limits need more memory than can be addressed"),
            Self::Memory { needed, given } => {
                write!(f, "{needed} bytes of memory are needed and {given} were given")
            }
            Self::Misaligned => f.write_str("the memory must start on a 16-byte boundary"),
        }
    }
}

impl core::error::Error for PlanError {}

/// Exact memory needs of one model within given limits.
///
/// # Example
/// ```
/// use demask::decode::Needs;
/// use demask::image::{Architecture, Features, ModelConfig, RopePairs};
/// use demask::packed::Layout;
/// use demask::{Limits, Plan};
///
/// const CONFIG: ModelConfig = ModelConfig {
///     architecture: Architecture::Llada,
///     vocab_size: 1024, model_dim: 128, layers: 6, heads: 4, kv_heads: 2, head_dim: 32,
///     ffn_dim: 384, context: 128, mask_id: 1, eos_id: 0, rope_theta: 10_000.0, norm_eps: 1e-5,
///     rope_pairs: RopePairs::HalfSplit, tied_head: true, features: Features::PLAIN,
/// };
/// const PLAN: Plan = match Plan::new(&CONFIG, &Limits { canvas: 96, tile: 8, layout: Layout::Rows16, workers: 1, needs: Needs::NONE }) {
///     Ok(plan) => plan,
///     Err(_) => panic!("the model does not fit"),
/// };
/// assert!(PLAN.bytes() <= 200 * 1024);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    config: ModelConfig,
    limits: Limits,
    parts: Parts,
    total: usize,
}

/// Bytes by purpose; they sum to [`Plan::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Residual stream, `[canvas, model_dim]` floats; with [`Needs::DIVERGENCE`] that of the pass before
    /// too.
    pub hidden: usize,
    /// Keys, values and their scales.
    pub kv_ring: usize,
    /// Cosines and sines of every position.
    pub rope: usize,
    /// Scratch memory of all workers.
    pub scratch: usize,
    /// Canvas, scores and decisions.
    pub session: usize,
}

/// Sums and products of sizes that turn into `None` when they overflow.
#[derive(Clone, Copy)]
pub(crate) struct Size(pub(crate) Option<usize>);

impl Size {
    pub(crate) const fn of<T>(count: usize) -> Self {
        Self(count.checked_mul(size_of::<T>())).padded()
    }

    pub(crate) const fn product<T>(a: usize, b: usize) -> Self {
        match a.checked_mul(b) {
            Some(n) => Self::of::<T>(n),
            None => Self(None),
        }
    }

    /// Bytes of as many elements.
    pub(crate) const fn elements<T>(self) -> Self {
        match self.0 {
            Some(n) => Self::of::<T>(n),
            None => self,
        }
    }

    pub(crate) const fn times(self, n: usize) -> Self {
        match self.0 {
            Some(s) => Self(s.checked_mul(n)),
            None => self,
        }
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Self(a.checked_add(b)),
            _ => Self(None),
        }
    }

    pub(crate) const fn padded(self) -> Self {
        match self.0 {
            Some(n) => match n.checked_next_multiple_of(MEMORY_ALIGN) {
                Some(n) => Self(Some(n)),
                None => Self(None),
            },
            None => self,
        }
    }
}

impl Plan {
    /// Computes the plan; `const`, so that firmware can size a static with it.
    ///
    /// # Errors
    /// [`PlanError::Limits`], [`PlanError::Config`] or [`PlanError::TooLarge`].
    pub const fn new(config: &ModelConfig, limits: &Limits) -> Result<Self, PlanError> {
        if let Err(error) = config.validate() {
            return Err(PlanError::Config(error));
        }
        let l = limits;
        if l.canvas == 0 || l.canvas > MAX_CANVAS || l.tile == 0 || l.workers == 0 {
            return Err(PlanError::Limits);
        }
        let entries = match l.canvas.checked_mul(config.layers as usize) {
            Some(n) => n,
            None => return Err(PlanError::TooLarge),
        };
        let hidden = Size::product::<f32>(l.canvas, config.model_dim as usize)
            .plus(LastPass::size(config, l));
        let kv_ring = Size::product::<i8>(entries, config.kv_dim())
            .times(2)
            .plus(Size::product::<f32>(entries, config.kv_heads as usize).times(2));
        let rope = Size::product::<f32>(l.canvas, config.rope_dim() as usize / 2).times(2);
        let scratch = ScratchShape::new(config, l).bytes().times(l.workers);
        let session = SessionMemory::size(l.canvas);
        let total = hidden.plus(kv_ring).plus(rope).plus(scratch).plus(session);
        match (hidden.0, kv_ring.0, rope.0, scratch.0, session.0, total.0) {
            (
                Some(hidden),
                Some(kv_ring),
                Some(rope),
                Some(scratch),
                Some(session),
                Some(total),
            ) => Ok(Self {
                config: *config,
                limits: *limits,
                parts: Parts { hidden, kv_ring, rope, scratch, session },
                total,
            }),
            _ => Err(PlanError::TooLarge),
        }
    }

    /// Bytes that must be handed over.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.total
    }

    /// The same bytes by purpose.
    #[must_use]
    pub const fn parts(&self) -> Parts {
        self.parts
    }

    /// The limits that the plan was made for.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// The model that the plan was made for.
    #[must_use]
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Divides `memory` into what the engine and the session need.
    ///
    /// # Errors
    /// [`PlanError::Misaligned`] or [`PlanError::Memory`].
    pub fn carve<'a>(
        &self,
        memory: &'a mut [u8],
    ) -> Result<(EngineMemory<'a>, SessionMemory<'a>), PlanError> {
        let given = memory.len();
        let mut carver = Carver::new(memory)?;
        let carved = self.carve_all(&mut carver);
        carved.ok_or(PlanError::Memory { needed: self.total, given })
    }

    fn carve_all<'a>(
        &self,
        carver: &mut Carver<'a>,
    ) -> Option<(EngineMemory<'a>, SessionMemory<'a>)> {
        let (c, canvas) = (&self.config, self.limits.canvas);
        let entries = canvas.checked_mul(c.layers as usize)?;
        let (kv_dim, kv_heads) = (c.kv_dim(), c.kv_heads as usize);
        let hidden = carver.take(canvas, c.model_dim as usize)?;
        let last = match DECODERS {
            true => LastPass::take(carver, c, &self.limits)?,
            false => LastPass::default(),
        };
        let ring = KvRing {
            keys: carver.take(entries, kv_dim)?,
            values: carver.take(entries, kv_dim)?,
            key_scales: carver.take(entries, kv_heads)?,
            value_scales: carver.take(entries, kv_heads)?,
            slots: canvas,
            kv_heads,
            head_dim: c.head_dim as usize,
        };
        let half = c.rope_dim() as usize / 2;
        let (cos, sin) = (carver.take(canvas, half)?, carver.take(canvas, half)?);
        let shape = ScratchShape::new(c, &self.limits);
        let scratch =
            carver.take(self.limits.workers, self.parts.scratch / self.limits.workers.max(1))?;
        let session = SessionMemory::take(carver, canvas)?;
        Some((
            EngineMemory {
                hidden,
                ring,
                cos,
                sin,
                scratch,
                shape,
                config: *c,
                workers: self.limits.workers,
                needs: self.limits.needs,
                last,
            },
            session,
        ))
    }
}
