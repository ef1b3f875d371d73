//! AVX2: eight outputs at a time.

use super::attention;
use super::blocked::{Cell, Q4, Q5, Q8, Unit, Work, matmul};
use super::eight_lanes::{
    Group, Sums, add_term, compute, five_bits, half_mut, half_steps, load, nibbles,
};
use super::prepared::{MAGIC, Prepared, Start, quantize_row};
use super::scales::{Affine, Factors, Plain, Scales, half};
use super::values;
use crate::cache::KvHead;
use crate::kernels::scalar::NotFinite;
use crate::kernels::{Activations, ActivationsMut, Kernels};
use crate::packed::{Layout, PackedMatrix};
use core::arch::asm;
use core::arch::x86_64::*;

/// Kernels for processors with AVX2 and F16C: Intel's since 2013, AMD's since 2015.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// The proof that the processor has AVX2 and F16C.
    ///
    /// # Safety
    /// It must have them, and the operating system must have enabled them.
    #[must_use]
    pub const unsafe fn new_unchecked() -> Self {
        Self(())
    }
}

impl Kernels for Avx2 {
    const NAME: &'static str = "avx2";
    const LAYOUT: Layout = Layout::Rows16;
    const READS_Q5: bool = true;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        // SAFETY: who made the token vouched for AVX2.
        unsafe { quantize_row::<Self>(x, row, into) }
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        // SAFETY: who made the token vouched for AVX2 and F16C.
        unsafe { matmul::<Self>(weights, activations, out) }
    }

    attention::by_vectors!(Self, values::avx2);

    #[inline(always)]
    fn vectorize<R>(self, code: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,f16c")]
        fn vectorized<R>(code: impl FnOnce() -> R) -> R {
            code()
        }
        // SAFETY: who made the token vouched for AVX2 and F16C.
        unsafe { vectorized(code) }
    }
}

impl Unit for Avx2 {
    const START_Q4: Start = Start::Pairs(8);
    const START_Q8: Start = Start::Magic(0);

    #[target_feature(enable = "avx2,f16c")]
    unsafe fn q4(work: Work<'_, Plain, Q4>) {
        // SAFETY: the caller vouches for the vector unit.
        unsafe { compute::<Self, _, Q4>(work) }
    }

    #[target_feature(enable = "avx2,f16c")]
    unsafe fn q8(work: Work<'_, Plain, Q8>) {
        // SAFETY: the caller vouches for the vector unit.
        unsafe { compute::<Self, _, Q8>(work) }
    }

    #[target_feature(enable = "avx2,f16c")]
    unsafe fn q5(work: Work<'_, Plain, Q5>) {
        // SAFETY: the caller vouches for the vector unit.
        unsafe { compute::<Self, _, Q5>(work) }
    }

    #[target_feature(enable = "avx2,f16c")]
    unsafe fn q4k(work: Work<'_, Affine, Q4>) {
        // SAFETY: the caller vouches for the vector unit.
        unsafe { compute::<Self, _, Q4>(work) }
    }
}

/// The products of unsigned and signed bytes are added in pairs to `i16` by the multiplication.
/// Nibbles are at most 15, so that all eight steps fit into an `i16` before one widening addition:
/// 16 * 15 * 127 = 30,480. The start is added first and may make it wrap; the result, 16 inputs * 8 *
/// 127 at most, is in range again.
impl Group<Q4> for Avx2 {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn add<S: Scales>(
        cell: &Cell<Q4>,
        (scales, group): (&S, usize),
        rows: &[Prepared],
        sums: &mut [Sums],
    ) {
        let ones = _mm256_set1_epi16(1);
        for upper in [false, true] {
            let weights = nibbles(cell, upper);
            // SAFETY: the caller vouches for the vector unit.
            let factors = unsafe { scales.eight(group, upper) };
            for (x, sums) in rows.iter().zip(sums.iter_mut()) {
                // Two chains: the additions wait for each other.
                let mut even = _mm256_set1_epi32(x.start::<S>(0));
                let mut odd = _mm256_setzero_si256();
                let quads = x.values.as_chunks().0.iter();
                for (&[w0, w1], &[x0, x1]) in weights.as_chunks().0.iter().zip(quads) {
                    let products = _mm256_maddubs_epi16(w0, _mm256_set1_epi32(x0));
                    even = _mm256_add_epi16(even, products);
                    let products = _mm256_maddubs_epi16(w1, _mm256_set1_epi32(x1));
                    odd = _mm256_add_epi16(odd, products);
                }
                let integers = _mm256_madd_epi16(_mm256_add_epi16(even, odd), ones);
                let integers = _mm256_cvtepi32_ps(integers);
                add_term::<S>(half_mut(sums, upper), factors, x, integers);
            }
        }
    }
}

