//! Everything at the start of a block, then less: Fast-dLLM's caches.

use crate::cache::{CachePlan, CacheView, RowList};

/// Fast-dLLM's prefix cache (arXiv 2505.22618): all rows at the first step of a block, then those
/// from the block on. Approximate: what stands before the block would see its new tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrefixCache;

impl CachePlan for PrefixCache {
    fn name(&self) -> &'static str {
        "prefix"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        let start = if view.pass == 0 { 0 } else { view.block.start };
        rows.add_all(start..view.visible_end());
    }
}

/// Fast-dLLM's dual cache: all rows at the first step of a block, then those of the block alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct DualCache;

impl CachePlan for DualCache {
    fn name(&self) -> &'static str {
        "dual"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        match view.pass {
            0 => rows.add_all(0..view.visible_end()),
            _ => rows.add_all(view.block.clone()),
        }
    }
}
