//! `demask device-check`: logs as firmware prints them, whole and damaged in every way. The demo's own
//! functions print the lines, so that both sides of the format are in one test.

use crate::firmware_log::{Device, model_path};
use crate::print::Console;
use demask::StepEvent;
use demask::decode::Commit;
use demask_std::device::{DeviceLog, HostAnswer, Step, compare};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::HashSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// Runs the command on a log.
fn check(log: &[u8], more: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_demask"))
        .args(["device-check", model_path().to_str().unwrap(), "--threads", "1"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(log).unwrap();
    child.wait_with_output().unwrap()
}

fn agrees(log: &str, more: &[&str]) -> Value {
    let output = check(log.as_bytes(), &[&["--json"], more].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}\n{log}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["agree"], &report["difference"]), (&Value::Bool(true), &Value::Null));
    report
}

/// The difference and its sentence.
fn differs(log: &str, more: &[&str]) -> (Value, String) {
    let output = check(log.as_bytes(), &[&["--json"], more].concat());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}\n{log}");
    assert!(!errors.contains("panicked") && errors.lines().count() == 1, "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["agree"], false);
    assert!(errors.contains(report["difference"]["sentence"].as_str().unwrap()), "{errors}");
    (report["difference"].clone(), errors)
}

/// The kind of the difference, whose sentence holds `expected`.
fn kind(log: &str, more: &[&str], expected: &str) -> String {
    let (difference, sentence) = differs(log, more);
    assert!(sentence.contains(expected), "{sentence}");
    difference["kind"].as_str().unwrap().to_owned()
}

fn decoded() -> &'static [(String, HostAnswer); 3] {
    static DECODED: OnceLock<[(String, HostAnswer); 3]> = OnceLock::new();
    DECODED.get_or_init(|| {
        let device = Device::new();
        [device.threshold(), device.pairs(), device.wino()].map(|one| (one.log, one.answer))
    })
}

/// A log with two answers, the second one with two tokens in each step.
fn two() -> String {
    let [first, second, _] = decoded();
    format!("{}{}{}", Device::new().boot(), first.0, second.0)
}

/// Without the lines that begin with `name`.
fn without(log: &str, name: &str) -> String {
    log.split_inclusive('\n').filter(|line| !line.starts_with(name)).collect()
}

/// With the last place of `from` replaced.
fn replaced(log: &str, from: &str, to: &str) -> String {
    let at = log.rfind(from).unwrap_or_else(|| panic!("{from:?} is not in {log}"));
    [&log[..at], to, &log[at + from.len()..]].concat()
}

/// The line of the last answer that begins with `name`.
fn last_line<'l>(log: &'l str, name: &str) -> &'l str {
    log.lines().rfind(|line| line.starts_with(name)).unwrap()
}

/// With one hexadecimal or decimal digit at the end of the line changed.
fn changed(line: &str) -> String {
    let (rest, digit) = line.split_at(line.len() - 1);
    format!("{rest}{}", if digit == "1" { "2" } else { "1" })
}

#[test]
fn a_whole_log_agrees_with_or_without_steps_and_whatever_is_around() {
    let log = two() + &decoded()[2].0;
    let report = agrees(&log, &[]);
    assert_eq!(report["same_image"], true);
    let answers = report["answers"].as_array().unwrap();
    assert!(answers.len() == 3 && answers.iter().all(|answer| answer["traced"] == true));
    assert_eq!(answers[1]["steps"], decoded()[1].1.steps.len());

    let plain = without(&without(&log, "step "), "image:");
    let report = agrees(&plain, &[]);
    assert_eq!(
        (&report["same_image"], &report["answers"][0]["traced"]),
        (&Value::Null, &false.into())
    );

    let mut noisy = "\0\0\u{fffd}boot v1.2\r\n".to_owned();
    for line in log.lines() {
        noisy += &format!("\x1b[32m[00:01.000] <info>\x1b[0m {line}\r\nwifi: scanning\r\n");
    }
    assert_eq!(agrees(&noisy, &[])["answers"].as_array().unwrap().len(), 3);
}

#[test]
fn what_the_log_does_not_say_can_be_said() {
    let log = without(&without(&decoded()[1].0, "prompt:"), "method:");
    assert_eq!(kind(&log, &[], "--prompt"), "no-prompt");
    let prompt = ["--prompt", "Put what color is your sky by Alana Davis on the stereo!"];
    let method = ["--gen-length", "32", "--steps", "16", "--policy", "entropy"];
    agrees(&log, &[&prompt[..], &method].concat());
    // With other options the steps are other ones.
    assert_eq!(kind(&log, &prompt, "step 0"), "decision");
    // A prompt in the log is the one that counts.
    assert_eq!(kind(&two(), &["--prompt", "something else"], "something else"), "other-prompt");
    assert_eq!(
        agrees(&two(), &["--prompt", "put what color is your sky by alana davis on the stereo"])["answers"]
            [1]["line"],
        {
            let lines = two();
            lines
                .lines()
                .enumerate()
                .filter(|(_, line)| line.starts_with("prompt:"))
                .last()
                .unwrap()
                .0
                + 1
        }
    );
}

