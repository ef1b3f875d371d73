//! Memory that methods keep between steps, with an owner on the host.

use super::MethodError;
use bytemuck::AnyBitPattern;
use bytemuck::NoUninit;

/// Most memory that the parts of a decode may take together.
const MOST: usize = 1 << 30;

/// Zeroed memory for the parts of a decode.
#[derive(Debug, Default)]
pub struct PartsMemory(Vec<u64>);

impl PartsMemory {
    /// At least `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(vec![0; bytes.div_ceil(size_of::<u64>())])
    }

    /// All of it, to be handed out.
    pub fn pieces(&mut self) -> Pieces<'_> {
        self.0.fill(0);
        Pieces { rest: &mut self.0, taken: 0 }
    }

    /// Bytes that `make` takes.
    ///
    /// # Errors
    /// The error of `make`; [`MethodError::Memory`] beyond 1 GiB.
    pub(super) fn count(
        make: impl Fn(&mut Pieces<'_>) -> Result<(), MethodError>,
    ) -> Result<usize, MethodError> {
        let mut bytes = 1 << 12;
        loop {
            let mut memory = Self::new(bytes);
            let mut pieces = memory.pieces();
            match make(&mut pieces) {
                Ok(()) => return Ok(pieces.taken),
                Err(MethodError::Memory(_)) if bytes < MOST => bytes *= 4,
                Err(error) => return Err(error),
            }
        }
    }
}

/// What is left of a [`PartsMemory`].
#[derive(Debug)]
pub struct Pieces<'m> {
    rest: &'m mut [u64],
    taken: usize,
}

impl<'m> Pieces<'m> {
    /// `len` zeroed elements.
    ///
    /// # Errors
    /// [`MethodError::Memory`] if not as many are left.
    pub fn take<T: AnyBitPattern + NoUninit>(
        &mut self,
        len: usize,
    ) -> Result<&'m mut [T], MethodError> {
        let none = || MethodError::Memory(MOST);
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(none)?;
        let words = bytes.div_ceil(size_of::<u64>());
        let rest = std::mem::take(&mut self.rest);
        let (piece, rest) = rest.split_at_mut_checked(words).ok_or_else(none)?;
        self.rest = rest;
        self.taken += words * size_of::<u64>();
        // Elements that need more than eight bytes of alignment do not exist among the methods.
        let piece = bytemuck::try_cast_slice_mut(
            bytemuck::cast_slice_mut::<u64, u8>(piece).get_mut(..bytes).ok_or_else(none)?,
        );
        piece.map_err(|_| none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_zeroed_apart_and_bounded() {
        let mut memory = PartsMemory::new(32);
        for _ in 0..2 {
            let mut pieces = memory.pieces();
            let floats: &mut [f32] = pieces.take(3).unwrap();
            let words: &mut [u16] = pieces.take(5).unwrap();
            assert_eq!((floats.len(), words.len()), (3, 5));
            assert!(floats.iter().all(|f| *f == 0.0) && words.iter().all(|w| *w == 0));
            floats.fill(1.0);
            words.fill(7);
            assert!(floats.iter().all(|f| *f == 1.0));
            assert!(pieces.take::<u8>(1).is_err());
            assert!(pieces.take::<u64>(usize::MAX).is_err());
        }
    }

    #[test]
    fn counts_what_is_taken() {
        let count = |len| PartsMemory::count(|pieces| pieces.take::<u32>(len).map(|_| ()));
        assert_eq!(count(0).unwrap(), 0);
        assert_eq!(count(1 << 20).unwrap(), 4 << 20);
        assert!(matches!(count(usize::MAX / 2), Err(MethodError::Memory(_))));
    }
}
