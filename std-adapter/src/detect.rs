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

#[cfg(target_arch = "aarch64")]
use demask::kernels::aarch64::{DotProd, I8mm, Neon};
#[cfg(target_arch = "x86_64")]
use demask::kernels::x86_64::{Avx2, Avx512Vnni};
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
    /// x86-64 with AVX-512 and its byte products.
    Avx512Vnni,
    /// Any 64-bit Arm processor.
    Neon,
    /// 64-bit Arm with dot products.
    DotProd,
    /// 64-bit Arm with dot and matrix products of bytes.
    I8mm,
}

impl Choice {
    /// Every choice, in the order of a help text.
    pub const ALL: [Self; 7] = [
        Self::Auto,
        Self::Scalar,
        Self::Avx2,
        Self::Avx512Vnni,
        Self::Neon,
        Self::DotProd,
        Self::I8mm,
    ];

    /// Name as the command line spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Scalar => Scalar::NAME,
            Self::Avx2 => "avx2",
            Self::Avx512Vnni => "avx512-vnni",
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
    /// The processor cannot run them.
    #[error("{kernels} needs {missing}, which this processor lacks; use `auto` or `scalar`")]
    Missing {
        /// What was asked for.
        kernels: &'static str,
        /// What the processor or this build would have to have.
        missing: String,
    },
}

fn names() -> String {
    Choice::ALL.map(Choice::name).join(", ")
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
    #[cfg(target_arch = "x86_64")]
    match choice {
        Choice::Auto => {
            if let Ok(kernels) = avx512_vnni() {
                return Ok(code.run(kernels));
            }
            if let Ok(kernels) = avx2() {
                return Ok(code.run(kernels));
            }
        }
        Choice::Scalar => {}
        Choice::Avx2 => return avx2().map(|kernels| code.run(kernels)),
        Choice::Avx512Vnni => return avx512_vnni().map(|kernels| code.run(kernels)),
        _ => return Err(other_build(choice)),
    }
    #[cfg(target_arch = "aarch64")]
    match choice {
        Choice::Auto => {
            if let Ok(kernels) = i8mm() {
                return Ok(code.run(kernels));
            }
            if let Ok(kernels) = dot_prod() {
                return Ok(code.run(kernels));
            }
            return Ok(code.run(Neon::new()));
        }
        Choice::Scalar => {}
        Choice::Neon => return Ok(code.run(Neon::new())),
        Choice::DotProd => return dot_prod().map(|kernels| code.run(kernels)),
        Choice::I8mm => return i8mm().map(|kernels| code.run(kernels)),
        _ => return Err(other_build(choice)),
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    if !matches!(choice, Choice::Auto | Choice::Scalar) {
        return Err(other_build(choice));
    }
    Ok(code.run(Scalar))
}

/// The choices that this processor can run, fastest first.
#[must_use]
pub fn available() -> Vec<Choice> {
    struct Nothing;
    impl WithKernels for Nothing {
        type Output = ();
        fn run<K: Kernels + 'static>(self, _: K) {}
    }
    let concrete = [
        Choice::Avx512Vnni,
        Choice::Avx2,
        Choice::I8mm,
        Choice::DotProd,
        Choice::Neon,
        Choice::Scalar,
    ];
    concrete.into_iter().filter(|&choice| with_kernels(choice, Nothing).is_ok()).collect()
}

/// AVX2 kernels.
///
/// # Errors
/// [`DetectError::Missing`].
#[cfg(target_arch = "x86_64")]
pub fn avx2() -> Result<Avx2, DetectError> {
    let features =
        [("AVX2", is_x86_feature_detected!("avx2")), ("F16C", is_x86_feature_detected!("f16c"))];
    if features.iter().any(|(_, present)| !present) {
        return Err(missing(Choice::Avx2, &features));
    }
    // SAFETY: both are there, and detection includes the operating system's support.
    Ok(unsafe { Avx2::new_unchecked() })
}

/// AVX-512 VNNI kernels.
///
/// # Errors
/// [`DetectError::Missing`].
#[cfg(target_arch = "x86_64")]
pub fn avx512_vnni() -> Result<Avx512Vnni, DetectError> {
    let features = [
        ("AVX-512 F", is_x86_feature_detected!("avx512f")),
        ("AVX-512 BW", is_x86_feature_detected!("avx512bw")),
        ("AVX-512 VNNI", is_x86_feature_detected!("avx512vnni")),
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("F16C", is_x86_feature_detected!("f16c")),
    ];
    if features.iter().any(|(_, present)| !present) {
        return Err(missing(Choice::Avx512Vnni, &features));
    }
    // SAFETY: all are there, and detection includes the operating system's support.
    Ok(unsafe { Avx512Vnni::new_unchecked() })
}

/// Kernels with dot products.
///
/// # Errors
/// [`DetectError::Missing`].
#[cfg(target_arch = "aarch64")]
pub fn dot_prod() -> Result<DotProd, DetectError> {
    let features = [("dotprod", std::arch::is_aarch64_feature_detected!("dotprod"))];
    if features.iter().any(|(_, present)| !present) {
        return Err(missing(Choice::DotProd, &features));
    }
    // SAFETY: it is there, and detection includes the operating system's support.
    Ok(unsafe { DotProd::new_unchecked() })
}

/// Kernels with dot and matrix products.
///
/// # Errors
/// [`DetectError::Missing`].
#[cfg(target_arch = "aarch64")]
pub fn i8mm() -> Result<I8mm, DetectError> {
    let features = [
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
    ];
    if features.iter().any(|(_, present)| !present) {
        return Err(missing(Choice::I8mm, &features));
    }
    // SAFETY: both are there, and detection includes the operating system's support.
    Ok(unsafe { I8mm::new_unchecked() })
}

/// Kernels that this build does not have.
fn other_build(choice: Choice) -> DetectError {
    let build = match choice {
        Choice::Neon | Choice::DotProd | Choice::I8mm => "a build for 64-bit Arm",
        _ => "an x86-64 build",
    };
    missing(choice, &[(build, false)])
}

fn missing(choice: Choice, features: &[(&str, bool)]) -> DetectError {
    let missing: Vec<_> =
        features.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    DetectError::Missing { kernels: choice.name(), missing: missing.join(" and ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for choice in Choice::ALL {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let error = Choice::from_str("abacus").unwrap_err().to_string();
        assert!(error.contains("auto, scalar, avx2, avx512-vnni"), "{error}");
    }

    #[test]
    fn scalar_is_always_there_and_last() {
        assert_eq!(available().last(), Some(&Choice::Scalar));
    }

    #[test]
    fn says_what_is_missing() {
        let error = missing(Choice::Avx2, &[("AVX2", false), ("X", true), ("F16C", false)]);
        assert_eq!(
            error.to_string(),
            "avx2 needs AVX2 and F16C, which this processor lacks; use `auto` or `scalar`"
        );
    }
}
