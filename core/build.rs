//! Names the kernels that the target is sure to run, as `cfg(demask_kernels = "...")`.
//!
//! On Cortex-M and RISC-V the compiler does not tell: `cfg(target_feature = "dsp")`, `"mve"` and `"v"`
//! are never set on stable Rust. The target triple does, and where it leaves a choice (Armv8-M,
//! RISC-V), a cargo feature.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-check-cfg=cfg(demask_kernels, values(\"thumb1\", \"thumb2\", \"dsp\", \"helium\", \"rvv\"))"
    );
    let target = env::var("TARGET").unwrap_or_default();
    let feature = |name| env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    if let Some(kernels) = kernels(&target, feature("DSP"), feature("HELIUM"), feature("RVV")) {
        println!("cargo::rustc-cfg=demask_kernels=\"{kernels}\"");
    }
}

/// The kernels for a Cortex-M or RISC-V target.
fn kernels(target: &str, dsp: bool, helium: bool, rvv: bool) -> Option<&'static str> {
    let (arch, rest) = target.split_once('-')?;
    let float_unit = rest.ends_with("eabihf");
    match arch {
        "thumbv6m" | "thumbv8m.base" => Some("thumb1"),
        "thumbv7m" => Some("thumb2"),
        // Armv7E-M has the DSP instructions in any case.
        "thumbv7em" if float_unit => Some("dsp"),
        "thumbv8m.main" if float_unit && helium => Some("helium"),
        "thumbv8m.main" if float_unit && dsp => Some("dsp"),
        "thumbv7em" | "thumbv8m.main" => Some("thumb2"),
        "riscv32imafc" | "riscv32gc" | "riscv64gc" | "riscv64a23" if rvv => Some("rvv"),
        _ => None,
    }
}
