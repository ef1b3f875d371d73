//! Pairs of rows times tiles of four tokens.

use super::matmul::cell_bytes;
use core::arch::naked_asm;

/// Groups that are multiplied before the next tokens' turn. Their weight scales are converted to
/// `f32` once for all tokens, in 8 bytes of stack each.
pub(super) const CHUNK: usize = 16;

/// What [`multiply_fours`] does: pairs of rows times tiles of four tokens.
#[repr(C)]
pub(super) struct Fours {
    /// The first pair's first cell of the chunk.
    pub(super) weights: *const u8,
    /// From one pair of rows to the next.
    pub(super) pair_bytes: usize,
    pub(super) pairs: usize,
    /// The first tile's first group of the chunk.
    pub(super) activations: *const u32,
    /// Of the chunk: 1 to [`CHUNK`].
    pub(super) groups: usize,
    /// From one tile to the next.
    pub(super) tile_bytes: usize,
    pub(super) tiles: usize,
    pub(super) out: *mut f32,
    /// From one token's outputs to the next.
    pub(super) row_bytes: usize,
    /// All ones if the second row of a pair has outputs, else zero.
    pub(super) second: usize,
    /// Whether to add to what is in `out`.
    pub(super) go_on: usize,
}

/// The next sixteen inputs of four tokens times those of two rows, in `$first` and `$second`.
macro_rules! multiply_tile {
    ($multiply:literal, $first:literal, $second:literal) => {
        concat!(
            multiply_tile!($multiply, $first, $second, "r0", "r8"),
            multiply_tile!($multiply, $first, $second, "r2", "r10"),
            multiply_tile!($multiply, $first, $second, "r4", "r12"),
            multiply_tile!($multiply, $first, $second, "r6", "lr"),
        )
    };
    ($multiply:literal, $first:literal, $second:literal, $sum0:literal, $sum1:literal) => {
        concat!(
            "vldrb.u8 q4, [r3], #16\n",
            $multiply,
            " ",
            $sum0,
            ", ",
            $first,
            ", q4\n",
            $multiply,
            " ",
            $sum1,
            ", ",
            $second,
            ", q4\n",
        )
    };
}

/// The next group of two rows times four tokens.
macro_rules! multiply_group {
    () => {
        concat!(
            "ldrd r7, r9, [r11], #8\n",
            ".if {q8}\n",
            "vldrb.u8 q0, [r1, #20]!\n",
            "vldrb.u8 q1, [r1, #16]!\n",
            "vldrb.u8 q2, [r1, #16]!\n",
            "vldrb.u8 q3, [r1, #16]!\n",
            ".else\n",
            "vldrb.u8 q1, [r1, #20]!\n",
            "vldrb.u8 q3, [r1, #16]!\n",
            "vshl.i8 q0, q1, #4\n",
            "vand q1, q1, q5\n",
            "vshl.i8 q2, q3, #4\n",
            "vand q3, q3, q5\n",
            ".endif\n",
            multiply_tile!("vmladav.s8", "q0", "q2"),
            multiply_tile!("vmladava.s8", "q1", "q3"),
            "vldrw.u32 q4, [r3], #16\n",
            "vmov q0[2], q0[0], r0, r4\n",
            "vmov q0[3], q0[1], r2, r6\n",
            "vmul.f32 q2, q4, r7\n",
            "vmov q1[2], q1[0], r8, r12\n",
            "vmov q1[3], q1[1], r10, lr\n",
            "vmul.f32 q3, q4, r9\n",
            ".if {q8}\n",
            "vcvt.f32.s32 q0, q0\n",
            "vcvt.f32.s32 q1, q1\n",
            ".else\n",
            "vcvt.f32.s32 q0, q0, #4\n",
            "vcvt.f32.s32 q1, q1, #4\n",
            ".endif\n",
            "vmul.f32 q0, q0, q2\n",
            "vmul.f32 q1, q1, q3\n",
            "vadd.f32 q6, q6, q0\n",
            "vadd.f32 q7, q7, q1\n",
        )
    };
}

