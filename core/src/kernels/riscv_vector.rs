//! RISC-V with the vector extension, registers of 128 bits or more.
//!
//! Each lane computes one output and does exactly what [`Scalar`](super::Scalar) does. A cell's
//! sixteen outputs are one vector whatever the length of the registers: four registers of 128 bits
//! for 32-bit lanes, fewer of longer ones.
//!
//! Stable Rust has no types for these registers, so that each block of assembly loads all it needs
//! from memory and stores what it made.
#![allow(unsafe_code)]

use super::scalar::{ACTIVATION_FLOOR, NotFinite};
use super::{Activations, ActivationsMut, Kernels};
use crate::packed::{BLOCK_ROWS, GROUP, Layout, PackedMatrix, WeightFormat, Width};
use crate::pieces::pieces;
use bytemuck::{Pod, Zeroable};
use core::arch::asm;

/// Kernels for processors with the V extension, or with Zve32f and Zvl128b.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rvv(());

impl Rvv {
    /// The cargo feature `rvv` says that the processor has the instructions.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Kernels for Rvv {
    const NAME: &'static str = "rvv";
    const LAYOUT: Layout = Layout::Rows16;
    const READS_Q4K: bool = false;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        let (rows, groups, bias) = (into.rows(), into.groups(), bias(into.format()));
        let first = row / ROWS * ROWS;
        let tile = rows.saturating_sub(first).min(ROWS);
        let all = bytemuck::try_cast_slice_mut::<_, Group>(into.words()).unwrap_or_default();
        let slots = all.get_mut(first * groups + (row - first)..).unwrap_or_default();
        let mut slots = slots.iter_mut().step_by(tile.max(1)).take(groups);
        let (whole, rest) = x.as_chunks();
        for (x, slot) in whole.iter().zip(&mut slots) {
            quantize(x, bias, slot)?;
        }
        let mut padded = [0.0; GROUP];
        padded.iter_mut().zip(rest).for_each(|(to, x)| *to = *x);
        for slot in slots {
            quantize(&padded, bias, slot)?;
            padded = [0.0; GROUP];
        }
        Ok(())
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        match weights.format().width() {
            Width::Nibble => matmul::<Q4>(weights, activations, out),
            Width::Byte => matmul::<Q8>(weights, activations, out),
        }
    }

    #[inline(always)]
    fn dot(self, a: &[i8], b: &[i8]) -> i32 {
        dot(a, b)
    }
}

/// [`scalar::dot`](super::scalar::dot).
fn dot(a: &[i8], b: &[i8]) -> i32 {
    let len = a.len().min(b.len());
    let sum: i32;
    // SAFETY: reads `len` values of both borrowed rows and changes only the registers that it names.
    unsafe {
        asm!(
            ".option push", ".option arch, +zve32f, +zvl128b",
            "vsetivli zero, 1, e32, m1, ta, ma",
            "vmv.s.x v0, zero",
            "beqz {len}, 3f",
            "2:",
            "vsetvli {now}, {len}, e8, m4, ta, ma",
            "vle8.v v4, ({a})",
            "vle8.v v8, ({b})",
            "add {a}, {a}, {now}",
            "add {b}, {b}, {now}",
            "sub {len}, {len}, {now}",
            "vwmul.vv v16, v4, v8",
            "vsetvli zero, {now}, e16, m8, ta, ma",
            "vwredsum.vs v0, v16, v0",
            "bnez {len}, 2b",
            "3:",
            "vsetivli zero, 1, e32, m1, ta, ma",
            "vmv.x.s {now}, v0",
            ".option pop",
            len = inout(reg) len => _, now = out(reg) sum,
            a = inout(reg) a.as_ptr() => _, b = inout(reg) b.as_ptr() => _,
            out("v0") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _, out("v8") _,
            out("v9") _, out("v10") _, out("v11") _, out("v16") _, out("v17") _, out("v18") _,
            out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            options(nostack, readonly),
        );
    }
    sum
}

/// Steps of 4 inputs in the bytes of a Q4 cell, with as many more in the upper nibbles, and of a Q8
/// cell.
const Q4: usize = 4;
const Q8: usize = 8;

