//! How often a policy is right on list tasks, if the model knows every conditional exactly: closed forms,
//! to test policies by (the theory of ParallelBench, arXiv 2510.04767, and what follows from it).
//!
//! All are about an [`Oracle`](super::oracle::Oracle), one block, and tokens that are drawn at temperature
//! 1 unless said otherwise. `sizes` are how many tokens the steps commit. With n items:
//!
//! | task | holds for policies that choose positions | accuracy |
//! |---|---|---|
//! | one right answer (copy, reverse, sort, `-index`) | in any way | 1 |
//! | shuffle | in any way that depends on probabilities alone: all items left have the same | [`shuffle`] |
//! | replace-random | without looking at what is drawn: random, left to right, by entropy | [`replace_random`] |
//! | replace-random | by the probability of what is drawn: low-confidence remasking | [`replace_random_by_confidence`] |
//! | replace-random | those at or above a threshold, or the best one | [`replace_random_threshold`] |
//! | any | left to right | [`left_to_right`] |
//!
//! The steps of the threshold and of the entropy bound follow from the probabilities: [`threshold_sizes`],
//! [`entropy_sizes`].
//!
//! The published forms are special cases. All at once: shuffle `n!/n^n`, replace-random
//! `((n-1)/n)^(n-1)`. One at a time: 1. Shuffle is perfect for a threshold above 1/2. Replace-random at
//! temperature 0 is 1 for a threshold above `(n-1)/n` and else 0, for n of 3 or more: a proposal *at* the
//! threshold is committed here, where the publication has it wait. At temperature 0 with two tokens per
//! step the publication has 1/2, with even chances at the tie; here ties go to the lower token, which
//! makes 1/3 over random items ([`replace_random_greedy`]).

use super::lists::Answers;

/// Sizes of the even schedule's steps: `n` tokens in `steps` steps, the larger ones first.
#[must_use]
pub fn even_sizes(n: usize, steps: usize) -> Vec<usize> {
    let steps = steps.max(1);
    (0..steps).map(|step| n / steps + usize::from(step < n % steps)).filter(|k| *k > 0).collect()
}

/// Sizes of steps if `m` tokens that are left make a step of `size(m)`.
fn sizes_by(n: usize, size: impl Fn(usize) -> usize) -> Vec<usize> {
    let (mut left, mut sizes) = (n, Vec::new());
    while left > 0 {
        let k = size(left).clamp(1, left);
        sizes.push(k);
        left -= k;
    }
    sizes
}

/// Steps of a threshold on shuffle: one token while 1/m is below it, then all m.
#[must_use]
pub fn threshold_sizes(n: usize, threshold: f64) -> Vec<usize> {
    sizes_by(n, |m| if 1.0 / m as f64 >= threshold { m } else { 1 })
}

/// Steps of an entropy bound, if every token that is left has `entropy(m)` nats: as many as have at most
/// `nats` together, one not counted.
#[must_use]
pub fn entropy_sizes(n: usize, nats: f64, entropy: impl Fn(usize) -> f64) -> Vec<usize> {
    // Without entropy the quotient is infinite: all that are left.
    sizes_by(n, |m| 1usize.saturating_add((nats / entropy(m)) as usize))
}

/// Entropy of a shuffle's position with m items left, in nats.
#[must_use]
pub fn shuffle_entropy(m: usize) -> f64 {
    (m as f64).ln()
}

/// Entropy of a position of replace-random with m undecided ones, and the new item not yet placed, in
/// nats.
#[must_use]
pub fn replace_random_entropy(m: usize) -> f64 {
    let p = 1.0 / m as f64;
    let term = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    term(p) + term(1.0 - p)
}

/// Shuffle: in each step all k draws from the m items left must be different, which
/// `m (m-1) ... (m-k+1)` of `m^k` are.
#[must_use]
pub fn shuffle(sizes: &[usize]) -> f64 {
    let mut left: usize = sizes.iter().sum();
    let mut accuracy = 1.0;
    for &k in sizes {
        accuracy *= (0..k).map(|i| (left - i) as f64 / left as f64).product::<f64>();
        left -= k;
    }
    accuracy
}

