//! What quantization did to each tensor.

use crate::sections::TensorPlan;
use demask::image::TensorRole;
use demask::packed::Format;

/// Error of one stored tensor against its source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TensorReport {
    /// Which tensor.
    pub role: TensorRole,
    /// How it was stored.
    pub format: Format,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Stored size.
    pub bytes: u64,
    /// Root mean square of the source weights.
    pub rms: f64,
    /// Root mean square of the differences.
    pub rms_error: f64,
    /// Largest difference.
    pub max_error: f64,
}

impl TensorReport {
    /// Every weight is stored as it was.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.max_error == 0.0
    }

    /// Root-mean-square error as a fraction of the weights' own root mean square.
    #[must_use]
    pub fn relative_error(&self) -> f64 {
        if self.rms > 0.0 { self.rms_error / self.rms } else { 0.0 }
    }
}

/// Errors of all tensors and the size of the image.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// One entry per tensor, in file order.
    pub tensors: Vec<TensorReport>,
    /// Size of the whole image in bytes.
    pub image_bytes: u64,
}

/// Sums up differences row by row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ErrorSum {
    count: u64,
    squares: f64,
    squared_errors: f64,
    max: f64,
}

impl ErrorSum {
    pub(crate) fn add(&mut self, source: f32, stored: f32) {
        let error = f64::from(source) - f64::from(stored);
        self.count += 1;
        self.squares += f64::from(source).powi(2);
        self.squared_errors += error * error;
        self.max = self.max.max(error.abs());
    }

    /// The differences of both.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.squares += other.squares;
        self.squared_errors += other.squared_errors;
        self.max = self.max.max(other.max);
    }

    pub(crate) fn report(&self, tensor: &TensorPlan) -> TensorReport {
        let n = self.count.max(1) as f64;
        let &TensorPlan { role, format, rows, cols, bytes, .. } = tensor;
        TensorReport {
            role,
            format,
            rows,
            cols,
            bytes,
            rms: (self.squares / n).sqrt(),
            rms_error: (self.squared_errors / n).sqrt(),
            max_error: self.max,
        }
    }
}
