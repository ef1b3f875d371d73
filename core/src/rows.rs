//! Which rows of the canvas a pass works on.

/// Ascending positions: all up to a length, or a list.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// `start..end`
    Span(usize, usize),
    /// Ascending.
    List(&'a [u16]),
    /// The row before each of these ascending positions; position 0 has its own.
    Before(&'a [u16]),
}

impl<'a> Rows<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Span(start, end) => end.saturating_sub(start),
            Self::List(list) | Self::Before(list) => list.len(),
        }
    }

    pub(crate) fn first(self) -> Option<usize> {
        self.iter().next()
    }

    pub(crate) fn last(self) -> Option<usize> {
        match self {
            Self::Span(start, end) => end.checked_sub(1).filter(|last| start <= *last),
            Self::List(list) => list.last().map(|&row| usize::from(row)),
            Self::Before(list) => list.last().map(|&row| usize::from(row).saturating_sub(1)),
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
            Self::Before(list) => {
                let (a, b) = list.split_at(n.min(list.len()));
                (Self::Before(a), Self::Before(b))
            }
        }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> + use<'a> {
        let (span, list, back) = match self {
            Self::Span(start, end) => (start..end, [].as_slice(), 0),
            Self::List(list) => (0..0, list, 0),
            Self::Before(list) => (0..0, list, 1),
        };
        span.chain(list.iter().map(move |&row| usize::from(row).saturating_sub(back)))
    }
}
