//! What the reader of `tokenizer.json` takes, and what it says about the rest.

use crate::tokenizer_texts::{Kind, Lcg, QWEN2, trained};
use demask_quant::tokenizer::{PreTokenizer as Pre, TokenizerData};
use demask_std::read::tokenizer_json::{TokenizerJsonError as E, parse, read, read_folder};
use serde_json::{Value, json};

fn minimal() -> Value {
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [
            {"id": 5, "content": "<|mask|>", "single_word": false, "lstrip": false,
             "rstrip": false, "normalized": false, "special": true}
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true, "use_regex": true},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true},
        "decoder": {"type": "ByteLevel"},
        "model": {
            "type": "BPE",
            "vocab": {"a": 0, "Ġ": 1, "Ġa": 2, "ÿ": 3},
            "merges": ["Ġ a"]
        }
    })
}

/// A pre-tokenizer that cuts with a pattern of its own.
fn split(pattern: &str, behavior: &str, add_prefix_space: bool) -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": false},
        {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "use_regex": false},
    ]})
}

fn parse_value(value: &Value) -> Result<TokenizerData, E> {
    parse(value.to_string().as_bytes())
}

/// The minimal file with one value changed.
fn changed(pointer: &str, to: Value) -> Value {
    let mut value = minimal();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap();
    match parent.as_array_mut() {
        Some(list) => list[name.parse::<usize>().unwrap()] = to,
        None => parent[name] = to,
    }
    value
}

#[test]
fn a_file_becomes_pieces_merges_and_specials() {
    let data = parse_value(&minimal()).unwrap();
    assert_eq!(data.pieces, [&b"a"[..], b" ", b" a", b"\xFF", b"", b"<|mask|>"]);
    assert_eq!((data.merges.as_slice(), data.specials.as_slice()), (&[(1, 0)][..], &[5][..]));
    assert!(data.add_prefix_space);
    data.to_section().unwrap();
}

#[test]
fn what_changes_no_token_is_taken() {
    let plain = parse_value(&minimal()).unwrap();
    for (pointer, to) in [
        ("/truncation", json!({"max_length": 8})),
        ("/normalizer", json!({"type": "Sequence", "normalizers": []})),
        ("/post_processor", json!(null)),
        (
            "/post_processor",
            json!({"type": "Sequence", "processors": [
                {"type": "ByteLevel"},
                {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}]},
            ]}),
        ),
        (
            "/pre_tokenizer",
            json!({"type": "Sequence",
                "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": true}]}),
        ),
        ("/model/type", json!(null)),
        ("/model/merges", json!([["Ġ", "a"]])),
        ("/model/dropout", json!(0.0)),
        ("/model/end_of_word_suffix", json!("")),
        ("/model/fuse_unk", json!(true)),
        ("/added_tokens/0/normalized", json!(true)),
    ] {
        assert_eq!(parse_value(&changed(pointer, to)).unwrap(), plain, "{pointer}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let twice = json!({"type": "TemplateProcessing", "single": [
        {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
    ]});
    for (pointer, to, named) in [
        ("/version", json!("2.0"), "version"),
        ("/normalizer", json!({"type": "NFKC"}), "normalizer"),
        (
            "/normalizer",
            json!({"type": "Sequence", "normalizers": [
            {"type": "NFC"}, {"type": "Lowercase"}]}),
            "normalizer",
        ),
        ("/pre_tokenizer", json!(null), "pre_tokenizer"),
        ("/pre_tokenizer", json!({"type": "Whitespace"}), "pre_tokenizer"),
        ("/pre_tokenizer", split("x", "Isolated", false), "pre_tokenizer.pattern"),
        ("/pre_tokenizer", split(QWEN2, "Removed", false), "pre_tokenizer"),
        ("/pre_tokenizer", split(QWEN2, "Isolated", true), "pre_tokenizer.add_prefix_space"),
        ("/pre_tokenizer/use_regex", json!(false), "pre_tokenizer.use_regex"),
        ("/post_processor", json!({"type": "BertProcessing"}), "post_processor"),
        ("/post_processor", twice.clone(), "post_processor.single"),
        (
            "/post_processor",
            json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, twice]}),
            "post_processor.single",
        ),
        ("/decoder", json!({"type": "WordPiece"}), "decoder"),
        ("/decoder", json!(null), "decoder"),
        ("/model", json!({"type": "Unigram", "vocab": [["a", -1.0]]}), "model.type"),
        ("/model/type", json!("WordPiece"), "model.type"),
        ("/model/dropout", json!(0.1), "model.dropout"),
        ("/model/unk_token", json!("a"), "model.unk_token"),
        ("/model/continuing_subword_prefix", json!("##"), "model.continuing_subword_prefix"),
        ("/model/end_of_word_suffix", json!("</w>"), "model.end_of_word_suffix"),
        ("/model/byte_fallback", json!(true), "model.byte_fallback"),
        ("/added_tokens/0/lstrip", json!(true), "added_tokens[0].lstrip"),
        ("/added_tokens/0/rstrip", json!(true), "added_tokens[0].rstrip"),
        ("/added_tokens/0/single_word", json!(true), "added_tokens[0].single_word"),
    ] {
        match parse_value(&changed(pointer, to.clone())).unwrap_err() {
            E::Unsupported { field, .. } => assert_eq!(field, named, "{to}"),
            other => panic!("{pointer} = {to}: {other}"),
        }
    }
    let error =
        parse_value(&changed("/pre_tokenizer", split(r"\w+", "Isolated", false))).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the tokenizer has pre_tokenizer.pattern = "\\w+", which is not supported; "#.to_owned()
            + "supported: those of GPT-2, Qwen 2, Llama 3 and LLaDA"
    );
}

