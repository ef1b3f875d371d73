//! Which kernels this processor can run.
//!
//! ```
//! use demask::Kernels;
//! use demask_std::detect::{Choice, WithKernels, with_kernels};
//!
//! struct Name;
//! impl WithKernels for Name {
//!     type Output = &'static str;
//!     fn run<K: Kernels + 'static>(self, _: K) -> &'static str {
//!         K::NAME
//!     }
//! }
//! assert_eq!(with_kernels(Choice::Scalar, Name).unwrap(), "scalar");
//! println!("fastest here: {}", with_kernels(Choice::Auto, Name).unwrap());
//! ```
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod amx;

#[cfg(target_arch = "aarch64")]
use demask::kernels::aarch64::{DotProd, I8mm, Neon};
#[cfg(target_arch = "x86_64")]
use demask::kernels::x86_64::{Amx, Avx2, Avx512Vnni, AvxVnni};
use demask::packed::Layout;
use demask::{Kernels, Scalar};
use std::fmt;
use std::str::FromStr;

/// The kernels that the user asks for. All give the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Choice {
    /// The fastest that the processor has.
    #[default]
    Auto,
    /// Plain Rust, for any processor.
    Scalar,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX2 and the byte products of AVX-VNNI.
    AvxVnni,
    /// x86-64 with AVX-512 and its byte products.
    Avx512Vnni,
    /// x86-64 with AVX-512 and the tile unit for bytes.
    Amx,
    /// Any 64-bit Arm processor.
    Neon,
    /// 64-bit Arm with dot products.
    DotProd,
    /// 64-bit Arm with dot and matrix products of bytes.
    I8mm,
}

impl Choice {
    /// Every choice, in the order of a help text.
    pub const ALL: [Self; 9] = [
        Self::Auto,
        Self::Scalar,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Amx,
        Self::Neon,
        Self::DotProd,
        Self::I8mm,
    ];

    /// What [`Choice::Auto`] tries, one after the other.
    const FASTEST_FIRST: [Self; 8] = [
        Self::Amx,
        Self::Avx512Vnni,
        Self::AvxVnni,
        Self::Avx2,
        Self::I8mm,
        Self::DotProd,
        Self::Neon,
        Self::Scalar,
    ];

    /// Name as the command line spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Scalar => Scalar::NAME,
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Amx => "amx",
            Self::Neon => "neon",
            Self::DotProd => "dotprod",
            Self::I8mm => "i8mm",
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Choice {
    type Err = DetectError;

    fn from_str(name: &str) -> Result<Self, DetectError> {
        let found = Self::ALL.into_iter().find(|choice| choice.name() == name);
        found.ok_or_else(|| DetectError::Unknown(name.to_owned()))
    }
}

/// Why kernels cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetectError {
    /// No such name.
    #[error("there are no kernels called {0:?}; use one of: {names}", names = names())]
    Unknown(String),
    /// The processor, the operating system or this build cannot run them.
    #[error("{kernels} cannot run here, it needs {missing}; use `auto` or `scalar`")]
    Missing {
        /// What was asked for.
        kernels: &'static str,
        /// What there would have to be.
        missing: String,
    },
}

fn names() -> String {
    Choice::ALL.map(Choice::name).join(", ")
}

/// The order of weights that the fastest kernels of this processor read.
#[must_use]
pub fn native_layout() -> Layout {
    struct Reads;
    impl WithKernels for Reads {
        type Output = Layout;
        fn run<K: Kernels + 'static>(self, _: K) -> Layout {
            if K::READS_ANY_LAYOUT { Layout::default() } else { K::LAYOUT }
        }
    }
    with_kernels(Choice::Auto, Reads).unwrap_or_default()
}

/// Whether the fastest kernels of this processor read [`Format::Q5`](demask::packed::Format::Q5).
#[must_use]
pub fn native_five_bits() -> bool {
    struct Reads;
    impl WithKernels for Reads {
        type Output = bool;
        fn run<K: Kernels + 'static>(self, _: K) -> bool {
            K::READS_Q5
        }
    }
    with_kernels(Choice::Auto, Reads).unwrap_or_default()
}

