//! AVX-512 with VNNI: sixteen outputs at a time, sums of up to twelve rows in registers.

use super::attention;
use super::blocked::{Cell, Q4, Q5, Q8, Unit, Work, matmul};
use super::prepared::{MAGIC, Prepared, Start, quantize_row};
use super::scales::{Affine, Factors, Plain, Scales};
use super::values;
use crate::cache::KvHead;
use crate::kernels::scalar::NotFinite;
use crate::kernels::{Activations, ActivationsMut, Kernels};
use crate::packed::{Layout, PackedMatrix};
use core::arch::x86_64::*;

/// Kernels for processors with AVX-512 F, BW and VNNI: Intel's servers since 2019, AMD's
/// processors since 2022.
#[derive(Debug, Clone, Copy)]
pub struct Avx512Vnni(());

impl Avx512Vnni {
    /// The proof that the processor has AVX-512 F, BW and VNNI.
    ///
    /// # Safety
    /// It must have them, and the operating system must have enabled them.
    #[must_use]
    pub const unsafe fn new_unchecked() -> Self {
        Self(())
    }
}

impl Kernels for Avx512Vnni {
    const NAME: &'static str = "avx512-vnni";

    const LAYOUT: Layout = Layout::Rows16;
    const READS_Q5: bool = true;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        // SAFETY: who made the token vouched for AVX2, which AVX-512 includes.
        unsafe { quantize_row::<Self>(x, row, into) }
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        // SAFETY: who made the token vouched for the vector unit.
        unsafe { matmul::<Self>(weights, activations, out) }
    }

    attention::by_vectors!(Self, values::avx512);

    #[inline(always)]
    fn vectorize<R>(self, code: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        fn vectorized<R>(code: impl FnOnce() -> R) -> R {
            code()
        }
        // SAFETY: who made the token vouched for the vector unit.
        unsafe { vectorized(code) }
    }
}

impl Unit for Avx512Vnni {
    const START_Q4: Start = Start::Magic(8);
    const START_Q8: Start = Start::Magic(128);

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn q4(work: Work<'_, Plain, Q4>) {
        compute(work);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn q8(work: Work<'_, Plain, Q8>) {
        compute(work);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn q5(work: Work<'_, Plain, Q5>) {
        compute(work);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn q4k(work: Work<'_, Affine, Q4>) {
        compute(work);
    }
}

/// Rows whose sums stay in registers: with eight of weights and a few for the work in hand, twelve
/// is the most that does not spill.
const ROWS: usize = 12;

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn compute<S: Scales, const STEPS: usize>(mut work: Work<'_, S, STEPS>) {
    let mut first = 0;
    macro_rules! compute_rows {
        ($($n:literal)*) => {
            match work.rows - first {
                // SAFETY: as many rows are left.
                $($n => unsafe { compute_rows::<_, _, $n>(&mut work, first) },)*
                // SAFETY: more than twelve are left.
                _ => unsafe { compute_rows::<_, _, ROWS>(&mut work, first) },
            }
        };
    }
    while first < work.rows {
        compute_rows!(1 2 3 4 5 6 7 8 9 10 11);
        first += ROWS;
    }
}

/// The outputs of `ROWS` rows, a number that the compiler knows.
///
/// # Safety
/// There must be that many from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn compute_rows<S: Scales, const STEPS: usize, const ROWS: usize>(
    work: &mut Work<'_, S, STEPS>,
    first: usize,
) {
    let magic = _mm512_castsi512_ps(_mm512_set1_epi32(MAGIC));
    let mut sums = [_mm512_setzero_ps(); ROWS];
    for (cell, (scales, group), rows) in work.groups() {
        // SAFETY: the caller vouches for the rows.
        let rows = unsafe { &*rows.as_ptr().add(first).cast::<[Prepared; ROWS]>() };
        let weights = unsigned(cell);
        // SAFETY: this function has the vector unit.
        let factors = unsafe { scales.sixteen(group) };
        for (sums, x) in sums.iter_mut().zip(rows) {
            let mut integers = _mm512_set1_epi32(x.start::<S>(MAGIC));
            for (weights, quad) in weights.iter().zip(&x.values) {
                integers = _mm512_dpbusd_epi32(integers, *weights, _mm512_set1_epi32(*quad));
            }
            let integers = _mm512_sub_ps(_mm512_castsi512_ps(integers), magic);
            add_term::<S>(sums, factors, (x.scale, x.scaled_sum()), integers);
        }
    }
    let lanes = if work.out.width < 16 { (1 << work.out.width) - 1 } else { u16::MAX };
    let out = work.out.out.as_mut_ptr();
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: the outputs have the caller's rows and `width` columns of the block.
        unsafe { _mm512_mask_storeu_ps(out.add((first + row) * work.out.columns), lanes, *sums) };
    }
}

/// The weights of a cell plus the bias of its format, by step.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unsigned<const STEPS: usize>(cell: &Cell<STEPS>) -> [__m512i; 8] {
    if STEPS == Q5 {
        return five_bits(cell);
    }
    let mut weights = [_mm512_setzero_si512(); 8];
    if STEPS == Q4 {
        let (low, high) = weights.split_at_mut(Q4);
        for ((low, high), step) in low.iter_mut().zip(high).zip(cell) {
            [*low, *high] = nibbles(load(step));
        }
    } else {
        // Flipping the top bit adds 128.
        let top_bits = _mm512_set1_epi8(i8::MIN);
        for (weights, step) in weights.iter_mut().zip(cell) {
            *weights = _mm512_xor_si512(load(step), top_bits);
        }
    }
    weights
}

/// The weights of a Q5 cell plus 16, by step.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn five_bits<const STEPS: usize>(cell: &Cell<STEPS>) -> [__m512i; 8] {
    let mut weights = [_mm512_setzero_si512(); 8];
    let Some((bits, cell)) = cell.split_last() else { return weights };
    let (low, high) = weights.split_at_mut(Q4);
    for ((low, high), step) in low.iter_mut().zip(high).zip(cell) {
        [*low, *high] = nibbles(load(step));
    }
    let bits: &[[u8; 8]; 8] = bytemuck::cast_ref(bits);
    let sixteen = _mm512_set1_epi8(16);
    for (weights, bits) in weights.iter_mut().zip(bits) {
        let upper = u64::from_le_bytes(*bits);
        *weights = _mm512_mask_add_epi8(*weights, upper, *weights, sixteen);
    }
    weights
}

/// The low and the high nibbles.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn nibbles(bytes: __m512i) -> [__m512i; 2] {
    let mask = _mm512_set1_epi8(15);
    [_mm512_and_si512(bytes, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask)]
}

/// `sums += (step * scale) * integers`, less `minimum * scaled_sum` where there are minima, each
/// operation rounded.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add_term<S: Scales>(
    sums: &mut __m512,
    factors: Factors<__m512>,
    (scale, scaled_sum): (f32, f32),
    integers: __m512,
) {
    let mut term = _mm512_mul_ps(_mm512_mul_ps(factors.step, _mm512_set1_ps(scale)), integers);
    if S::AFFINE {
        let minimum = _mm512_mul_ps(factors.minimum, _mm512_set1_ps(scaled_sum));
        term = _mm512_sub_ps(term, minimum);
    }
    *sums = _mm512_add_ps(*sums, term);
}

/// Loads 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(step: &[[u8; 32]; 2]) -> __m512i {
    // SAFETY: reads exactly the borrowed 64 bytes; this load needs no alignment.
    unsafe { _mm512_loadu_si512(step.as_ptr().cast()) }
}
