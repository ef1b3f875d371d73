//! From values to places on a picture, and the numbers beside them.

/// A range of values on a stretch of the picture.
pub(in crate::cli) struct Axis {
    pub(in crate::cli) low: f64,
    pub(in crate::cli) high: f64,
    pub(in crate::cli) from: f64,
    pub(in crate::cli) to: f64,
}

impl Axis {
    pub(in crate::cli) fn at(&self, value: f64) -> f64 {
        self.from + (self.to - self.from) * (value - self.low) / (self.high - self.low)
    }
}

/// Round numbers from `low` to `high`, about `count` of them.
pub(in crate::cli) fn ticks(low: f64, high: f64, count: f64) -> Vec<f64> {
    let raw = ((high - low) / count).max(1e-9);
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw);
    let step = step.unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// 1, 2, 5, 10, ... from `low` to `high`.
pub(in crate::cli) fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(power)));
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

/// A number with as many digits as it needs.
pub(in crate::cli) fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

pub(in crate::cli) fn tick_text(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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
