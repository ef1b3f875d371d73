//! `demask policies`: every way of decoding, and what each is about.

use super::{CliError, Problem};
use crate::methods::{Counts, End, Entry, Facts, Kind, Part, Plan, Policy, Spec};
use clap::Args;
use demask::decode::Needs;
use serde_json::{Value, json};
use std::io::{self, Write};

#[derive(Debug, Args)]
pub(super) struct PoliciesArgs {
    /// Only this policy, with its parameters
    #[arg(long, value_name = "POLICY")]
    policy: Option<Spec<Policy>>,
    /// Only this schedule
    #[arg(long, value_name = "SCHEDULE")]
    schedule: Option<Spec<Counts>>,
    /// Only this cache plan
    #[arg(long, value_name = "PLAN")]
    cache: Option<Spec<Plan>>,
    /// Only this end rule
    #[arg(long, value_name = "RULE")]
    eos: Option<Spec<End>>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PoliciesArgs) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let asked = [
        details(args.policy.as_ref()),
        details(args.schedule.as_ref()),
        details(args.cache.as_ref()),
        details(args.eos.as_ref()),
    ];
    let asked: Vec<Value> = asked.into_iter().flatten().collect();
    if !asked.is_empty() {
        return print_details(&mut out, &asked, args.json);
    }
    if args.json {
        let all = json!({
            "policies": list::<Policy>(), "schedules": list::<Counts>(),
            "caches": list::<Plan>(), "eos": list::<End>(),
        });
        return Ok(writeln!(out, "{all}")?);
    }
    section::<Policy>(&mut out, "policies")?;
    section::<Counts>(&mut out, "schedules")?;
    section::<Plan>(&mut out, "cache plans")?;
    section::<End>(&mut out, "end rules")?;
    writeln!(
        out,
        "A method is written NAME or NAME:PARAMETER=VALUE,... and wrappers stand before a +.\n\
         demask policies --policy NAME tells more."
    )?;
    Ok(())
}

/// What is known of an entry, for machines.
fn describe<K: Part>(entry: &'static Entry<K>) -> Value {
    let parameters: Vec<_> = entry
        .parameters
        .iter()
        .map(|parameter| {
            let default = match parameter.kind {
                // As it is written: 0.9 in f64 is not 0.9 in f32.
                Kind::Number { default, .. } => default.to_string().parse().unwrap_or(json!(null)),
                Kind::Count { default, .. } => json!(default),
                _ => json!(parameter.kind.default_value().to_string()),
            };
            let allowed = parameter.kind.to_string();
            json!({
                "name": parameter.name, "about": parameter.about, "default": default,
                "allowed": allowed,
            })
        })
        .collect();
    let published = entry.published.map(
        |published| json!({ "times": published.times, "of": published.of, "on": published.on }),
    );
    let mut value = json!({
        "kind": K::KIND, "option": K::OPTION, "name": entry.name, "aliases": entry.aliases,
        "rule": entry.rule, "source": entry.source, "parameters": parameters,
        "wraps": entry.wraps, "published": published,
    });
    if let (Ok(facts), Some(fields)) = (entry.facts(), value.as_object_mut()) {
        fields.insert("needs".into(), words(facts.needs));
        fields.insert("forbids".into(), words(facts.forbids));
        fields.insert("notes".into(), json!(facts.notes));
        fields.insert("exact".into(), json!(facts.exact));
        fields.insert("fixed_bytes".into(), json!(facts.fixed_bytes));
        fields.insert("bytes_per_position".into(), json!(facts.bytes_per_position));
    }
    value
}

fn words(needs: Needs) -> Value {
    needs.names().collect()
}

fn list<K: Part>() -> Vec<Value> {
    K::entries().map(describe).collect()
}

/// Every part of what was asked for, with the values that it would have.
fn details<K: Part>(spec: Option<&Spec<K>>) -> Vec<Value> {
    let Some(spec) = spec else { return Vec::new() };
    spec.entries().map(describe).collect()
}

fn section<K: Part>(out: &mut impl Write, title: &str) -> io::Result<()> {
    writeln!(out, "{title} ({})\n", K::OPTION)?;
    for entry in K::entries() {
        let around = if entry.wraps { "+..." } else { "" };
        let parameters = entry.parameters.iter();
        let constants: Vec<String> =
            parameters.map(|p| format!("{}={}", p.name, p.kind.default_value())).collect();
        let colon = if constants.is_empty() { "" } else { ":" };
        writeln!(out, "  {}{colon}{}{around}", entry.name, constants.join(","))?;
        writeln!(out, "      {}", entry.rule)?;
        writeln!(out, "      {}", remarks(entry).join("; "))?;
    }
    writeln!(out)
}

/// Source, exactness, needs, memory.
fn remarks<K: Part>(entry: &'static Entry<K>) -> Vec<String> {
    let mut remarks = vec![entry.source.to_owned()];
    let Ok(facts) = entry.facts() else { return remarks };
    let exact = facts.exact.map(|exact| if exact { "exact" } else { "approximate" });
    remarks.extend(exact.map(str::to_owned));
    if !facts.needs.is_empty() {
        remarks.push(format!("needs {}", facts.needs));
    }
    remarks.extend(facts.notes.iter().map(|note| (*note).to_owned()));
    remarks.extend(memory(&facts));
    remarks
}

fn memory(facts: &Facts) -> Option<String> {
    match (facts.fixed_bytes, facts.bytes_per_position) {
        (0, 0) => None,
        (fixed, 0) => Some(format!("{fixed} bytes")),
        (0, each) => Some(format!("{each} bytes per position")),
        (fixed, each) => Some(format!("{fixed} bytes and {each} per position")),
    }
}

fn print_details(out: &mut impl Write, asked: &[Value], json: bool) -> Result<(), CliError> {
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string(asked).problem()?)?);
    }
    for (i, value) in asked.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        print_one(out, value)?;
    }
    Ok(())
}

fn print_one(out: &mut impl Write, value: &Value) -> io::Result<()> {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let all = |key: &str| {
        let items = value[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        items.collect::<Vec<_>>().join(", ")
    };
    writeln!(out, "{} {}: {}", text("option"), text("name"), text("rule"))?;
    let mut line = |name: &str, text: String| match text.is_empty() {
        true => Ok(()),
        false => writeln!(out, "  {name:<12}{text}"),
    };
    line("source", text("source"))?;
    line("also called", all("aliases"))?;
    line("needs", all("needs"))?;
    line("refuses", all("forbids"))?;
    line("notes", all("notes"))?;
    match value["exact"].as_bool() {
        Some(true) => line("result", "exact: every score as without it".into())?,
        Some(false) => line("result", "approximate".into())?,
        None => {}
    }
    let bytes = |key: &str| value[key].as_u64().unwrap_or(0);
    match (bytes("fixed_bytes"), bytes("bytes_per_position")) {
        (0, 0) => {}
        (fixed, each) => line("memory", format!("{fixed} bytes, {each} per position"))?,
    }
    if let Some(times) = value["published"]["times"].as_f64() {
        let of = value["published"]["of"].as_str().unwrap_or_default();
        let on = value["published"]["on"].as_str().unwrap_or_default();
        line("published", format!("{times} times fewer {of} ({on})"))?;
    }
    for parameter in value["parameters"].as_array().into_iter().flatten() {
        let part = |key: &str| match &parameter[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (name, default, about) = (part("name"), part("default"), part("about"));
        writeln!(out, "  {name}={default}  {about}; {}", part("allowed"))?;
    }
    Ok(())
}
