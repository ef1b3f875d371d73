//! Why a method could not be chosen.

/// Why a method could not be chosen. Every message says what would do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// Nothing is called that.
    #[error("there is no {kind} {name:?}; {advice}")]
    Unknown {
        /// Policy, schedule, ...
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        advice: String,
    },
    /// It has no such parameter.
    #[error("{method} has no parameter {name:?}; {advice}")]
    NoParameter {
        /// The method.
        method: &'static str,
        /// What was given.
        name: String,
        /// What there is.
        advice: String,
    },
    /// More values than parameters.
    #[error("{method} takes {most} values at most; {advice}")]
    TooMany {
        /// The method.
        method: &'static str,
        /// Its parameters.
        most: usize,
        /// What there is.
        advice: String,
    },
    /// A parameter has two values.
    #[error("{method} is given {name} twice; leave one of them out")]
    Twice {
        /// The method.
        method: &'static str,
        /// The parameter.
        name: &'static str,
    },
    /// A value that the parameter cannot take.
    #[error("{method} cannot take {name}={value}; {name} is {allowed}")]
    Value {
        /// The method.
        method: &'static str,
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// Something stands behind a `+` that has no wrapper before it.
    #[error(
        "{method} decides alone; before a + stands something that wraps, such as {}",
        if .wrappers.is_empty() { "none of this kind" } else { .wrappers }
    )]
    NotAWrapper {
        /// The method.
        method: &'static str,
        /// Methods that wrap.
        wrappers: String,
    },
    /// A wrapper was made around nothing.
    #[error("a wrapper needs something inside; write wrapper+policy")]
    NothingInside,
    /// More memory than there can be.
    #[error("the method would need more than {0} bytes of memory; use a smaller canvas")]
    Memory(usize),
    /// It could not be made.
    #[error("cannot make {method}: {reason}")]
    Make {
        /// The method.
        method: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// The candidates, and which of them was probably meant.
pub(crate) fn advice<'a>(given: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> String {
    let close = candidates
        .clone()
        .map(|candidate| (distance(given, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= 2.min(candidate.len() / 2) || candidate.starts_with(given)
        })
        .min();
    match close {
        Some((_, meant)) if !given.is_empty() => format!("did you mean {meant}?"),
        _ => match candidates.collect::<Vec<_>>().join(", ") {
            all if all.is_empty() => "it takes none".to_owned(),
            all => format!("there are {all}"),
        },
    }
}

/// Characters to change, insert or delete.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = replaced.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{advice, distance};

    #[test]
    fn distances() {
        assert_eq!((distance("", "abc"), distance("abc", "")), (3, 3));
        assert_eq!((distance("treshold", "threshold"), distance("kitten", "sitting")), (1, 3));
    }

    #[test]
    fn advice_names_what_was_meant() {
        let names = ["threshold", "factor", "eb"];
        assert_eq!(advice("treshold", names.into_iter()), "did you mean threshold?");
        assert_eq!(advice("fac", names.into_iter()), "did you mean factor?");
        assert_eq!(advice("xyz", names.into_iter()), "there are threshold, factor, eb");
        assert_eq!(advice("x", [].into_iter()), "it takes none");
    }
}
