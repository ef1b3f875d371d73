//! Texts and tokenizers to test with, the same in every run.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};
use unicode_normalization::char::canonical_combining_class;

/// A fixed sequence of numbers.
pub struct Lcg(pub u64);

impl Lcg {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// Up to `parts` scraps of all sorts, next to one another without order.
    pub fn text(&mut self, parts: usize) -> String {
        let mut text = String::new();
        for _ in 0..self.below(parts) {
            match self.below(12) {
                0 => text.push_str(self.pick(&WORDS)),
                1 => (text.push(' '), text.push_str(self.pick(&WORDS))).1,
                2 => text.push_str(self.pick(&CODE)),
                3 => text.push_str(self.pick(&CONTRACTIONS)),
                4 => text.push_str(self.pick(&FOREIGN)),
                5 => text.push_str(self.pick(&SPACES)),
                6 => text.push_str(self.pick(&EMOJI)),
                7 => text.push_str(self.pick(&NUMBERS)),
                8 => text.push_str(self.pick(&SPECIALS)),
                9 => text.push(char::from(self.below(128) as u8)),
                10 => text.push(self.char(0x3000)),
                _ => text.push(self.char(0x11_0000)),
            }
        }
        text
    }

    /// A character below `limit`. Marks from U+0800 on are left out: the tables of Hugging Face's
    /// normalizer are those of Unicode 12, which does not know all of them.
    fn char(&mut self, limit: usize) -> char {
        let c = char::from_u32(self.below(limit) as u32).unwrap_or('\u{FFFD}');
        match c >= '\u{800}' && canonical_combining_class(c) != 0 {
            true => '\u{FFFD}',
            false => c,
        }
    }
}

const WORDS: [&str; 12] = [
    "the", "kitchen", "lights", "Set", "TIMER", "for", "minutes", "naïve", "Zoë", "a", "I", "xyzzy",
];
const CODE: [&str; 10] = [
    "fn main() {\n    let x = 1;\n}",
    "{\"intent\":\"lights\",\"on\":true}",
    "a[i]+=b*c;",
    "// --- !!! ---",
    "\t\tif (x<=y) return;\r\n",
    "#include <stdio.h>\n",
    "::<>()",
    "'a'",
    "\"it's\"",
    "http://x.y/z?q=1&r=%20",
];
const CONTRACTIONS: [&str; 12] =
    ["'s", "'t", "'re", "'Ve", "'m", "'LL", "'d", " 's", "'ſt", "'", "''t", "’s"];
const FOREIGN: [&str; 18] = [
    "Привет",
    "мир",
    "日本語",
    "漢字",
    "한국어",
    "مرحبا",
    "שלום",
    "हिन्दी",
    "ไทย",
    "Ελλάδα",
    "ﬁ",
    "e\u{301}",
    // Other forms of the same text, and marks out of order.
    "o\u{31B}\u{323}",
    "a\u{308}\u{323}\u{338}",
    "\u{1112}\u{1161}\u{11AB}",
    "\u{212A}\u{212B}\u{37E}",
    "\u{338}\u{301}",
    "\u{F900}\u{2F800}",
];
const SPACES: [&str; 18] = [
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "\u{A0}",
    "\u{85}",
    "\u{2003}",
    "\u{3000}",
    "\u{200B}",
    "\u{FEFF}",
    "\u{1680} ",
    " \r\n \n",
    "\r",
    "\n \u{2028}",
    "\t ",
];
const EMOJI: [&str; 6] = ["👍", "👍🏽", "👩‍👩‍👧", "🇩🇪", "☃", "🦀🦀"];
const NUMBERS: [&str; 10] =
    ["0", "42", "3.14159", "1,000", "½", "²", "Ⅷ", "٣٤٥٦", "1e-9", "20261126"];
const SPECIALS: [&str; 8] = [
    "<|user|>",
    "<|user",
    "|>",
    "<|mask|>",
    "<|mask|>>",
    "<think>",
    "</think",
    "<tool_call>\u{338}",
];

/// GPT-2's pattern and those that came after it, as their files spell them.
pub const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub const LLADA: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

/// The tokenizers of the model families, small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gpt2 {
        add_prefix_space: bool,
    },
    /// Text in normalization form C, ordinary added tokens.
    Qwen2,
    /// Words that are tokens taken whole, a begin token.
    Llama3,
    Llada,
}

impl Kind {
    /// A `tokenizer.json` of this kind, with no token yet.
    fn empty(self) -> Value {
        let byte_level = |add_prefix_space: bool, use_regex: bool| {
            json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space,
                "trim_offsets": true, "use_regex": use_regex})
        };
        let split = |pattern: &str| {
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                    "invert": false},
                byte_level(false, false),
            ]})
        };
        let pre_tokenizer = match self {
            Self::Gpt2 { add_prefix_space } => byte_level(add_prefix_space, true),
            Self::Qwen2 => split(QWEN2),
            Self::Llama3 => split(LLAMA3),
            Self::Llada => split(LLADA),
        };
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": (self == Self::Qwen2).then(|| json!({"type": "NFC"})),
            "pre_tokenizer": pre_tokenizer,
            "post_processor": byte_level(true, true),
            "decoder": byte_level(true, true),
            "model": {"type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
                "byte_fallback": false, "ignore_merges": self == Self::Llama3,
                "vocab": {}, "merges": []},
        })
    }
}

/// A `tokenizer.json` trained on such texts: some 700 ids, with added tokens before and behind.
pub fn trained(kind: Kind) -> Vec<u8> {
    let mut tokenizer = Tokenizer::from_bytes(kind.empty().to_string()).unwrap();
    let special = |content: &str| AddedToken::from(content, true);
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(700)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![special("<|mask|>"), special("<|user|>")])
        .build();
    let mut random = Lcg(1);
    let texts: Vec<String> = (0..3000).map(|_| random.text(40)).collect();
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), texts.into_iter()).unwrap();
    if kind == Kind::Qwen2 {
        let ordinary = ["<think>", "</think>", "<tool_call>"];
        let ordinary = ordinary.map(|content| AddedToken::from(content, false).normalized(false));
        tokenizer.add_tokens(ordinary).unwrap();
    }
    let mut json: Value = serde_json::from_str(&tokenizer.to_string(false).unwrap()).unwrap();
    if kind == Kind::Llama3 {
        add_unreachable(json["model"]["vocab"].as_object_mut().unwrap());
        json["post_processor"] = json!({"type": "Sequence", "processors": [
            {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false,
                "use_regex": true},
            {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<|user|>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                    {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<|user|>": {"id": "<|user|>", "ids": [1],
                    "tokens": ["<|user|>"]}}},
        ]});
    }
    json.to_string().into_bytes()
}

/// Words that no merge makes.
fn add_unreachable(vocab: &mut serde_json::Map<String, Value>) {
    for word in ["lightslights", "Ġforthe", "thekitchen", "IxyzzyI", "aI", "::", "-----", "ĉĉĉ"]
    {
        let id = vocab.len();
        vocab.entry(word).or_insert(id.into());
    }
}
