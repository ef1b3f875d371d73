//! Names the kernels that the target is sure to run, as `cfg(demask_kernels = "...")`, and the layout
//! that they read, for build scripts that pack images.
//!
//! On Cortex-M the compiler does not tell: `cfg(target_feature = "dsp")` and `"mve"` are never set on
//! stable Rust. The target triple does, and where it leaves a choice (Armv8-M), a cargo feature.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-check-cfg=cfg(demask_kernels, values(\"thumb1\", \"thumb2\", \"dsp\", \"helium\", \"integer\", \"neon\"))"
    );
    println!("cargo::rustc-check-cfg=cfg(demask_native, demask_armv8m)");
    let target = env::var("TARGET").unwrap_or_default();
    let feature = |name| env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    let kernels = kernels(&target, feature("DSP"), feature("HELIUM"));
    // Build scripts of crates that depend on this one see it as DEP_DEMASK_LAYOUT.
    println!("cargo::metadata=layout={}", layout(kernels));
    println!("cargo::rustc-env=DEMASK_LAYOUT={}", layout(kernels));
    if let Some(kernels) = kernels {
        println!("cargo::rustc-cfg=demask_kernels=\"{kernels}\"");
        println!("cargo::rustc-cfg=demask_native");
        if target.starts_with("thumbv8m") {
            println!("cargo::rustc-cfg=demask_armv8m");
        }
    }
}

/// The kernels for a target.
fn kernels(target: &str, dsp: bool, helium: bool) -> Option<&'static str> {
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
        "riscv32i" | "riscv32im" | "riscv32imc" | "riscv32imac" => Some("integer"),
        "aarch64" => Some("neon"),
        _ => None,
    }
}

/// The name of the layout that the kernels read; `src/kernels/native.rs` makes sure of it.
fn layout(kernels: Option<&str>) -> &'static str {
    match kernels {
        Some("dsp") => "dsp",
        Some("helium") => "helium",
        Some("thumb1" | "thumb2" | "integer") => "words",
        Some("neon") => "rows4",
        _ => "rows16",
    }
}
