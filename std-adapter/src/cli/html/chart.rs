//! Lines over a few places, with error bars, as inline SVG: small enough to be read on a telephone.

use super::axis::{Axis, log_ticks, tick_text, ticks};
use super::{escape, push};
use std::fmt::Write;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// Places between two labels below.
const LABELS: usize = 6;

/// A value at one of the places, with its standard error.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Point {
    /// Number of the place.
    pub(in crate::cli) at: usize,
    pub(in crate::cli) value: f64,
    pub(in crate::cli) error: f64,
}

/// Values of one kind.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Series {
    pub(in crate::cli) name: String,
    pub(in crate::cli) points: Vec<Point>,
}

/// A picture.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Chart<'a> {
    pub(in crate::cli) title: &'a str,
    /// What the places are.
    pub(in crate::cli) across: &'a str,
    pub(in crate::cli) places: Vec<String>,
    pub(in crate::cli) series: Vec<Series>,
    /// Values differ by factors.
    pub(in crate::cli) logarithmic: bool,
    /// Zero belongs on the picture; on a logarithmic axis it cannot be.
    pub(in crate::cli) with_zero: bool,
    pub(in crate::cli) bars: bool,
}

impl Chart<'_> {
    /// The figure, with its caption and, for several series, their key.
    pub(in crate::cli) fn draw(&self) -> String {
        let title = escape(self.title);
        let mut html = format!("<figure>\n<figcaption>{title}</figcaption>\n");
        if self.series.len() > 1 {
            key(&mut html, &self.series);
        }
        push(
            &mut html,
            format_args!(
                "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
            ),
        );
        let (x, y) = (self.x(), self.y());
        self.axes(&mut html, &x, &y);
        for (number, series) in self.series.iter().enumerate() {
            match self.bars {
                true => self.draw_bars(&mut html, (&x, &y), (number, series)),
                false => self.draw_line(&mut html, (&x, &y), (number, series)),
            }
        }
        html.push_str("</svg>\n</figure>\n");
        html
    }

    fn x(&self) -> Axis {
        let high = self.places.len().max(1) as f64 - 0.5;
        Axis { low: -0.5, high, from: LEFT, to: WIDTH - RIGHT }
    }

    /// Of values, or on a logarithmic axis of their logarithms.
    fn y(&self) -> Axis {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let ends =
            points().flat_map(|p| [p.value - 2.0 * p.error, p.value, p.value + 2.0 * p.error]);
        let ends = ends.filter(|end| end.is_finite() && (!self.logarithmic || *end > 0.0));
        let ends = ends.chain(self.with_zero.then_some(0.0).filter(|_| !self.logarithmic));
        let (low, high) = ends.fold((f64::MAX, f64::MIN), |(a, b), end| (a.min(end), b.max(end)));
        let (low, high) = if low > high { (0.5, 1.0) } else { (low, high) };
        let (from, to) = (HEIGHT - BOTTOM, TOP);
        if self.logarithmic {
            // An error bar may reach almost to zero: a value that far down says nothing.
            let least = points().map(|p| p.value).filter(|v| *v > 0.0).fold(high, f64::min);
            return Axis {
                low: (low.max(least / 3.0) * 0.8).ln(),
                high: (high * 1.25).ln(),
                from,
                to,
            };
        }
        // Around values that are all the same there is room for ticks that can be read.
        let margin = if high > low { ((high - low) * 0.06).max(1e-9) } else { 1.0 };
        let below = if self.with_zero && low == 0.0 { 0.0 } else { margin };
        Axis { low: low - below, high: high + margin, from, to }
    }

    fn place_y(&self, y: &Axis, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(f64::MIN_POSITIVE).ln() } else { value };
        y.at(value).clamp(TOP, HEIGHT - BOTTOM)
    }

    fn axes(&self, svg: &mut String, x: &Axis, y: &Axis) {
        let rows = match self.logarithmic {
            true => log_ticks(y.low.exp(), y.high.exp()),
            false => ticks(y.low, y.high, 5.0),
        };
        // On many powers of ten, these alone.
        let many = rows.len() > 8;
        let is_power = |tick: f64| (tick.log10() - tick.log10().round()).abs() < 1e-9;
        for tick in rows.into_iter().filter(|tick| !many || !self.logarithmic || is_power(*tick)) {
            let (at, right, left) = (self.place_y(y, tick), WIDTH - RIGHT, LEFT - 6.0);
            let class = if tick == 0.0 { "zero" } else { "grid" };
            push(svg, format_args!("<path class=\"{class}\" d=\"M{LEFT} {at:.1}H{right}\"/>"));
            let (below, text) = (at + 4.0, number_text(tick));
            push(
                svg,
                format_args!("<text class=\"end\" x=\"{left}\" y=\"{below:.1}\">{text}</text>"),
            );
        }
        let step = self.places.len().div_ceil(LABELS).max(1);
        for (number, name) in
            self.places.iter().enumerate().filter(|(number, _)| number % step == 0)
        {
            let (at, below, name) = (x.at(number as f64), HEIGHT - BOTTOM + 17.0, escape(name));
            push(
                svg,
                format_args!("<text class=\"mid\" x=\"{at:.1}\" y=\"{below}\">{name}</text>"),
            );
        }
        let (middle, below, name) =
            ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0, escape(self.across));
        push(svg, format_args!("<text class=\"mid\" x=\"{middle}\" y=\"{below}\">{name}</text>"));
    }

    fn draw_line(
        &self,
        svg: &mut String,
        (x, y): (&Axis, &Axis),
        (number, series): (usize, &Series),
    ) {
        let points = series.points.iter().filter(|p| p.value.is_finite());
        let points: Vec<&Point> = points.filter(|p| !self.logarithmic || p.value > 0.0).collect();
        // Series beside each other, so that their error bars do not cover each other.
        let shift = (number as f64 - (self.series.len() as f64 - 1.0) / 2.0) * 5.0;
        let mut path = String::new();
        for (i, point) in points.iter().enumerate() {
            let (px, py) = (x.at(point.at as f64) + shift, self.place_y(y, point.value));
            let letter = if i == 0 { 'M' } else { 'L' };
            // Writing to a `String` cannot fail.
            let _ = write!(path, "{letter}{px:.1} {py:.1}");
        }
        push(svg, format_args!("<path class=\"line s{number}\" d=\"{path}\"/>"));
        for point in points {
            let (px, py) = (x.at(point.at as f64) + shift, self.place_y(y, point.value));
            self.error_bar(svg, (px, y), (number, point));
            let title = self.point_title(series, point);
            push(
                svg,
                format_args!(
                    "<circle class=\"c{number}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3.5\"><title>{title}</title></circle>"
                ),
            );
        }
    }

    fn draw_bars(
        &self,
        svg: &mut String,
        (x, y): (&Axis, &Axis),
        (number, series): (usize, &Series),
    ) {
        let wide = (x.at(1.0) - x.at(0.0)) * 0.7;
        for point in series.points.iter().filter(|p| p.value.is_finite()) {
            let (px, py, zero) =
                (x.at(point.at as f64), self.place_y(y, point.value), self.place_y(y, 0.0));
            let (left, top, tall) = (px - wide / 2.0, py.min(zero), (py - zero).abs().max(0.5));
            let title = self.point_title(series, point);
            push(
                svg,
                format_args!(
                    "<rect class=\"c{number}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" \
                     height=\"{tall:.1}\"><title>{title}</title></rect>"
                ),
            );
            self.error_bar(svg, (px, y), (number, point));
        }
    }

    /// Two standard errors to each side.
    fn error_bar(&self, svg: &mut String, (x, y): (f64, &Axis), (number, point): (usize, &Point)) {
        if point.error > 0.0 {
            let low = self.place_y(y, point.value - 2.0 * point.error);
            let high = self.place_y(y, point.value + 2.0 * point.error);
            let class = if self.bars { "whisker".into() } else { format!("line s{number}") };
            push(svg, format_args!("<path class=\"{class}\" d=\"M{x:.1} {low:.1}V{high:.1}\"/>"));
        }
    }

    fn point_title(&self, series: &Series, point: &Point) -> String {
        let place = self.places.get(point.at).map_or("", String::as_str);
        let (value, error) = (number_text(point.value), number_text(point.error));
        let error = if point.error > 0.0 { format!(" ± {error}") } else { String::new() };
        escape(&format!("{}, {place}: {value}{error}", series.name))
    }
}

