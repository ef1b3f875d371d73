//! Letters, numbers and white space, by Unicode 16.0.0.
//!
//! Token ids must not change with the compiler, so the tables are our own and not those behind
//! `char::is_alphabetic`. `unicode_tables.rs` is generated; `std-adapter/tests/readers/tokenizer_unicode.rs`
//! writes it and checks every code point against the crate `regex-syntax`.

use super::unicode_tables::{LETTER, NUMBER};

/// A set of code points, as the byte lengths of the gaps and runs that alternate through it.
pub(super) struct Ranges {
    /// Per range: how far it starts after the end of the one before, and how long it is. Each is a
    /// LEB128 number (7 bits a byte, lowest first, the top bit says that more follow).
    pub(super) deltas: &'static [u8],
    /// Entry points, one per 32 ranges, so that a look-up need not walk from the start: the end of
    /// the range before, and where in `deltas` to go on.
    pub(super) anchors: &'static [(u32, u16)],
}

impl Ranges {
    fn contains(&self, c: char) -> bool {
        let code = u32::from(c);
        let Some(&(mut end, at)) = self.anchors.iter().rev().find(|(end, _)| *end <= code) else {
            return false;
        };
        let mut deltas = self.deltas.get(usize::from(at)..).unwrap_or_default().iter();
        while let (Some(gap), Some(length)) = (leb128(&mut deltas), leb128(&mut deltas)) {
            let start = end.wrapping_add(gap);
            end = start.wrapping_add(length);
            if code < end {
                return code >= start;
            }
        }
        false
    }
}

fn leb128(bytes: &mut core::slice::Iter<'_, u8>) -> Option<u32> {
    let mut value = 0;
    // A code point has 21 bits: three bytes at most.
    for shift in [0, 7, 14] {
        let byte = *bytes.next()?;
        value |= u32::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            break;
        }
    }
    Some(value)
}

/// What the pre-tokenizer needs to know about a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// General category L, `\p{L}`.
    Letter,
    /// General category N, `\p{N}`.
    Number,
    /// The property White_Space, `\s`.
    Space,
    /// Everything else.
    Other,
}

/// The class of a character.
///
/// ```
/// use demask::text::unicode::{Class, class};
///
/// assert_eq!(class('é'), Class::Letter);
/// assert_eq!(class('½'), Class::Number);
/// assert_eq!(class('\u{3000}'), Class::Space);
/// assert_eq!(class('€'), Class::Other);
/// ```
#[must_use]
pub fn class(c: char) -> Class {
    match c {
        'a'..='z' | 'A'..='Z' => Class::Letter,
        '0'..='9' => Class::Number,
        // White_Space has had these 25 members since Unicode 6.3.
        '\t'..='\r'
        | ' '
        | '\u{85}'
        | '\u{A0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200A}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{202F}'
        | '\u{205F}'
        | '\u{3000}' => Class::Space,
        '\0'..='\u{7F}' => Class::Other,
        _ if LETTER.contains(c) => Class::Letter,
        _ if NUMBER.contains(c) => Class::Number,
        _ => Class::Other,
    }
}
