//! One line of a log. What an answer consists of may stand behind anything, such as a time or the name
//! of a module, and all other lines mean nothing.

use super::{Change, Decision, Kind, Step};

/// A line that means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// Layout and start of the digest.
    Image(String, u64),
    Prompt(String),
    Method(String),
    Step(Step),
    Tokens(Vec<u32>),
    Text(String),
    Steps(u32),
    Checksum(u64),
}

impl Record {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Image(..) => Kind::Image,
            Self::Prompt(_) => Kind::Prompt,
            Self::Method(_) => Kind::Method,
            Self::Step(_) => Kind::Step,
            Self::Tokens(_) => Kind::Tokens,
            Self::Text(_) => Kind::Text,
            Self::Steps(_) => Kind::Steps,
            Self::Checksum(_) => Kind::Checksum,
        }
    }

    /// Whether it shows by itself where it ends, so that a line that was cut off is not taken for it.
    fn shows_its_end(&self) -> bool {
        matches!(self, Self::Step(_) | Self::Checksum(_) | Self::Image(..))
    }
}

/// What was found in a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Line {
    pub(super) record: Option<Record>,
    /// What else it should be, and cannot be read.
    pub(super) unreadable: Option<Kind>,
    /// The device says that something went wrong.
    pub(super) complaint: bool,
}

/// In lines with which the demo ends badly, and in those of common panic handlers.
const COMPLAINTS: [&str; 6] = ["error", "fault", "hardfault", "panic", "panicked", "overflowed"];

/// Reads a line that [`clean`] has cleaned. The last line of a log may lack its line break: it is
/// then not `whole`.
pub(super) fn read(line: &str, whole: bool) -> Line {
    let mut found = Line::default();
    for (kind, value) in candidates(line) {
        found.record = value_of(kind, value).filter(|record| whole || record.shows_its_end());
        if found.record.is_some() {
            return found;
        }
        found.unreadable = found.unreadable.or(Some(kind));
    }
    found.complaint = found.unreadable.is_none() && complains(line);
    found
}

fn complains(line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_alphanumeric());
    words.any(|word| COMPLAINTS.contains(&&*word.to_ascii_lowercase()))
}

/// A line without colours and without control characters and spaces at its ends; bytes that are no
/// UTF-8 become U+FFFD.
pub(super) fn clean(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let mut plain = String::with_capacity(line.len());
    let mut rest = &*line;
    // Escape sequences: ESC [ parameters, and a letter at the end.
    while let Some((before, sequence)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = sequence.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = rest.strip_prefix(|c: char| c.is_ascii_alphabetic()).unwrap_or(rest);
    }
    plain.push_str(rest);
    plain.trim_matches(|c: char| c.is_control() || c.is_whitespace()).to_owned()
}

/// Where a record may start, from left to right, with what stands behind its name.
fn candidates(line: &str) -> impl Iterator<Item = (Kind, &str)> {
    let mut before = None;
    let starts = line.char_indices().filter(move |&(_, c)| {
        let last = before.replace(c);
        last.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '-')
    });
    starts.filter_map(|(at, _)| {
        let rest = &line[at..];
        Kind::ALL.into_iter().find_map(|kind| {
            let value = rest.strip_prefix(kind.name())?;
            let value = match kind {
                // The number stands before the colon.
                Kind::Step => value.strip_prefix(' ')?,
                _ => value.strip_prefix(':')?,
            };
            let spaced = match kind {
                Kind::Step => value.starts_with(|c: char| c.is_ascii_digit()),
                _ => value.is_empty() || value.starts_with(' '),
            };
            spaced.then(|| (kind, value.strip_prefix(' ').unwrap_or(value)))
        })
    })
}

fn value_of(kind: Kind, value: &str) -> Option<Record> {
    Some(match kind {
        Kind::Image => {
            let (layout, digest) = value.trim().split_once(' ')?;
            if !layout.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return None;
            }
            Record::Image(layout.to_owned(), hex(digest)?)
        }
        Kind::Prompt => Record::Prompt(value.trim().to_owned()),
        Kind::Method => Record::Method(value.trim().to_owned()),
        Kind::Step => Record::Step(step(value)?),
        Kind::Tokens if value.trim().is_empty() => Record::Tokens(Vec::new()),
        Kind::Tokens => {
            let ids = value.split(',').map(|id| number(id.trim()));
            Record::Tokens(ids.collect::<Option<_>>()?)
        }
        Kind::Text => Record::Text(value.to_owned()),
        Kind::Steps => Record::Steps(number(value.trim())?),
        Kind::Checksum => Record::Checksum(hex(value.trim())?),
    })
}

/// `3: 12=345 14=99 -17 -18=7 @0123456789abcdef`
fn step(value: &str) -> Option<Step> {
    let (step, rest) = value.split_once(':')?;
    let mut words = rest.split_ascii_whitespace();
    let checksum = hex(words.next_back()?.strip_prefix('@')?)?;
    let decisions = words.map(decision).collect::<Option<_>>()?;
    Some(Step { number: number(step)?, decisions, checksum })
}

