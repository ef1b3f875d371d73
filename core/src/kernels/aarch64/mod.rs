//! 64-bit Arm: Advanced SIMD (NEON) alone, with dot products, with matrix products of bytes.
//!
//! Each lane of a register computes one output and does exactly what [`Scalar`](super::Scalar)
//! does; only the integer sums inside a group are added across lanes, which is exact. The inner loops
//! are in assembly: their instructions have no stable intrinsics, and the tiles fill all 32
//! registers, which compilers do not manage without moving them about.
#![allow(unsafe_code)]

mod dot_prod;
mod factors;
mod i8mm;
mod neon;
mod quantize;
mod rows;
mod rows4;
mod rows4x8;
mod tiles;

pub use dot_prod::DotProd;
pub use i8mm::I8mm;
pub use neon::Neon;
