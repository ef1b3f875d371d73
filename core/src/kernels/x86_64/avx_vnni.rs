//! AVX-VNNI, the byte products of AVX-512 in the form for eight lanes.

use super::Avx2;
use super::attention;
use super::blocked::{Cell, Q4, Q5, Q8, Unit, Work, matmul};
use super::eight_lanes::{
    Group, Sums, add_term, compute, five_bits, half_mut, half_steps, nibbles,
};
use super::prepared::{MAGIC, Prepared, Start, quantize_row};
use super::scales::{Affine, Plain, Scales};
use super::values;
use crate::cache::KvHead;
use crate::kernels::scalar::NotFinite;
use crate::kernels::{Activations, ActivationsMut, Kernels};
use crate::packed::{Layout, PackedMatrix};
use core::arch::x86_64::*;

/// Kernels for processors with AVX-VNNI, AVX2 and F16C: Intel's without AVX-512 since 2021, AMD's
/// since 2024.
#[derive(Debug, Clone, Copy)]
pub struct AvxVnni(());

impl AvxVnni {
    /// The proof that the processor has AVX-VNNI, AVX2 and F16C.
    ///
    /// # Safety
    /// It must have them, and the operating system must have enabled them.
    #[must_use]
    pub const unsafe fn new_unchecked() -> Self {
        Self(())
    }
}

impl Kernels for AvxVnni {
    const NAME: &'static str = "avx-vnni";
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
        // SAFETY: who made the token vouched for AVX-VNNI, AVX2 and F16C.
        unsafe { matmul::<Self>(weights, activations, out) }
    }

    attention::by_vectors!(Avx2, values::avx2);

    #[inline(always)]
    fn vectorize<R>(self, code: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,f16c,avxvnni")]
        fn vectorized<R>(code: impl FnOnce() -> R) -> R {
            code()
        }
        // SAFETY: who made the token vouched for AVX-VNNI, AVX2 and F16C.
        unsafe { vectorized(code) }
    }
}

impl Unit for AvxVnni {
    const START_Q4: Start = Start::Magic(8);
    const START_Q8: Start = Start::Magic(128);

    #[target_feature(enable = "avx2,f16c,avxvnni")]
    unsafe fn q4(work: Work<'_, Plain, Q4>) {
        // SAFETY: the caller vouches for the vector unit.
        unsafe { compute::<Self, _, Q4>(work) }
    }

    #[target_feature(enable = "avx2,f16c,avxvnni")]
    unsafe fn q8(work: Work<'_, Plain, Q8>) {
        // SAFETY: the caller vouches for the vector unit.
        unsafe { compute::<Self, _, Q8>(work) }
    }

    #[target_feature(enable = "avx2,f16c,avxvnni")]
    unsafe fn q5(work: Work<'_, Plain, Q5>) {
        // SAFETY: the caller vouches for the vector unit.
        unsafe { compute::<Self, _, Q5>(work) }
    }

    #[target_feature(enable = "avx2,f16c,avxvnni")]
    unsafe fn q4k(work: Work<'_, Affine, Q4>) {
        // SAFETY: the caller vouches for the vector unit.
        unsafe { compute::<Self, _, Q4>(work) }
    }
}

impl Group<Q4> for AvxVnni {
    #[inline]
    #[target_feature(enable = "avx2,f16c,avxvnni")]
    unsafe fn add<S: Scales>(
        cell: &Cell<Q4>,
        scales: (&S, usize),
        rows: &[Prepared],
        sums: &mut [Sums],
    ) {
        for upper in [false, true] {
            add(&nibbles(cell, upper), scales, rows, sums, upper);
        }
    }
}

impl Group<Q5> for AvxVnni {
    #[inline]
    #[target_feature(enable = "avx2,f16c,avxvnni")]
    unsafe fn add<S: Scales>(
        cell: &Cell<Q5>,
        scales: (&S, usize),
        rows: &[Prepared],
        sums: &mut [Sums],
    ) {
        for upper in [false, true] {
            add(&five_bits(cell, upper), scales, rows, sums, upper);
        }
    }
}

impl Group<Q8> for AvxVnni {
    #[inline]
    #[target_feature(enable = "avx2,f16c,avxvnni")]
    unsafe fn add<S: Scales>(
        cell: &Cell<Q8>,
        scales: (&S, usize),
        rows: &[Prepared],
        sums: &mut [Sums],
    ) {
        // Flipping the top bit adds 128.
        let top = _mm256_set1_epi8(i8::MIN);
        for upper in [false, true] {
            let weights = half_steps(cell, upper).map(|bytes| _mm256_xor_si256(bytes, top));
            add(&weights, scales, rows, sums, upper);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c,avxvnni")]
fn add<S: Scales>(
    weights: &[__m256i; 8],
    (scales, group): (&S, usize),
    rows: &[Prepared],
    sums: &mut [Sums],
    upper: bool,
) {
    // SAFETY: this function has the vector unit.
    let factors = unsafe { scales.eight(group, upper) };
    let magic = _mm256_castsi256_ps(_mm256_set1_epi32(MAGIC));
    for (x, sums) in rows.iter().zip(sums) {
        // Two chains: a product waits for the sum so far.
        let mut even = _mm256_set1_epi32(x.start::<S>(MAGIC));
        let mut odd = _mm256_setzero_si256();
        for (&[w0, w1], &[x0, x1]) in weights.as_chunks().0.iter().zip(x.values.as_chunks().0) {
            even = _mm256_dpbusd_avx_epi32(even, w0, _mm256_set1_epi32(x0));
            odd = _mm256_dpbusd_avx_epi32(odd, w1, _mm256_set1_epi32(x1));
        }
        let integers = _mm256_castsi256_ps(_mm256_add_epi32(even, odd));
        add_term::<S>(half_mut(sums, upper), factors, x, _mm256_sub_ps(integers, magic));
    }
}
