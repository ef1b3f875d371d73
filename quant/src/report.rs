//! What quantization did to each tensor.

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

    pub(crate) fn report(
        &self,
        role: TensorRole,
        format: Format,
        (rows, cols): (usize, usize),
        bytes: u64,
    ) -> TensorReport {
        let n = self.count.max(1) as f64;
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
