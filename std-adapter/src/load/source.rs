//! Where the weights of a model are, and how they are read from there.

use super::{BUNDLED, LoadedModel};
use crate::mmap::FileMap;
use crate::read::folder::HfFolder;
use crate::read::gguf::{GgufError, GgufModel};
use demask::ModelImage;
use demask::image::{ModelConfig, TensorRole};
use demask::packed::{GROUP, Group, WeightFormat};
use demask_quant::ggml::{BlockError, GgmlType};
use demask_quant::round::Steps;
use demask_quant::{BoxError, ImageWeights, WeightSource};
use std::ops::Range;

/// Where the weights are.
#[derive(Debug)]
pub enum Source {
    /// An image file.
    File(FileMap),
    /// The image inside this program.
    Bundled,
    /// A Hugging Face folder.
    Folder(Box<HfFolder>),
    /// A GGUF file, or several.
    Gguf(Box<GgufModel>),
}

impl Source {
    /// The bytes of an image.
    pub(super) fn image_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::File(file) => Some(file.bytes()),
            Self::Bundled => Some(&BUNDLED.0),
            Self::Folder(_) | Self::Gguf(_) => None,
        }
    }
}

impl LoadedModel {
    /// The weights, for reading.
    #[must_use]
    pub fn weights(&self) -> Weights<'_> {
        let from = match &self.source {
            Source::File(_) | Source::Bundled => {
                From::Image(self.image().map(|image| Box::new(ImageWeights(image))))
            }
            Source::Folder(folder) => From::Folder(folder),
            Source::Gguf(model) => From::Gguf(model),
        };
        Weights { from, config: &self.config }
    }

    /// How a tensor is stored, in the words of its file; `None` if the model does not have it.
    #[must_use]
    pub fn stored_as(&self, role: TensorRole) -> Option<&'static str> {
        match &self.source {
            Source::File(_) | Source::Bundled => Some(self.image()?.tensor(role)?.format.name()),
            Source::Folder(folder) => Some(folder.stored_type(role).ok()?.name()),
            Source::Gguf(model) => Some(model.source_type(role)?.name()),
        }
    }

    /// Whether some weights are quantized: then the packed engine runs it, else the float reference.
    #[must_use]
    pub fn is_quantized(&self) -> bool {
        let floats = [GgmlType::F32, GgmlType::F16, GgmlType::BF16];
        match &self.source {
            Source::File(_) | Source::Bundled => {
                let packed = |image: ModelImage<'_>| image.tensors().any(|t| t.packed().is_some());
                self.image().is_some_and(packed)
            }
            Source::Folder(_) => false,
            Source::Gguf(model) => TensorRole::all(&self.config)
                .filter_map(|role| model.source_type(role))
                .any(|stored| !floats.contains(&stored)),
        }
    }
}

/// The weights of a [`LoadedModel`]: rows of `f32`, or integers where it has them.
#[derive(Debug)]
pub struct Weights<'m> {
    from: From<'m>,
    config: &'m ModelConfig,
}

#[derive(Debug)]
enum From<'m> {
    /// `None` if the file is no image any more.
    Image(Option<Box<ImageWeights<'m>>>),
    Folder(&'m HfFolder),
    Gguf(&'m GgufModel),
}

const CHANGED: &str = "the image file has changed while it was in use";

impl WeightSource for Weights<'_> {
    fn read_rows(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), BoxError> {
        let (_, cols) = role.shape(self.config);
        let rows = first_row..first_row + out.len() / cols.max(1);
        match &self.from {
            From::Image(image) => image.as_ref().ok_or(CHANGED)?.read_rows(role, first_row, out),
            From::Folder(folder) => Ok(folder.read_rows(role, rows, out)?),
            From::Gguf(model) => Ok(model.read_rows(role, rows, out)?),
        }
    }

    fn exact_format(&self, role: TensorRole) -> Option<WeightFormat> {
        match &self.from {
            From::Image(image) => image.as_ref()?.exact_format(role),
            From::Folder(_) => None,
            From::Gguf(model) => model.exact_format(role),
        }
    }

    fn read_groups(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [Group],
    ) -> Result<bool, BoxError> {
        match &self.from {
            From::Image(image) => image.as_ref().ok_or(CHANGED)?.read_groups(role, first_row, out),
            From::Folder(_) => Ok(false),
            From::Gguf(model) => {
                let cols = role.shape(self.config).1;
                let rows = first_row..first_row + out.len() * GROUP / cols.max(1);
                match model.read_groups(role, rows, out) {
                    Ok(()) => Ok(true),
                    Err(GgufError::Blocks { source: BlockError::NotExact(_), .. }) => Ok(false),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    fn read_steps(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [Steps],
    ) -> Result<bool, BoxError> {
        let From::Gguf(model) = &self.from else { return Ok(false) };
        let cols = role.shape(self.config).1;
        let rows = first_row..first_row + out.len() / cols.div_ceil(GROUP).max(1);
        Ok(model.read_steps(role, rows, out)?)
    }

    fn release(&self, role: TensorRole, rows: Range<usize>) {
        if let From::Gguf(model) = &self.from {
            model.advise_done(role, rows);
        }
    }
}
