//! Cuts a text into the words that are merged one by one.
//!
//! The patterns are one family, which GPT-2 began: a contraction, letters, numbers, other
//! characters, or white space. [`Rules`] has what sets them apart. Each choice is made by the next
//! character or two; nothing is ever tried and taken back.

use super::TokenizerError;
use super::unicode::{Class, class};

/// How a text is cut into words: the pattern of a model family.
///
/// Those other than GPT-2's need the cargo feature `families`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PreTokenizer {
    /// GPT-2 and what kept its vocabulary (MDLM, BD3-LM):
    ///
    /// ```text
    /// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    /// ```
    #[default]
    Gpt2,
    /// Qwen 2 and 3, and so Dream, Fast-dLLM and SDAR; LLaDA spells the same pattern another way:
    ///
    /// ```text
    /// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}
    /// | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
    /// ```
    #[cfg(feature = "families")]
    Qwen2,
    /// Llama 3: as [`Qwen2`](Self::Qwen2), with up to three digits in a word (`\p{N}{1,3}`).
    #[cfg(feature = "families")]
    Llama3,
}

/// What sets the patterns apart.
struct Rules {
    /// Contractions count in any case: `(?i:'s)`, which takes `'S` and `'ſ`.
    any_case: bool,
    /// Any character but a line end leads the letters after it: `[^\r\n\p{L}\p{N}]?\p{L}+`.
    /// Otherwise only a space does, and it leads numbers as well.
    any_lead: bool,
    /// Line ends join the characters before them: `[\r\n]*` behind punctuation, `\s*[\r\n]+`.
    line_ends: bool,
    /// The most digits in a word.
    digits: usize,
}

impl PreTokenizer {
    /// The pattern that a header word stands for.
    pub(super) fn from_id(id: u32) -> Result<Self, TokenizerError> {
        match id {
            1 => Ok(Self::Gpt2),
            #[cfg(feature = "families")]
            2 => Ok(Self::Qwen2),
            #[cfg(feature = "families")]
            3 => Ok(Self::Llama3),
            #[cfg(not(feature = "families"))]
            2 | 3 => Err(TokenizerError::Families),
            _ => Err(TokenizerError::PreTokenizer(id)),
        }
    }

    /// The header word, for writers.
    #[must_use]
    pub const fn id(self) -> u32 {
        match self {
            Self::Gpt2 => 1,
            #[cfg(feature = "families")]
            Self::Qwen2 => 2,
            #[cfg(feature = "families")]
            Self::Llama3 => 3,
        }
    }

    const fn rules(self) -> Rules {
        match self {
            Self::Gpt2 => {
                Rules { any_case: false, any_lead: false, line_ends: false, digits: usize::MAX }
            }
            #[cfg(feature = "families")]
            Self::Qwen2 => Rules { any_case: true, any_lead: true, line_ends: true, digits: 1 },
            #[cfg(feature = "families")]
            Self::Llama3 => Rules { digits: 3, ..Self::Qwen2.rules() },
        }
    }
}

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

/// The words of a text. Every pattern matches everywhere, so the words put together are the text
/// again.
///
/// ```
/// use demask::text::{PreTokenizer, Words};
///
/// let words = |pre| Words::new("It's  10 km!", pre, false).map(|word| word.text);
/// let gpt2: Vec<&str> = words(PreTokenizer::Gpt2).collect();
/// assert_eq!(gpt2, ["It", "'s", " ", " 10", " km", "!"]);
/// ```
#[derive(Clone, Debug)]
pub struct Words<'t> {
    rest: &'t str,
    /// A space that is not in `rest` stands before it.
    space: bool,
    pre: PreTokenizer,
}

impl<'t> Words<'t> {
    /// The words of `text`; `add_prefix_space` reads a text that does not start with a space (and
    /// is not empty) as if it did.
    #[must_use]
    pub fn new(text: &'t str, pre: PreTokenizer, add_prefix_space: bool) -> Self {
        let space = add_prefix_space && !text.is_empty() && !text.starts_with(' ');
        Self { rest: text, space, pre }
    }
}

