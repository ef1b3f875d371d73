//! What a session refuses before it starts.

use super::{MIN_TEMPERATURE, Method, Options, Session, SessionError};
use crate::cache::CachePlan;
use crate::decode::{CommitPolicy, EosPolicy, Needs, Schedule};
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
        let (blocks, equal) = self.count_blocks(attention, region, options.block_length)?;
        let steps = options.steps;
        if steps == 0 || equal && steps.checked_rem(blocks) != Some(0) {
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
        let drawn = options.temperature > 0.0;
        if !self.model.gives().include(Needs::FILTER) && drawn && options.filter.is_some() {
            return Err(SessionError::Unsupported { need: "a filtered distribution" });
        }
        if eos.truncates() && cache.forbids().include(Needs::RESIZING) && cache.has_window() {
            return Err(SessionError::Clash {
                policy: eos.name(),
                plan: cache.name(),
                need: "a canvas that ends early",
            });
        }
        // What the session itself sees to.
        let rows = Needs::BLOCK_ROWS.and(Needs::ALL_MASKS).and(Needs::ALL_ROWS);
        let own = rows.and(Needs::REVISIONS).and(Needs::RESIZING);
        if let Some(need) = needs.without(own).without(self.model.gives()).first() {
            return Err(SessionError::Unsupported { need });
        }
        let capacity = policy.capacity().min(cache.capacity());
        if len > capacity {
            return Err(SessionError::CanvasTooLong { len, max: capacity });
        }
        // Shadows take slots behind the canvas.
        if needs.include(Needs::SHADOWS) {
            let shadowed = len.saturating_add(options.block_length.min(region.len()));
            return self.check_canvas(&(0..shadowed));
        }
        Ok(())
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

    /// Blocks of the answer, and whether they are of the same length.
    fn count_blocks(
        &self,
        attention: Attention,
        region: &Range<usize>,
        block: usize,
    ) -> Result<(usize, bool), SessionError> {
        let own = |blocks| self.method.schedule.block_length(0, blocks, region.len());
        match attention {
            // They begin where the region begins.
            Attention::Bidirectional => {
                let blocks = region.len().div_ceil(block.max(1));
                match region.len().checked_rem(block) {
                    Some(0) => Ok((blocks, own(blocks).is_none())),
                    Some(_) if own(blocks).is_some() => Ok((blocks, false)),
                    _ => Err(SessionError::BlockLength { region: region.len(), block }),
                }
            }
            // They are aligned to position 0.
            Attention::BlockCausal(attention) => {
                let refused = |block| {
                    Err(SessionError::AttentionBlock { block, attention: attention as usize })
                };
                if (attention as usize).checked_rem(block) != Some(0) {
                    return refused(block);
                }
                let block = block.max(1);
                let blocks = region.end.div_ceil(block).saturating_sub(region.start / block);
                own(blocks).map_or(Ok((blocks, true)), refused)
            }
        }
    }
}
