//! Attention, four rows at a time.

use crate::cache::KvHead;
use crate::pieces::pieces;
use core::mem::MaybeUninit;
use core::ptr;

// Documented where they are written.
unsafe extern "C" {
    fn demask_dsp_scores(work: &mut Scores);
    fn demask_dsp_values(work: &mut Values);
}

/// Rows whose sums the registers hold.
const ROWS: usize = 4;
/// Entries that the loop over keys takes at a time.
const OCTET: usize = 8;
/// Octets of the longest query that is unpacked on the stack.
const MAX_OCTETS: usize = 16;
/// Entries of each row whose sums the registers hold.
const QUAD: usize = 4;
/// Slots whose products of weights and value scales are on the stack at once.
const SLOTS: usize = 32;

/// What `demask_dsp_scores` works on.
#[repr(C)]
struct Scores {
    scores: [*mut f32; ROWS],
    queries: [*const i8; ROWS],
    query_scales: [f32; ROWS],
    octets: usize,
    keys: *const i8,
    key_bytes: usize,
    key_scales: *const f32,
    key_scale_bytes: usize,
    slots: usize,
    unpacked: *mut [[i16; OCTET]; ROWS],
}

/// [`Kernels::attention_scores`](crate::kernels::Kernels::attention_scores); false, and nothing
/// done, for queries of another length than most models have.
pub(super) fn scores(
    queries: &[i8],
    query_scales: &[f32],
    kv: KvHead<'_>,
    visible: usize,
    scores: &mut [f32],
) -> bool {
    let (dim, slots) = (kv.dim(), visible.min(kv.slots()));
    let octets = dim / OCTET;
    if !dim.is_multiple_of(OCTET) || octets == 0 || octets > MAX_OCTETS || slots == 0 {
        return false;
    }
    let (keys, key_scales) = kv.key_memory();
    let visible = visible.max(1); // it is; the compiler does not see that chunks cannot panic
    let mut unpacked = MaybeUninit::<[[[i16; OCTET]; ROWS]; MAX_OCTETS]>::uninit();
    let rows = scores.chunks_exact_mut(visible).zip(pieces(queries, dim));
    let mut rows = rows.zip(query_scales);
    while let Some(((row, query), scale)) = rows.next() {
        let mut work = Scores {
            scores: [row.as_mut_ptr(); ROWS],
            queries: [query.as_ptr(); ROWS],
            query_scales: [*scale; ROWS],
            octets,
            keys: keys.as_ptr(),
            key_bytes: kv.distance() * dim,
            key_scales: key_scales.as_ptr(),
            key_scale_bytes: kv.distance() * size_of::<f32>(),
            slots,
            unpacked: unpacked.as_mut_ptr().cast(),
        };
        // The places of rows that are missing keep the first row.
        let places = work.scores.iter_mut().zip(&mut work.queries).zip(&mut work.query_scales);
        for (((to, from), to_scale), ((row, query), scale)) in places.skip(1).zip(&mut rows) {
            (*to, *from, *to_scale) = (row.as_mut_ptr(), query.as_ptr(), *scale);
        }
        // SAFETY: reads so many octets of four queries, and `slots` keys and scales, which are
        // there; writes as many scores of four rows, which have `visible`. `unpacked` has room for
        // the octets of four rows.
        unsafe { demask_dsp_scores(&mut work) };
    }
    true
}

/// What `demask_dsp_values` works on.
#[repr(C)]
struct Values {
    weights: [*const f32; ROWS],
    out: [*mut f32; ROWS],
    values: *const i8,
    value_bytes: usize,
    value_scales: *const f32,
    value_scale_bytes: usize,
    slots: usize,
    quads: usize,
    scaled: MaybeUninit<[[f32; ROWS]; SLOTS]>,
}

/// [`Kernels::attention_values`](crate::kernels::Kernels::attention_values).
pub(super) fn values(
    weights: &[f32],
    inverse_sums: &[f32],
    kv: KvHead<'_>,
    visible: usize,
    (out, stride): (&mut [f32], usize),
) {
    let (dim, slots) = (kv.dim(), visible.min(kv.slots()));
    let quads = dim / QUAD;
    let (visible, stride) = (visible.max(1), stride.max(1));
    if quads > 0 {
        let (values, value_scales) = kv.value_memory();
        let heads = out.chunks_mut(stride).map_while(|row| row.get_mut(..quads * QUAD));
        let mut rows = weights.chunks_exact(visible).zip(heads);
        while let Some((row, head)) = rows.next() {
            head.fill(0.0);
            let mut work = Values {
                weights: [row.as_ptr(); ROWS],
                out: [head.as_mut_ptr(); ROWS],
                values: ptr::null(),
                value_bytes: kv.distance() * dim,
                value_scales: value_scales.as_ptr(),
                value_scale_bytes: kv.distance() * size_of::<f32>(),
                slots: 0,
                quads,
                scaled: MaybeUninit::uninit(),
            };
            // The places of rows that are missing keep the first row.
            let places = work.weights.iter_mut().zip(&mut work.out);
            for ((from, to), (row, head)) in places.skip(1).zip(&mut rows) {
                head.fill(0.0);
                (*from, *to) = (row.as_ptr(), head.as_mut_ptr());
            }
            for first in (0..slots).step_by(SLOTS) {
                work.slots = SLOTS.min(slots - first);
                work.values = values.as_ptr().wrapping_add(first * work.value_bytes);
                // SAFETY: reads the next slots, which are there, and as many weights of four rows,
                // which have `visible`; adds to so many quads of four rows of outputs.
                unsafe { demask_dsp_values(&mut work) };
            }
        }
    }
    let rows = out.chunks_mut(stride).zip(weights.chunks_exact(visible)).zip(inverse_sums);
    for ((row, weights), inverse) in rows {
        for (i, y) in row.iter_mut().take(dim).enumerate() {
            *y = inverse * if i < quads * QUAD { *y } else { entry(weights, kv, i) };
        }
    }
}

/// The sum over all slots of entry `i`.
#[inline(never)] // rare, and once in flash
fn entry(weights: &[f32], kv: KvHead<'_>, i: usize) -> f32 {
    let (values, scales) = kv.value_memory();
    let heads = kv.distance();
    let mut sum = 0.0;
    for (slot, weight) in weights.iter().enumerate() {
        let value = values.get(slot * heads * kv.dim() + i);
        let (Some(value), Some(scale)) = (value, scales.get(slot * heads)) else { break };
        sum += (weight * scale) * f32::from(*value);
    }
    sum
}
