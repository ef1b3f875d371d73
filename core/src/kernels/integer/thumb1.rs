//! The inner functions for Armv6-M and the baseline of Armv8-M: Cortex-M0, M0+, M23. See `inner.rs` for
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
    // r0 the mask, r1 values, r2 a weight word, r3 nibbles, r4 to r7 activations, r8 to r11 totals, r12
    // weights, lr the end of the row. On the stack: the second row (then null), values, sums.
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r1-r7}}",
        "1:",
        "mov r12, r0",
        "adds r0, #16",
        "mov lr, r0",
        "ldr r1, [sp, #4]",
        "ldmia r1!, {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "movs r0, #0xf",
        "lsls r3, r0, #16",
        "orrs r0, r3",
        "2:",
        "mov r3, r12",
        "ldmia r3!, {{r2}}",
        "mov r12, r3",
        ".irp shift, 0, 4, 8, 12",
        "ldmia r1!, {{r4-r7}}",
        ".if \\shift",
        "lsrs r3, r2, #\\shift",
        ".else",
        "movs r3, r2",
        ".endif",
        "ands r3, r0",
        "muls r4, r3, r4",
        "add r8, r4",
        "muls r5, r3, r5",
        "add r9, r5",
        "muls r6, r3, r6",
        "add r10, r6",
        "muls r7, r3, r7",
        "add r11, r7",
        ".endr",
        "cmp r12, lr",
        "bne 2b",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "asrs r4, r4, #16",
        "asrs r5, r5, #16",
        "asrs r6, r6, #16",
        "asrs r7, r7, #16",
        "ldr r3, [sp, #8]",
        "stmia r3!, {{r4-r7}}",
        "str r3, [sp, #8]",
        "ldr r0, [sp]",
        "movs r2, #0",
        "str r2, [sp]",
        "cmp r0, #0",
        "bne 1b",
        "pop {{r1-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
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
    // r2 values, r3 nibbles, r4 and r5 weight words, r6 an activation, r7 the mask; r12 and lr totals,
    // r8 the end of the first row.
    naked_asm!(
        "push {{r3-r7, lr}}",
        "mov r4, r8",
        "push {{r4}}",
        "movs r4, #16",
        "add r4, r0",
        "mov r8, r4",
        "ldmia r2!, {{r4}}",
        "mov r12, r4",
        "mov lr, r4",
        "movs r7, #0xf",
        "lsls r3, r7, #16",
        "orrs r7, r3",
        "1:",
        "ldmia r0!, {{r4}}",
        "ldmia r1!, {{r5}}",
        ".irp shift, 0, 4, 8, 12",
        "ldmia r2!, {{r6}}",
        ".if \\shift",
        "lsrs r3, r4, #\\shift",
        ".else",
        "movs r3, r4",
        ".endif",
        "ands r3, r7",
        "muls r3, r6, r3",
        "add r12, r3",
        ".if \\shift",
        "lsrs r3, r5, #\\shift",
        ".else",
        "movs r3, r5",
        ".endif",
        "ands r3, r7",
        "muls r3, r6, r3",
        "add lr, r3",
        ".endr",
        "cmp r0, r8",
        "bne 1b",
        "pop {{r4}}",
        "mov r8, r4",
        "pop {{r3}}",
        "mov r4, r12",
        "asrs r4, r4, #16",
        "str r4, [r3]",
        "mov r4, lr",
        "asrs r4, r4, #16",
        "str r4, [r3, #16]",
        "pop {{r4-r7, pc}}",
    )
}

/// Rounds `$integer` by its `$fraction`, in units of 2^-32, to nearest, ties to even.
macro_rules! round {
    ($fraction:literal, $integer:literal) => {
        concat!(
            "adds ",
            $fraction,
            ", ",
            $fraction,
            "\n", // carry: half or more; zero: nothing else
            "bne 2f\n",
            "bcc 3f\n",
            "lsrs ",
            $fraction,
            ", ",
            $integer,
            ", #1\n", // a tie: carry if odd
            "2: bcc 3f\n",
            "adds ",
            $integer,
            ", #1\n",
            "3:\n",
        )
    };
}

/// From here on, r4 is the mantissa's upper 24 bits and r3 a fraction, in units of 2^-32: brings them to
/// 24 bits, and rounds. Takes one from the exponent in r5 if there were 23. Uses r6.
macro_rules! normalize {
    () => {
        concat!(
            "lsrs r6, r4, #23\n",
            "bne 1f\n",
            "adds r3, r3\n",
            "adcs r4, r4\n",
            "subs r5, #1\n",
            "1:\n",
            round!("r3", "r4"),
        )
    };
}