fn decision(word: &str) -> Option<Decision> {
    let (place, revised) = match word.strip_prefix('-') {
        Some(place) => (place, true),
        None => (word, false),
    };
    let (position, token) = match place.split_once('=') {
        Some((position, token)) => (position, Some(number(token)?)),
        None => (place, None),
    };
    let change = match (revised, token) {
        (false, Some(token)) => Change::Committed(token),
        (true, None) => Change::TakenBack,
        (true, Some(token)) => Change::Replaced(token),
        (false, None) => return None,
    };
    Some(Decision { position: number(position)?, change })
}

/// Digits and nothing else: a sign is damage.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// 16 hexadecimal digits.
fn hex(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &str) -> Line {
        read(&clean(line.as_bytes()), true)
    }

    fn found(record: Record) -> Line {
        Line { record: Some(record), ..Line::default() }
    }

    fn unreadable(kind: Kind) -> Line {
        Line { unreadable: Some(kind), ..Line::default() }
    }

    #[test]
    fn records_are_found_behind_anything() {
        let expected = found(Record::Checksum(0x0123_4567_89ab_cdef));
        for before in [
            "",
            "[INFO] ",
            "00:00:01.123 ",
            "> ",
            "app::main: ",
            "\x1b[32m[INFO]\x1b[0m ",
            "\0\0\r",
        ] {
            for after in ["", "\r", "  \t", "\x1b[0m", "\0"] {
                let noisy = format!("{before}checksum: 0123456789abcdef{after}");
                assert_eq!(line(&noisy), expected, "{noisy:?}");
            }
        }
    }

    #[test]
    fn what_only_looks_alike_is_no_record() {
        for noise in [
            "",
            "image bytes: 832640",
            "precheksum: 0123456789abcdef",
            "prechecksum: 0123456789abcdef",
            "boot-checksum: 0123456789abcdef",
            "checksum:0123456789abcdef",
            "checksum 0123456789abcdef",
            "step by step",
            "stepping: 3",
        ] {
            assert_eq!(line(noise), Line::default(), "{noise}");
        }
        for damaged in ["checksum: ok", "checksum: +123456789abcdef", "image checksum: 12"] {
            assert_eq!(line(damaged), unreadable(Kind::Checksum), "{damaged}");
        }
        for damaged in ["tokens: 1,,2", "tokens: 1,2,", "tokens: 1;2", "tokens: 4294967296"] {
            assert_eq!(line(damaged), unreadable(Kind::Tokens), "{damaged}");
        }
        assert!(line("error: the image is damaged").complaint);
        assert_eq!(line("default configuration"), Line::default());
        assert!(line("fault 7 at 0000000080001234").complaint);
    }

    #[test]
    fn a_name_within_a_text_is_part_of_it() {
        let text = "text: say checksum: 0123456789abcdef";
        let value = "say checksum: 0123456789abcdef".to_owned();
        assert_eq!(line(text), found(Record::Text(value)));
        // But a name whose value cannot be read does not hide the one behind it.
        let expected = found(Record::Checksum(0x0123_4567_89ab_cdef));
        let unreadable = Some(Kind::Image);
        assert_eq!(line("image: checksum: 0123456789abcdef"), Line { unreadable, ..expected });
    }

    #[test]
    fn steps_hold_all_kinds_of_decisions() {
        let full = "[4.2] step 3: 12=345 14=99 -17 -18=7 @00000000000000ff";
        let decision = |position, change| Decision { position, change };
        let expected = Step {
            number: 3,
            decisions: vec![
                decision(12, Change::Committed(345)),
                decision(14, Change::Committed(99)),
                decision(17, Change::TakenBack),
                decision(18, Change::Replaced(7)),
            ],
            checksum: 255,
        };
        assert_eq!(line(full), found(Record::Step(expected)));
        let nothing = Step { number: 0, decisions: Vec::new(), checksum: 1 };
        let idle = line("step 0: @0000000000000001");
        assert_eq!(idle, found(Record::Step(nothing)));
        for damaged in [
            "step 3: 12=345 14=99",
            "step 3: 12 @00000000000000ff",
            "step 3: 12=3x @00000000000000ff",
            "step 3: 12=345 @00000000000000f",
            "step 3 12=345 @00000000000000ff",
        ] {
            assert_eq!(line(damaged), unreadable(Kind::Step), "{damaged}");
        }
    }

    #[test]
    fn a_line_that_was_cut_off_is_not_taken_for_a_shorter_one() {
        assert_eq!(read("tokens: 1,2", false), unreadable(Kind::Tokens));
        assert_eq!(read("steps: 1", false), unreadable(Kind::Steps));
        let whole = read("checksum: 0123456789abcdef", false);
        assert_eq!(whole, found(Record::Checksum(0x0123_4567_89ab_cdef)));
    }
}
