//! Which matrices get 8 bits, under a budget of bytes or of divergence.
//!
//! Each matrix is rounded to 4 and to 8 bits with all others as they are, and the divergence that this causes is
//! measured. Small divergences add up, to first order: so matrices get 8 bits in the order of divergence saved per
//! byte (as HAWQ does with an estimate, Dong et al. 2020, arXiv 1911.03852).

use super::divergence::Distributions;
use super::error::CalibrateError;
use super::layers::nearest;
use super::streamed::Streamed;
use demask::image::{ALIGN, ModelConfig, TensorRole, stored_bytes};
use demask::packed::{Format, WeightFormat};
use demask_quant::WeightSource;
use demask_quant::calibrated::{QuantizedTensor, QuantizedWeights};
use std::collections::BTreeMap;

/// What a matrix costs in 4 and in 8 bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sensitivity {
    /// Which matrix.
    pub role: TensorRole,
    /// Divergence in nats when it alone is in Q4.
    pub four_bits: f64,
    /// The same in Q8.
    pub eight_bits: f64,
    /// Bytes that Q8 takes beyond Q4.
    pub bytes: u64,
}

impl Sensitivity {
    fn saved(&self) -> f64 {
        (self.four_bits - self.eight_bits).max(0.0)
    }
}

/// What may be spent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// Bytes beyond an image of nothing but Q4.
    Bytes(u64),
    /// Divergence in nats.
    Divergence {
        /// At most this.
        limit: f64,
        /// What a sum of sensitivities stands for: 1, or less if rounding is better than to nearest.
        factor: f64,
    },
}

/// Measures every matrix. Takes two runs of the float model per matrix.
///
/// # Errors
/// [`CalibrateError`] if weights cannot be read.
pub fn sensitivities(
    distributions: &Distributions<'_>,
    config: &ModelConfig,
    source: &dyn WeightSource,
    progress: &mut dyn FnMut(&Sensitivity),
) -> Result<Vec<Sensitivity>, CalibrateError> {
    let mut all = Vec::new();
    for role in TensorRole::all(config).filter(|role| !role.stays_f32()) {
        let (rows, cols) = role.shape(config);
        let mut weights = vec![0.0; rows * cols];
        source.read_rows(role, 0, &mut weights).map_err(CalibrateError::Weights)?;
        let measure = |format| {
            let groups = nearest(&weights, cols, format);
            let rounded = BTreeMap::from([(role, QuantizedTensor { format, cols, groups })]);
            let weights = QuantizedWeights { source, rounded };
            let stored = |role, first, out: &mut [f32]| weights.read_stored(role, first, out);
            let model = Streamed::new(*config, stored);
            distributions.against_float(&model).map(|divergence| divergence.mean)
        };
        let padded = |format| stored_bytes(format, rows, cols).next_multiple_of(ALIGN as u64);
        let sensitivity = Sensitivity {
            role,
            four_bits: measure(WeightFormat::Q4)?,
            eight_bits: measure(WeightFormat::Q8)?,
            bytes: padded(Format::Q8) - padded(Format::Q4),
        };
        progress(&sensitivity);
        all.push(sensitivity);
    }
    Ok(all)
}

/// Chooses the matrices that get Q8; all others get Q4. Also returns the divergence that is then expected.
#[must_use]
pub fn choose(
    sensitivities: &[Sensitivity],
    budget: Budget,
) -> (BTreeMap<TensorRole, Format>, f64) {
    let formats = sensitivities.iter().map(|s| (s.role, Format::Q4));
    let mut formats: BTreeMap<_, _> = formats.collect();
    let mut expected: f64 = sensitivities.iter().map(|s| s.four_bits).sum();
    let mut order: Vec<&Sensitivity> = sensitivities.iter().collect();
    let per_byte = |s: &Sensitivity| s.saved() / s.bytes.max(1) as f64;
    order.sort_by(|a, b| per_byte(b).total_cmp(&per_byte(a)));
    let mut spent = 0;
    for sensitivity in order {
        let take = match budget {
            Budget::Bytes(bytes) => spent + sensitivity.bytes <= bytes,
            Budget::Divergence { limit, factor } => expected * factor > limit,
        };
        if take {
            spent += sensitivity.bytes;
            expected -= sensitivity.saved();
            formats.insert(sensitivity.role, Format::Q8);
        }
    }
    (formats, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> [Sensitivity; 3] {
        let sensitivity = |l, four_bits, bytes| Sensitivity {
            role: TensorRole::Up(l),
            four_bits,
            eight_bits: 0.001,
            bytes,
        };
        [sensitivity(0, 0.011, 100), sensitivity(1, 0.051, 1000), sensitivity(2, 0.021, 50)]
    }

    fn eight(budget: Budget) -> Vec<u32> {
        let (formats, _) = choose(&three(), budget);
        assert_eq!(formats.len(), 3);
        let eight = formats.iter().filter(|(_, format)| **format == Format::Q8);
        eight.filter_map(|(role, _)| role.layer()).collect()
    }

    #[test]
    fn bytes_are_spent_where_they_save_most_and_never_overspent() {
        assert!(eight(Budget::Bytes(49)).is_empty());
        assert_eq!(eight(Budget::Bytes(149)), [2]);
        assert_eq!(eight(Budget::Bytes(150)), [0, 2]);
        // The dearest does not fit behind the best, but nothing else is worse for it.
        assert_eq!(eight(Budget::Bytes(1_100)), [0, 2]);
        assert_eq!(eight(Budget::Bytes(1_150)), [0, 1, 2]);
    }

    #[test]
    fn divergence_falls_below_the_limit_and_no_further() {
        let at = |limit| Budget::Divergence { limit, factor: 1.0 };
        assert!(eight(at(0.084)).is_empty());
        assert_eq!(eight(at(0.07)), [2]);
        assert_eq!(eight(at(0.06)), [0, 2]);
        assert_eq!(eight(at(0.001)), [0, 1, 2]);
        assert!(eight(Budget::Divergence { limit: 0.042, factor: 0.5 }).is_empty());
        let (_, expected) = choose(&three(), at(0.07));
        assert!((expected - 0.063).abs() < 1e-12);
    }
}
