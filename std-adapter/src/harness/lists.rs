//! List tasks whose right answers can all be written down: what to do with a list, and what is right.
//!
//! They are the waiting-line tasks of ParallelBench (arXiv 2510.04767) on tokens instead of names. Tokens
//! are [`EOS`], [`MASK`], and items from [`FIRST_ITEM`] on.
//!
//! | task | prompt | right answers |
//! |---|---|---|
//! | `copy` | list | the list |
//! | `reverse` | list | the list from its end |
//! | `sort` | list | ascending |
//! | `shuffle` | list | every order; the input's too, unlike the benchmark |
//! | `insert-index` | list, item, index | the item before the index |
//! | `insert-random` | list, item | the item anywhere |
//! | `remove-index` | list, index | without that one |
//! | `remove-random` | list | without any one |
//! | `replace-index` | list, item, index | the item at the index |
//! | `replace-random` | list, item | the item at any index |
//!
//! An index is written as the item token of that number.

use demask::decode::philox4x32;
use std::fmt;
use std::str::FromStr;

/// Ends a text.
pub const EOS: u32 = 0;
/// Stands for "not yet decided".
pub const MASK: u32 = 1;
/// The first token that stands for an item.
pub const FIRST_ITEM: u32 = 2;

/// What to do with a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListTask {
    /// The list itself.
    Copy,
    /// From its end.
    Reverse,
    /// Ascending.
    Sort,
    /// In any order.
    Shuffle,
    /// One more item, before an index.
    InsertIndex,
    /// One more item, anywhere.
    InsertRandom,
    /// Without the item at an index.
    RemoveIndex,
    /// Without any one item.
    RemoveRandom,
    /// Another item at an index.
    ReplaceIndex,
    /// Another item at any index.
    ReplaceRandom,
}

impl ListTask {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Copy,
        Self::Reverse,
        Self::Sort,
        Self::Shuffle,
        Self::InsertIndex,
        Self::InsertRandom,
        Self::RemoveIndex,
        Self::RemoveRandom,
        Self::ReplaceIndex,
        Self::ReplaceRandom,
    ];

    /// Name as the command line spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Reverse => "reverse",
            Self::Sort => "sort",
            Self::Shuffle => "shuffle",
            Self::InsertIndex => "insert-index",
            Self::InsertRandom => "insert-random",
            Self::RemoveIndex => "remove-index",
            Self::RemoveRandom => "remove-random",
            Self::ReplaceIndex => "replace-index",
            Self::ReplaceRandom => "replace-random",
        }
    }

    /// Tokens of the prompt for a list of `n` items.
    #[must_use]
    pub const fn prompt_len(self, n: usize) -> usize {
        n + self.takes_item() as usize + self.takes_index() as usize
    }

    /// Tokens of the answer.
    #[must_use]
    pub const fn answer_len(self, n: usize) -> usize {
        match self {
            Self::InsertIndex | Self::InsertRandom => n + 1,
            Self::RemoveIndex | Self::RemoveRandom => n.saturating_sub(1),
            _ => n,
        }
    }

    /// Whether its prompt names one more item.
    #[must_use]
    pub const fn takes_item(self) -> bool {
        matches!(
            self,
            Self::InsertIndex | Self::InsertRandom | Self::ReplaceIndex | Self::ReplaceRandom
        )
    }

    /// Whether its prompt names an index.
    #[must_use]
    pub const fn takes_index(self) -> bool {
        matches!(self, Self::InsertIndex | Self::RemoveIndex | Self::ReplaceIndex)
    }

    /// A prompt of `n` different items, the same for the same seed. Item and index are uniform.
    #[must_use]
    pub fn prompt(self, n: usize, seed: u64) -> Vec<u32> {
        let mut items: Vec<u32> = (FIRST_ITEM..).take(n + 1).collect();
        let below = |bound: usize, draw: usize| {
            let [word, ..] = philox4x32([draw as u32, 0, 0, 0], [seed as u32, (seed >> 32) as u32]);
            ((u64::from(word) * bound as u64) >> 32) as usize
        };
        for last in (1..items.len()).rev() {
            items.swap(last, below(last + 1, last));
        }
        items.truncate(n + usize::from(self.takes_item()));
        if self.takes_index() {
            let places = if self == Self::InsertIndex { n + 1 } else { n };
            items.push(FIRST_ITEM + below(places, 0) as u32);
        }
        items
    }

    /// What is right for a prompt about a list of `n` items. An index behind the list is its end.
    #[must_use]
    pub fn answers(self, n: usize, prompt: &[u32]) -> Answers {
        let (list, rest) = prompt.split_at_checked(n).unwrap_or((prompt, &[]));
        let item = rest.first().copied().unwrap_or(EOS);
        let at = rest.last().map_or(0, |index| index.saturating_sub(FIRST_ITEM) as usize);
        let last = list.len().saturating_sub(1);
        let with = |change: &dyn Fn(&mut Vec<u32>)| {
            let mut answer = list.to_vec();
            change(&mut answer);
            answer
        };
        let insert = |at: usize| with(&|list| list.insert(at.min(list.len()), item));
        let remove = |at: usize| with(&|list| drop(list.drain(at..list.len().min(at + 1))));
        let replace =
            |at: usize| with(&|list| list.iter_mut().skip(at).take(1).for_each(|t| *t = item));
        Answers::These(match self {
            Self::Shuffle => return Answers::Orders(list.to_vec()),
            Self::Copy => vec![list.to_vec()],
            Self::Reverse => vec![with(&|list| list.reverse())],
            Self::Sort => vec![with(&|list| list.sort_unstable())],
            Self::InsertIndex => vec![insert(at)],
            Self::InsertRandom => (0..=list.len()).map(insert).collect(),
            Self::RemoveIndex => vec![remove(at.min(last))],
            Self::RemoveRandom => (0..list.len()).map(remove).collect(),
            Self::ReplaceIndex => vec![replace(at.min(last))],
            Self::ReplaceRandom => (0..list.len()).map(replace).collect(),
        })
    }
}

