//! The first difference between an answer in a log and the same answer here.

use super::{Answer, Change, Difference, Kind, Step};
use serde::Serialize;
use std::collections::BTreeMap;

/// An answer of this computer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostAnswer {
    /// Tokens before the answer.
    pub prompt: usize,
    /// All steps.
    pub steps: Vec<Step>,
    /// All generated tokens.
    pub tokens: Vec<u32>,
    /// The answer up to its end token.
    pub text: String,
    /// Checksum over all steps.
    pub checksum: u64,
}

/// A difference, and where it shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What differs.
    #[serde(flatten)]
    pub difference: Difference,
    /// Whether a later checksum agrees, which covers what differs: then the log was damaged, not the
    /// answer.
    pub in_transit: bool,
    /// Line of the log.
    pub line: usize,
}

/// The first difference, or none. Steps come first, then tokens, steps in all and checksum, then lines that
/// cannot be read, and the text.
#[must_use]
pub fn compare(device: &Answer, host: &HostAnswer) -> Option<Finding> {
    first_in_steps(device, host)
        .or_else(|| first_in_results(device, host))
        .or_else(|| unreadable(device))
        .or_else(|| text(device, host))
}

fn first_in_steps(device: &Answer, host: &HostAnswer) -> Option<Finding> {
    let traced = !device.steps.is_empty() || device.unreadable(Kind::Step).is_some();
    for (at, expected) in host.steps.iter().enumerate() {
        let Some((line, step)) = device.steps.get(at) else {
            // Answers may come without steps; one that was cut off has no more of them; and one that took
            // fewer steps says so.
            let ended = device.forwards.is_some_and(|count| count as usize == at);
            if !traced || device.checksum.is_none() || ended {
                return None;
            }
            let line = device.steps.last().map_or(device.line, |(line, _)| *line);
            return Some(missing(expected, line));
        };
        if step.number != expected.number {
            return Some(missing(expected, *line));
        }
        let difference = decision(step, expected).or_else(|| {
            (step.checksum != expected.checksum)
                .then_some(Difference::Arithmetic { step: expected.number })
        });
        if let Some(difference) = difference {
            let in_transit = later_sum_agrees(device, host, at);
            return Some(Finding { difference, in_transit, line: *line });
        }
    }
    let (line, _) = device.steps.get(host.steps.len())?;
    let number = |steps: usize| u32::try_from(steps).unwrap_or(u32::MAX);
    let difference =
        Difference::Steps { device: number(device.steps.len()), host: number(host.steps.len()) };
    Some(Finding { difference, in_transit: false, line: *line })
}

fn first_in_results(device: &Answer, host: &HostAnswer) -> Option<Finding> {
    let difference =
        token(device, host).or_else(|| count(device, host)).or_else(|| checksum(device, host))?;
    let in_transit = match difference {
        Difference::Token { .. } | Difference::Steps { .. } => {
            device.checksum == Some(host.checksum) || has_all_steps(device, host)
        }
        Difference::Checksum { .. } => has_all_steps(device, host),
        _ => false,
    };
    Some(Finding { difference, in_transit, line: device.line })
}

/// Whether the log has every step. Those that it has agree, when this is asked.
fn has_all_steps(device: &Answer, host: &HostAnswer) -> bool {
    device.steps.len() == host.steps.len() && !host.steps.is_empty()
}

fn missing(step: &Step, line: usize) -> Finding {
    let difference = Difference::MissingStep { step: step.number };
    Finding { difference, in_transit: false, line }
}

/// Whether the checksum of the step at `at`, or one after it, is as it should be: each covers all that is
/// before it.
fn later_sum_agrees(device: &Answer, host: &HostAnswer, at: usize) -> bool {
    let later = device.steps.iter().zip(&host.steps).skip(at);
    later
        .into_iter()
        .any(|((_, device), host)| device.number == host.number && device.checksum == host.checksum)
        || device.checksum == Some(host.checksum)
}

fn decision(device: &Step, host: &Step) -> Option<Difference> {
    let (there, here) = (by_position(device), by_position(host));
    let change = |changes: &BTreeMap<u32, Change>, position| changes.get(&position).copied();
    let mut positions = there.keys().chain(here.keys()).copied().collect::<Vec<_>>();
    positions.sort_unstable();
    let step = host.number;
    let first = positions.into_iter().find(|&p| change(&there, p) != change(&here, p));
    match first {
        Some(position) => {
            let (device, host) = (change(&there, position), change(&here, position));
            Some(Difference::Decision { step, position, device, host })
        }
        None => (device.decisions != host.decisions).then_some(Difference::Order { step }),
    }
}

fn by_position(step: &Step) -> BTreeMap<u32, Change> {
    step.decisions.iter().map(|decision| (decision.position, decision.change)).collect()
}

fn token(device: &Answer, host: &HostAnswer) -> Option<Difference> {
    let tokens = device.tokens.as_ref()?;
    let all = tokens.len().max(host.tokens.len());
    let index = (0..all).find(|&at| tokens.get(at) != host.tokens.get(at))?;
    Some(Difference::Token {
        index,
        position: host.prompt.saturating_add(index),
        device: tokens.get(index).copied(),
        host: host.tokens.get(index).copied(),
    })
}

fn count(device: &Answer, host: &HostAnswer) -> Option<Difference> {
    let here = u32::try_from(host.steps.len()).unwrap_or(u32::MAX);
    let there = device.forwards.filter(|&count| count != here)?;
    Some(Difference::Steps { device: there, host: here })
}

fn checksum(device: &Answer, host: &HostAnswer) -> Option<Difference> {
    let hex = |sum: u64| format!("{sum:016x}");
    match device.checksum {
        None if device.unreadable(Kind::Checksum).is_some() => None,
        None => Some(Difference::CutOff {
            steps: u32::try_from(device.steps.len()).unwrap_or(u32::MAX),
            of: u32::try_from(host.steps.len()).unwrap_or(u32::MAX),
            complaint: device.complaint.clone(),
        }),
        Some(sum) if sum != host.checksum => {
            let tokens_agree = device.tokens.is_some() || has_all_steps(device, host);
            Some(Difference::Checksum { device: hex(sum), host: hex(host.checksum), tokens_agree })
        }
        Some(_) => None,
    }
}

fn unreadable(device: &Answer) -> Option<Finding> {
    let mut lines = Kind::ALL.into_iter().filter_map(|kind| Some((kind, device.unreadable(kind)?)));
    let (record, line) = lines.next()?;
    Some(Finding { difference: Difference::Unreadable { record }, in_transit: false, line })
}

fn text(device: &Answer, host: &HostAnswer) -> Option<Finding> {
    let (there, here) = (one_line(device.text.as_ref()?), one_line(&host.text));
    let differs = there != here;
    let difference = Difference::Text { device: there, host: here };
    differs.then_some(Finding { difference, in_transit: false, line: device.line })
}

/// A text as devices print it, with spaces for its control characters, and without what a line of a log
/// loses at its end.
fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c < ' ' { ' ' } else { c }).collect();
    line.trim_end_matches(|c: char| c.is_control() || c.is_whitespace()).to_owned()
}
