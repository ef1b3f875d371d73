//! Names the model image for `include_bytes!`, and gives the linker the memory map of the machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The image that is built in unless `DEMASK_IMAGE` names another one.
const DEFAULT_IMAGE: &str = "../models/intents-q4.dmk";

fn main() {
    model_image();
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        memory_map();
    }
}

fn model_image() {
    println!("cargo::rerun-if-env-changed=DEMASK_IMAGE");
    let name = env::var("DEMASK_IMAGE").unwrap_or_else(|_| DEFAULT_IMAGE.into());
    let Ok(path) = Path::new(&name).canonicalize() else {
        println!(
            "cargo::error=no model image at {name} (seen from firmware-demo/); set DEMASK_IMAGE"
        );
        return;
    };
    println!("cargo::rerun-if-changed={}", path.display());
    println!("cargo::rustc-env=DEMASK_IMAGE_PATH={}", path.display());
}

/// Copies the machine's memory map to where the linker scripts of cortex-m-rt and riscv-rt look
/// for `memory.x`.
fn memory_map() {
    println!("cargo::rerun-if-changed=memory");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let map = match arch.as_str() {
        "arm" => "memory/mps2.x",
        "riscv32" => "memory/virt.x",
        _ => {
            println!("cargo::error=no memory map for {arch}: add one in memory/ and name it here");
            return;
        }
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy(map, out.join("memory.x")).expect("the memory map can be copied to OUT_DIR");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    // Without page alignment between sections, flash holds no padding.
    println!("cargo::rustc-link-arg-bins=--nmagic");
}
