//! A comparison in numbers and sentences.

use super::super::options::ModelArgs;
use super::super::table;
use super::super::{CliError, Problem, eval};
use crate::harness::comparison::{Comparison, Distances};
use crate::harness::statistics::{Estimate, mean};
use crate::harness::task::{Kind, Mark, Task};
use crate::load::LoadedModel;
use serde::Serialize;
use std::io::Write;

/// One of the two models.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) family: &'static str,
    /// Type that its weights were rounded to while loading.
    pub(super) rounded_to: Option<String>,
    /// See [`LoadedModel::digest`].
    pub(super) digest: String,
}

impl Named {
    pub(super) fn of(
        args: &ModelArgs,
        name: String,
        model: &LoadedModel,
    ) -> Result<Self, CliError> {
        Ok(Self {
            name,
            family: model.config().architecture.name(),
            rounded_to: args.round_to.map(|to| format!("{to:?}").to_lowercase()),
            digest: model.digest().problem()?,
        })
    }

    /// For people.
    pub(super) fn title(&self) -> String {
        match &self.rounded_to {
            Some(to) => format!("{} as {to}", self.name),
            None => self.name.clone(),
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct About {
    pub(super) a: Named,
    pub(super) b: Named,
    pub(super) task: String,
    pub(super) kind: Kind,
    pub(super) items: usize,
    pub(super) draws: u32,
    pub(super) seed: u64,
    /// How items were decoded, if they were.
    pub(super) method: Option<String>,
}

/// A score of both, in percent.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct PairedScore {
    pub(super) name: &'static str,
    pub(super) items: usize,
    pub(super) a: Estimate,
    pub(super) b: Estimate,
    /// The second's less the first's, item by item.
    pub(super) difference: Estimate,
}

impl PairedScore {
    /// All scores of a task.
    pub(super) fn all(task: &Task, a: &[Vec<Mark>], b: &[Vec<Mark>]) -> Vec<Self> {
        let scores =
            |marks: &[Vec<Mark>]| task.scores(&marks.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let (of_a, of_b) = (scores(a), scores(b));
        let paired = |score: &crate::harness::task::Score| {
            let other = of_b.iter().find(|other| other.name == score.name)?;
            // What each item adds to its score beyond the mean: the paired difference of two ratios.
            let rest = |marks: &[Vec<Mark>], percent: f64| {
                let own = |marks: &Vec<Mark>| {
                    let mark = marks.iter().find(|mark| mark.name == score.name);
                    mark.map_or((0.0, 0.0), |mark| (mark.hits, mark.of))
                };
                let own: Vec<(f64, f64)> = marks.iter().map(own).collect();
                let size = mean(&own.iter().map(|(_, of)| *of).collect::<Vec<_>>()).value;
                own.iter()
                    .map(|(hits, of)| (100.0 * hits - percent * of) / size)
                    .collect::<Vec<f64>>()
            };
            let (rest_a, rest_b) = (rest(a, score.percent.value), rest(b, other.percent.value));
            let rest: Vec<f64> = rest_b.iter().zip(&rest_a).map(|(b, a)| b - a).collect();
            let value = other.percent.value - score.percent.value;
            Some(Self {
                name: score.name,
                items: a.len(),
                a: score.percent,
                b: other.percent,
                difference: Estimate { value, error: mean(&rest).error },
            })
        };
        of_a.iter().filter_map(paired).collect()
    }
}

/// Decodes of both.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Decoded {
    /// Percent of tokens placed alike up to the first step that differs.
    pub(super) trajectory: Estimate,
    /// Percent of items decoded alike from beginning to end.
    pub(super) same_path: Estimate,
    /// Percent of items with the same answer.
    pub(super) same_answers: Estimate,
    /// Per item, the share of tokens placed alike up to the first step that differs.
    pub(super) until_divergence: Vec<f64>,
    /// Forward passes per item.
    pub(super) forwards: [Estimate; 2],
    pub(super) scores: Vec<PairedScore>,
    /// Scores of items of one kind.
    pub(super) groups: Vec<(&'static str, Vec<PairedScore>)>,
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub(super) about: About,
    pub(super) texts: Comparison,
    pub(super) decoded: Option<Decoded>,
}

/// Names of everything that budgets can be about.
pub(super) fn names(task: &Task, decodes: bool) -> Vec<String> {
    let texts = [
        "kl",
        "kl_median",
        "kl_p99",
        "kl_max",
        "same_top",
        "delta_p",
        "delta_p_rms",
        "nll_a",
        "nll_b",
        "nll_difference",
    ];
    let mut names: Vec<String> = texts.map(String::from).to_vec();
    if decodes {
        names.extend(["trajectory", "same_path", "same_answers"].map(String::from));
        for score in task.kind().scores().iter().copied().chain(task.groups()) {
            names.extend(score_names(score));
        }
    }
    names
}

/// Names of the numbers of a score: of the second model, and its difference from the first.
fn score_names(score: &str) -> [String; 2] {
    [score.to_owned(), format!("{score}_difference")]
}

impl Report {
    /// All numbers that budgets can be about.
    pub(super) fn numbers(&self) -> Vec<(String, f64)> {
        let Comparison { distances: d, a, b, difference, .. } = &self.texts;
        let numbers = [
            ("kl", d.kl.value),
            ("kl_median", d.kl_median),
            ("kl_p99", d.kl_p99),
            ("kl_max", d.kl_max),
            ("same_top", d.same_top.value),
            ("delta_p", d.delta_p.value),
            ("delta_p_rms", d.delta_p_rms),
            ("nll_a", a.per_token.value),
            ("nll_b", b.per_token.value),
            ("nll_difference", difference.value),
        ];
        let mut numbers = numbers.map(|(name, value)| (name.to_owned(), value)).to_vec();
        if let Some(decoded) = &self.decoded {
            numbers.push(("trajectory".into(), decoded.trajectory.value));
            numbers.push(("same_path".into(), decoded.same_path.value));
            numbers.push(("same_answers".into(), decoded.same_answers.value));
            let scores = decoded.scores.iter().map(|score| (score.name, score));
            let groups = decoded.groups.iter();
            let groups = groups.filter_map(|(name, scores)| Some((*name, scores.first()?)));
            for (name, score) in scores.chain(groups) {
                let [name, difference] = score_names(name);
                numbers.extend([(name, score.b.value), (difference, score.difference.value)]);
            }
        }
        numbers
    }

    pub(super) fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// What it comes to, a sentence each.
    pub(super) fn verdict(&self) -> Vec<String> {
        let (a, b) = (self.about.a.title(), self.about.b.title());
        let d = &self.texts.distances;
        if d.kl_max == 0.0 && d.delta_p_rms == 0.0 {
            return vec![format!(
                "{b} gives the same distributions as {a}: every KL divergence is zero."
            )];
        }
        let mut said = vec![format!(
            "{b} is {} {a}: {} nats of KL divergence per masked token, and the same first choice for {:.1} % \
             of them.",
            closeness(d),
            number(d.kl.value),
            d.same_top.value
        )];
        said.push(self.likelihood_sentence());
        if let Some(worst) = self.texts.worst_decile() {
            let difference = worst.difference.unwrap_or_default();
            said.push(format!(
                "It loses most where {:.0} to {:.0} % of the tokens are hidden: {} nats per token there.",
                100.0 * worst.above,
                100.0 * worst.up_to,
                signed(difference)
            ));
        }
        if let Some(decoded) = &self.decoded {
            said.push(format!(
                "Decoding, {:.1} % of the answers are the same, and {:.1} % of the tokens are placed alike up \
                 to the first step that differs.",
                decoded.same_answers.value, decoded.trajectory.value
            ));
            said.extend(decoded.scores.first().map(score_sentence));
        }
        said
    }

    fn likelihood_sentence(&self) -> String {
        let (difference, a) = (self.texts.difference, self.texts.a.per_token.value);
        match (difference.is_clear(), difference.value > 0.0) {
            (false, _) => format!(
                "Its likelihood is not clearly another one: {} nats per token, of {}.",
                signed(difference),
                number(a)
            ),
            (true, worse) => format!(
                "It is {} at predicting what is right: {} nats per token, of {}.",
                if worse { "worse" } else { "better" },
                signed(difference),
                number(a)
            ),
        }
    }

    /// The verdict, and tables.
    pub(super) fn print(&self, out: &mut impl Write) -> Result<(), CliError> {
        for sentence in self.verdict() {
            writeln!(out, "{sentence}")?;
        }
        writeln!(out)?;
        let row = |name: String, d: &Distances| {
            let mut cells = vec![name, d.tokens.to_string()];
            cells
                .extend([d.kl.value, d.kl_median, d.kl_p99, d.kl_max].map(|kl| format!("{kl:.5}")));
            cells.extend([format!("{:.2}", d.same_top.value), format!("{:.2}", d.delta_p_rms)]);
            cells
        };
        let ratios =
            self.texts.ratios.iter().map(|at| row(format!("{:.1}", at.ratio), &at.distances));
        let rows: Vec<_> = ratios.chain([row("all".into(), &self.texts.distances)]).collect();
        let header =
            ["hidden", "tokens", "KL mean", "median", "p99", "max", "same top %", "rms dp %"];
        table::print(out, &header, &rows)?;
        writeln!(out)?;
        let cell = |estimate: Option<Estimate>| {
            estimate.map_or(String::new(), |e| format!("{:.4}", e.value))
        };
        let rows: Vec<Vec<String>> = self
            .texts
            .deciles
            .iter()
            .filter(|decile| decile.a.is_some())
            .map(|d| {
                let ratio = format!("{:.1} - {:.1}", d.above, d.up_to);
                let error = d.difference.map_or(String::new(), |d| format!("{:.4}", d.error));
                vec![ratio, cell(d.a), cell(d.b), cell(d.difference), error]
            })
            .collect();
        table::print(out, &["hidden", "nats a", "nats b", "difference", "error"], &rows)?;
        if let Some(decoded) = &self.decoded {
            writeln!(out)?;
            let row = |name: &str, score: &PairedScore| {
                let mut cells = vec![name.to_owned(), score.items.to_string()];
                cells.extend(
                    [score.a, score.b, score.difference].map(|e| format!("{:.2}", e.value)),
                );
                cells.push(format!("{:.2}", score.difference.error));
                cells
            };
            let all = decoded.scores.iter().map(|score| row(eval::title(score.name), score));
            let groups =
                decoded.groups.iter().filter_map(|(name, scores)| Some(row(name, scores.first()?)));
            let rows: Vec<_> = all.chain(groups).collect();
            table::print(out, &["score, %", "n", "a", "b", "difference", "error"], &rows)?;
        }
        Ok(())
    }
}

/// A word for a distance. The lines are where llama.cpp's tables have 8, 5 to 6, and 4 bits per weight.
fn closeness(d: &Distances) -> &'static str {
    match d.kl.value {
        kl if kl <= 0.003 => "next to indistinguishable from",
        kl if kl <= 0.02 => "close to",
        kl if kl <= 0.1 => "clearly apart from",
        _ => "far from",
    }
}

fn score_sentence(score: &PairedScore) -> String {
    let [a, b] = [score.a.value, score.b.value].map(|value| format!("{value:.1} %"));
    let (title, difference) = (eval::title(score.name), score.difference);
    let points = format!("{:+.1} ± {:.1} points", difference.value, difference.error);
    match score.items > 1 && difference.is_clear() {
        true => format!("Score ({title}): {a} becomes {b}, {points}."),
        false => format!("Score ({title}): {a} and {b}, which is no clear difference ({points})."),
    }
}

/// With as many digits as it needs.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.3}"),
        v if v >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

/// With its sign and error.
pub(super) fn signed(estimate: Estimate) -> String {
    let sign = if estimate.value > 0.0 { "+" } else { "" };
    format!("{sign}{} ± {}", number(estimate.value), number(estimate.error))
}
