//! The inner functions for Thumb-2 without DSP extension or float unit: Cortex-M3. See `inner.rs` for
//! what they do.

use super::Integers;
use super::float::{ActivationScale, GUARD, Sum, WeightScale};
use core::arch::naked_asm;

/// See `inner.rs`.
///
/// # Safety
/// Four words can be read at each weight row, and 4 * 17 at `values`.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn dot4(
    first: *const u32,
    second: *const u32,
    values: *const u32,
    sums: &mut Integers,
) {
    // r0 weights, r1 values, r2 a weight word, r3 the end of the row, r4 to r7 totals, r8 to r11
    // activations, r12 nibbles, lr the mask. On the stack: the second row (then null), values, sums.
    naked_asm!(
        "push {{r1-r11, lr}}",
        "mov lr, #0x000f000f",
        "1:",
        "ldr r1, [sp, #4]",
        "ldm r1!, {{r4-r7}}",
        "add r3, r0, #16",
        "2:",
        "ldr r2, [r0], #4",
        ".irp shift, 0, 4, 8, 12",
        "ldm r1!, {{r8-r11}}",
        ".if \\shift",
        "and r12, lr, r2, lsr #\\shift",
        ".else",
        "and r12, lr, r2",
        ".endif",
        "mla r4, r8, r12, r4",
        "mla r5, r9, r12, r5",
        "mla r6, r10, r12, r6",
        "mla r7, r11, r12, r7",
        ".endr",
        "cmp r0, r3",
        "bne 2b",
        "asrs r4, r4, #16",
        "asrs r5, r5, #16",
        "asrs r6, r6, #16",
        "asrs r7, r7, #16",
        "ldr r3, [sp, #8]",
        "stm r3!, {{r4-r7}}",
        "str r3, [sp, #8]",
        "ldr r0, [sp]",
        "movs r2, #0",
        "str r2, [sp]",
        "cmp r0, #0",
        "bne 1b",
        "add sp, sp, #12",
        "pop {{r4-r11, pc}}",
    )
}

/// See `inner.rs`.
///
/// # Safety
/// Four words can be read at each weight row, and 17 at `values`.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn dot1(
    first: *const u32,
    second: *const u32,
    values: *const u32,
    sums: &mut Integers,
) {
    // r4 and r5 weight words, r6 to r9 activations, r10 and r11 totals, r12 nibbles, lr the mask; r3
    // counts words, sums are on the stack.
    naked_asm!(
        "push {{r3-r11, lr}}",
        "mov lr, #0x000f000f",
        "ldr r10, [r2], #4",
        "mov r11, r10",
        "movs r3, #4",
        "1:",
        "ldr r4, [r0], #4",
        "ldr r5, [r1], #4",
        "ldm r2!, {{r6-r9}}",
        "and r12, lr, r4",
        "mla r10, r12, r6, r10",
        "and r12, lr, r5",
        "mla r11, r12, r6, r11",
        "and r12, lr, r4, lsr #4",
        "mla r10, r12, r7, r10",
        "and r12, lr, r5, lsr #4",
        "mla r11, r12, r7, r11",
        "and r12, lr, r4, lsr #8",
        "mla r10, r12, r8, r10",
        "and r12, lr, r5, lsr #8",
        "mla r11, r12, r8, r11",
        "and r12, lr, r4, lsr #12",
        "mla r10, r12, r9, r10",
        "and r12, lr, r5, lsr #12",
        "mla r11, r12, r9, r11",
        "subs r3, r3, #1",
        "bne 1b",
        "pop {{r3}}",
        "asr r10, r10, #16",
        "asr r11, r11, #16",
        "str r10, [r3]",
        "str r11, [r3, #16]",
        "pop {{r4-r11, pc}}",
    )
}

/// Rounds r6 by its fraction in r8, in units of 2^-32, to nearest, ties to even.
macro_rules! round {
    () => {
        concat!(
            "adds r8, r8, r8\n", // carry: one half or more; zero: nothing else
            "bne 2f\n",
            "bcc 2f\n",
            "lsrs r8, r6, #1\n", // a tie: carry if odd
            "2: adc r6, r6, #0\n",
        )
    };
}

