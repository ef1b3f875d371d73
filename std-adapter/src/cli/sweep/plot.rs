//! Quality against a cost as inline SVG.

use super::super::html::axis::{Axis, log_ticks, short, tick_text, ticks};
use super::super::html::{escape, push};
use super::report::Row;
use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 48.0;
/// Smallest distance between two labels.
const LINE: f64 = 14.0;
/// Width of a letter, at most.
const LETTER: f64 = 7.0;

/// One picture: every row a point, those that nothing beats joined. `class_of` gives a point's colour.
pub(super) fn draw(
    rows: &[Row],
    cost: usize,
    (title, unit): (&str, &str),
    class_of: impl Fn(&Row) -> String,
) -> String {
    let costs = rows.iter().map(|row| row.summary.cost[cost].value.max(1e-9));
    let (least, most) = costs.fold((f64::MAX, 0.0f64), |(a, b), c| (a.min(c), b.max(c)));
    let qualities = rows.iter().map(|row| row.summary.quality.value);
    let (worst, best) = qualities.fold((f64::MAX, 0.0f64), |(a, b), q| (a.min(q), b.max(q)));
    let margin = ((best - worst) * 0.12).max(1.0);
    // Costs differ by factors: on a logarithmic axis equal gains are equal lengths.
    let x = Axis {
        low: (least * 0.85).ln(),
        high: (most * 1.18).max(least * 1.01).ln(),
        from: LEFT,
        to: WIDTH - RIGHT,
    };
    let y = Axis {
        low: (worst - margin).max(0.0),
        high: (best + margin).min(100.0).max(worst + 0.5),
        from: HEIGHT - BOTTOM,
        to: TOP,
    };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Quality against {}\">\n",
        escape(title)
    );
    axes(&mut svg, &x, &y, &format!("{title}, {unit}"));
    let place = |row: &Row| {
        let s = &row.summary;
        (x.at(s.cost[cost].value.max(1e-9).ln()), y.at(s.quality.value))
    };
    front_line(&mut svg, rows, cost, &place);
    for row in rows {
        point(&mut svg, row, cost, place(row), &class_of(row));
    }
    labels(&mut svg, rows, cost, &place);
    svg.push_str("</svg>\n");
    svg
}

fn axes(svg: &mut String, x: &Axis, y: &Axis, title: &str) {
    for tick in ticks(y.low, y.high, 6.0) {
        let (at, right) = (y.at(tick), WIDTH - RIGHT);
        push(svg, format_args!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>"));
        let (left, below) = (LEFT - 8.0, at + 4.0);
        let text = tick_text(tick);
        push(svg, format_args!("<text class=\"end\" x=\"{left}\" y=\"{below:.1}\">{text}</text>"));
    }
    let bottom = HEIGHT - BOTTOM;
    for tick in log_ticks(x.low.exp(), x.high.exp()) {
        let (at, below) = (x.at(tick.ln()), bottom + 18.0);
        push(svg, format_args!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>"));
        let text = tick_text(tick);
        push(svg, format_args!("<text class=\"mid\" x=\"{at:.1}\" y=\"{below}\">{text}</text>"));
    }
    let (middle, below) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0);
    let title = escape(title);
    push(svg, format_args!("<text class=\"mid\" x=\"{middle}\" y=\"{below}\">{title}</text>"));
}

fn front_line(svg: &mut String, rows: &[Row], cost: usize, place: &impl Fn(&Row) -> (f64, f64)) {
    let mut points: Vec<(f64, f64)> =
        rows.iter().filter(|row| row.front[cost]).map(place).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut path = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        // A better quality begins where it is first reached.
        let _ = match i {
            0 => write!(path, "M{x:.1} {y:.1}"),
            _ => write!(path, "H{x:.1}V{y:.1}"),
        };
    }
    push(svg, format_args!("<path class=\"front\" d=\"{path}\"/>"));
}

fn point(svg: &mut String, row: &Row, cost: usize, (x, y): (f64, f64), class: &str) {
    let s = &row.summary;
    let (radius, edge) = if row.front[cost] { (6.5, " edge") } else { (5.0, "") };
    let text = format!(
        "{}: {:.1} % ± {:.1}, {} ± {}",
        row.label,
        s.quality.value,
        s.quality.error,
        short(s.cost[cost].value),
        short(s.cost[cost].error)
    );
    push(
        svg,
        format_args!(
            "<circle class=\"{class}{edge}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\">\
             <title>{}</title></circle>",
            escape(&text)
        ),
    );
}

/// Names of what nothing beats, moved apart where they would cover each other.
fn labels(svg: &mut String, rows: &[Row], cost: usize, place: &impl Fn(&Row) -> (f64, f64)) {
    let mut labels: Vec<(f64, f64, &str)> = rows
        .iter()
        .filter(|row| row.front[cost])
        .map(|row| (place(row).0, place(row).1, row.label.as_str()))
        .collect();
    labels.sort_by(|a, b| a.1.total_cmp(&b.1));
    labels.dedup_by(|a, b| (a.0 - b.0).abs() < 1.0 && (a.1 - b.1).abs() < 1.0);
    let mut last = f64::MIN;
    for (x, y, label) in labels {
        let at = (y - 10.0).max(last + LINE).max(TOP);
        last = at;
        // To the side where it fits.
        let fits = x + label.chars().count() as f64 * LETTER < WIDTH;
        let (class, x) = if fits { ("name", x + 4.0) } else { ("end name", x - 4.0) };
        let name = escape(label);
        push(svg, format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{at:.1}\">{name}</text>"));
    }
}