#[test]
fn steps_that_differ_are_named() {
    let log = two();
    let step = last_line(&log, "step 5:");
    let (first, rest) = step.strip_prefix("step 5: ").unwrap().split_once(' ').unwrap();
    let (position, token) = first.split_once('=').unwrap();
    let other = format!("step 5: {position}=7 {rest}");

    // Another token and another checksum from there on: what a wrong decision looks like.
    let mut wrong = replaced(&log, step, &changed(&other));
    for number in 6..16 {
        let line = last_line(&wrong, &format!("step {number}:")).to_owned();
        wrong = replaced(&wrong, &line, &changed(&line));
    }
    let sum = last_line(&wrong, "checksum:").to_owned();
    wrong = replaced(&wrong, &sum, &changed(&sum));
    let (difference, sentence) = differs(&wrong, &[]);
    assert_eq!((difference["kind"].as_str(), &difference["answer"]), (Some("decision"), &2.into()));
    assert_eq!((&difference["step"], &difference["in_transit"]), (&5.into(), &false.into()));
    assert_eq!(difference["position"].to_string(), position);
    assert_eq!(difference["device"]["committed"], 7);
    assert_eq!(difference["host"]["committed"].to_string(), token);
    assert!(
        sentence.contains(&format!("at position {position} the device commits 7 (\"")),
        "{sentence}"
    );

    // The same with a later checksum that agrees: only the line is wrong.
    let (difference, sentence) = differs(&replaced(&log, step, &other), &[]);
    assert_eq!(difference["in_transit"], true);
    assert!(sentence.contains("a later checksum agrees"), "{sentence}");

    // The same tokens and another checksum from there on: the arithmetic.
    let right = wrong.replace(&changed(&other), &changed(step));
    let (difference, sentence) = differs(&right, &[]);
    assert_eq!((difference["kind"].as_str(), &difference["step"]), (Some("arithmetic"), &5.into()));
    assert!(
        sentence.contains("agree up to step 5 but the checksum differs after step 5"),
        "{sentence}"
    );

    let (words, sum) = rest.split_once('@').unwrap();
    let turned = format!("step 5: {words}{first} @{sum}");
    assert_eq!(kind(&replaced(&log, step, &turned), &[], "another order"), "order");
    let lost = without(&log, "step 5:");
    assert_eq!(kind(&lost, &[], "line of step 5 is missing"), "missing-step");
    let unreadable = replaced(&log, step, &step[..step.len() - 1]);
    assert_eq!(kind(&unreadable, &[], "line of step 5 is missing"), "missing-step");
    let lost = replaced(&log, last_line(&log, "step 15:"), "");
    assert_eq!(kind(&lost, &[], "line of step 15 is missing"), "missing-step");
    // No step at all can be read: that is not a log without steps.
    let garbled = log.replace("=", "");
    assert_eq!(kind(&garbled, &[], "line of step 0 is missing"), "missing-step");
    let more = replaced(&log, last_line(&log, "tokens:"), "step 16: @00000000000000ff\ntokens: 1");
    assert_eq!(kind(&more, &[], "took 17 steps and this computer takes 16"), "steps");
}

#[test]
fn tokens_that_are_taken_back_are_compared() {
    let log = &decoded()[2].0;
    let taken = |line: &&str| line.starts_with("step") && line.contains(" -");
    let line = log.lines().find(taken).expect("wino takes tokens back");
    let word = line.split(' ').find(|word| word.starts_with('-')).unwrap();
    let without = replaced(log, line, &line.replace(&format!(" {word}"), ""));
    let (difference, sentence) = differs(&without, &[]);
    assert_eq!((&difference["device"], &difference["host"]), (&Value::Null, &"taken-back".into()));
    assert!(sentence.contains("takes the token back"), "{sentence}");
}

