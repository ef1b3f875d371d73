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

fn verdict(answer: &str) -> Verdict {
    judge(&example(), answer)
}

/// Twice the slots in common, of the slots of both.
fn slots(answer: &str) -> (usize, usize) {
    verdict(answer).slots()
}

#[test]
fn scores_slots_as_multisets() {
    let perfect = verdict(&example().render().1);
    assert!(perfect.frame && perfect.intent && !perfect.invalid);
    assert_eq!(perfect.slots(), (6, 6));
    // Order and spacing do not count, nor does the place of the intent.
    let shuffled = r#" {"playlist": "español", "music_item": ["two", "track live"],
        "intent": "AddToPlaylist"}"#;
    assert!(verdict(shuffled).frame);
    // One of three is right, one is repeated: F1 is 40 %.
    let half = verdict(r#"{"intent":"Other","music_item":["two","two"]}"#);
    assert!(!half.frame && !half.intent && !half.invalid);
    assert_eq!((half.right_slots, half.wrong_slots, half.missed_slots), (1, 1, 2));
    assert_eq!(half.slots(), (2, 5));
    // The last of two equal keys counts.
    let twice = r#"{"intent":"a","intent":"AddToPlaylist","playlist":"x","playlist":"español"}"#;
    assert!(verdict(twice).intent);
    assert_eq!(slots(twice), (2, 4));
}

#[test]
fn what_is_not_a_frame_misses_every_slot() {
    for answer in ["", "{", "[]", "{\"playlist\":\"x\"}", "\"intent\""] {
        let verdict = verdict(answer);
        assert!(verdict.invalid && !verdict.intent && !verdict.frame, "{answer}");
        assert_eq!(verdict.slots(), (0, 3), "{answer}");
    }
}
