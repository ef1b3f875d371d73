//! Names the kernels that the target is sure to run, as `cfg(demask_kernels = "...")`, and the layout
//! that they read, for build scripts that pack images.
//!
//! On Cortex-M and RISC-V the compiler does not tell: `cfg(target_feature = "dsp")`, `"mve"` and `"v"`
//! are never set on stable Rust. The target triple does, and where it leaves a choice (Armv8-M,
//! RISC-V), a cargo feature.

use std::env;

/// Kernels and the layout that they read; `src/kernels/native.rs` makes sure of it.
const LAYOUTS: [(&str, &str); 8] = [
    ("thumb1", "words"),
    ("thumb2", "words"),
    ("integer", "words"),
    ("dsp", "dsp"),
    ("helium", "helium"),
    ("neon", "rows4"),
    ("rvv", "rows16"),
    ("simd128", "rows16"),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let names = LAYOUTS.map(|(kernels, _)| format!("{kernels:?}")).join(", ");
    println!("cargo::rustc-check-cfg=cfg(demask_kernels, values({names}))");
    println!("cargo::rustc-check-cfg=cfg(demask_native, demask_armv8m)");
    let target = env::var("TARGET").unwrap_or_default();
    let kernels = kernels(&target);
    let layout = LAYOUTS.iter().find(|(name, _)| Some(*name) == kernels);
    let layout = layout.map_or("rows16", |(_, layout)| layout);
    // Build scripts of crates that depend on this one see it as DEP_DEMASK_LAYOUT.
    println!("cargo::metadata=layout={layout}");
    println!("cargo::rustc-env=DEMASK_LAYOUT={layout}");
    if let Some(kernels) = kernels {
        println!("cargo::rustc-cfg=demask_kernels=\"{kernels}\"");
        println!("cargo::rustc-cfg=demask_native");
        if target.starts_with("thumbv8m") {
            println!("cargo::rustc-cfg=demask_armv8m");
        }
    }
}

/// The kernels for a target.
fn kernels(target: &str) -> Option<&'static str> {
    let feature = |name| env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    let told = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let has = |name| told.split(',').any(|feature| feature == name);
    let (arch, rest) = target.split_once('-')?;
    let float_unit = rest.ends_with("eabihf");
    match arch {
        "thumbv6m" | "thumbv8m.base" => Some("thumb1"),
        "thumbv7m" => Some("thumb2"),
        // Armv7E-M has the DSP instructions in any case.
        "thumbv7em" if float_unit => Some("dsp"),
        "thumbv8m.main" if float_unit && feature("HELIUM") => Some("helium"),
        "thumbv8m.main" if float_unit && feature("DSP") => Some("dsp"),
        "thumbv7em" | "thumbv8m.main" => Some("thumb2"),
        "riscv32i" | "riscv32im" | "riscv32imc" | "riscv32imac" => Some("integer"),
        "riscv32imafc" | "riscv32gc" | "riscv64gc" | "riscv64a23" if feature("RVV") => Some("rvv"),
        "aarch64" if has("neon") => Some("neon"),
        "wasm32" if has("simd128") => Some("simd128"),
        _ => None,
    }
}
