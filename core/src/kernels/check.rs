//! The tests that every kernel must pass: the same bits as the definition, whatever the sizes.
//!
//! For tests only (cargo feature `kernel-check`); it needs `alloc`.
#![allow(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

mod attention;
mod random;

use super::{ActivationsMut, Kernels, scalar};
use crate::math::{exp, max, silu, sum_by};
use crate::packed::{BLOCK_ROWS, GROUP, Group, GroupScale, Layout, PackedMatrix, WeightFormat};
use alloc::vec;
use alloc::vec::Vec;
use random::Random;

/// Runs `check` if the processor can, that is if `kernels` is there; else says loudly that nothing
/// was tested, and fails if the environment variable `DEMASK_REQUIRE_FEATURES` (a comma-separated
/// list of names) asks for `name`.
///
/// # Panics
/// If the kernel is required and missing.
#[cfg(any(test, feature = "kernel-check-std"))]
pub fn if_available<K: Kernels>(kernels: Option<K>, check: impl Fn(K)) {
    let required = std::env::var("DEMASK_REQUIRE_FEATURES").unwrap_or_default();
    let required = required.split(',').any(|name| name.trim() == K::NAME);
    match kernels {
        Some(kernels) => check(kernels),
        None if required => panic!("{} is required, but this processor does not have it", K::NAME),
        None => {
            std::eprintln!("*** SKIPPED: no {} on this processor, NOTHING was tested ***", K::NAME);
        }
    }
}

/// How many sizes are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Every remainder, sizes that an emulated microcontroller gets through in a minute.
    Quick,
    /// The same in every layout, and many products of up to 300 x 300 x 1024.
    Thorough,
}

/// One of so many sizes is tried quickly in a layout that is not the kernel's own. It shares no factor
/// with the sizes of tiles and blocks, so that all remainders occur.
const OTHER_LAYOUT_STEP: usize = 7;

/// Checks everything and returns the number of cases.
///
/// # Panics
/// If a result differs from the definition.
pub fn all<K: Kernels>(kernels: K, effort: Effort) -> usize {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let layouts: &[Layout] = if K::READS_ANY_LAYOUT { &Layout::ALL } else { &[K::LAYOUT] };
    let mut cases = row_operations(kernels, effort) + not_finite(kernels) + attention::all(kernels);
    for &layout in layouts {
        // The portable kernels read every layout with the same code, but for where a weight lies: a
        // share of the sizes shows that.
        let all = layout == K::LAYOUT || effort == Effort::Thorough;
        let step = if all { 1 } else { OTHER_LAYOUT_STEP };
        for format in formats::<K>() {
            for sizes in sizes(format, effort, &mut random).into_iter().step_by(step) {
                one_product(kernels, format, layout, sizes, &mut random);
                cases += 1;
            }
        }
        for format in WeightFormat::ALL {
            misfits(kernels, format, layout, &mut random);
        }
    }
    cases
}

/// What the kernels read.
fn formats<K: Kernels>() -> impl Iterator<Item = WeightFormat> {
    WeightFormat::ALL.into_iter().filter(|format| match format {
        WeightFormat::Q4 | WeightFormat::Q8 => true,
        WeightFormat::Q4K => K::READS_Q4K,
        WeightFormat::Q5 => K::READS_Q5,
    })
}

