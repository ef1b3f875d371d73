//! Instructions that this processor lacks, executed in software.
//!
//! AVX-VNNI's `vpdpbusd` and the AMX instructions of the kernels raise `SIGILL` where they do not
//! exist; the handler decodes them, does to the interrupted thread's registers and memory what the
//! manual says, and goes on behind them. What the manual forbids ends the process with a message.
//! Kernels for such a processor can then be tested on any x86-64 machine with Linux.

mod decode;
mod execute;

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    // Without a destructor and initialized in place: the handler may use it at any time.
    static EXECUTED: Cell<usize> = const { Cell::new(0) };
}

/// Instructions executed so far by this thread.
pub(crate) fn executed() -> usize {
    EXECUTED.get()
}

/// Executes missing instructions from now on, in all threads. False if the instructions do not
/// arrive here: the processor or the emulator below has them, or hides that it does not.
pub(crate) fn install() -> bool {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: all bytes zero are a valid action without flags; the handler is as the flag says.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_illegal_instruction as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            let result = libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut());
            assert_eq!(result, 0, "cannot handle SIGILL");
        }
    });
    let before = executed();
    // SAFETY: changes no state that Rust knows of.
    unsafe { std::arch::asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    executed() > before
}

extern "C" fn on_illegal_instruction(
    _: libc::c_int,
    _: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: what the kernel hands to a handler with SA_SIGINFO; nothing else uses it meanwhile.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let rip = context.uc_mcontext.gregs[libc::REG_RIP as usize];
    // SAFETY: the instruction pointer points to an instruction; the longest takes 15 bytes, and the
    // decoder reads no more than its prefix tells it to.
    let decoded = unsafe { decode::decode(rip as *const u8, &context.uc_mcontext.gregs) };
    match decoded {
        Some(instruction) => {
            EXECUTED.set(EXECUTED.get() + 1);
            execute::execute(&instruction, context);
            context.uc_mcontext.gregs[libc::REG_RIP as usize] += instruction.length;
        }
        // Whatever it is, it happens again and ends the process as it should.
        // SAFETY: the default action needs no handler.
        None => unsafe {
            libc::signal(libc::SIGILL, libc::SIG_DFL);
        },
    }
}
