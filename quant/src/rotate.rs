//! Rotation of the residual stream, folded into the weights.
//!
//! RMSNorm does not see a rotation: it keeps the length of a row. So every row `x` of the residual stream can be
//! replaced by `R x` with an orthogonal `R`, if embedding, projections and head are rotated to match, and norm weights
//! are first moved into the matrices behind them. The model computes the same function; its weights have fewer
//! outliers, and lose less when they are rounded (QuaRot, Ashkboos et al. 2024, arXiv 2404.00456, its `R1`).
//!
//! `R` is a block-diagonal matrix of Hadamard matrices as large as the largest power of two that divides the
//! width, behind a diagonal of random signs: the Kronecker product of an identity and a Hadamard matrix. Nothing is
//! rotated at run time.

use crate::source::{BoxError, WeightSource};
use demask::decode::philox4x32;
use demask::image::{ModelConfig, Norm, TensorRole as Role};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Smallest blocks that are worth it.
const LEAST_BLOCK: usize = 8;
/// Keeps the signs apart from other uses of the generator.
const SIGNS: u32 = 0x7369_676e;

/// Why a model cannot be rotated.
#[derive(Debug)]
#[non_exhaustive]
pub enum RotateError {
    /// LayerNorm subtracts a mean, which a rotation changes.
    LayerNorm,
    /// The width has no large power of two as a factor.
    Width(usize),
    /// The source failed.
    Source(BoxError),
}

impl fmt::Display for RotateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LayerNorm => f.write_str(
                "a rotation is exact only with RMSNorm, and this model has LayerNorm; leave --rotate out",
            ),
            Self::Width(width) => write!(
                f,
                "the width {width} is no multiple of {LEAST_BLOCK}, too little for a Hadamard rotation; \
                 leave --rotate out"
            ),
            Self::Source(error) => write!(f, "cannot read the weights: {error}"),
        }
    }
}

impl std::error::Error for RotateError {}

/// Rows `part * width..` of a matrix that writes to the stream, rotated: role, part, rows.
type Part = (Role, usize, Arc<[f32]>);

/// Weights of a model with rotated residual stream. In memory is at most one matrix that writes to the stream.
pub struct Rotated<'s> {
    source: &'s dyn WeightSource,
    /// Of the source.
    before: ModelConfig,
    config: ModelConfig,
    block: usize,
    signs: Vec<f64>,
    last: Mutex<Option<Part>>,
}

impl<'s> Rotated<'s> {
    /// Rotates the model that `source` has the weights of. A tied head is untied where the output norm has to be
    /// moved into it: see [`config`](Self::config).
    ///
    /// # Errors
    /// [`RotateError`] where a rotation would change the model.
    pub fn new(source: &'s dyn WeightSource, before: ModelConfig) -> Result<Self, RotateError> {
        if before.features.norm == Norm::Layer {
            return Err(RotateError::LayerNorm);
        }
        let width = before.model_dim as usize;
        let block = 1 << width.trailing_zeros();
        if block < LEAST_BLOCK {
            return Err(RotateError::Width(width));
        }
        let mut norm = vec![0.0; width];
        source.read_rows(Role::OutputNorm, 0, &mut norm).map_err(RotateError::Source)?;
        // A norm that multiplies all entries alike may stay where it is.
        let uniform = norm.iter().all(|w| *w == norm[0]);
        let config = ModelConfig { tied_head: before.tied_head && uniform, ..before };
        let sign = |at: usize| {
            let [word, ..] = philox4x32([at as u32, 0, 0, SIGNS], [0; 2]);
            if word & 1 == 0 { 1.0 } else { -1.0 }
        };
        let signs = (0..width).map(sign).collect();
        Ok(Self { source, before, config, block, signs, last: Mutex::new(None) })
    }

    /// Shape of the rotated model: the source's, but for the tie of its head.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// `R v`
    fn rotate(&self, v: &mut [f64]) {
        v.iter_mut().zip(&self.signs).for_each(|(v, sign)| *v *= sign);
        let scale = 1.0 / (self.block as f64).sqrt();
        for block in v.chunks_exact_mut(self.block) {
            let mut half = 1;
            while half < block.len() {
                for pair in block.chunks_exact_mut(2 * half) {
                    let (a, b) = pair.split_at_mut(half);
                    for (a, b) in a.iter_mut().zip(b) {
                        (*a, *b) = (*a + *b, *a - *b);
                    }
                }
                half *= 2;
            }
            block.iter_mut().for_each(|v| *v *= scale);
        }
    }

