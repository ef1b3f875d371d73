//! Quantization of a row, straight into its tile.

use super::tiles::{Family, Tile, VALUE_WORDS, copies, scale_words};
use crate::kernels::ActivationsMut;
use crate::kernels::scalar::{ACTIVATION_FLOOR, NotFinite};
use crate::packed::GROUP;
use core::arch::aarch64::{uint32x4_t, vdupq_n_f32, vdupq_n_u32, vld1q_u8, vmaxvq_u32};
use core::arch::asm;

/// Two groups are quantized at once: they share the divisions.
const TWO: usize = 2 * GROUP;

/// Words of a run: eight values.
const RUN_WORDS: usize = VALUE_WORDS / 4;

/// [`Kernels::quantize_row`](crate::kernels::Kernels::quantize_row).
#[target_feature(enable = "neon")]
pub(super) fn quantize_row<F: Family>(
    x: &[f32],
    row: usize,
    into: &mut ActivationsMut<'_>,
) -> Result<(), NotFinite> {
    match into.format().is_affine() {
        true => quantize_row_for::<F, 1>(x, row, into),
        false => quantize_row_for::<F, 0>(x, row, into),
    }
}

/// `AFFINE` is 1 for weights with minima, else 0.
#[target_feature(enable = "neon")]
fn quantize_row_for<F: Family, const AFFINE: u8>(
    x: &[f32],
    row: usize,
    into: &mut ActivationsMut<'_>,
) -> Result<(), NotFinite> {
    let (format, rows, groups) = (into.format(), into.rows(), into.groups());
    if row >= rows {
        return Ok(());
    }
    let tile = Tile::of::<F>(row, rows);
    let Some(words) = into.words().get_mut(tile.words::<F>(format, groups)) else { return Ok(()) };
    let row = row - tile.first;
    let scale = row * copies::<F>();
    let value = match F::PAIRED {
        true => row / 2 * (2 * VALUE_WORDS) + row % 2 * RUN_WORDS,
        false => row * VALUE_WORDS,
    };
    let partners = if F::PAIRED { tile.rows.min(2) } else { 1 };
    let mut places = Places {
        scale: words.as_mut_ptr().wrapping_add(scale).cast(),
        value: words.as_mut_ptr().wrapping_add(tile.scales::<F>(format, groups) + value).cast(),
        scale_step: 4 * tile.rows * scale_words::<F>(format),
        sums: 4 * tile.rows * copies::<F>(),
        value_step: 4 * tile.rows * VALUE_WORDS,
        run_step: 4 * partners * RUN_WORDS,
        largest: vdupq_n_u32(0),
    };
    let pairs = x.as_chunks::<TWO>().0;
    let pairs = pairs.get(..groups / 2).unwrap_or(pairs);
    if !pairs.is_empty() {
        // SAFETY: the tile's words have room for all groups of the row.
        unsafe { quantize::<F, AFFINE>(pairs, &mut places) };
    }
    let done = 2 * pairs.len();
    if done < groups {
        let rest = x.get(done * GROUP..).unwrap_or_default();
        // SAFETY: as above.
        unsafe { quantize_rest::<F, AFFINE>(rest, groups - done, &mut places) };
    }
    let finite = vmaxvq_u32(places.largest) < f32::INFINITY.to_bits();
    if finite { Ok(()) } else { Err(NotFinite) }
}

/// The last `groups` groups of a row: one without a partner, one that lacks columns, those that lack
/// altogether.
///
/// # Safety
/// As for [`quantize`].
#[cold]
#[inline(never)]
#[target_feature(enable = "neon")]
unsafe fn quantize_rest<F: Family, const AFFINE: u8>(
    mut x: &[f32],
    groups: usize,
    places: &mut Places,
) {
    let (scale_step, value_step) = (places.scale_step, places.value_step);
    // Without a step the second group is written over the first.
    (places.scale_step, places.value_step) = (0, 0);
    for _ in 0..groups {
        let (group, rest) = x.split_at(x.len().min(GROUP));
        x = rest;
        let mut two = [0.0; TWO];
        two.iter_mut().skip(GROUP).zip(group).for_each(|(padded, x)| *padded = *x);
        // SAFETY: as the caller promises.
        unsafe { quantize::<F, AFFINE>(&[two], places) };
        places.scale = places.scale.wrapping_add(scale_step);
        places.value = places.value.wrapping_add(value_step);
    }
}

/// Where a row's next group goes, and what was found in the earlier ones.
struct Places {
    scale: *mut u8,
    value: *mut u8,
    /// Bytes from one group to the next.
    scale_step: usize,
    value_step: usize,
    /// Bytes from a scale to its scaled sum.
    sums: usize,
    /// Bytes from one run to the next, in a tile of paired rows.
    run_step: usize,
    /// Bits of the largest magnitudes: they order like the numbers, infinity and NaNs last.
    largest: uint32x4_t,
}

