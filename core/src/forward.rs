//! The packed transformer: one forward pass over a canvas.
//!
//! Two sweeps per layer. The first computes keys and values of every row into the ring, the second
//! everything else; between them all workers meet, because attention reads rows of all of them. A
//! sweep is handed to the [`Executor`] as a whole: nothing inside it makes workers wait.
//! The last layer's second sweep, and the head, run only for the rows whose scores are wanted.

mod sweep;

use crate::decode::{DECODERS, Needs, Sampling, Score};
use crate::exec::{Executor, Pieces, Split};
use crate::image::{Attention, FAMILIES, ModelConfig, ModelImage};
use crate::kernels::Kernels;
use crate::layers::attention::AttentionShape;
use crate::layers::rope::{self, MAX_POSITIONS};
use crate::layers::visibility::View;
use crate::layers::weights::{LayerWeights, OuterWeights};
use crate::memory::{EngineMemory, Scratch, ScratchAreas};
use crate::model::{ForwardError, Model, Pass, Visible, Vocabulary};
use crate::packed::{Format, Layout};
use crate::rows::Rows;
use core::fmt;
use sweep::{BlockPiece, Context, HeadPiece, KvPiece, LogitPiece};

/// A transformer on borrowed weights and borrowed memory.
#[derive(Debug)]
pub struct Engine<'a, K, E> {
    image: ModelImage<'a>,
    outer: OuterWeights<'a>,
    memory: EngineMemory<'a>,
    kernels: K,
    executor: E,
    /// Positions that the window has left behind.
    slid: usize,
}

/// Why an engine could not be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// The image holds `f32` or `f16` matrices, which only the reference on a host runs.
    NotQuantized,
    /// The memory was planned for another model, or for fewer workers.
    WrongPlan,
    /// This build has no code for a part of the model.
    MissingPart {
        /// What the model needs.
        part: &'static str,
    },
    /// The weights are packed for other processors than the kernels are written for.
    Layout {
        /// Packing of the image.
        image: Layout,
        /// Packing that the kernels read.
        kernels: Layout,
    },
    /// The image holds matrices of a format that these kernels do not read.
    Format(Format),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotQuantized => f.write_str(
                "the image is not quantized; write it as q8 or q4 with `demask quantize`",
            ),
            Self::WrongPlan => {
                f.write_str("the memory was planned for another model or fewer workers")
            }
            Self::MissingPart { part } => write!(
                f,
                "the model needs {part}, which this build leaves out; build `demask` with the cargo \
                 feature `families`"
            ),
            Self::Layout { image, kernels } => write!(
                f,
                "the image is packed as {}, and these kernels read {}; convert it with `demask pack`",
                image.name(),
                kernels.name()
            ),
            Self::Format(format) => write!(
                f,
                "the image holds {} matrices, which the kernels of this processor do not read; \
                 write it again with `demask quantize --type {}`",
                format.name(),
                if matches!(format, Format::Q5) { "q8" } else { "q4" }
            ),
        }
    }
}

impl core::error::Error for EngineError {}

impl<'a, K: Kernels, E: Executor> Engine<'a, K, E> {
    /// Binds weights to memory from [`Plan::carve`](crate::Plan::carve) and fills the rotary tables.
    ///
    /// # Errors
    /// [`EngineError`] if the image is not quantized, the memory belongs to another plan, or this build
    /// lacks a part that the model needs.
    pub fn new(
        image: &ModelImage<'a>,
        mut memory: EngineMemory<'a>,
        kernels: K,
        executor: E,
    ) -> Result<Self, EngineError> {
        let config = image.config();
        if let Some(part) = config.features.part_of_families(config.head_dim).filter(|_| !FAMILIES)
        {
            return Err(EngineError::MissingPart { part });
        }
        if image.layout() != K::LAYOUT && !K::READS_ANY_LAYOUT {
            return Err(EngineError::Layout { image: image.layout(), kernels: K::LAYOUT });
        }
        for (format, reads) in [(Format::Q4K, K::READS_Q4K), (Format::Q5, K::READS_Q5)] {
            if image.holds(format) && !reads {
                return Err(EngineError::Format(format));
            }
        }
        let workers = executor.workers().max(1);
        let planned = &memory.shape;
        if memory.config != *config
            || memory.workers < workers
            || planned.layout() != image.layout()
        {
            return Err(EngineError::WrongPlan);
        }
        // The shares of workers that do not exist are left aside: the others stay aligned.
        let share = memory.scratch.len() / memory.workers.max(1);
        let scratch = core::mem::take(&mut memory.scratch);
        memory.scratch = scratch.get_mut(..share * workers).unwrap_or_default();
        memory.workers = workers;
        // From here on a worker's share always holds its scratch memory.
        if Scratch::carve(memory.scratch.get_mut(..share).unwrap_or_default(), &memory.shape)
            .is_none()
        {
            return Err(EngineError::WrongPlan);
        }
        let outer = OuterWeights::of(image).ok_or(EngineError::NotQuantized)?;
        for layer in 0..config.layers {
            LayerWeights::of(image, layer).ok_or(EngineError::NotQuantized)?;
        }
        rope::fill_tables(config, (memory.cos, memory.sin), (0, 0));
        if DECODERS {
            memory.last.clear();
            // A slot may be hidden that was never computed: nothing times a NaN would be a NaN.
            memory.ring.value_scales.fill(0.0);
        }
        Ok(Self { image: *image, outer, memory, kernels, executor, slid: 0 })
    }

