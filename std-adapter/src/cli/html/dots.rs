//! Values by name, a row each, with error bars: for names that would not fit below a picture.

use super::axis::{Axis, tick_text, ticks};
use super::chart::{Point, Series, key};
use super::{escape, push};

const WIDTH: f64 = 420.0;
const LEFT: f64 = 128.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 8.0;
const ROW: f64 = 30.0;
const BOTTOM: f64 = 26.0;

/// Percentages of several kinds by row.
pub(in crate::cli) fn draw(title: &str, rows: &[String], series: &[Series]) -> String {
    let title = escape(title);
    let mut html = format!("<figure>\n<figcaption>{title}</figcaption>\n");
    key(&mut html, series);
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + BOTTOM;
    push(
        &mut html,
        format_args!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">"),
    );
    let x = Axis { low: 0.0, high: 100.0, from: LEFT, to: WIDTH - RIGHT };
    for tick in ticks(x.low, x.high, 5.0) {
        let (at, below, text) = (x.at(tick), bottom + 17.0, tick_text(tick));
        push(&mut html, format_args!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>"));
        push(
            &mut html,
            format_args!("<text class=\"mid\" x=\"{at:.1}\" y=\"{below}\">{text}</text>"),
        );
    }
    for (number, name) in rows.iter().enumerate() {
        let (left, below) = (LEFT - 10.0, TOP + ROW * (number as f64 + 0.5) + 4.0);
        let name = escape(name);
        push(
            &mut html,
            format_args!("<text class=\"end\" x=\"{left}\" y=\"{below:.1}\">{name}</text>"),
        );
    }
    for (number, one) in series.iter().enumerate() {
        let shift = (number as f64 - (series.len() as f64 - 1.0) / 2.0) * 8.0;
        for Point { at, value, error } in one.points.iter().filter(|p| p.value.is_finite()) {
            let y = TOP + ROW * (*at as f64 + 0.5) + shift;
            let place = |value: f64| x.at(value.clamp(x.low, x.high));
            let (low, middle, high) =
                (place(value - 2.0 * error), place(*value), place(value + 2.0 * error));
            let name = escape(&one.name);
            push(
                &mut html,
                format_args!("<path class=\"line s{number}\" d=\"M{low:.1} {y:.1}H{high:.1}\"/>"),
            );
            push(
                &mut html,
                format_args!(
                    "<circle class=\"c{number}\" cx=\"{middle:.1}\" cy=\"{y:.1}\" r=\"3.5\">\
                     <title>{name}: {value:.1} ± {error:.1}</title></circle>"
                ),
            );
        }
    }
    html.push_str("</svg>\n</figure>\n");
    html
}