/// Replace-random, positions chosen without looking at the draws. Each step of k of m draws the new item
/// once and is right, or never and goes on, or more than once and is wrong.
#[must_use]
pub fn replace_random(sizes: &[usize]) -> f64 {
    replace_steps(sizes, |m, k| {
        let draws = |hits| binomial(k, hits, 1.0 / m as f64);
        (draws(0), draws(1))
    })
}

/// The same, the most probable draws first, so that new items wait: a step of k of m commits as many as
/// are drawn beyond the m-k that remain.
#[must_use]
pub fn replace_random_by_confidence(sizes: &[usize]) -> f64 {
    replace_steps(sizes, |m, k| {
        let draws = |hits| binomial(m, hits, 1.0 / m as f64);
        ((0..=m - k).map(draws).sum(), draws(m - k + 1))
    })
}

/// The same at temperature 0, where the old items win while three or more are left. With two left both
/// tokens are as probable; ties go to the lower id, and in one of three orders of random items that is
/// right.
#[must_use]
pub fn replace_random_greedy(sizes: &[usize]) -> f64 {
    match sizes.last() {
        None | Some(1) => 1.0,
        Some(2) => 1.0 / 3.0,
        Some(_) => 0.0,
    }
}

/// `step(m, k)`: how probable it is that the new item is not placed, and that it is placed once.
fn replace_steps(sizes: &[usize], step: impl Fn(usize, usize) -> (f64, f64)) -> f64 {
    let mut left: usize = sizes.iter().sum();
    let (mut right, mut open) = (0.0, 1.0);
    for &k in sizes {
        let (none, once) = step(left, k);
        right += open * once;
        open *= none;
        left -= k;
    }
    right
}

/// Replace-random with a threshold: of m draws the old items have probability (m-1)/m and the new one
/// 1/m. What reaches the threshold is committed, or else the best one.
#[must_use]
pub fn replace_random_threshold(n: usize, threshold: f64) -> f64 {
    let mut accuracy: Vec<f64> = vec![0.0];
    for m in 1..=n {
        let p = 1.0 / m as f64;
        let draws = |hits| binomial(m, hits, p);
        let (new_passes, old_passes) = (p >= threshold, 1.0 - p >= threshold);
        accuracy.push(match (new_passes, old_passes) {
            (true, true) => draws(1),
            // Only with one left.
            (true, false) => 1.0,
            // The old items go; where the new one was drawn, it is drawn again. None left: it is lost.
            // All of them new: the best one is committed, and it is right.
            (false, true) => draws(m) + (1..m).map(|new| draws(new) * accuracy[new]).sum::<f64>(),
            // An old item, or the new one if nothing else is drawn.
            (false, false) => {
                draws(m) + (1.0 - draws(m)) * if m == 1 { 1.0 } else { accuracy[m - 1] }
            }
        });
    }
    accuracy[n]
}

/// Any task, `sizes` tokens per step from the left: the sum over the right answers of the product of
/// their conditionals. Orders are all tried, so there should be few items.
#[must_use]
pub fn left_to_right(answers: &Answers, sizes: &[usize]) -> f64 {
    let probability = |answer: &[u32]| {
        let mut canvas = vec![super::lists::MASK; answer.len()];
        let (mut product, mut start) = (1.0, 0);
        for &k in sizes {
            let end = (start + k).min(answer.len());
            for (at, right) in answer.iter().enumerate().take(end).skip(start) {
                let weights = answers.conditional(&canvas, at);
                let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
                let own = weights.iter().filter(|(token, _)| token == right);
                product *= own.map(|(_, weight)| weight).sum::<f64>() / total;
            }
            canvas[start..end].copy_from_slice(&answer[start..end]);
            start = end;
        }
        product
    };
    every(answers).iter().map(|answer| probability(answer)).sum()
}

