//! Tells the program which machine it is for (`DEMASK_MACHINE`), and the linker that machine's
//! memory. Without a machine the program is built for this computer.

use std::env;
use std::fs;
use std::path::PathBuf;

/// A machine of `run.sh`, the file in `src/board/` that it needs, and where code and data go on bare
/// metal. Memory maps are those of QEMU's models.
struct Machine {
    name: &'static str,
    board: &'static str,
    memory: Option<Memory>,
}

struct Memory {
    code: (u32, &'static str),
    ram: (u32, &'static str),
}

const fn machine(name: &'static str, board: &'static str, memory: Option<Memory>) -> Machine {
    Machine { name, board, memory }
}

/// mps2-an385, -an386 and -an500.
const MPS2: Option<Memory> = Some(Memory { code: (0, "4M"), ram: (0x2000_0000, "4M") });
/// mps2-an505 starts in the secure state: these are the secure addresses.
const MPS2_SECURE: Option<Memory> =
    Some(Memory { code: (0x1000_0000, "4M"), ram: (0x3800_0000, "4M") });
/// mps3-an547: the vectors must lie in the tightly coupled memory, of which there is 512 KiB.
const MPS3: Option<Memory> = Some(Memory { code: (0x1000_0000, "512K"), ram: (0x3100_0000, "4M") });
const VIRT: Option<Memory> = Some(Memory { code: (0x8000_0000, "16M"), ram: (0x8100_0000, "4M") });

const MACHINES: [Machine; 12] = [
    machine("m0", "cortex_m", MPS2),
    machine("m3", "cortex_m", MPS2),
    machine("m4f", "cortex_m", MPS2),
    machine("m7", "cortex_m", MPS2),
    machine("m33", "cortex_m", MPS2_SECURE),
    machine("m55", "cortex_m", MPS3),
    machine("rv32", "riscv", VIRT),
    machine("rv32v", "riscv", VIRT),
    machine("a64", "linux_aarch64", None),
    machine("wasm", "wasm", None),
    machine("wasm-simd", "wasm", None),
    machine("host", "host", None),
];

fn main() {
    println!("cargo::rerun-if-env-changed=DEMASK_MACHINE");
    let name = env::var("DEMASK_MACHINE").unwrap_or_else(|_| "host".into());
    let Some(machine) = MACHINES.iter().find(|machine| machine.name == name) else {
        println!("cargo::error=no machine named {name}: add it to MACHINES in build.rs");
        return;
    };
    cfg("machine", machine.name, MACHINES.iter().map(|machine| machine.name));
    cfg("board", machine.board, MACHINES.iter().map(|machine| machine.board));
    if let Some(memory) = &machine.memory {
        linker_script(memory);
    }
    if machine.board == "wasm" {
        println!("cargo::rustc-link-arg-bins=--export=run");
    }
}

fn cfg(key: &str, value: &str, values: impl Iterator<Item = &'static str>) {
    let values: Vec<String> = values.map(|value| format!("{value:?}")).collect();
    println!("cargo::rustc-check-cfg=cfg({key}, values({}))", values.join(", "));
    println!("cargo::rustc-cfg={key}={value:?}");
}

/// Writes the memory regions to where `memory/link.x` includes them from.
fn linker_script(memory: &Memory) {
    println!("cargo::rerun-if-changed=memory/link.x");
    let Memory { code, ram } = memory;
    let regions = format!(
        "MEMORY {{\n  CODE : ORIGIN = {:#x}, LENGTH = {}\n  RAM : ORIGIN = {:#x}, LENGTH = {}\n}}\n",
        code.0, code.1, ram.0, ram.1
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("regions.x"), regions).expect("OUT_DIR can be written to");
    fs::copy("memory/link.x", out.join("link.x")).expect("memory/link.x can be copied to OUT_DIR");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
}