    /// Rotates the rows of what reads the stream behind `norm`.
    fn read_reader(&self, norm: Option<Role>, rows: &mut [f32]) -> Result<(), BoxError> {
        let width = self.signs.len();
        let mut weights = vec![1.0; width];
        if let Some(norm) = norm {
            self.source.read_rows(norm, 0, &mut weights)?;
        }
        let mut wide = vec![0.0; width];
        for row in rows.chunks_exact_mut(width) {
            for ((wide, w), norm) in wide.iter_mut().zip(&*row).zip(&weights) {
                *wide = f64::from(*w) * f64::from(*norm);
            }
            self.rotate(&mut wide);
            row.iter_mut().zip(&wide).for_each(|(w, wide)| *w = *wide as f32);
        }
        Ok(())
    }

    /// `width` rows of a matrix that writes to the stream, from row `part * width` on.
    fn writer(&self, role: Role, part: usize) -> Result<Arc<[f32]>, BoxError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, of, rows)) = &*last
            && (*known, *of) == (role, part)
        {
            return Ok(rows.clone());
        }
        *last = None;
        let (width, (_, cols)) = (self.signs.len(), role.shape(&self.before));
        // A vector is a column.
        let cols = if matches!(role, Role::DownBias(_)) { 1 } else { cols };
        let mut rows = vec![0.0; width * cols];
        self.source.read_rows(role, part * width, &mut rows)?;
        let mut wide = vec![0.0; width];
        for col in 0..cols {
            let column = || (0..width).map(|row| row * cols + col);
            column().zip(&mut wide).for_each(|(at, wide)| *wide = f64::from(rows[at]));
            self.rotate(&mut wide);
            column().zip(&wide).for_each(|(at, wide)| rows[at] = *wide as f32);
        }
        let rows: Arc<[f32]> = rows.into();
        *last = Some((role, part, rows.clone()));
        Ok(rows)
    }

    fn read_writer(&self, role: Role, first_row: usize, out: &mut [f32]) -> Result<(), BoxError> {
        let (width, (_, cols)) = (self.signs.len(), role.shape(&self.before));
        if matches!(role, Role::DownBias(_)) {
            out.copy_from_slice(&self.writer(role, 0)?);
            return Ok(());
        }
        for (row, out) in (first_row..).zip(out.chunks_exact_mut(cols.max(1))) {
            let part = self.writer(role, row / width)?;
            out.copy_from_slice(&part[row % width * cols..][..cols]);
        }
        Ok(())
    }
}

impl WeightSource for Rotated<'_> {
    fn read_rows(&self, role: Role, first_row: usize, out: &mut [f32]) -> Result<(), BoxError> {
        let read = |out: &mut [f32]| self.source.read_rows(role, first_row, out);
        match role {
            Role::AttentionNorm(_) | Role::FfnNorm(_) => out.fill(1.0),
            Role::OutputNorm if !self.config.tied_head => out.fill(1.0),
            Role::AttentionOutput(_) | Role::Down(_) | Role::ExpertDowns(_) | Role::DownBias(_) => {
                return self.read_writer(role, first_row, out);
            }
            Role::Embedding => {
                read(out)?;
                self.read_reader(None, out)?;
            }
            Role::Query(l) | Role::Key(l) | Role::Value(l) => {
                read(out)?;
                self.read_reader(Some(Role::AttentionNorm(l)), out)?;
            }
            Role::Gate(l)
            | Role::Up(l)
            | Role::Router(l)
            | Role::ExpertGates(l)
            | Role::ExpertUps(l) => {
                read(out)?;
                self.read_reader(Some(Role::FfnNorm(l)), out)?;
            }
            Role::Head => {
                let stored = if self.before.tied_head { Role::Embedding } else { Role::Head };
                self.source.read_rows(stored, first_row, out)?;
                self.read_reader(Some(Role::OutputNorm), out)?;
            }
            _ => read(out)?,
        }
        Ok(())
    }
}