/// Quantizes groups, two at a time, at least two.
///
/// In assembly: compilers move so many registers about that it takes a third longer.
///
/// # Safety
/// There must be room for all of them.
#[target_feature(enable = "neon")]
unsafe fn quantize<F: Family, const AFFINE: u8>(pairs: &[[f32; TWO]], places: &mut Places) {
    // The lowest byte of every lane.
    const BYTES: [u8; 16] = [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60];
    // SAFETY: reads the 16 bytes, then the pairs; writes the scale and the values of as many groups.
    unsafe {
        let bytes = vld1q_u8(BYTES.as_ptr());
        asm!(
            r#"
            // v\to = the largest magnitudes of eight vectors
            .macro LARGEST to a b c d e f g h
            fabs v24.4s, v\a\().4s
            fabs v25.4s, v\b\().4s
            fabs v26.4s, v\c\().4s
            fabs v27.4s, v\d\().4s
            fabs v28.4s, v\e\().4s
            fabs v29.4s, v\f\().4s
            fabs v30.4s, v\g\().4s
            fabs v31.4s, v\h\().4s
            umax v24.4s, v24.4s, v25.4s
            umax v26.4s, v26.4s, v27.4s
            umax v28.4s, v28.4s, v29.4s
            umax v30.4s, v30.4s, v31.4s
            umax v24.4s, v24.4s, v26.4s
            umax v28.4s, v28.4s, v30.4s
            umax v\to\().4s, v24.4s, v28.4s
            .endm

            // Stores the runs of the 32 values in v\low and v\high.
            .macro STORE low high
            st1 {{v\low\().d}}[0], [{value}], {run_step}
            st1 {{v\low\().d}}[1], [{value}], {run_step}
            st1 {{v\high\().d}}[0], [{value}], {run_step}
            st1 {{v\high\().d}}[1], [{value}], {value_step}
            .endm

            // The scaled sum of the 32 values in v\low and v\high, twice, to v\to; v9 has the scales.
            .macro SCALED_SUM to low high lane
            saddlp v\to\().8h, v\low\().16b
            sadalp v\to\().8h, v\high\().16b
            saddlv s\to, v\to\().8h
            scvtf s\to, s\to
            fmul s\to, s\to, v9.s[\lane]
            dup v\to\().2s, v\to\().s[0]
            .endm

            2:
            ld1 {{v0.4s-v3.4s}}, [{x}], #64
            ld1 {{v4.4s-v7.4s}}, [{x}], #64
            ld1 {{v16.4s-v19.4s}}, [{x}], #64
            ld1 {{v20.4s-v23.4s}}, [{x}], #64
            LARGEST 8, 0, 1, 2, 3, 4, 5, 6, 7
            LARGEST 9, 16, 17, 18, 19, 20, 21, 22, 23
            umaxp v8.4s, v8.4s, v9.4s
            umax v12.4s, v12.4s, v8.4s
            umaxp v8.4s, v8.4s, v8.4s
            // v8 = the scales, v9 = their inverses, zeros below the floor
            fdiv v9.2s, v14.2s, v8.2s
            fcmge v10.2s, v8.2s, v13.2s
            fdiv v8.2s, v8.2s, v14.2s
            and v9.8b, v9.8b, v10.8b
            and v8.8b, v8.8b, v10.8b
            .irp r, 0, 1, 2, 3, 4, 5, 6, 7
            fmul v\r\().4s, v\r\().4s, v9.s[0]
            .endr
            .irp r, 16, 17, 18, 19, 20, 21, 22, 23
            fmul v\r\().4s, v\r\().4s, v9.s[1]
            .endr
            .irp r, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
            fcvtns v\r\().4s, v\r\().4s
            .endr
            tbl v0.16b, {{v0.16b-v3.16b}}, v15.16b
            tbl v1.16b, {{v4.16b-v7.16b}}, v15.16b
            tbl v16.16b, {{v16.16b-v19.16b}}, v15.16b
            tbl v17.16b, {{v20.16b-v23.16b}}, v15.16b
            .if {affine}
            add {sum}, {scale}, {sums}
            mov v9.8b, v8.8b
            SCALED_SUM 24, 0, 1, 0
            SCALED_SUM 25, 16, 17, 1
            .if {paired}
            st1 {{v24.2s}}, [{sum}], {scale_step}
            st1 {{v25.2s}}, [{sum}]
            .else
            st1 {{v24.s}}[0], [{sum}], {scale_step}
            st1 {{v25.s}}[0], [{sum}]
            .endif
            .endif
            .if {paired}
            zip1 v8.4s, v8.4s, v8.4s
            st1 {{v8.d}}[0], [{scale}], {scale_step}
            st1 {{v8.d}}[1], [{scale}], {scale_step}
            STORE 0, 1
            STORE 16, 17
            .else
            st1 {{v8.s}}[0], [{scale}], {scale_step}
            st1 {{v8.s}}[1], [{scale}], {scale_step}
            st1 {{v0.16b, v1.16b}}, [{value}], {value_step}
            st1 {{v16.16b, v17.16b}}, [{value}], {value_step}
            .endif
            subs {pairs}, {pairs}, #1
            b.ne 2b
            // The assembler keeps macros from one block to the next.
            .purgem LARGEST
            .purgem STORE
            .purgem SCALED_SUM
            "#,
            paired = const F::PAIRED as u8,
            affine = const AFFINE,
            sums = in(reg) places.sums,
            sum = out(reg) _,
            x = inout(reg) pairs.as_ptr() => _,
            pairs = inout(reg) pairs.len() => _,
            scale = inout(reg) places.scale,
            value = inout(reg) places.value,
            scale_step = in(reg) places.scale_step,
            // From the last run of a group.
            value_step = in(reg) match F::PAIRED {
                true => places.value_step.wrapping_sub(3 * places.run_step),
                false => places.value_step,
            },
            run_step = in(reg) places.run_step,
            inout("v12") places.largest,
            in("v13") vdupq_n_f32(ACTIVATION_FLOOR),
            in("v14") vdupq_n_f32(127.0),
            in("v15") bytes,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        );
    }
}
