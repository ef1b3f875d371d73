//! The tokenizer on sections built here, byte by byte, from the format's description.

use crate::fixture::{Fixture, Lcg};
use demask::text::{
    DecodeError, EncodeError, FLAG_ADD_PREFIX_SPACE, FLAG_NFC, ORDINARY, PreTokenizer, Specials,
    Tokenizer, Utf8Stream, Words,
};

fn encode(tokenizer: &Tokenizer<'_>, text: &str) -> Vec<u32> {
    let mut out = vec![0; 2 * text.len() + 2];
    let count = tokenizer.encode(text, &mut out).unwrap();
    out[..count].to_vec()
}

fn decode(tokenizer: &Tokenizer<'_>, ids: &[u32], specials: Specials) -> String {
    let (mut stream, mut text) = (Utf8Stream::new(), String::new());
    tokenizer.decode(ids, specials, &mut stream, |part| text.push_str(part)).unwrap();
    stream.finish(|part| text.push_str(part));
    text
}

#[test]
fn words_are_those_of_gpt2s_pattern() {
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        ("Hello world", &["Hello", " world"]),
        ("it's we'll I'd 'sup 'S", &["it", "'s", " we", "'ll", " I", "'d", " '", "sup", " '", "S"]),
        ("'s", &["'s"]),
        ("''s", &["''", "s"]),
        ("a1b22", &["a", "1", "b", "22"]),
        ("x  y", &["x", " ", " y"]),
        ("x   ", &["x", "   "]),
        ("x \n\n y", &["x", " \n\n", " y"]),
        ("a\nb", &["a", "\n", "b"]),
        ("a\n\nb", &["a", "\n", "\n", "b"]),
        ("\u{3000}\u{A0}é½²!?", &["\u{3000}", "\u{A0}", "é", "½²", "!?"]),
        ("👍🏽 ok", &["👍🏽", " ok"]),
    ];
    for (text, expected) in cases {
        let words = Words::new(text, PreTokenizer::Gpt2, false).map(|word| word.text);
        let words: Vec<&str> = words.collect();
        assert_eq!(words, *expected, "{text:?}");
    }
}

#[cfg(feature = "families")]
#[test]
fn words_are_those_of_the_newer_patterns() {
    // Each word for itself, but for the numbers, which Qwen cuts into single digits.
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        ("Hello\tworld", &["Hello", "\tworld"]),
        ("IT'S 'ſo '", &["IT", "'S", " '", "ſo", " '"]),
        ("'ſx 'Llama", &["'ſ", "x", " '", "Llama"]),
        ("'", &["'"]),
        ("a.b!c", &["a", ".b", "!c"]),
        ("x 12345 6", &["x", " ", "123", "45", " ", "6"]),
        ("x.\r\n\r\n y", &["x", ".\r\n\r\n", " y"]),
        ("x \n \n  y", &["x", " \n \n", " ", " y"]),
        ("\ny\n", &["\n", "y", "\n"]),
        ("x  !!", &["x", " ", " !!"]),
        ("x\u{3000}\u{A0}é½²!?", &["x", "\u{3000}", "\u{A0}é", "½²", "!?"]),
        ("👍🏽 ok\u{85}", &["👍🏽", " ok", "\u{85}"]),
    ];
    for (text, expected) in cases {
        let words = |pre| Words::new(text, pre, false).map(|word| word.text);
        assert_eq!(words(PreTokenizer::Llama3).collect::<Vec<&str>>(), *expected, "{text:?}");
        let digits = |word: &'static str| -> Vec<&str> {
            match word.chars().next().is_some_and(char::is_numeric) {
                true => word.split_inclusive(|_| true).collect(),
                false => vec![word],
            }
        };
        let expected: Vec<&str> = expected.iter().copied().flat_map(digits).collect();
        assert_eq!(words(PreTokenizer::Qwen2).collect::<Vec<&str>>(), expected, "{text:?}");
    }
}

