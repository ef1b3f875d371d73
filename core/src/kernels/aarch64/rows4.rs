//! Inner loops for [`Layout::Rows4`]: four outputs by up to twelve rows.

use super::factors::{Q4, Q4K, Q8, factors, purge_factors};
use super::tiles::{Family, InnerLoop, TILE, Work};
use crate::packed::{Layout, WeightFormat};
use core::arch::asm;

/// Cells in [`Layout::Rows4`]; `DOT` is 1 to use dot products, else 0.
pub(super) struct Rows4<const DOT: u8>;

// SAFETY: `many` and `one` read the cells, scales and values of `Work`, and write its outputs.
unsafe impl<const DOT: u8> Family for Rows4<DOT> {
    const LAYOUT: Layout = Layout::Rows4;
    const PAIRED: bool = false;

    #[inline(always)]
    fn inner_loop(format: WeightFormat, rows: usize) -> Option<InnerLoop> {
        let loops = match format {
            WeightFormat::Q4 => const { &inner_loops::<DOT, Q4>() },
            WeightFormat::Q8 => const { &inner_loops::<DOT, Q8>() },
            WeightFormat::Q4K => const { &inner_loops::<DOT, Q4K>() },
            WeightFormat::Q5 => return None,
        };
        loops.get(rows.checked_sub(1)?).copied()
    }
}

/// The inner loops for 1 to 12 rows.
const fn inner_loops<const DOT: u8, const FORMAT: u8>() -> [InnerLoop; TILE] {
    [
        one::<DOT, FORMAT>,
        many::<DOT, FORMAT, 2>,
        many::<DOT, FORMAT, 3>,
        many::<DOT, FORMAT, 4>,
        many::<DOT, FORMAT, 5>,
        many::<DOT, FORMAT, 6>,
        many::<DOT, FORMAT, 7>,
        many::<DOT, FORMAT, 8>,
        many::<DOT, FORMAT, 9>,
        many::<DOT, FORMAT, 10>,
        many::<DOT, FORMAT, 11>,
        many::<DOT, FORMAT, 12>,
    ]
}

