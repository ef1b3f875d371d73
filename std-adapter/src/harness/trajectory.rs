//! How long two decodes of the same prompt go the same way.

/// A token placed at a position.
pub type Placed = (u32, u32);

/// The steps of two decodes, each the tokens it placed by ascending position: how many tokens they place
/// alike up to the first step in which they differ, that step included, and how many the longer one places
/// in all. Until then both have decided on the same canvases.
#[must_use]
pub fn agreement(a: &[Vec<Placed>], b: &[Vec<Placed>]) -> (usize, usize) {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let before: usize = a.iter().take(same).map(Vec::len).sum();
    let common = match (a.get(same), b.get(same)) {
        (Some(a), Some(b)) => a.iter().filter(|placed| b.contains(placed)).count(),
        _ => 0,
    };
    let all = |steps: &[Vec<Placed>]| steps.iter().map(Vec::len).sum::<usize>();
    (before + common, all(a).max(all(b)))
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
        assert_eq!(agreement(&a, &b), (2, 4));
        assert_eq!(agreement(&a, &a[..2]), (3, 4));
        assert_eq!(agreement(&[], &a), (0, 4));
    }
}
