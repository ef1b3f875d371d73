//! The inner functions for RV32IM(C). See `inner.rs` for what they do.

use super::Integers;
use super::float::{ActivationScale, Sum, WeightScale};
use core::arch::naked_asm;

/// The assembler of naked functions does not know the target's extensions.
#[cfg(target_feature = "c")]
macro_rules! extensions {
    () => {
        ".option push\n.option arch, +m, +c"
    };
}
#[cfg(not(target_feature = "c"))]
macro_rules! extensions {
    () => {
        ".option push\n.option arch, +m"
    };
}

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
    // Totals of the first row in a4 to a7, of the second in t0 to t3; s0 and s1 weight words, t4 and
    // t5 nibbles, s2 to s5 activations, s6 the mask, s7 the end of the first row, t6 products.
    naked_asm!(
        extensions!(),
        "addi sp, sp, -32",
        "sw s0, 0(sp)",
        "sw s1, 4(sp)",
        "sw s2, 8(sp)",
        "sw s3, 12(sp)",
        "sw s4, 16(sp)",
        "sw s5, 20(sp)",
        "sw s6, 24(sp)",
        "sw s7, 28(sp)",
        "lw a4, 0(a2)",
        "lw a5, 4(a2)",
        "lw a6, 8(a2)",
        "lw a7, 12(a2)",
        "mv t0, a4",
        "mv t1, a5",
        "mv t2, a6",
        "mv t3, a7",
        "li s6, 0x000f000f",
        "addi s7, a0, 16",
        "1:",
        "lw s0, 0(a0)",
        "lw s1, 0(a1)",
        ".irp shift, 0, 4, 8, 12",
        ".if \\shift",
        "srli t4, s0, \\shift",
        "srli t5, s1, \\shift",
        "and t4, t4, s6",
        "and t5, t5, s6",
        ".else",
        "and t4, s0, s6",
        "and t5, s1, s6",
        ".endif",
        "lw s2, (16 + 4 * \\shift)(a2)",
        "lw s3, (20 + 4 * \\shift)(a2)",
        "lw s4, (24 + 4 * \\shift)(a2)",
        "lw s5, (28 + 4 * \\shift)(a2)",
        "mul t6, s2, t4",
        "mul s2, s2, t5",
        "add a4, a4, t6",
        "add t0, t0, s2",
        "mul t6, s3, t4",
        "mul s3, s3, t5",
        "add a5, a5, t6",
        "add t1, t1, s3",
        "mul t6, s4, t4",
        "mul s4, s4, t5",
        "add a6, a6, t6",
        "add t2, t2, s4",
        "mul t6, s5, t4",
        "mul s5, s5, t5",
        "add a7, a7, t6",
        "add t3, t3, s5",
        ".endr",
        "addi a0, a0, 4",
        "addi a1, a1, 4",
        "addi a2, a2, 64",
        "bne a0, s7, 1b",
        "srai a4, a4, 16",
        "srai a5, a5, 16",
        "srai a6, a6, 16",
        "srai a7, a7, 16",
        "srai t0, t0, 16",
        "srai t1, t1, 16",
        "srai t2, t2, 16",
        "srai t3, t3, 16",
        "sw a4, 0(a3)",
        "sw a5, 4(a3)",
        "sw a6, 8(a3)",
        "sw a7, 12(a3)",
        "sw t0, 16(a3)",
        "sw t1, 20(a3)",
        "sw t2, 24(a3)",
        "sw t3, 28(a3)",
        "lw s0, 0(sp)",
        "lw s1, 4(sp)",
        "lw s2, 8(sp)",
        "lw s3, 12(sp)",
        "lw s4, 16(sp)",
        "lw s5, 20(sp)",
        "lw s6, 24(sp)",
        "lw s7, 28(sp)",
        "addi sp, sp, 32",
        "ret",
        ".option pop",
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
    // Totals in t0 and t1; a4 and a5 weight words, a6 and a7 nibbles, t2 an activation, t3 the mask,
    // t4 the end of the first row.
    naked_asm!(
        extensions!(),
        "lw t0, 0(a2)",
        "mv t1, t0",
        "li t3, 0x000f000f",
        "addi t4, a0, 16",
        "1:",
        "lw a4, 0(a0)",
        "lw a5, 0(a1)",
        ".irp shift, 0, 4, 8, 12",
        "lw t2, (4 + \\shift)(a2)",
        ".if \\shift",
        "srli a6, a4, \\shift",
        "srli a7, a5, \\shift",
        "and a6, a6, t3",
        "and a7, a7, t3",
        ".else",
        "and a6, a4, t3",
        "and a7, a5, t3",
        ".endif",
        "mul a6, a6, t2",
        "mul a7, a7, t2",
        "add t0, t0, a6",
        "add t1, t1, a7",
        ".endr",
        "addi a0, a0, 4",
        "addi a1, a1, 4",
        "addi a2, a2, 16",
        "bne a0, t4, 1b",
        "srai t0, t0, 16",
        "srai t1, t1, 16",
        "sw t0, 0(a3)",
        "sw t1, 16(a3)",
        "ret",
        ".option pop",
    )
}