// Registers: v0-v7 the weights of a cell, v8-v11 activations, v12-v15 the integer sums in hand
// (of 4-bit weights v14 is a mask and v15 the minima), v16-v27 the sums of the outputs, v28-v30 the
// scales of the activations, v31 those of the weights.
//
// With dot products, 4-bit weights are 16 times too large, which costs one instruction per vector
// instead of three for two; the conversion to float divides by 16, exactly. Weights with minima are
// unsigned and stay as they are.
macro_rules! macros {
    () => {
        r#"
        .arch_extension dotprod

        // \a and \b are free; the cell is of outputs 4 \quad and on of the block.
        .macro LOAD_CELL from a b quad
        .if {affine}
        FACTORS 31, 15, \a, \b, \quad
        ld1 {{v0.16b-v3.16b}}, [\from], #64
        UNSIGNED \a, 14
        .else
        ld1 {{v31.4h}}, [\from], #8
        ld1 {{v0.16b-v3.16b}}, [\from], #64
        fcvtl v31.4s, v31.4h
        .endif
        .if {affine}
        .elseif {q8}
        ld1 {{v4.16b-v7.16b}}, [\from], #64
        .elseif {dot}
        and v4.16b, v0.16b, v14.16b
        and v5.16b, v1.16b, v14.16b
        and v6.16b, v2.16b, v14.16b
        and v7.16b, v3.16b, v14.16b
        shl v0.16b, v0.16b, #4
        shl v1.16b, v1.16b, #4
        shl v2.16b, v2.16b, #4
        shl v3.16b, v3.16b, #4
        .else
        sshr v4.16b, v0.16b, #4
        sshr v5.16b, v1.16b, #4
        sshr v6.16b, v2.16b, #4
        sshr v7.16b, v3.16b, #4
        shl v0.16b, v0.16b, #4
        shl v1.16b, v1.16b, #4
        shl v2.16b, v2.16b, #4
        shl v3.16b, v3.16b, #4
        sshr v0.16b, v0.16b, #4
        sshr v1.16b, v1.16b, #4
        sshr v2.16b, v2.16b, #4
        sshr v3.16b, v3.16b, #4
        .endif
        .endm

        // v\sum = the cell by the 32 activations in v\low and v\high
        .macro DOT sum low high
        movi v\sum\().2d, #0
        sdot v\sum\().4s, v0.16b, v\low\().4b[0]
        sdot v\sum\().4s, v1.16b, v\low\().4b[1]
        sdot v\sum\().4s, v2.16b, v\low\().4b[2]
        sdot v\sum\().4s, v3.16b, v\low\().4b[3]
        sdot v\sum\().4s, v4.16b, v\high\().4b[0]
        sdot v\sum\().4s, v5.16b, v\high\().4b[1]
        sdot v\sum\().4s, v6.16b, v\high\().4b[2]
        sdot v\sum\().4s, v7.16b, v\high\().4b[3]
        .endm

        // Without dot products: v12 and v13 += products of the lower and upper two outputs. Two
        // products of bytes fit into 16 bits, and so do all eight of a 4-bit weight.
        .macro PRODUCTS w0 w1 x0 x1 first
        .if \first || {q8}
        smull v12.8h, v\w0\().8b, v\x0\().8b
        smull2 v13.8h, v\w0\().16b, v\x0\().16b
        .else
        smlal v12.8h, v\w0\().8b, v\x0\().8b
        smlal2 v13.8h, v\w0\().16b, v\x0\().16b
        .endif
        smlal v12.8h, v\w1\().8b, v\x1\().8b
        smlal2 v13.8h, v\w1\().16b, v\x1\().16b
        .if {q8}
        .if \first
        saddlp v14.4s, v12.8h
        saddlp v15.4s, v13.8h
        .else
        sadalp v14.4s, v12.8h
        sadalp v15.4s, v13.8h
        .endif
        .endif
        .endm

        // v12 = the sums of those products
        .macro SUMS
        .if {q8}
        addp v12.4s, v14.4s, v15.4s
        .else
        addp v12.8h, v12.8h, v13.8h
        saddlp v12.4s, v12.8h
        .endif
        .endm

        // v\out += (weight scales * activation scale) * v\sum, less the minimum
        .macro ADD_TERM out sum scales lane temporary
        fmul v\temporary\().4s, v31.4s, v\scales\().s[\lane]
        .if {dot} && !{q8} && !{affine}
        scvtf v\sum\().4s, v\sum\().4s, #4
        .else
        scvtf v\sum\().4s, v\sum\().4s
        .endif
        fmul v\sum\().4s, v\temporary\().4s, v\sum\().4s
        .if {affine}
        MINIMUM \temporary
        fsub v\sum\().4s, v\sum\().4s, v\temporary\().4s
        .endif
        fadd v\out\().4s, v\out\().4s, v\sum\().4s
        .endm

        // One activation row, its values from x.
        .macro ROW out scales lane
        .if {dot}
        ld1 {{v8.16b, v9.16b}}, [{x}], #32
        DOT 12, 8, 9
        .else
        ld4r {{v8.4s-v11.4s}}, [{x}], #16
        PRODUCTS 0, 1, 8, 9, 1
        PRODUCTS 2, 3, 10, 11, 0
        ld4r {{v8.4s-v11.4s}}, [{x}], #16
        PRODUCTS 4, 5, 8, 9, 0
        PRODUCTS 6, 7, 10, 11, 0
        SUMS
        .endif
        ADD_TERM \out, 12, \scales, \lane, 8
        .endm

        "#
    };
}

/// The assembler keeps macros from one block to the next.
macro_rules! purge {
    () => {
        r#"
        .purgem LOAD_CELL
        .purgem DOT
        .purgem PRODUCTS
        .purgem SUMS
        .purgem ADD_TERM
        .purgem ROW
        .purgem MINIMUM
        "#
    };
}

