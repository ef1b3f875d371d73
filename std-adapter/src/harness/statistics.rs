//! Means, ratios and quantiles with their standard errors.

/// A number and its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Its standard error; 0 where one observation leaves it unknown.
    pub error: f64,
}

impl Estimate {
    /// The same in another unit.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { value: self.value * factor, error: self.error * factor.abs() }
    }

    /// Whether it lies more than two standard errors from zero.
    #[must_use]
    pub fn is_clear(self) -> bool {
        self.value.abs() > 2.0 * self.error && self.value != 0.0
    }
}

/// Mean with its standard error; of one item that is unknown, and 0 is said.
#[must_use]
pub fn mean(list: &[f64]) -> Estimate {
    let n = list.len().max(1) as f64;
    let value = list.iter().sum::<f64>() / n;
    let squares: f64 = list.iter().map(|x| (x - value).powi(2)).sum();
    let error = if list.len() > 1 { (squares / (n - 1.0) / n).sqrt() } else { 0.0 };
    Estimate { value, error }
}

/// Ratio of two sums over the same items, `None` where the lower one is not above zero. The error is that
/// of its linear approximation (Cochran, "Sampling Techniques", 1977, section 6.4): items are independent,
/// what belongs to one item need not be.
#[must_use]
pub fn ratio(above: &[f64], below: &[f64]) -> Option<Estimate> {
    let (a, b): (f64, f64) = (above.iter().sum(), below.iter().sum());
    if b <= 0.0 {
        return None;
    }
    // Of the sums, not of means: one rounding, so that a share that is on a limit is not found below it.
    let value = a / b;
    let rest: Vec<f64> = above.iter().zip(below).map(|(a, b)| a - value * b).collect();
    Some(Estimate { value, error: mean(&rest).error / mean(below).value })
}

/// The smallest number with at least `share` of a sorted list at or below it; 0 of an empty list.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).or(sorted.last()).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn means_and_errors() {
        let of = mean(&[1.0, 2.0, 3.0, 4.0]);
        assert!(near(of.value, 2.5) && near(of.error, (5.0f64 / 3.0 / 4.0).sqrt()));
        assert_eq!(mean(&[7.0]), Estimate { value: 7.0, error: 0.0 });
        assert_eq!(mean(&[]).value, 0.0);
        assert!(Estimate { value: -3.0, error: 1.0 }.is_clear());
        assert!(!Estimate { value: 1.0, error: 1.0 }.is_clear() && !mean(&[0.0]).is_clear());
    }

    #[test]
    fn a_constant_ratio_has_no_error() {
        let of = ratio(&[4.0, 8.0, 20.0], &[1.0, 2.0, 5.0]).unwrap();
        assert!(near(of.value, 4.0) && near(of.error, 0.0));
        // Against the spread of many resamples: items 2/1 and 4/1 in equal parts.
        let (above, below): (Vec<f64>, Vec<f64>) =
            (0..100).map(|i| (if i % 2 == 0 { 2.0 } else { 4.0 }, 1.0)).unzip();
        let of = ratio(&above, &below).unwrap();
        assert!(near(of.value, 3.0) && (of.error - 0.1).abs() < 0.001, "{of:?}");
        assert_eq!((ratio(&[1.0], &[0.0]), ratio(&[], &[])), (None, None));
    }

    /// `0.58 * 100.0` is less than 58.
    #[test]
    fn whole_percentages_are_whole() {
        for (hits, items) in (1..150).flat_map(|items| (0..=items).map(move |hits| (hits, items))) {
            let flag = |at| if at < hits { 100.0 } else { 0.0 };
            let flags: Vec<f64> = (0..items).map(flag).collect();
            let ones = vec![1.0; items];
            let whole = 100 * hits / items;
            if whole * items == 100 * hits {
                assert_eq!(mean(&flags).value, whole as f64);
                assert_eq!(ratio(&flags, &ones).unwrap().value, whole as f64);
            }
        }
    }

    #[test]
    fn quantiles_are_members() {
        let list: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!((quantile(&list, 0.5), quantile(&list, 0.99)), (100.0, 198.0));
        assert_eq!((quantile(&list, 0.0), quantile(&list, 1.0)), (1.0, 200.0));
        assert_eq!((quantile(&[], 0.5), quantile(&[3.0], 0.99)), (0.0, 3.0));
    }
}
