//! List tasks as text: `insert-index 2 "Q" ["A", "B"]`, answered by `["A", "B", "Q"]`.
//!
//! The waiting-line tasks of ParallelBench (arXiv 2510.04767), with its answer sets and its parsers. The
//! lenient parser reads any list; the strict one wants the form to the letter.

use crate::harness::lists::{Answers, FIRST_ITEM, ListTask};
use demask::decode::philox4x32;
use serde::{Deserialize, Serialize};

/// Longest list of a task.
const MAX_ITEMS: usize = 1000;
/// Characters that would end an item, or the list.
const RESERVED: [char; 4] = ['"', '[', ']', ','];
/// Letters that generated items are.
const LETTERS: std::ops::RangeInclusive<u8> = b'A'..=b'Z';

/// A line of a task file. `item` and `index` stand where the task takes them, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListLine {
    task: String,
    list: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    item: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
}

/// What to do with which list, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuestion {
    task: ListTask,
    line: ListLine,
    /// All items in order; an item's number is that of its token.
    sorted: Vec<String>,
}

impl ListQuestion {
    /// Checks a line.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn new(line: ListLine) -> Result<Self, String> {
        let task: ListTask =
            line.task.parse().map_err(|e: crate::harness::lists::UnknownTask| e.to_string())?;
        let n = line.list.len();
        let least = if task == ListTask::Shuffle { 2 } else { 1 };
        if !(least..=MAX_ITEMS).contains(&n) {
            return Err(format!(
                "{task} takes lists of {least} to {MAX_ITEMS} items, and this has {n}"
            ));
        }
        if task.takes_item() != line.item.is_some() {
            let does = if task.takes_item() { "takes an" } else { "takes no" };
            return Err(format!("{task} {does} \"item\""));
        }
        if task.takes_index() != line.index.is_some() {
            let does = if task.takes_index() { "takes an" } else { "takes no" };
            return Err(format!("{task} {does} \"index\""));
        }
        let places = if task == ListTask::InsertIndex { n + 1 } else { n };
        if let Some(index) = line.index.filter(|index| *index >= places) {
            return Err(format!("index {index} is outside of the list; indices count from 0"));
        }
        let mut sorted: Vec<String> = line.list.iter().chain(&line.item).cloned().collect();
        let bad =
            |item: &&String| item.is_empty() || item.contains(RESERVED) || item.trim() != **item;
        if let Some(item) = sorted.iter().find(bad) {
            return Err(format!(
                "item {item:?} is empty, has space around it, or one of {}",
                RESERVED.map(String::from).join(" ")
            ));
        }
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("item {:?} is there twice", pair[0]));
        }
        Ok(Self { task, line, sorted })
    }

    /// A question about `n` different letters, the same for the same seed everywhere. The letters, their
    /// order, item and index are uniform. There are 26 letters: `None` if that is too few, or `n` is.
    #[must_use]
    pub fn generate(task: ListTask, n: usize, seed: u64) -> Option<Self> {
        let mut letters: Vec<String> =
            LETTERS.map(|letter| char::from(letter).to_string()).collect();
        let prompt = task.prompt(n, seed);
        for at in 0..letters.len().saturating_sub(1) {
            // The prompt draws from counters whose second word is 0.
            let [word, ..] = philox4x32([at as u32, 1, 0, 0], [seed as u32, (seed >> 32) as u32]);
            let below = letters.len() - at;
            letters.swap(at, at + ((u64::from(word) * below as u64) >> 32) as usize);
        }
        let letter = |token: &u32| letters.get(token.checked_sub(FIRST_ITEM)? as usize).cloned();
        let index = if task.takes_index() { prompt.last() } else { None };
        let line = ListLine {
            task: task.name().to_owned(),
            list: prompt.get(..n)?.iter().map(letter).collect::<Option<_>>()?,
            item: if task.takes_item() { Some(letter(prompt.get(n)?)?) } else { None },
            index: index.map(|token| (token - FIRST_ITEM) as usize),
        };
        Self::new(line).ok()
    }

    /// What is to be done.
    #[must_use]
    pub fn task(&self) -> ListTask {
        self.task
    }

    /// The line of a task file.
    #[must_use]
    pub fn line(&self) -> &ListLine {
        &self.line
    }

    /// What is asked: the task's name, then index and item where it takes them, then the list.
    #[must_use]
    pub fn prompt(&self) -> String {
        let ListLine { list, item, index, .. } = &self.line;
        let mut words = vec![self.task.to_string()];
        words.extend(index.map(|index| index.to_string()));
        words.extend(item.as_ref().map(|item| format!("\"{item}\"")));
        words.push(written(list));
        words.join(" ")
    }

    /// One of the right answers: the first, or for `shuffle` the list begun at its second item.
    #[must_use]
    pub fn answer(&self) -> String {
        match self.answers() {
            Answers::Orders(_) => {
                let mut list = self.line.list.clone();
                list.rotate_left(1);
                written(&list)
            }
            Answers::These(all) => {
                let tokens = all.first().map_or(&[][..], Vec::as_slice);
                let item =
                    |token: &u32| self.sorted.get(token.checked_sub(FIRST_ITEM)? as usize).cloned();
                written(&tokens.iter().filter_map(item).collect::<Vec<_>>())
            }
        }
    }

    fn answers(&self) -> Answers {
        let mut prompt: Vec<u32> =
            self.line.list.iter().chain(&self.line.item).map(|i| self.token(i)).collect();
        prompt.extend(self.line.index.map(|index| FIRST_ITEM + index as u32));
        self.task.answers(self.line.list.len(), &prompt)
    }

    fn token(&self, item: &str) -> u32 {
        let number = self.sorted.binary_search_by(|other| other.as_str().cmp(item));
        number.map_or(u32::MAX, |number| FIRST_ITEM + number as u32)
    }

    fn is_right(&self, found: &[&str]) -> bool {
        let tokens: Vec<u32> = found.iter().map(|item| self.token(item)).collect();
        // What comes out of a shuffle must not be what went in.
        let moved = self.task != ListTask::Shuffle || found.iter().ne(self.line.list.iter());
        moved && self.answers().contain(&tokens)
    }

    /// Whether a text is a right answer, and whether it is when read leniently.
    #[must_use]
    pub fn judge(&self, text: &str) -> (bool, bool) {
        let right = |found: Option<Vec<&str>>| found.is_some_and(|found| self.is_right(&found));
        (right(strict(text)), right(lenient(text)))
    }
}

/// A list as prompts and answers write it.
fn written(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", items.join(", "))
}

/// The items of a text that is a list and nothing else: both brackets, items in double quotes without
/// others inside, a comma and a space between them.
fn strict(text: &str) -> Option<Vec<&str>> {
    let inside = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    if inside.is_empty() {
        return Some(Vec::new());
    }
    let items = inside.split(", ").map(|quoted| quoted.strip_prefix('"')?.strip_suffix('"'));
    items.collect::<Option<Vec<_>>>().filter(|items| !items.iter().any(|item| item.contains('"')))
}

/// The items between the last `[` and the next `]`, or the end: cut at commas, without space and quotes
/// around them, empty ones left out.
fn lenient(text: &str) -> Option<Vec<&str>> {
    let (_, rest) = text.rsplit_once('[')?;
    let inside = rest.split_once(']').map_or(rest, |(inside, _)| inside);
    let items = inside.split(',').map(|item| item.trim_matches([' ', '"']));
    Some(items.filter(|item| !item.is_empty()).collect())
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
