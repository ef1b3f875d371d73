//! The packed engine, on weights in the order that its kernels read.

use super::{HOST_TILE, Memory, Network, RuntimeError, Settings};
use crate::detect::{WithKernels, native_five_bits};
use crate::load::LoadedModel;
use crate::pool::Pool;
use demask::packed::{Format, Layout};
use demask::{Engine, ForwardError, Kernels, Limits, ModelImage, Plan};
use demask_quant::{
    ImageBuffer, ImageWeights, PackProgress, Quantization, Sections, WeightSource, pack_image,
};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Weights that are packed ahead, or that will be when the kernels are known.
pub struct PackedModel<'m> {
    weights: Weights<'m>,
    /// By [`Layout::code`].
    packed: [OnceLock<ImageBuffer>; Layout::ALL.len() + 1],
    /// Held while packing: others then wait for the result.
    packing: Mutex<()>,
    progress: Box<PackProgress<'m>>,
}

enum Weights<'m> {
    Image(Box<ModelImage<'m>>),
    /// Its layout is filled in.
    Source(&'m LoadedModel, Quantization),
}

impl<'m> PackedModel<'m> {
    /// An image; it runs where it lies, if it is packed for the kernels.
    pub(super) fn image(image: ModelImage<'m>, progress: Box<PackProgress<'m>>) -> Self {
        Self::new(Weights::Image(Box::new(image)), progress)
    }

    /// Weights that must be packed.
    pub(super) fn source(
        model: &'m LoadedModel,
        quantization: Quantization,
        progress: Box<PackProgress<'m>>,
    ) -> Self {
        Self::new(Weights::Source(model, quantization), progress)
    }

    fn new(weights: Weights<'m>, progress: Box<PackProgress<'m>>) -> Self {
        Self { weights, packed: Default::default(), packing: Mutex::new(()), progress }
    }

    /// The image as kernels read it that take one layout, or any. What is not packed ahead for them
    /// is packed in memory, the first time.
    fn packed_for(
        &self,
        reads: Option<Layout>,
        threads: usize,
    ) -> Result<ModelImage<'_>, RuntimeError> {
        if let Weights::Image(image) = &self.weights
            && reads.is_none_or(|layout| image.layout() == layout)
            && (native_five_bits() || !image.holds(Format::Q5))
        {
            return Ok(**image);
        }
        let layout = reads.unwrap_or_default();
        let place = &self.packed[usize::from(layout.code())];
        let waiting = self.packing.lock().unwrap_or_else(PoisonError::into_inner);
        if place.get().is_none() {
            let image = self.pack(layout, threads)?;
            let _ = place.set(image); // free: whoever fills it holds the lock
        }
        drop(waiting);
        let bytes = place.get().map(ImageBuffer::bytes).unwrap_or_default();
        ModelImage::parse_unverified(bytes).map_err(RuntimeError::Image)
    }

    fn pack(&self, layout: Layout, threads: usize) -> Result<ImageBuffer, RuntimeError> {
        let (config, quantization) = match &self.weights {
            Weights::Image(image) => (*image.config(), Quantization::keep(Layout::default())),
            Weights::Source(model, quantization) => (*model.config(), *quantization),
        };
        let quantization = Quantization { layout, five_bits: native_five_bits(), ..quantization };
        let source: &dyn WeightSource = match &self.weights {
            Weights::Image(image) => &ImageWeights(**image),
            Weights::Source(model, _) => &model.weights(),
        };
        let sections =
            Sections { config, tokenizer: None, prompt: None, filter: None, security_counter: 0 };
        let image = pack_image(&sections, quantization, source, threads, &*self.progress);
        image.map_err(RuntimeError::Pack)
    }
}

/// Builds the engine for whichever kernels are chosen.
pub(super) struct BuildEngine<'a> {
    pub(super) model: &'a PackedModel<'a>,
    pub(super) memory: &'a mut Memory,
    pub(super) pool: Pool,
    pub(super) settings: Settings,
}

impl<'a> WithKernels for BuildEngine<'a> {
    type Output = Result<Box<dyn Network + 'a>, RuntimeError>;

    fn run<K: Kernels + 'static>(self, kernels: K) -> Self::Output {
        let reads = (!K::READS_ANY_LAYOUT).then_some(K::LAYOUT);
        let image = self.model.packed_for(reads, self.settings.threads)?;
        let limits = Limits {
            canvas: self.settings.canvas,
            tile: HOST_TILE.min(self.settings.canvas.max(1)),
            layout: image.layout(),
            workers: self.settings.threads.clamp(1, crate::pool::MAX_THREADS),
            needs: self.settings.needs,
        };
        let plan = Plan::new(image.config(), &limits)?;
        *self.memory = Memory::new(plan.bytes());
        let (memory, _) = plan.carve(self.memory.bytes())?;
        Ok(Box::new(Engine::new(&image, memory, kernels, self.pool)?))
    }
}

impl<K: Kernels> Network for Engine<'_, K, Pool> {
    fn logits_from(&mut self, canvas: &[u32], first: usize) -> Result<Vec<f32>, ForwardError> {
        let rows = canvas.len().saturating_sub(first);
        let mut out = vec![0.0; rows * self.config().vocab_size as usize];
        // The engine's own method, which has this name as well.
        Engine::logits_from(self, canvas, first, &mut out)?;
        Ok(out)
    }

    fn kernels(&self) -> &'static str {
        K::NAME
    }
}