#[test]
fn a_prefix_space_is_read_as_part_of_the_text() {
    for text in ["", " a", "a", "'s", "1", "!x", "\nabc", "\n\n", "  ", "\u{3000}x"] {
        let spelled = |words: Words<'_>| -> Vec<Vec<u8>> {
            words.map(|word| word.bytes().collect()).collect()
        };
        let spaced = match text {
            _ if text.is_empty() || text.starts_with(' ') => text.to_owned(),
            _ => format!(" {text}"),
        };
        assert_eq!(
            spelled(Words::new(text, PreTokenizer::Gpt2, true)),
            spelled(Words::new(&spaced, PreTokenizer::Gpt2, false)),
            "{text:?}"
        );
    }
    let section = Fixture { flags: FLAG_ADD_PREFIX_SPACE, ..Fixture::all_bytes() }.section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    assert_eq!(encode(&tokenizer, "a"), [32, 97]);
    let mut out = [0; 8];
    let mut fixture = Fixture { flags: FLAG_ADD_PREFIX_SPACE, ..Fixture::all_bytes() };
    let end = fixture.special("<e>");
    let section = fixture.section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    let count = tokenizer.encode_with_specials("a<e>b<e>", &mut out).unwrap();
    assert_eq!(out[..count], [32, 97, end, 32, 98, end], "every part gets its space");
}

#[test]
fn low_ranks_merge_first_and_from_the_left() {
    let mut fixture = Fixture::all_bytes();
    let bc = fixture.merge(b'b'.into(), b'c'.into());
    let ab = fixture.merge(b'a'.into(), b'b'.into());
    let aa = fixture.merge(b'a'.into(), b'a'.into());
    let aaa = fixture.merge(aa, b'a'.into());
    let section = fixture.section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    assert_eq!(encode(&tokenizer, "abc"), [97, bc]);
    assert_eq!(encode(&tokenizer, "ab"), [ab]);
    assert_eq!(encode(&tokenizer, "aaaaa"), [aa, aaa]);
    assert_eq!(encode(&tokenizer, "aab c"), [97, ab, 32, 99]);
}

/// One merge at a time, the lowest rank first, the leftmost among equals.
fn merge_slowly(merges: &[(u32, u32, u32)], text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    for word in Words::new(text, PreTokenizer::Gpt2, false) {
        let mut word: Vec<u32> = word.bytes().map(u32::from).collect();
        let rank = |pair: &[u32]| merges.iter().position(|m| (m.0, m.1) == (pair[0], pair[1]));
        while let Some((rank, at)) =
            word.windows(2).enumerate().filter_map(|(at, pair)| Some((rank(pair)?, at))).min()
        {
            word.splice(at..at + 2, [merges[rank].2]);
        }
        ids.extend(word);
    }
    ids
}

#[test]
fn any_room_gives_the_same_merges() {
    let mut random = Lcg(7);
    for _ in 0..300 {
        // Few letters and many merges: results shared by merges, pairs that jump the queue.
        let fixture = Fixture::random(&mut random, 24);
        let section = fixture.section();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        for _ in 0..20 {
            let letter = |random: &mut Lcg| char::from(b'a' + random.below(3) as u8);
            let text: String = (0..random.below(40)).map(|_| letter(&mut random)).collect();
            let expected = merge_slowly(&fixture.merges, &text);
            for room in [0, 1, 5, text.len() + 1] {
                let mut out = vec![0; text.len() + room];
                let count = tokenizer.encode(&text, &mut out).unwrap();
                assert_eq!(out[..count], expected, "{text} with {room} more");
            }
            assert_eq!(decode(&tokenizer, &expected, Specials::Skip), text);
        }
    }
}

#[test]
fn too_little_room_is_an_error_that_says_how_much() {
    let mut fixture = Fixture::all_bytes();
    let ab = fixture.merge(b'a'.into(), b'b'.into());
    let end = fixture.special("<e>");
    let section = fixture.section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    // "abab" needs four entries while it is merged, and two when done; " a" then two more.
    for capacity in 0..8 {
        let mut out = vec![0; capacity];
        let result = tokenizer.encode("abab a", &mut out);
        match capacity {
            0..4 => assert_eq!(result, Err(EncodeError::Full { needed: 4, capacity })),
            _ => assert_eq!(out[..result.unwrap()], [ab, ab, 32, 97]),
        }
        let result = tokenizer.encode_with_specials("<e><e>", &mut out);
        match capacity {
            0..2 => assert_eq!(result, Err(EncodeError::Full { needed: capacity + 1, capacity })),
            _ => assert_eq!(out[..result.unwrap()], [end, end]),
        }
    }
}

