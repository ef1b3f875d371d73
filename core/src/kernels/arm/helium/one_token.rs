//! Rows times a single token.

use core::arch::naked_asm;

/// Rows of weights that a single token is multiplied with at once.
pub(super) const ROWS: usize = 8;

/// What [`multiply_one`] does: blocks of eight rows times one token.
#[repr(C)]
pub(super) struct One {
    pub(super) weights: *const u8,
    /// From one pair of rows to the next.
    pub(super) pair_bytes: usize,
    pub(super) blocks: usize,
    pub(super) activations: *const u32,
    pub(super) groups: usize,
    pub(super) out: *mut f32,
}

/// The next group of one row, at `$weights`, times the token's.
macro_rules! multiply_row {
    ($sum:literal, $weights:literal) => {
        concat!(
            ".if {q8}\n",
            "vldrb.u8 q0, [",
            $weights,
            "], #16\n",
            "vldrb.u8 q1, [",
            $weights,
            "], #16\n",
            ".else\n",
            "vldrb.u8 q1, [",
            $weights,
            "], #16\n",
            "vshl.i8 q0, q1, #4\n",
            "vand q1, q1, q3\n",
            ".endif\n",
            "vmladav.s8 ",
            $sum,
            ", q0, q4\n",
            "vmladava.s8 ",
            $sum,
            ", q1, q5\n",
        )
    };
}

/// # Safety
/// All that `work` describes must be readable, and its outputs writable. None of its counts is zero.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn multiply_one<const Q8: usize>(work: &One) {
    naked_asm!(
        // r0 to r6 even: sums of rows 0, 2, 4 and 6; r8 to r12 and lr: of rows 1, 3, 5 and 7.
        // r1, r3, r5, r7 weights of the four pairs of rows, r9 activations, r11 where they end,
        // q2 scales as stored, q3 mask, q6 and q7 outputs of even and odd rows.
        // On the stack: 0 bytes of a pair, 4 blocks left, 8 activations, 12 outputs.
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "sub sp, sp, #20",
        "ldrd r7, r2, [r0]",
        "ldr r3, [r0, #8]",
        "strd r2, r3, [sp]",
        "ldr r4, [r0, #12]",
        "ldr r5, [r0, #20]",
        "strd r4, r5, [sp, #8]",
        "ldr r5, [r0, #16]",
        "add r5, r5, r5, lsl #3",
        "add r11, r4, r5, lsl #2",
        ".if {q8} == 0",
        "vmov.i8 q3, #0xf0",
        ".endif",
        // A block of eight rows.
        "1: ldr r2, [sp]",
        "ldr r9, [sp, #8]",
        "mov r1, r7",
        "add r3, r1, r2",
        "add r5, r3, r2",
        "add r7, r5, r2",
        "vmov.i32 q6, #0",
        "vmov.i32 q7, #0",
        // A group.
        "2: ldr r0, [r1], #4",
        "ldr r2, [r3], #4",
        "ldr r4, [r5], #4",
        "ldr r6, [r7], #4",
        "vldrb.u8 q4, [r9], #16",
        "vmov q2[2], q2[0], r0, r4",
        "vldrb.u8 q5, [r9], #16",
        "vmov q2[3], q2[1], r2, r6",
        multiply_row!("r0", "r1"),
        multiply_row!("r8", "r1"),
        multiply_row!("r2", "r3"),
        multiply_row!("r10", "r3"),
        multiply_row!("r4", "r5"),
        multiply_row!("r12", "r5"),
        multiply_row!("r6", "r7"),
        multiply_row!("lr", "r7"),
        "vmov q4[2], q4[0], r0, r4",
        "ldr r0, [r9], #4",
        "vmov q4[3], q4[1], r2, r6",
        "vcvtb.f32.f16 q0, q2",
        "vmov q5[2], q5[0], r8, r12",
        "vcvtt.f32.f16 q1, q2",
        "vmov q5[3], q5[1], r10, lr",
        "vmul.f32 q0, q0, r0",
        "vmul.f32 q1, q1, r0",
        ".if {q8}",
        "vcvt.f32.s32 q4, q4",
        "vcvt.f32.s32 q5, q5",
        ".else",
        "vcvt.f32.s32 q4, q4, #4",
        "vcvt.f32.s32 q5, q5, #4",
        ".endif",
        "vmul.f32 q4, q4, q0",
        "vmul.f32 q5, q5, q1",
        "vadd.f32 q6, q6, q4",
        "vadd.f32 q7, q7, q5",
        "cmp r9, r11",
        "bne.w 2b",
        "ldr r2, [sp, #4]",
        "ldr r0, [sp, #12]",
        "vst20.32 {{q6, q7}}, [r0]",
        "vst21.32 {{q6, q7}}, [r0]!",
        "str r0, [sp, #12]",
        "subs r2, #1",
        "str r2, [sp, #4]",
        "bne.w 1b",
        "add sp, sp, #20",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
        q8 = const Q8,
    )
}
