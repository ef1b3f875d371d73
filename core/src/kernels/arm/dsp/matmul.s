@ Matrix products for one tile of 1, 2 or 3 activation rows ("tokens") and all row pairs of a matrix.
@
@   void demask_dsp_q4_3(const u32 *weights, const u32 *tile, f32 *out, const struct Work *)
@
@ and _q4_2, _q4_1, _q8_3, _q8_2, _q8_1; `Work` is { pairs, stride of `out` in bytes, end of tile }.
@ There is at least one pair and one group. Everything is aligned to 4 bytes.
@
@ Nothing is pushed between the instructions of a group, so the sums of all tokens, the activations
@ of a step and two words of weights must fit the 14 registers: 3 tokens and 2 rows just do.
@
@ Inside a group the sums are integers, 4096 (Q4) or 256 (Q8) times too large; VCVT takes that back.
@ Products and additions of floats stay apart: VFMA would round once instead of twice, and VMLA,
@ which rounds twice, takes a cycle more than VMUL and VADD.
@
@ r0 weights, r1 tile; s0, s1 the pair's weight scales, s10-s12 the tokens' scales, s22-s27 the
@ outputs, two per token. On the stack: start of the tile, out, pairs, stride, six zeros.

.macro demask_dsp_enter name
  .section .text.\name, "ax", %progbits
  .global \name
  .type \name, %function
  .thumb_func
  .p2align 2
