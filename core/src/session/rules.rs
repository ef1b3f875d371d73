//! The rules that hold for every policy: what is legal, that each pass makes progress, that there is an
//! end.

use super::{Session, SessionError};
use crate::cache::CachePlan;
use crate::decode::{Commit, CommitPolicy, Edit, EosPolicy, Insertion, Needs, Schedule, StepView};
use crate::model::{Model, Vocabulary};
use crate::pieces::{move_down, move_up};

/// Passes over a block without masks that a policy may ask for.
pub const MAX_POST_STEPS: usize = 16;

/// What a step may do.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// Of the policy.
    pub(super) needs: Needs,
    /// The policy brings itself to an end, and until then may take back more than it commits, or decide
    /// nothing.
    pub(super) free: bool,
    /// The block has had its passes: everything left is committed now, and nothing is taken back.
    pub(super) capped: bool,
}

impl Rules {
    /// Drops what is illegal and adds what is needed to get on.
    #[inline(always)] // so that firmware has only what its policy needs
    pub(super) fn enforce(
        self,
        view: &StepView<'_>,
        edit: &mut Edit<'_>,
        vocabulary: Vocabulary,
    ) -> Result<(), SessionError> {
        edit.retain(|commit| is_legal(commit, view, vocabulary));
        if self.needs.include(Needs::REVISIONS) {
            self.keep_legal_revisions(view, edit, vocabulary);
        } else {
            edit.limit_revisions(0);
        }
        let masks = view.candidates().next().is_some();
        let grows = self.needs.include(Needs::RESIZING) && edit.insertion().is_some();
        let idle = edit.commits().is_empty() && !grows && !self.free;
        if masks && (self.capped || idle) {
            edit.clear_commits();
            if self.needs.include(Needs::REVISIONS) {
                // One for each token: more are repetitions, and would take the room of commits.
                let tokens = view.canvas.iter().filter(|token| **token != view.mask_id);
                edit.limit_revisions(tokens.count());
            }
            let limit = if self.capped { usize::MAX } else { 1 };
            for score in view.candidates() {
                let best = view.proposed(score);
                if is_legal(&best, view, vocabulary) {
                    edit.offer(best, limit);
                }
            }
            if self.capped && edit.commits().is_empty() {
                return Err(SessionError::NoProgress);
            }
        }
        Ok(())
    }

    /// Only what was a mask at the start is revised, and fewer tokens become masks than masks become
    /// tokens.
    fn keep_legal_revisions(
        self,
        view: &StepView<'_>,
        edit: &mut Edit<'_>,
        vocabulary: Vocabulary,
    ) {
        let mut room = match (self.capped, self.free) {
            (true, _) => 0,
            (false, true) => usize::MAX,
            (false, false) => edit.commits().len().saturating_sub(1),
        };
        edit.retain_revisions(|revision| {
            let now = view.canvas.get(revision.position as usize);
            let changes = now.is_some_and(|now| *now != view.mask_id && *now != revision.token);
            let legal =
                changes && view.is_open(revision.position) && revision.token < vocabulary.size;
            if legal && revision.token == view.mask_id {
                let fits = room > 0;
                room = room.saturating_sub(1);
                return fits;
            }
            legal
        });
    }
}

/// Whether a commit turns a mask into a token. Whatever a policy asks for, nothing else happens.
#[inline(never)] // asked in two places
fn is_legal(commit: &Commit, view: &StepView<'_>, vocabulary: Vocabulary) -> bool {
    view.is_mask(commit.position)
        && commit.token != vocabulary.mask_id
        && commit.token < vocabulary.size
}

/// Writes legal decisions into the canvas.
pub(super) fn apply(decisions: &[Commit], canvas: &mut [u32]) {
    for decision in decisions {
        if let Some(slot) = canvas.get_mut(decision.position as usize) {
            *slot = decision.token;
        }
    }
}

/// How a step changes the length of the canvas.
#[derive(Clone, Copy, Default)]
pub(super) struct Resizing {
    pub(super) insertion: Option<Insertion>,
    pub(super) end: Option<usize>,
}

impl<M, P, S, X, C> Session<'_, M, P, S, X, C>
where
    M: Model,
    P: CommitPolicy,
    S: Schedule,
    X: EosPolicy,
    C: CachePlan,
{
    /// Lets the canvas grow or end earlier, within its memory.
    pub(super) fn resize(&mut self, resizing: Resizing) {
        if let Some(insertion) = resizing.insertion {
            self.insert(insertion);
        }
        if let Some(end) = resizing.end {
            // The prompt stays.
            self.len = self.len.min(end.max(self.region.start));
            self.region.end = self.region.end.min(self.len);
            self.block = self.block.start.min(self.len)..self.block.end.min(self.len);
        }
    }

    fn insert(&mut self, insertion: Insertion) {
        let Insertion { position, count, token } = insertion;
        let count = count.min(self.slots().saturating_sub(self.len));
        let inside = (self.region.start..=self.len).contains(&position);
        if count == 0 || !inside || token >= self.vocabulary.size {
            return;
        }
        let len = self.len + count;
        let (memory, end) = (&mut self.memory, position + count);
        let canvas = memory.canvas.get_mut(..len).unwrap_or_default();
        let open = memory.open.get_mut(..len).unwrap_or_default();
        move_up(canvas, position, count);
        move_up(open, position, count);
        canvas.get_mut(position..end).unwrap_or_default().fill(token);
        open.get_mut(position..end).unwrap_or_default().fill(1);
        self.len = len;
        self.region.end += count;
        // What grows gets the passes for it.
        self.candidates_at_block_start = self.candidates_at_block_start.saturating_add(count);
        if position < self.block.start {
            self.block = self.block.start + count..self.block.end + count;
        }
        // The only block is the whole answer; one of several has the planned length.
        let own = if self.blocks > 1 { self.options.block_length } else { usize::MAX };
        let end = self.block.start.saturating_add(own).min(self.region.end);
        self.block.end = self.block.end.max(end);
    }

    /// Tokens that have left the front of the canvas do not come back.
    pub(super) fn leave(&mut self, keep: usize, drop: usize) {
        let canvas = self.memory.canvas.get_mut(..self.len).unwrap_or_default();
        let open = self.memory.open.get_mut(..canvas.len()).unwrap_or_default();
        move_down(canvas, keep, drop);
        move_down(open, keep, drop);
        let freed = canvas.len().saturating_sub(drop);
        canvas.get_mut(freed..).unwrap_or_default().fill(self.vocabulary.mask_id);
        open.get_mut(freed..).unwrap_or_default().fill(1);
    }
}
