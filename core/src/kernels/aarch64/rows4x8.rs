//! Inner loops for [`Layout::Rows4x8`]: matrix products of two outputs by two rows at a time.

use super::factors::{Q4, Q4K, Q8, factors, purge_factors};
use super::tiles::{Family, InnerLoop, TILE, Work};
use crate::packed::{Layout, WeightFormat};
use core::arch::asm;

/// Cells in [`Layout::Rows4x8`].
pub(super) struct Rows4x8;

// SAFETY: `pairs` and `one` read the cells, scales and values of `Work`, and write its outputs.
unsafe impl Family for Rows4x8 {
    const LAYOUT: Layout = Layout::Rows4x8;
    const PAIRED: bool = true;

    #[inline(always)]
    fn inner_loop(format: WeightFormat, rows: usize) -> Option<InnerLoop> {
        let loops = match format {
            WeightFormat::Q4 => const { &inner_loops::<Q4>() },
            WeightFormat::Q8 => const { &inner_loops::<Q8>() },
            WeightFormat::Q4K => const { &inner_loops::<Q4K>() },
            WeightFormat::Q5 => return None,
        };
        loops.get(rows / 2).copied()
    }
}

/// The inner loops for 1 row and for 1 to 6 pairs of rows.
const fn inner_loops<const FORMAT: u8>() -> [InnerLoop; TILE / 2 + 1] {
    [
        one::<FORMAT>,
        pairs::<FORMAT, 1>,
        pairs::<FORMAT, 2>,
        pairs::<FORMAT, 3>,
        pairs::<FORMAT, 4>,
        pairs::<FORMAT, 5>,
        pairs::<FORMAT, 6>,
    ]
}

// Registers: v0-v7 the weights of a cell, v8-v11 activations, v12-v13 the integer sums in hand,
// v14-v15 the scales of the weights, v16-v27 the sums of the outputs, v28-v30 the scales of the
// activations (of weights with minima v28 alone, and v29-v30 the minima), v31 a mask.
//
// 4-bit weights are 16 times too large, which costs one instruction per vector instead of three for
// two; the conversion to float divides by 16, exactly. Weights with minima are unsigned and stay as
// they are.
macro_rules! macros {
    () => {
        r#"
        .arch_extension dotprod
        .arch_extension i8mm

        // Behind the scales. 4-bit outputs 0 and 1 are in v0, v1, v4, v5, outputs 2 and 3 in v2, v3,
        // v6, v7; 8-bit ones in v0-v3 and v4-v7.
        .macro LOAD_WEIGHTS from temporary
        ld1 {{v0.16b-v3.16b}}, [\from], #64
        .if {affine}
        UNSIGNED \temporary, 31
        .elseif {q8}
        ld1 {{v4.16b-v7.16b}}, [\from], #64
        .else
        and v4.16b, v0.16b, v31.16b
        and v5.16b, v1.16b, v31.16b
        and v6.16b, v2.16b, v31.16b
        and v7.16b, v3.16b, v31.16b
        shl v0.16b, v0.16b, #4
        shl v1.16b, v1.16b, #4
        shl v2.16b, v2.16b, #4
        shl v3.16b, v3.16b, #4
        .endif
        .endm

        // v12 and v13 = the cell by the activations in v8-v11
        .macro MULTIPLY instruction
        movi v12.2d, #0
        movi v13.2d, #0
        .if {q8}
        \instruction v12.4s, v8.16b, v0.16b
        \instruction v13.4s, v8.16b, v4.16b
        \instruction v12.4s, v9.16b, v1.16b
        \instruction v13.4s, v9.16b, v5.16b
        \instruction v12.4s, v10.16b, v2.16b
        \instruction v13.4s, v10.16b, v6.16b
        \instruction v12.4s, v11.16b, v3.16b
        \instruction v13.4s, v11.16b, v7.16b
        .else
        \instruction v12.4s, v8.16b, v0.16b
        \instruction v13.4s, v8.16b, v2.16b
        \instruction v12.4s, v9.16b, v1.16b
        \instruction v13.4s, v9.16b, v3.16b
        \instruction v12.4s, v10.16b, v4.16b
        \instruction v13.4s, v10.16b, v6.16b
        \instruction v12.4s, v11.16b, v5.16b
        \instruction v13.4s, v11.16b, v7.16b
        .endif
        .endm

        .macro CONVERT sum
        .if {q8} || {affine}
        scvtf v\sum\().4s, v\sum\().4s
        .else
        scvtf v\sum\().4s, v\sum\().4s, #4
        .endif
        .endm
        "#
    };
}

