//! Rounding a whole tensor under an objective.

use super::descent::improve_row;
use super::feedback::{fit_row, inner_feedback};
use super::objective::{Objective, quadratic};
use crate::parallel::in_order;
use demask::packed::{GROUP, Group, GroupScale, WeightFormat};
use std::convert::Infallible;

/// Rows that a thread takes at a time.
const ROWS_PER_PIECE: usize = 8;

/// A tensor that has been rounded.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Row by row, `cols.div_ceil(32)` each.
    pub groups: Vec<Group>,
    /// Sum over rows of the objective's loss.
    pub loss: f64,
}

/// Rounds `weights` `[rows, objective.size()]` to Q4 or Q8 on up to `threads` threads; `None` for formats
/// with other scales. All weights are finite and within
/// [`largest_weight`](crate::round::largest_weight).
#[must_use]
pub fn fit_tensor(
    weights: &[f32],
    objective: &Objective,
    format: WeightFormat,
    threads: usize,
) -> Option<Fit> {
    if !matches!(format, WeightFormat::Q4 | WeightFormat::Q8) {
        return None;
    }
    let size = objective.size().max(1);
    let inner = inner_feedback(objective);
    let work = |_: &mut (), rows: &[f32]| {
        let per_row = size.div_ceil(GROUP);
        let mut groups = vec![([0; GROUP], GroupScale::zero(format)); rows.len() / size * per_row];
        let (mut differences, mut loss) = (vec![0.0; size], 0.0);
        for (row, groups) in rows.chunks_exact(size).zip(groups.chunks_exact_mut(per_row)) {
            fit_row(row, objective, &inner, format, &mut differences, groups);
            improve_row(objective, format, &mut differences, groups);
            loss += objective.loss(&differences);
        }
        Ok::<_, Infallible>((groups, loss))
    };
    let Ok(pieces) = in_order(threads, weights.chunks(ROWS_PER_PIECE * size), || (), work);
    let (groups, losses): (Vec<_>, Vec<f64>) = pieces.into_iter().unzip();
    Some(Fit { groups: groups.concat(), loss: losses.iter().sum() })
}

/// Sum over rows of `d^T H d`, with `d` the difference of `weights` `[rows, cols]` and what `groups` store
/// of them, or all of `weights` where there are no groups. `hessian` is `[cols, cols]`.
#[must_use]
pub fn loss_of(
    weights: &[f32],
    groups: Option<(&[Group], WeightFormat)>,
    hessian: &[f64],
    cols: usize,
    threads: usize,
) -> f64 {
    let per_row = cols.div_ceil(GROUP);
    let rows = weights.chunks_exact(cols.max(1)).enumerate();
    let work = |d: &mut Vec<f64>, (index, row): (usize, &[f32])| {
        d.clear();
        d.extend(row.iter().map(|w| f64::from(*w)));
        if let Some((groups, format)) = groups {
            let groups = &groups[index * per_row..][..per_row];
            for (d, (values, scale)) in d.chunks_mut(GROUP).zip(groups) {
                let step = f64::from(scale.factors(format).step);
                d.iter_mut().zip(values).for_each(|(d, v)| *d -= step * f64::from(*v));
            }
        }
        Ok::<f64, Infallible>(quadratic(hessian, d))
    };
    let Ok(losses) = in_order(threads, rows, Vec::new, work);
    losses.iter().sum()
}
