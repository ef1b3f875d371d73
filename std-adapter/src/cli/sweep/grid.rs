//! Which combinations are measured, in which order.

use super::super::options::DecodeArgs;
use super::super::{CliError, Problem};
use crate::methods::{Choice, Counts, End, Part, Plan, Policy, Setting, Spec};
use crate::read::read_capped;
use demask::decode::CommitPolicy;
use serde::{Deserialize, Serialize};
use std::path::Path;

const MAX_GRID: u64 = 1 << 20;

/// One combination.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) choice: Choice,
    /// Tokens per block, if not what the model usually has.
    pub(super) block_length: Option<usize>,
    /// Steps, if not one per token.
    pub(super) steps: Option<usize>,
}

/// A cell as it is written in grids and results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CellText {
    #[serde(default = "first::<Policy>")]
    pub(super) policy: String,
    #[serde(default = "first::<Counts>")]
    pub(super) schedule: String,
    #[serde(default = "first::<Plan>")]
    pub(super) cache: String,
    #[serde(default = "first::<End>")]
    pub(super) eos: String,
    #[serde(default)]
    pub(super) block_length: Option<usize>,
    #[serde(default)]
    pub(super) steps: Option<usize>,
}

/// What is to be combined with what. Whatever is empty stands for its usual value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Grid {
    pub(super) policies: Vec<String>,
    pub(super) schedules: Vec<String>,
    pub(super) caches: Vec<String>,
    pub(super) eos: Vec<String>,
    pub(super) block_lengths: Vec<usize>,
    pub(super) steps: Vec<usize>,
    /// Single combinations besides.
    pub(super) cells: Vec<CellText>,
}

fn first<K: Part>() -> String {
    K::first().name.to_owned()
}

impl Grid {
    /// Reads a grid from a JSON file.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let bytes = read_capped(path, MAX_GRID);
        let bytes = bytes
            .map_err(|error| CliError::new(format!("cannot read {}: {error}", path.display())))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            CliError::new(format!(
                "{} is no grid: {error}; expected is an object of lists: policies, schedules, caches, \
                 eos, block_lengths, steps, cells",
                path.display()
            ))
        })
    }

    fn is_empty(&self) -> bool {
        let lists = [&self.policies, &self.schedules, &self.caches, &self.eos];
        let numbers = [&self.block_lengths, &self.steps];
        lists.iter().all(|list| list.is_empty()) && numbers.iter().all(|list| list.is_empty())
    }

    /// All combinations in order, the baseline first, none twice.
    pub(super) fn cells(&self) -> Result<Vec<Cell>, CliError> {
        let mut cells = vec![Cell::baseline()];
        let texts = match (self.is_empty(), self.cells.is_empty()) {
            (true, true) => Self::everything(),
            (true, false) => Vec::new(),
            (false, _) => self.product(),
        };
        for text in texts.iter().chain(&self.cells) {
            let cell = text.cell()?;
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        Ok(cells)
    }

    fn product(&self) -> Vec<CellText> {
        let or_first = |list: &[String], first: String| match list.is_empty() {
            true => vec![first],
            false => list.to_vec(),
        };
        let or_none = |list: &[usize]| match list.is_empty() {
            true => vec![None],
            false => list.iter().copied().map(Some).collect::<Vec<_>>(),
        };
        let mut cells = Vec::new();
        for policy in or_first(&self.policies, first::<Policy>()) {
            for schedule in or_first(&self.schedules, first::<Counts>()) {
                for cache in or_first(&self.caches, first::<Plan>()) {
                    for eos in or_first(&self.eos, first::<End>()) {
                        for block_length in or_none(&self.block_lengths) {
                            for steps in or_none(&self.steps) {
                                let (policy, schedule) = (policy.clone(), schedule.clone());
                                let (cache, eos) = (cache.clone(), eos.clone());
                                let cell =
                                    CellText { policy, schedule, cache, eos, block_length, steps };
                                cells.push(cell);
                            }
                        }
                    }
                }
            }
        }
        cells
    }

    /// Every method alone against the baseline, and every cache plan and end rule with the threshold
    /// policy too.
    fn everything() -> Vec<CellText> {
        let policies = Policy::entries()
            .map(|entry| CellText { policy: entry.name.into(), ..CellText::default() });
        let schedules = Counts::entries()
            .map(|entry| CellText { schedule: entry.name.into(), ..CellText::default() });
        let mut cells: Vec<CellText> = policies.chain(schedules).collect();
        for policy in [first::<Policy>(), "threshold".to_owned()] {
            let with = CellText { policy, ..CellText::default() };
            cells.extend(
                Plan::entries().map(|entry| CellText { cache: entry.name.into(), ..with.clone() }),
            );
            cells.extend(
                End::entries().map(|entry| CellText { eos: entry.name.into(), ..with.clone() }),
            );
        }
        cells
    }
}