/// Bits that are lost by drawing all tokens at once: the sum of the entropies of the positions less that
/// of the answer (conditional total correlation). 0 for copy; `(n-1) (log2 n - log2 (n-1))` for
/// replace-random; `n log2 n - log2 n!` for shuffle.
#[must_use]
pub fn total_correlation(answers: &Answers) -> f64 {
    let blank = vec![super::lists::MASK; answers.length()];
    let entropy = |at: usize| {
        let mut sums = std::collections::BTreeMap::new();
        for (token, weight) in answers.conditional(&blank, at) {
            *sums.entry(token).or_insert(0.0) += weight;
        }
        let total: f64 = sums.values().sum();
        sums.values().map(|weight| weight / total).map(|p| -p * p.log2()).sum::<f64>()
    };
    let count = match answers {
        Answers::These(these) => these.len() as f64,
        Answers::Orders(items) => (1..=items.len()).map(|i| i as f64).product(),
    };
    (0..answers.length()).map(entropy).sum::<f64>() - count.log2()
}

/// All right answers, one by one; the items of an order are different.
fn every(answers: &Answers) -> Vec<Vec<u32>> {
    match answers {
        Answers::These(these) => these.clone(),
        Answers::Orders(items) => {
            let mut orders = vec![Vec::new()];
            for _ in items {
                let longer = orders.iter().flat_map(|order: &Vec<u32>| {
                    let left = items.iter().filter(|item| !order.contains(item));
                    left.map(|item| [order.as_slice(), &[*item]].concat())
                });
                orders = longer.collect();
            }
            orders
        }
    }
}

/// Chance of `hits` among `trials` that each succeed with probability `p`.
fn binomial(trials: usize, hits: usize, p: f64) -> f64 {
    if hits > trials {
        return 0.0;
    }
    let ways: f64 = (0..hits).map(|i| (trials - i) as f64 / (i + 1) as f64).product();
    ways * p.powi(hits as i32) * (1.0 - p).powi((trials - hits) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::lists::ListTask;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }

    #[test]
    fn published_values() {
        let factorial = |n: usize| (1..=n).map(|i| i as f64).product::<f64>();
        for n in 2..9 {
            let m = n as f64;
            close(shuffle(&[n]), factorial(n) / m.powi(n as i32));
            close(replace_random(&[n]), ((m - 1.0) / m).powi(n as i32 - 1));
            let single = vec![1; n];
            for one in
                [shuffle, replace_random, replace_random_by_confidence, replace_random_greedy]
            {
                close(one(&single), 1.0);
            }
            close(shuffle(&threshold_sizes(n, 0.51)), 1.0);
            close(replace_random_threshold(n, (m - 1.0) / m + 1e-9), 1.0);
            let lost = |task: ListTask| total_correlation(&task.answers(n, &task.prompt(n, 1)));
            close(lost(ListTask::Copy) + lost(ListTask::Sort) + lost(ListTask::ReplaceIndex), 0.0);
            close(lost(ListTask::ReplaceRandom), (m - 1.0) * (m.log2() - (m - 1.0).log2()));
            close(lost(ListTask::Shuffle), m * m.log2() - factorial(n).log2());
        }
        close(shuffle(&[2, 2]), 12.0 / 16.0 * 0.5);
        close(replace_random(&[1, 1, 2]), 0.75);
    }

    /// The special forms are what the sum over all right answers gives.
    #[test]
    fn sums_over_all_answers() {
        for (n, steps) in (2..6).flat_map(|n| (1..=n).map(move |steps| (n, steps))) {
            let sizes = even_sizes(n, steps);
            let sum = |task: ListTask| left_to_right(&task.answers(n, &task.prompt(n, 3)), &sizes);
            close(sum(ListTask::Shuffle), shuffle(&sizes));
            close(sum(ListTask::ReplaceRandom), replace_random(&sizes));
            close(sum(ListTask::Reverse), 1.0);
        }
    }
}
