@ Row operations.

.macro demask_dsp_function name
  .section .text.\name, "ax", %progbits
  .global \name
  .type \name, %function
  .thumb_func
  .p2align 2
\name:
.endm

@   i32 demask_dsp_dot(const i8 *a, const i8 *b, usize octets, usize rest)
@
@ The sum of the products of `8 * octets + rest` bytes, which may lie anywhere: LDR needs no alignment.
.macro demask_dsp_dot_4
  sxtb16 r6, r4
  sxtb16 r7, r5
  sxtb16 r4, r4, ror #8
  sxtb16 r5, r5, ror #8
  smlad r12, r6, r7, r12
  smlad r12, r4, r5, r12
.endm

demask_dsp_function demask_dsp_dot
  push {r4-r7, lr}
  mov.w r12, #0
  cbz r2, 2f
1:
  ldr r4, [r0], #4
  ldr r5, [r1], #4
  demask_dsp_dot_4
  ldr r4, [r0], #4
  ldr r5, [r1], #4
  demask_dsp_dot_4
  subs r2, #1
  bne 1b
2:
  cbz r3, 4f
3:
  ldrsb r4, [r0], #1
  ldrsb r5, [r1], #1
  mla r12, r4, r5, r12
  subs r3, #1
  bne 3b
4:
  mov r0, r12
  pop {r4-r7, pc}
.size demask_dsp_dot, . - demask_dsp_dot

@   f32 demask_dsp_max(const f32 *x, usize octets, f32 start)
@
@ The largest of `start` and at least one octet. A NaN is passed over, as `math::max` does.
demask_dsp_function demask_dsp_max
  lsls r1, r1, #1
1:
  vldmia r0!, {s1-s4}
  .irp x, s1, s2, s3, s4
  vcmp.f32 \x, s0
  vmrs APSR_nzcv, fpscr
  it gt
  vmovgt.f32 s0, \x
  .endr
  subs r1, #1
  bne 1b
  bx lr
.size demask_dsp_max, . - demask_dsp_max

@   void demask_dsp_exp(f32 *x, usize octets, const f32 constants[12], f32 sums[8], f32 max)
@
@ x = e^(x - max), zero below the cutoff, and sums[i] += x for every eighth x, for at least one octet.
@ This is `math::exp` operation by operation, without its lower clamp, which the cutoff makes
@ unreachable.
@
@ s16-s27 constants: log2(e), rounding number, ln 2 high, low, polynomial (s20-s25), 1, cutoff; s28
@ max; s0, s1 x - max, s4, s5 the polynomial, s8, s9 the reduced argument; s10-s15, s29, s30 sums.
demask_dsp_function demask_dsp_exp
  push {r4-r7}
  vpush {d8-d15}
  vmov.f32 s28, s0
  vldmia r2, {s16-s27}
  vldmia r3, {s8-s15}
  vmov r4, r5, s8, s9
  vmov s29, s30, r4, r5
1:
  add.w r12, r0, #32
