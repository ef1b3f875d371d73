//! AVX-512 with VNNI: sixteen outputs at a time, sums of up to twelve rows in registers.

use super::attention::{self, Queries};
use super::blocked::{Block, Cell, Outputs, Q4, Q8, Scales, Work, first_lanes, matmul};
use super::prepared::{Prepared, quantize_row};
use crate::cache::KvHead;
use crate::kernels::scalar::{self, NotFinite};
use crate::kernels::{Activations, ActivationsMut, Kernels};
use crate::packed::{Layout, PackedMatrix, WeightFormat};
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

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        // SAFETY: who made the token vouched for AVX2, which AVX-512 includes.
        unsafe {
            match into.format() {
                WeightFormat::Q4 => quantize_row::<Self, Q4>(x, row, into),
                WeightFormat::Q8 => quantize_row::<Self, Q8>(x, row, into),
            }
        }
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        // SAFETY: who made the token vouched for the vector unit; AVX-512 includes AVX2.
        unsafe {
            match weights.format() {
                WeightFormat::Q4 => matmul::<Self, Q4>(weights, activations, out),
                WeightFormat::Q8 => matmul::<Self, Q8>(weights, activations, out),
            }
        }
    }

    #[inline(always)]
    fn attention_scores(
        self,
        queries: &[i8],
        query_scales: &[f32],
        kv: KvHead<'_>,
        visible: usize,
        scores: &mut [f32],
    ) {
        let tile = Queries { values: queries, scales: query_scales, dim: kv.dim() };
        // SAFETY: who made the token vouched for the vector unit.
        if !unsafe { attention::scores::<Self>(tile, kv, visible, scores) } {
            scalar::attention_scores(self, queries, query_scales, kv, visible, scores);
        }
    }

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

/// VNNI multiplies unsigned by signed bytes and adds four products to an `i32`; nothing overflows.
impl Block<Q4> for Avx512Vnni {
    const BIAS: i32 = 8;
    const PAIRS: bool = false;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn add(work: Work<'_, Q4>) {
        add(work);
    }
}

impl Block<Q8> for Avx512Vnni {
    const BIAS: i32 = 128;
    const PAIRS: bool = false;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn add(work: Work<'_, Q8>) {
        add(work);
    }
}

/// Rows whose sums stay in registers: with eight of weights and a few for the work in hand, twelve
/// is the most that does not spill.
const ROWS: usize = 11;

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add<const STEPS: usize>(mut work: Work<'_, STEPS>) {
    for first in (0..work.rows).step_by(ROWS) {
        let tile = work.tile.get(first..).unwrap_or_default().chunks(work.rows);
        let cells = work.cells.iter().zip(work.scales).zip(tile);
        macro_rules! add_rows {
            ($($n:literal)*) => {
                match work.rows - first {
                    $($n => add_rows::<_, $n>(cells, &mut work.outputs, first),)*
                    _ => add_rows::<_, ROWS>(cells, &mut work.outputs, first),
                }
            };
        }
        add_rows!(1 2 3 4 5 6 7 8 9 10);
    }
}

/// [`Block::add`] for a number of rows that the compiler knows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_rows<'a, const STEPS: usize, const ROWS: usize>(
    cells: impl Iterator<Item = ((&'a Cell<STEPS>, &'a Scales), &'a [Prepared])>,
    outputs: &mut Outputs<'_>,
    first: usize,
) {
    let mut sums = [_mm512_setzero_ps(); ROWS];
    for (row, sums) in (first..).zip(&mut sums) {
        if let Some(old) = outputs.sums(row) {
            *sums = load_some(old);
        }
    }
    for ((cell, scales), tile) in cells {
        let Some(tile) = tile.first_chunk::<ROWS>() else { return };
        let weights = unsigned(cell);
        let weight_scales = widen(scales);
        for (sums, x) in sums.iter_mut().zip(tile) {
            let mut integers = _mm512_set1_epi32(x.start);
            for (weights, quad) in weights.iter().zip(&x.values) {
                integers = _mm512_dpbusd_epi32(integers, *weights, _mm512_set1_epi32(*quad));
            }
            let scales = _mm512_mul_ps(weight_scales, _mm512_set1_ps(x.scale));
            *sums = _mm512_add_ps(*sums, _mm512_mul_ps(scales, _mm512_cvtepi32_ps(integers)));
        }
    }
    for (row, sums) in (first..).zip(sums) {
        store_some(outputs.row(row), sums);
    }
}

/// Loads at most sixteen numbers; the other lanes are zero.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_some(numbers: &[f32]) -> __m512 {
    // SAFETY: reads, at any alignment, only the lanes that are borrowed.
    unsafe { _mm512_maskz_loadu_ps(first_lanes(numbers.len()), numbers.as_ptr()) }
}

/// Stores as many lanes as there is room for.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_some(numbers: &mut [f32], lanes: __m512) {
    // SAFETY: writes, at any alignment, only the lanes that are borrowed.
    unsafe { _mm512_mask_storeu_ps(numbers.as_mut_ptr(), first_lanes(numbers.len()), lanes) }
}

/// The weights of a cell plus the bias of its format, by step.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unsigned<const STEPS: usize>(cell: &Cell<STEPS>) -> [__m512i; 8] {
    let mut weights = [_mm512_setzero_si512(); 8];
    if STEPS == Q4 {
        let mask = _mm512_set1_epi8(15);
        let (low, high) = weights.split_at_mut(Q4);
        for ((low, high), step) in low.iter_mut().zip(high).zip(cell) {
            let bytes = load(step);
            *low = _mm512_and_si512(bytes, mask);
            *high = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask);
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

/// Sixteen `f16` to `f32`; exact.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen(scales: &Scales) -> __m512 {
    // SAFETY: reads exactly the borrowed 32 bytes; this load needs no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(scales.as_ptr().cast()) })
}

/// Loads 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(step: &[[u8; 32]; 2]) -> __m512i {
    // SAFETY: reads exactly the borrowed 64 bytes; this load needs no alignment.
    unsafe { _mm512_loadu_si512(step.as_ptr().cast()) }
}
