//! x86-64 vector units.
//!
//! Each lane of a register computes one output and does exactly what [`Scalar`](super::Scalar)
//! does; nothing is ever added across lanes. Whether the processor has a vector unit is for the
//! operating system to say, so it is the caller's task to find out; `demask-std` does it once.
//!
//! | file | what it does |
//! |---|---|
//! | `prepared` | quantizes activations into the order of the vector units |
//! | `scales` | loads the scales of a cell, with or without minima |
//! | `blocked` | cuts a product into blocks of outputs and tiles of rows |
//! | `eight_lanes` | what `avx2` and `avx_vnni` share |
//! | `attention` | attention scores of sixteen slots |
//! | `values` | attention values of six rows |
//! | `avx512_vnni` | sixteen lanes, sums in registers |
//! | `amx` | tiles, with an activation order of its own |
#![allow(unsafe_code)]

mod amx;
mod attention;
mod avx2;
mod avx512_vnni;
mod avx_vnni;
mod blocked;
mod eight_lanes;
mod prepared;
mod scales;
mod values;

pub use amx::Amx;
pub use avx_vnni::AvxVnni;
pub use avx2::Avx2;
pub use avx512_vnni::Avx512Vnni;