/// Rows, outputs and inputs of products: all remainders, then sizes at random.
fn sizes(format: WeightFormat, effort: Effort, random: &mut Random) -> Vec<(usize, usize, usize)> {
    let unit = format.column_unit();
    if unit > 1 {
        let small = (0..=70).map(|rows| (rows, 20, unit));
        let narrow = (1..=50).map(|outputs| (3, outputs, unit));
        let deep = (1..=6).map(|units| (1 + units % 4, 18, units * unit));
        let mut sizes: Vec<_> = small.chain(narrow).chain(deep).collect();
        if effort == Effort::Thorough {
            let mut any = || (1 + random.below(300), 1 + random.below(300), unit);
            sizes.extend((0..30).map(|_| any()));
            sizes.extend([(70, 50, 3 * unit), (41, 33, 9 * unit), (1, 50, 19 * unit)]);
        }
        return sizes;
    }
    let small = (0..=70).map(|rows| (rows, 20, 128));
    let narrow = (1..=50).map(|outputs| (3, outputs, 96));
    let deep = (1..=35).map(|groups| (1 + groups % 9, 18, groups * GROUP));
    let ragged = (1..=GROUP).map(|cols| (5, 17, 64 + cols));
    let large = [(300, 40, 64), (3, 300, 128), (11, 33, 1024), (1, 33, 1024), (41, 33, 1150)];
    let mut sizes: Vec<_> = small.chain(narrow).chain(deep).chain(ragged).chain(large).collect();
    if effort == Effort::Thorough {
        let mut any = || (1 + random.below(300), 1 + random.below(300), 32 + random.below(993));
        sizes.extend((0..60).map(|_| any()));
    }
    sizes
}

/// Row operations give the same bits as the plain functions outside [`Kernels::vectorize`].
fn row_operations<K: Kernels>(kernels: K, effort: Effort) -> usize {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let step = if effort == Effort::Quick { 3 } else { 1 };
    for len in (0..=200).step_by(step) {
        let x: Vec<f32> = (0..len).map(|_| random.number()).collect();
        let weight: Vec<f32> = (0..len).map(|_| random.number()).collect();
        let q: Vec<i8> = (0..len).map(|_| (random.below(255) as i32 - 127) as i8).collect();
        let r: Vec<i8> = (0..len).map(|_| [-127, 127, 5][random.below(3)]).collect();
        let expected = row_results(scalar::Scalar, &x, &weight, &q, &r);
        let got = kernels.vectorize(|| row_results(kernels, &x, &weight, &q, &r));
        assert!(got == expected, "{}: length {len}\n{got:?}\n{expected:?}", K::NAME);
    }
    200 / step + 1
}

/// The bits of every row operation.
#[inline(always)]
fn row_results<K: Kernels>(kernels: K, x: &[f32], weight: &[f32], q: &[i8], r: &[i8]) -> Vec<u32> {
    let mut results: Vec<f32> = x.iter().map(|x| exp(-x.abs())).collect();
    results.extend(x.iter().map(|&x| silu(x)));
    results.extend([sum_by(x, |x| x), sum_by(x, |x| x * x), max(x)]);
    for (a, b) in [(q, r), (r, r), (q, q)] {
        results.push(kernels.dot(a, b) as f32);
    }
    let mut gates = x.to_vec();
    kernels.swiglu(&mut gates, weight);
    results.extend(gates);
    // Attention has at least one score; a few are far below the largest.
    if !x.is_empty() {
        for stretch in [0.0, 1.0, 1e9] {
            let mut scores: Vec<f32> = x.iter().map(|x| x * stretch).collect();
            results.push(kernels.exponentiate(&mut scores));
            results.extend(scores);
        }
    }
    for scale in [1.0, 1e-12] {
        let x: Vec<f32> = x.iter().map(|x| x * scale).collect();
        let mut normalized = vec![7.0; x.len()];
        let ok = kernels.rms_norm(&x, weight, 1e-5, &mut normalized).is_ok();
        results.push(f32::from(u8::from(ok)));
        results.extend(normalized);
    }
    results.iter().map(|x| x.to_bits()).collect()
}

/// NaNs and infinities are errors wherever they stand.
fn not_finite<K: Kernels>(kernels: K) -> usize {
    const COLS: usize = 70;
    for at in 0..COLS {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
            let mut x = [0.5; COLS];
            x[at] = bad;
            for format in formats::<K>() {
                let mut words = vec![0; K::LAYOUT.activation_words(3, 8).expect("few")];
                let into = ActivationsMut::new(format, K::LAYOUT, 3, 8, &mut words);
                let result = kernels.quantize_row(&x, 1, &mut into.expect("length"));
                assert_eq!(result, Err(scalar::NotFinite), "{}: {bad} at {at}", K::NAME);
            }
            let norm =
                kernels.vectorize(|| kernels.rms_norm(&x, &[1.0; COLS], 1.0, &mut [0.0; COLS]));
            assert_eq!(norm, Err(scalar::NotFinite), "{}: {bad} at {at}", K::NAME);
        }
    }
    COLS
}

