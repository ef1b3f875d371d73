//! x86-64 vector units.
//!
//! Each lane of a register computes one output and does exactly what [`Scalar`](super::Scalar)
//! does; nothing is ever added across lanes. Whether the processor has a vector unit is for the
//! operating system to say, so it is the caller's task to find out; `demask-std` does it once.
#![allow(unsafe_code)]

mod attention;
mod avx2;
mod avx512_vnni;
mod blocked;
mod prepared;

pub use avx2::Avx2;
pub use avx512_vnni::Avx512Vnni;
