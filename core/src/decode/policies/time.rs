//! The time grid of MDLM and ReMDM: from 1, all masks, to almost 0, in equal steps.

/// Where time ends.
const END: f32 = 1e-5;

/// The times at which step `step` of `steps` begins and ends.
pub(super) fn interval(step: usize, steps: usize) -> (f32, f32) {
    let at = |step: usize| 1.0 - (step as f32 / steps.max(1) as f32) * (1.0 - END);
    (at(step), at(step + 1))
}
