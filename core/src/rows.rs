//! Which rows of the canvas a pass works on.

/// Ascending positions: all up to a length, or a list.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// `start..end`
    Span(usize, usize),
    /// Ascending.
    List(&'a [u16]),
}

impl<'a> Rows<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Span(start, end) => end.saturating_sub(start),
            Self::List(list) => list.len(),
        }
    }

    pub(crate) fn first(self) -> Option<usize> {
        match self {
            Self::Span(start, end) => (start < end).then_some(start),
            Self::List(list) => list.first().map(|&row| usize::from(row)),
        }
    }

    /// The first `n` rows and the rest.
    pub(crate) fn split(self, n: usize) -> (Self, Self) {
        match self {
            Self::Span(start, end) => {
                let middle = end.min(start + n);
                (Self::Span(start, middle), Self::Span(middle, end))
            }
            Self::List(list) => {
                let (a, b) = list.split_at(n.min(list.len()));
                (Self::List(a), Self::List(b))
            }
        }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> + use<'a> {
        let (span, list) = match self {
            Self::Span(start, end) => (start..end, [].as_slice()),
            Self::List(list) => (0..0, list),
        };
        span.chain(list.iter().map(|&row| usize::from(row)))
    }
}
