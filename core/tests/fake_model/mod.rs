//! A network that is a table: pseudo-random logits as a function of canvas and position.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use crate::common::mix;
use demask::Pass;
use demask::decode::{Needs, Sampling, Score};
use demask::{ForwardError, Model, SessionMemory, Vocabulary};
use std::collections::BTreeMap;

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
    /// Whether decided positions may be scored, and how far distributions move is told.
    pub extras: bool,
    /// From this position on the end token's logit is raised by so much.
    pub end: (u32, f32),
    /// Logits of the last pass that scored a position.
    pub last: BTreeMap<u32, Vec<f32>>,
}

impl Table {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            vocab: 13,
            max_canvas: 64,
            rows: 7,
            scale: 3.0,
            forwards: 0,
            extras: false,
            end: (u32::MAX, 0.0),
            last: BTreeMap::new(),
        }
    }

    /// One whose decided positions may be scored, and that gives whatever a policy may need.
    pub fn of_all_rows(seed: u64) -> Self {
        Self { extras: true, ..Self::new(seed) }
    }

    /// The logits of one position of this canvas.
    pub fn logits(&self, canvas: &[u32], position: u32) -> Vec<f32> {
        let place = self.seed ^ u64::from(position);
        let hash = canvas.iter().fold(place, |hash, id| mix(hash ^ u64::from(*id)));
        let row = if self.rows == 0 { hash } else { mix(self.seed ^ (hash % self.rows)) };
        let logit = |id| (mix(row ^ id) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        let mut logits: Vec<f32> =
            (0..u64::from(self.vocab)).map(|id| self.scale * logit(id)).collect();
        if position >= self.end.0 {
            logits[EOS as usize] += self.end.1;
        }
        logits
    }

    /// The logits of a position as its shadow sees them: with a mask there.
    pub fn shadow_logits(&self, canvas: &[u32], position: u32) -> Vec<f32> {
        let mut shadowed = canvas.to_vec();
        shadowed[position as usize] = MASK;
        self.logits(&shadowed, position)
    }
}

/// Nats from one distribution to another, the mask apart.
pub fn divergence(from: &[f32], to: &[f32]) -> f32 {
    let ids = || (0..to.len()).filter(|id| *id != MASK as usize);
    let sum = |row: &[f32]| ids().map(|id| f64::from(row[id]).exp()).sum::<f64>().ln();
    let (old, new) = (sum(from), sum(to));
    let term = |id: usize| {
        let (p, q) = (f64::from(to[id]) - new, f64::from(from[id]) - old);
        p.exp() * (p - q)
    };
    ids().map(term).sum::<f64>() as f32
}

impl Model for Table {
    fn vocabulary(&self) -> Vocabulary {
        Vocabulary { size: self.vocab, mask_id: MASK, eos_id: EOS }
    }

    fn max_canvas(&self) -> usize {
        self.max_canvas
    }

    fn gives(&self) -> Needs {
        match self.extras {
            true => Needs::SHADOWS.and(Needs::DIVERGENCE).and(Needs::BIAS),
            false => Needs::NONE,
        }
    }

    fn begin(&mut self) {
        self.last.clear();
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
        let (first, end) = pass.visible.shadowed;
        let (canvas, shadows) = canvas.split_at(canvas.len() - (end - first));
        assert!(shadows.iter().all(|id| *id == MASK), "shadows are masks");
        for (score, &slot) in scores.iter_mut().zip(wanted) {
            let shadow = usize::from(slot).checked_sub(canvas.len());
            let place = shadow.map_or(usize::from(slot), |index| first + index);
            let position = place as u32;
            let mut logits = match shadow {
                Some(_) => self.shadow_logits(canvas, position),
                None => self.logits(canvas, position),
            };
            for bias in pass.bias.iter().filter(|bias| bias.position == position) {
                logits[bias.id as usize] += bias.nats;
            }
            let current = canvas[place];
            assert!(self.extras || current == MASK, "only masks are scored");
            *score = Score::from_logits(slot.into(), &logits, MASK, sampling)
                .map_err(|_| ForwardError::NotFinite { layer: None })?;
            if current != MASK {
                score.current_logit = logits[current as usize];
            }
            if self.extras && shadow.is_none() {
                let last = self.last.insert(position, logits.clone());
                score.divergence = last.map_or(f32::INFINITY, |last| divergence(&last, &logits));
            }
        }
        Ok(())
    }
}

/// Session memory for `canvas` tokens, handed to `work`.
pub fn with_memory<R>(canvas: usize, work: impl FnOnce(SessionMemory<'_>) -> R) -> R {
    let mut memory = crate::common::Aligned::zeroed(SessionMemory::bytes(canvas).unwrap());
    work(SessionMemory::carve(&mut memory, canvas).unwrap())
}
