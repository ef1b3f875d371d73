//! WebAssembly: `run.mjs` calls `run` and provides the console.

#[link(wasm_import_module = "console")]
unsafe extern "C" {
    #[link_name = "write"]
    fn console_write(bytes: *const u8, len: usize);
}

/// The whole program. Returns if all is well, else traps.
#[unsafe(no_mangle)]
extern "C" fn run() {
    crate::run();
}

pub(crate) fn write(bytes: &[u8]) {
    // SAFETY: the console reads the bytes before it returns.
    unsafe { console_write(bytes.as_ptr(), bytes.len()) };
}

/// Ends the program as a trap does; the status is lost.
pub(crate) fn exit(_: u32) -> ! {
    core::arch::wasm32::unreachable()
}