/// Multiplies the mantissa in r6 with the one in `$by`, whose highest bit is set, and rounds to 24
/// bits; takes one from the exponent in r7 if the product was that much shorter. Uses r8.
macro_rules! multiply {
    ($by:literal) => {
        concat!(
            "umull r8, r6, r6, ",
            $by,
            "\n",
            "tst r6, #0x800000\n",
            "bne 1f\n",
            "adds r8, r8, r8\n",
            "adcs r6, r6, r6\n",
            "subs r7, r7, #1\n",
            "1:\n",
            round!(),
        )
    };
}

/// See `inner.rs`.
///
/// # Safety
/// There are `count` integers, scales and sums; `count` is not zero.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn add_terms(
    integers: *const i32,
    scales: *const ActivationScale,
    sums: *mut Sum,
    weight_scale: &WeightScale,
    count: usize,
) {
    // r0 integers, r1 scales, r2 sums, lr their end; weight scale: r3 mantissa, r12 exponent, r11 sign.
    // r6 is the term's mantissa and r7 its exponent, r9 its sign; r4 and r5 the integer, then the sum.
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldr lr, [sp, #36]",
        "add lr, r2, lr, lsl #3",
        "ldm r3, {{r3, r11, r12}}",
        "10:",
        "ldr r5, [r0], #4",
        "ldrd r6, r7, [r1], #8",
        "cmp r5, #0",
        "beq 18f",
        // The integer to sign and magnitude.
        "eor r9, r12, r5, asr #31",
        "it mi",
        "rsbmi r5, r5, #0",
        "add r7, r7, r11",
        multiply!("r3"),
        "clz r8, r5",
        "lsls r5, r5, r8",
        "subs r7, r7, r8",
        multiply!("r5"),
        // The term with its sign, and the sum.
        "eor r6, r9, r6, lsl #{guard}",
        "sub r6, r6, r9",
        "ldrd r4, r5, [r2]",
        "subs r8, r5, r7",
        "bmi 15f",
        "cmp r8, #{guard}",
        "bhi 16f",
        "asrs r6, r6, r8",
        "17: adds r4, r4, r6",
        "beq 19f",
        "asr r9, r4, #31",
        "it mi",
        "rsbmi r4, r4, #0",
        "clz r6, r4",
        "lsls r4, r4, r6",
        "subs r5, r5, r6",
        "adds r5, r5, #8 - {guard}",
        // Rounded to 24 bits: 127 more, or 128 if the last of them is set, may carry.
        "lsrs r6, r4, #9",
        "adcs r4, r4, #127",
        "rrx r4, r4",
        "lsrs r4, r4, #7",
        "eor r6, r9, r4, lsl #{guard}",
        "sub r6, r6, r9",
        "20: strd r6, r5, [r2], #8",
        "21: cmp r2, lr",
        "bne 10b",
        "pop {{r4-r11, pc}}",
        // Nothing to add.
        "18: adds r2, r2, #8",
        "b 21b",
        // The term is the larger one.
        "15: mov r8, r4",
        "mov r4, r6",
        "mov r6, r8",
        "subs r8, r7, r5",
        "mov r5, r7",
        "cmp r8, #{guard}",
        "bhi 16f",
        "asrs r6, r6, r8",
        "b 17b",
        // More than the guard bits are shifted out: the lowest bit stands for them.
        "16: cmp r8, #31",
        "it hi",
        "movhi r8, #31",
        "asr r9, r6, r8",
        "lsl r8, r9, r8",
        "cmp r8, r6",
        "it ne",
        "orrne r9, r9, #1",
        "mov r6, r9",
        "b 17b",
        // Nothing is left.
        "19: movs r6, #0",
        "mvn r5, #0xff0",
        "b 20b",
        guard = const GUARD,
    )
}