/// Activation rows that share unpacked weights: as many as there are registers for their sums.
const ROWS: usize = 4;

/// The weights of a cell: by step, 4 inputs of 16 outputs.
type Cell<const STEPS: usize> = [[u8; 4 * BLOCK_ROWS]; STEPS];
/// The scales of a cell, `f16`.
type Scales = [u8; 2 * BLOCK_ROWS];

/// What a weight is larger by in its cell.
const fn bias(format: WeightFormat) -> i32 {
    match format.width() {
        Width::Nibble => 8,
        Width::Byte => 0,
    }
}

/// One group of one activation row. They are kept as `[tiles, groups, rows of the tile]`: one pointer
/// is enough for all rows.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Group {
    values: [i8; GROUP],
    scale: f32,
    /// What the integer sums start from: takes back the bias of the weights.
    start: i32,
}

/// [`scalar::quantize`](super::scalar::quantize) of a whole group.
fn quantize(x: &[f32; GROUP], bias: i32, group: &mut Group) -> Result<(), NotFinite> {
    let twice: u32;
    // SAFETY: reads the borrowed numbers and changes only the registers that it names.
    unsafe {
        asm!(
            ".option push", ".option arch, +zve32f, +zvl128b",
            "vsetvli {t}, {n}, e32, m8, ta, ma",
            "vle32.v v8, ({x})",
            // Bit patterns order like magnitudes once the sign is off, and NaN comes last.
            "vsll.vi v16, v8, 1",
            "vmv.s.x v0, zero",
            "vredmaxu.vs v0, v16, v0",
            "vmv.x.s {t}, v0",
            ".option pop",
            x = in(reg) x, n = in(reg) GROUP, t = out(reg) twice,
            out("v0") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _,
            out("v13") _, out("v14") _, out("v15") _, out("v16") _, out("v17") _, out("v18") _,
            out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            options(nostack, readonly),
        );
    }
    let max = f32::from_bits(twice >> 1);
    if !max.is_finite() {
        return Err(NotFinite);
    }
    if max < ACTIVATION_FLOOR {
        *group = Group::zeroed();
        return Ok(());
    }
    let sum: i32;
    // SAFETY: reads the borrowed numbers, writes the borrowed values, and changes only the registers
    // that it names.
    unsafe {
        asm!(
            ".option push", ".option arch, +zve32f, +zvl128b",
            "vsetvli {t}, {n}, e32, m8, ta, ma",
            "vle32.v v8, ({x})",
            "vfmul.vf v8, v8, {inverse}",
            // Ties to even, the rounding mode in which the float unit starts.
            "vfcvt.x.f.v v8, v8",
            "vsetvli zero, {n}, e16, m4, ta, ma",
            "vncvt.x.x.w v16, v8",
            "vsetvli zero, {n}, e8, m2, ta, ma",
            "vncvt.x.x.w v8, v16",
            "vse8.v v8, ({values})",
            // 32 * 127 fits an `i16`.
            "vsetvli zero, {n}, e16, m4, ta, ma",
            "vmv.s.x v0, zero",
            "vredsum.vs v0, v16, v0",
            "vmv.x.s {t}, v0",
            ".option pop",
            x = in(reg) x, n = in(reg) GROUP, t = out(reg) sum,
            inverse = in(freg) 127.0 / max, values = in(reg) &mut group.values,
            out("v0") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _,
            out("v13") _, out("v14") _, out("v15") _, out("v16") _, out("v17") _, out("v18") _,
            out("v19") _,
            options(nostack),
        );
    }
    (group.scale, group.start) = (max / 127.0, -bias * sum);
    Ok(())
}

