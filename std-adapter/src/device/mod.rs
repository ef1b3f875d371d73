//! What a device or an emulator has printed, compared with the same decode on this computer.
//!
//! [`DeviceLog::parse`] finds the answers in a log, whatever else is in it; [`compare`] names the first
//! difference to a [`HostAnswer`]. The lines are those of `firmware-demo/`; `docs/porting.md` has their
//! format.

mod compare;
mod difference;
mod log;
mod record;
mod sentence;

pub use compare::{Finding, HostAnswer, compare};
pub use difference::{Difference, Kind};
pub use log::{Answer, DeviceLog, ImageLine};

use demask::StepEvent;
use serde::Serialize;

/// One step of a decode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// Number of the forward pass, from 0.
    pub number: u32,
    /// Commits, best first, then what was taken back or replaced.
    pub decisions: Vec<Decision>,
    /// Checksum over all steps up to this one.
    pub checksum: u64,
}

impl Step {
    /// The decisions of a step. The session knows its checksum when the step is over.
    #[must_use]
    pub fn of(event: &StepEvent<'_>, mask_id: u32) -> Self {
        let commits = event.commits.iter().map(|commit| Decision {
            position: commit.position,
            change: Change::Committed(commit.token),
        });
        let revisions = event.revisions.iter().map(|revision| Decision {
            position: revision.position,
            change: match revision.token == mask_id {
                true => Change::TakenBack,
                false => Change::Replaced(revision.token),
            },
        });
        Self { number: event.forward, decisions: commits.chain(revisions).collect(), checksum: 0 }
    }
}

/// What becomes of one position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Position in the canvas.
    pub position: u32,
    /// What happens to it.
    pub change: Change,
}

/// What a step does to a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A mask becomes this token.
    Committed(u32),
    /// A token becomes a mask again.
    TakenBack,
    /// A token is replaced by this one.
    Replaced(u32),
}
