//! Row operations.

use crate::kernels::scalar::{NotFinite, SOFTMAX_CUTOFF};
use crate::math::{EXP_POLYNOMIAL, LN2_HIGH, LN2_LOW, LOG2_E, ROUND};
use core::arch::{asm, naked_asm};

/// [`scalar::dot`](crate::kernels::scalar::dot).
#[inline(always)]
pub(super) fn dot(a: &[i8], b: &[i8]) -> i32 {
    let mut sum = 0;
    // SAFETY: reads as many bytes as both have. The build target has Helium.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "wlstp.8 lr, {len}, 2f",
            "1: vldrb.u8 q0, [{a}], #16",
            "vldrb.u8 q1, [{b}], #16",
            "vmladava.s8 r12, q0, q1",
            "letp lr, 1b",
            "2:",
            len = in(reg) a.len().min(b.len()),
            a = inout(reg) a.as_ptr() => _,
            b = inout(reg) b.as_ptr() => _,
            inout("r12") sum,
            out("lr") _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _,
            out("s4") _, out("s5") _, out("s6") _, out("s7") _,
            options(nostack, pure, readonly),
        );
    }
    sum
}

/// [`scalar::exponentiate`](crate::kernels::scalar::exponentiate).
#[inline(always)]
pub(super) fn exponentiate(scores: &mut [f32]) -> f32 {
    if scores.is_empty() {
        return 0.0;
    }
    // SAFETY: the slice is readable and writable, and not empty. The build target has Helium.
    unsafe { exponentiate_all(scores.as_mut_ptr(), scores.len(), &EXPONENTIATE) }
}

/// [`scalar::rms_norm`](crate::kernels::scalar::rms_norm).
#[inline(always)]
pub(super) fn rms_norm(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), NotFinite> {
    if x.is_empty() {
        return Ok(());
    }
    let count = x.len().min(weight.len()).min(out.len());
    // SAFETY: `x` is readable and not empty, and of all three at most as many elements are used as
    // they have. The build target has Helium.
    let finite =
        unsafe { rms_norm_row(eps, x.as_ptr(), x.len(), weight.as_ptr(), out.as_mut_ptr(), count) };
    if finite { Ok(()) } else { Err(NotFinite) }
}

/// What `exponentiate_all` keeps in r2 to r12.
const EXPONENTIATE: [f32; 11] = {
    let [c0, c1, c2, c3, c4, c5] = EXP_POLYNOMIAL;
    [LOG2_E, ROUND, LN2_HIGH, LN2_LOW, c0, c1, c2, c3, c4, c5, SOFTMAX_CUTOFF]
};

/// Replaces scores by softmax weights and returns their sum.
///
/// # Safety
/// `scores` must be readable and writable for `len` elements, one or more.
#[unsafe(naked)]
unsafe extern "C" fn exponentiate_all(scores: *mut f32, len: usize, constants: &[f32; 11]) -> f32 {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        // Largest score, from minus infinity. Loops count elements; in the last iteration the lanes
        // beyond the end load zero, store nothing and add nothing.
        "mov r12, r0",
        "movw r3, #0",
        "movt r3, #0xff80",
        "dlstp.32 lr, r1",
        "1: vldrw.u32 q0, [r12], #16",
        "vmaxnmv.f32 r3, q0",
        "letp lr, 1b",
        // r1 largest, r2 to r12 constants
        "mov lr, r1",
        "mov r1, r3",
        "ldm r2, {{r2-r12}}",
        "vmov.i32 q4, #0",
        "vmov.i32 q5, #0",
        "vmov.i32 q6, #0",
        "vmov.f32 q7, #1.0",
        "dlstp.32 lr, lr",
        "2: vldrw.u32 q0, [r0]",
        "vsub.f32 q0, q0, r1",
        "vcmp.f32 lt, q0, r12",
        "vmul.f32 q1, q0, r2",
        "vadd.f32 q1, q1, r3",
        "vsub.f32 q2, q1, r3",
        "vmul.f32 q3, q2, r4",
        "vsub.f32 q0, q0, q3",
        "vmul.f32 q3, q2, r5",
        "vsub.f32 q0, q0, q3",
        "vmul.f32 q2, q0, r6",
        "vadd.f32 q2, q2, r7",
        "vmul.f32 q2, q2, q0",
        "vadd.f32 q2, q2, r8",
        "vmul.f32 q2, q2, q0",
        "vadd.f32 q2, q2, r9",
        "vmul.f32 q2, q2, q0",
        "vadd.f32 q2, q2, r10",
        "vmul.f32 q2, q2, q0",
        "vadd.f32 q2, q2, r11",
        "vmul.f32 q3, q0, q0",
        "vmul.f32 q2, q2, q3",
        "vadd.f32 q2, q2, q0",
        "vadd.f32 q2, q2, q7",
        "vshl.i32 q1, q1, #23",
        "vadd.i32 q2, q2, q1",
        // What is below the cutoff came out as anything.
        "vpsel q2, q6, q2",
        "vstrw.32 q2, [r0], #16",
        // q4 and q5 take turns: chains 0 to 3 and 4 to 7.
        "vadd.f32 q2, q4, q2",
        "vmov q4, q5",
        "vmov q5, q2",
        "letp lr, 2b",
        "vadd.f32 q4, q4, q5",
        "vadd.f32 s16, s16, s18",
        "vadd.f32 s17, s17, s19",
        "vadd.f32 s0, s16, s17",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
    )
}

