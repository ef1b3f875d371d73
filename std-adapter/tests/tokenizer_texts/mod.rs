//! Texts and tokenizers to test with, the same in every run.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, TokenizerBuilder};

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

    /// A character below `limit`, of those that Unicode had long before the oldest table in use.
    fn char(&mut self, limit: usize) -> char {
        char::from_u32(self.below(limit) as u32).unwrap_or('\u{FFFD}')
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
    ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", " 's", "'S", "'", "''t", "’s"];
const FOREIGN: [&str; 12] = [
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
];
const SPACES: [&str; 14] = [
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
];
const EMOJI: [&str; 6] = ["👍", "👍🏽", "👩‍👩‍👧", "🇩🇪", "☃", "🦀🦀"];
const NUMBERS: [&str; 9] = ["0", "42", "3.14159", "1,000", "½", "²", "Ⅷ", "٣", "1e-9"];
const SPECIALS: [&str; 5] = ["<|user|>", "<|user", "|>", "<|mask|>", "<|mask|>>"];

/// A `tokenizer.json` trained on such texts: 700 ids, two of them special.
pub fn trained(add_prefix_space: bool) -> Vec<u8> {
    let byte_level = ByteLevel::new(add_prefix_space, true, true);
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        tokenizers::NormalizerWrapper,
        ByteLevel,
        ByteLevel,
        ByteLevel,
    >::new()
    .with_model(BPE::default())
    .with_pre_tokenizer(Some(byte_level))
    .with_decoder(Some(byte_level))
    .with_post_processor(Some(byte_level))
    .build()
    .unwrap();
    let special = |content: &str| AddedToken::from(content, true);
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(700)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![special("<|mask|>"), special("<|user|>")])
        .build();
    let mut random = Lcg(1);
    let texts: Vec<String> = (0..3000).map(|_| random.text(40)).collect();
    tokenizer.train(&mut trainer, texts.into_iter()).unwrap();
    tokenizer.to_string(false).unwrap().into_bytes()
}
