use super::*;
use crate::round::round_row;
use demask::packed::{GROUP, Group, GroupScale, WeightFormat};

/// Numbers between -1 and 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1u64 << 23) as f64 - 1.0
    }

    fn many(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next() as f32).collect()
    }

    /// Correlated inputs `[rows, size]`, of unlike strength.
    fn inputs(&mut self, rows: usize, size: usize) -> Vec<f32> {
        let mut x = self.many(rows * size);
        for row in x.chunks_exact_mut(size) {
            for k in 1..size {
                row[k] = (0.8 * row[k - 1] + 0.4 * row[k]) * (1.0 + (k % 3) as f32 * 0.4);
                row[k] = row[k].clamp(-3.0, 3.0);
            }
        }
        x
    }
}

fn moments(x: &[f32], size: usize) -> Vec<f64> {
    let mut moments = Moments::new(size);
    moments.add(x, &vec![1.0; x.len() / size], 2);
    moments.mean()
}

fn identity(size: usize) -> Vec<f64> {
    (0..size * size).map(|i| f64::from(i % (size + 1) == 0)).collect()
}

fn nearest(weights: &[f32], cols: usize, format: WeightFormat) -> Vec<Group> {
    let mut groups = Vec::new();
    for row in weights.chunks_exact(cols) {
        let mut own = vec![([0; GROUP], GroupScale::zero(format)); cols.div_ceil(GROUP)];
        round_row(row, &[], format, &mut own).unwrap();
        groups.extend(own);
    }
    groups
}

/// The mean squared error of the outputs on the inputs themselves: what the moments stand for.
fn output_error(
    weights: &[f32],
    groups: &[Group],
    format: WeightFormat,
    x: &[f32],
    cols: usize,
) -> f64 {
    let mut stored = vec![0.0; weights.len()];
    dequantize(groups, format, cols, &mut stored);
    let mut sum = 0.0;
    for x in x.chunks_exact(cols) {
        for (row, stored) in weights.chunks_exact(cols).zip(stored.chunks_exact(cols)) {
            let error: f64 = (0..cols)
                .map(|k| f64::from(x[k]) * (f64::from(row[k]) - f64::from(stored[k])))
                .sum();
            sum += error * error;
        }
    }
    sum / (x.len() / cols) as f64
}

#[test]
fn moments_are_weighted_means_of_products() {
    let x = [1.0, 2.0, -3.0, 0.5, 9.0, 9.0];
    let mut moments = Moments::new(2);
    moments.add(&x, &[1.0, 3.0, 0.0], 3);
    let expected = [(1.0 + 27.0) / 4.0, (2.0 - 4.5) / 4.0, (2.0 - 4.5) / 4.0, (4.0 + 0.75) / 4.0];
    assert_eq!(moments.mean(), expected);
    assert_eq!(Moments::new(2).mean(), [0.0; 4]);
}

#[test]
fn the_loss_is_the_error_of_the_outputs() {
    let mut random = Random(1);
    let (rows, cols) = (6, 70);
    let (weights, x) = (random.many(rows * cols), random.inputs(50, cols));
    let hessian = moments(&x, cols);
    let groups = nearest(&weights, cols, WeightFormat::Q4);
    let measured = output_error(&weights, &groups, WeightFormat::Q4, &x, cols);
    let loss = loss_of(&weights, Some((&groups, WeightFormat::Q4)), &hessian, cols, 2);
    assert!((loss / measured - 1.0).abs() < 1e-6, "{loss} {measured}");
}

/// Of all values that a scale allows, found by trying them.
fn least_loss(weights: &[f32], hessian: &[f64], scale: f64) -> f64 {
    let size = weights.len();
    let mut least = f64::INFINITY;
    for code in 0..16usize.pow(size as u32) {
        let value = |k: usize| (code / 16usize.pow(k as u32) % 16) as f64 - 8.0;
        let d: Vec<f64> = (0..size).map(|k| f64::from(weights[k]) - scale * value(k)).collect();
        let rows = d.iter().enumerate();
        let loss = rows.map(|(i, di)| {
            di * d.iter().enumerate().map(|(j, dj)| hessian[i * size + j] * dj).sum::<f64>()
        });
        least = least.min(loss.sum());
    }
    least
}

