//! A model in a GGUF file: its configuration, and its weights by what they do in the network.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use demask::image::{ModelConfig, TensorRole};
use demask::packed::{GROUP, Group, WeightFormat};
use demask_quant::ggml::GgmlType;
use demask_quant::round::Steps;

use super::places::Place;
use super::{Access, GgufError, GgufFile, GgufOptions, GgufTensor, GgufVocab, config, places};
use crate::read::RowsError;
use crate::read::rows::check_finite;

/// An opened model. The weights stay on disk and are read row by row, from several threads if
/// wanted.
#[derive(Debug)]
pub struct GgufModel {
    file: GgufFile,
    config: ModelConfig,
    places: BTreeMap<TensorRole, Place>,
}

impl GgufModel {
    /// Opens a model and checks it whole, except for the numbers themselves.
    ///
    /// # Errors
    /// [`GgufError`]: a file is missing or malformed, something in it is not supported, or metadata
    /// and tensors do not belong together.
    pub fn open(path: &Path, access: Access, options: &GgufOptions) -> Result<Self, GgufError> {
        Self::from_file(GgufFile::open(path, access)?, options)
    }

    /// The model in an opened file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_file(file: GgufFile, options: &GgufOptions) -> Result<Self, GgufError> {
        let config = config::read(&file, options)?;
        let places = places::find(&file, &config)?;
        if let Some(vocab) = GgufVocab::read(&file)? {
            config::check_vocab(&config, &vocab)?;
        }
        Ok(Self { file, config, places })
    }

    /// The container: metadata and tensors as they are stored.
    #[must_use]
    pub const fn file(&self) -> &GgufFile {
        &self.file
    }

    /// Shape and constants, already validated.
    #[must_use]
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The vocabulary, if the file has one.
    ///
    /// # Errors
    /// [`GgufError`] names what is wrong with it; [`Self::open`] has already looked.
    pub fn vocab(&self) -> Result<Option<GgufVocab<'_>>, GgufError> {
        GgufVocab::read(&self.file)
    }

    /// How a tensor is stored, `None` if the model does not have it.
    #[must_use]
    pub fn source_type(&self, role: TensorRole) -> Option<GgmlType> {
        Some(self.file.tensor(&self.places.get(&role)?.tensor)?.stored_as())
    }

    /// The engine's format that holds a tensor without rounding, if there is one. Single blocks of
    /// Q8_0 and MXFP4 may still not fit, see [`Self::read_groups`].
    #[must_use]
    pub fn exact_format(&self, role: TensorRole) -> Option<WeightFormat> {
        let matrix = !role.stays_f32();
        self.source_type(role).filter(|_| matrix).and_then(GgmlType::exact_format)
    }

    /// Reads `rows` of a tensor as f32 into `out` `[rows, cols]`, of the shape
    /// [`TensorRole::shape`].
    ///
    /// # Errors
    /// [`GgufError`]: rows that do not exist, a head that is tied, NaN or infinity, a file that has
    /// become shorter.
    pub fn read_rows(
        &self,
        role: TensorRole,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), GgufError> {
        let (tensor, values) = self.locate(role, &rows, out.len(), 1)?;
        if !tensor.read(values.start, out)? {
            return Err(self.refused(role, &rows, out.len()));
        }
        let cols = role.shape(&self.config).1;
        Ok(check_finite(tensor.name(), rows.start, cols, out)?)
    }

    /// Reads `rows` of a matrix as the engine's groups, row by row: `rows * cols / 32` of them,
    /// which stand for exactly the stored weights.
    ///
    /// # Errors
    /// As [`Self::read_rows`], and [`GgufError::Blocks`] with
    /// [`BlockError::NotExact`](demask_quant::ggml::BlockError::NotExact) if these rows cannot be
    /// held exactly: read them with `read_rows` and round them.
    pub fn read_groups(
        &self,
        role: TensorRole,
        rows: Range<usize>,
        out: &mut [Group],
    ) -> Result<(), GgufError> {
        let (tensor, values) = self.locate(role, &rows, out.len(), GROUP)?;
        let stored_as = tensor.stored_as();
        let length = out.len();
        match tensor.with_blocks(values, |blocks| stored_as.to_groups(blocks, out))? {
            Some(Ok(())) => Ok(()),
            Some(Err(source)) => Err(GgufError::Blocks { tensor: tensor.name().into(), source }),
            None => Err(self.refused(role, &rows, length)),
        }
    }

    /// Reads how far apart the values of `rows` of a matrix can be, one entry per 32, row by row; false
    /// for types that have no such [steps](GgmlType::steps).
    ///
    /// # Errors
    /// As [`Self::read_rows`].
    pub fn read_steps(
        &self,
        role: TensorRole,
        rows: Range<usize>,
        out: &mut [Steps],
    ) -> Result<bool, GgufError> {
        if out.len().checked_mul(GROUP) != Some(rows.len() * role.shape(&self.config).1) {
            return Ok(false); // rows that are no whole number of groups
        }
        let (tensor, values) = self.locate(role, &rows, out.len(), GROUP)?;
        let (stored_as, length) = (tensor.stored_as(), out.len());
        match tensor.with_blocks(values, |blocks| stored_as.steps(blocks, out))? {
            Some(Ok(found)) => Ok(found),
            Some(Err(source)) => Err(GgufError::Blocks { tensor: tensor.name().into(), source }),
            None => Err(self.refused(role, &rows, length)),
        }
    }

    /// Lets the operating system take back the memory of rows that have been read and will not be
    /// needed again soon.
    pub fn advise_done(&self, role: TensorRole, rows: Range<usize>) {
        let cols = role.shape(&self.config).1;
        let count = rows.end.saturating_sub(rows.start).saturating_mul(cols);
        if let Ok((tensor, values)) = self.locate(role, &rows, count, 1) {
            tensor.release(values);
        }
    }

    /// The tensor of a role, and which of its values are these rows. `out` holds `length` items of
    /// `per_item` values each.
    fn locate(
        &self,
        role: TensorRole,
        rows: &Range<usize>,
        length: usize,
        per_item: usize,
    ) -> Result<(GgufTensor<'_>, Range<usize>), GgufError> {
        let found = self.places.get(&role).and_then(|place| {
            let (have, cols) = role.shape(&self.config);
            let count = rows.end.checked_sub(rows.start)?.checked_mul(cols)?;
            let fits = rows.end <= have && length.checked_mul(per_item) == Some(count);
            let first = place.first.checked_add(rows.start.checked_mul(cols)?)?;
            let tensor = self.file.tensor(&place.tensor)?;
            fits.then_some((tensor, first..first.checked_add(count)?))
        });
        found.ok_or_else(|| self.refused(role, rows, length))
    }

    fn refused(&self, role: TensorRole, rows: &Range<usize>, buffer: usize) -> GgufError {
        let (have, cols) = match self.places.contains_key(&role) {
            true => role.shape(&self.config),
            false => (0, 0),
        };
        let tensor = places::tensor_name(&self.config, role);
        RowsError::Request { tensor, rows: rows.clone(), have, cols, buffer }.into()
    }
}
