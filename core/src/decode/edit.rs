//! What a policy decides in one step.

use super::Score;
use bytemuck::{Pod, Zeroable};
use core::cell::Cell;

/// One decision: this position becomes this token.
#[derive(Debug, Clone, Copy, PartialEq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Commit {
    /// Position in the canvas.
    pub position: u32,
    /// Token that it becomes.
    pub token: u32,
    /// What the policy ranked it by.
    pub confidence: f32,
}

impl Commit {
    /// What a score proposes, ranked by its probability.
    #[must_use]
    #[inline(never)] // every policy asks, and flash is scarce
    pub fn proposed(score: &Score) -> Self {
        let Score { position, proposal, .. } = *score;
        Self { position, token: proposal, confidence: score.confidence() }
    }
}

/// Tokens put between others: the canvas grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insertion {
    /// What stands here, and all behind it, moves right.
    pub position: usize,
    /// Tokens to insert.
    pub count: usize,
    /// Each of them; usually the mask.
    pub token: u32,
}

/// The decisions of one step, in borrowed memory.
///
/// *Commits* turn masks into tokens. *Revisions* turn committed tokens into others or into masks again;
/// a policy that makes them says so in its [`Needs`](super::Needs). The session drops what is illegal.
#[derive(Debug)]
pub struct Edit<'a> {
    /// Commits from the front, revisions from the back: they are about different positions, so a
    /// canvas of entries is room for all.
    decisions: &'a mut [Commit],
    commits: usize,
    revisions: usize,
    insertion: Option<Insertion>,
    end: Option<usize>,
}

impl<'a> Edit<'a> {
    /// Nothing decided; room for `decisions.len()` decisions.
    #[must_use]
    pub fn new(decisions: &'a mut [Commit]) -> Self {
        Self { decisions, commits: 0, revisions: 0, insertion: None, end: None }
    }

    /// Commits so far, best first.
    #[must_use]
    pub fn commits(&self) -> &[Commit] {
        self.decisions.get(..self.commits).unwrap_or_default()
    }

    /// Revisions so far, the last one first.
    #[must_use]
    pub fn revisions(&self) -> &[Commit] {
        let start = self.decisions.len().saturating_sub(self.revisions);
        self.decisions.get(start..).unwrap_or_default()
    }

    /// Keeps the best `limit` of the commits so far and this one, by confidence, then by lower
    /// position. Comes out the same in whatever order candidates are offered.
    #[inline(never)] // every policy asks, and flash is scarce
    pub fn offer(&mut self, commit: Commit, limit: usize) {
        let limit = limit.min(self.decisions.len().saturating_sub(self.revisions));
        let better = |other: &Commit| {
            other.confidence > commit.confidence
                || (other.confidence == commit.confidence && other.position < commit.position)
        };
        let at = self.commits().partition_point(better);
        if at >= limit {
            return;
        }
        self.commits = (self.commits + 1).min(limit);
        // Not `rotate_right`: the optimizer cannot see that its panic is out of reach.
        let mut moved = commit;
        for slot in self.decisions.get_mut(at..self.commits).unwrap_or_default() {
            core::mem::swap(slot, &mut moved);
        }
    }

    /// Keeps the commits that `keep` says yes to, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(&Commit) -> bool) {
        let commits = self.decisions.get_mut(..self.commits).unwrap_or_default();
        let commits = Cell::from_mut(commits).as_slice_of_cells();
        let mut targets = commits.iter();
        self.commits = 0;
        for commit in commits {
            let kept = commit.get();
            // Most often nothing is dropped, and nothing moves.
            if keep(&kept)
                && let Some(target) = targets.next()
            {
                target.set(kept);
                self.commits += 1;
            }
        }
    }

    /// Takes back all commits.
    pub fn clear_commits(&mut self) {
        self.commits = 0;
    }

    /// Changes a committed token into another, or into the mask.
    pub fn revise(&mut self, revision: Commit) {
        if self.commits + self.revisions >= self.decisions.len() {
            return;
        }
        let at = self.decisions.len() - self.revisions - 1;
        if let Some(slot) = self.decisions.get_mut(at) {
            *slot = revision;
            self.revisions += 1;
        }
    }

    /// Keeps the revisions that `keep` says yes to; it is asked in the order in which they were made.
    pub fn retain_revisions(&mut self, mut keep: impl FnMut(&Commit) -> bool) {
        let made = core::mem::take(&mut self.revisions);
        for i in 0..made {
            let at = self.decisions.len().saturating_sub(i + 1);
            if let Some(&revision) = self.decisions.get(at).filter(|revision| keep(revision)) {
                self.revise(revision);
            }
        }
    }

    /// Keeps only the first `limit` revisions made.
    pub fn limit_revisions(&mut self, limit: usize) {
        self.revisions = self.revisions.min(limit);
    }

    /// Lets the canvas grow, once in a step; needs [`Needs::RESIZING`](super::Needs::RESIZING).
    pub fn insert(&mut self, insertion: Insertion) {
        self.insertion = Some(insertion);
    }

    /// What is to be inserted after the commits and revisions.
    #[must_use]
    pub fn insertion(&self) -> Option<Insertion> {
        self.insertion
    }

    /// Lets the canvas end before position `end`, after the commits and revisions; needs
    /// [`Needs::RESIZING`](super::Needs::RESIZING).
    pub fn truncate(&mut self, end: usize) {
        self.end = Some(end);
    }

    /// Where the canvas is to end.
    #[must_use]
    pub fn end(&self) -> Option<usize> {
        self.end
    }

    /// Commits and revisions, for as long as their memory lives.
    pub(crate) fn into_parts(self) -> (&'a [Commit], &'a [Commit]) {
        let start = self.decisions.len().saturating_sub(self.revisions);
        let (front, revisions) = self.decisions.split_at_checked(start).unwrap_or_default();
        (front.get(..self.commits).unwrap_or_default(), revisions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(position: u32) -> Commit {
        Commit { position, token: 7, confidence: 0.5 }
    }

    #[test]
    fn commits_and_revisions_share_the_room() {
        let mut memory = [Commit::default(); 3];
        let mut edit = Edit::new(&mut memory);
        edit.revise(commit(0));
        edit.offer(commit(1), usize::MAX);
        edit.revise(commit(2));
        edit.offer(commit(3), usize::MAX);
        edit.revise(commit(4));
        assert_eq!(edit.commits(), [commit(1)]);
        assert_eq!(edit.revisions(), [commit(2), commit(0)]);
        edit.limit_revisions(1);
        assert_eq!(edit.revisions(), [commit(0)]);
        edit.retain(|_| false);
        assert!(edit.commits().is_empty());
    }
}