#[test]
fn a_byte_without_a_token_is_named() {
    let mut fixture = Fixture::all_bytes();
    fixture.byte_tokens[usize::from(b'\n')] = demask::text::NO_TOKEN;
    let section = fixture.section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    let result = tokenizer.encode("a\nb", &mut [0; 8]);
    assert_eq!(result, Err(EncodeError::NoByteToken { byte: b'\n' }));
}

#[test]
fn specials_are_found_leftmost_and_longest_and_only_when_asked() {
    let mut fixture = Fixture::all_bytes();
    let short = fixture.special("<e");
    let long = fixture.special("<ee>");
    let other = fixture.special("e>é");
    let section = fixture.section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    let mut out = [0; 32];
    let mut ids = |text: &str| {
        let count = tokenizer.encode_with_specials(text, &mut out).unwrap();
        out[..count].to_vec()
    };
    assert_eq!(ids("a<ee>b"), [97, long, 98]);
    assert_eq!(ids("<e>é"), [short, 62, 0xC3, 0xA9]);
    assert_eq!(ids("<<e>éee>é"), [60, short, 62, 0xC3, 0xA9, 101, other]);
    assert_eq!(ids(""), []);
    assert_eq!(encode(&tokenizer, "<e>"), [60, 101, 62]);

    assert_eq!(tokenizer.special("<ee>"), Some(long));
    assert_eq!(tokenizer.special("<eee>"), None);
    assert_eq!(tokenizer.special(""), None);
    assert!(tokenizer.is_special(short) && !tokenizer.is_special(97));
    assert_eq!(tokenizer.specials().count(), 3);
    assert_eq!(decode(&tokenizer, &[97, long, 98], Specials::Skip), "ab");
    assert_eq!(decode(&tokenizer, &[97, long, 98], Specials::Render), "a<ee>b");
}

#[test]
fn a_flag_asks_for_nfc() {
    for flags in [0, FLAG_NFC] {
        let section = Fixture { flags, ..Fixture::all_bytes() }.section();
        assert_eq!(Tokenizer::parse(&section).unwrap().wants_nfc(), flags == FLAG_NFC);
    }
}

#[test]
fn ordinary_added_tokens_are_found_in_every_text_and_stay_in_it() {
    let mut fixture = Fixture::all_bytes();
    let special = fixture.special("<e>");
    let think = fixture.special("<e>k");
    *fixture.added.last_mut().unwrap() |= ORDINARY;
    let section = fixture.section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    assert_eq!(encode(&tokenizer, "a<e>k<e>"), [97, think, 60, 101, 62]);
    let mut out = [0; 32];
    let count = tokenizer.encode_with_specials("a<e>k<e>", &mut out).unwrap();
    assert_eq!(out[..count], [97, think, special]);
    assert_eq!(decode(&tokenizer, &out[..count], Specials::Skip), "a<e>k");
    let count = tokenizer.encode_words("<e>k", &mut out).unwrap();
    assert_eq!(out[..count], [60, 101, 62, 107]);
    assert!(tokenizer.is_special(special) && !tokenizer.is_special(think));
    assert_eq!(tokenizer.specials().count(), 1);
    assert_eq!(tokenizer.special("<e>k"), None);
}

#[test]
fn specials_are_known_among_ordinary_added_tokens() {
    // Every way to mix five of them: the top bit of an entry is no part of its order.
    for ordinary in 0..1 << 5 {
        let mut fixture = Fixture::all_bytes();
        for at in 0..5 {
            fixture.special(&format!("<{at}>"));
            fixture.added[at] |= if ordinary & (1 << at) == 0 { 0 } else { ORDINARY };
        }
        let section = fixture.section();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        for at in 0..5 {
            assert_eq!(tokenizer.is_special(256 + at), ordinary & (1 << at) == 0, "{ordinary:05b}");
        }
    }
}

