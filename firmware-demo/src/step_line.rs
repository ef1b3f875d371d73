//! What the feature `trace` prints of each step:
//!
//! ```text
//! step 3: 12=345 14=99 -17 -18=7 @0123456789abcdef
//! ```
//!
//! The number of the forward pass, from 0; `position=token` for each mask that became a token, best first;
//! `-position` for each token taken back; `-position=token` for each token replaced by another one; and
//! the checksum so far. `demask device-check` reads these lines; `docs/porting.md` has the whole format.

use crate::print::Console;
use demask::{Checksum, StepEvent};

/// The line up to the checksum, which the session knows when the step is over.
#[inline(never)]
pub fn decisions(console: &mut impl Console, event: &StepEvent<'_>, mask_id: u32) {
    console.text("step ");
    console.number(u64::from(event.forward));
    console.text(":");
    for commit in event.commits {
        console.text(" ");
        console.number(u64::from(commit.position));
        token(console, commit.token);
    }
    for revision in event.revisions {
        console.text(" -");
        console.number(u64::from(revision.position));
        if revision.token != mask_id {
            token(console, revision.token);
        }
    }
}

/// The rest of the line.
#[inline(never)]
pub fn checksum(console: &mut impl Console, checksum: Checksum) {
    console.text(" @");
    console.hex(checksum.value());
    console.text("\n");
}

fn token(console: &mut impl Console, id: u32) {
    console.text("=");
    console.number(u64::from(id));
}
