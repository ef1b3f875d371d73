//! The results of a sweep for machines, and in short for a terminal.

use super::super::CliError;
use super::super::table;
use super::grid::Cell;
use super::record::{Measured, Record};
use super::statistics::{Summary, Verdict, compare, front, judge};
use crate::harness::statistics::Estimate;
use crate::methods::{Choice, Cost, Part, Plan, Policy, Published, Spec};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

/// What was measured.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct About {
    pub(super) model: String,
    pub(super) family: String,
    pub(super) task: String,
    /// What quality counts.
    pub(super) measure: String,
    pub(super) items: usize,
}

/// One measured combination.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) cell: Cell,
    pub(super) label: String,
    pub(super) exact: bool,
    pub(super) revisions: u64,
    pub(super) summary: Summary,
    /// Nothing beats it, by [`Cost::ALL`].
    pub(super) front: [bool; 3],
}

/// A published gain beside the measured one.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) method: String,
    pub(super) published: Published,
    pub(super) gain: Estimate,
    pub(super) difference: Estimate,
    pub(super) verdict: Verdict,
}

/// Everything.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) about: About,
    /// The baseline first.
    pub(super) rows: Vec<Row>,
    /// What was not run, and why.
    pub(super) refused: Vec<(Cell, String)>,
    pub(super) claims: Vec<Claim>,
    /// Seconds are processor time.
    pub(super) cpu_time: bool,
}

impl Report {
    /// # Errors
    /// [`CliError`] if the baseline was refused, so that there is nothing to compare with.
    pub(super) fn new(about: About, cells: &[Cell], records: &[&Record]) -> Result<Self, CliError> {
        let baseline = match records.first() {
            Some(Record { measured: Some(measured), .. }) => measured,
            Some(Record { refused: Some(reason), .. }) => {
                return Err(CliError::new(format!("the baseline cannot be decoded: {reason}")));
            }
            _ => return Err(CliError::new("nothing was measured")),
        };
        let mut rows: Vec<Row> = Vec::new();
        let mut refused = Vec::new();
        for (cell, record) in cells.iter().zip(records) {
            match (&record.measured, &record.refused) {
                (Some(measured), _) => rows.push(Row::new(cell, measured, baseline)),
                (None, reason) => refused.push((cell.clone(), reason.clone().unwrap_or_default())),
            }
        }
        for (index, _) in Cost::ALL.iter().enumerate() {
            let points: Vec<_> = rows
                .iter()
                .map(|r| (r.summary.cost[index].value, r.summary.quality.value))
                .collect();
            for (row, on_front) in rows.iter_mut().zip(front(&points)) {
                row.front[index] = on_front;
            }
        }
        let claims = rows.iter().filter_map(Claim::of).collect();
        let cpu_time = records.iter().filter_map(|r| r.measured.as_ref()).all(|m| m.cpu_time);
        Ok(Self { about, rows, refused, claims, cpu_time })
    }

    pub(super) fn json(&self) -> Result<String, serde_json::Error> {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let refused = |(cell, reason): &(Cell, String)| json!({ "label": cell.label(), "cell": cell.text(), "reason": reason });
        let refused: Vec<Value> = self.refused.iter().map(refused).collect();
        let claims: Vec<Value> = self.claims.iter().map(Claim::json).collect();
        let all = json!({
            "about": self.about, "cpu_time": self.cpu_time, "cells": rows, "refused": refused,
            "published": claims,
        });
        serde_json::to_string_pretty(&all)
    }

    pub(super) fn csv(&self) -> String {
        let mut csv = String::from(
            "policy,schedule,cache,eos,block_length,steps,exact_cache,quality,quality_error,\
             difference,difference_error,forwards,rows,seconds,forwards_gain,forwards_gain_error,\
             rows_gain,rows_gain_error,seconds_gain,seconds_gain_error,revisions,refused\n",
        );
        for row in &self.rows {
            let s = &row.summary;
            let mut numbers = vec![s.quality.value, s.quality.error];
            numbers.extend([s.difference.value, s.difference.error]);
            numbers.extend(s.cost.iter().map(|cost| cost.value));
            numbers.extend(s.gain.iter().flat_map(|gain| [gain.value, gain.error]));
            let mut fields = parts(&row.cell);
            fields.push(row.exact.to_string());
            fields.extend(numbers.iter().map(f64::to_string));
            fields.extend([row.revisions.to_string(), String::new()]);
            push_line(&mut csv, &fields);
        }
        let columns = csv.lines().next().map_or(0, |header| header.split(',').count());
        for (cell, reason) in &self.refused {
            let mut fields = parts(cell);
            fields.resize(columns - 1, String::new());
            fields.push(reason.clone());
            push_line(&mut csv, &fields);
        }
        csv
    }