fn one_product<K: Kernels>(
    kernels: K,
    format: WeightFormat,
    layout: Layout,
    (rows, outputs, cols): (usize, usize, usize),
    random: &mut Random,
) {
    let weights = Weights::random(format, layout, outputs, cols, random);
    let input = Input::random(rows, cols, random);
    let matrix = weights.matrix();
    let groups = matrix.groups();
    // Whatever was in the memory before must not matter.
    let mut words = vec![0xa5a5_a5a5; layout.activation_words(rows, groups).expect("few")];
    let mut activations =
        ActivationsMut::new(format, layout, rows, groups, &mut words).expect("length");
    for (row, x) in input.values.chunks_exact(cols).enumerate() {
        kernels.quantize_row(x, row, &mut activations).expect("finite");
    }
    // One more output than there is room for shows writes beyond the end.
    const GUARD: f32 = 123.25;
    let mut out = vec![GUARD; rows * outputs + 1];
    kernels.matmul(&matrix, &activations.view(), &mut out[..rows * outputs]);
    assert_eq!(out.pop(), Some(GUARD));
    for (x, out) in input.values.chunks_exact(cols).zip(out.chunks_exact(outputs)) {
        let x = quantized(x);
        for (output, got) in out.iter().enumerate() {
            let expected = weights.dot(output, &x);
            assert!(
                got.to_bits() == expected.to_bits(),
                "{} {format:?} {layout:?} {rows}x{outputs}x{cols}: output {output} is {got:e}, not \
                 {expected:e}",
                K::NAME,
            );
        }
    }
}

/// Slices that do not fit together may give anything but a crash.
fn misfits<K: Kernels>(kernels: K, format: WeightFormat, layout: Layout, random: &mut Random) {
    let cols = (3 * GROUP).next_multiple_of(format.column_unit());
    let weights = Weights::random(format, layout, 40, cols, random);
    let matrix = weights.matrix();
    let mut out = vec![0.0; 5 * 40];
    let fitting = matrix.groups();
    let sizes = [(0, 3), (5, 0), (5, 1), (5, 2), (5, 3), (5, 4), (9, 3), (0, 0), (5, 8), (9, 8)];
    for (rows, groups) in sizes {
        for other in WeightFormat::ALL {
            let mut words = vec![0; layout.activation_words(rows, groups).expect("few")];
            let mut activations =
                ActivationsMut::new(other, layout, rows, groups, &mut words).expect("length");
            for row in [0, 4, 5, 100, usize::MAX / 64] {
                // Too long, too short and rows that do not exist.
                let _ = kernels.quantize_row(&[1.0; 96], row, &mut activations);
                let _ = kernels.quantize_row(&[], row, &mut activations);
            }
            for room in [0, 1, 39, 199, 200] {
                kernels.matmul(&matrix, &activations.view(), &mut out[..room]);
            }
        }
    }
    let mut words = vec![0; layout.activation_words(5, fitting).expect("few")];
    let none = ActivationsMut::new(format, layout, 5, fitting, &mut words).expect("length");
    let empty = PackedMatrix::new(format, layout, 0, cols, &[]).expect("length");
    kernels.matmul(&empty, &none.view(), &mut []);
    assert!(ActivationsMut::new(format, layout, 500, 3, &mut [0; 7]).is_none());
}

/// Weights before and after packing.
struct Weights {
    format: WeightFormat,
    layout: Layout,
    outputs: usize,
    cols: usize,
    /// `[outputs, groups]`
    groups: Vec<Group>,
    packed: Vec<u8>,
}

