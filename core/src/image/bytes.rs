//! Little-endian reads that cannot fail halfway: `None` instead of a panic.

/// The four bytes at `at` as a word.
pub(crate) const fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    match bytes.split_at_checked(at) {
        Some((_, rest)) => match rest.first_chunk() {
            Some(b) => Some(u32::from_le_bytes(*b)),
            None => None,
        },
        None => None,
    }
}

/// The eight bytes at `at` as a word.
pub(crate) const fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    match bytes.split_at_checked(at) {
        Some((_, rest)) => match rest.first_chunk() {
            Some(b) => Some(u64::from_le_bytes(*b)),
            None => None,
        },
        None => None,
    }
}

/// `bytes[offset..offset + length]` with 64-bit file positions.
pub(crate) fn range(bytes: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let length = usize::try_from(length).ok()?;
    bytes.get(start..start.checked_add(length)?)
}

/// Rounds up to a multiple of `align` (a power of two).
pub(crate) const fn align_up(n: u64, align: u64) -> Option<u64> {
    match n.checked_add(align - 1) {
        Some(n) => Some(n & !(align - 1)),
        None => None,
    }
}
