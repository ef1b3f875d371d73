@ Attention of up to four rows ("queries") of one head. With fewer rows the first one fills the
@ places of the missing ones: its results are then computed, and stored, more than once.

@   void demask_dsp_scores(struct Scores *)
@
@ `Scores` is { next score of each row, queries, their scales, octets, key, distance of keys in bytes,
@ key scale, distance of key scales in bytes, slots, memory for 4 * 8 * octets half-words }. There is
@ at least one octet and one slot.
@
@ Bytes become pairs of half-words, even bytes and odd ones: the queries' once, the keys' for every
@ slot, where one unpacked word serves four rows.
@
@ r0 Scores, r1 unpacked queries and lr their end, r2 key, r3-r6 four queries, r7-r10 sums, r11, r12
@ the key's even and odd bytes; s8-s11 the queries' scales.
.macro demask_dsp_scores_4
  ldr r12, [r2], #4
  ldm r1!, {r3-r6}
  sxtb16 r11, r12
  sxtb16 r12, r12, ror #8
  smlad r7, r3, r11, r7
  smlad r8, r4, r11, r8
  smlad r9, r5, r11, r9
  smlad r10, r6, r11, r10
  ldm r1!, {r3-r6}
  smlad r7, r3, r12, r7
  smlad r8, r4, r12, r8
  smlad r9, r5, r12, r9
  smlad r10, r6, r12, r10
.endm

demask_dsp_function demask_dsp_scores
  push {r4-r11, lr}
  add.w r4, r0, #32
  vldmia r4, {s8-s11}
  add.w r4, r0, #16
  ldm r4, {r4-r7}
  ldr r2, [r0, #48]
  lsls r2, r2, #1
  ldr r1, [r0, #72]
1:
  .irp query, r4, r5, r6, r7
  ldr r8, [\query], #4
  sxtb16 r9, r8
  sxtb16 r8, r8, ror #8
  str r8, [r1, #16]
  str r9, [r1], #4
  .endr
  adds r1, #16
  subs r2, #1
  bne 1b
  mov lr, r1
2:
  ldrd r2, r3, [r0, #52]
  ldr r1, [r0, #72]
  add r3, r2
  str r3, [r0, #52]
  movs r7, #0
  mov.w r8, #0
  mov.w r9, #0
  mov.w r10, #0
3:
  demask_dsp_scores_4
  demask_dsp_scores_4
  cmp r1, lr
  bne 3b
  ldrd r1, r2, [r0, #60]
  vldr s4, [r1]
  add r1, r2
  str r1, [r0, #60]
  vmov s0, s1, r7, r8
  vmov s2, s3, r9, r10
  vmul.f32 s12, s8, s4
  vmul.f32 s13, s9, s4
  vmul.f32 s14, s10, s4
  vmul.f32 s15, s11, s4
  .irp x, s0, s1, s2, s3
  vcvt.f32.s32 \x, \x
  .endr
  ldm r0, {r1-r4}
  vmul.f32 s0, s12, s0
  vmul.f32 s1, s13, s1
  vmul.f32 s2, s14, s2
  vmul.f32 s3, s15, s3
  vstmia r1!, {s0}
  vstmia r2!, {s1}
  vstmia r3!, {s2}
  vstmia r4!, {s3}
  stm r0, {r1-r4}
  ldr r1, [r0, #68]
  subs r1, #1
  str r1, [r0, #68]
  bne 2b
  pop {r4-r11, pc}
.size demask_dsp_scores, . - demask_dsp_scores

@   void demask_dsp_values(struct Values *)
@
@ out[i] += (weight * value scale) * value[i], slot after slot. `Values` is { next weight of each row,
@ outputs of each row, value, distance of values in bytes, value scale, distance of value scales in
@ bytes, slots, quads, memory for 4 floats per slot }. There is at least one slot and one quad. Moves
@ weights and value scale to the next slot, and value to the next entry.
@
@ First the products of weights and scales, which serve all entries of a slot; then four entries at a
@ time over all slots, so that the 16 sums stay in registers. Products and additions stay apart, see
@ matmul.s.
@
@ r0 Values, r1 distance, r2 products and r3 their end, r4-r7 outputs, r8-r11 entries, r12 value, lr
@ quads; s0-s15 sums, s16-s19 entries, s20-s23 products of weight and scale, s24-s27 terms.
@ Adds four entries of one row to their sums.
.macro demask_dsp_terms scale a b c d
  vmul.f32 s24, \scale, s16
  vmul.f32 s25, \scale, s17
  vmul.f32 s26, \scale, s18
  vmul.f32 s27, \scale, s19
  vadd.f32 \a, \a, s24
  vadd.f32 \b, \b, s25
  vadd.f32 \c, \c, s26
  vadd.f32 \d, \d, s27
.endm

demask_dsp_function demask_dsp_values
  push {r4-r11, lr}
  vpush {d8-d13}
  add.w r1, r0, #40
  ldm r1, {r1, r2, r3, lr}
  ldm r0, {r4-r7}
  add.w r8, r0, #56
  add.w r3, r8, r3, lsl #4
1:
  vldr s4, [r1]
  add r1, r2
  vldmia r4!, {s0}
  vldmia r5!, {s1}
  vldmia r6!, {s2}
  vldmia r7!, {s3}
  .irp x, s0, s1, s2, s3
  vmul.f32 \x, \x, s4
  .endr
  vstmia r8!, {s0-s3}
  cmp r8, r3
  bne 1b
  stm r0, {r4-r7}
  str r1, [r0, #40]
  ldr r1, [r0, #36]
  add.w r4, r0, #16
  ldm r4, {r4-r7}
2:
  ldr.w r12, [r0, #32]
  add.w r2, r0, #56
  add.w r8, r12, #4
  str.w r8, [r0, #32]
  vldmia r4, {s0-s3}
  vldmia r5, {s4-s7}
  vldmia r6, {s8-s11}
  vldmia r7, {s12-s15}
3:
  ldrsb r8, [r12]
  ldrsb r9, [r12, #1]
  ldrsb r10, [r12, #2]
  ldrsb r11, [r12, #3]
  add r12, r1
  vldmia r2!, {s20-s23}
  vmov s16, s17, r8, r9
  vmov s18, s19, r10, r11
  cmp r2, r3
  .irp x, s16, s17, s18, s19
  vcvt.f32.s32 \x, \x
  .endr
  demask_dsp_terms s20, s0, s1, s2, s3
  demask_dsp_terms s21, s4, s5, s6, s7
  demask_dsp_terms s22, s8, s9, s10, s11
  demask_dsp_terms s23, s12, s13, s14, s15
  bne 3b
  vstmia r4!, {s0-s3}
  vstmia r5!, {s4-s7}
  vstmia r6!, {s8-s11}
  vstmia r7!, {s12-s15}
  subs.w lr, lr, #1
  bne.w 2b
  vpop {d8-d13}
  pop {r4-r11, pc}
.size demask_dsp_values, . - demask_dsp_values

.text