impl Weights {
    fn random(
        format: WeightFormat,
        layout: Layout,
        outputs: usize,
        cols: usize,
        random: &mut Random,
    ) -> Self {
        let (groups, blocks) = (cols.div_ceil(GROUP), outputs.div_ceil(BLOCK_ROWS));
        let (weight_bytes, scale_bytes) = layout.block_bytes(format, groups);
        let mut packed = vec![0; blocks * (weight_bytes + scale_bytes)];
        let (weights, scales) = packed.split_at_mut(blocks * weight_bytes);
        let mut unpacked = Vec::with_capacity(outputs * groups);
        let style = random.below(6);
        for output in 0..blocks * BLOCK_ROWS {
            let block = output / BLOCK_ROWS;
            let mut scale = GroupScale::zero(format);
            for group in 0..groups {
                let mut values = [0; GROUP];
                if output < outputs {
                    for w in values.iter_mut().take(cols - group * GROUP) {
                        *w = random.weight(format, style);
                    }
                    scale = random.scale(scale, group);
                    unpacked.push((values, scale));
                }
                let planes = (
                    &mut weights[block * weight_bytes..][..weight_bytes],
                    &mut scales[block * scale_bytes..][..scale_bytes],
                );
                layout.write(format, planes, (output % BLOCK_ROWS, group), &(values, scale));
            }
        }
        Self { format, layout, outputs, cols, groups: unpacked, packed }
    }

    fn matrix(&self) -> PackedMatrix<'_> {
        PackedMatrix::new(self.format, self.layout, self.outputs, self.cols, &self.packed)
            .expect("length")
    }

    /// The definition (docs/numerics.md), with nothing in common with any kernel.
    fn dot(&self, output: usize, x: &[([i8; GROUP], f32)]) -> f32 {
        let mut sum = 0.0f32;
        for (group, (q, sa)) in x.iter().enumerate() {
            let (w, scale) = self.groups[output * x.len() + group];
            let pairs = || w.iter().zip(q).map(|(&w, &q)| (i32::from(w), i32::from(q)));
            match scale {
                GroupScale::Plain(sw) => {
                    let isum: i32 = pairs().map(|(w, q)| w * q).sum();
                    let scale = sw.to_f32() * sa;
                    sum += scale * isum as f32;
                }
                GroupScale::Affine { d, d_min, scale, min } => {
                    let isum: i32 = pairs().map(|(w, q)| (w + 8) * q).sum();
                    let asum: i32 = pairs().map(|(_, q)| q).sum();
                    let step = d.to_f32() * f32::from(scale);
                    let minimum = d_min.to_f32() * f32::from(min);
                    let scaled_sum = sa * asum as f32;
                    let (scale, taken) = (step * sa, minimum * scaled_sum);
                    let term = scale * isum as f32;
                    sum += term - taken;
                }
            }
        }
        sum
    }
}

/// Quantizes a row by the definition (docs/numerics.md).
fn quantized(x: &[f32]) -> Vec<([i8; GROUP], f32)> {
    let group = |x: &[f32]| {
        let amax = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let mut q = [0; GROUP];
        if amax < 1.0 / (1u64 << 60) as f32 {
            return (q, 0.0);
        }
        let (scale, inverse) = (amax / 127.0, 127.0 / amax);
        for (q, x) in q.iter_mut().zip(x) {
            let x = f64::from(x * inverse);
            let below = x as i32 - i32::from(x < f64::from(x as i32));
            let fraction = x - f64::from(below);
            let up = if fraction == 0.5 { below & 1 } else { i32::from(fraction > 0.5) };
            *q = (below + up) as i8;
        }
        (q, scale)
    };
    x.chunks(GROUP).map(group).collect()
}

/// Rows before they are quantized, `[rows, cols]`.
struct Input {
    values: Vec<f32>,
}

impl Input {
    fn random(rows: usize, cols: usize, random: &mut Random) -> Self {
        let mut values = vec![0.0; rows * cols];
        for row in values.chunks_exact_mut(cols) {
            row.chunks_mut(GROUP).for_each(|group| random.fill_group(group));
        }
        Self { values }
    }
}