/// Two to twelve rows by blocks of 4 outputs.
///
/// # Safety
/// As for [`InnerLoop`].
unsafe fn many<const DOT: u8, const FORMAT: u8, const ROWS: usize>(work: &Work) {
    // SAFETY: reads the cells of `blocks` blocks, the tile's scales and values once for each, and
    // writes 4 outputs per block and row. Loading whole vectors of scales may read up to 12 words
    // beyond them, where the values lie, 8 words per row.
    unsafe {
        asm!(
            factors!(),
            macros!(),
            r#"
            // v\to = the minima times the next scaled sum
            .macro MINIMUM to
            ld1r {{v\to\().4s}}, [{s}], #4
            fmul v\to\().4s, v15.4s, v\to\().4s
            .endm

            // Two rows, or what there is of them.
            .macro ROWS out next scales lane next_lane
            .if {dot} && \next < 16 + {rows}
            ld1 {{v8.16b-v11.16b}}, [{x}], #64
            DOT 12, 8, 9
            DOT 13, 10, 11
            ADD_TERM \out, 12, \scales, \lane, 8
            ADD_TERM \next, 13, \scales, \next_lane, 10
            .else
            .if \out < 16 + {rows}
            ROW \out, \scales, \lane
            .endif
            .if \next < 16 + {rows}
            ROW \next, \scales, \next_lane
            .endif
            .endif
            .endm

            MASK 14
            2:
            mov {s}, {scales}
            mov {x}, {values}
            mov {g}, {groups}
            .irp r, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27
            .if \r < 16 + {rows}
            movi v\r\().2d, #0
            .endif
            .endr
            3:
            LOAD_CELL {w}, 8, 9, 0
            .if {rows} > 8
            ld1 {{v28.4s-v30.4s}}, [{s}], {scale_bytes}
            .elseif {rows} > 4
            ld1 {{v28.4s-v29.4s}}, [{s}], {scale_bytes}
            .else
            ld1 {{v28.4s}}, [{s}], {scale_bytes}
            .endif
            ROWS 16, 17, 28, 0, 1
            ROWS 18, 19, 28, 2, 3
            ROWS 20, 21, 29, 0, 1
            ROWS 22, 23, 29, 2, 3
            ROWS 24, 25, 30, 0, 1
            ROWS 26, 27, 30, 2, 3
            NEXT_GROUP
            cbnz {g}, 3b
            mov {s}, {out}
            .irp r, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27
            .if \r < 16 + {rows}
            st1 {{v\r\().4s}}, [{s}], {row_bytes}
            .endif
            .endr
            add {out}, {out}, #16
            subs {blocks}, {blocks}, #1
            b.ne 2b
            .purgem ROWS
            "#,
            purge!(),
            purge_factors!(),
            dot = const DOT,
            q8 = const (FORMAT == Q8) as u8,
            affine = const (FORMAT == Q4K) as u8,
            units = inout(reg) work.units => _,
            bytes = inout(reg) work.bytes => _,
            rows = const ROWS,
            w = inout(reg) work.weights => _,
            scales = in(reg) work.scales,
            values = in(reg) work.values,
            out = inout(reg) work.out => _,
            blocks = inout(reg) work.blocks => _,
            groups = in(reg) work.groups,
            row_bytes = in(reg) work.row_bytes,
            scale_bytes = in(reg) 4 * ROWS,
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

/// One row by blocks of 16 outputs: its activations are loaded for four cells at once.
///
/// # Safety
/// As for [`InnerLoop`].
unsafe fn one<const DOT: u8, const FORMAT: u8>(work: &Work) {
    // SAFETY: reads the cells of `blocks` blocks, the row's scales and values once for each, and
    // writes 16 outputs per block.
    unsafe {
        asm!(
            factors!(),
            macros!(),
            r#"
            .macro MINIMUM to
            fmul v\to\().4s, v15.4s, v29.4s
            .endm

            // Four outputs, their cell from w.
            .macro OUTPUTS w out quad
            LOAD_CELL \w, 20, 21, \quad
            .if {dot}
            DOT 12, 8, 9
            .else
            PRODUCTS 0, 1, 8, 9, 1
            PRODUCTS 2, 3, 10, 11, 0
            PRODUCTS 4, 5, 24, 25, 0
            PRODUCTS 6, 7, 26, 27, 0
            SUMS
            .endif
            ADD_TERM \out, 12, 28, 0, 13
            .endm

            MASK 14
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
            ld1r {{v28.4s}}, [{s}], #4
            .if {affine}
            ld1r {{v29.4s}}, [{s}], #4
            .endif
            .if {dot}
            ld1 {{v8.16b, v9.16b}}, [{x}], #32
            .else
            ld4r {{v8.4s-v11.4s}}, [{x}], #16
            ld4r {{v24.4s-v27.4s}}, [{x}], #16
            .endif
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
            dot = const DOT,
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
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v31") _,
            options(nostack),
        );
    }
}
