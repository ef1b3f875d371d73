//! AMX: a tile of sixteen rows by sixteen outputs at a time; AVX-512 for the float operations, and
//! for few rows.

mod ahead;
mod order;
mod pipeline;
mod unit;

use super::avx512_vnni::Avx512Vnni;
use super::blocked::{Q4, Q5, Q8, Unit, matmul_prepared};
use super::prepared::{Prepared, WORDS, prepare_row};
use super::scales::{Affine, Plain};
use crate::cache::KvHead;
use crate::kernels::scalar::NotFinite;
use crate::kernels::{Activations, ActivationsMut, Kernels};
use crate::packed::{Layout, PackedMatrix, WeightFormat};
use order::Split;

/// Kernels for processors with AMX-INT8, AVX-512 F, BW and VNNI, F16C and GFNI: Intel's servers
/// since 2023.
#[derive(Debug, Clone, Copy)]
pub struct Amx(());

impl Amx {
    /// The proof that the processor has AMX-INT8, AVX-512 F, BW and VNNI, F16C and GFNI, and that
    /// the process may use tiles.
    ///
    /// # Safety
    /// It must have them, and the operating system must have enabled them. Every thread that uses
    /// the kernels must have its permission to use tiles, which on Linux a process asks for once.
    #[must_use]
    pub const unsafe fn new_unchecked() -> Self {
        Self(())
    }
}

impl Kernels for Amx {
    const NAME: &'static str = "amx";
    const LAYOUT: Layout = Layout::Rows16;
    const READS_Q5: bool = true;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        let (rows, groups) = (into.rows(), into.groups());
        let start = Avx512Vnni::start(into.format());
        let split = Split::new(rows, groups);
        if row >= rows {
            return Ok(());
        }
        let (first, height) = split.tile_of(row);
        let tile = into.words().get_mut(first * groups * WORDS..).unwrap_or_default();
        if first < split.tiled {
            // SAFETY: who made the token vouched for AVX2, which AVX-512 includes.
            return unsafe { order::write_row(x, start, tile, (row - first, height), groups) };
        }
        let tile: &mut [Prepared] = bytemuck::cast_slice_mut(tile.as_chunks_mut::<WORDS>().0);
        // SAFETY: as above.
        unsafe { prepare_row(x, start, tile, (row - first, height), groups) }
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        let groups = weights.groups();
        if groups != activations.groups() {
            return;
        }
        let split = Split::new(activations.rows(), groups);
        let part = |rows: &core::ops::Range<usize>| {
            let words = activations.words();
            words.get(rows.start * groups * WORDS..rows.end * groups * WORDS).unwrap_or_default()
        };
        for rows in [0..split.full, split.full..split.tiled] {
            let tiles = order::Tiles::new(part(&rows), rows.len(), groups);
            let Some(out) = out.get_mut(rows.start * weights.rows()..) else { return };
            // SAFETY: who made the token vouched for AMX and AVX-512, and for the permission.
            unsafe {
                match weights.format() {
                    WeightFormat::Q4 => pipeline::matmul::<Plain, Q4>(weights, &tiles, out),
                    WeightFormat::Q8 => pipeline::matmul::<Plain, Q8>(weights, &tiles, out),
                    WeightFormat::Q5 => pipeline::matmul::<Plain, Q5>(weights, &tiles, out),
                    WeightFormat::Q4K => pipeline::matmul::<Affine, Q4>(weights, &tiles, out),
                }
            }
        }
        let rows = split.tiled..activations.rows();
        let Some(out) = out.get_mut(rows.start * weights.rows()..) else { return };
        let prepared = bytemuck::cast_slice(part(&rows).as_chunks::<WORDS>().0);
        // SAFETY: who made the token vouched for AVX-512.
        unsafe { matmul_prepared::<Avx512Vnni>(weights, prepared, rows.len(), out) }
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
        self.vector_unit().attention_scores(queries, query_scales, kv, visible, scores);
    }

    #[inline(always)]
    fn attention_values(
        self,
        weights: &[f32],
        inverse_sums: &[f32],
        kv: KvHead<'_>,
        visible: usize,
        out: (&mut [f32], usize),
    ) {
        self.vector_unit().attention_values(weights, inverse_sums, kv, visible, out);
    }

    #[inline(always)]
    fn vectorize<R>(self, code: impl FnOnce() -> R) -> R {
        self.vector_unit().vectorize(code)
    }
}

impl Amx {
    #[inline(always)]
    fn vector_unit(self) -> Avx512Vnni {
        // SAFETY: who made the token vouched for the vector unit.
        unsafe { Avx512Vnni::new_unchecked() }
    }
}