impl<'t> Iterator for Words<'t> {
    type Item = Word<'t>;

    fn next(&mut self) -> Option<Word<'t>> {
        let space = core::mem::take(&mut self.space);
        let mut chars = self.rest.chars();
        let first = if space { ' ' } else { chars.next()? };
        let joined = self.pre.rules().joined(first, chars.as_str());
        let length = self.rest.len() - chars.as_str().len() + joined;
        // The length always falls between two characters; taking all is the way not to panic.
        let (text, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(Word { space, text })
    }
}

impl Rules {
    /// How many bytes of `rest` are in one word with the character before them.
    fn joined(&self, first: char, rest: &str) -> usize {
        let next = rest.chars().next().map(class);
        match class(first) {
            Class::Letter => run(rest, Class::Letter, usize::MAX),
            Class::Number => run(rest, Class::Number, self.digits.saturating_sub(1)),
            _ if first == '\''
                && let Some(length) = self.contraction(rest) =>
            {
                length
            }
            _ if next == Some(Class::Letter) && self.leads_letters(first) => {
                run(rest, Class::Letter, usize::MAX)
            }
            _ if next == Some(Class::Number) && first == ' ' && !self.any_lead => {
                run(rest, Class::Number, self.digits)
            }
            Class::Space if first != ' ' || next != Some(Class::Other) => self.spaces(first, rest),
            _ => self.others(rest),
        }
    }

    fn leads_letters(&self, first: char) -> bool {
        first == ' ' || (self.any_lead && !is_line_end(first))
    }

    /// Length of the rest of an English contraction, after its apostrophe.
    fn contraction(&self, text: &str) -> Option<usize> {
        ["s", "t", "re", "ve", "m", "ll", "d"].into_iter().find_map(|ending| {
            let mut chars = text.chars();
            let same =
                ending.chars().all(|c| chars.next().map(|found| self.folded(found)) == Some(c));
            same.then(|| text.len() - chars.as_str().len())
        })
    }

    /// A character of a contraction as it is compared. Among the letters of contractions only s has
    /// a further form: the long ſ.
    fn folded(&self, c: char) -> char {
        match c {
            'ſ' if self.any_case => 's',
            _ if self.any_case => c.to_ascii_lowercase(),
            _ => c,
        }
    }

    /// Length of the characters of no class, and of the line ends that they take with them.
    fn others(&self, text: &str) -> usize {
        let others = run(text, Class::Other, usize::MAX);
        let behind = text.get(others..).unwrap_or_default();
        let line_ends = behind.bytes().take_while(|&byte| is_line_end(char::from(byte)));
        others + if self.line_ends { line_ends.count() } else { 0 }
    }

    /// How much of the white space at the start of `text` joins the white space `first` before it.
    fn spaces(&self, first: char, text: &str) -> usize {
        let all = run(text, Class::Space, usize::MAX);
        let spaces = text.get(..all).unwrap_or(text);
        if self.line_ends {
            // `\s*[\r\n]+` takes all of it up to the last line end.
            if let Some(last) = spaces.bytes().rposition(|byte| is_line_end(char::from(byte))) {
                return last + 1;
            }
            if is_line_end(first) {
                return 0;
            }
        }
        // `\s+(?!\S)` takes all of it before the end of the text, and leaves its last character
        // (which may belong to the next word) before anything else.
        match all == text.len() {
            true => all,
            false => all.saturating_sub(spaces.chars().next_back().map_or(0, char::len_utf8)),
        }
    }
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// Length of the characters of one class at the start of `text`, `most` of them at most.
fn run(text: &str, kind: Class, most: usize) -> usize {
    text.chars().take(most).take_while(|&c| class(c) == kind).map(char::len_utf8).sum()
}
