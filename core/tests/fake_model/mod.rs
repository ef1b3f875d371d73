//! A network that is a table: pseudo-random logits as a function of canvas and position.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use crate::common::mix;
use demask::Pass;
use demask::decode::{Sampling, Score};
use demask::{ForwardError, Model, SessionMemory, Vocabulary};

pub const MASK: u32 = 1;
pub const EOS: u32 = 0;

/// The model. Rows repeat, so that equal confidences at different positions are common.
#[derive(Clone, Debug)]
pub struct Table {
    pub seed: u64,
    pub vocab: u32,
    pub max_canvas: usize,
    /// Different rows of logits; 0 for a new one at every position of every canvas.
    pub rows: u64,
    /// Factor of the logits: small for a flat distribution, large for a peaked one.
    pub scale: f32,
    /// Forward passes so far.
    pub forwards: u32,
}

impl Table {
    pub fn new(seed: u64) -> Self {
        Self { seed, vocab: 13, max_canvas: 64, rows: 7, scale: 3.0, forwards: 0 }
    }

    /// The logits of one position of this canvas.
    pub fn logits(&self, canvas: &[u32], position: u32) -> Vec<f32> {
        let place = self.seed ^ u64::from(position);
        let hash = canvas.iter().fold(place, |hash, id| mix(hash ^ u64::from(*id)));
        let row = if self.rows == 0 { hash } else { mix(self.seed ^ (hash % self.rows)) };
        let logit = |id| (mix(row ^ id) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        (0..u64::from(self.vocab)).map(|id| self.scale * logit(id)).collect()
    }
}

impl Model for Table {
    fn vocabulary(&self) -> Vocabulary {
        Vocabulary { size: self.vocab, mask_id: MASK, eos_id: EOS }
    }

    fn max_canvas(&self) -> usize {
        self.max_canvas
    }

    fn score(
        &mut self,
        pass: &Pass<'_>,
        sampling: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError> {
        self.forwards += 1;
        let &Pass { canvas, wanted, .. } = pass;
        assert_eq!(wanted.len(), scores.len());
        assert!(!wanted.is_empty() && wanted.is_sorted_by(|a, b| a < b));
        for (score, &position) in scores.iter_mut().zip(wanted) {
            assert_eq!(canvas[usize::from(position)], MASK, "only masks are scored");
            let logits = self.logits(canvas, position.into());
            *score = Score::from_logits(position.into(), &logits, MASK, sampling)
                .map_err(|_| ForwardError::NotFinite { layer: None })?;
        }
        Ok(())
    }
}

/// Session memory for `canvas` tokens, handed to `work`.
pub fn with_memory<R>(canvas: usize, work: impl FnOnce(SessionMemory<'_>) -> R) -> R {
    let mut memory = crate::common::Aligned::zeroed(SessionMemory::bytes(canvas).unwrap());
    work(SessionMemory::carve(&mut memory, canvas).unwrap())
}