/// Which colour is which series.
pub(super) fn key(html: &mut String, series: &[Series]) {
    html.push_str("<ul class=\"key\">\n");
    for (number, series) in series.iter().enumerate() {
        let name = escape(&series.name);
        push(
            html,
            format_args!(
                "<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><circle class=\"c{number}\" cx=\"5\" \
                 cy=\"5\" r=\"4\"/></svg>{name}</li>"
            ),
        );
    }
    html.push_str("</ul>\n");
}

/// Short, however small.
fn number_text(value: f64) -> String {
    match value.abs() {
        v if v != 0.0 && v < 0.001 => format!("{value:.0e}"),
        _ => tick_text(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[f64], logarithmic: bool) -> Chart<'static> {
        let point = |(at, value): (usize, &f64)| Point { at, value: *value, error: value.abs() };
        let points = values.iter().enumerate().map(point).collect();
        Chart {
            title: "a < b",
            across: "place",
            places: (0..values.len()).map(|at| at.to_string()).collect(),
            series: vec![Series { name: "\"one\"".into(), points }],
            logarithmic,
            with_zero: true,
            bars: false,
        }
    }

    /// Nothing leaves the picture or is no number, whatever the values.
    #[test]
    fn everything_is_inside() {
        let odd = [
            &[][..],
            &[0.0],
            &[0.0, 0.0],
            &[1e-12, 1e9],
            &[-3.0, 2.0],
            &[f64::NAN, f64::INFINITY, 1.0],
        ];
        for (values, logarithmic) in odd.iter().flat_map(|values| [(values, false), (values, true)])
        {
            for bars in [false, true] {
                let drawn = Chart { bars, ..chart(values, logarithmic) }.draw();
                assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{values:?} {drawn}");
                for part in drawn.split(" cy=\"").skip(1) {
                    let at: f64 = part.split('"').next().unwrap().parse().unwrap();
                    assert!((0.0..=HEIGHT).contains(&at), "{values:?} {drawn}");
                }
                assert!(drawn.contains("a &lt; b") && !drawn.contains("a < b"));
            }
        }
    }

    #[test]
    fn nothing_but_zero_is_drawn_on_a_readable_axis() {
        let drawn = Chart { bars: true, ..chart(&[0.0, 0.0], false) }.draw();
        assert!(drawn.contains(">0.2</text>") && !drawn.contains("e-"), "{drawn}");
    }

    #[test]
    fn larger_is_higher() {
        for logarithmic in [false, true] {
            let chart = chart(&[0.1, 1.0, 10.0], logarithmic);
            let (x, y) = (chart.x(), chart.y());
            assert!(chart.place_y(&y, 1.0) > chart.place_y(&y, 10.0));
            assert!(x.at(0.0) < x.at(1.0) && x.at(2.0) < WIDTH - RIGHT);
        }
    }
}
