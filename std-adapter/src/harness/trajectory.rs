//! How long two decodes of the same prompt go the same way.

/// A token placed at a position.
pub type Placed = (u32, u32);

/// The steps of two decodes, each the tokens it placed by ascending position: how many tokens they place
/// alike before the first step in which they differ, and how many the longer one places in all.
#[must_use]
pub fn agreement(a: &[Vec<Placed>], b: &[Vec<Placed>]) -> (usize, usize) {
    let alike = a.iter().zip(b).take_while(|(a, b)| a == b).map(|(step, _)| step.len()).sum();
    let all = |steps: &[Vec<Placed>]| steps.iter().map(Vec::len).sum::<usize>();
    (alike, all(a).max(all(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_ends_where_steps_differ() {
        let a = [vec![(0, 5)], vec![(1, 6), (2, 7)], vec![(3, 8)]];
        assert_eq!(agreement(&a, &a), (4, 4));
        let mut b = a.to_vec();
        b[1][1].1 = 9;
        // What is the same again afterwards does not count: it was decided given something else.
        assert_eq!(agreement(&a, &b), (1, 4));
        assert_eq!(agreement(&a, &a[..2]), (3, 4));
        assert_eq!(agreement(&[], &a), (0, 4));
    }
}