/// [`Kernels::matmul`] for one format.
fn matmul<const STEPS: usize>(
    weights: &PackedMatrix<'_>,
    activations: &Activations<'_>,
    out: &mut [f32],
) {
    let (groups, columns) = (weights.groups().max(1), weights.rows().max(1));
    let (cells, scales) = weights.planes();
    let cells: &[Cell<STEPS>] = cells.as_chunks().0.as_chunks().0;
    let scales: &[Scales] = scales.as_chunks().0;
    if groups != activations.groups() {
        return;
    }
    let x: &[Group] = bytemuck::try_cast_slice(activations.words()).unwrap_or_default();
    let (tile, out_tile) = ((ROWS * groups).max(1), (ROWS * columns).max(1));
    let mut sums = [[0.0; BLOCK_ROWS]; ROWS];
    // All rows before the next block: its weights stay in the first-level cache.
    let blocks = pieces(cells, groups).zip(pieces(scales, groups));
    for ((cells, scales), first_column) in blocks.zip((0..columns).step_by(BLOCK_ROWS)) {
        for (x, out) in x.chunks(tile).zip(out.chunks_mut(out_tile)) {
            match x.len() / groups {
                1 => multiply::<_, 1>(cells, scales, x, &mut sums),
                2 => multiply::<_, 2>(cells, scales, x, &mut sums),
                3 => multiply::<_, 3>(cells, scales, x, &mut sums),
                _ => multiply::<_, ROWS>(cells, scales, x, &mut sums),
            }
            for (row, sums) in out.chunks_mut(columns).zip(&sums) {
                let row = row.get_mut(first_column..).unwrap_or_default();
                match row.first_chunk_mut() {
                    Some(row) => *row = *sums,
                    None => row.iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum),
                }
            }
        }
    }
}