    /// The model.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        self.image.config()
    }

    /// Writes the logits of every row, `[canvas.len(), vocab_size]`. Row `i` is what the row of
    /// position `i` says, whatever position that is about (no shift).
    ///
    /// For checking accuracy: decoding never holds a vocabulary of logits.
    ///
    /// # Errors
    /// [`ForwardError`]; `OutputLength` if `out` has another length.
    pub fn logits(&mut self, canvas: &[u32], out: &mut [f32]) -> Result<(), ForwardError> {
        self.logits_from(canvas, 0, out)
    }

    /// Writes the logits of the rows from `first` on, `[canvas.len() - first, vocab_size]`, and computes no
    /// others: the rows before keep their keys and values of the pass before. That is exact if they are
    /// as they were and see nothing that changed; [`Attention::seen_from`] tells.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn logits_from(
        &mut self,
        canvas: &[u32],
        first: usize,
        out: &mut [f32],
    ) -> Result<(), ForwardError> {
        self.check_length(canvas)?;
        let vocab = self.image.config().vocab_size as usize;
        let rows = Rows::Span(first, canvas.len());
        let (needed, given) = (rows.len().saturating_mul(vocab), out.len());
        if needed != given {
            return Err(ForwardError::OutputLength { needed, given });
        }
        let view = View::new(self.attention(), canvas.len(), &Visible::ALL);
        self.run_layers(canvas, view, (rows, rows))?;
        let hidden = &*self.memory.hidden;
        let rows = LogitPiece { rows, hidden, out, vocab };
        let context = context(&self.image, &self.outer, self.kernels, view);
        let scratch =
            ScratchAreas::new(self.memory.scratch, self.memory.workers, &self.memory.shape);
        sweep(&self.executor, scratch, rows, |s, piece| sweep::head_logits(&context, piece, s))
            .map_err(|_| ForwardError::NotFinite { layer: None })
    }

    /// Runs `rows` through all layers; the hidden rows in `wanted`, which are among them, are then
    /// those of the last one.
    fn run_layers(
        &mut self,
        canvas: &[u32],
        view: View<'_>,
        (rows, wanted): (Rows<'_>, Rows<'_>),
    ) -> Result<(), ForwardError> {
        self.embed(canvas, rows)?;
        let image = self.image;
        let memory = &mut self.memory;
        let (executor, shape) = (&self.executor, memory.shape);
        let context = context(&image, &self.outer, self.kernels, view);
        let rotation = (&*memory.cos, &*memory.sin);
        let all = rows;
        let layers = image.config().layers;
        for layer in 0..layers {
            // Checked when the engine was built.
            let Some(weights) = LayerWeights::of(&image, layer) else { break };
            let kv = memory.ring.layer_mut(layer as usize);
            let rows = KvPiece { rows: all, hidden: memory.hidden, kv };
            sweep(
                executor,
                ScratchAreas::new(memory.scratch, memory.workers, &shape),
                rows,
                |s, piece| sweep::keys_and_values(&context, &weights, rotation, piece, s),
            )
            .map_err(|_| ForwardError::NotFinite { layer: Some(layer) })?;
            let rows = if layer + 1 == layers { wanted } else { all };
            let ring = memory.ring.layer(layer as usize);
            let rows = BlockPiece::new(rows, memory.hidden, &context);
            sweep(
                executor,
                ScratchAreas::new(memory.scratch, memory.workers, &shape),
                rows,
                |s, piece| sweep::block(&context, &weights, rotation, &ring, piece, s),
            )
            .map_err(|_| ForwardError::NotFinite { layer: Some(layer) })?;
        }
        Ok(())
    }

    fn check_length(&self, canvas: &[u32]) -> Result<(), ForwardError> {
        let (len, max) = (canvas.len(), self.max_canvas());
        if len > max { Err(ForwardError::CanvasTooLong { len, max }) } else { Ok(()) }
    }

    fn embed(&mut self, canvas: &[u32], rows: Rows<'_>) -> Result<(), ForwardError> {
        self.check_length(canvas)?;
        let dim = (self.image.config().model_dim as usize).max(1);
        for position in rows.iter() {
            let row = self.memory.hidden.get_mut(position * dim..).and_then(|r| r.get_mut(..dim));
            let (Some(&id), Some(row)) = (canvas.get(position), row) else { continue };
            if !self.outer.embedding.dequantize_row(id as usize, row) {
                return Err(ForwardError::UnknownToken { position, id });
            }
        }
        Ok(())
    }

    /// Whether every row of `wanted` is among those computed.
    fn check_rows(&self, pass: &Pass<'_>, wanted: Rows<'_>) -> Result<(), ForwardError> {
        let len = pass.canvas.len();
        let computed = |row: usize| match pass.rows {
            None => row < len,
            Some(rows) => rows.binary_search(&(row.min(usize::from(u16::MAX)) as u16)).is_ok(),
        };
        match wanted.iter().find(|row| !computed(*row)) {
            Some(row) => Err(ForwardError::RowNotComputed { row }),
            None => Ok(()),
        }
    }
}

