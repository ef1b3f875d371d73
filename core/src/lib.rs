//! demask runs masked-diffusion language models without an operating system and without a heap,
//! and gives the same answer, bit for bit, on every target.
//!
//! # Tour
//!
//! Data reads downward; a module knows only what stands above it:
//!
//! | module | from | to |
//! |---|---|---|
//! | [`image`] | bytes of a `.dmk` file, in flash, RAM or a mapped file | checked views |
//! | [`packed`] | a tensor's bytes | interleaved 4/8-bit cells |
//! | [`kernels`] | cells and quantized activations | matrix products, for one instruction set |
//! | [`exec`] | a range of rows | pieces for workers |
//! | `layers` | rows | norm, rotary positions, attention, feed-forward, head |
//! | [`cache`] | keys and values | a fixed ring of slots, one per position |
//! | [`forward`] | a canvas | scores of its masks: [`Engine`] |
//! | [`decode`] | scores | commits: policies, schedules, end of text |
//! | [`session`] | a prompt | a finished canvas, step by step: [`Session`] |
//! | [`text`] | a string, tokens | tokens, a string |
//!
//! [`Plan`] says how many bytes a model needs within given limits, and divides the caller's memory.
//! [`Trace`] reports every decision, [`Checksum`] sums up every score. [`math`] holds the float
//! functions that keep all targets in step.
//!
//! # Example
//!
//! ```no_run
//! use demask::decode::Threshold;
//! use demask::image::ModelImage;
//! use demask::{Engine, Limits, Method, NATIVE, Options, Plan, Serial, Session};
//!
//! fn answer(
//!     image: &[u8],       // 64-byte aligned; stays where it is
//!     memory: &mut [u8],  // 16-byte aligned, Plan::bytes() long
//! ) -> Result<u64, Box<dyn core::error::Error>> {
//!     let image = ModelImage::parse(image)?;
//!     let plan = Plan::new(image.config(), &Limits { canvas: 96, tile: 8, layout: image.layout(), workers: 1 })?;
//!     let (for_engine, for_session) = plan.carve(memory)?;
//!     let engine = Engine::new(&image, for_engine, NATIVE, Serial)?;
//!
//!     let mut session = Session::new(engine, for_session, Method::with_policy(Threshold(0.9)));
//!     session.begin(&[2, 17, 42, 3], 56, Options::one_block(56))?;
//!     session.run(&mut ())?;
//!     Ok(session.checksum().value())
//! }
//! ```
#![no_std]
#![deny(unsafe_code)]
// A device has nobody to read a panic message: release firmware is linked without any panic path.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

#[cfg(any(test, feature = "kernel-check", feature = "alloc"))]
extern crate alloc;
#[cfg(any(test, feature = "kernel-check-std"))]
extern crate std;

#[cfg(target_endian = "big")]
compile_error!(
    "demask images are little-endian and read in place; big-endian targets would need a copy"
);

pub mod cache;
mod checksum;
pub mod decode;
pub mod exec;
pub mod forward;
pub mod image;
pub mod kernels;
mod layers;
pub mod math;
mod memory;
mod model;
pub mod packed;
mod pieces;
mod plan;
mod rows;
pub mod session;
pub mod text;
mod trace;

pub use checksum::Checksum;
pub use exec::{Executor, Serial};
pub use forward::{Engine, EngineError};
pub use image::ModelImage;
pub use kernels::{Kernels, NATIVE, Native, Scalar};
pub use memory::{EngineMemory, SessionMemory};
pub use model::{ForwardError, Model, Pass, Visible, Vocabulary};
pub use plan::{Limits, MEMORY_ALIGN, Parts, Plan, PlanError};
pub use session::{MAX_POST_STEPS, Method, Options, Progress, Session, SessionError};
pub use trace::{StepEvent, Trace};