/// Sums of four steps fit into an `i16`: 8 * 31 * 127 = 31,496. So there is a widening addition for
/// each half of the steps.
impl Group<Q5> for Avx2 {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn add<S: Scales>(
        cell: &Cell<Q5>,
        (scales, group): (&S, usize),
        rows: &[Prepared],
        sums: &mut [Sums],
    ) {
        let ones = _mm256_set1_epi16(1);
        let magic = _mm256_castsi256_ps(_mm256_set1_epi32(MAGIC));
        for upper in [false, true] {
            let weights = five_bits(cell, upper);
            // SAFETY: the caller vouches for the vector unit.
            let factors = unsafe { scales.eight(group, upper) };
            for (x, sums) in rows.iter().zip(sums.iter_mut()) {
                let (mut even, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
                let quads = x.values.as_chunks().0.iter();
                for (&[w0, w1], &[x0, x1]) in weights.as_chunks().0.iter().zip(quads) {
                    let products = _mm256_maddubs_epi16(w0, _mm256_set1_epi32(x0));
                    even = _mm256_add_epi16(even, products);
                    let products = _mm256_maddubs_epi16(w1, _mm256_set1_epi32(x1));
                    odd = _mm256_add_epi16(odd, products);
                }
                let (even, odd) = (_mm256_madd_epi16(even, ones), _mm256_madd_epi16(odd, ones));
                let start = _mm256_set1_epi32(x.start::<S>(MAGIC));
                let integers = _mm256_add_epi32(_mm256_add_epi32(even, odd), start);
                let integers = _mm256_sub_ps(_mm256_castsi256_ps(integers), magic);
                add_term::<S>(half_mut(sums, upper), factors, x, integers);
            }
        }
    }
}

/// Rows from which on it is worth to widen the weights once for all of them.
const WORTH_WIDENING: usize = 16;

/// Bytes are too large to add two products in an `i16`. Both operands are widened to `i16`, the
/// weights once for all rows. That is worth it for four rows and more.
impl Group<Q8> for Avx2 {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn add<S: Scales>(
        cell: &Cell<Q8>,
        (scales, group): (&S, usize),
        rows: &[Prepared],
        sums: &mut [Sums],
    ) {
        // SAFETY: the caller vouches for the vector unit.
        let factors = unsafe { [scales.eight(group, false), scales.eight(group, true)] };
        let widened = if rows.len() < WORTH_WIDENING { 0 } else { rows.len() / 4 * 4 };
        let (Some((fours, rest)), Some((four_sums, rest_sums))) =
            (rows.split_at_checked(widened), sums.split_at_mut_checked(widened))
        else {
            return;
        };
        let (fours, four_sums) = (fours.as_chunks::<4>().0, four_sums.as_chunks_mut::<4>().0);
        if !fours.is_empty() {
            let wide = cell.each_ref().map(|step| step.each_ref().map(|half| split(load(half))));
            for (rows, sums) in fours.iter().zip(four_sums) {
                add_four::<S>(&wide, &factors, rows, sums);
            }
        }
        if !rest.is_empty() {
            add_by_signs::<S>(cell, &factors, rest, rest_sums);
        }
    }
}

/// The even and the odd bytes, as `i16`.
#[inline]
#[target_feature(enable = "avx2")]
fn split(bytes: __m256i) -> [__m256i; 2] {
    let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes));
    [even, _mm256_srai_epi16::<8>(bytes)]
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_four<S: Scales>(
    wide: &[[[__m256i; 2]; 2]; Q8],
    factors: &[Factors<__m256>; 2],
    rows: &[Prepared; 4],
    sums: &mut [Sums; 4],
) {
    let values: [[[i32; 8]; 2]; 4] =
        rows.each_ref().map(|x| bytemuck::cast(split(bytemuck::cast(x.values))));
    let magic = _mm256_set1_epi32(MAGIC);
    let mut integers = [[magic; 2]; 4];
    for (step, [lower, higher]) in wide.iter().enumerate() {
        for (odd, (lower, higher)) in lower.iter().zip(higher).enumerate() {
            for (integers, values) in integers.iter_mut().zip(&values) {
                let pair = values.get(odd).and_then(|values| values.get(step));
                let pair = _mm256_set1_epi32(pair.copied().unwrap_or_default());
                let [i0, i1] = integers;
                *i0 = _mm256_add_epi32(*i0, _mm256_madd_epi16(*lower, pair));
                *i1 = _mm256_add_epi32(*i1, _mm256_madd_epi16(*higher, pair));
            }
        }
    }
    for ((integers, sums), x) in integers.iter().zip(sums).zip(rows) {
        for ((integers, sums), factors) in integers.iter().zip(sums).zip(factors) {
            let integers = _mm256_castsi256_ps(*integers);
            let integers = _mm256_sub_ps(integers, _mm256_castsi256_ps(magic));
            add_term::<S>(sums, *factors, x, integers);
        }
    }
}

/// The sign of the weight moves to the value, which makes the weight an unsigned magnitude.
#[inline]
#[target_feature(enable = "avx2")]
fn add_by_signs<S: Scales>(
    cell: &Cell<Q8>,
    factors: &[Factors<__m256>; 2],
    rows: &[Prepared],
    sums: &mut [Sums],
) {
    let ones = _mm256_set1_epi16(1);
    for upper in [false, true] {
        let magnitudes = half_steps(cell, upper).map(|weights| _mm256_abs_epi8(weights));
        for (x, sums) in rows.iter().zip(sums.iter_mut()) {
            let mut integers = _mm256_setzero_si256();
            let signs = loaded_again(cell);
            for ((magnitude, step), values) in magnitudes.iter().zip(signs).zip(&x.values) {
                let signs = load(half(step, upper));
                let values = _mm256_sign_epi8(_mm256_set1_epi32(*values), signs);
                let pairs = _mm256_maddubs_epi16(*magnitude, values);
                integers = _mm256_add_epi32(integers, _mm256_madd_epi16(pairs, ones));
            }
            let integers = _mm256_cvtepi32_ps(integers);
            add_term::<S>(half_mut(sums, upper), *half(factors, upper), x, integers);
        }
    }
}

/// The same reference, without the compiler's knowledge that it is: it would keep what lies there in
/// registers across a loop, and there are only sixteen.
#[inline(always)]
fn loaded_again<T>(value: &T) -> &T {
    let mut pointer = core::ptr::from_ref(value);
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) pointer, options(readonly, nostack, preserves_flags)) };
    // SAFETY: the pointer is what it was.
    unsafe { &*pointer }
}