/// RMSNorm of `len` numbers, of which `count` are written. False if the mean square is not finite;
/// then nothing is written.
///
/// # Safety
/// `x` must be readable for `len` elements, one or more; `x`, `weight` and `out` must be usable for
/// `count`.
#[unsafe(naked)]
unsafe extern "C" fn rms_norm_row(
    eps: f32,
    x: *const f32,
    len: usize,
    weight: *const f32,
    out: *mut f32,
    count: usize,
) -> bool {
    naked_asm!(
        // r0 x, r1 len, r2 weight, r3 out, r4 count, r5 eps, then the factor
        ".cpu cortex-m55",
        "push {{r4-r6, lr}}",
        "ldr r4, [sp, #16]",
        "vmov r5, s0",
        "vmov.i32 q2, #0",
        "vmov.i32 q3, #0",
        "mov r12, r0",
        "lsr lr, r1, #4",
        "wls lr, lr, 21f",
        "1: vldrw.u32 q0, [r12], #16",
        "vldrw.u32 q1, [r12], #16",
        "vmul.f32 q0, q0, q0",
        "vmul.f32 q1, q1, q1",
        "vadd.f32 q2, q2, q0",
        "vadd.f32 q3, q3, q1",
        "vldrw.u32 q0, [r12], #16",
        "vldrw.u32 q1, [r12], #16",
        "vmul.f32 q0, q0, q0",
        "vmul.f32 q1, q1, q1",
        "vadd.f32 q2, q2, q0",
        "vadd.f32 q3, q3, q1",
        "le lr, 1b",
        "21: tst r1, #8",
        "beq 2f",
        "vldrw.u32 q0, [r12], #16",
        "vldrw.u32 q1, [r12], #16",
        "vmul.f32 q0, q0, q0",
        "vmul.f32 q1, q1, q1",
        "vadd.f32 q2, q2, q0",
        "vadd.f32 q3, q3, q1",
        // Up to seven more. A sum of squares does not change when zero is added.
        "2: ands r6, r1, #7",
        "beq 3f",
        "vctp.32 r6",
        "vpst",
        "vldrwt.u32 q0, [r12], #16",
        "vmul.f32 q0, q0, q0",
        "vadd.f32 q2, q2, q0",
        "subs r6, #4",
        "bls 3f",
        "vctp.32 r6",
        "vpst",
        "vldrwt.u32 q1, [r12]",
        "vmul.f32 q1, q1, q1",
        "vadd.f32 q3, q3, q1",
        "3: vadd.f32 q2, q2, q3",
        "vadd.f32 s8, s8, s10",
        "vadd.f32 s9, s9, s11",
        "vadd.f32 s8, s8, s9",
        "vmov s0, r1",
        "vcvt.f32.u32 s0, s0",
        "vdiv.f32 s8, s8, s0",
        "vmov r6, s8",
        "lsls r6, r6, #1",
        "cmp r6, #0xff000000",
        "bhs 7f",
        "vmov s0, r5",
        "vadd.f32 s8, s8, s0",
        "vsqrt.f32 s8, s8",
        "vmov.f32 s0, #1.0",
        "vdiv.f32 s8, s0, s8",
        "vmov r5, s8",
        "lsr lr, r4, #4",
        "wls lr, lr, 22f",
        "4: vldrw.u32 q0, [r0], #16",
        "vldrw.u32 q1, [r2], #16",
        "vldrw.u32 q2, [r0], #16",
        "vldrw.u32 q3, [r2], #16",
        "vmul.f32 q0, q0, r5",
        "vmul.f32 q2, q2, r5",
        "vmul.f32 q0, q0, q1",
        "vmul.f32 q2, q2, q3",
        "vstrw.32 q0, [r3], #16",
        "vstrw.32 q2, [r3], #16",
        "vldrw.u32 q0, [r0], #16",
        "vldrw.u32 q1, [r2], #16",
        "vldrw.u32 q2, [r0], #16",
        "vldrw.u32 q3, [r2], #16",
        "vmul.f32 q0, q0, r5",
        "vmul.f32 q2, q2, r5",
        "vmul.f32 q0, q0, q1",
        "vmul.f32 q2, q2, q3",
        "vstrw.32 q0, [r3], #16",
        "vstrw.32 q2, [r3], #16",
        "le lr, 4b",
        "22: tst r4, #8",
        "beq 5f",
        "vldrw.u32 q0, [r0], #16",
        "vldrw.u32 q1, [r2], #16",
        "vldrw.u32 q2, [r0], #16",
        "vldrw.u32 q3, [r2], #16",
        "vmul.f32 q0, q0, r5",
        "vmul.f32 q2, q2, r5",
        "vmul.f32 q0, q0, q1",
        "vmul.f32 q2, q2, q3",
        "vstrw.32 q0, [r3], #16",
        "vstrw.32 q2, [r3], #16",
        "5: ands r4, r4, #7",
        "wlstp.32 lr, r4, 8f",
        "6: vldrw.u32 q0, [r0], #16",
        "vldrw.u32 q1, [r2], #16",
        "vmul.f32 q0, q0, r5",
        "vmul.f32 q0, q0, q1",
        "vstrw.32 q0, [r3], #16",
        "letp lr, 6b",
        "8: movs r0, #1",
        "pop {{r4-r6, pc}}",
        "7: movs r0, #0",
        "pop {{r4-r6, pc}}",
    )
}
