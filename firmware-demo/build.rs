//! Packs the model image for the target, for `include_bytes!`, and gives the linker the memory map of
//! the machine.

use demask::packed::Layout;
use demask_quant::{ImageBuffer, repack};
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
    match packed(&path) {
        Ok(image) => {
            let copy = out_folder().join("model.dmk");
            fs::write(&copy, image.bytes()).expect("OUT_DIR can be written to");
            println!("cargo::rustc-env=DEMASK_IMAGE_PATH={}", copy.display());
        }
        Err(problem) => println!("cargo::error={}: {problem}", path.display()),
    }
}

/// The image as the kernels of the target read it, whatever it was packed for.
fn packed(path: &Path) -> Result<ImageBuffer, Box<dyn std::error::Error>> {
    // The build script of demask says this of the target; the script itself runs on the host.
    let name = env::var("DEP_DEMASK_LAYOUT")?;
    let layout = Layout::ALL.into_iter().find(|layout| layout.name() == name);
    let mut image =
        ImageBuffer::copy_of(&fs::read(path)?).ok_or("there is no memory for the image")?;
    repack(image.bytes_mut(), layout.ok_or("demask names an unknown layout")?)?;
    Ok(image)
}

fn out_folder() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"))
}

/// Copies the memory map, `DEMASK_MEMORY` or that of the emulated machine, to where the linker
/// scripts of cortex-m-rt and riscv-rt look for `memory.x`.
fn memory_map() {
    println!("cargo::rerun-if-env-changed=DEMASK_MEMORY");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let map = match (env::var("DEMASK_MEMORY"), arch.as_str()) {
        (Ok(map), _) => map,
        (_, "arm") => "memory/mps2.x".into(),
        (_, "riscv32") => "memory/virt.x".into(),
        _ => {
            println!("cargo::error=no memory map for {arch}: name one in DEMASK_MEMORY");
            return;
        }
    };
    println!("cargo::rerun-if-changed={map}");
    let out = out_folder();
    if let Err(problem) = fs::copy(&map, out.join("memory.x")) {
        println!("cargo::error=memory map {map} (seen from firmware-demo/): {problem}");
        return;
    }
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    // Without page alignment between sections, flash holds no padding.
    println!("cargo::rustc-link-arg-bins=--nmagic");
}