/// The assembler keeps macros from one block to the next.
macro_rules! purge {
    () => {
        r#"
        .purgem LOAD_WEIGHTS
        .purgem MULTIPLY
        .purgem CONVERT
        "#
    };
}

/// One to six pairs of rows by blocks of 4 outputs.
///
/// # Safety
/// As for [`InnerLoop`].
unsafe fn pairs<const FORMAT: u8, const PAIRS: usize>(work: &Work) {
    // SAFETY: reads the cells of `blocks` blocks, the tile's scales and values once for each, and
    // writes 4 outputs per block and row.
    unsafe {
        asm!(
            factors!(),
            macros!(),
            r#"
            // A pair of rows, if it is there: v\a are outputs 0 and 1 of the first and the second
            // row, v\b outputs 2 and 3.
            .macro PAIR a b scales
            .if \a < 16 + 2 * {pairs}
            ld1 {{v8.16b-v11.16b}}, [{x}], #64
            .if {affine}
            ld1 {{v\scales\().4s}}, [{s}], #16
            .endif
            MULTIPLY smmla
            fmul v8.4s, v14.4s, v\scales\().4s
            fmul v9.4s, v15.4s, v\scales\().4s
            CONVERT 12
            CONVERT 13
            fmul v12.4s, v8.4s, v12.4s
            fmul v13.4s, v9.4s, v13.4s
            .if {affine}
            ldr q10, [{s}, #(16*{pairs}-16)]
            fmul v11.4s, v30.4s, v10.4s
            fmul v10.4s, v29.4s, v10.4s
            fsub v12.4s, v12.4s, v10.4s
            fsub v13.4s, v13.4s, v11.4s
            .endif
            fadd v\a\().4s, v\a\().4s, v12.4s
            fadd v\b\().4s, v\b\().4s, v13.4s
            .endif
            .endm

            // The scales of `count` more pairs, at most three.
            .macro SCALES count
            .if \count > 2
            ld1 {{v28.4s-v30.4s}}, [{s}], #48
            .elseif \count == 2
            ld1 {{v28.4s-v29.4s}}, [{s}], #32
            .elseif \count == 1
            ld1 {{v28.4s}}, [{s}], #16
            .endif
            .endm

            .macro STORE a b
            .if \a < 16 + 2 * {pairs}
            zip1 v12.2d, v\a\().2d, v\b\().2d
            zip2 v13.2d, v\a\().2d, v\b\().2d
            st1 {{v12.4s}}, [{s}], {row_bytes}
            st1 {{v13.4s}}, [{s}], {row_bytes}
            .endif
            .endm

            MASK 31
            2:
            mov {s}, {scales}
            mov {x}, {values}
            mov {g}, {groups}
            .irp r, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27
            .if \r < 16 + 2 * {pairs}
            movi v\r\().2d, #0
            .endif
            .endr
            3:
            // Outputs 0 and 1 to v14, 2 and 3 to v15, each pair twice; minima to v29 and v30.
            .if {affine}
            FACTORS 14, 29, 8, 9, 0
            dup v15.2d, v14.d[1]
            dup v14.2d, v14.d[0]
            dup v30.2d, v29.d[1]
            dup v29.2d, v29.d[0]
            LOAD_WEIGHTS {w}, 8
            PAIR 16, 17, 28
            PAIR 18, 19, 28
            PAIR 20, 21, 28
            PAIR 22, 23, 28
            PAIR 24, 25, 28
            PAIR 26, 27, 28
            add {s}, {s}, #(16*{pairs})
            .else
            ld2r {{v14.2s, v15.2s}}, [{w}], #8
            fcvtl v14.4s, v14.4h
            fcvtl v15.4s, v15.4h
            LOAD_WEIGHTS {w}, 8
            SCALES {pairs}
            PAIR 16, 17, 28
            PAIR 18, 19, 29
            PAIR 20, 21, 30
            SCALES ({pairs}-3)
            PAIR 22, 23, 28
            PAIR 24, 25, 29
            PAIR 26, 27, 30
            .endif
            NEXT_GROUP
            cbnz {g}, 3b
            mov {s}, {out}
            STORE 16, 17
            STORE 18, 19
            STORE 20, 21
            STORE 22, 23
            STORE 24, 25
            STORE 26, 27
            add {out}, {out}, #16
            subs {blocks}, {blocks}, #1
            b.ne 2b
            .purgem PAIR
            .purgem SCALES
            .purgem STORE
            "#,
            purge!(),
            purge_factors!(),
            q8 = const (FORMAT == Q8) as u8,
            affine = const (FORMAT == Q4K) as u8,
            units = inout(reg) work.units => _,
            bytes = inout(reg) work.bytes => _,
            pairs = const PAIRS,
            w = inout(reg) work.weights => _,
            scales = in(reg) work.scales,
            values = in(reg) work.values,
            out = inout(reg) work.out => _,
            blocks = inout(reg) work.blocks => _,
            groups = in(reg) work.groups,
            row_bytes = in(reg) work.row_bytes,
            s = out(reg) _,
            x = out(reg) _,
            g = out(reg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        );
    }
}

/// One row by blocks of 16 outputs. Half of every `SMMLA` would be idle: a dot product of the same
/// registers leaves two sums per output, and half of the float operations.
///
/// # Safety
/// As for [`InnerLoop`].
unsafe fn one<const FORMAT: u8>(work: &Work) {
    // SAFETY: reads the cells of `blocks` blocks, the row's scales and values once for each, and
    // writes 16 outputs per block.
    unsafe {
        asm!(
            factors!(),
            macros!(),
            r#"
            // Four outputs, their cell from w.
            .macro OUTPUTS w out quad
            .if {affine}
            FACTORS 14, 29, 20, 21, \quad
            .else
            ld1 {{v14.4h}}, [\w], #8
            fcvtl v14.4s, v14.4h
            .endif
            LOAD_WEIGHTS \w, 20
            MULTIPLY sdot
            addp v12.4s, v12.4s, v13.4s
            fmul v14.4s, v14.4s, v28.s[0]
            CONVERT 12
            fmul v12.4s, v14.4s, v12.4s
            .if {affine}
            fmul v29.4s, v29.4s, v30.s[0]
            fsub v12.4s, v12.4s, v29.4s
            .endif
            fadd v\out\().4s, v\out\().4s, v12.4s
            .endm

            MASK 31
            2:
            add {w1}, {w}, {cells_bytes}
            add {w2}, {w1}, {cells_bytes}
            add {w3}, {w2}, {cells_bytes}
            mov {s}, {scales}
            mov {x}, {values}
            mov {g}, {groups}
            movi v16.2d, #0
            movi v17.2d, #0
            movi v18.2d, #0
            movi v19.2d, #0
            3:
            ld1 {{v28.2s}}, [{s}], #8
            .if {affine}
            ld1 {{v30.2s}}, [{s}], #8
            .endif
            ld4r {{v8.2d-v11.2d}}, [{x}], #32
            OUTPUTS {w}, 16, 0
            OUTPUTS {w1}, 17, 1
            OUTPUTS {w2}, 18, 2
            OUTPUTS {w3}, 19, 3
            NEXT_GROUP
            cbnz {g}, 3b
            st1 {{v16.4s-v19.4s}}, [{out}], #64
            mov {w}, {w3}
            subs {blocks}, {blocks}, #1
            b.ne 2b
            .purgem OUTPUTS
            "#,
            purge!(),
            purge_factors!(),
            q8 = const (FORMAT == Q8) as u8,
            affine = const (FORMAT == Q4K) as u8,
            units = inout(reg) work.units => _,
            bytes = inout(reg) work.bytes => _,
            w = inout(reg) work.weights => _,
            cells_bytes = in(reg) work.cells_bytes,
            scales = in(reg) work.scales,
            values = in(reg) work.values,
            out = inout(reg) work.out => _,
            blocks = inout(reg) work.blocks => _,
            groups = in(reg) work.groups,
            w1 = out(reg) _, w2 = out(reg) _, w3 = out(reg) _,
            s = out(reg) _,
            x = out(reg) _,
            g = out(reg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        );
    }
}