#[test]
fn no_other_values_are_much_better_and_rounding_to_nearest_is_far_worse() {
    let mut random = Random(2);
    let size = 4;
    let (mut fitted, mut best, mut plain) = (0.0, 0.0, 0.0);
    for _ in 0..12 {
        let (weights, x) = (random.many(size), random.inputs(6, size));
        let objective = Objective::full(&moments(&x, size), size);
        let hessian: Vec<f64> = (0..size).flat_map(|k| objective.hessian(k).to_vec()).collect();
        let fit = fit_tensor(&weights, &objective, WeightFormat::Q4, 1).unwrap();
        let scale = fit.groups[0].1.factors(WeightFormat::Q4).step;
        let least = least_loss(&weights, &hessian, scale.into());
        assert!(fit.loss >= least * 0.999_999, "{} {least}", fit.loss);
        let groups = nearest(&weights, size, WeightFormat::Q4);
        plain += loss_of(&weights, Some((&groups, WeightFormat::Q4)), &hessian, size, 1);
        (fitted, best) = (fitted + fit.loss, best + least);
    }
    assert!(fitted < 1.6 * best, "{fitted} {best}");
    assert!(fitted < 0.5 * plain, "{fitted} {plain}");
}

#[test]
fn feedback_halves_the_error_of_outputs() {
    let mut random = Random(3);
    let (rows, cols) = (16, 96);
    let (weights, x) = (random.many(rows * cols), random.inputs(300, cols));
    let hessian = moments(&x, cols);
    let error = |groups: &[Group]| output_error(&weights, groups, WeightFormat::Q4, &x, cols);
    let fit = |objective: &Objective| fit_tensor(&weights, objective, WeightFormat::Q4, 2).unwrap();
    let plain = error(&nearest(&weights, cols, WeightFormat::Q4));
    let important = error(&fit(&Objective::diagonal(&hessian, cols)).groups);
    let full = error(&fit(&Objective::full(&hessian, cols)).groups);
    assert!(important < 0.97 * plain, "{important} {plain}");
    assert!(full < 0.5 * plain, "{full} {plain}");
}

#[test]
fn where_all_inputs_are_alike_nothing_is_made_up_for() {
    let mut random = Random(4);
    let (rows, cols) = (10, 80);
    let weights = random.many(rows * cols);
    let hessian = identity(cols);
    for format in [WeightFormat::Q4, WeightFormat::Q8] {
        let full = fit_tensor(&weights, &Objective::full(&hessian, cols), format, 1).unwrap();
        let diagonal = fit_tensor(&weights, &Objective::diagonal(&hessian, cols), format, 1);
        assert_eq!(full.groups, diagonal.unwrap().groups);
        // And every weight is at the value nearest to it.
        for (row, groups) in weights.chunks(cols).zip(full.groups.chunks(cols.div_ceil(GROUP))) {
            for (weights, (values, scale)) in row.chunks(GROUP).zip(groups) {
                let step = scale.factors(format).step;
                let (min, max) = format.range();
                for (w, v) in weights.iter().zip(values) {
                    let wanted = (w / step).clamp(min.into(), max.into());
                    assert!((wanted - f32::from(*v)).abs() < 0.501, "{w} {step} {v}");
                }
            }
        }
        let plain = nearest(&weights, cols, format);
        let loss = |groups: &[Group]| loss_of(&weights, Some((groups, format)), &hessian, cols, 1);
        assert!(loss(&full.groups) <= loss(&plain) * 1.000_001);
    }
}

#[test]
fn threads_change_nothing() {
    let mut random = Random(5);
    let (rows, cols) = (37, 64);
    let (weights, x) = (random.many(rows * cols), random.inputs(40, cols));
    let run = |threads| {
        let mut moments = Moments::new(cols);
        moments.add(&x, &[0.7; 40], threads);
        let objective = Objective::full(&moments.mean(), cols);
        fit_tensor(&weights, &objective, WeightFormat::Q4, threads)
    };
    assert_eq!(run(1), run(5));
}

#[test]
fn inputs_that_were_never_seen_leave_weights_near_their_values() {
    let mut random = Random(6);
    let cols = 32;
    let weights = random.many(cols);
    let mut x = random.inputs(100, cols);
    x.iter_mut().skip(3).step_by(cols).for_each(|x| *x = 0.0);
    for hessian in [moments(&x, cols), vec![0.0; cols * cols]] {
        let fit =
            fit_tensor(&weights, &Objective::full(&hessian, cols), WeightFormat::Q4, 1).unwrap();
        let (values, scale) = fit.groups[0];
        let step = scale.factors(WeightFormat::Q4).step;
        assert!((weights[3] - step * f32::from(values[3])).abs() <= step.abs() * 0.51);
    }
}

#[test]
fn odd_weights_are_no_trouble() {
    let objective = Objective::full(&identity(40), 40);
    let zeros = fit_tensor(&[0.0; 80], &objective, WeightFormat::Q4, 1).unwrap();
    assert!(zeros.groups.iter().all(|(values, _)| *values == [0; GROUP]) && zeros.loss == 0.0);
    assert_eq!(fit_tensor(&[0.0; 40], &objective, WeightFormat::Q4K, 1), None);
    let tiny = fit_tensor(&[1e-30; 40], &objective, WeightFormat::Q8, 1).unwrap();
    assert!(tiny.groups.iter().all(|(_, scale)| scale.is_finite()));
}
