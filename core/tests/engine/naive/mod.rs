//! The numerics contract written down a second time, with one loop per formula: integers and scales
//! are taken from the stored bytes, every number is computed on its own, and nothing is fast.
//!
//! Only `exp` comes from the crate: its polynomial *is* the contract. Experts are in a file of their own.

mod experts;

use demask::image::{
    Attention, FeedForward, ModelConfig, ModelImage, Norm, RopePairs, Tensor, TensorRole,
};
use demask::math::exp;
use demask::packed::Format;
use std::ops::Range;

const GROUP: usize = 32;
const BLOCK: usize = 16;

/// What a weight is made of: `scale * integer`, less a minimum in some formats.
struct Weight {
    integer: i32,
    scale: f32,
    minimum: Option<f32>,
}

impl Weight {
    fn value(&self) -> f32 {
        self.scale * self.integer as f32 - self.minimum.unwrap_or(0.0)
    }
}

/// One weight, from the tensor's bytes.
fn weight(tensor: &Tensor<'_>, row: usize, col: usize) -> Weight {
    let groups = tensor.cols.div_ceil(GROUP);
    let cells = tensor.rows.div_ceil(BLOCK) * groups;
    let cell = row / BLOCK * groups + col / GROUP;
    let (lane, input) = (row % BLOCK, col % GROUP);
    let nibble_in = |cell_bytes: usize| {
        let byte = tensor.bytes[cell * cell_bytes + input % 16 / 4 * 64 + lane * 4 + input % 4];
        i32::from(if input < 16 { byte % 16 } else { byte / 16 })
    };
    let nibble = || nibble_in(256);
    let half =
        |at: usize| half::f16::from_le_bytes([tensor.bytes[at], tensor.bytes[at + 1]]).to_f32();
    match tensor.format {
        Format::Q8 => {
            let at = cell * 512 + input / 4 * 64 + lane * 4 + input % 4;
            let integer = i32::from(tensor.bytes[at] as i8);
            let scale = half(cells * 512 + (cell * BLOCK + lane) * 2);
            Weight { integer, scale, minimum: None }
        }
        Format::Q4 => {
            let scale = half(cells * 256 + (cell * BLOCK + lane) * 2);
            Weight { integer: nibble() - 8, scale, minimum: None }
        }
        Format::Q5 => {
            let place = input / 4 * 64 + lane * 4 + input % 4;
            let fifth = i32::from(tensor.bytes[cell * 320 + 256 + place / 8]) >> (place % 8) & 1;
            let scale = half(cells * 320 + (cell * BLOCK + lane) * 2);
            Weight { integer: nibble_in(320) + 16 * fifth - 16, scale, minimum: None }
        }
        Format::Q4K => {
            let start = cells * 256 + cell / 8 * 320;
            let (d, d_min) = (half(start + 2 * lane), half(start + 32 + 2 * lane));
            let factor = |at: usize| f32::from(tensor.bytes[start + 64 + cell % 8 * 32 + at]);
            let (scale, minimum) = (d * factor(lane), d_min * factor(16 + lane));
            Weight { integer: nibble(), scale, minimum: Some(minimum) }
        }
        other => panic!("{other:?} is not packed"),
    }
}

/// One group of numbers as integers up to 127, and the scale. Small ones count as zero.
fn quantize(x: &[f32], floor: f32) -> (Vec<i32>, f32) {
    let largest = x.iter().map(|x| x.abs()).fold(0.0, f32::max);
    if largest < floor {
        return (vec![0; x.len()], 0.0);
    }
    let inverse = 127.0 / largest;
    let q = x.iter().map(|x| (x * inverse).round_ties_even() as i32).collect();
    (q, largest / 127.0)
}