/// Code that is compiled once for each kind of kernels.
pub trait WithKernels {
    /// What it results in.
    type Output;

    /// Runs with `kernels`.
    fn run<K: Kernels + 'static>(self, kernels: K) -> Self::Output;
}

/// Runs `code` with the kernels chosen.
///
/// # Errors
/// [`DetectError::Missing`] if the processor cannot run them.
pub fn with_kernels<C: WithKernels>(choice: Choice, code: C) -> Result<C::Output, DetectError> {
    let chosen = match choice {
        Choice::Auto => available().first().copied().unwrap_or(Choice::Scalar),
        chosen => chosen,
    };
    match chosen {
        Choice::Auto | Choice::Scalar => Ok(code.run(Scalar)),
        #[cfg(target_arch = "x86_64")]
        Choice::Avx2 => avx2().map(|kernels| code.run(kernels)),
        #[cfg(target_arch = "x86_64")]
        Choice::AvxVnni => avx_vnni().map(|kernels| code.run(kernels)),
        #[cfg(target_arch = "x86_64")]
        Choice::Avx512Vnni => avx512_vnni().map(|kernels| code.run(kernels)),
        #[cfg(target_arch = "x86_64")]
        Choice::Amx => amx().map(|kernels| code.run(kernels)),
        #[cfg(not(target_arch = "x86_64"))]
        Choice::Avx2 | Choice::AvxVnni | Choice::Avx512Vnni | Choice::Amx => {
            Err(missing(chosen, &["an x86-64 build"]))
        }
        #[cfg(target_arch = "aarch64")]
        Choice::Neon => Ok(code.run(Neon::new())),
        #[cfg(target_arch = "aarch64")]
        Choice::DotProd => dot_prod().map(|kernels| code.run(kernels)),
        #[cfg(target_arch = "aarch64")]
        Choice::I8mm => i8mm().map(|kernels| code.run(kernels)),
        #[cfg(not(target_arch = "aarch64"))]
        Choice::Neon | Choice::DotProd | Choice::I8mm => {
            Err(missing(chosen, &["a build for 64-bit Arm"]))
        }
    }
}

/// The choices that this processor can run, fastest first.
#[must_use]
pub fn available() -> Vec<Choice> {
    struct Nothing;
    impl WithKernels for Nothing {
        type Output = ();
        fn run<K: Kernels + 'static>(self, _: K) {}
    }
    let concrete = Choice::FASTEST_FIRST.into_iter();
    concrete.filter(|&choice| with_kernels(choice, Nothing).is_ok()).collect()
}

