//! The added tokens: found in a text before it is cut into words, and given ids of their own.

use std::collections::HashMap;

use serde::Deserialize;

use super::model::place;
use super::{Result, invalid, unsupported};

#[derive(Deserialize)]
pub(super) struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

/// Puts the added tokens among the pieces; returns the ids of special and of ordinary ones.
pub(super) fn place_all(
    added: &[AddedToken],
    nfc: bool,
    vocab: &HashMap<String, u32>,
    pieces: &mut Vec<Vec<u8>>,
) -> Result<(Vec<u32>, Vec<u32>)> {
    check_passes(added)?;
    let (mut specials, mut ordinary) = (Vec::new(), Vec::new());
    for (index, token) in added.iter().enumerate() {
        let field = format!("added_tokens[{index}]");
        for (name, found) in [
            ("single_word", token.single_word),
            ("lstrip", token.lstrip),
            ("rstrip", token.rstrip),
            // Looked for in the normalized text, where there is a normalizer.
            ("normalized", token.normalized && nfc),
        ] {
            if found {
                return Err(unsupported(&format!("{field}.{name}"), &true.into(), "false"));
            }
        }
        match vocab.get(&token.content) {
            Some(&id) if id == token.id => pieces[id as usize].clear(),
            Some(id) => return Err(invalid(field, format!("model.vocab gives it id {id}"))),
            None => {}
        }
        place(pieces, token.id, token.content.as_bytes().to_vec())
            .map_err(|reason| invalid(field, reason))?;
        if token.special { &mut specials } else { &mut ordinary }.push(token.id);
    }
    Ok((specials, ordinary))
}

/// Hugging Face looks for added tokens twice: first for those that are not `normalized`, then, in
/// what is left, for the others. One search finds the same where no token of one kind can share
/// characters with one of the other.
fn check_passes(added: &[AddedToken]) -> Result<()> {
    const MAX_COMPARISONS: usize = 1 << 20;
    let (second, first): (Vec<_>, Vec<_>) = added.iter().partition(|token| token.normalized);
    let lengths = |tokens: &[&AddedToken]| tokens.iter().map(|token| token.content.len()).sum();
    let (a, b): (usize, usize) = (lengths(&first), lengths(&second));
    let clash = a.saturating_mul(b) > MAX_COMPARISONS
        || first.iter().any(|a| second.iter().any(|b| share(&a.content, &b.content)));
    match clash {
        true => Err(unsupported("added_tokens[..].normalized", &"mixed".into(), "all alike")),
        false => Ok(()),
    }
}

/// Whether occurrences of two strings can overlap.
fn share(a: &str, b: &str) -> bool {
    let ends_in = |a: &str, b: &str| {
        a.char_indices().any(|(at, _)| b.starts_with(&a[at..]) || a[at..].starts_with(b))
    };
    ends_in(a, b) || ends_in(b, a)
}
