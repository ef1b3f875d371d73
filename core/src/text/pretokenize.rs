//! Cuts a text into the words that are merged one by one.

use super::unicode::{Class, class};

/// One word: `text`, after a space that is not part of the text where `space` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'t> {
    /// The word starts with a space that `add_prefix_space` puts in front of the text.
    pub space: bool,
    /// The part of the text that the word covers; empty only when `space` is set.
    pub text: &'t str,
}

impl<'t> Word<'t> {
    /// The bytes of the word, in order.
    pub fn bytes(self) -> impl Iterator<Item = u8> + 't {
        self.space.then_some(b' ').into_iter().chain(self.text.bytes())
    }

    /// The number of bytes.
    #[must_use]
    pub fn byte_len(self) -> usize {
        self.text.len() + usize::from(self.space)
    }
}

/// The words of a text, as GPT-2's pattern finds them:
///
/// ```text
/// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
/// ```
///
/// The pattern matches everywhere, so the words put together are the text again. Each alternative
/// is decided by the next character or two; nothing is ever tried and taken back.
///
/// ```
/// use demask::text::Gpt2Words;
///
/// let words: Vec<&str> = Gpt2Words::new("It's  10 km!", false).map(|word| word.text).collect();
/// assert_eq!(words, ["It", "'s", " ", " 10", " km", "!"]);
/// ```
#[derive(Clone, Debug)]
pub struct Gpt2Words<'t> {
    rest: &'t str,
    /// A space that is not in `rest` stands before it.
    space: bool,
}

impl<'t> Gpt2Words<'t> {
    /// The words of `text`; `add_prefix_space` reads a text that does not start with a space (and
    /// is not empty) as if it did.
    #[must_use]
    pub fn new(text: &'t str, add_prefix_space: bool) -> Self {
        let space = add_prefix_space && !text.is_empty() && !text.starts_with(' ');
        Self { rest: text, space }
    }
}

impl<'t> Iterator for Gpt2Words<'t> {
    type Item = Word<'t>;

    fn next(&mut self) -> Option<Word<'t>> {
        let space = core::mem::take(&mut self.space);
        if self.rest.is_empty() && !space {
            return None;
        }
        let length = if space { after_space(self.rest) } else { word_length(self.rest) };
        // The length always falls between two characters; taking all is the way not to panic.
        let (text, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(Word { space, text })
    }
}

/// Length in bytes of the word at the start of a text.
fn word_length(text: &str) -> usize {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return 0 };
    let rest = chars.as_str();
    match class(first) {
        _ if first == ' ' => first.len_utf8() + after_space(rest),
        Class::Space => first.len_utf8() + more_spaces(rest),
        Class::Other if first == '\'' => {
            contraction(rest).unwrap_or_else(|| run(text, Class::Other))
        }
        kind => run(text, kind),
    }
}

/// Length of what joins a plain space that stands before `text` (not counting that space).
fn after_space(text: &str) -> usize {
    match text.chars().next().map(class) {
        None => 0,
        Some(Class::Space) => more_spaces(text),
        Some(kind) => run(text, kind),
    }
}

/// How much of the white space at the start of `text` joins the white space before it:
/// `\s+(?!\S)` takes all of it before the end of the text, and leaves its last character (which
/// may belong to the next word) before anything else.
fn more_spaces(text: &str) -> usize {
    let mut last = 0;
    for (at, c) in text.char_indices() {
        if class(c) != Class::Space {
            return last;
        }
        last = at;
    }
    text.len()
}

/// Length of the characters of one class at the start of `text`.
fn run(text: &str, kind: Class) -> usize {
    text.char_indices().find(|&(_, c)| class(c) != kind).map_or(text.len(), |(at, _)| at)
}

/// Length of an English contraction, with its apostrophe, when `text` follows an apostrophe.
fn contraction(text: &str) -> Option<usize> {
    let ending = ["s", "t", "re", "ve", "m", "ll", "d"].into_iter().find(|e| text.starts_with(e));
    ending.map(|ending| 1 + ending.len())
}
