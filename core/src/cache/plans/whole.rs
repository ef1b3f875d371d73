//! Everything, every time.

use crate::cache::{CachePlan, CacheView, RowList};
use crate::decode::Needs;

/// Computes every row that a wanted row sees, each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCache;

impl CachePlan for NoCache {
    fn name(&self) -> &'static str {
        "none"
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn forbids(&self) -> Needs {
        Needs::NONE
    }

    #[inline(always)] // saves the view where nothing else is chosen
    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        rows.add_all(0..view.visible_end());
    }
}
