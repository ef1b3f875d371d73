//! What the passes of an ideal decode look like.

use crate::runtime::{Memory, Network};
use demask::cache::NoCache;
use demask::decode::{Commit, CommitPolicy, Edit, Even, Needs, StepView, StopAtEos};
use demask::{Method, Options, Session, SessionError, SessionMemory};

/// Passes over blocks: what the network sees, and what it should say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Traces {
    block: usize,
    /// Top-1 probabilities, `[passes, block]`.
    probabilities: Vec<f32>,
    /// Whether the proposal is final, `[passes, block]`; `None` where nothing is to be decided.
    labels: Vec<Option<bool>>,
}

impl Traces {
    /// No passes over blocks of `block` tokens.
    #[must_use]
    pub fn new(block: usize) -> Self {
        Self { block, ..Self::default() }
    }

    /// Tokens of a block.
    #[must_use]
    pub fn block(&self) -> usize {
        self.block
    }

    /// Number of passes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len() / self.block.max(1)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Appends a pass. What a block shorter than the others lacks is certain and decided.
    pub fn push(&mut self, pass: impl IntoIterator<Item = (f32, Option<bool>)>) {
        let padded = pass.into_iter().chain(std::iter::repeat((1.0, None)));
        for (probability, label) in padded.take(self.block) {
            self.probabilities.push(probability);
            self.labels.push(label);
        }
    }

    /// Appends all passes of others over blocks of the same length.
    pub fn extend(&mut self, others: &Self) {
        debug_assert_eq!(self.block, others.block);
        self.probabilities.extend(&others.probabilities);
        self.labels.extend(&others.labels);
    }

    /// Probabilities and labels of a pass.
    pub(super) fn pass(&self, at: usize) -> (&[f32], &[Option<bool>]) {
        let range = at * self.block..(at + 1) * self.block;
        (&self.probabilities[range.clone()], &self.labels[range])
    }
}

/// Decodes an answer to `prompt` twice: one token per pass, for how it ends, and then as fast as can be,
/// each pass committing exactly the proposals that are final ("extremely greedy parallel" in arXiv
/// 2509.25188). If a pass proposes nothing final, the most probable mask gets its final token.
///
/// Returns the passes of both. The paper learns from the second alone; but those are few, and the passes in
/// which a filter will be asked lie between the two.
///
/// The network must score decided positions too ([`Needs::BLOCK_ROWS`]).
///
/// # Errors
/// [`SessionError`] if the answer does not fit, or a pass fails.
pub fn trace(
    network: &mut (dyn Network + '_),
    prompt: &[u32],
    length: usize,
    options: Options,
) -> Result<Traces, SessionError> {
    let mut traces = Traces::new(options.block_length);
    let mut passes = Vec::new();
    let ends_as = decode(network, Careful { passes: &mut passes }, prompt, length, options)?;
    for pass in passes {
        traces.push(pass.into_iter().map(|seen| seen.labelled(&ends_as)));
    }
    let oracle = Oracle { ends_as: &ends_as, traces: &mut traces };
    decode(network, oracle, prompt, length, options)?;
    Ok(traces)
}

/// The canvas as a policy leaves it.
fn decode(
    network: &mut (dyn Network + '_),
    policy: impl CommitPolicy,
    prompt: &[u32],
    length: usize,
    options: Options,
) -> Result<Vec<u32>, SessionError> {
    let canvas = prompt.len() + length;
    let too_long = || SessionError::CanvasTooLong { len: canvas, max: usize::from(u16::MAX) };
    let mut memory = Memory::for_session(canvas).map_err(|_| too_long())?;
    let memory = SessionMemory::carve(memory.bytes(), canvas).map_err(|_| too_long())?;
    let method = Method { policy, schedule: Even, eos: StopAtEos, cache: NoCache };
    let mut session = Session::new(network, memory, method);
    session.begin(prompt, length, Options { steps: length, ..options })?;
    session.run(&mut ())?;
    Ok(session.canvas().to_vec())
}

/// What is seen of a position of the block.
#[derive(Clone, Copy)]
struct Seen {
    probability: f32,
    /// The proposal, if there is something to decide.
    proposal: Option<Commit>,
}

impl Seen {
    fn block<'v>(view: &'v StepView<'_>) -> impl Iterator<Item = Self> + 'v {
        view.block.clone().map(|position| {
            let score = view.score(position as u32);
            let masked = score.filter(|score| view.is_mask(score.position));
            Self {
                probability: score.map_or(1.0, |score| score.top_probability()),
                proposal: masked.map(|score| view.proposed(score)),
            }
        })
    }

    /// What the network sees here, and whether the proposal is final.
    fn labelled(self, ends_as: &[u32]) -> (f32, Option<bool>) {
        (self.probability, self.proposal.map(|proposal| is_final(&proposal, ends_as)))
    }
}

fn is_final(commit: &Commit, ends_as: &[u32]) -> bool {
    ends_as.get(commit.position as usize) == Some(&commit.token)
}

/// One token per pass, and a record.
struct Careful<'a> {
    passes: &'a mut Vec<Vec<Seen>>,
}

impl CommitPolicy for Careful<'_> {
    fn needs(&self) -> Needs {
        Needs::BLOCK_ROWS
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        self.passes.push(Seen::block(view).collect());
        view.candidates().for_each(|score| edit.offer(view.proposed(score), 1));
    }
}

/// Commits what is final, and keeps a record.
struct Oracle<'a> {
    ends_as: &'a [u32],
    traces: &'a mut Traces,
}

impl CommitPolicy for Oracle<'_> {
    fn needs(&self) -> Needs {
        Needs::BLOCK_ROWS
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        self.traces.push(Seen::block(view).map(|seen| seen.labelled(self.ends_as)));
        for commit in view.candidates().map(|score| view.proposed(score)) {
            if is_final(&commit, self.ends_as) {
                edit.offer(commit, usize::MAX);
            }
        }
        if edit.commits().is_empty() {
            for score in view.candidates() {
                let proposed = view.proposed(score);
                let end = self.ends_as.get(proposed.position as usize).copied();
                edit.offer(Commit { token: end.unwrap_or(proposed.token), ..proposed }, 1);
            }
        }
    }
}