/// The row that predicts each of these positions.
fn predicting(positions: &[u16], shifted: bool) -> Rows<'_> {
    if shifted { Rows::Before(positions) } else { Rows::List(positions) }
}

/// Hands all `rows` to the executor, cut into pieces of at most a tile.
fn sweep<T: Split, E: Executor, R: Send>(
    executor: &E,
    scratch: ScratchAreas<'_>,
    rows: T,
    work: impl Fn(&mut Scratch<'_>, T) -> Result<(), R> + Sync,
) -> Result<(), R> {
    let pieces = Pieces::new(rows, scratch.workers, scratch.shape.tile());
    executor.run(scratch, pieces, work)
}

/// What every piece of work needs to know.
fn context<'t, 'a, K: Kernels>(
    image: &ModelImage<'a>,
    outer: &'t OuterWeights<'a>,
    kernels: K,
    view: View<'t>,
) -> Context<'t, 'a, K> {
    let c = image.config();
    Context {
        kernels,
        outer,
        model_dim: c.model_dim as usize,
        eps: c.norm_eps,
        pairs: c.rope_pairs,
        rotated: c.rope_dim() as usize,
        view,
        attention: AttentionShape {
            heads: c.heads as usize,
            kv_heads: c.kv_heads as usize,
            head_dim: c.head_dim as usize,
        },
    }
}

impl<K: Kernels, E: Executor> Model for Engine<'_, K, E> {
    fn vocabulary(&self) -> Vocabulary {
        self.image.config().into()
    }

    fn max_canvas(&self) -> usize {
        self.memory.ring.slots
    }

    fn attention(&self) -> Attention {
        self.image.config().features.attention
    }

    fn shifted_logits(&self) -> bool {
        self.image.config().features.shifted_logits
    }

    fn score(
        &mut self,
        pass: &Pass<'_>,
        sampling: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError> {
        let &Pass { canvas, wanted, .. } = pass;
        let shifted = self.shifted_logits();
        let rows = match pass.rows {
            None => Rows::Span(0, canvas.len()),
            Some(rows) => Rows::List(rows),
        };
        let sources = match (shifted, wanted) {
            // Row 0 predicts itself and position 1; it must be computed once.
            (true, [0, others @ ..]) if others.first() == Some(&1) => Rows::Before(others),
            (shifted, wanted) => predicting(wanted, shifted),
        };
        self.check_rows(pass, sources)?;
        let view = View::new(self.attention(), canvas.len(), &pass.visible);
        self.run_layers(canvas, view, (rows, sources))?;
        let memory = &mut self.memory;
        let hidden = &*memory.hidden;
        let rows = HeadPiece { positions: wanted, shifted, hidden, scores };
        let context = context(&self.image, &self.outer, self.kernels, view);
        let about = (self.image.config().mask_id, pass, sampling);
        let scratch = ScratchAreas::new(memory.scratch, memory.workers, &memory.shape);
        sweep(&self.executor, scratch, rows, |s, piece| {
            sweep::head_scores(&context, about, &memory.last, piece, s)
        })
        .map_err(|_| ForwardError::NotFinite { layer: None })?;
        if DECODERS {
            memory.last.keep(memory.hidden, predicting(wanted, shifted), wanted);
        }
        Ok(())
    }

    fn gives(&self) -> Needs {
        if !DECODERS {
            return Needs::NONE;
        }
        let c = self.image.config();
        // The row before a shadow has seen what the shadow must not see.
        let shadows = match !c.features.shifted_logits && c.mask_id < c.vocab_size {
            true => Needs::SHADOWS,
            false => Needs::NONE,
        };
        let planned = Needs::DIVERGENCE.and(Needs::FILTER);
        let planned = planned.without(planned.without(self.memory.needs));
        Needs::VISIBILITY.and(Needs::BIAS).and(shadows).and(planned)
    }

    fn begin(&mut self) {
        if DECODERS {
            self.memory.last.scored.fill(0);
        }
        if self.slid > 0 {
            self.slid = 0;
            rope::fill_tables(self.image.config(), (self.memory.cos, self.memory.sin), (0, 0));
        }
    }

    fn slide(&mut self, keep: usize, drop: usize) -> bool {
        let memory = &mut self.memory;
        let slid = self.slid.saturating_add(drop);
        if slid.saturating_add(memory.ring.slots) > MAX_POSITIONS {
            return false;
        }
        memory.ring.slide(keep, drop);
        if DECODERS {
            memory.last.slide(keep, drop);
        }
        rope::slide(self.image.config(), (memory.cos, memory.sin), (keep, drop), slid);
        self.slid = slid;
        true
    }
}
