@ Quantization of one activation row, group by group, into its place in the tile.
@
@   u32 demask_dsp_quantize(const f32 *x, u32 *to, usize groups, usize stride, u32 q8)
@
@ `stride` is the number of bytes from a word of the row to its next word: 4 times the tokens of the
@ tile. There is at least one group. Returns 0, or 1 if a number is not finite.
@
@ A group is 17 words: the scale, then pairs of 16-bit values.
@   Q4: a[0], a[1]; a[2], a[3]; ...
@   Q8: two words for each four values: a[2], a[3], for weights as they are stored, that is
@       256 w[2] + w[0]; then 256 a[0] - a[2], 256 a[1] - a[3], for their lower bytes w[0].
@       Together they make 256 (a[0] w[0] + a[2] w[2]).

.section .text.demask_dsp_quantize, "ax", %progbits
.global demask_dsp_quantize
.type demask_dsp_quantize, %function
.thumb_func
.p2align 2
demask_dsp_quantize:
  push {r4-r11, lr}
  mov.w r4, #0x42000000
  orr r4, r4, #0x00fe0000         @ 127.0
  vmov s10, r4

  @ lr: twice the bits of the largest magnitude, which shifts the sign out.
1:
  mov.w lr, #0
  add r12, r0, #128
2:
  .rept 2
  ldm.w r0!, {r4-r11}
  .irp bits, r4, r5, r6, r7, r8, r9, r10, r11
  cmp.w lr, \bits, lsl #1
  it lo
  lsllo.w lr, \bits, #1
  .endr
  .endr
  cmp r0, r12
  bne 2b
  cmp.w lr, #0xff000000           @ infinity
  bhs.w 7f
  cmp.w lr, #0x43000000           @ 2^-60
  blo.w 5f

  lsr.w lr, lr, #1
  vmov s8, lr
  vdiv.f32 s9, s8, s10            @ scale
  vdiv.f32 s8, s10, s8            @ inverse
  mov lr, r0
  vstr s9, [r1]
  sub.w r0, r0, #128
  add r1, r3
  add.w r12, r3, r3, lsl #1       @ three strides
  ldr.w r4, [sp, #36]
  cmp r4, #0
  bne.w 4f

  @ VCVTR rounds as the float unit is set to: to the nearest, ties to even.
.macro demask_dsp_quantize_8
  vldmia r0!, {s0-s7}
  .irp x, s0, s1, s2, s3, s4, s5, s6, s7
  vmul.f32 \x, \x, s8
  .endr
  .irp x, s0, s1, s2, s3, s4, s5, s6, s7
  vcvtr.s32.f32 \x, \x
  .endr
  vmov r4, r5, s0, s1
  vmov r6, r7, s2, s3
  vmov r8, r9, s4, s5
  vmov r10, r11, s6, s7
  pkhbt r4, r4, r5, lsl #16
  pkhbt r6, r6, r7, lsl #16
  pkhbt r8, r8, r9, lsl #16
  pkhbt r10, r10, r11, lsl #16
.endm

.macro demask_dsp_quantize_store a b c d
  str.w \a, [r1]
  str.w \b, [r1, r3]
  str.w \c, [r1, r3, lsl #1]
  str.w \d, [r1, r12]
  add.w r1, r1, r3, lsl #2
  cmp r0, lr
.endm

3:
  demask_dsp_quantize_8
  demask_dsp_quantize_store r4, r6, r8, r10
  bne 3b
  subs r2, #1
  bne.w 1b
  b 6f

4:
  demask_dsp_quantize_8
  lsls r5, r4, #8
  and r5, r5, #0xff00ff00
  ssub16 r5, r5, r6
  lsl.w r9, r8, #8
  and r9, r9, #0xff00ff00
  ssub16 r9, r9, r10
  demask_dsp_quantize_store r6, r5, r10, r9
  bne 4b
  subs r2, #1
  bne.w 1b
  b 6f

  @ All zero or as good as zero.
5:
  movs r4, #0
  movs r5, #17
8:
  str r4, [r1]
  add r1, r3
  subs r5, #1
  bne 8b
  subs r2, #1
  bne.w 1b
6:
  movs r0, #0
  pop {r4-r11, pc}
7:
  movs r0, #1
  pop {r4-r11, pc}
.size demask_dsp_quantize, . - demask_dsp_quantize

.text