#[test]
fn patterns_are_known_in_each_spelling() {
    for (pattern, expected) in [
        (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", Pre::Gpt2),
        (QWEN2, Pre::Qwen2),
        (
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
            Pre::Qwen2,
        ),
        (&QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|"), Pre::Llama3),
    ] {
        let data =
            parse_value(&changed("/pre_tokenizer", split(pattern, "Isolated", false))).unwrap();
        assert_eq!((data.pre_tokenizer, data.add_prefix_space), (expected, false));
    }
}

#[test]
fn a_template_becomes_prefix_and_suffix() {
    let template = |before: &str, after: &str| {
        json!({"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": before, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": after, "type_id": 0}},
        ], "special_tokens": {
            "<s>": {"id": "<s>", "ids": [5], "tokens": ["<|mask|>"]},
            "x": {"id": "x", "ids": [0, 1], "tokens": ["a", "b"]},
            "far": {"id": "far", "ids": [6], "tokens": ["c"]},
        }})
    };
    let parse_with = |processor: Value| parse_value(&changed("/post_processor", processor));
    let data = parse_with(template("<s>", "x")).unwrap();
    assert_eq!((data.prefix, data.suffix), (vec![5], vec![0, 1]));
    let data = parse_with(json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel"}, template("<s>", "x"), template("x", "<s>")]}))
    .unwrap();
    assert_eq!((data.prefix, data.suffix), (vec![0, 1, 5], vec![0, 1, 5]));
    for broken in [template("<s>", "unknown"), template("far", "x")] {
        assert!(matches!(parse_with(broken), Err(E::Invalid { .. })));
    }
}

#[test]
fn flags_of_the_model_and_the_tokens_are_kept() {
    let data = parse_value(&changed("/normalizer", json!({"type": "NFC"}))).unwrap();
    assert!(data.nfc);
    let nfc = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}]});
    assert!(parse_value(&changed("/normalizer", nfc)).unwrap().nfc);
    assert!(parse_value(&changed("/model/ignore_merges", json!(true))).unwrap().ignore_merges);
    let data = parse_value(&changed("/added_tokens/0/special", json!(false))).unwrap();
    assert_eq!((data.specials, data.ordinary), (vec![], vec![5]));
    let mut value = changed("/normalizer", json!({"type": "NFC"}));
    value["added_tokens"][0]["normalized"] = json!(true);
    assert!(matches!(parse_value(&value), Err(E::Unsupported { .. })));
}

#[test]
fn contradictions_are_named() {
    let long = format!("\"{}\"", "x".repeat(2 << 20));
    for (pointer, to, named) in [
        ("/model/vocab/b", json!(2), "model.vocab["),
        ("/model/vocab/b", json!(1 << 20), "model.vocab[\"b\"]"),
        ("/model/vocab/b", json!(u32::MAX), "model.vocab[\"b\"]"),
        ("/model/vocab/", json!(4), "model.vocab[\"\"]"),
        ("/model/merges/0", json!("Ġa"), "model.merges[0]"),
        ("/model/merges/0", json!("Ġ a a"), "model.merges[0]"),
        ("/model/merges/0", json!("Ġ b"), "model.merges[0]"),
        ("/model/merges/0", json!(["a", "a"]), "model.merges[0]"),
        ("/added_tokens/0/id", json!(3), "added_tokens[0]"),
        ("/added_tokens/0/content", json!(""), "added_tokens[0]"),
        ("/added_tokens/0/content", json!("a"), "added_tokens[0]"),
        ("/pre_tokenizer/add_prefix_space", json!(null), "pre_tokenizer.add_prefix_space"),
        ("/normalizer", json!(long), "normalizer"),
    ] {
        match parse_value(&changed(pointer, to)).unwrap_err() {
            E::Invalid { field, .. } => assert!(field.starts_with(named), "{field} for {named}"),
            other => panic!("{pointer}: {other}"),
        }
    }
}

