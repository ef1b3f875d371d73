//! Quantized activations, in whatever order the kernels like to read them.

use crate::packed::{Layout, WeightFormat};

/// Quantized rows `[rows, groups * 32]` for products with weights of one format and layout.
///
/// What the words mean is the kernels' own business: they write them in
/// [`Kernels::quantize_row`](super::Kernels::quantize_row) and read them in
/// [`Kernels::matmul`](super::Kernels::matmul). Quantizing puts a row straight into the order that
/// the inner loop reads, once for all products that share the row.
#[derive(Debug, Clone, Copy)]
pub struct Activations<'a> {
    format: WeightFormat,
    rows: usize,
    groups: usize,
    words: &'a [u32],
}

/// [`Activations`] while their rows are being quantized.
#[derive(Debug)]
pub struct ActivationsMut<'a> {
    format: WeightFormat,
    rows: usize,
    groups: usize,
    words: &'a mut [u32],
}

impl<'a> ActivationsMut<'a> {
    /// Room for `rows` rows of `groups` groups in `memory`, for weights of `format` in `layout`;
    /// `None` if it holds fewer than [`Layout::activation_words`]. What is in it does not matter.
    #[must_use]
    pub fn new(
        format: WeightFormat,
        layout: Layout,
        rows: usize,
        groups: usize,
        memory: &'a mut [u32],
    ) -> Option<Self> {
        let words = memory.get_mut(..layout.activation_words(rows, groups)?)?;
        Some(Self { format, rows, groups, words })
    }

    /// Format of the weights that they will be multiplied with.
    #[must_use]
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Groups of 32 columns.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// The kernels' words.
    #[must_use]
    pub fn words(&mut self) -> &mut [u32] {
        self.words
    }

    /// For reading.
    #[must_use]
    pub fn view(&self) -> Activations<'_> {
        Activations { format: self.format, rows: self.rows, groups: self.groups, words: self.words }
    }
}

impl<'a> Activations<'a> {
    /// Format of the weights that they can be multiplied with.
    #[must_use]
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Groups of 32 columns.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// The kernels' words.
    #[must_use]
    pub fn words(&self) -> &'a [u32] {
        self.words
    }
}
