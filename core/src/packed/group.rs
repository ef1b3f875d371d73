//! The 32 weights of one row that share a scale, as integers.

use super::GROUP;
use half::f16;

/// What turns the integers of a group into weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GroupScale {
    /// `weight = scale * value` (Q8, Q4).
    Plain(f16),
    /// `weight = (d * scale) * (value + 8) - (d_min * min)` (Q4K, as in ggml's Q4_K): eight groups
    /// share `d` and `d_min`; both products are exact in `f32`.
    Affine {
        /// Unit of the scales.
        d: f16,
        /// Unit of the minima.
        d_min: f16,
        /// 0..=63
        scale: u8,
        /// 0..=63
        min: u8,
    },
}

/// One row's weights in one group, as the packer takes them: the integers and their scale.
pub type Group = ([i8; GROUP], GroupScale);