    /// A table of all cells, and where the page is.
    pub(super) fn print(&self, out: &mut impl Write, page: &Path) -> io::Result<()> {
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                let s = &row.summary;
                let mut cells = vec![row.label.clone(), format!("{:.1}", s.quality.value)];
                cells.extend(s.gain.iter().map(|gain| format!("{:.2}", gain.value)));
                cells
            })
            .collect();
        let header = ["method", "quality %", "forwards /", "rows /", "time /"];
        table::print(out, &header, &rows)?;
        for (cell, reason) in &self.refused {
            writeln!(out, "refused: {}: {reason}", cell.label())?;
        }
        writeln!(out, "\n{}", page.display())
    }
}

impl Row {
    fn new(cell: &Cell, measured: &Measured, baseline: &Measured) -> Self {
        let exact = cell
            .choice
            .cache
            .entries()
            .all(|entry| entry.facts().is_ok_and(|facts| facts.exact == Some(true)));
        Self {
            cell: cell.clone(),
            label: cell.label(),
            exact,
            revisions: measured.revisions,
            summary: compare(measured, baseline),
            front: [false; 3],
        }
    }

    fn json(&self) -> Value {
        let text = self.cell.text();
        let s = &self.summary;
        let costs = |list: &[Estimate; 3]| json!({ "forwards": list[0], "rows": list[1], "seconds": list[2] });
        json!({
            "label": self.label, "policy": text.policy, "schedule": text.schedule,
            "cache": text.cache, "eos": text.eos, "block_length": text.block_length,
            "steps": text.steps, "exact_cache": self.exact, "quality": s.quality,
            "difference": s.difference, "cost": costs(&s.cost), "gain": costs(&s.gain),
            "revisions": self.revisions,
            "front": { "forwards": self.front[0], "rows": self.front[1], "seconds": self.front[2] },
        })
    }
}

impl Claim {
    /// The published gain of the one part in which a cell differs from the baseline.
    fn of(row: &Row) -> Option<Self> {
        let (cell, base) = (&row.cell, Choice::default());
        let same_place = cell.block_length.is_none() && cell.steps.is_none();
        let same_rest = cell.choice.schedule == base.schedule && cell.choice.end == base.end;
        let published = if !(same_place && same_rest) {
            None
        } else if cell.choice.cache == base.cache {
            published_of::<Policy>(&cell.choice.policy)
        } else if cell.choice.policy == base.policy {
            published_of::<Plan>(&cell.choice.cache)
        } else {
            None
        }?;
        let index = Cost::ALL.iter().position(|cost| *cost == published.of)?;
        let (gain, difference) = (row.summary.gain[index], row.summary.difference);
        let verdict = judge(published.times, gain, difference);
        Some(Self { method: row.label.clone(), published, gain, difference, verdict })
    }

    fn json(&self) -> Value {
        json!({
            "method": self.method, "times": self.published.times, "of": self.published.of,
            "on": self.published.on, "gain": self.gain, "difference": self.difference,
            "verdict": self.verdict,
        })
    }

    /// What there is to say.
    pub(super) fn sentence(&self) -> String {
        let Self { gain, difference, published, .. } = self;
        let (what, points) = (published.of.name(), difference.value);
        match self.verdict {
            Verdict::Shows => format!("shows: {:.2} times less {what}", gain.value),
            Verdict::Less => {
                format!("shows in part: {:.2} of {} times less {what}", gain.value, published.times)
            }
            Verdict::Absent => {
                format!("does not show: {:.2} of {} times", gain.value, published.times)
            }
            Verdict::Costly => format!(
                "does not show at the same quality: {points:.1} points for {:.2} times less {what}",
                gain.value
            ),
        }
    }
}

fn published_of<K: Part>(spec: &Spec<K>) -> Option<Published> {
    spec.entries().next().and_then(|entry| entry.published)
}

/// The parts of a combination, a field each.
fn parts(cell: &Cell) -> Vec<String> {
    let text = cell.text();
    let number = |n: Option<usize>| n.map_or_else(String::new, |n| n.to_string());
    let numbers = [number(text.block_length), number(text.steps)];
    [text.policy, text.schedule, text.cache, text.eos].into_iter().chain(numbers).collect()
}

fn push_line(csv: &mut String, fields: &[String]) {
    let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
    csv.push_str(&fields.join(","));
    csv.push('\n');
}

fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}