/// # Safety
/// All that `work` describes must be readable, and its outputs writable. None of its counts is zero.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn multiply_fours<const Q8: usize>(work: &Fours) {
    naked_asm!(
        // r0 to r6 even: sums of the first row by token, r8 to r12 and lr: of the second. r1 weights
        // (the last vector read), r3 activations, r5 where the tile's chunk of them ends, r7 and r9
        // the rows' scales, r11 next scales, q5 mask, q6 and q7 outputs of the first and second row.
        //
        // On the stack, what does not fit:
        //  0 where a tile starts           20 r5 in the last tile
        //  4 weights of the pair, less 16  24 from four tokens' outputs to the next
        //  8 bytes of a tile's chunk       28 pairs left
        // 12 bytes of a tile               32 addresses of the first row's outputs
        // 16 scales of the pair            48 the same in the first tile
        // 64 work                          68 where its groups start
        // 72 the scales
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "sub sp, sp, #{frame}",
        "ldrd r2, r3, [r0, #16]",
        // Where a tile starts: at an even or an odd number of groups.
        "adr.w r4, 4f",
        "lsls r1, r2, #31",
        "it mi",
        "adrmi.w r4, 5f",
        "adds r4, #1",
        "str r4, [sp, #68]",
        "ldr r1, [r0, #40]",
        "cbz r1, 1f",
        "adr.w r4, 6f",
        "adds r4, #1",
        "1: ldr r1, [r0]",
        "subs r1, #16",
        "add r2, r2, r2, lsl #3",
        "lsls r2, r2, #4",
        "add r11, sp, #72",
        "strd r4, r1, [sp]",
        "strd r2, r3, [sp, #8]",
        "ldr r5, [r0, #24]",
        "ldr r6, [r0, #12]",
        "subs r5, #1",
        "mla r5, r5, r3, r6",
        "add r5, r5, r2",
        "strd r11, r5, [sp, #16]",
        "ldrd r6, r7, [r0, #28]",
        "ldr r8, [r0, #8]",
        "lsls r9, r7, #2",
        "strd r9, r8, [sp, #24]",
        "add r8, r6, r7",
        "add r9, r8, r7",
        "add r10, r9, r7",
        "strd r6, r8, [sp, #48]",
        "strd r9, r10, [sp, #56]",
        "str r0, [sp, #64]",
        ".if {q8} == 0",
        "vmov.i8 q5, #0xf0",
        ".endif",
        // A pair of rows. First its scales, four groups at a time.
        "1: ldr r0, [sp, #64]",
        "ldr r2, [r0, #16]",
        "ldr r1, [sp, #4]",
        "adds r1, #16",
        "adr r3, 9f",
        "vldrb.u8 q3, [r3]",
        "add r11, sp, #72",
        "lsls r2, r2, #2",
        "2: vctp.8 r2",
        "vpst",
        "vldrbt.u8 q0, [r1, q3]",
        "add r1, r1, #4 * {cell}",
        "vcvtb.f32.f16 q1, q0",
        "vcvtt.f32.f16 q2, q0",
        "vst20.32 {{q1, q2}}, [r11]",
        "vst21.32 {{q1, q2}}, [r11]!",
        "subs r2, #16",
        "bhi 2b",
        "ldr r2, [r0, #36]",
        "vmsr p0, r2",
        "vldrw.u32 q0, [sp, #48]",
        "vstrw.32 q0, [sp, #32]",
        "movs r2, #8",
        "vadd.i32 q0, q0, r2",
        "vstrw.32 q0, [sp, #48]",
        "ldr r5, [r0, #12]",
        "ldrd r2, r4, [sp, #8]",
        "add r5, r5, r2",
        "subs r5, r5, r4",
        // A tile of tokens.
        "3: ldm sp, {{r0, r1, r2, r4, r11}}",
        "add r5, r5, r4",
        "subs r3, r5, r2",
        "vmov.i32 q6, #0",
        "vmov.i32 q7, #0",
        "bx r0",
        // Two groups; an odd number of them begins with the second.
        "4:",
        multiply_group!(),
        "5:",
        multiply_group!(),
        "cmp r3, r5",
        "bne.w 4b",
        "vldrw.u32 q0, [sp, #32]",
        "ldrd r0, r2, [sp, #20]",
        "vstrw.32 q6, [q0]",
        "vpst",
        "vstrwt.32 q7, [q0, #4]",
        "vadd.i32 q0, q0, r2",
        "vstrw.32 q0, [sp, #32]",
        "cmp r5, r0",
        "bne.w 3b",
        "ldr r0, [sp, #64]",
        "ldr r2, [r0, #4]",
        "ldr r1, [sp, #4]",
        "add r1, r1, r2",
        "str r1, [sp, #4]",
        "ldr r2, [sp, #28]",
        "subs r2, #1",
        "str r2, [sp, #28]",
        "bne.w 1b",
        "add sp, sp, #{frame}",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
        // Start from what the last chunk left.
        "6: vldrw.u32 q0, [sp, #32]",
        "vldrw.u32 q6, [q0]",
        "vpst",
        "vldrwt.u32 q7, [q0, #4]",
        "ldr r0, [sp, #68]",
        "bx r0",
        ".p2align 2",
        // Bytes of the scales of four cells.
        "9: .irp cell, 0, {cell}, 2 * {cell}, 3 * {cell}",
        ".byte \\cell, \\cell + 1, \\cell + 2, \\cell + 3",
        ".endr",
        q8 = const Q8,
        cell = const cell_bytes(Q8),
        frame = const 72 + 8 * CHUNK,
    )
}
