use super::*;

fn question(line: &str) -> Result<ListQuestion, String> {
    ListQuestion::new(serde_json::from_str(line).map_err(|e| e.to_string())?)
}

fn judged(line: &str, answer: &str) -> (bool, bool) {
    question(line).unwrap().judge(answer)
}

const INSERT: &str = r#"{"task":"insert-index","list":["A","C"],"item":"Q","index":1}"#;

#[test]
fn prompts_and_answers_are_written_so() {
    let insert = question(INSERT).unwrap();
    assert_eq!(insert.prompt(), r#"insert-index 1 "Q" ["A", "C"]"#);
    assert_eq!(insert.answer(), r#"["A", "Q", "C"]"#);
    let sort = question(r#"{"task":"sort","list":["Zoë","Al Bo","Mia"]}"#).unwrap();
    assert_eq!(sort.prompt(), r#"sort ["Zoë", "Al Bo", "Mia"]"#);
    assert_eq!(sort.answer(), r#"["Al Bo", "Mia", "Zoë"]"#);
    let remove = question(r#"{"task":"remove-index","list":["B"],"index":0}"#).unwrap();
    assert_eq!((remove.answer(), remove.judge("[]")), ("[]".into(), (true, true)));
    for task in ListTask::ALL {
        for seed in 0..20 {
            let question = ListQuestion::generate(task, 5, seed).unwrap();
            assert_eq!(question.judge(&question.answer()), (true, true), "{}", question.prompt());
        }
    }
}

#[test]
fn the_sets_of_the_benchmark() {
    let shuffle = r#"{"task":"shuffle","list":["A","B","C"]}"#;
    assert_eq!(judged(shuffle, r#"["C", "A", "B"]"#), (true, true));
    assert_eq!(judged(shuffle, r#"["A", "B", "C"]"#), (false, false), "the input itself");
    assert_eq!(judged(shuffle, r#"["A", "B", "B"]"#), (false, false));
    let insert = r#"{"task":"insert-random","list":["A","B"],"item":"Q"}"#;
    for (answer, right) in [
        (r#"["Q", "A", "B"]"#, true),
        (r#"["A", "Q", "B"]"#, true),
        (r#"["A", "B", "Q"]"#, true),
        (r#"["B", "A", "Q"]"#, false),
        (r#"["A", "B"]"#, false),
        (r#"["A", "B", "X"]"#, false),
    ] {
        assert_eq!(judged(insert, answer), (right, right), "{answer}");
    }
    let remove = r#"{"task":"remove-random","list":["A","B","C"]}"#;
    assert!(judged(remove, r#"["A", "C"]"#).0 && !judged(remove, r#"["C", "A"]"#).0);
    assert!(!judged(remove, r#"["A", "B", "C"]"#).0 && !judged(remove, r#"["A"]"#).0);
    let replace = r#"{"task":"replace-random","list":["A","B"],"item":"Q"}"#;
    assert!(judged(replace, r#"["Q", "B"]"#).0 && judged(replace, r#"["A", "Q"]"#).0);
    assert!(!judged(replace, r#"["Q", "Q"]"#).0 && !judged(replace, r#"["A", "B"]"#).0);
}

#[test]
fn the_strict_parser_wants_the_form() {
    for (answer, judged_so) in [
        (r#"["A", "Q", "C"]"#, (true, true)),
        (r#" ["A", "Q", "C"] "#, (true, true)),
        (r#"["A","Q","C"]"#, (false, true)),
        (r#"[A, Q, C]"#, (false, true)),
        (r#"["A", "Q", "C""#, (false, true)),
        (r#"["A", "Q", "C",]"#, (false, true)),
        (r#"the answer is ["A", "Q", "C"]."#, (false, true)),
        (r#"["X"] ["A", "Q", "C"]"#, (false, true)),
        (r#""A", "Q", "C""#, (false, false)),
        (r#"["A", "C", "Q"]"#, (false, false)),
        ("", (false, false)),
        ("[", (false, false)),
        ("[\"\"\"]", (false, false)),
        ("[é", (false, false)),
    ] {
        assert_eq!(judged(INSERT, answer), judged_so, "{answer}");
    }
    assert_eq!(strict("[\"]"), None);
    assert_eq!(strict("[\"é\", \"b, c\"]"), None);
}

#[test]
fn lines_that_make_no_sense() {
    for (line, said) in [
        (r#"{"task":"walk","list":["A"]}"#, "shuffle"),
        (r#"{"task":"copy","list":[]}"#, "1 to 1000"),
        (r#"{"task":"shuffle","list":["A"]}"#, "2 to 1000"),
        (r#"{"task":"copy","list":["A"],"item":"B"}"#, "takes no \"item\""),
        (r#"{"task":"insert-random","list":["A"]}"#, "takes an \"item\""),
        (r#"{"task":"remove-index","list":["A"]}"#, "takes an \"index\""),
        (r#"{"task":"remove-index","list":["A"],"index":1}"#, "outside"),
        (r#"{"task":"remove-index","list":["A"],"index":-1}"#, "invalid value"),
        (r#"{"task":"copy","list":["A","A"]}"#, "twice"),
        (r#"{"task":"insert-random","list":["A"],"item":"A"}"#, "twice"),
        (r#"{"task":"copy","list":["A,B"]}"#, "item"),
        (r#"{"task":"copy","list":[""]}"#, "item"),
        (r#"{"task":"copy","list":["A"],"more":1}"#, "unknown field"),
    ] {
        assert!(
            question(line).unwrap_err().contains(said),
            "{line}: {}",
            question(line).unwrap_err()
        );
    }
    let end = r#"{"task":"insert-index","list":["A"],"item":"B","index":1}"#;
    assert_eq!(question(end).unwrap().answer(), r#"["A", "B"]"#);
}

#[test]
fn generated_questions_are_uniform_and_fixed() {
    let first = ListQuestion::generate(ListTask::ReplaceIndex, 3, 1).unwrap();
    // The same bytes on every machine and in every version.
    assert_eq!(serde_json::to_string(first.line()).unwrap(), EXPECTED);
    let mut counts = [0u32; 26];
    for seed in 0..2600 {
        let question = ListQuestion::generate(ListTask::InsertRandom, 4, seed).unwrap();
        counts[usize::from(question.line().list[0].as_bytes()[0] - b'A')] += 1;
    }
    // 100 each; the standard deviation is 10.
    assert!(counts.iter().all(|count| count.abs_diff(100) < 45), "{counts:?}");
    assert!(ListQuestion::generate(ListTask::Copy, 27, 0).is_none());
    assert!(ListQuestion::generate(ListTask::InsertRandom, 26, 0).is_none());
    assert!(ListQuestion::generate(ListTask::Copy, 0, 0).is_none());
}

const EXPECTED: &str = r#"{"task":"replace-index","list":["Y","Z","N"],"item":"T","index":2}"#;
