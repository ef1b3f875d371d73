use super::*;

fn load(text: &str) -> Result<Task, TaskError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Task::load(file.path())
}

fn reply(text: &str) -> Reply {
    Reply { text: text.into(), filled: None }
}

fn is_right(task: &Task, at: usize, text: &str) -> bool {
    task.quality(at, &reply(text)) == 1.0
}

#[test]
fn answers_are_compared_without_space_around_them() {
    let lines = "{\"prompt\":\"2+2\",\"answer\":\"4\"}\n\n{\"prompt\":\"a\",\"answer\":\" b \"}\n";
    let task = load(lines).unwrap();
    assert_eq!((task.len(), task.kind().measure()), (2, "answers right"));
    assert_eq!((task.prompt(0), task.answer(1)), ("2+2".into(), " b ".into()));
    assert!(is_right(&task, 0, " 4\n") && !is_right(&task, 0, "44") && is_right(&task, 1, "b"));
    assert!(!is_right(&task, 2, ""));
    // No right answer is JSON.
    assert_eq!(task.marks(0, &reply("4")).len(), 1);
    assert_eq!(task.first(1).len(), 1);
}

#[test]
fn only_text_is_text() {
    let marked = load("\u{feff}{\"prompt\":\"a\",\"answer\":\"b\"}\r\n").unwrap();
    assert_eq!((marked.len(), marked.prompt(0).as_str()), (1, "a"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"{\"text\":\"a\"}\n{\"text\":\"caf\xe9\"}\n").unwrap();
    let said = Task::load(file.path()).unwrap_err().to_string();
    assert!(said.contains("line 2 is not UTF-8"), "{said}");
}

#[test]
fn frames_are_compared_as_frames() {
    let line = "{\"intent\":\"Play\",\"segments\":[[null,\"play\"],[\"artist\",\"Weezer\"]]}";
    let task = load(line).unwrap();
    assert_eq!(task.prompt(0), "play weezer");
    assert!(is_right(&task, 0, "{\"artist\":\"weezer\",\"intent\":\"Play\"}"));
    assert!(!is_right(&task, 0, "{\"intent\":\"Play\"}") && !is_right(&task, 0, "nonsense"));
    assert_eq!(task.kind().measure(), "whole frames right");
    let marks = task.marks(0, &reply("[1]"));
    let hits: Vec<f64> = marks.iter().map(|mark| mark.hits).collect();
    assert_eq!(hits, [0.0, 0.0, 0.0, 1.0, 1.0], "no frame, but JSON");
    assert_eq!(marks.iter().map(|mark| mark.name).collect::<Vec<_>>(), task.kind().scores());
}

#[test]
fn scores_are_ratios_of_sums() {
    let task = load("{\"prompt\":\"a\",\"answer\":\"[1]\"}").unwrap();
    let marks = |hits: f64, of: f64| [Mark { name: "right", hits, of }];
    let (one, two) = (marks(1.0, 1.0), marks(1.0, 3.0));
    let scores = task.scores(&[&one, &two]);
    assert_eq!((scores.len(), scores[0].percent.value), (1, 50.0), "{scores:?}");
    assert!(scores[0].percent.error > 0.0);
    assert!(task.scores(&[]).is_empty());
    assert_eq!(task.marks(0, &reply("{")).last(), Some(&Mark { name: "json", hits: 0.0, of: 1.0 }));
}

fn task_without_groups() -> Task {
    load("{\"prompt\":\"a\",\"answer\":\"b\"}").unwrap()
}

#[test]
fn lists_gaps_and_texts_read() {
    let lists = load(r#"{"task":"reverse","list":["A","B"]}"#).unwrap();
    assert_eq!((lists.kind(), lists.group(0)), (Kind::Lists, Some("reverse")));
    assert_eq!(lists.prompt(0), r#"reverse ["A", "B"]"#);
    assert_eq!((lists.groups(), task_without_groups().groups()), (vec!["reverse"], vec![]));
    let hits: Vec<f64> = lists.marks(0, &reply("[B, A]")).iter().map(|mark| mark.hits).collect();
    assert_eq!(hits, [0.0, 1.0, 0.0]);
    let gaps = load(r#"{"text":"play jazz","hide":[[5,9]]}"#).unwrap();
    assert_eq!((gaps.kind(), gaps.answer(0)), (Kind::Gaps, "jazz".into()));
    let tokens = GapTokens { tokens: vec![4, 5, 6], gaps: vec![0..1, 1..3] };
    let filled = Reply { filled: Some((tokens, vec![4, 5, 9])), ..Reply::default() };
    assert_eq!(gaps.quality(0, &filled), 0.5);
    assert_eq!(gaps.marks(0, &filled)[1], Mark { name: "tokens", hits: 2.0, of: 3.0 });
    let texts = load("{\"text\":\"to be\"}\n").unwrap();
    assert_eq!((texts.kind(), texts.prompt(0)), (Kind::Texts, "to be".into()));
    assert!(texts.marks(0, &reply("")).is_empty());
}

#[test]
fn what_is_no_item_is_named() {
    let said = |text: &str| load(text).unwrap_err().to_string();
    assert!(said("").contains("no item"));
    assert!(said("{\"prompt\":\"a\",\"answer\":\"b\"}\n{\"prompt\":3}").contains("line 2"));
    let said_once = said("\n{\"prompt\":\"a\"}");
    assert!(said_once.contains("line 2") && !said_once.contains("line 1"), "{said_once}");
    assert!(said_once.contains("`answer` at column 14"), "{said_once}");
    assert!(said("{\"intent\":1,\"segments\":[]}").contains("line 1"));
    // Kinds do not mix.
    let mixed = said("{\"text\":\"a\"}\n\n{\"text\":\"a\",\"hide\":[[0,1]]}");
    assert!(
        mixed.contains("line 3") && mixed.contains("{\"text\": text} on every line"),
        "{mixed}"
    );
    let list =
        said("{\"task\":\"copy\",\"list\":[\"A\"]}\n{\"task\":\"copy\",\"list\":[\"A\",\"A\"]}");
    assert!(list.contains("line 2") && list.contains("twice"), "{list}");
    for hostile in
        ["[[[[", "null", "\u{0}", "{\"list\":{}}", "{\"text\":[]}", "{\"hide\":1}", "\"text\""]
    {
        let said = said(hostile);
        assert!(said.contains("line 1") && !said.contains('\n'), "{said}");
    }
    let deep = format!("{{\"text\":{}", "[".repeat(100_000));
    assert!(said(&deep).contains("line 1"));
    assert!(Task::load(Path::new("nowhere.jsonl")).is_err());
}
