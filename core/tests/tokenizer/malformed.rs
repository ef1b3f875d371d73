//! Broken tokenizer sections: each gets an error that names the fault, and none a panic.

use crate::fixture::Fixture;
use demask::text::{Specials, Tokenizer, TokenizerError as E, Utf8Stream};

/// Byte offsets in the section of [`small`].
const BYTE_TOKENS: usize = 32;
const OFFSETS: usize = BYTE_TOKENS + 256 * 4;
const MERGES: usize = OFFSETS + 8 * 4;
const SPECIALS: usize = MERGES + 3 * 16;
const BLOB: usize = SPECIALS + 2 * 4;

/// Seven tokens: a, b, ab, aba, abab and two specials, 19 bytes of pieces.
fn small() -> Vec<u8> {
    let mut fixture = Fixture::all_bytes();
    fixture.byte_tokens.fill(u32::MAX);
    fixture.byte_tokens[97] = 0;
    fixture.byte_tokens[98] = 1;
    fixture.pieces = [b"a", b"b"].map(|piece| piece.to_vec()).into();
    let ab = fixture.merge(0, 1);
    fixture.merge(ab, 0);
    fixture.merge(ab, ab);
    fixture.special("<|e>");
    fixture.special("<é>");
    fixture.section()
}

/// Uses everything that a parsed section offers.
fn exercise(tokenizer: &Tokenizer<'_>) {
    let mut out = [0; 40];
    for text in ["", "abababba", "a<|e>b<é>ab", "\u{FFFD}'s  \n"] {
        for room in [4, 9, 40] {
            let _ = tokenizer.encode(text, &mut out[..room]);
            if let Ok(count) = tokenizer.encode_with_specials(text, &mut out[..room]) {
                let mut stream = Utf8Stream::new();
                tokenizer.decode(&out[..count], Specials::Render, &mut stream, |_| {}).unwrap();
                stream.finish(|_| {});
            }
        }
    }
    for id in [0, 1, 5, tokenizer.vocab_len(), u32::MAX] {
        assert_eq!(tokenizer.piece(id).is_some(), id < tokenizer.vocab_len());
        assert_eq!(
            tokenizer.is_special(id),
            tokenizer.specials().any(|(special, _)| special == id)
        );
    }
    let _ = tokenizer.special("<|e>");
}

#[test]
fn every_truncation_and_any_tail_is_refused() {
    let section = small();
    assert!(Tokenizer::parse(&section).is_ok());
    for length in 0..section.len() {
        let error = Tokenizer::parse(&section[..length]).unwrap_err();
        let expected = if length < 32 { 32 } else { section.len() as u64 };
        assert_eq!(error, E::Length { expected, found: length });
    }
    for more in 1..9 {
        let longer = [section.as_slice(), &[0; 8][..more]].concat();
        assert!(matches!(Tokenizer::parse(&longer), Err(E::Length { .. })));
    }
}

#[test]
fn alignment_does_not_matter() {
    let section = small();
    for shift in 0..4 {
        let moved = [&[0; 4][..shift], &section].concat();
        exercise(&Tokenizer::parse(&moved[shift..]).unwrap());
    }
}

#[test]
fn every_change_of_a_byte_parses_or_errs() {
    let mut section = small();
    let mut parsed = 0;
    for at in 0..section.len() {
        let before = section[at];
        for change in 1..=255 {
            section[at] = before ^ change;
            if let Ok(tokenizer) = Tokenizer::parse(&section) {
                exercise(&tokenizer);
                parsed += 1;
            }
        }
        section[at] = before;
    }
    // Ranks, the flag, pieces that are in no merge: some changes make another tokenizer.
    assert!(parsed > 100, "{parsed}");
}

#[test]
fn each_fault_has_its_name() {
    let refusal = |changes: &[(usize, u32)]| {
        let mut section = small();
        for &(at, word) in changes {
            section[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        Tokenizer::parse(&section).unwrap_err()
    };
    assert_eq!(refusal(&[(0, 2)]), E::Kind(2));
    assert_eq!(refusal(&[(4, 0)]), E::PreTokenizer(0));
    assert_eq!(refusal(&[(4, 4)]), E::PreTokenizer(4));
    assert_eq!(refusal(&[(8, 7)]), E::Flags(7));
    let mut counts = vec![(12, u32::MAX), (16, u32::MAX), (20, u32::MAX), (24, u32::MAX)];
    let mut expected = 4 * (8 + 256 + (1 << 32) + 5 * (u64::from(u32::MAX))) + (1 << 32);
    if cfg!(feature = "families") {
        counts.push((28, u32::MAX));
        expected += 4 * u64::from(u32::MAX);
    }
    assert_eq!(refusal(&counts), E::Length { expected, found: small().len() });

    assert_eq!(refusal(&[(BYTE_TOKENS, 7)]), E::ByteToken { byte: 0 });
    assert_eq!(refusal(&[(BYTE_TOKENS + 4 * 97, 2)]), E::ByteToken { byte: 97 });
    assert_eq!(refusal(&[(OFFSETS, 1)]), E::Piece { id: 0 });
    assert_eq!(refusal(&[(OFFSETS + 8, 0)]), E::Piece { id: 2 });
    assert_eq!(refusal(&[(OFFSETS + 8, u32::MAX)]), E::Piece { id: 2 });
    assert_eq!(refusal(&[(OFFSETS + 28, 18)]), E::Piece { id: 7 });

    // Sorted: (0, 1), (2, 0), (2, 2).
    assert_eq!(refusal(&[(MERGES, 2)]), E::Merge { index: 0 });
    assert_eq!(refusal(&[(MERGES + 8, 3)]), E::Merge { index: 0 });
    assert_eq!(refusal(&[(MERGES + 12, 9)]), E::Merge { index: 0 });
    assert_eq!(refusal(&[(MERGES + 16, 0)]), E::MergeOrder { index: 1 });
    assert_eq!(refusal(&[(MERGES + 36, 0)]), E::MergeOrder { index: 2 });
    assert_eq!(refusal(&[(SPECIALS, 7)]), E::Added { index: 0 });
    assert_eq!(refusal(&[(SPECIALS, 6)]), E::Added { index: 1 });
    assert_eq!(refusal(&[(BLOB + 16, 0xFF)]), E::Added { index: 1 });
    let mut section = small();
    assert_eq!(section.len() - BLOB, 20);
    section[BLOB + 19] = 1;
    assert_eq!(Tokenizer::parse(&section).unwrap_err(), E::Padding);
}

#[cfg(feature = "families")]
#[test]
fn whole_words_ascend_by_their_pieces() {
    let refusal = |whole_words: Vec<u32>| {
        let mut fixture = Fixture::all_bytes();
        fixture.pieces.push(Vec::new());
        Tokenizer::parse(&Fixture { whole_words, ..fixture }.section()).map(|_| ())
    };
    assert_eq!(refusal(vec![97, 98]), Ok(()));
    assert_eq!(refusal(vec![98, 97]), Err(E::WholeWord { index: 1 }));
    assert_eq!(refusal(vec![97, 97]), Err(E::WholeWord { index: 1 }));
    assert_eq!(refusal(vec![97, 257]), Err(E::WholeWord { index: 1 }));
    assert_eq!(refusal(vec![256]), Err(E::WholeWord { index: 0 }));
}

#[test]
fn messages_say_what_to_do() {
    let cut = Tokenizer::parse(&small()[..100]).unwrap_err();
    assert_eq!(
        cut.to_string(),
        "tokenizer section has 100 bytes where 1164 are needed; the image is cut off or damaged"
    );
}
