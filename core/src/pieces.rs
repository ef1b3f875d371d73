//! Slices cut and moved by lengths that are known at run time only, without a panic path.

use core::cell::Cell;

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

/// Drops `drop` elements from `keep` on and moves those behind them down; the last `drop` elements keep
/// what they hold.
pub(crate) fn move_down<T: Copy>(all: &mut [T], keep: usize, drop: usize) {
    // Not `copy_within`: the optimizer cannot see that its panic is out of reach.
    let cells = Cell::from_mut(all).as_slice_of_cells();
    let (to, from) = (cells.get(keep..), cells.get(keep.saturating_add(drop)..));
    for (to, from) in to.unwrap_or_default().iter().zip(from.unwrap_or_default()) {
        to.set(from.get());
    }
}

/// Moves what stands from `at` on up by `count`; the last `count` elements are lost, those from `at` on
/// keep what they hold.
pub(crate) fn move_up<T: Copy>(all: &mut [T], at: usize, count: usize) {
    let moved = all.len().saturating_sub(count);
    let cells = Cell::from_mut(all).as_slice_of_cells();
    let (from, to) = (cells.get(at..moved), cells.get(at.saturating_add(count)..));
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    for (to, from) in to.iter().zip(from).rev() {
        to.set(from.get());
    }
}
