//! A release build holds no panic path, and the linker proves it: the handler calls a function that
//! does not exist, so linking fails ("undefined symbol: demask_panic_is_reachable") as long as any
//! panic is left after optimization. A debug build prints that it panicked, and stops.

use core::panic::PanicInfo;

#[cfg(not(debug_assertions))]
#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    unsafe extern "C" {
        fn demask_panic_is_reachable() -> !;
    }
    // SAFETY: a program that contains this call does not link, so it is never made.
    unsafe { demask_panic_is_reachable() }
}

#[cfg(debug_assertions)]
#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    use demask_firmware_demo::Console as _;

    let mut board = crate::board::Machine::new();
    board.text("panic");
    if let Some(place) = info.location() {
        board.text(" at ");
        board.text(place.file());
        board.text(":");
        board.number(u64::from(place.line()));
    }
    board.text("\n");
    crate::board::exit(101)
}