/// The products of a block with a tile of `TILE` activation rows.
#[inline(never)]
fn multiply<const STEPS: usize, const TILE: usize>(
    cells: &[Cell<STEPS>],
    scales: &[Scales],
    x: &[Group],
    sums: &mut [[f32; BLOCK_ROWS]; ROWS],
) {
    let groups = cells.len().min(scales.len()).min(x.len() / TILE);
    if groups == 0 {
        return;
    }
    // For each row its place in the tile, its sums in the making and where they end up as 32 bits:
    //
    // - Q4: products of nibbles (v0 to v7) go to `i16`, first v8, v10, v12 and v14. With the start
    //   value they may wrap; the result, at most 32 * 8 * 127, is in range again.
    // - Q8: weights are widened (v8 to v15), so that products go to `i32`, v16 to v31.
    //
    // Then v0 holds the weight scales, v4 the terms and v8 the sums of a row.
    //
    // SAFETY: reads as many borrowed cells, scales and tiles of groups as there are, and the sums of
    // `TILE <= ROWS` rows, which it writes. All registers that it changes are named.
    unsafe {
        asm!(
            ".option push", ".option arch, +zve32f, +zvl128b",
            ".macro demask_each_row what, step=0",
            "\\what 0, v8, v16, \\step",
            ".if {tile} > 1",
            "\\what 1, v10, v20, \\step",
            ".endif",
            ".if {tile} > 2",
            "\\what 2, v12, v24, \\step",
            ".endif",
            ".if {tile} > 3",
            "\\what 3, v14, v28, \\step",
            ".endif",
            ".endm",
            ".macro demask_start row, sum16, sum32, step",
            "lw {t}, 40*\\row+36({x})",
            "vmv.v.x \\sum16, {t}",
            ".endm",
            ".macro demask_zero row, sum16, sum32, step",
            "vmv.v.i \\sum32, 0",
            ".endm",
            ".macro demask_widen row, sum16, sum32, step",
            "vsext.vf2 \\sum32, \\sum16",
            ".endm",
            ".macro demask_products row, first, sum, a, b, c, d",
            "lb {t}, 40*\\row+\\first({x})",
            "lb {u}, 40*\\row+\\first+1({x})",
            "vwmacc.vx \\sum, {t}, \\a",
            "lb {t}, 40*\\row+\\first+2({x})",
            "vwmacc.vx \\sum, {u}, \\b",
            "lb {u}, 40*\\row+\\first+3({x})",
            "vwmacc.vx \\sum, {t}, \\c",
            "vwmacc.vx \\sum, {u}, \\d",
            ".endm",
            ".macro demask_q4 row, sum16, sum32, step",
            "demask_products \\row, \\step, \\sum16, v4, v5, v6, v7",
            "demask_products \\row, \\step+16, \\sum16, v0, v1, v2, v3",
            ".endm",
            ".macro demask_q8 row, sum16, sum32, step",
            "demask_products \\row, \\step, \\sum32, v8, v10, v12, v14",
            ".endm",
            ".macro demask_add row, sum16, sum32, step",
            "flw {f}, 40*\\row+32({x})",
            "vfcvt.f.x.v \\sum32, \\sum32",
            "addi {t}, {sums}, 64*\\row",
            "vle32.v v8, ({t})",
            "vfmul.vf v4, v0, {f}",
            "vfmul.vv v4, v4, \\sum32",
            "vfadd.vv v8, v8, v4",
            "vse32.v v8, ({t})",
            ".endm",

            ".macro demask_clear row, sum16, sum32, step",
            "addi {t}, {sums}, 64*\\row",
            "vse32.v v0, ({t})",
            ".endm",

            "vsetvli zero, {outputs}, e32, m4, ta, ma",
            "vmv.v.i v0, 0",
            "demask_each_row demask_clear",
            "2:",
            ".if {steps} == 4",
            "vsetvli zero, {outputs}, e16, m2, ta, ma",
            "demask_each_row demask_start",
            "vsetvli zero, {outputs}, e8, m1, ta, ma",
            ".irp step, 0, 4, 8, 12",
            "vlseg4e8.v v0, ({cell})",
            "addi {cell}, {cell}, 64",
            "vand.vi v4, v0, 15",
            "vand.vi v5, v1, 15",
            "vand.vi v6, v2, 15",
            "vand.vi v7, v3, 15",
            "vsrl.vi v0, v0, 4",
            "vsrl.vi v1, v1, 4",
            "vsrl.vi v2, v2, 4",
            "vsrl.vi v3, v3, 4",
            "demask_each_row demask_q4, \\step",
            ".endr",
            "vsetvli zero, {outputs}, e32, m4, ta, ma",
            "demask_each_row demask_widen",
            ".else",
            "vsetvli zero, {outputs}, e32, m4, ta, ma",
            "demask_each_row demask_zero",
            "vsetvli zero, {outputs}, e16, m2, ta, ma",
            ".irp step, 0, 4, 8, 12, 16, 20, 24, 28",
            "vlseg4e8.v v0, ({cell})",
            "addi {cell}, {cell}, 64",
            "vsext.vf2 v8, v0",
            "vsext.vf2 v10, v1",
            "vsext.vf2 v12, v2",
            "vsext.vf2 v14, v3",
            "demask_each_row demask_q8, \\step",
            ".endr",
            "vsetvli zero, {outputs}, e32, m4, ta, ma",
            ".endif",
            // Finite `f16` to `f32`, exact: moving the bits into place leaves the exponent too small
            // by the difference of the biases, for subnormal numbers too.
            "vle16.v v4, ({scales})",
            "addi {scales}, {scales}, 32",
            "vsext.vf2 v0, v4",
            "vsll.vi v4, v0, 17",
            "vsrl.vi v4, v4, 4",
            "vfmul.vf v4, v4, {exponent}",
            "vfsgnj.vv v0, v4, v0",
            "demask_each_row demask_add",
            "addi {x}, {x}, 40*{tile}",
            "addi {groups}, {groups}, -1",
            "bnez {groups}, 2b",

            ".irp name, each_row, start, zero, widen, products, q4, q8, add, clear",
            ".purgem demask_\\name",
            ".endr",
            ".option pop",
            steps = const STEPS,
            tile = const TILE,
            outputs = in(reg) BLOCK_ROWS,
            exponent = in(freg) f32::from_bits((127 + (127 - 15)) << 23),
            cell = inout(reg) cells.as_ptr() => _,
            scales = inout(reg) scales.as_ptr() => _,
            x = inout(reg) x.as_ptr() => _,
            groups = inout(reg) groups => _,
            sums = in(reg) sums,
            t = out(reg) _, u = out(reg) _, f = out(freg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
            out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _, out("v16") _, out("v17") _,
            out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(nostack),
        );
    }
}
