//! Properties of tokenizing, for inputs that proptest makes up and shrinks.

use std::sync::LazyLock;

use crate::tokenizer_texts::{Kind, trained};
use demask::text::{EncodeError, Specials, Tokenizer, Utf8Stream};
use demask_std::read::tokenizer_json;
use proptest::prelude::*;

/// Sections of each kind.
static SECTIONS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let kinds = [Kind::Gpt2 { add_prefix_space: false }, Kind::Qwen2, Kind::Llama3, Kind::Llada];
    let section = |kind| tokenizer_json::parse(&trained(kind)).unwrap().to_section().unwrap();
    kinds.map(section).to_vec()
});

fn tokenizers() -> impl Iterator<Item = Tokenizer<'static>> {
    SECTIONS.iter().map(|section| Tokenizer::parse(section).unwrap())
}

fn decode(tokenizer: &Tokenizer<'_>, ids: &[u32]) -> String {
    let (mut stream, mut text) = (Utf8Stream::new(), String::new());
    let render = |part: &str| text.push_str(part);
    tokenizer.decode(ids, Specials::Render, &mut stream, render).unwrap();
    stream.finish(|part| text.push_str(part));
    text
}

/// Bytes that often are, or nearly are, UTF-8.
fn nearly_text() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let chunk = prop_oneof![
        any::<char>().prop_map(|c| c.to_string().into_bytes()),
        (any::<char>(), 0..4_usize).prop_map(|(c, length)| {
            let mut bytes = c.to_string().into_bytes();
            bytes.truncate(length);
            bytes
        }),
        prop::collection::vec(0x80_u8.., 0..4),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(chunk, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_stream_is_from_utf8_lossy_of_the_whole(
        chunks in nearly_text(),
        cuts in prop::collection::vec(0..7_usize, 1..20),
    ) {
        let bytes = chunks.concat();
        let (mut stream, mut text) = (Utf8Stream::new(), String::new());
        let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
        let mut stuck = 0;
        while !rest.is_empty() && stuck < 100 {
            let cut = (*cuts.next().unwrap()).min(rest.len());
            stuck = if cut == 0 { stuck + 1 } else { 0 };
            let (part, after) = rest.split_at(cut);
            stream.push(part, |part| text.push_str(part));
            rest = after;
        }
        stream.push(rest, |part| text.push_str(part));
        stream.finish(|part| text.push_str(part));
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn decoding_gives_the_text_back(
        text in "\\PC*|[ a-z'\\r\\n\u{3000}0-9]*|(.|<\\|user\\|>|<think>)*",
    ) {
        let mut out = vec![0; text.len() + 1];
        for tokenizer in tokenizers() {
            let count = tokenizer.encode(&text, &mut out).unwrap();
            prop_assert_eq!(decode(&tokenizer, &out[..count]), text.as_str());
            let count = tokenizer.encode_with_specials(&text, &mut out).unwrap();
            prop_assert_eq!(decode(&tokenizer, &out[..count]), text.as_str());
        }
    }

    #[test]
    fn a_short_output_gives_the_same_ids_or_full(text in "[ a-z'é]{0,40}", short in 0..40_usize) {
        for tokenizer in tokenizers() {
            let mut roomy = vec![0; 2 * text.len()];
            let expected = tokenizer.encode(&text, &mut roomy).unwrap();
            let mut out = vec![0; text.len().saturating_sub(short)];
            match tokenizer.encode(&text, &mut out) {
                Ok(count) => prop_assert_eq!(&out[..count], &roomy[..expected]),
                Err(EncodeError::Full { needed, capacity }) => {
                    prop_assert_eq!(capacity, out.len());
                    prop_assert!(needed > capacity && needed <= text.len());
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