/// Some rows of a matrix times a vector: integer dot products per group, groups added in ascending order.
fn product(tensor: &Tensor<'_>, rows: Range<usize>, x: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), tensor.cols);
    let groups: Vec<_> = x.chunks(GROUP).map(|group| quantize(group, 2f32.powi(-60))).collect();
    let mut out = Vec::new();
    for row in rows {
        let mut sum = 0.0f32;
        for (g, (q, scale)) in groups.iter().enumerate() {
            let at = |i: usize| weight(tensor, row, g * GROUP + i);
            let dot: i32 = (0..q.len()).map(|i| at(i).integer * q[i]).sum();
            let product = at(0).scale * scale;
            let mut term = product * dot as f32;
            if let Some(minimum) = at(0).minimum {
                let scaled_sum = scale * q.iter().sum::<i32>() as f32;
                let taken = minimum * scaled_sum;
                term -= taken;
            }
            sum += term;
        }
        out.push(sum);
    }
    out
}

/// A sum in the documented order: eight chains, then a tree.
fn sum(x: impl Iterator<Item = f32>) -> f32 {
    let mut chains = [0.0f32; 8];
    for (i, x) in x.enumerate() {
        chains[i % 8] += x;
    }
    let [a, b, c, d, e, f, g, h] = chains;
    let (even, odd) = ((a + e) + (c + g), (b + f) + (d + h));
    even + odd
}

/// The model, and what it is made of.
struct Network<'a> {
    image: &'a ModelImage<'a>,
    config: ModelConfig,
}

impl<'a> Network<'a> {
    fn tensor(&self, role: TensorRole) -> Tensor<'a> {
        self.image.tensor(role).unwrap()
    }

    fn floats(&self, role: TensorRole) -> &'a [f32] {
        self.tensor(role).as_f32().unwrap()
    }

    fn linear(&self, role: TensorRole, x: &[f32]) -> Vec<f32> {
        let tensor = self.tensor(role);
        product(&tensor, 0..tensor.rows, x)
    }

    /// With a bias, if the model has that.
    fn biased(&self, has: bool, role: TensorRole, bias: TensorRole, x: &[f32]) -> Vec<f32> {
        let mut y = self.linear(role, x);
        if has {
            y.iter_mut().zip(self.floats(bias)).for_each(|(y, b)| *y += b);
        }
        y
    }

    fn norm(&self, weight: TensorRole, bias: TensorRole, x: &[f32]) -> Vec<f32> {
        let weight = self.floats(weight);
        match self.config.features.norm {
            Norm::Rms => rms_norm(x, weight, self.config.norm_eps),
            Norm::Layer => layer_norm(x, weight, self.floats(bias), self.config.norm_eps),
        }
    }

    /// Query or key heads of a row: normalized if the model does that, then rotated.
    fn place(&self, norm: TensorRole, position: usize, row: &[f32]) -> Vec<f32> {
        let mut row = row.to_vec();
        if self.config.features.qk_norm {
            let norm = self.floats(norm);
            let heads = row.chunks(norm.len());
            row = heads.flat_map(|head| rms_norm(head, norm, self.config.norm_eps)).collect();
        }
        rotate(&self.config, position, &mut row);
        row
    }

    /// The network after attention, on a normalized row.
    fn feed_forward(&self, layer: u32, x: &[f32]) -> Vec<f32> {
        let (up, down) = (TensorRole::Up(layer), TensorRole::Down(layer));
        if self.config.features.experts_of(layer).is_some() {
            return self.experts(layer, x);
        }
        if self.config.features.feed_forward == FeedForward::SwiGlu {
            return self.swiglu(layer, x);
        }
        let inner = self.biased(true, up, TensorRole::UpBias(layer), x);
        let inner: Vec<f32> = inner.into_iter().map(gelu).collect();
        self.biased(true, down, TensorRole::DownBias(layer), &inner)
    }

    fn swiglu(&self, layer: u32, x: &[f32]) -> Vec<f32> {
        let gate = self.linear(TensorRole::Gate(layer), x);
        let up = self.linear(TensorRole::Up(layer), x);
        let inner: Vec<f32> = gate.iter().zip(up).map(|(g, u)| silu(*g) * u).collect();
        self.linear(TensorRole::Down(layer), &inner)
    }
}

fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mean_square = sum(x.iter().map(|x| x * x)) / x.len() as f32;
    let inverse = 1.0 / (mean_square + eps).sqrt();
    x.iter().zip(weight).map(|(x, w)| x * inverse * w).collect()
}

fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> Vec<f32> {
    let count = x.len() as f32;
    let mean = sum(x.iter().copied()) / count;
    let centred: Vec<f32> = x.iter().map(|x| x - mean).collect();
    let variance = sum(centred.iter().map(|d| d * d)) / count;
    let inverse = 1.0 / (variance + eps).sqrt();
    let scaled = centred.iter().zip(weight).map(|(d, w)| d * inverse * w);
    scaled.zip(bias).map(|(y, b)| y + b).collect()
}

/// Rotates every head by the angles of its position, or its first entries.
fn rotate(config: &ModelConfig, position: usize, heads: &mut [f32]) {
    let dim = match config.features.rope_dim {
        0 => config.head_dim as usize,
        some => some as usize,
    };
    for head in heads.chunks_mut(config.head_dim as usize) {
        for pair in 0..dim / 2 {
            let exponent = -2.0 * pair as f64 / dim as f64;
            let frequency = libm::pow(f64::from(config.rope_theta), exponent);
            let (sin, cos) = libm::sincos(position as f64 * frequency);
            let (sin, cos) = (sin as f32, cos as f32);
            let (i, j) = match config.rope_pairs {
                RopePairs::HalfSplit => (pair, pair + dim / 2),
                RopePairs::Adjacent => (2 * pair, 2 * pair + 1),
            };
            let (a, b) = (head[i], head[j]);
            head[i] = a * cos - b * sin;
            head[j] = b * cos + a * sin;
        }
    }
}

fn silu(x: f32) -> f32 {
    if x < 0.0 { x * exp(x) / (1.0 + exp(x)) } else { x / (1.0 + exp(-x)) }
}

fn sigmoid(x: f32) -> f32 {
    if x < 0.0 { exp(x) / (1.0 + exp(x)) } else { 1.0 / (1.0 + exp(-x)) }
}

fn gelu(x: f32) -> f32 {
    let cubed = x * x * x;
    let v = 1.595_769_2 * (x + 0.044_715 * cubed);
    if v < 0.0 { x * exp(v) / (1.0 + exp(v)) } else { x / (1.0 + exp(-v)) }
}

/// A head's entries as integers and their scale, as the ring stores them.
type Head = (Vec<i32>, f32);

/// The heads of one row.
fn heads(config: &ModelConfig, row: &[f32]) -> Vec<Head> {
    row.chunks(config.head_dim as usize).map(|head| quantize(head, 2f32.powi(-30))).collect()
}

/// Attention of one row over the slots that it sees.
fn attention(
    config: &ModelConfig,
    query: &[f32],
    keys: &[Vec<Head>],
    values: &[Vec<Head>],
    sees: impl Fn(usize) -> bool,
) -> Vec<f32> {
    let share = (config.heads / config.kv_heads) as usize;
    let factor = 1.0 / (config.head_dim as f32).sqrt();
    let mut out = Vec::new();
    for (h, (q, scale)) in heads(config, query).into_iter().enumerate() {
        let scale = scale * factor;
        let score = |(k, key_scale): &Head| {
            let dot: i32 = q.iter().zip(k).map(|(q, k)| q * k).sum();
            scale * key_scale * dot as f32
        };
        let scores: Vec<f32> = keys.iter().map(|key| score(&key[h / share])).collect();
        let seen = (0..scores.len()).filter(|slot| sees(*slot)).map(|slot| scores[slot]);
        let largest = seen.fold(f32::NEG_INFINITY, f32::max);
        let weight = |slot: usize| {
            let below = scores[slot] - largest;
            if !sees(slot) || below < -27.725_887 { 0.0 } else { exp(below) }
        };
        let weights: Vec<f32> = (0..scores.len()).map(weight).collect();
        let total = sum(weights.iter().copied());
        let inverse = if total == 0.0 { 0.0 } else { 1.0 / total };
        for i in 0..q.len() {
            let mut y = 0.0f32;
            for (weight, value) in weights.iter().zip(values) {
                let (v, value_scale) = &value[h / share];
                let scaled = weight * value_scale;
                y += scaled * v[i] as f32;
            }
            out.push(y * inverse);
        }
    }
    out
}

