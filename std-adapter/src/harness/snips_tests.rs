use super::*;

const LINE: &str = r#"{"intent":"AddToPlaylist","segments":[[null,"I'd like  "],
    ["music_item","Track, (Live)"],[null," ... "],["playlist","Español"],["music_item","two"]]}"#;

fn example() -> Example {
    let line = LINE.replace('\n', " ");
    parse(line.as_bytes()).unwrap().remove(0)
}

#[test]
fn normal_form_drops_marks_and_case() {
    assert_eq!(normal_form("  I'd LIKE “it”, (now)!? "), "i d like “it” now");
    assert_eq!(normal_form("a\u{1c}b\u{a0}c\u{3000}"), "a b c");
    assert_eq!(normal_form("?!."), "");
}

#[test]
fn renders_the_frame_of_the_training_script() {
    let (utterance, frame) = example().render();
    assert_eq!(utterance, "i d like track live español two");
    let expected =
        r#"{"intent":"AddToPlaylist","music_item":["track live","two"],"playlist":"español"}"#;
    assert_eq!(frame, expected);
    let mut escaped = String::new();
    push_json(&mut escaped, "a\"\\\n\u{1}é\u{7f}");
    assert_eq!(escaped, "\"a\\\"\\\\\\n\\u0001é\u{7f}\"");
}

#[test]
fn errors_name_the_line() {
    let bad = parse(b"{\"intent\":\"a\",\"segments\":[]}\n\n{\"intent\":1}\n").unwrap_err();
    assert!(matches!(bad, SnipsError::Line { line: 3, .. }), "{bad}");
    let slot = parse(b"{\"intent\":\"a\",\"segments\":[[\"intent\",\"x\"]]}").unwrap_err();
    assert!(matches!(slot, SnipsError::Line { line: 1, .. }), "{slot}");
    assert!(matches!(parse(b"\n \n"), Err(SnipsError::Empty)));
    assert!(matches!(parse(b"\xff"), Err(SnipsError::Line { line: 1, .. })));
    assert!(matches!(load(Path::new("/")), Err(SnipsError::Read { .. })));
}

fn score(answer: &str) -> SnipsScore {
    let decode = |_: &str| Ok::<_, ()>(answer.to_owned());
    evaluate(&[example()], decode, |_| {}).unwrap()
}

#[test]
fn scores_slots_as_multisets() {
    let perfect = score(&example().render().1);
    assert_eq!((perfect.frame, perfect.intent, perfect.invalid, perfect.n), (100.0, 100.0, 0.0, 1));
    assert!((perfect.slot_f1 - 100.0).abs() < 1e-6);
    // Order and spacing do not count, nor does the place of the intent.
    let shuffled = r#" {"playlist": "español", "music_item": ["two", "track live"],
        "intent": "AddToPlaylist"}"#;
    assert_eq!(score(shuffled).frame, 100.0);
    // One of three is right, one is repeated: tp 1, fp 1, fn 2.
    let half = score(r#"{"intent":"Other","music_item":["two","two"]}"#);
    assert_eq!((half.frame, half.intent), (0.0, 0.0));
    assert!((half.slot_f1 - 40.0).abs() < 1e-6, "{half:?}");
    // The last of two equal keys counts.
    let twice = r#"{"intent":"a","intent":"AddToPlaylist","playlist":"x","playlist":"español"}"#;
    let twice = score(twice);
    assert_eq!(twice.intent, 100.0);
    assert!((twice.slot_f1 - 50.0).abs() < 1e-6, "{twice:?}");
}

#[test]
fn what_is_not_a_frame_misses_every_slot() {
    for answer in ["", "{", "[]", "{\"playlist\":\"x\"}", "\"intent\""] {
        let score = score(answer);
        assert_eq!((score.invalid, score.intent, score.slot_f1), (100.0, 0.0, 0.0), "{answer}");
    }
}

#[test]
fn stops_at_the_first_error_and_reports_progress() {
    let examples = [example(), example()];
    let mut seen = Vec::new();
    let mut calls = 0;
    let decode = |_: &str| {
        calls += 1;
        if calls == 1 { Ok(String::new()) } else { Err("broken") }
    };
    let result = evaluate(&examples, decode, |tally| seen.push(tally.score().n));
    assert_eq!((result, seen), (Err("broken"), vec![1]));
    assert_eq!(evaluate(&[], |_| Err("unused"), |_| {}), Ok(SnipsScore::default()));
}