#[test]
fn two_kinds_of_added_tokens_are_taken_only_where_they_cannot_overlap() {
    for (other, fits) in
        [("[PAD]", true), ("|>", false), ("<|mask|>x", false), (">>", false), ("x<", false)]
    {
        let mut value = minimal();
        let token = json!({"id": 6, "content": other, "normalized": true, "special": true});
        value["added_tokens"].as_array_mut().unwrap().push(token);
        assert_eq!(parse_value(&value).is_ok(), fits, "{other}");
    }
}

#[test]
fn a_special_may_also_stand_in_the_vocabulary() {
    let mut value = changed("/model/vocab/<|mask|>", json!(5));
    assert_eq!(parse_value(&value).unwrap(), parse_value(&minimal()).unwrap());
    value["added_tokens"][0]["id"] = json!(6);
    assert!(matches!(parse_value(&value), Err(E::Invalid { .. })));
}

#[test]
fn damaged_files_are_errors() {
    for json in ["", "[]", "{}", "null", "\u{0}"] {
        assert!(matches!(parse(json.as_bytes()), Err(E::Json(_))), "{json}");
    }
    for (pointer, to) in [
        ("/model", json!([1])),
        ("/model/vocab", json!(null)),
        ("/model/vocab/a", json!(-1)),
        ("/model/merges", json!([1])),
    ] {
        assert!(matches!(parse_value(&changed(pointer, to)), Err(E::Json(_))), "{pointer}");
    }
    assert!(matches!(parse(b"\xFF"), Err(E::Json(_))));
    assert!(matches!(parse("[".repeat(100_000).as_bytes()), Err(E::Json(_))));
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let deep =
        minimal().to_string().replacen("\"normalizer\":null", &format!("\"normalizer\":{deep}"), 1);
    assert!(matches!(parse(deep.as_bytes()), Err(E::Json(_))));
    assert!(matches!(read("/does/not/exist".as_ref()), Err(E::Io { .. })));

    let whole = trained(Kind::Gpt2 { add_prefix_space: false });
    let mut random = Lcg(21);
    for _ in 0..300 {
        let mut damaged = whole.clone();
        damaged.truncate(random.below(whole.len()));
        assert!(parse(&damaged).is_err());
        // A changed byte may leave a usable file; it must not panic.
        let mut damaged = whole.clone();
        damaged[random.below(whole.len())] = random.below(256) as u8;
        let _ = parse(&damaged).map(|data| data.to_section());
    }
}

#[test]
fn older_folders_give_the_same_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    assert!(read_folder(folder.path()).unwrap().is_none());
    write("vocab.json", r#"{"a": 0, "Ġ": 1, "Ġa": 2, "ÿ": 3}"#);
    write("merges.txt", "#version: 0.2\nĠ a\n\n");
    let config = |class: &str| {
        let config = json!({"tokenizer_class": class, "add_prefix_space": true,
            "added_tokens_decoder": {"5": {"content": "<|mask|>", "special": true}}});
        write("tokenizer_config.json", &config.to_string());
    };
    config("GPT2Tokenizer");
    assert_eq!(read_folder(folder.path()).unwrap().unwrap(), parse_value(&minimal()).unwrap());
    config("DreamTokenizer");
    let data = read_folder(folder.path()).unwrap().unwrap();
    assert_eq!((data.pre_tokenizer, data.nfc, data.add_prefix_space), (Pre::Qwen2, true, false));
    config("BertTokenizer");
    let error = read_folder(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer_class = \"BertTokenizer\""), "{error}");
    write(
        "tokenizer_config.json",
        r#"{"tokenizer_class": "GPT2Tokenizer",
        "added_tokens_decoder": {"x": {}}}"#,
    );
    assert!(matches!(read_folder(folder.path()), Err(E::Invalid { .. })));
    // A tokenizer.json is taken first.
    write("tokenizer.json", &minimal().to_string());
    assert!(read_folder(folder.path()).unwrap().unwrap().add_prefix_space);
}
