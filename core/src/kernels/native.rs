//! The kernels that every processor of the build target can run: what firmware uses.
//!
//! A computer's processor may be able to do more than its target promises; `demask-std` finds out.

use super::Kernels;

/// The fastest kernels that the build target guarantees. Images have to be packed in
/// [`Native::LAYOUT`](Kernels::LAYOUT); a build script finds its name in `DEP_DEMASK_LAYOUT`.
pub type Native = family::Native;

/// The token of [`Native`].
pub const NATIVE: Native = family::NATIVE;

#[cfg(demask_kernels = "dsp")]
mod family {
    pub(super) type Native = crate::kernels::arm::Dsp;
    pub(super) const NATIVE: Native = Native::new();
}

#[cfg(demask_kernels = "helium")]
mod family {
    pub(super) type Native = crate::kernels::arm::Helium;
    pub(super) const NATIVE: Native = Native::new();
}

#[cfg(any(demask_kernels = "thumb1", demask_kernels = "thumb2", demask_kernels = "integer"))]
mod family {
    pub(super) type Native = crate::kernels::integer::Integer;
    pub(super) const NATIVE: Native = Native::new();
}

#[cfg(demask_kernels = "neon")]
mod family {
    pub(super) type Native = crate::kernels::aarch64::Neon;
    pub(super) const NATIVE: Native = Native::new();
}

#[cfg(demask_kernels = "rvv")]
mod family {
    pub(super) type Native = crate::kernels::riscv_vector::Rvv;
    pub(super) const NATIVE: Native = Native::new();
}

#[cfg(demask_kernels = "simd128")]
mod family {
    pub(super) type Native = crate::kernels::wasm::Simd128;
    pub(super) const NATIVE: Native = Native::new();
}

#[cfg(not(demask_native))]
mod family {
    pub(super) type Native = crate::kernels::Scalar;
    pub(super) const NATIVE: Native = crate::kernels::Scalar;
}

const _: () = {
    let (name, told) = (Native::LAYOUT.name().as_bytes(), env!("DEMASK_LAYOUT").as_bytes());
    let (mut name, mut told) = (name, told);
    while let ([a, name_rest @ ..], [b, told_rest @ ..]) = (name, told) {
        assert!(*a == *b, "build.rs names another layout");
        (name, told) = (name_rest, told_rest);
    }
    assert!(name.is_empty() && told.is_empty(), "build.rs names another layout");
};
