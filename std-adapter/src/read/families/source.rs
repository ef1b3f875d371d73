//! Where in a checkpoint the numbers of a tensor are, and how they are made from what is stored.

use std::ops::Range;

use demask::image::TensorRole;

use super::Stored;

/// Origin of a tensor's numbers.
#[derive(Debug)]
pub(in crate::read) struct Source {
    /// Where they are stored.
    pub place: Place,
    /// What is then folded into them.
    pub fold: Option<Fold>,
}

/// A place in a checkpoint.
#[derive(Debug)]
pub(in crate::read) enum Place {
    /// Consecutive rows of a tensor of the same width.
    Rows {
        /// Its name.
        tensor: String,
        /// The first of these rows.
        first: usize,
        /// How many rows the tensor has; `None` if exactly these.
        of: Option<usize>,
    },
    /// One tensor per expert, stacked: `{prefix}{expert}.{part}`.
    Experts {
        /// Start of the names.
        prefix: String,
        /// End of the names.
        part: &'static str,
        /// Number of experts, at least 1.
        count: usize,
    },
    /// Not stored: zeros.
    Zeros,
}

/// Values of an adaptive layer norm (Peebles and Xie 2023, "adaLN-Zero") that are constants of the
/// checkpoint and become part of a tensor.
#[derive(Debug, Clone, Copy)]
pub(in crate::read) struct Fold {
    /// How.
    pub kind: FoldKind,
    /// Which layer's values, or those before the head.
    pub layer: Option<u32>,
    /// Which run of them, each as wide as the model.
    pub chunk: usize,
}

/// What is done with the values `m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::read) enum FoldKind {
    /// Column `i` times `1 + m[i]`.
    Scale,
    /// Column `i` plus `m[i]`.
    Shift,
    /// Column `i` times `m[i]`.
    GateColumns,
    /// Row `i` times `m[i]`.
    GateRows,
}

impl Source {
    /// A tensor as it is stored.
    pub(super) fn tensor(name: impl Into<String>) -> Self {
        Place::Rows { tensor: name.into(), first: 0, of: None }.into()
    }

    /// Rows of a tensor that has more of them: `of` in all.
    pub(super) fn rows(name: impl Into<String>, first: usize, of: usize) -> Self {
        Place::Rows { tensor: name.into(), first, of: Some(of) }.into()
    }

    /// The experts' tensors, one behind the other.
    pub(super) fn experts(prefix: String, part: &'static str, count: usize) -> Self {
        Place::Experts { prefix, part, count }.into()
    }

    /// For a role that no model of the family has. Nothing is stored under such a name.
    pub(super) fn absent(role: TensorRole) -> Self {
        Self::tensor(format!("({} of another model family)", role.name()))
    }

    /// The same, with constants folded in.
    pub(super) fn folded(self, kind: FoldKind, layer: Option<u32>, chunk: usize) -> Self {
        Self { fold: Some(Fold { kind, layer, chunk }), ..self }
    }

    /// Stored tensor that stands for all in messages.
    pub(in crate::read) fn name(&self) -> String {
        match &self.place {
            Place::Rows { tensor, .. } => tensor.clone(),
            Place::Experts { prefix, part, .. } => expert_name(prefix, 0, part),
            Place::Zeros => "(not stored)".into(),
        }
    }

    /// Names the stored tensors and their shapes for a tensor of `rows` and `cols`, one by one:
    /// a hostile config.json may ask for millions.
    pub(in crate::read) fn each_stored(
        &self,
        (rows, cols): (usize, usize),
        visit: &mut dyn FnMut(Stored),
    ) {
        match &self.place {
            Place::Rows { tensor, of, .. } => visit((tensor.clone(), (of.unwrap_or(rows), cols))),
            Place::Experts { prefix, part, count } => {
                for expert in 0..*count {
                    visit((expert_name(prefix, expert, part), (rows / count, cols)));
                }
            }
            Place::Zeros => {}
        }
    }

    /// The stored tensors that hold `rows` of a tensor of `have` rows, and which of theirs.
    pub(in crate::read) fn pieces(
        &self,
        have: usize,
        rows: Range<usize>,
    ) -> impl Iterator<Item = (String, Range<usize>)> {
        // Rows of one stored tensor: all, or those of an expert.
        let each = match &self.place {
            Place::Rows { .. } => have,
            Place::Experts { count, .. } => have / count,
            Place::Zeros => 0,
        };
        let mut next = rows.start;
        std::iter::from_fn(move || {
            if each == 0 || next >= rows.end.min(have) {
                return None;
            }
            let (piece, start) = (next / each, next % each);
            let end = each.min(start + rows.end - next);
            next += end - start;
            match &self.place {
                Place::Rows { tensor, first, .. } => {
                    Some((tensor.clone(), first + start..first + end))
                }
                Place::Experts { prefix, part, .. } => {
                    Some((expert_name(prefix, piece, part), start..end))
                }
                Place::Zeros => None,
            }
        })
    }
}

impl From<Place> for Source {
    fn from(place: Place) -> Self {
        Self { place, fold: None }
    }
}

/// Name of an expert's tensor.
fn expert_name(prefix: &str, expert: usize, part: &str) -> String {
    format!("{prefix}{expert}.{part}")
}
