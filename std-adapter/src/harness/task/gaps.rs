//! Texts with gaps: which tokens are hidden, and how many of them came back.

use crate::prompt;
use demask::text::{Specials, Tokenizer};
use serde::Deserialize;
use std::ops::Range;

/// A line of a task file: a text, and the ranges of its bytes that are hidden.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GapsLine {
    text: String,
    hide: Vec<(usize, usize)>,
}

/// A text with gaps, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gaps {
    text: String,
    hide: Vec<Range<usize>>,
}

/// The tokens of a text with gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapTokens {
    /// All tokens, as they should come back.
    pub tokens: Vec<u32>,
    /// Those of each gap; two may share a token.
    pub gaps: Vec<Range<usize>>,
}

impl Gaps {
    /// Checks a line.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn new(line: GapsLine) -> Result<Self, String> {
        let GapsLine { text, hide } = line;
        if hide.is_empty() {
            return Err("\"hide\" is empty; name at least one range of bytes".into());
        }
        let mut last = 0;
        for (start, end) in &hide {
            let range = format!("[{start}, {end}]");
            if text.get(*start..*end).is_none_or(str::is_empty) {
                let length = text.len();
                return Err(format!(
                    "{range} is no part of a text of {length} bytes, or cuts a character"
                ));
            }
            if *start < last {
                return Err(format!("{range} is not behind the range before it"));
            }
            last = *end;
        }
        Ok(Self { text, hide: hide.into_iter().map(|(start, end)| start..end).collect() })
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What stands in the gaps, a line each.
    #[must_use]
    pub fn hidden(&self) -> String {
        let parts: Vec<&str> =
            self.hide.iter().filter_map(|range| self.text.get(range.clone())).collect();
        parts.join("\n")
    }

    /// The text as tokens; hidden is each token that has a byte in a gap. Special tokens may be spelled out.
    ///
    /// # Errors
    /// A sentence, if the vocabulary lacks a byte or rewrites texts, so that bytes have no token.
    pub fn tokens(&self, tokenizer: &Tokenizer<'_>) -> Result<GapTokens, String> {
        let tokens =
            prompt::ids_with_specials(tokenizer, &self.text).map_err(|error| error.to_string())?;
        let mut ends = Vec::with_capacity(tokens.len());
        let mut at = 0;
        for &token in &tokens {
            at += tokenizer.piece(token).map_or(0, <[u8]>::len);
            ends.push(at);
        }
        if at != self.text.len() {
            return Err(
                "the model's vocabulary rewrites this text, so that ranges of its bytes cannot be \
                        found among its tokens; use plain letters and single spaces"
                    .into(),
            );
        }
        let span = |range: &Range<usize>| {
            let first = ends.partition_point(|end| *end <= range.start);
            let last = ends.partition_point(|end| *end < range.end);
            first..last + 1
        };
        Ok(GapTokens { tokens, gaps: self.hide.iter().map(span).collect() })
    }
}

impl GapTokens {
    /// Positions of all hidden tokens, ascending.
    #[must_use]
    pub fn hidden(&self) -> Vec<usize> {
        let mut hidden: Vec<usize> = self.gaps.iter().cloned().flatten().collect();
        hidden.sort_unstable();
        hidden.dedup();
        hidden
    }

    /// The canvas to fill.
    #[must_use]
    pub fn masked(&self, mask: u32) -> Vec<u32> {
        let mut canvas = self.tokens.clone();
        for at in self.hidden() {
            if let Some(token) = canvas.get_mut(at) {
                *token = mask;
            }
        }
        canvas
    }

    /// What stands in each gap of a canvas, special tokens spelled out.
    #[must_use]
    pub fn texts(&self, canvas: &[u32], tokenizer: &Tokenizer<'_>) -> Vec<String> {
        let text = |gap: &Range<usize>| {
            let ids = canvas.get(gap.clone()).unwrap_or_default();
            prompt::decode(tokenizer, ids, Specials::Render)
        };
        self.gaps.iter().map(text).collect()
    }

    /// Of a filled canvas: gaps that are right whole, and hidden tokens that are right.
    #[must_use]
    pub fn right(&self, filled: &[u32]) -> (usize, usize) {
        let same = |at: usize| filled.get(at) == self.tokens.get(at);
        let whole = self.gaps.iter().filter(|gap| (*gap).clone().all(same)).count();
        (whole, self.hidden().into_iter().filter(|at| same(*at)).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::LoadedModel;

    fn gaps(line: &str) -> Result<Gaps, String> {
        Gaps::new(serde_json::from_str(line).map_err(|e| e.to_string())?)
    }

    #[test]
    fn tokens_with_a_byte_in_a_gap_are_hidden() {
        let model = LoadedModel::bundled(false).unwrap();
        let tokenizer = model.tokenizer().unwrap();
        let text = " play some jazz on spotify";
        let line = Gaps { text: text.into(), hide: vec![6..10, 16..18] };
        let found = line.tokens(&tokenizer).unwrap();
        assert_eq!(line.hidden(), "some\non");
        let texts = found.texts(&found.tokens, &tokenizer);
        assert!(texts[0].contains("some") && !texts[0].contains("jazz"), "{texts:?}");
        assert!(texts[1].contains("on") && !texts[1].contains("spot"), "{texts:?}");
        let masked = found.masked(1);
        assert_eq!(masked.iter().filter(|t| **t == 1).count(), found.hidden().len());
        assert_eq!(found.right(&found.tokens), (2, found.hidden().len()));
        let mut wrong = found.tokens.clone();
        wrong[found.gaps[1].start] = 0;
        assert_eq!(found.right(&wrong), (1, found.hidden().len() - 1));
        assert_eq!(found.right(&[]), (0, 0));
    }

    #[test]
    fn ranges_that_make_no_sense() {
        for (line, said) in [
            (r#"{"text":"abc","hide":[]}"#, "at least one"),
            (r#"{"text":"abc","hide":[[1,1]]}"#, "no part"),
            (r#"{"text":"abc","hide":[[2,1]]}"#, "no part"),
            (r#"{"text":"abc","hide":[[1,9]]}"#, "3 bytes"),
            (r#"{"text":"é","hide":[[0,1]]}"#, "cuts a character"),
            (r#"{"text":"abc","hide":[[0,2],[1,3]]}"#, "behind"),
            (r#"{"text":"abc","hide":[[0,1,2]]}"#, "2"),
            (r#"{"text":"abc","hide":[[-1,2]]}"#, "invalid"),
        ] {
            assert!(gaps(line).unwrap_err().contains(said), "{line}: {}", gaps(line).unwrap_err());
        }
        assert!(gaps(r#"{"text":"abc","hide":[[0,1],[1,3]]}"#).is_ok());
    }
}
