//! The same ids and the same text as Hugging Face `tokenizers`, from the same `tokenizer.json`.

use crate::tokenizer_texts::{Kind, Lcg, trained};
use demask::text::{Specials, Utf8Stream};
use demask_std::prompt;
use demask_std::read::tokenizer_json;
use tokenizers::Tokenizer as Theirs;
use unicode_normalization::is_nfc;

/// A tokenizer of ours beside theirs.
struct Pair {
    section: Vec<u8>,
    theirs: Theirs,
}

impl Pair {
    fn new(json: &[u8]) -> Self {
        let section = tokenizer_json::parse(json).unwrap().to_section().unwrap();
        Self { section, theirs: Theirs::from_bytes(json).unwrap() }
    }

    fn ours(&self) -> demask::text::Tokenizer<'_> {
        demask::text::Tokenizer::parse(&self.section).unwrap()
    }

    /// Compares both ways of encoding, and decoding with and without specials.
    fn compare(&mut self, text: &str) {
        for as_text in [false, true] {
            self.theirs.set_encode_special_tokens(as_text);
            let expected = self.theirs.encode(text, false).unwrap().get_ids().to_vec();
            let ours = self.ours();
            let ids = match as_text {
                true => prompt::plain_ids(&ours, text),
                false => prompt::ids_with_specials(&ours, text),
            };
            let ids = ids.unwrap();
            assert_eq!(ids, expected, "{text:?}, specials as text: {as_text}");
            for specials in [Specials::Skip, Specials::Render] {
                let expected = self.theirs.decode(&ids, specials == Specials::Skip).unwrap();
                assert_eq!(self.decode(&ids, specials), expected, "{text:?} {specials:?}");
            }
            let back = self.decode(&ids, Specials::Render);
            if !ours.wants_nfc() {
                // With a prefix space, every part between special tokens has one.
                let spaceless = |text: &str| text.replace(' ', "");
                assert!(back == text || spaceless(&back) == spaceless(text), "{text:?}");
            } else if is_nfc(text) {
                assert_eq!(back, text);
            }
        }
    }

    fn decode(&self, ids: &[u32], specials: Specials) -> String {
        let (mut stream, mut text) = (Utf8Stream::new(), String::new());
        let ours = self.ours();
        // One by one, as tokens come out of a model.
        for id in ids {
            ours.decode(&[*id], specials, &mut stream, |part| text.push_str(part)).unwrap();
        }
        stream.finish(|part| text.push_str(part));
        text
    }
}

/// Compares on 10 000 lines of everything.
fn compare_many(kind: Kind) {
    let mut pair = Pair::new(&trained(kind));
    let mut random = Lcg(11);
    for _ in 0..10_000 {
        pair.compare(&random.text(40));
    }
    for text in ["", " ", "<|user|>", "a<|user|><|user|>  b", "<|user|>\n<|use", "<|user|>|>"] {
        pair.compare(text);
    }
}

#[test]
fn gpt2_gives_the_same_ids() {
    compare_many(Kind::Gpt2 { add_prefix_space: false });
    compare_many(Kind::Gpt2 { add_prefix_space: true });
}

#[test]
fn qwen2_gives_the_same_ids() {
    compare_many(Kind::Qwen2);
}

#[test]
fn llada_gives_the_same_ids() {
    compare_many(Kind::Llada);
}

#[test]
fn llama3_gives_the_same_ids() {
    compare_many(Kind::Llama3);
    let json = trained(Kind::Llama3);
    let mut merging: serde_json::Value = serde_json::from_slice(&json).unwrap();
    merging["model"]["ignore_merges"] = false.into();
    let (pair, merging) = (Pair::new(&json), Pair::new(merging.to_string().as_bytes()));
    let text = "lightslights";
    let ids = |pair: &Pair| prompt::plain_ids(&pair.ours(), text).unwrap().len();
    assert!(ids(&pair) == 1 && ids(&merging) > 1, "the word is one that merging does not give");

    let data = tokenizer_json::parse(&json).unwrap();
    let prompt = prompt::from_tokenizer(&data, &pair.ours());
    let ours = prompt::encode(&prompt, &pair.ours(), text).unwrap();
    assert_eq!(ours, pair.theirs.encode(text, true).unwrap().get_ids());
}

#[test]
fn normalization_stops_at_added_tokens() {
    let mut pair = Pair::new(&trained(Kind::Qwen2));
    // The mark would join the bracket in front of it, and the jamo each other.
    for text in ["<tool_call>\u{338}", "<|user|>\u{338}e\u{301}", "\u{1100}<think>\u{1161}\u{212A}"]
    {
        pair.compare(text);
    }
}

#[test]
fn random_ids_give_the_same_text() {
    let pair = Pair::new(&trained(Kind::Gpt2 { add_prefix_space: false }));
    let mut random = Lcg(12);
    let vocabulary = pair.ours().vocab_len() as usize;
    for _ in 0..2000 {
        let ids: Vec<u32> =
            (0..random.below(20)).map(|_| random.below(vocabulary) as u32).collect();
        let expected = pair.theirs.decode(&ids, true).unwrap();
        assert_eq!(pair.decode(&ids, Specials::Skip), expected, "{ids:?}");
    }
}

#[test]
fn long_words_give_the_same_ids() {
    for kind in [Kind::Gpt2 { add_prefix_space: false }, Kind::Qwen2, Kind::Llama3] {
        compare_long_words(&mut Pair::new(&trained(kind)));
    }
}

fn compare_long_words(pair: &mut Pair) {
    let mut random = Lcg(13);
    let letters: String = (0..4096).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
    pair.compare(&letters);
    pair.compare(&"abc".repeat(1400));
    pair.compare(&"the".repeat(1400));
    pair.compare(&" ".repeat(4096));
    pair.compare(&"日本語漢字".repeat(300));
}

#[test]
fn the_bundled_model_gives_the_same_ids() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/intents/tokenizer.json");
    let json = std::fs::read(path).unwrap();
    let mut pair = Pair::new(&json);
    let mut random = Lcg(14);
    for _ in 0..3000 {
        pair.compare(&random.text(60));
    }
    pair.compare("<|user|>set the lights in the kitchen to 40%<|json|>{\"intent\":\"lights\"}");
}

#[test]
fn merges_that_share_a_result_keep_their_order() {
    // "ab" + "c" and "a" + "bc" both make "abc"; the pair (abc, ab) ranks between them, so it is
    // due before the second "ab" + "c".
    let json = br#"{
        "added_tokens": [],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5,
            "abcab": 6, "abcabc": 7},
            "merges": [["a", "b"], ["a", "bc"], ["abc", "ab"], ["ab", "c"], ["b", "c"],
            ["abcab", "c"]]}
    }"#;
    let mut pair = Pair::new(json);
    let mut random = Lcg(15);
    pair.compare("abcabc");
    for _ in 0..2000 {
        let text: String =
            (0..random.below(30)).map(|_| char::from(b'a' + random.below(3) as u8)).collect();
        pair.compare(&text);
    }
}