impl fmt::Display for ListTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No list task is called that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no list task `{0}`; there are {names}", names = ListTask::ALL.map(ListTask::name).join(", "))]
pub struct UnknownTask(String);

impl FromStr for ListTask {
    type Err = UnknownTask;

    fn from_str(name: &str) -> Result<Self, UnknownTask> {
        let task = Self::ALL.into_iter().find(|task| task.name() == name);
        task.ok_or_else(|| UnknownTask(name.to_owned()))
    }
}

/// All right answers to one prompt, each as probable as the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answers {
    /// One of these, all of the same length.
    These(Vec<Vec<u32>>),
    /// These items in any order.
    Orders(Vec<u32>),
}

impl Answers {
    /// Tokens of an answer.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::These(answers) => answers.first().map_or(0, Vec::len),
            Self::Orders(items) => items.len(),
        }
    }

    /// Whether an answer is right.
    #[must_use]
    pub fn contain(&self, answer: &[u32]) -> bool {
        let sorted = |list: &[u32]| {
            let mut list = list.to_vec();
            list.sort_unstable();
            list
        };
        match self {
            Self::These(answers) => answers.iter().any(|right| right == answer),
            Self::Orders(items) => sorted(items) == sorted(answer),
        }
    }

    /// The distribution of the token at index `at` given the tokens that stand elsewhere in `canvas`,
    /// which may hold masks: tokens with weights. What stands at `at` itself does not count.
    ///
    /// What stands elsewhere may be wrong already. Then the answers count that agree with most of it; for
    /// orders, the items that are not used up.
    #[must_use]
    pub fn conditional(&self, canvas: &[u32], at: usize) -> Vec<(u32, f64)> {
        let elsewhere =
            || canvas.iter().enumerate().filter(|(i, token)| *i != at && **token != MASK);
        match self {
            Self::Orders(items) => {
                let mut left = items.clone();
                for (_, token) in elsewhere() {
                    if let Some(used) = left.iter().position(|item| item == token) {
                        left.swap_remove(used);
                    }
                }
                left.into_iter().map(|token| (token, 1.0)).collect()
            }
            Self::These(answers) => {
                let agreement = |answer: &Vec<u32>| {
                    elsewhere().filter(|(i, token)| answer.get(*i) == Some(token)).count()
                };
                let most = answers.iter().map(agreement).max();
                let possible = answers.iter().filter(|answer| Some(agreement(answer)) == most);
                possible.filter_map(|answer| Some((*answer.get(at)?, 1.0))).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right() {
        let one = |task: ListTask, prompt: &[u32]| match task.answers(3, prompt) {
            Answers::These(answers) if answers.len() == 1 => answers[0].clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(one(ListTask::Copy, &[7, 3, 5]), [7, 3, 5]);
        assert_eq!(one(ListTask::Reverse, &[7, 3, 5]), [5, 3, 7]);
        assert_eq!(one(ListTask::Sort, &[7, 3, 5]), [3, 5, 7]);
        assert_eq!(one(ListTask::InsertIndex, &[7, 3, 5, 9, 2]), [9, 7, 3, 5]);
        assert_eq!(one(ListTask::InsertIndex, &[7, 3, 5, 9, 5]), [7, 3, 5, 9]);
        assert_eq!(one(ListTask::RemoveIndex, &[7, 3, 5, 3]), [7, 5]);
        assert_eq!(one(ListTask::ReplaceIndex, &[7, 3, 5, 9, 4]), [7, 3, 9]);
        let these = |task: ListTask, prompt: &[u32]| match task.answers(3, prompt) {
            Answers::These(answers) => answers,
            other => panic!("{other:?}"),
        };
        let with_9 = [[9, 7, 3, 5], [7, 9, 3, 5], [7, 3, 9, 5], [7, 3, 5, 9]];
        assert_eq!(these(ListTask::InsertRandom, &[7, 3, 5, 9]), with_9);
        assert_eq!(these(ListTask::RemoveRandom, &[7, 3, 5]), [[3, 5], [7, 5], [7, 3]]);
        assert_eq!(
            these(ListTask::ReplaceRandom, &[7, 3, 5, 9]),
            [[9, 3, 5], [7, 9, 5], [7, 3, 9]]
        );
        let orders = ListTask::Shuffle.answers(3, &[7, 3, 5]);
        assert!(orders.contain(&[7, 3, 5]) && orders.contain(&[3, 5, 7]));
        assert!(!orders.contain(&[7, 3, 3]) && !orders.contain(&[7, 3]));
    }

    /// Every conditional against counting: of the right answers that have what is placed, how many have
    /// the token.
    #[test]
    fn conditionals_are_relative_frequencies() {
        let permutations: Vec<Vec<u32>> = (0..256u32)
            .map(|code| (0..4).map(|i| 2 + (code >> (2 * i)) % 4).collect::<Vec<u32>>())
            .filter(|list| (2..6).all(|item| list.contains(&item)))
            .collect();
        assert_eq!(permutations.len(), 24);
        for task in ListTask::ALL {
            let prompt = task.prompt(4, 9);
            let prompt = if task == ListTask::Shuffle { vec![2, 3, 4, 5] } else { prompt };
            let answers = task.answers(4, &prompt);
            let all = match &answers {
                Answers::These(these) => these,
                Answers::Orders(_) => &permutations,
            };
            let length = task.answer_len(4);
            for (answer, places) in all.iter().flat_map(|a| (0..1 << length).map(move |p| (a, p))) {
                let token = |i: usize| if places >> i & 1 == 1 { answer[i] } else { MASK };
                let canvas: Vec<u32> = (0..length).map(token).collect();
                for at in (0..length).filter(|at| canvas[*at] == MASK) {
                    let fits =
                        |a: &&Vec<u32>| (0..length).all(|i| [MASK, a[i]].contains(&canvas[i]));
                    let left: Vec<_> = all.iter().filter(fits).collect();
                    let found = answers.conditional(&canvas, at);
                    let total: f64 = found.iter().map(|(_, weight)| weight).sum();
                    for token in 0..8 {
                        let count = left.iter().filter(|a| a[at] == token).count();
                        let weight = found.iter().filter(|(t, _)| *t == token).map(|(_, w)| w);
                        let (p, q) =
                            (count as f64 / left.len() as f64, weight.sum::<f64>() / total);
                        assert!((p - q).abs() < 1e-12, "{task}: {canvas:?} at {at}: {p} {q}");
                    }
                }
            }
        }
    }

    #[test]
    fn prompts_are_different_items() {
        for task in ListTask::ALL {
            assert_eq!(task.name().parse(), Ok(task));
            let mut firsts = std::collections::BTreeSet::new();
            for seed in 0..100 {
                let prompt = task.prompt(5, seed);
                assert_eq!(prompt.len(), task.prompt_len(5));
                let items = &prompt[..5 + usize::from(task.takes_item())];
                assert!((0..items.len()).all(|i| !items[..i].contains(&items[i])), "{prompt:?}");
                assert!(prompt.iter().all(|token| (FIRST_ITEM..FIRST_ITEM + 6).contains(token)));
                assert_eq!(task.answers(5, &prompt).length(), task.answer_len(5));
                firsts.insert(prompt[0]);
            }
            assert_eq!(firsts.len(), 6, "{task}");
        }
        assert!("copy-cat".parse::<ListTask>().unwrap_err().to_string().contains("shuffle"));
    }

    #[test]
    fn prompts_that_make_no_sense() {
        for (task, prompt) in ListTask::ALL.into_iter().flat_map(|task| {
            [vec![], vec![MASK], vec![5, 5, 5, u32::MAX, u32::MAX]].map(move |p| (task, p))
        }) {
            for n in [0, 1, 3] {
                let answers = task.answers(n, &prompt);
                assert!(answers.conditional(&[MASK, 7, 7], 0).len() < 9);
                assert!(answers.conditional(&[], 9).len() < 9);
            }
        }
    }
}