/// `Ok` if all `features`, named, are there.
fn require(choice: Choice, features: &[(&'static str, bool)]) -> Result<(), DetectError> {
    let lacking = features.iter().filter(|(_, there)| !there).map(|(name, _)| *name);
    let lacking: Vec<_> = lacking.collect();
    if lacking.is_empty() { Ok(()) } else { Err(missing(choice, &lacking)) }
}

fn missing(choice: Choice, what: &[&str]) -> DetectError {
    DetectError::Missing { kernels: choice.name(), missing: what.join(" and ") }
}

/// Each named with whether the processor has it and the operating system has enabled it.
#[cfg(target_arch = "x86_64")]
macro_rules! features {
    ($($label:literal: $name:tt),* $(,)?) => { [$(($label, is_x86_feature_detected!($name))),*] };
}

/// AVX2 kernels.
///
/// # Errors
/// [`DetectError::Missing`].
#[cfg(target_arch = "x86_64")]
pub fn avx2() -> Result<Avx2, DetectError> {
    require(Choice::Avx2, &features!("AVX2": "avx2", "F16C": "f16c"))?;
    // SAFETY: all are there.
    Ok(unsafe { Avx2::new_unchecked() })
}

/// AVX-VNNI kernels.
///
/// # Errors
/// [`DetectError::Missing`].
#[cfg(target_arch = "x86_64")]
pub fn avx_vnni() -> Result<AvxVnni, DetectError> {
    let features = features!("AVX-VNNI": "avxvnni", "AVX2": "avx2", "F16C": "f16c");
    require(Choice::AvxVnni, &features)?;
    // SAFETY: all are there.
    Ok(unsafe { AvxVnni::new_unchecked() })
}

#[cfg(target_arch = "x86_64")]
fn avx512_features() -> [(&'static str, bool); 5] {
    features!(
        "AVX-512 F": "avx512f",
        "AVX-512 BW": "avx512bw",
        "AVX-512 VNNI": "avx512vnni",
        "AVX2": "avx2",
        "F16C": "f16c",
    )
}

/// AVX-512 VNNI kernels.
///
/// # Errors
/// [`DetectError::Missing`].
#[cfg(target_arch = "x86_64")]
pub fn avx512_vnni() -> Result<Avx512Vnni, DetectError> {
    require(Choice::Avx512Vnni, &avx512_features())?;
    // SAFETY: all are there.
    Ok(unsafe { Avx512Vnni::new_unchecked() })
}

/// AMX kernels. The first call asks the operating system for permission to use tiles, for the whole
/// process.
///
/// # Errors
/// [`DetectError::Missing`].
#[cfg(target_arch = "x86_64")]
pub fn amx() -> Result<Amx, DetectError> {
    require(Choice::Amx, &amx::features())?;
    require(Choice::Amx, &avx512_features())?;
    require(Choice::Amx, &features!("GFNI": "gfni"))?;
    let refused = "permission to use AMX tiles, refused by the kernel";
    require(Choice::Amx, &[(refused, amx::permitted())])?;
    // SAFETY: all are there.
    Ok(unsafe { Amx::new_unchecked() })
}

/// Kernels with dot products.
///
/// # Errors
/// [`DetectError::Missing`].
#[cfg(target_arch = "aarch64")]
pub fn dot_prod() -> Result<DotProd, DetectError> {
    let there = std::arch::is_aarch64_feature_detected!("dotprod");
    require(Choice::DotProd, &[("dot products (FEAT_DotProd)", there)])?;
    // SAFETY: they are there, and detection includes the operating system's support.
    Ok(unsafe { DotProd::new_unchecked() })
}

/// Kernels with dot and matrix products.
///
/// # Errors
/// [`DetectError::Missing`].
#[cfg(target_arch = "aarch64")]
pub fn i8mm() -> Result<I8mm, DetectError> {
    let dot_products = std::arch::is_aarch64_feature_detected!("dotprod");
    let matrix_products = std::arch::is_aarch64_feature_detected!("i8mm");
    let features = [
        ("dot products (FEAT_DotProd)", dot_products),
        ("matrix products (FEAT_I8MM)", matrix_products),
    ];
    require(Choice::I8mm, &features)?;
    // SAFETY: as above.
    Ok(unsafe { I8mm::new_unchecked() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for choice in Choice::ALL {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let error = Choice::from_str("mmx").unwrap_err().to_string();
        assert!(error.contains("auto, scalar, avx2, avx-vnni, avx512-vnni, amx"), "{error}");
    }

    #[test]
    fn scalar_is_always_there_and_last() {
        assert_eq!(available().last(), Some(&Choice::Scalar));
    }

    #[test]
    fn says_what_is_missing() {
        let features = [("AVX2", false), ("X", true), ("F16C", false)];
        let error = require(Choice::Avx2, &features).unwrap_err();
        assert_eq!(
            error.to_string(),
            "avx2 cannot run here, it needs AVX2 and F16C; use `auto` or `scalar`"
        );
        assert_eq!(require(Choice::Avx2, &[("X", true)]), Ok(()));
    }
}