/// Whether the model lets one position see another: always, or up to the end of its block.
fn sees(attention: Attention, position: usize, other: usize) -> bool {
    match attention {
        Attention::Bidirectional => true,
        Attention::BlockCausal(block) => other / block as usize <= position / block as usize,
    }
}

/// What hides slots from rows, beyond the model's attention: the fields of `demask::Visible`.
#[derive(Debug, Clone, Default)]
pub struct Hidden {
    pub prefix: usize,
    pub end: Option<usize>,
    pub slots: Vec<u16>,
    /// Positions that the last slots stand in for.
    pub shadowed: Range<usize>,
}

impl Hidden {
    /// The position at which a slot of so many stands, and whether it is a shadow.
    pub fn place(&self, slot: usize, slots: usize) -> (usize, bool) {
        let shadows = self.shadowed.len();
        match slot >= slots - shadows {
            true => (self.shadowed.start + slot - (slots - shadows), true),
            false => (slot, false),
        }
    }

    fn shows(&self, attention: Attention, row: usize, slot: usize, slots: usize) -> bool {
        let (at, is_shadow) = self.place(row, slots);
        let (other, other_is_shadow) = self.place(slot, slots);
        if !sees(attention, at, other) || at < self.prefix && other >= self.prefix {
            return false;
        }
        if other_is_shadow {
            return is_shadow;
        }
        let stands_in = is_shadow && other == at;
        let cut = self.end.is_some_and(|end| slot >= end);
        !stands_in && !cut && !self.slots.contains(&(slot as u16))
    }
}

/// The logits of every position of a canvas.
pub fn logits(image: &ModelImage<'_>, canvas: &[u32]) -> Vec<Vec<f32>> {
    logits_hiding(image, canvas, &Hidden::default())
}

/// The logits of every slot of a canvas, parts of which are hidden.
pub fn logits_hiding(image: &ModelImage<'_>, canvas: &[u32], hidden: &Hidden) -> Vec<Vec<f32>> {
    use TensorRole as Role;
    let network = Network { image, config: *image.config() };
    let Network { config, .. } = network;
    let bias = config.features.qkv_bias;
    let embedding = network.tensor(Role::Embedding);
    let dim = config.model_dim as usize;
    let embed = |id: &u32| {
        let weights = (0..dim).map(|col| weight(&embedding, *id as usize, col));
        weights.map(|weight| weight.value()).collect()
    };
    let mut rows: Vec<Vec<f32>> = canvas.iter().map(embed).collect();
    for layer in 0..config.layers {
        let norm =
            |x: &[f32]| network.norm(Role::AttentionNorm(layer), Role::AttentionNormBias(layer), x);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (slot, x) in rows.iter().enumerate() {
            let (x, (position, _)) = (norm(x), hidden.place(slot, canvas.len()));
            let key = network.biased(bias, Role::Key(layer), Role::KeyBias(layer), &x);
            let value = network.biased(bias, Role::Value(layer), Role::ValueBias(layer), &x);
            keys.push(heads(&config, &network.place(Role::KeyNorm(layer), position, &key)));
            values.push(heads(&config, &value));
        }
        for (slot, row) in rows.iter_mut().enumerate() {
            let (x, (position, _)) = (norm(row), hidden.place(slot, canvas.len()));
            let query = network.biased(bias, Role::Query(layer), Role::QueryBias(layer), &x);
            let query = network.place(Role::QueryNorm(layer), position, &query);
            let sees = |other| hidden.shows(config.features.attention, slot, other, canvas.len());
            let attended = attention(&config, &query, &keys, &values, sees);
            let delta = network.linear(Role::AttentionOutput(layer), &attended);
            row.iter_mut().zip(delta).for_each(|(x, d)| *x += d);
            let x = network.norm(Role::FfnNorm(layer), Role::FfnNormBias(layer), row);
            let delta = network.feed_forward(layer, &x);
            row.iter_mut().zip(delta).for_each(|(x, d)| *x += d);
        }
    }
    let head = if config.tied_head { Role::Embedding } else { Role::Head };
    let last = |x: &Vec<f32>| {
        let x = network.norm(Role::OutputNorm, Role::OutputNormBias, x);
        network.biased(config.features.head_bias, head, Role::HeadBias, &x)
    };
    rows.iter().map(last).collect()
}
