//! The streamed LM head: logits in chunks of [`HEAD_CHUNK`] ids, never a whole vocabulary.

use super::linear::{Linear, Tile};
use crate::decode::HEAD_CHUNK;
use crate::kernels::Kernels;

/// The parts of the head that one chunk of logits comes from, with the first id of each.
pub(crate) fn chunks<'a>(head: &Linear<'a>) -> impl Iterator<Item = (u32, Linear<'a>)> {
    let firsts = (0..head.rows()).step_by(HEAD_CHUNK);
    firsts.map_while(move |first| Some((first as u32, head.slice_rows(first, HEAD_CHUNK)?)))
}

/// Computes the logits of `rows` quantized rows, chunk after chunk in ascending order, and hands
/// each row's part of a chunk to `sink(row, first_id, logits)`. `buffer` is `[rows, HEAD_CHUNK]`.
pub(crate) fn stream<K: Kernels>(
    kernels: K,
    head: &Linear<'_>,
    rows: usize,
    tile: &Tile<'_>,
    buffer: &mut [f32],
    mut sink: impl FnMut(usize, u32, &[f32]),
) {
    for (first, chunk) in chunks(head) {
        tile.multiply(kernels, &chunk, buffer);
        let logits = buffer.chunks_exact(chunk.rows().max(1)).take(rows);
        for (row, logits) in logits.enumerate() {
            sink(row, first, logits);
        }
    }
}
