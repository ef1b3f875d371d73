//! Rounding that knows what the weights will be multiplied with.
//!
//! An error in a weight matters as much as the input that it is multiplied with. [`Moments`] collects what
//! a calibration run shows of the inputs of a matrix, `H = sum c x x^T`; the loss of a row of weights `w`
//! that is stored as `q` is then `(w - q)^T H (w - q)`, the mean squared error of its outputs. An
//! [`Objective`] is such a loss made ready, and [`fit_tensor`] rounds under it:
//!
//! | method | objective | what is done |
//! |---|---|---|
//! | importance | only the diagonal of `H` | scales are searched under weights (the "importance matrix" of llama.cpp) |
//! | GPTQ | all of `H` | what rounding did to a weight is made up for by those behind it (Frantar et al. 2022, arXiv 2210.17323) |
//!
//! Both are the same code: without the entries off the diagonal there is nothing to make up for. Nothing
//! here knows of a network. The results are the same bits for any number of threads.

mod descent;
mod feedback;
mod fit;
mod moments;
mod objective;
mod source;
#[cfg(test)]
mod tests;

pub use fit::{Fit, fit_tensor, loss_of};
pub use moments::Moments;
pub use objective::Objective;
pub use source::{QuantizedTensor, QuantizedWeights, Rounded, dequantize};