2:
  vldmia r0, {s0-s1}
  vsub.f32 s0, s0, s28
  vsub.f32 s1, s1, s28
  vmul.f32 s4, s0, s16
  vmul.f32 s5, s1, s16
  vadd.f32 s4, s4, s17
  vadd.f32 s5, s5, s17
  vmov r4, r5, s4, s5             @ low bits: the power of two
  vsub.f32 s4, s4, s17
  vsub.f32 s5, s5, s17
  vmul.f32 s6, s4, s18
  vmul.f32 s7, s5, s18
  vsub.f32 s8, s0, s6
  vsub.f32 s9, s1, s7
  vmul.f32 s6, s4, s19
  vmul.f32 s7, s5, s19
  vsub.f32 s8, s8, s6
  vsub.f32 s9, s9, s7
  vmul.f32 s4, s8, s20
  vmul.f32 s5, s9, s20
  vadd.f32 s4, s4, s21
  vadd.f32 s5, s5, s21
  .irp c, s22, s23, s24, s25
  vmul.f32 s4, s4, s8
  vmul.f32 s5, s5, s9
  vadd.f32 s4, s4, \c
  vadd.f32 s5, s5, \c
  .endr
  vmul.f32 s6, s8, s8
  vmul.f32 s7, s9, s9
  vmul.f32 s4, s4, s6
  vmul.f32 s5, s5, s7
  vadd.f32 s4, s4, s8
  vadd.f32 s5, s5, s9
  vadd.f32 s4, s4, s26
  vadd.f32 s5, s5, s26
  vsub.f32 s0, s0, s27            @ negative below the cutoff, and only there
  vsub.f32 s1, s1, s27
  vmov r6, r7, s4, s5
  add.w r6, r6, r4, lsl #23
  add.w r7, r7, r5, lsl #23
  vmov r4, r5, s0, s1
  bic.w r6, r6, r4, asr #31
  bic.w r7, r7, r5, asr #31
  strd r6, r7, [r0], #8
  cmp r0, r12
  bne 2b
  sub.w r12, r0, #32
  vldmia r12, {s0-s7}
  vadd.f32 s29, s29, s0
  vadd.f32 s30, s30, s1
  vadd.f32 s10, s10, s2
  vadd.f32 s11, s11, s3
  vadd.f32 s12, s12, s4
  vadd.f32 s13, s13, s5
  vadd.f32 s14, s14, s6
  vadd.f32 s15, s15, s7
  subs r1, #1
  bne.w 1b
  vmov r4, r5, s29, s30
  vmov s8, s9, r4, r5
  vstmia r3, {s8-s15}
  vpop {d8-d15}
  pop {r4-r7}
  bx lr
.size demask_dsp_exp, . - demask_dsp_exp

@   void demask_dsp_sum_squares(const f32 *x, usize octets, f32 sums[8])
@
@ sums[i] += x * x for every eighth x, for at least one octet. Two octets at a time; an odd number
@ starts in the middle.
.macro demask_dsp_squares
  vldmia r0!, {s0-s7}
  .irp x, s0, s1, s2, s3, s4, s5, s6, s7
  vmul.f32 \x, \x, \x
  .endr
  vadd.f32 s8, s8, s0
  vadd.f32 s9, s9, s1
  vadd.f32 s10, s10, s2
  vadd.f32 s11, s11, s3
  vadd.f32 s12, s12, s4
  vadd.f32 s13, s13, s5
  vadd.f32 s14, s14, s6
  vadd.f32 s15, s15, s7
.endm

demask_dsp_function demask_dsp_sum_squares
  vldmia r2, {s8-s15}
  add.w r3, r0, r1, lsl #5
  lsls r1, r1, #31
  bne 2f
1:
  demask_dsp_squares
2:
  demask_dsp_squares
  cmp r0, r3
  bne 1b
  vstmia r2, {s8-s15}
  bx lr
.size demask_dsp_sum_squares, . - demask_dsp_sum_squares

@   void demask_dsp_scale(const f32 *x, const f32 *weight, f32 *out, usize octets, f32 factor)
@
@ out = (x * factor) * weight, for at least one octet.
.macro demask_dsp_scale_8
  vldmia r0!, {s0-s7}
  vldmia r1!, {s8-s15}
  .irp x, s0, s1, s2, s3, s4, s5, s6, s7
  vmul.f32 \x, \x, s16
  .endr
  vmul.f32 s0, s0, s8
  vmul.f32 s1, s1, s9
  vmul.f32 s2, s2, s10
  vmul.f32 s3, s3, s11
  vmul.f32 s4, s4, s12
  vmul.f32 s5, s5, s13
  vmul.f32 s6, s6, s14
  vmul.f32 s7, s7, s15
  vstmia r2!, {s0-s7}
.endm

demask_dsp_function demask_dsp_scale
  vpush {d8}
  vmov.f32 s16, s0
  add.w r12, r0, r3, lsl #5
  lsls r3, r3, #31
  bne 2f
1:
  demask_dsp_scale_8
2:
  demask_dsp_scale_8
  cmp r0, r12
  bne 1b
  vpop {d8}
  bx lr
.size demask_dsp_scale, . - demask_dsp_scale

@   f32 demask_dsp_sqrt(f32)
demask_dsp_function demask_dsp_sqrt
  vsqrt.f32 s0, s0
  bx lr
.size demask_dsp_sqrt, . - demask_dsp_sqrt

.text
