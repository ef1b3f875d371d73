//! Activations straight into the order of the inner loops.

use super::{GROUP_WORDS, tile_of};
use crate::kernels::ActivationsMut;
use crate::kernels::scalar::{ACTIVATION_FLOOR, NotFinite};
use crate::packed::GROUP;
use core::arch::naked_asm;

/// [`Kernels::quantize_row`](crate::kernels::Kernels::quantize_row).
pub(super) fn quantize_row(
    x: &[f32],
    row: usize,
    into: &mut ActivationsMut<'_>,
) -> Result<(), NotFinite> {
    let (rows, groups) = (into.rows(), into.groups());
    if row >= rows {
        return Ok(());
    }
    let (first, width) = tile_of(row, rows);
    let start = first * groups * GROUP_WORDS;
    let words = groups * width * GROUP_WORDS;
    let Some(tile) = into.words().get_mut(start..).and_then(|rest| rest.get_mut(..words)) else {
        return Ok(());
    };
    let lane = row - first;
    let (whole, rest) = x.as_chunks::<GROUP>();
    let whole = whole.get(..groups).unwrap_or(whole);
    add_groups(whole, lane, width, tile)?;
    let mut tile = tile.get_mut(whole.len() * width * GROUP_WORDS..).unwrap_or_default();
    // The end of the row and the padding are filled up with zeros.
    let mut rest = rest;
    while !tile.is_empty() {
        let mut group = [0.0; GROUP];
        group.iter_mut().zip(rest).for_each(|(padded, x)| *padded = *x);
        rest = &[];
        add_groups(&[group], lane, width, tile)?;
        tile = tile.get_mut(width * GROUP_WORDS..).unwrap_or_default();
    }
    Ok(())
}

/// Quantizes whole groups as row `lane` of a tile of `width` rows.
fn add_groups(
    x: &[[f32; GROUP]],
    lane: usize,
    width: usize,
    tile: &mut [u32],
) -> Result<(), NotFinite> {
    if x.is_empty() || lane >= width || tile.len() < x.len() * width * GROUP_WORDS {
        return Ok(());
    }
    let tile = tile.as_mut_ptr();
    // SAFETY: a group of the tile holds the values of `width` rows in two halves, then their scales;
    // with the first of at least `x.len()` groups the pointers start inside the tile, and all that is
    // written stays at this row's place in each group. The build target has Helium.
    let finite = unsafe {
        let values = tile.add(lane * GROUP / 8);
        let scales = tile.add(width * GROUP / 4 + lane);
        quantize_groups(x.as_ptr(), values, x.len(), width, scales)
    };
    if finite { Ok(()) } else { Err(NotFinite) }
}

/// Quantizes `groups` groups (one or more) from `x`. `values` and `scales` point to the row's place
/// in a tile of `width` rows. Returns whether all numbers were finite.
///
/// # Safety
/// `x` must be readable, and the tile writable, for so many groups.
#[unsafe(naked)]
unsafe extern "C" fn quantize_groups(
    x: *const [f32; GROUP],
    values: *mut u32,
    groups: usize,
    width: usize,
    scales: *mut u32,
) -> bool {
    naked_asm!(
        // r0 x, r1 values, r2 groups left, r3 bytes from the first half to the second, r4 scales,
        // r5 largest magnitude, then 127 / amax, r6 amax / 127, r7 bytes from the second half to the
        // next group, r8 bytes from one group to the next, r12 127.0; q7 shows whether NaNs came by
        ".cpu cortex-m55",
        "push {{r4-r8, lr}}",
        "vpush {{d8-d15}}",
        "ldr r4, [sp, #88]",
        "lsls r3, r3, #4",
        "add r7, r3, r3, lsr #2",
        "add r8, r7, r3",
        "movw r12, #0",
        "movt r12, #0x42fe",
        "vmov.i32 q7, #0",
        "1: movs r5, #0",
        ".irp q, q0, q1, q2, q3, q4, q5, q6, q6",
        "vldrw.u32 \\q, [r0], #16",
        "vmaxnmav.f32 r5, \\q",
        ".endr",
        "cmp r5, #0x7f800000",
        "bhs 4f",
        "cmp r5, #{floor}",
        "blo 3f",
        "vmov s24, s25, r5, r12",
        "vdiv.f32 s26, s25, s24",
        "vdiv.f32 s27, s24, s25",
        "vmov r5, r6, s26, s27",
        "2: vldrw.u32 q6, [r0, #-32]",
        ".irp q, q0, q1, q2, q3, q4, q5, q6",
        "vmul.f32 \\q, \\q, r5",
        ".endr",
        // The maximum passes over NaNs, this sum does not, and it is finite if there are none.
        "vfma.f32 q7, q0, q1",
        "vfma.f32 q7, q2, q3",
        "vfma.f32 q7, q4, q5",
        "vcvtn.s32.f32 q0, q0",
        "vcvtn.s32.f32 q1, q1",
        "vcvtn.s32.f32 q2, q2",
        "vcvtn.s32.f32 q3, q3",
        "vstrb.32 q0, [r1]",
        "vstrb.32 q1, [r1, #4]",
        "vstrb.32 q2, [r1, #8]",
        "vstrb.32 q3, [r1, #12]",
        "add r1, r1, r3",
        "vldrw.u32 q0, [r0, #-16]",
        "vmul.f32 q0, q0, r5",
        "vfma.f32 q7, q6, q0",
        "vcvtn.s32.f32 q4, q4",
        "vcvtn.s32.f32 q5, q5",
        "vcvtn.s32.f32 q6, q6",
        "vcvtn.s32.f32 q0, q0",
        "vstrb.32 q4, [r1]",
        "vstrb.32 q5, [r1, #4]",
        "vstrb.32 q6, [r1, #8]",
        "vstrb.32 q0, [r1, #12]",
        "add r1, r1, r7",
        "str r6, [r4]",
        "add r4, r4, r8",
        "subs r2, #1",
        "bne 1b",
        "vcmp.f32 ne, q7, q7",
        "vmrs r0, p0",
        "clz r0, r0",
        "lsrs r0, r0, #5",
        "b 5f",
        // Below the floor: all values times zero, scale zero.
        "3: movs r5, #0",
        "movs r6, #0",
        "b 2b",
        "4: movs r0, #0",
        "5: vpop {{d8-d15}}",
        "pop {{r4-r8, pc}}",
        floor = const ACTIVATION_FLOOR.to_bits(),
    )
}