#[test]
fn answers_without_steps_that_differ_are_named() {
    let log = without(&two(), "step ");
    let line = |name| last_line(&log, name);
    let (_, behind_first) = line("tokens:").split_once(',').unwrap();
    let tokens = replaced(&log, line("tokens:"), &format!("tokens: 3,{behind_first}"));
    let (difference, sentence) = differs(&tokens, &[]);
    assert_eq!(
        (difference["kind"].as_str(), &difference["in_transit"]),
        (Some("token"), &true.into())
    );
    let wrong = replaced(&tokens, line("checksum:"), "checksum: 0000000000000000");
    let (difference, sentence_of_device) = differs(&wrong, &[]);
    assert_eq!((&difference["index"], &difference["in_transit"]), (&0.into(), &false.into()));
    assert!(sentence.contains("baud rate") && sentence_of_device.contains("`trace`"));
    let short = replaced(&log, line("tokens:"), line("tokens:").rsplit_once(',').unwrap().0);
    assert_eq!(kind(&short, &[], "missing (its answer has ended)"), "token");
    let sum = replaced(&log, line("checksum:"), "checksum: 0123456789abcdef");
    assert_eq!(kind(&sum, &[], "the tokens agree but"), "checksum");
    // Without tokens nobody knows whether they agree.
    let (difference, sentence) = differs(&without(&sum, "tokens:"), &[]);
    assert_eq!(difference["tokens_agree"], false);
    assert!(sentence.contains("other prompt ids") && !sentence.contains("agree"), "{sentence}");
    let steps = replaced(&log, line("steps:"), "steps: 15");
    assert_eq!(kind(&steps, &[], "took 15 steps and this computer takes 16"), "steps");
    let text = replaced(&log, line("text:"), "text: other words");
    assert_eq!(kind(&text, &[], "the text is \"other words\""), "text");
    for (name, record) in
        [("tokens: 1;2", "tokens:"), ("steps: 1x", "steps:"), ("checksum: 12", "checksum:")]
    {
        let damaged = replaced(&log, line(record), name);
        let (difference, sentence) = differs(&damaged, &[]);
        assert_eq!(difference["kind"], "unreadable");
        assert!(sentence.contains(&format!("the line `{record}` cannot be read")), "{sentence}");
        let number = 1 + damaged.lines().position(|line| line == name).unwrap();
        assert_eq!(difference["line"], number);
    }
}

#[test]
fn a_text_loses_at_its_end_what_a_line_of_a_log_does() {
    let text = " a\tb \u{7f}\n".to_owned();
    let host = HostAnswer { text, checksum: 255, ..HostAnswer::default() };
    let mut log = b"tokens:\ntext: ".to_vec();
    log.one_line(&host.text);
    log.text("\nchecksum: 00000000000000ff\n");
    assert_eq!(compare(&DeviceLog::parse(&log).answers[0], &host), None);
}

#[test]
fn logs_without_a_whole_answer_are_named() {
    assert_eq!(kind("", &[], "no answer in its 0 lines"), "no-answer");
    assert_eq!(kind("hello\nworld\n", &[], "no answer in its 2 lines"), "no-answer");
    let stopped = Device::new().boot() + "error: the memory is smaller than planned\n";
    assert_eq!(kind(&stopped, &[], "the memory is smaller than planned"), "no-answer");

    let log = two();
    let (before, _) = log.rsplit_once("step 7:").unwrap();
    assert_eq!(kind(before, &[], "cut off after 7 of 16 steps"), "cut-off");
    let crashed = format!("{before}\nfault at 0000000000001234\n");
    assert_eq!(kind(&crashed, &[], "fault at 0000000000001234"), "cut-off");
    let rebooted = format!("{before}\n{log}");
    assert_eq!(kind(&rebooted, &[], "cut off after 7 of 16 steps"), "cut-off");
    let unfinished = &log[..log.rfind("checksum:").unwrap()];
    assert_eq!(kind(unfinished, &[], "no line `checksum:`"), "cut-off");
    // A checksum shows by itself that it is whole.
    let end = log.rfind("\ninstructions").unwrap();
    agrees(&log[..end], &[]);
    assert_eq!(kind(&log[..end - 1], &[], "`checksum:` cannot be read"), "unreadable");
}

#[test]
fn another_image_or_method_is_named() {
    let log = two();
    let image = last_line(&log, "image:");
    let other = replaced(&log, image, "image: dsp 0123456789abcdef");
    assert_eq!(kind(&other, &[], "another image"), "image");
    let unknown = replaced(&log, image, "image: rows99 0123456789abcdef");
    assert_eq!(kind(&unknown, &[], "\"rows99\""), "layout");
    let options = replaced(&log, last_line(&log, "method:"), "method: --policy entrpy");
    assert_eq!(kind(&options, &[], "entrpy"), "refused");
    let options = replaced(&log, last_line(&log, "method:"), "method: --help");
    assert_eq!(kind(&options, &[], "--help"), "refused");
    let long = replaced(&log, "--gen-length 32", "--gen-length 4000000000");
    assert_eq!(kind(&long, &[], "context"), "refused");
    let prompt = replaced(&log, last_line(&log, "prompt:"), "prompt: will it rain in paris");
    assert_eq!(kind(&prompt, &[], "step 0 is the first that differs"), "decision");
}

