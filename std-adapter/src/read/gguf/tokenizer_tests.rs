//! Vocabularies as llama.cpp's converters write them.

use super::*;
use demask::text::Tokenizer;

/// A vocabulary of five trained tokens, and four of other kinds.
fn vocab() -> GgufVocab<'static> {
    GgufVocab {
        model: "gpt2",
        pre: Some("qwen2"),
        tokens: vec!["a", "Ġ", "b", "Ġa", "ÿ", "<|im_start|>", "<think>", "[PAD7]", "a b"],
        token_types: vec![1, 1, 1, 1, 1, 3, 4, 5, 1],
        scores: Vec::new(),
        merges: vec!["Ġ a", "Ġ b", "a Ġb"],
        bos: Some(5),
        eos: None,
        pad: None,
        mask: None,
        eot: None,
        add_bos: None,
        add_space_prefix: None,
        chat_template: None,
    }
}

fn with(change: impl FnOnce(&mut GgufVocab<'static>)) -> Result<TokenizerData, GgufError> {
    let mut vocab = vocab();
    change(&mut vocab);
    vocab.tokenizer()
}

#[test]
fn kinds_of_tokens_become_pieces_specials_and_ordinary_ones() {
    let data = with(|v| {
        v.tokens.push("Ġb");
        v.token_types.push(1);
    })
    .unwrap();
    let pieces: Vec<&[u8]> = data.pieces.iter().map(Vec::as_slice).collect();
    let expected: [&[u8]; 10] =
        [b"a", b" ", b"b", b" a", b"\xFF", b"<|im_start|>", b"<think>", b"", b"a b", b" b"];
    assert_eq!(pieces, expected);
    assert_eq!((&data.specials[..], &data.ordinary[..]), (&[5][..], &[6][..]));
    // The last merge makes "a b", which the file spells with a plain space.
    assert_eq!(data.merges, [(1, 0), (1, 2), (0, 9)]);
    assert!(data.nfc && !data.ignore_merges && data.prefix.is_empty());
    let section = data.to_section().unwrap();
    assert_eq!(Tokenizer::parse(&section).unwrap().pre_tokenizer(), PreTokenizer::Qwen2);
}

#[test]
fn the_name_of_the_pattern_decides_what_the_file_leaves_out() {
    let named = |name| with(|v| (v.pre, v.merges) = (Some(name), Vec::new())).unwrap();
    let llama = named("llama-bpe");
    assert_eq!((llama.pre_tokenizer, llama.prefix.as_slice()), (PreTokenizer::Llama3, &[5][..]));
    assert!(llama.ignore_merges && !llama.nfc);
    assert_eq!(named("gpt-2").pre_tokenizer, PreTokenizer::Gpt2);
    let llada = named("llada-moe");
    assert_eq!((llada.pre_tokenizer, llada.nfc), (PreTokenizer::Qwen2, false));

    let saying = |add_bos, bos| {
        with(|v| (v.pre, v.merges, v.add_bos, v.bos) = (Some("llama-bpe"), vec![], add_bos, bos))
    };
    assert!(saying(Some(false), Some(5)).unwrap().prefix.is_empty());
    assert!(saying(None, None).unwrap().prefix.is_empty());
    assert!(matches!(saying(Some(true), None), Err(GgufError::MissingKey(_))));
    assert_eq!(with(|v| (v.merges, v.add_bos) = (vec![], Some(true))).unwrap().prefix, [5]);

    // Every name in the message is a name that is taken.
    assert!(SUPPORTED.split(", ").all(|name| Family::of(name).is_some()));
}

#[test]
fn without_kinds_the_named_tokens_are_special() {
    let data = with(|v| (v.token_types, v.merges, v.mask) = (vec![], vec![], Some(6))).unwrap();
    assert_eq!((&data.specials[..], &data.ordinary[..]), (&[5, 6][..], &[][..]));
}

#[test]
fn what_is_not_supported_is_named() {
    let message = |change: &dyn Fn(&mut GgufVocab<'static>)| {
        with(|vocab| change(vocab)).unwrap_err().to_string()
    };
    let spm = message(&|v| v.model = "llama");
    assert!(spm.contains("tokenizer.ggml.model is llama (SentencePiece)"), "{spm}");
    let pattern = message(&|v| v.pre = Some("tekken"));
    assert!(pattern.contains("tokenizer.ggml.pre is tekken") && pattern.contains("qwen2"));
    assert!(message(&|v| v.pre = None).contains("tokenizer.ggml.pre is missing"));
    assert!(message(&|v| v.merges = vec!["ab"]).contains("merge 0"));
    assert!(message(&|v| v.merges = vec!["a x"]).contains("\"x\", which is no token"));
    let many = message(&|v| v.tokens = vec![""; MAX_IDS as usize + 1]);
    assert!(many.contains("1048577 tokens"), "{many}");
}
