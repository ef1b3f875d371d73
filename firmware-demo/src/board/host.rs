//! A computer with an operating system: the reference that the devices are compared with.

use demask_firmware_demo::{Board, Console, Count, run};
use std::io::Write as _;
use std::process::ExitCode;

struct Machine;

impl Console for Machine {
    fn write(&mut self, bytes: &[u8]) {
        // A closed pipe is no reason to stop: the exit status still tells how the run went.
        let _ = std::io::stdout().write_all(bytes);
    }
}

impl Board for Machine {
    const NAME: &'static str = "host";

    fn count(&mut self) -> Count {
        Count::Unavailable
    }
}

pub(crate) fn main() -> ExitCode {
    let status = run(&mut Machine, &crate::IMAGE.0, &crate::PLAN, crate::ARENA.take());
    ExitCode::from(status as u8)
}
