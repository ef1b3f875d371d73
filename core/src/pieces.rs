//! Slices cut into pieces whose length is known at run time only.

/// Consecutive pieces of `width` elements, without a shorter rest: `chunks_exact` for zipping.
///
/// `Zip` asks two chunk iterators for their lengths, which are divisions by the width. Where not all
/// of that is inlined, the check for zero stays in the program, and with it a panic path.
#[inline(always)]
pub(crate) fn pieces<T>(all: &[T], width: usize) -> impl Iterator<Item = &[T]> {
    let mut rest = all;
    core::iter::from_fn(move || {
        let (piece, after) = rest.split_at_checked(width.max(1))?;
        rest = after;
        Some(piece)
    })
}
