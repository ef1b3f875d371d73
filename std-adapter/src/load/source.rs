//! Where the weights of a model are, and how they are read from there.

use super::{BUNDLED, LoadedModel};
use crate::mmap::FileMap;
use crate::read::folder::HfFolder;
use demask::image::{ModelConfig, TensorRole};
use demask::packed::{Group, WeightFormat};
use demask_quant::{BoxError, ImageWeights, WeightSource};

/// Where the weights are.
#[derive(Debug)]
pub enum Source {
    /// An image file.
    File(FileMap),
    /// The image inside this program.
    Bundled,
    /// A Hugging Face folder.
    Folder(Box<HfFolder>),
}

impl Source {
    /// The bytes of an image.
    pub(super) fn image_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::File(file) => Some(file.bytes()),
            Self::Bundled => Some(&BUNDLED.0),
            Self::Folder(_) => None,
        }
    }
}

impl LoadedModel {
    /// The weights, for reading.
    #[must_use]
    pub fn weights(&self) -> Weights<'_> {
        let from = match &self.source {
            Source::File(_) | Source::Bundled => From::Image(self.image().map(ImageWeights)),
            Source::Folder(folder) => From::Folder(folder),
        };
        Weights { from, config: &self.config }
    }

    /// Whether some weights are quantized: then the packed engine runs it, else the float reference.
    #[must_use]
    pub fn is_quantized(&self) -> bool {
        self.image().is_some_and(|image| image.tensors().any(|t| t.format.packed().is_some()))
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
    Image(Option<ImageWeights<'m>>),
    Folder(&'m HfFolder),
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
        }
    }

    fn exact_format(&self, role: TensorRole) -> Option<WeightFormat> {
        match &self.from {
            From::Image(image) => image.as_ref()?.exact_format(role),
            From::Folder(_) => None,
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
        }
    }
}