#[test]
fn people_get_a_line_for_each_answer() {
    let output = check(two().as_bytes(), &[]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!((shown.lines().count(), output.status.code()), (3, Some(0)), "{shown}");
    assert!(shown.ends_with("the device agrees in 2 answers; so does the image\n"), "{shown}");
    let nowhere = check(b"", &["--log", "nowhere.txt"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("nowhere.txt"));
}

/// Commits and revisions of a step.
fn decisions() -> impl Strategy<Value = Vec<Commit>> {
    let decision = (any::<u32>(), any::<u32>()).prop_map(|(position, token)| Commit {
        position,
        token,
        confidence: 0.5,
    });
    prop::collection::vec(decision, 0..6)
}

/// One change of a log: bytes changed, put in or left out, lines left out, doubled or exchanged, the
/// rest cut off.
fn damage(log: &[u8], how: u8, at: prop::sample::Index, byte: u8) -> Vec<u8> {
    let mut log = log.to_vec();
    let place = at.index(log.len());
    let mut lines: Vec<_> = log.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let line = at.index(lines.len() - 1);
    match how {
        0 => log[place] = byte,
        1 => log.insert(place, byte),
        2 => drop(log.remove(place)),
        3 => log.truncate(place),
        4 => log[place] ^= 1 << (byte % 8),
        _ => {
            match how {
                5 => drop(lines.remove(line)),
                6 => lines.insert(line, lines[line].clone()),
                _ => lines.swap(line, line + 1),
            }
            log = lines.concat();
        }
    }
    log
}

/// The lines of answers that can be compared, with what writes the same thing in another way made alike.
fn comparable(log: &[u8]) -> Vec<String> {
    let names = ["tokens: ", "steps: ", "checksum: ", "step "];
    let log = String::from_utf8_lossy(log).to_lowercase();
    let lines = log.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
    let plain = lines.map(|line| {
        let words = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(|word| word.trim_start_matches('0')).collect::<Vec<_>>().join(" ")
    });
    plain.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// What firmware prints of a step is what is read.
    #[test]
    fn step_lines_come_back(
        forward in any::<u32>(),
        commits in decisions(),
        revisions in decisions(),
        mask in any::<u32>(),
        pick in 0..3,
    ) {
        // Tokens that are taken back become the mask.
        let mask = revisions.first().filter(|_| pick > 0).map_or(mask, |first| first.token);
        let (canvas, scores) = (&[][..], &[][..]);
        let event = StepEvent {
            forward, block: 0..1, canvas, masks: 0, rows: 0, scores,
            commits: &commits, revisions: &revisions,
        };
        let mut line = Vec::new();
        crate::step_line::decisions(&mut line, &event, mask);
        let sum = demask::Checksum::default();
        crate::step_line::checksum(&mut line, sum);
        let expected = Step { checksum: sum.value(), ..Step::of(&event, mask) };
        let log = DeviceLog::parse(&line);
        prop_assert_eq!(&log.answers[0].steps, &[(1, expected)]);
    }

    /// No damage ends in a panic, and none in an answer that is not the one that was decoded.
    #[test]
    fn no_damage_is_taken_for_an_answer(how in 0..8u8, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let [first, second, third] = decoded();
        let whole = [&*first.0, &second.0, &third.0].concat();
        let damaged = damage(whole.as_bytes(), how, at, byte);
        let log = DeviceLog::parse(&damaged);
        let hosts = [&first.1, &second.1, &third.1];
        let accepted = log.answers.iter().all(|answer| {
            hosts.iter().any(|host| compare(answer, host).is_none())
        });
        if accepted {
            let printed: HashSet<_> = comparable(whole.as_bytes()).into_iter().collect();
            for line in comparable(&damaged) {
                prop_assert!(printed.contains(&line), "{} was accepted", line);
            }
        }
    }

    #[test]
    fn anything_can_be_read(log in prop::collection::vec(any::<u8>(), 0..300), text in "(step [0-9:=@ -]{0,20}|tokens: [0-9,]{0,9}|[a-z]{0,8}: .{0,9}|\n){0,20}") {
        for log in [&log[..], text.as_bytes()] {
            for answer in &DeviceLog::parse(log).answers {
                if let Some(finding) = compare(answer, &decoded()[0].1) {
                    prop_assert!(!finding.sentence(&|token| token.to_string()).is_empty());
                }
            }
        }
    }
}
