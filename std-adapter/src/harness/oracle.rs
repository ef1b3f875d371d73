//! A model without a network: its distributions are the exact conditionals of a list task, so that what
//! is lost is lost by the policy alone.

use super::lists::{EOS, FIRST_ITEM, ListTask, MASK};
use demask::decode::{LogitRow, Needs, Sampling, Score};
use demask::{ForwardError, Model, Pass, Vocabulary};
use std::collections::BTreeMap;

/// Nats of a token that is impossible. Finite at every temperature, and never drawn.
const IMPOSSIBLE: f32 = -1e6;

/// Knows what is right for a task on lists of `n` items: the canvas holds the task's prompt, then the
/// answer, then end tokens.
///
/// The distribution of a position is its conditional given all tokens of the answer but its own
/// ([`Answers::conditional`](super::lists::Answers::conditional)). A position that is decided is therefore
/// scored as its shadow is.
///
/// # Example
/// ```
/// use demask::decode::Threshold;
/// use demask::{Method, Options, Session, SessionMemory};
/// use demask_std::harness::lists::ListTask;
/// use demask_std::harness::oracle::Oracle;
/// let task = ListTask::Sort;
/// let prompt = [5, 2, 4];
/// let mut memory = vec![0u64; SessionMemory::bytes(6).unwrap().div_ceil(8)];
/// let memory = SessionMemory::carve(bytemuck::cast_slice_mut(&mut memory), 6).unwrap();
/// let method = Method::with_policy(Threshold(0.9));
/// let mut session = Session::new(Oracle::new(task, 3), memory, method);
/// session.begin(&prompt, 3, Options::one_block(3)).unwrap();
/// session.run(&mut ()).unwrap();
/// assert_eq!((session.answer(), session.forwards()), (&[2, 4, 5][..], 1));
/// ```
#[derive(Debug, Clone)]
pub struct Oracle {
    task: ListTask,
    n: usize,
    /// Of the row that is being scored, `[vocabulary]`.
    logits: Vec<f32>,
    /// Of the last pass that scored a position.
    last: BTreeMap<u32, Vec<f32>>,
}

impl Oracle {
    /// For lists of `n` items. The vocabulary has room for one item more, and for every index.
    #[must_use]
    pub fn new(task: ListTask, n: usize) -> Self {
        let vocabulary = FIRST_ITEM as usize + n + 1;
        Self { task, n, logits: vec![IMPOSSIBLE; vocabulary], last: BTreeMap::new() }
    }

    /// Fills the logits of a position: logarithms of probabilities, up to a constant.
    fn know(&mut self, canvas: &[u32], position: usize) {
        let (prompt, answer) = (self.task.prompt_len(self.n), self.task.answer_len(self.n));
        self.logits.fill(IMPOSSIBLE);
        let weights = match position.checked_sub(prompt) {
            // Nothing is known of the prompt.
            None => (FIRST_ITEM..self.logits.len() as u32).map(|item| (item, 1.0)).collect(),
            Some(at) if at < answer => {
                let (prompt, rest) = canvas.split_at_checked(prompt).unwrap_or((canvas, &[]));
                let placed = rest.get(..answer).unwrap_or(rest);
                self.task.answers(self.n, prompt).conditional(placed, at)
            }
            Some(_) => vec![(EOS, 1.0)],
        };
        let mut sums = BTreeMap::new();
        weights.into_iter().for_each(|(token, weight)| *sums.entry(token).or_insert(0.0) += weight);
        for (token, weight) in sums {
            if let Some(logit) = self.logits.get_mut(token as usize) {
                *logit = f64::ln(weight) as f32;
            }
        }
    }
}

impl Model for Oracle {
    fn vocabulary(&self) -> Vocabulary {
        Vocabulary { size: self.logits.len() as u32, mask_id: MASK, eos_id: EOS }
    }

    fn max_canvas(&self) -> usize {
        usize::from(u16::MAX)
    }

    fn gives(&self) -> Needs {
        Needs::FILTER.and(Needs::BIAS).and(Needs::DIVERGENCE).and(Needs::SHADOWS)
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
        let (first, end) = pass.visible.shadowed;
        let len = pass.canvas.len().saturating_sub(end.saturating_sub(first));
        let canvas = pass.canvas.get(..len).unwrap_or_default();
        for (score, &slot) in scores.iter_mut().zip(pass.wanted) {
            let shadow = usize::from(slot).checked_sub(len).map(|index| first + index);
            self.know(canvas, shadow.unwrap_or(slot.into()));
            let previous = self.last.get(&slot.into()).filter(|_| shadow.is_none());
            let row = LogitRow {
                current: pass.canvas.get(usize::from(slot)).copied().unwrap_or(MASK),
                bias: pass.bias,
                previous: previous.map(Vec::as_slice),
                ..LogitRow::new(slot.into(), &self.logits, MASK)
            };
            *score = row.score(sampling).map_err(|_| ForwardError::NotFinite { layer: None })?;
            if shadow.is_none() {
                if previous.is_none() {
                    score.divergence = f32::INFINITY;
                }
                self.last.insert(slot.into(), self.logits.clone());
            }
        }
        Ok(())
    }
}
