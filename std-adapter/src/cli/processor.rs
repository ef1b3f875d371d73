//! Processors as the command line names them: each reads weights in one order.

use crate::detect::{native_five_bits, native_layout};
use clap::ValueEnum;
use demask::packed::Layout;

/// What an image is packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Processor {
    /// Any x86-64
    #[value(name = "x86-64", alias = "x86_64")]
    X86,
    /// WebAssembly
    Wasm,
    /// aarch64 without the i8mm extension: Raspberry Pi 3 to 5
    Aarch64,
    /// aarch64 with the i8mm extension
    Aarch64I8mm,
    /// Cortex-M4, M7, M33, M35P
    #[value(name = "cortex-m4", aliases = ["cortex-m4f", "cortex-m7", "cortex-m33"])]
    CortexM4,
    /// Cortex-M55, M85
    #[value(name = "cortex-m55", alias = "cortex-m85")]
    CortexM55,
    /// Cortex-M0, M0+, M3, M23
    #[value(name = "cortex-m0", aliases = ["cortex-m0plus", "cortex-m3", "cortex-m23"])]
    CortexM0,
    /// RISC-V without a float unit
    Rv32,
    /// RISC-V with vectors
    RiscvV,
}

impl Processor {
    /// The order of weights that its kernels read.
    pub(super) fn layout(self) -> Layout {
        match self {
            Self::X86 | Self::Wasm | Self::RiscvV => Layout::Rows16,
            Self::Aarch64 => Layout::Rows4,
            Self::Aarch64I8mm => Layout::Rows4x8,
            Self::CortexM4 => Layout::Dsp,
            Self::CortexM55 => Layout::Helium,
            Self::CortexM0 | Self::Rv32 => Layout::Words,
        }
    }
}

/// The order of weights for a processor, or for the one that this runs on.
pub(super) fn layout_for(processor: Option<Processor>) -> Layout {
    processor.map_or_else(native_layout, Processor::layout)
}

/// Whether the kernels of a processor, or of the one that this runs on, read q5.
pub(super) fn five_bits_for(processor: Option<Processor>) -> bool {
    processor.map_or_else(native_five_bits, |processor| processor == Processor::X86)
}

/// The processors of a layout, for people.
pub(super) fn processors(layout: Layout) -> &'static str {
    match layout {
        Layout::Rows16 => "x86-64, WebAssembly, RISC-V vectors",
        Layout::Rows4 => "aarch64",
        Layout::Rows4x8 => "aarch64 with i8mm",
        Layout::Dsp => "Cortex-M4, M7, M33",
        Layout::Helium => "Cortex-M55, M85",
        Layout::Words => "Cortex-M0+, M3, RV32",
        _ => "other processors",
    }
}
