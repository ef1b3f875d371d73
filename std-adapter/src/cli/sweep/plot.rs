//! Quality against a cost as inline SVG.

use super::page::escape;
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

/// A range of values on a stretch of the picture.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        self.from + (self.to - self.from) * (value - self.low) / (self.high - self.low)
    }
}

/// Round numbers from `low` to `high`, about `count` of them.
fn ticks(low: f64, high: f64, count: f64) -> Vec<f64> {
    let raw = ((high - low) / count).max(1e-9);
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw);
    let step = step.unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// 1, 2, 5, 10, ... from `low` to `high`.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(power)));
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

/// A number with as many digits as it needs.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn tick_text(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One picture: every row a point, those that nothing beats joined. `class_of` gives a point's colour.
pub(super) fn draw(
    rows: &[Row],
    cost: usize,
    (title, unit): (&str, &str),
    class_of: impl Fn(&Row) -> usize,
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
        point(&mut svg, row, cost, place(row), class_of(row));
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

fn point(svg: &mut String, row: &Row, cost: usize, (x, y): (f64, f64), class: usize) {
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
            "<circle class=\"c{class}{edge}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\">\
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
        let (class, x) = if x > WIDTH * 0.55 { ("end name", x - 4.0) } else { ("name", x + 4.0) };
        let name = escape(label);
        push(svg, format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{at:.1}\">{name}</text>"));
    }
}

fn push(svg: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = svg.write_fmt(part);
    svg.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 100.0, 5.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let of = ticks(37.2, 43.9, 6.0);
        assert!(of.len() >= 3 && of.iter().all(|t| (37.2..=43.9).contains(t)), "{of:?}");
        assert_eq!(log_ticks(0.9, 60.0), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!((tick_text(20.0), tick_text(0.05)), ("20".into(), "0.05".into()));
        assert_eq!((short(0.0123), short(1234.5)), ("0.0123".into(), "1234".into()));
    }
}
