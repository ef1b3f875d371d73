//! This computer: to try the program out, without counts.

use std::io::Write as _;

pub(crate) fn write(bytes: &[u8]) {
    // A closed pipe is no reason to stop: the exit status still tells how the run went.
    let _ = std::io::stdout().write_all(bytes);
}
