//! The FILTER section with an owner.

use demask::decode::CommitFilter;
use demask::image::ImageError;

/// The network of [`Learn2pd`](demask::decode::Learn2pd), as [`CommitFilter`] describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterData {
    /// Tokens of a block.
    pub block: usize,
    /// Hidden units.
    pub hidden: usize,
    /// Weights and biases of the first layer, then of the second.
    pub numbers: Vec<f32>,
}

impl FilterData {
    /// Borrowed, as a policy takes it.
    ///
    /// # Errors
    /// [`ImageError::Filter`] if these are no numbers of a filter.
    pub fn view(&self) -> Result<CommitFilter<'_>, ImageError> {
        CommitFilter::new(self.block, self.hidden, &self.numbers)
    }

    pub(crate) fn to_section(&self) -> Result<Vec<u8>, ImageError> {
        let head = self.view()?.section_head().into_iter();
        let words = head.chain(self.numbers.iter().map(|number| number.to_bits()));
        Ok(words.flat_map(u32::to_le_bytes).collect())
    }
}

impl From<CommitFilter<'_>> for FilterData {
    fn from(filter: CommitFilter<'_>) -> Self {
        let (block, hidden) = (filter.block(), filter.hidden());
        Self { block, hidden, numbers: filter.numbers().to_vec() }
    }
}
