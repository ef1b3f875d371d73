//! What was decided at which step: for live views, plots and comparing two machines.

use crate::decode::{Commit, Score};
use core::ops::Range;

/// Everything about one finished step.
#[derive(Debug, Clone)]
pub struct StepEvent<'a> {
    /// Number of the forward pass, from 0.
    pub forward: u32,
    /// Block that was worked on.
    pub block: Range<usize>,
    /// The canvas after the step.
    pub canvas: &'a [u32],
    /// Masks left in the canvas.
    pub masks: usize,
    /// Rows that went through the network.
    pub rows: usize,
    /// Scores of the candidates, and of what else the policy needs, ascending by position.
    pub scores: &'a [Score],
    /// Masks that became tokens, best first.
    pub commits: &'a [Commit],
    /// Tokens that were replaced or became masks again.
    pub revisions: &'a [Commit],
}

/// Receives every step. `()` receives nothing and costs nothing.
pub trait Trace {
    /// Called after each step.
    fn step(&mut self, event: &StepEvent<'_>);

    /// Called before `tokens` leave the canvas because the text has outgrown it: the first ones
    /// behind those that are pinned.
    fn dropped(&mut self, _tokens: &[u32]) {}
}

impl Trace for () {
    fn step(&mut self, _: &StepEvent<'_>) {}
}

impl<F: FnMut(&StepEvent<'_>)> Trace for F {
    fn step(&mut self, event: &StepEvent<'_>) {
        self(event);
    }
}
