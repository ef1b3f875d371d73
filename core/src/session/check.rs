//! What a session refuses before it starts.

use super::{MIN_TEMPERATURE, Method, Options, Session, SessionError};
use crate::cache::CachePlan;
use crate::decode::{CommitPolicy, EosPolicy, Filter, Needs, Schedule};
use crate::image::Attention;
use crate::model::Model;
use core::ops::Range;

impl<M, P, S, X, C> Session<'_, M, P, S, X, C>
where
    M: Model,
    P: CommitPolicy,
    S: Schedule,
    X: EosPolicy,
    C: CachePlan,
{
    /// Checks everything that [`Session::begin`] is given, and counts the blocks of the answer.
    pub(super) fn check(
        &self,
        tokens: impl Iterator<Item = u32> + Clone,
        region: &Range<usize>,
        options: &Options,
    ) -> Result<usize, SessionError> {
        let attention = self.model.attention();
        match attention {
            Attention::BlockCausal(own) if self.method.cache.has_window() => {
                self.check_window(tokens.clone().count(), region, options, own as usize)?;
            }
            _ => self.check_canvas(region)?,
        }
        for (position, id) in tokens.enumerate() {
            if id >= self.vocabulary.size {
                return Err(SessionError::UnknownToken { position, id });
            }
        }
        if self.vocabulary.mask_id >= self.vocabulary.size && region.start == 0 && region.end > 0 {
            return Err(SessionError::NoPrompt);
        }
        let cache = &self.method.cache;
        if cache.needs_blocks() && attention == Attention::Bidirectional {
            return Err(SessionError::Cache { plan: cache.name() });
        }
        self.check_needs(region, options)?;
        if region.is_empty() {
            return Ok(1);
        }
        let blocks = count_blocks(attention, region, options.block_length)?;
        let steps = options.steps;
        if steps == 0 || steps.checked_rem(blocks) != Some(0) {
            return Err(SessionError::Steps { steps, blocks });
        }
        // Comparisons are false for NaN.
        let t = options.temperature;
        if !(t == 0.0 || (MIN_TEMPERATURE..f32::INFINITY).contains(&t)) {
            return Err(SessionError::Temperature);
        }
        Ok(blocks)
    }

    /// What policy, plan, end rule and options ask for must be there, and they must go together.
    fn check_needs(&self, region: &Range<usize>, options: &Options) -> Result<(), SessionError> {
        let Method { policy, eos, cache, .. } = &self.method;
        let len = region.end.min(self.slots());
        let mut needs = policy.needs();
        let clash = needs.without(needs.without(cache.forbids()));
        if let Some(need) = clash.first() {
            return Err(SessionError::Clash { policy: policy.name(), plan: cache.name(), need });
        }
        needs = needs.and(cache.needs());
        if options.filter != Filter::NONE && options.temperature > 0.0 {
            needs = needs.and(Needs::FILTER);
        }
        if eos.truncates() && cache.forbids().include(Needs::RESIZING) && cache.has_window() {
            return Err(SessionError::Clash {
                policy: eos.name(),
                plan: cache.name(),
                need: "a canvas that ends early",
            });
        }
        // What the session itself sees to.
        let own =
            Needs::BLOCK_ROWS.and(Needs::ALL_MASKS).and(Needs::REVISIONS).and(Needs::RESIZING);
        if let Some(need) = needs.without(own).without(self.model.gives()).first() {
            return Err(SessionError::Unsupported { need });
        }
        let capacity = policy.capacity().min(cache.capacity());
        if len > capacity {
            return Err(SessionError::CanvasTooLong { len, max: capacity });
        }
        // Shadows take slots behind the canvas.
        let shadows = match needs.include(Needs::SHADOWS) {
            true => options.block_length,
            false => 0,
        };
        match len.saturating_add(shadows) > self.slots() {
            true => Err(SessionError::CanvasTooLong {
                len: len.saturating_add(shadows),
                max: self.slots(),
            }),
            false => Ok(()),
        }
    }

    fn check_canvas(&self, region: &Range<usize>) -> Result<(), SessionError> {
        let (len, max) = (region.end, self.slots());
        if len > max { Err(SessionError::CanvasTooLong { len, max }) } else { Ok(()) }
    }

    /// The prompt must fit with the block that follows; the text may go on beyond the canvas.
    fn check_window(
        &self,
        prompt: usize,
        region: &Range<usize>,
        options: &Options,
        own: usize,
    ) -> Result<(), SessionError> {
        let max = self.slots();
        if region.end <= max {
            return Ok(());
        }
        let needed = prompt.saturating_add(own);
        if needed > max {
            return Err(SessionError::CanvasTooLong { len: needed, max });
        }
        let pinned = Self::pinned(options, own);
        if pinned.saturating_add(own.saturating_mul(2)) > max {
            return Err(SessionError::Pinned { pinned, canvas: max });
        }
        Ok(())
    }
}

/// Blocks of the answer.
fn count_blocks(
    attention: Attention,
    region: &Range<usize>,
    block: usize,
) -> Result<usize, SessionError> {
    match attention {
        // They begin where the region begins.
        Attention::Bidirectional => match region.len().checked_rem(block) {
            Some(0) => Ok(region.len().checked_div(block).unwrap_or(1)),
            _ => Err(SessionError::BlockLength { region: region.len(), block }),
        },
        // They are aligned to position 0.
        Attention::BlockCausal(own) => match (own as usize).checked_rem(block) {
            Some(0) => {
                let block = block.max(1);
                Ok(region.end.div_ceil(block).saturating_sub(region.start / block))
            }
            _ => Err(SessionError::AttentionBlock { block, attention: own as usize }),
        },
    }
}