#[test]
fn each_part_between_added_tokens_gets_its_prefix_space() {
    let mut fixture = Fixture { flags: FLAG_ADD_PREFIX_SPACE, ..Fixture::all_bytes() };
    let added = fixture.special("<t>");
    fixture.added[0] |= ORDINARY;
    let section = fixture.section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    assert_eq!(encode(&tokenizer, "a<t>b<t> c<t>"), [32, 97, added, 32, 98, added, 32, 99, added]);
}

#[cfg(feature = "families")]
#[test]
fn whole_words_are_not_merged() {
    let mut fixture = Fixture::all_bytes();
    let ab = fixture.merge(b'a'.into(), b'b'.into());
    let bc = fixture.merge(b'b'.into(), b'c'.into());
    // "abc" can be reached by no merge: "ab" is due first.
    let abc = fixture.merge(b'a'.into(), bc);
    let unspaced = encode(&Tokenizer::parse(&fixture.section()).unwrap(), "abc");
    assert_eq!(unspaced, [ab, 99]);
    fixture.pieces.push(b" abc".to_vec());
    let spaced = abc + 1;
    fixture.whole_words = vec![spaced, abc];
    for (flags, expected) in [(0, [abc, spaced]), (FLAG_ADD_PREFIX_SPACE, [spaced, spaced])] {
        let section = Fixture { flags, ..fixture.clone() }.section();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        assert_eq!(encode(&tokenizer, "abc abc"), expected);
        let mut out = [0; 1];
        let result = tokenizer.encode("abc abc", &mut out);
        assert_eq!(result, Err(EncodeError::Full { needed: 2, capacity: 1 }));
        let mut out = [0; 8];
        assert_eq!(tokenizer.merge_bytes(b"abc", &mut out), Ok(&[ab, 99][..]));
    }
}

#[cfg(not(feature = "families"))]
#[test]
fn what_needs_the_feature_names_it() {
    use demask::text::TokenizerError;
    let plain = Fixture::all_bytes();
    for changed in [
        Fixture { pre_tokenizer: 2, ..plain.clone() },
        Fixture { pre_tokenizer: 3, ..plain.clone() },
        Fixture { whole_words: vec![97], ..plain.clone() },
    ] {
        let error = Tokenizer::parse(&changed.section()).unwrap_err();
        assert_eq!(error, TokenizerError::Families);
        assert!(error.to_string().contains("`families`"));
    }
}

#[test]
fn decoding_goes_on_across_tokens_and_stops_at_unknown_ids() {
    let mut fixture = Fixture::all_bytes();
    let end = fixture.special("<e>");
    let section = fixture.section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    let (mut stream, mut text) = (Utf8Stream::new(), String::new());
    let ids = [0xE2, 0x82, end, 0xAC, 65];
    for id in ids {
        tokenizer.decode(&[id], Specials::Skip, &mut stream, |part| text.push_str(part)).unwrap();
    }
    assert_eq!(text, "€A");
    let result = tokenizer.decode(&[66, end + 1], Specials::Skip, &mut stream, |_| {});
    assert_eq!(result, Err(DecodeError::UnknownId { index: 1, id: end + 1 }));
    assert_eq!((tokenizer.vocab_len(), tokenizer.piece(end + 1)), (end + 1, None));
    assert_eq!(tokenizer.piece(u32::MAX), None);
}

#[test]
fn text_comes_out_as_from_utf8_lossy_makes_it_however_it_is_cut() {
    let mut random = Lcg(3);
    let pool = b"A\x80\xBF\xC0\xC3\xA9\xE0\xA0\xE2\x82\xAC\xED\x9F\xF0\x90\x9F\x98\x80\xF4\x8F\xFF";
    for _ in 0..20_000 {
        let bytes: Vec<u8> =
            (0..random.below(12)).map(|_| pool[random.below(pool.len())]).collect();
        let (mut stream, mut text) = (Utf8Stream::new(), String::new());
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (part, after) = rest.split_at(random.below(4).min(rest.len()));
            stream.push(part, |part| text.push_str(part));
            rest = after;
        }
        stream.finish(|part| text.push_str(part));
        assert_eq!(text, String::from_utf8_lossy(&bytes), "{bytes:x?}");
    }
}