/// Multiplies the mantissa in r4 with the 16 bits in r6, the highest of them set, and rounds to 24 bits.
/// Uses r3.
macro_rules! multiply {
    () => {
        concat!(
            "uxth r3, r4\n",
            "muls r3, r6, r3\n",
            "lsrs r4, r4, #16\n",
            "muls r4, r6, r4\n",
            "lsrs r6, r3, #16\n",
            "adds r4, r6\n",
            "lsls r3, r3, #16\n",
            normalize!(),
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
    // r0 integers, r1 scales, r2 sums, r12 their end; weight scale: r8 mantissa (16 bits), r9 exponent,
    // r10 sign. r11 is the table of shifts. r4 is the term's mantissa, r5 its exponent, r7 its sign; r6 is
    // the integer, then r6 and r7 are the sum.
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "ldmia r3, {{r3, r4, r5}}",
        "lsrs r3, r3, #16",
        // An integer is shifted to 16 bits, not 32.
        "subs r4, #16",
        "mov r8, r3",
        "mov r9, r4",
        "mov r10, r5",
        "ldr r3, 30f",
        "mov r11, r3",
        "ldr r3, [sp, #36]",
        "lsls r3, r3, #3",
        "adds r3, r3, r2",
        "mov r12, r3",
        "10:",
        "ldmia r1!, {{r4, r5}}",
        "add r5, r9",
        "mov r6, r8",
        multiply!(),
        // The integer to sign and magnitude.
        "ldmia r0!, {{r6}}",
        "asrs r7, r6, #31",
        "eors r6, r7",
        "subs r6, r6, r7",
        "beq 18f",
        "mov r3, r10",
        "eors r7, r3",
        // Shift until its highest bit is bit 15: the table knows for bits 8 to 14.
        "lsrs r3, r6, #8",
        "beq 12f",
        "cmp r3, #127",
        "bhi 11f",
        "13: add r3, r11",
        "ldrb r3, [r3]",
        "lsls r6, r3",
        "subs r5, r5, r3",
        multiply!(),
        // The term with its sign, and the sum.
        "14: lsls r4, r4, #{guard}",
        "eors r4, r7",
        "subs r4, r4, r7",
        "ldr r6, [r2]",
        "ldr r7, [r2, #4]",
        "subs r3, r7, r5",
        "bmi 15f",
        "cmp r3, #{guard}",
        "bhi 16f",
        "asrs r4, r3",
        "17: adds r6, r6, r4",
        "beq 19f",
        "asrs r4, r6, #31",
        "eors r6, r4",
        "subs r6, r6, r4",
        // 24 bits and the guard bits end at bit 28, or 29 with a carry.
        "adds r7, #1",
        "lsls r6, r6, #2",
        "bmi 2f",
        "1: subs r7, #1",
        "lsls r6, r6, #1",
        "bpl 1b",
        "2: lsls r3, r6, #24",
        "lsrs r6, r6, #8",
        round!("r3", "r6"),
        "lsls r6, r6, #{guard}",
        "eors r6, r4",
        "subs r6, r6, r4",
        "20: stmia r2!, {{r6, r7}}",
        "21: cmp r2, r12",
        "bne 10b",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
        // Nothing to add.
        "18: adds r2, #8",
        "b 21b",
        // An integer of 8 bits at most.
        "12: lsls r6, r6, #7",
        "subs r5, #7",
        "lsrs r3, r6, #8",
        "b 13b",
        // An integer of more than 15 bits: shift until its highest bit is bit 19. The mantissa is
        // then multiplied in halves of 12 bits.
        "11: adds r5, #4",
        "3: lsrs r3, r6, #19",
        "bne 4f",
        "lsls r6, r6, #1",
        "subs r5, #1",
        "b 3b",
        "4: lsls r3, r4, #20",
        "lsrs r3, r3, #20",
        "muls r3, r6, r3",
        "lsrs r4, r4, #12",
        "muls r4, r6, r4",
        "lsrs r6, r3, #12",
        "adds r6, r6, r4",
        "lsls r3, r3, #20",
        "lsrs r3, r3, #8",
        "lsrs r4, r6, #8",
        "lsls r6, r6, #24",
        "orrs r3, r6",
        normalize!(),
        "b 14b",
        // The term is the larger one.
        "15: mov r3, r4",
        "mov r4, r6",
        "mov r6, r3",
        "subs r3, r5, r7",
        "mov r7, r5",
        "cmp r3, #{guard}",
        "bhi 16f",
        "asrs r4, r3",
        "b 17b",
        // More than the guard bits are shifted out: the lowest bit stands for them.
        "16: cmp r3, #31",
        "bls 1f",
        "movs r3, #31",
        "1: mov r5, r4",
        "asrs r4, r3",
        "mov lr, r4",
        "lsls r4, r3",
        "cmp r4, r5",
        "mov r4, lr",
        "beq 17b",
        "movs r3, #1",
        "orrs r4, r3",
        "b 17b",
        // Nothing is left.
        "19: ldr r7, 31f",
        "b 20b",
        ".balign 4",
        "30: .word {shifts}",
        "31: .word -4096",
        guard = const GUARD,
        shifts = sym SHIFTS,
    )
}

/// How far to the left bits 8 to 14 of a number have to be shifted for the highest one that is set to
/// come to bit 15.
static SHIFTS: [u8; 128] = {
    let mut shifts = [0; 128];
    let mut bits = 0;
    while bits < 128 {
        shifts[bits] = (bits as u32).leading_zeros() as u8 - 24;
        bits += 1;
    }
    shifts
};
