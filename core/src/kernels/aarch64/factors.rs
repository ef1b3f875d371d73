//! Assembly that the inner loops share: the scales and minima of weights that have minima.

/// What the inner loops are told about the format of the weights.
pub(super) const Q4: u8 = 0;
pub(super) const Q8: u8 = 1;
pub(super) const Q4K: u8 = 2;

/// Macros for operands `affine` (1 for weights with minima, else 0), `units` and `bytes` (see
/// [`Work`](super::tiles::Work)) and `g`, the groups that are left.
macro_rules! factors {
    () => {
        r#"
        // v\step = the scales of four outputs of a group, v\minimum = the minima; exact.
        .macro FACTORS step minimum a b quad
        ldr s\a, [{bytes}, #(4*\quad)]
        ldr s\b, [{bytes}, #(16+4*\quad)]
        ldr d\step, [{units}, #(8*\quad)]
        ldr d\minimum, [{units}, #(32+8*\quad)]
        ushll v\a\().8h, v\a\().8b, #0
        ushll v\b\().8h, v\b\().8b, #0
        ushll v\a\().4s, v\a\().4h, #0
        ushll v\b\().4s, v\b\().4h, #0
        ucvtf v\a\().4s, v\a\().4s
        ucvtf v\b\().4s, v\b\().4s
        fcvtl v\step\().4s, v\step\().4h
        fcvtl v\minimum\().4s, v\minimum\().4h
        fmul v\step\().4s, v\step\().4s, v\a\().4s
        fmul v\minimum\().4s, v\minimum\().4s, v\b\().4s
        .endm

        // Nibbles of v0-v3 to v0-v7, plus 8; v\mask as MASK makes it.
        .macro UNSIGNED temporary mask
        movi v\temporary\().16b, #0x88
        eor v0.16b, v0.16b, v\temporary\().16b
        eor v1.16b, v1.16b, v\temporary\().16b
        eor v2.16b, v2.16b, v\temporary\().16b
        eor v3.16b, v3.16b, v\temporary\().16b
        ushr v4.16b, v0.16b, #4
        ushr v5.16b, v1.16b, #4
        ushr v6.16b, v2.16b, #4
        ushr v7.16b, v3.16b, #4
        and v0.16b, v0.16b, v\mask\().16b
        and v1.16b, v1.16b, v\mask\().16b
        and v2.16b, v2.16b, v\mask\().16b
        and v3.16b, v3.16b, v\mask\().16b
        .endm

        // The mask of low nibbles for UNSIGNED, else of high ones.
        .macro MASK register
        .if {affine}
        movi v\register\().16b, #0x0f
        .else
        movi v\register\().16b, #0xf0
        .endif
        .endm

        // Counts down, and goes on in the scales and, after eight groups, in the units.
        .macro NEXT_GROUP
        sub {g}, {g}, #1
        .if {affine}
        add {bytes}, {bytes}, #32
        tst {g}, #7
        b.ne 4f
        add {units}, {units}, #320
        add {bytes}, {bytes}, #64
        4:
        .endif
        .endm
        "#
    };
}

/// The assembler keeps macros from one block to the next.
macro_rules! purge_factors {
    () => {
        r#"
        .purgem FACTORS
        .purgem UNSIGNED
        .purgem MASK
        .purgem NEXT_GROUP
        "#
    };
}

pub(super) use {factors, purge_factors};
