//! Rules of papers, as they are told.

use super::{Candidate, Place, Rule, Situation};
use demask::decode::Commit;
use std::ops::Range;

pub fn even(at: &Place) -> usize {
    at.masks / at.steps + usize::from(at.step < at.masks % at.steps)
}

/// Dream: time runs from 1 to 0.001.
pub fn dream_grid(at: &Place) -> usize {
    match at.step + 1 >= at.steps {
        true => at.left,
        // A product that is a whole number may come out a little less.
        false => (at.left as f64 * dream_share(at) + 1e-9).floor() as usize,
    }
}

/// Part of the masks that Dream fills in a step.
pub fn dream_share(at: &Place) -> f64 {
    let time = |t: usize| 1.0 - t as f64 / at.steps as f64 * (1.0 - 1e-3);
    if at.step + 1 >= at.steps { 1.0 } else { 1.0 - time(at.step + 1) / time(at.step) }
}

/// What a function says.
pub struct Choose<F>(pub F);

impl<F: FnMut(&Situation<'_>) -> Vec<Commit>> Rule for Choose<F> {
    fn choose(&mut self, at: &Situation<'_>) -> Vec<Commit> {
        (self.0)(at)
    }
}

/// All commits of these.
pub fn commits<'a>(chosen: impl IntoIterator<Item = &'a Candidate>) -> Vec<Commit> {
    chosen.into_iter().map(Candidate::commit).collect()
}

/// As many as the quota, by confidence.
pub fn top(at: &Situation<'_>, quota: usize) -> Vec<Commit> {
    commits(at.best().iter().take(quota))
}

/// Fast-dLLM: all of at least the threshold, or the best.
pub fn threshold(at: &Situation<'_>, least: f32) -> Vec<Commit> {
    let best = at.best();
    let sure = best.iter().filter(|c| c.confidence >= least).count();
    commits(best.iter().take(sure.max(1)))
}

/// Fast-dLLM: the largest n with (n + 1) (1 - c_n) < factor.
pub fn factor(at: &Situation<'_>, factor: f32) -> Vec<Commit> {
    let best = at.best();
    let fits = |n: &usize| (*n as f32 + 1.0) * (1.0 - best[n - 1].confidence) < factor;
    let n = (1..=best.len()).filter(fits).max().unwrap_or(1);
    commits(&best[..n])
}

/// EB-Sampler: in order of the rank, the longest run whose entropies sum to at most the budget without the
/// largest of them.
pub fn entropy_bound(
    at: &Situation<'_>,
    nats: f64,
    rank: impl Fn(&Candidate) -> f32,
) -> Vec<Commit> {
    let ranked = at.ranked(&rank);
    let cost = |n: usize| {
        let entropies = ranked[..n].iter().map(|c| f64::from(c.entropy));
        entropies.clone().sum::<f64>() - entropies.fold(0.0, f64::max)
    };
    let n = (1..=ranked.len()).filter(|&n| cost(n) <= nats).max().unwrap_or(1);
    ranked[..n].iter().map(|c| c.commit_by(rank(c))).collect()
}

/// LocalLeap: a lower threshold within `window` of an anchor.
pub fn local_leap(at: &Situation<'_>, anchor: f32, relaxed: f32, window: u32) -> Vec<Commit> {
    let anchors: Vec<u32> =
        at.candidates.iter().filter(|c| c.confidence >= anchor).map(|c| c.position).collect();
    let least = |c: &Candidate| match anchors.iter().any(|a| a.abs_diff(c.position) <= window) {
        true => relaxed,
        false => anchor,
    };
    let chosen = commits(at.candidates.iter().filter(|c| c.confidence >= least(c)));
    if chosen.is_empty() { top(at, 1) } else { chosen }
}

/// SDAR and LLaDA2.0: all above the threshold if they are at least n, else the best n.
pub fn dynamic(at: &Situation<'_>, threshold: f32, n: usize) -> Vec<Commit> {
    let sure = at.candidates.iter().filter(|c| c.confidence > threshold).count();
    top(at, if sure >= n { sure } else { n })
}

/// dInfer: all of at least the threshold or within 1e-5 of the best.
pub fn near_best(at: &Situation<'_>, threshold: f32) -> Vec<Commit> {
    let least = threshold.min(at.best()[0].confidence - 1e-5);
    commits(at.candidates.iter().filter(|c| c.confidence >= least))
}

/// dInfer: the best of each run of masks if above `low`, all above `high`, or the best of all.
pub fn hierarchical(at: &Situation<'_>, low: f32, high: f32) -> Vec<Commit> {
    let best = at.best();
    if best[0].confidence <= low {
        return commits(&best[..1]);
    }
    let chosen = at.best().into_iter().filter(|c| {
        // Its run: the positions from which it can be reached over masks alone.
        let is_mask = |position: u32| at.candidates.iter().any(|c| c.position == position);
        let connected = |other: &Candidate| {
            let (a, b) = (c.position.min(other.position), c.position.max(other.position));
            (a..=b).all(is_mask)
        };
        let leads = best.iter().find(|other| connected(other)).unwrap().position == c.position;
        c.confidence > high || leads && c.confidence > low
    });
    chosen.map(|c| c.commit()).collect()
}