\name:
  push {r4-r11, lr}
  vpush {d8-d15}
  sub sp, #40
  ldm r3, {r3, r4, lr}          @ lr: the end of the tile
  stm sp, {r1, r2, r3, r4}
  movs r4, #0
  strd r4, r4, [sp, #16]
  strd r4, r4, [sp, #24]
  strd r4, r4, [sp, #32]
.endm

.macro demask_dsp_leave name
  add sp, #40
  vpop {d8-d15}
  pop {r4-r11, pc}
  .size \name, . - \name
.endm

@ Starts the outputs of a pair from zero.
.macro demask_dsp_zero
  add r12, sp, #16
  vldmia r12, {s22-s27}
.endm

@ Stores the outputs of a pair, goes back to the start of the tile, and clears the zero flag if there
@ is another pair.
.macro demask_dsp_store tokens
  ldm sp, {r1, r2, r3, r12}
  subs r3, #1
  .if \tokens > 1
  add.w r4, r2, r12
  .endif
  vstmia r2!, {s22-s23}
  strd r2, r3, [sp, #4]
  .if \tokens > 1
  vstmia r4, {s24-s25}
  .endif
  .if \tokens > 2
  add.w r4, r4, r12
  vstmia r4, {s26-s27}
  .endif
.endm

@ The weight scales of a group, from f16.
.macro demask_dsp_scales from
  vcvtb.f32.f16 s0, \from
  vcvtt.f32.f16 s1, \from
.endm

@ Adds a group to the outputs of one token: sum = sum + (weight scale * scale) * integer.
.macro demask_dsp_add integer0 integer1 scale sum0 sum1 bits
  vmov s16, s17, \integer0, \integer1
  vmul.f32 s14, s0, \scale
  vmul.f32 s15, s1, \scale
  vcvt.f32.s32 s16, s16, #\bits
  vcvt.f32.s32 s17, s17, #\bits
  vmul.f32 s16, s16, s14
  vmul.f32 s17, s17, s15
  vadd.f32 \sum0, \sum0, s16
  vadd.f32 \sum1, \sum1, s17
.endm

@ to += the two products of half-words, or = at the start of a group.
.macro demask_dsp_smlad to a b first
  .if \first
  smuad \to, \a, \b
  .else
  smlad \to, \a, \b, \to
  .endif
.endm

@ Two weights, 4096 times each: nibble 3 - shift/4 of both half-words. lr holds the mask.
.macro demask_dsp_unpack to word shift
  .if \shift
  and.w \to, lr, \word, lsl #\shift
  .else
  and.w \to, lr, \word
  .endif
.endm

@ ---- Q4, 3 tokens. r4-r9 sums, r0, r2, r3 activations, r10, r11 weights, r12 unpacked.
@ There is no register left for the weight pointer, which waits in s31 while the weights come from
@ s2-s9, nor for the end, which is in s30.
.macro demask_dsp_q4_3_step shift first
  ldm.w r1!, {r0, r2, r3}
  demask_dsp_unpack r12, r10, \shift
  demask_dsp_smlad r4, r12, r0, \first
  demask_dsp_smlad r6, r12, r2, \first
  demask_dsp_smlad r8, r12, r3, \first
  demask_dsp_unpack r12, r11, \shift
  demask_dsp_smlad r5, r12, r0, \first
  demask_dsp_smlad r7, r12, r2, \first
  demask_dsp_smlad r9, r12, r3, \first
.endm

.macro demask_dsp_q4_3_word word0 word1 first
  vmov r10, r11, \word0, \word1
  demask_dsp_q4_3_step 12, \first
  demask_dsp_q4_3_step 8, 0
  demask_dsp_q4_3_step 4, 0
  demask_dsp_q4_3_step 0, 0
.endm

demask_dsp_enter demask_dsp_q4_3
  vmov s30, lr
  mov.w lr, #0xf000f000
1:
  demask_dsp_zero
2:
  vldmia r0!, {s1-s9}
  demask_dsp_scales s1
  vldmia r1!, {s10-s12}
  vmov s31, r0
  demask_dsp_q4_3_word s2, s3, 1
  demask_dsp_q4_3_word s4, s5, 0
  demask_dsp_q4_3_word s6, s7, 0
  demask_dsp_q4_3_word s8, s9, 0
  demask_dsp_add r4, r5, s10, s22, s23, 12
  demask_dsp_add r6, r7, s11, s24, s25, 12
  demask_dsp_add r8, r9, s12, s26, s27, 12
  vmov r2, r0, s30, s31
  cmp r1, r2
  bne.w 2b
  demask_dsp_store 3
  bne.w 1b
demask_dsp_leave demask_dsp_q4_3

@ ---- Q4, 2 tokens. r4-r7 sums, r2, r3, r8, r9 activations, r10, r11 weights, r12 unpacked.
.macro demask_dsp_q4_2_step a b shift first
  demask_dsp_unpack r12, r10, \shift
  demask_dsp_smlad r4, r12, \a, \first
  demask_dsp_smlad r6, r12, \b, \first
  demask_dsp_unpack r12, r11, \shift
  demask_dsp_smlad r5, r12, \a, \first
  demask_dsp_smlad r7, r12, \b, \first
.endm

demask_dsp_enter demask_dsp_q4_2
  vmov s30, lr
  mov.w lr, #0xf000f000
1:
  demask_dsp_zero
2:
  vldmia r0!, {s1}
  demask_dsp_scales s1
  vldmia r1!, {s10-s11}
  .irp first, 1, 0, 0, 0
  ldrd r10, r11, [r0], #8
  ldm.w r1!, {r2, r3, r8, r9}
  demask_dsp_q4_2_step r2, r3, 12, \first
  demask_dsp_q4_2_step r8, r9, 8, 0
  ldm.w r1!, {r2, r3, r8, r9}
  demask_dsp_q4_2_step r2, r3, 4, 0
  demask_dsp_q4_2_step r8, r9, 0, 0
  .endr
  demask_dsp_add r4, r5, s10, s22, s23, 12
  demask_dsp_add r6, r7, s11, s24, s25, 12
  vmov r2, s30
  cmp r1, r2
  bne.w 2b
  demask_dsp_store 2
  bne.w 1b
demask_dsp_leave demask_dsp_q4_2

@ ---- Q4, 1 token. r2, r3 sums, r9-r12 activations, weights and unpacked in r4-r6 and r8, r7 end.
@ The first words of a group, the scales, come with the weights and activations behind them.
.macro demask_dsp_q4_1_word word0 word1 free
  .irp step, 12, 8, 4, 0
  demask_dsp_unpack \free, \word0, \step
  .if \step == 12
  smlad r2, \free, r9, r2
  .elseif \step == 8
  smlad r2, \free, r10, r2
  .elseif \step == 4
  smlad r2, \free, r11, r2
  .else
  smlad r2, \free, r12, r2
  .endif
  demask_dsp_unpack \free, \word1, \step
  .if \step == 12
  smlad r3, \free, r9, r3
  .elseif \step == 8
  smlad r3, \free, r10, r3
  .elseif \step == 4
  smlad r3, \free, r11, r3
  .else
  smlad r3, \free, r12, r3
  .endif
  .endr
.endm

demask_dsp_enter demask_dsp_q4_1
  mov r7, lr
  mov.w lr, #0xf000f000
1:
  demask_dsp_zero
2:
  ldm.w r0!, {r2, r4, r5, r6, r8}
  ldm.w r1!, {r3, r9, r10, r11, r12}
  vmov s10, s11, r3, r2
  demask_dsp_scales s11
  @ No register is free yet but those of the sums, then the first activations.
  demask_dsp_unpack r2, r4, 12
  smuad r2, r2, r9
  demask_dsp_unpack r3, r5, 12
  smuad r3, r3, r9
  demask_dsp_unpack r9, r4, 8
  smlad r2, r9, r10, r2
  demask_dsp_unpack r9, r5, 8
  smlad r3, r9, r10, r3
  demask_dsp_unpack r9, r4, 4
  smlad r2, r9, r11, r2
  demask_dsp_unpack r9, r5, 4
  smlad r3, r9, r11, r3
  demask_dsp_unpack r9, r4, 0
  smlad r2, r9, r12, r2
  demask_dsp_unpack r9, r5, 0
  smlad r3, r9, r12, r3
  ldm.w r1!, {r9-r12}
  demask_dsp_q4_1_word r6, r8, r4
  .rept 2
  ldrd r4, r5, [r0], #8
  ldm.w r1!, {r9-r12}
  demask_dsp_q4_1_word r4, r5, r6
  .endr
  demask_dsp_add r2, r3, s10, s22, s23, 12
  cmp r1, r7
  bne.w 2b
  demask_dsp_store 1
  bne.w 1b
demask_dsp_leave demask_dsp_q4_1

@ ---- Q8. The activations are made for weights that are half unpacked: see quantize.s.
@ 3 tokens: r4-r9 sums, r2, r3, r10 activations, r11, r12 weights, lr end.
.macro demask_dsp_q8_3_step first
  ldm.w r1!, {r2, r3, r10}
  demask_dsp_smlad r4, r11, r2, \first
  demask_dsp_smlad r6, r11, r3, \first
  demask_dsp_smlad r8, r11, r10, \first
  demask_dsp_smlad r5, r12, r2, \first
  demask_dsp_smlad r7, r12, r3, \first
  demask_dsp_smlad r9, r12, r10, \first
.endm

demask_dsp_enter demask_dsp_q8_3
1:
  demask_dsp_zero
2:
  vldmia r0!, {s1}
  demask_dsp_scales s1
  vldmia r1!, {s10-s12}
  .irp first, 1, 0, 0, 0, 0, 0, 0, 0
  ldrd r11, r12, [r0], #8
  demask_dsp_q8_3_step \first
  sxtb16 r11, r11
  sxtb16 r12, r12
  demask_dsp_q8_3_step 0
  .endr
  demask_dsp_add r4, r5, s10, s22, s23, 8
  demask_dsp_add r6, r7, s11, s24, s25, 8
  demask_dsp_add r8, r9, s12, s26, s27, 8
  cmp r1, lr
  bne.w 2b
  demask_dsp_store 3
  bne.w 1b
demask_dsp_leave demask_dsp_q8_3

@ 2 tokens: r4-r7 sums, r2, r3, r8, r9 activations, r11, r12 weights, lr end.
.macro demask_dsp_q8_2_step a b first
  demask_dsp_smlad r4, r11, \a, \first
  demask_dsp_smlad r6, r11, \b, \first
  demask_dsp_smlad r5, r12, \a, \first
  demask_dsp_smlad r7, r12, \b, \first
.endm

demask_dsp_enter demask_dsp_q8_2
1:
  demask_dsp_zero
2:
  vldmia r0!, {s1}
  demask_dsp_scales s1
  vldmia r1!, {s10-s11}
  .irp first, 1, 0, 0, 0, 0, 0, 0, 0
  ldrd r11, r12, [r0], #8
  ldm.w r1!, {r2, r3, r8, r9}
  demask_dsp_q8_2_step r2, r3, \first
  sxtb16 r11, r11
  sxtb16 r12, r12
  demask_dsp_q8_2_step r8, r9, 0
  .endr
  demask_dsp_add r4, r5, s10, s22, s23, 8
  demask_dsp_add r6, r7, s11, s24, s25, 8
  cmp r1, lr
  bne.w 2b
  demask_dsp_store 2
  bne.w 1b
demask_dsp_leave demask_dsp_q8_2

@ 1 token: r2, r3 sums, r8-r11 activations, r4-r7 weights, lr end. Two steps at a time; the first
@ words of a group are the scales.
.macro demask_dsp_q8_1_steps first
  demask_dsp_smlad r2, r4, r8, \first
  demask_dsp_smlad r3, r5, r8, \first
  sxtb16 r4, r4
  sxtb16 r5, r5
  smlad r2, r4, r9, r2
  smlad r3, r5, r9, r3
  smlad r2, r6, r10, r2
  smlad r3, r7, r10, r3
  sxtb16 r6, r6
  sxtb16 r7, r7
  smlad r2, r6, r11, r2
  smlad r3, r7, r11, r3
.endm

demask_dsp_enter demask_dsp_q8_1
1:
  demask_dsp_zero
2:
  ldm.w r0!, {r2, r4-r7}
  ldm.w r1!, {r3, r8-r11}
  vmov s10, s11, r3, r2
  demask_dsp_scales s11
  demask_dsp_q8_1_steps 1
  .rept 3
  ldm.w r0!, {r4-r7}
  ldm.w r1!, {r8-r11}
  demask_dsp_q8_1_steps 0
  .endr
  demask_dsp_add r2, r3, s10, s22, s23, 8
  cmp r1, lr
  bne.w 2b
  demask_dsp_store 1
  bne.w 1b
demask_dsp_leave demask_dsp_q8_1

.text