/// Rounds `$integer` by its `$fraction`, in units of 2^-32, to nearest, ties to even. Uses `$free`.
macro_rules! round {
    ($fraction:literal, $integer:literal, $free:literal) => {
        concat!(
            "bgez ", $fraction, ", 3f\n", // below one half
            "slli ", $fraction, ", ", $fraction, ", 1\n", "bnez ", $fraction, ", 2f\n", "andi ",
            $free, ", ", $integer, ", 1\n", // a tie
            "beqz ", $free, ", 3f\n", "2: addi ", $integer, ", ", $integer, ", 1\n", "3:\n",
        )
    };
}

/// Multiplies the mantissa in a3 with the one in `$by`, whose highest bit is set, and rounds to 24
/// bits: the exponent in t1 is one less where the product was. Uses t3 and t4.
macro_rules! multiply {
    ($by:literal) => {
        concat!(
            "mul t3, a3, ",
            $by,
            "\n",
            "mulhu a3, a3, ",
            $by,
            "\n",
            "srli t4, a3, 23\n",
            "bnez t4, 1f\n",
            "srli t4, t3, 31\n",
            "slli a3, a3, 1\n",
            "add a3, a3, t4\n",
            "slli t3, t3, 1\n",
            "addi t1, t1, -1\n",
            "1:\n",
            round!("t3", "a3", "t4"),
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
    // a0 integers, a1 scales, a2 sums, a4 end of the sums; weight scale: a5 mantissa, a6 exponent, a7
    // sign. a3 is the mantissa of the term and t1 its exponent, t5 its sign.
    naked_asm!(
        extensions!(),
        "lw a5, 0(a3)",
        "lw a6, 4(a3)",
        "lw a7, 8(a3)",
        "slli a4, a4, 3",
        "add a4, a4, a2",
        "la t6, {shifts}",
        "li t0, 5",
        "10:",
        "lw t2, 0(a0)",
        "lw a3, 0(a1)",
        "lw t1, 4(a1)",
        "beqz t2, 18f",
        "add t1, t1, a6",
        multiply!("a5"),
        // The integer to sign and magnitude.
        "srai t5, t2, 31",
        "xor t2, t2, t5",
        "sub t2, t2, t5",
        "xor t5, t5, a7",
        // Shift until its highest bit is set: the table knows for bits 8 to 14.
        "srli t3, t2, 15",
        "bnez t3, 11f",
        "srli t3, t2, 8",
        "beqz t3, 12f",
        "13: add t3, t3, t6",
        "lbu t3, 0(t3)",
        "14: sll t2, t2, t3",
        "sub t1, t1, t3",
        multiply!("t2"),
        // The term with its sign, and the sum.
        "slli a3, a3, {guard}",
        "xor a3, a3, t5",
        "sub a3, a3, t5",
        "lw t2, 0(a2)",
        "lw t3, 4(a2)",
        "sub t4, t3, t1",
        "bltz t4, 15f",
        "bltu t0, t4, 16f",
        "sra a3, a3, t4",
        "17: add t2, t2, a3",
        "beqz t2, 19f",
        "srai t5, t2, 31",
        "xor t2, t2, t5",
        "sub t2, t2, t5",
        // 24 bits and the guard bits end at bit 28, or 29 with a carry.
        "slli t2, t2, 2",
        "addi t3, t3, 1",
        "bltz t2, 2f",
        "1: slli t2, t2, 1",
        "addi t3, t3, -1",
        "bgez t2, 1b",
        "2:",
        "slli t4, t2, 24",
        "srli t2, t2, 8",
        round!("t4", "t2", "a3"),
        "slli t2, t2, {guard}",
        "xor t2, t2, t5",
        "sub t2, t2, t5",
        "20: sw t2, 0(a2)",
        "sw t3, 4(a2)",
        "18: addi a0, a0, 4",
        "addi a1, a1, 8",
        "addi a2, a2, 8",
        "bne a2, a4, 10b",
        "ret",
        // An integer of more than 15 bits, four more at most.
        "11: srli t3, t2, 12",
        "add t3, t3, t6",
        "lbu t3, 0(t3)",
        "addi t3, t3, -4",
        "j 14b",
        // An integer of 8 bits at most.
        "12: slli t2, t2, 7",
        "addi t1, t1, -7",
        "srli t3, t2, 8",
        "j 13b",
        // The term is the larger one.
        "15: mv t4, t2",
        "mv t2, a3",
        "mv a3, t4",
        "sub t4, t1, t3",
        "mv t3, t1",
        "bltu t0, t4, 16f",
        "sra a3, a3, t4",
        "j 17b",
        // More than the guard bits are shifted out: the lowest bit stands for them.
        "16: li t5, 31",
        "bltu t4, t5, 1f",
        "mv t4, t5",
        "1: mv t5, a3",
        "sra a3, a3, t4",
        "sll t4, a3, t4",
        "beq t4, t5, 17b",
        "ori a3, a3, 1",
        "j 17b",
        // Nothing is left.
        "19: li t3, -4096 + 2048",
        "addi t3, t3, -2048",
        "j 20b",
        ".option pop",
        guard = const super::float::GUARD,
        shifts = sym SHIFTS,
    )
}

/// How far to the left bits 8 to 14 of a number have to be shifted for the highest one that is set to
/// come to bit 31.
static SHIFTS: [u8; 128] = {
    let mut shifts = [0; 128];
    let mut bits = 0;
    while bits < 128 {
        shifts[bits] = (bits as u32).leading_zeros() as u8 - 8;
        bits += 1;
    }
    shifts
};