/// SlowFast, as its phases are told.
#[derive(Default)]
pub struct SlowFast {
    block: Range<usize>,
    start: usize,
    estimates: Vec<usize>,
    span: Option<usize>,
}

impl Rule for SlowFast {
    fn begin_block(&mut self, block: Range<usize>) {
        *self = Self { start: block.start, block, ..Self::default() };
    }

    fn choose(&mut self, at: &Situation<'_>) -> Vec<Commit> {
        let masks = |end: usize| at.candidates.iter().filter(move |c| (c.position as usize) < end);
        if let Some(span) = self.span.filter(|span| masks(*span).count() == 0) {
            *self = Self { start: span, block: self.block.clone(), ..Self::default() };
        }
        let end = self.span.unwrap_or(self.block.end);
        if self.span.is_none() {
            let certain = at.candidates.iter().filter(|c| c.confidence >= 0.3);
            let farthest = certain.map(|c| c.position as usize).filter(|p| *p >= self.start).max();
            let length = farthest.map_or(self.start + 1, |p| p + 1) - self.block.start;
            self.estimates.push(length.clamp(1, self.block.len()));
            if let [.., a, b] = self.estimates[..] {
                let mean = (a + b) as f64 / 2.0;
                let deviation =
                    (((a as f64 - mean).powi(2) + (b as f64 - mean).powi(2)) / 2.0).sqrt();
                if deviation < 1.0 {
                    self.span = Some(self.block.start + b);
                } else if self.estimates.len() == 6 {
                    self.span = Some((self.block.start as f64 + mean).floor() as usize);
                }
            }
        }
        let inside: Vec<Candidate> = masks(end).cloned().collect();
        let sure: Vec<&Candidate> = inside.iter().filter(|c| c.confidence >= 0.9).collect();
        if sure.len() > 1 {
            return commits(sure);
        }
        let best = at.best().into_iter().filter(|c| (c.position as usize) < end);
        commits(&best.take(1).collect::<Vec<_>>())
    }
}

/// Prophet around another rule: everything at once when the mean lead is large enough.
pub struct Prophet<R> {
    pub inner: R,
    pub gaps: [f32; 3],
    /// Passes planned for the text.
    pub planned: usize,
    /// Positions of the answer that count; otherwise the masks that are left and the block.
    pub answer: Option<Range<usize>>,
    pub fired: usize,
}

impl<R: Rule> Rule for Prophet<R> {
    fn begin_block(&mut self, block: Range<usize>) {
        self.inner.begin_block(block);
    }

    fn looks_around(&self) -> bool {
        true
    }

    fn choose(&mut self, at: &Situation<'_>) -> Vec<Commit> {
        let counts = |c: &&Candidate| {
            let position = c.position as usize;
            match &self.answer {
                Some(answer) => answer.contains(&position.wrapping_sub(at.region.start)),
                None => {
                    at.block.contains(&position)
                        || !at.decided.iter().any(|d| d.position == c.position)
                }
            }
        };
        let scored = at.candidates.iter().chain(&at.decided).chain(&at.behind);
        let all: Vec<&Candidate> = scored.filter(counts).collect();
        let mean = all.iter().map(|c| f64::from(c.gap)).sum::<f64>() / all.len() as f64;
        let progress = f64::from(at.place.forward + 1) / self.planned as f64;
        let [early, middle, late] = self.gaps;
        let enough = match progress {
            p if p < 0.33 => early,
            p if p < 0.67 => middle,
            _ => late,
        };
        if all.is_empty() || mean < f64::from(enough) {
            return self.inner.choose(at);
        }
        self.fired += 1;
        let masks = at.candidates.iter().chain(&at.behind);
        let best = |c: &Candidate| Commit {
            position: c.position,
            token: c.top,
            confidence: c.top_probability,
        };
        masks.map(best).collect()
    }
}

/// Longest stable prefix around the threshold rule, by what each position proposed in the pass before.
#[derive(Default)]
pub struct StablePrefix {
    pub least: f32,
    pub remembers: bool,
    last: Vec<(u32, u32)>,
}

impl StablePrefix {
    pub fn new(least: f32, remembers: bool) -> Self {
        Self { least, remembers, last: Vec::new() }
    }
}

impl Rule for StablePrefix {
    fn begin_block(&mut self, _: Range<usize>) {
        self.last.clear();
    }

    fn choose(&mut self, at: &Situation<'_>) -> Vec<Commit> {
        let inner = threshold(at, self.least);
        let holds = |c: &Candidate| {
            inner.iter().any(|commit| commit.position == c.position)
                && (!self.remembers || self.last.contains(&(c.position, c.token)))
        };
        let behind_first = at.candidates.iter().skip(1).take_while(|c| holds(c)).count();
        let first = inner.iter().any(|commit| commit.position == at.candidates[0].position);
        let n = if first { 1 + behind_first } else { 1 };
        self.last = at.candidates.iter().map(|c| (c.position, c.token)).collect();
        commits(&at.candidates[..n])
    }
}
