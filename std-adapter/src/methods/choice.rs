//! The four parts of a decode together.

use super::{Counts, End, MethodError, Part, PartsMemory, Plan, Policy, Setting, Spec};
use demask::Method;
use demask::decode::{EosPolicy, StepCount};
use std::fmt;
use std::ops::Range;

/// A policy chosen at run time.
pub type AnyPolicy<'m> = <Policy as Part>::Boxed<'m>;
/// A schedule chosen at run time.
pub type AnySchedule<'m> = <Counts as Part>::Boxed<'m>;
/// A cache plan chosen at run time.
pub type AnyCache<'m> = <Plan as Part>::Boxed<'m>;
/// A method chosen at run time.
pub type AnyMethod<'m> = Method<AnyPolicy<'m>, AnySchedule<'m>, AnyEos<'m>, AnyCache<'m>>;

/// An end rule chosen at run time, for models with more than one end token.
pub struct AnyEos<'m> {
    rule: <End as Part>::Boxed<'m>,
    others: Vec<u32>,
}

impl<'m> AnyEos<'m> {
    /// A rule that takes each of `others` for the end token too.
    #[must_use]
    pub fn new(rule: <End as Part>::Boxed<'m>, others: Vec<u32>) -> Self {
        Self { rule, others }
    }
}

impl EosPolicy for AnyEos<'_> {
    fn name(&self) -> &'static str {
        self.rule.name()
    }

    fn forbids(&self) -> bool {
        self.rule.forbids()
    }

    fn weight(&self, count: &StepCount) -> Option<f32> {
        self.rule.weight(count)
    }

    fn truncates(&self) -> bool {
        self.rule.truncates()
    }

    /// The earliest end that the rule finds for any of the end tokens.
    fn stop(&self, canvas: &[u32], region: Range<usize>, mask: u32, eos: u32) -> Option<usize> {
        let ends = std::iter::once(eos).chain(self.others.iter().copied());
        ends.filter_map(|end| self.rule.stop(canvas, region.clone(), mask, end)).min()
    }
}

/// Policy, schedule, end rule and cache plan by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Which masks become tokens.
    pub policy: Spec<Policy>,
    /// How many in a step.
    pub schedule: Spec<Counts>,
    /// When a text ends.
    pub end: Spec<End>,
    /// Which rows are computed.
    pub cache: Spec<Plan>,
}

impl Default for Choice {
    /// The first of each table: one token per step, everything computed, until the text ends.
    fn default() -> Self {
        Self {
            policy: Spec::of(Policy::first()),
            schedule: Spec::of(Counts::first()),
            end: Spec::of(End::first()),
            cache: Spec::of(Plan::first()),
        }
    }
}

impl Choice {
    /// Memory that the parts keep between steps.
    ///
    /// # Errors
    /// [`MethodError`] if one of them cannot be made.
    pub fn memory(&self, setting: &Setting<'_>) -> Result<PartsMemory, MethodError> {
        let parts = [
            self.policy.memory_bytes(setting)?,
            self.schedule.memory_bytes(setting)?,
            self.end.memory_bytes(setting)?,
            self.cache.memory_bytes(setting)?,
        ];
        Ok(PartsMemory::new(parts.iter().sum()))
    }

    /// Makes the parts on memory for the same setting.
    ///
    /// # Errors
    /// [`MethodError`] if one of them cannot be made.
    pub fn build<'m>(
        &self,
        setting: &Setting<'_>,
        memory: &'m mut PartsMemory,
    ) -> Result<AnyMethod<'m>, MethodError> {
        let mut pieces = memory.pieces();
        Ok(Method {
            policy: self.policy.build(setting, &mut pieces)?,
            schedule: self.schedule.build(setting, &mut pieces)?,
            eos: AnyEos::new(self.end.build(setting, &mut pieces)?, setting.stop_ids.to_vec()),
            cache: self.cache.build(setting, &mut pieces)?,
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, schedule, end, cache } = self;
        write!(f, "policy {policy}, schedule {schedule}, cache {cache}, end {end}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use demask::decode::{FillAll, StopAtEos};

    #[test]
    fn other_end_tokens_end_a_text_too() {
        let stop = |others: &[u32]| AnyEos::new(Box::new(StopAtEos), others.to_vec());
        let canvases: [&[u32]; 6] =
            [&[0, 5, 6, 0, 1], &[9, 5, 1, 0, 1], &[1, 5, 0, 1], &[9, 0], &[9, 5, 6], &[9, 7, 5, 1]];
        for canvas in canvases {
            let region = 1..canvas.len();
            let expected = StopAtEos.stop(canvas, region.clone(), 1, 0);
            assert_eq!(stop(&[]).stop(canvas, region.clone(), 1, 0), expected);
            let fill = AnyEos::new(Box::new(FillAll), vec![7]);
            assert_eq!(fill.stop(canvas, region, 1, 0), None);
        }
        let both = stop(&[7, 8]);
        assert_eq!(both.stop(&[7, 5, 8, 1, 1], 1..5, 1, 0), Some(2));
        assert_eq!(both.stop(&[7, 1, 8, 1, 1], 1..5, 1, 0), None);
        assert_eq!(both.stop(&[7, 8, 0, 1, 1], 1..5, 1, 0), Some(1));
    }
}
