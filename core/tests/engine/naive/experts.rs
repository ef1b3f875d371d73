//! Mixtures of experts, one row at a time.

use super::{Network, product, sigmoid, silu, sum};
use demask::image::{Experts, TensorRole};
use demask::math::exp;

/// Indices of the `count` largest numbers, of equal ones the first, in ascending order.
fn highest(numbers: &[f32], count: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&a, &b| numbers[b].total_cmp(&numbers[a]).then(a.cmp(&b)));
    order.truncate(count as usize);
    order.sort_unstable();
    order
}

/// The chosen experts and their weights.
fn choose(experts: &Experts, logits: &[f32], bias: Option<&[f32]>) -> Vec<(usize, f32)> {
    let scores: Vec<f32> = if experts.sigmoid {
        logits.iter().map(|x| sigmoid(*x)).collect()
    } else {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = logits.iter().map(|x| exp(x - largest)).collect();
        let sum = sum(powers.iter().copied());
        powers.iter().map(|p| p / sum).collect()
    };
    // Adding nothing changes no order: zeros do not occur among scores.
    let ranks: Vec<f32> =
        scores.iter().enumerate().map(|(i, s)| s + bias.map_or(0.0, |b| b[i])).collect();
    let size = (experts.count / experts.groups) as usize;
    let of_group = |ranks: &[f32]| {
        let top: f32 = highest(ranks, 2).iter().map(|&i| ranks[i]).sum();
        top
    };
    let groups: Vec<f32> = ranks.chunks(size).map(of_group).collect();
    let kept = highest(&groups, experts.groups_per_token);
    let ranks: Vec<f32> = (0..ranks.len())
        .map(|i| if kept.contains(&(i / size)) { ranks[i] } else { f32::NEG_INFINITY })
        .collect();
    let chosen = highest(&ranks, experts.per_token);
    let mut total = 0.0f32;
    for &i in &chosen {
        total += scores[i];
    }
    let divisor = if experts.normalize { total } else { 1.0 };
    chosen.into_iter().map(|i| (i, scores[i] / divisor * experts.scale)).collect()
}

impl Network<'_> {
    pub(super) fn experts(&self, layer: u32, x: &[f32]) -> Vec<f32> {
        let experts = self.config.features.experts_of(layer).unwrap();
        let (inner, outer) = (experts.ffn_dim as usize, x.len());
        let router = self.floats(TensorRole::Router(layer)).chunks(outer);
        let logits: Vec<f32> = router.map(|w| sum(x.iter().zip(w).map(|(x, w)| x * w))).collect();
        let bias = experts.choice_bias.then(|| self.floats(TensorRole::RouterBias(layer)));
        let mut out = vec![0.0f32; outer];
        for (expert, weight) in choose(&experts, &logits, bias) {
            let up = expert * inner..(expert + 1) * inner;
            let gate = product(&self.tensor(TensorRole::ExpertGates(layer)), up.clone(), x);
            let up = product(&self.tensor(TensorRole::ExpertUps(layer)), up, x);
            let h: Vec<f32> = gate.iter().zip(up).map(|(g, u)| silu(*g) * u).collect();
            let down = expert * outer..(expert + 1) * outer;
            let y = product(&self.tensor(TensorRole::ExpertDowns(layer)), down, &h);
            out.iter_mut().zip(y).for_each(|(out, y)| *out += weight * y);
        }
        if experts.shared_ffn_dim > 0 {
            out.iter_mut().zip(self.swiglu(layer, x)).for_each(|(out, y)| *out += y);
        }
        out
    }
}