impl Default for CellText {
    fn default() -> Self {
        Self {
            policy: first::<Policy>(),
            schedule: first::<Counts>(),
            cache: first::<Plan>(),
            eos: first::<End>(),
            block_length: None,
            steps: None,
        }
    }
}

impl CellText {
    /// The combination, with all parameters. Steps are left out of what does not follow a schedule.
    pub(super) fn cell(&self) -> Result<Cell, CliError> {
        let choice = Choice {
            policy: self.policy.parse().problem()?,
            schedule: self.schedule.parse().problem()?,
            cache: self.cache.parse().problem()?,
            end: self.eos.parse().problem()?,
        };
        let steps = self.steps.filter(|_| follows_schedule(&choice.policy));
        Ok(Cell { choice, block_length: self.block_length, steps })
    }
}

fn follows_schedule(policy: &Spec<Policy>) -> bool {
    let setting = Setting::typical(64);
    let Ok(bytes) = policy.memory_bytes(&setting) else { return false };
    let mut memory = crate::methods::PartsMemory::new(bytes);
    policy.build(&setting, &mut memory.pieces()).is_ok_and(|policy| policy.follows_schedule())
}

impl Cell {
    /// One token per step, everything computed.
    pub(super) fn baseline() -> Self {
        Self { choice: Choice::default(), block_length: None, steps: None }
    }

    pub(super) fn text(&self) -> CellText {
        let Choice { policy, schedule, end, cache } = &self.choice;
        CellText {
            policy: policy.to_string(),
            schedule: schedule.to_string(),
            cache: cache.to_string(),
            eos: end.to_string(),
            block_length: self.block_length,
            steps: self.steps,
        }
    }

    /// What it decodes like, with what all cells have in common.
    pub(super) fn decode(&self, common: &DecodeArgs) -> DecodeArgs {
        let Choice { policy, schedule, end, cache } = self.choice.clone();
        DecodeArgs {
            policy: Some(policy),
            schedule: Some(schedule),
            cache: Some(cache),
            eos: Some(end),
            block_length: self.block_length,
            steps: self.steps,
            ..common.clone()
        }
    }

    /// What tells it from the baseline, short.
    pub(super) fn label(&self) -> String {
        let (Choice { policy, schedule, end, cache }, base) = (&self.choice, Choice::default());
        let mut parts = vec![policy.to_string()];
        if *schedule != base.schedule {
            parts.push(schedule.to_string());
        }
        if *cache != base.cache {
            parts.push(format!("{cache} cache"));
        }
        if *end != base.end {
            parts.push(end.to_string());
        }
        parts.extend(self.block_length.map(|length| format!("blocks of {length}")));
        parts.extend(self.steps.map(|steps| format!("{steps} steps")));
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(grid: &Grid) -> Vec<String> {
        grid.cells().unwrap().iter().map(Cell::label).collect()
    }

    #[test]
    fn cells_come_in_order_and_once() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let grid = Grid {
            policies: list(&["threshold:0.8", "low-confidence", "threshold:p=0.8"]),
            caches: list(&["none", "dual"]),
            steps: vec![7],
            ..Grid::default()
        };
        let expected = [
            "low-confidence",
            "threshold:p=0.8",
            "threshold:p=0.8, dual cache",
            "low-confidence, 7 steps",
            "low-confidence, dual cache, 7 steps",
        ];
        let without_refresh = |label: String| label.replace("dual:refresh=0", "dual");
        let labels: Vec<String> = labels(&grid).into_iter().map(without_refresh).collect();
        assert_eq!(labels, expected);
    }

    #[test]
    fn single_cells_stand_alone() {
        let grid: Grid =
            serde_json::from_str("{\"cells\":[{\"policy\":\"threshold\",\"block_length\":8}]}")
                .unwrap();
        assert_eq!(labels(&grid), ["low-confidence", "threshold:p=0.9, blocks of 8"]);
        assert!(serde_json::from_str::<Grid>("{\"polices\":[]}").is_err());
        assert!(serde_json::from_str::<Grid>("{\"cells\":[{\"p\":1}]}").is_err());
    }

    #[test]
    fn nothing_asked_means_everything() {
        let cells = Grid::default().cells().unwrap();
        for entry in Policy::entries() {
            assert!(cells.iter().any(|cell| cell.choice.policy.has(entry.name)), "{}", entry.name);
        }
        for entry in Plan::entries() {
            let with = cells.iter().filter(|cell| cell.choice.cache.has(entry.name));
            assert!(with.count() >= 2, "{}", entry.name);
        }
        assert_eq!(cells[0], Cell::baseline());
    }

    #[test]
    fn cells_read_back() {
        for cell in Grid::default().cells().unwrap() {
            assert_eq!(cell.text().cell().unwrap(), cell);
        }
    }
}
