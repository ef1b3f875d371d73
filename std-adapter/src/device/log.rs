//! The answers in a log.
//!
//! The lines of an answer come in the order of [`Kind`]. One that does not go on with the answer before it
//! begins another; an answer ends with its checksum, and one without was cut off.

use super::record::{Line, Record, clean, read};
use super::{Kind, Step};

/// What was found in a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceLog {
    /// Lines of the log.
    pub lines: usize,
    /// The images that the device names, each once.
    pub images: Vec<ImageLine>,
    /// Answers, whole or cut off.
    pub answers: Vec<Answer>,
    /// The last line that tells of an error or a fault.
    pub complaint: Option<String>,
}

/// How a device names its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLine {
    /// Name of the layout that its weights are packed in.
    pub layout: String,
    /// First eight bytes of the manifest's digest.
    pub digest: u64,
}

/// What a device printed of one decode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Its first line in the log, from 1.
    pub line: usize,
    /// The user's text.
    pub prompt: Option<String>,
    /// Options of `demask run`.
    pub method: Option<String>,
    /// Steps, each with its line in the log.
    pub steps: Vec<(usize, Step)>,
    /// All generated tokens.
    pub tokens: Option<Vec<u32>>,
    /// The answer as text, in one line.
    pub text: Option<String>,
    /// Number of forward passes.
    pub forwards: Option<u32>,
    /// Checksum over all steps.
    pub checksum: Option<u64>,
    /// Lines that should belong to it but cannot be read.
    pub unreadable: Vec<(usize, Kind)>,
    /// The last line within it that tells of an error or a fault.
    pub complaint: Option<String>,
    last: Option<Kind>,
}

impl DeviceLog {
    /// Finds the answers in what a device printed, with anything between them.
    ///
    /// ```
    /// use demask_std::device::DeviceLog;
    /// let log = DeviceLog::parse(b"boot\r\n[1.0] tokens: 7,0\r\n[1.0] checksum: 00000000000000ff\r\n");
    /// assert_eq!(log.answers[0].tokens, Some(vec![7, 0]));
    /// assert_eq!(log.answers[0].checksum, Some(255));
    /// ```
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut log = Self::default();
        let mut open: Option<Answer> = None;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            log.lines += 1;
            let text = clean(line);
            let Line { record, unreadable, complaint } = read(&text, line.ends_with(b"\n"));
            if let Some(answer) = &mut open {
                answer.unreadable.extend(unreadable.map(|kind| (log.lines, kind)));
                if complaint {
                    answer.complaint = Some(text.clone());
                }
            }
            if complaint {
                log.complaint = Some(text);
            }
            if let Some(record) = record {
                log.take(&mut open, record);
            }
        }
        log.answers.extend(open);
        log
    }

    fn take(&mut self, open: &mut Option<Answer>, record: Record) {
        let kind = record.kind();
        if let Record::Image(layout, digest) = record {
            let image = ImageLine { layout, digest };
            if !self.images.contains(&image) {
                self.images.push(image);
            }
            return;
        }
        if !open.as_ref().is_some_and(|answer| answer.goes_on_with(&record)) {
            // Names that other programs print as well begin no answer.
            if matches!(kind, Kind::Text | Kind::Steps) {
                return;
            }
            self.answers.extend(open.take());
        }
        let line = self.lines;
        open.get_or_insert_with(|| Answer { line, ..Answer::default() }).put(line, record);
        if kind == Kind::Checksum {
            self.answers.extend(open.take());
        }
    }
}

impl Answer {
    fn goes_on_with(&self, record: &Record) -> bool {
        match (record, self.steps.last()) {
            (Record::Step(step), Some((_, last))) if self.last == Some(Kind::Step) => {
                step.number > last.number
            }
            _ => self.last < Some(record.kind()),
        }
    }

    fn put(&mut self, line: usize, record: Record) {
        self.last = Some(record.kind());
        match record {
            Record::Image(..) => {}
            Record::Prompt(text) => self.prompt = Some(text),
            Record::Method(options) => self.method = Some(options),
            Record::Step(step) => self.steps.push((line, step)),
            Record::Tokens(ids) => self.tokens = Some(ids),
            Record::Text(text) => self.text = Some(text),
            Record::Steps(count) => self.forwards = Some(count),
            Record::Checksum(sum) => self.checksum = Some(sum),
        }
    }

    /// The line that should hold this and cannot be read, if none that can does.
    #[must_use]
    pub fn unreadable(&self, kind: Kind) -> Option<usize> {
        let there = match kind {
            Kind::Tokens => self.tokens.is_some(),
            Kind::Text => self.text.is_some(),
            Kind::Steps => self.forwards.is_some(),
            Kind::Checksum => self.checksum.is_some(),
            // Where one can be read, the others are missed.
            Kind::Step => !self.steps.is_empty(),
            // These can always be read.
            Kind::Image | Kind::Prompt | Kind::Method => true,
        };
        let line = self.unreadable.iter().find(|(_, found)| *found == kind);
        line.filter(|_| !there).map(|(line, _)| *line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
demask firmware demo
image bytes: 832640
image: dsp a367988b1d4e98dd

prompt: play some jazz
method: --gen-length 8 --threshold 0.9
step 0: 11=276 @00000000000000aa
step 1: 12=277 -11 @00000000000000bb
tokens: 276,277
text: some text: with a name
steps: 2
checksum: 00000000000000bb
instructions: unavailable

prompt: another
tokens: 5
text:
steps: 1
checksum: 00000000000000cc
ram total: 17
";

    #[test]
    fn noise_changes_nothing_but_line_numbers() {
        let plain = DeviceLog::parse(TWO.as_bytes());
        assert_eq!(plain.answers.len(), 2);
        let [first, second] = &plain.answers[..] else { panic!("two answers") };
        assert_eq!(first.prompt.as_deref(), Some("play some jazz"));
        assert_eq!(first.method.as_deref(), Some("--gen-length 8 --threshold 0.9"));
        assert_eq!(first.text.as_deref(), Some("some text: with a name"));
        assert_eq!((first.line, first.steps.len(), first.forwards), (5, 2, Some(2)));
        assert_eq!((second.line, second.text.as_deref()), (15, Some("")));
        assert_eq!((second.method.as_deref(), second.checksum), (None, Some(0xcc)));

        let mut noisy = "\0\u{fffd}\x1b[0mU-Boot 2026.01\r\nimage: kernel.bin\r\n".to_owned();
        for (number, line) in TWO.lines().enumerate() {
            noisy += &format!("[{number:9}.000] \x1b[32mINFO\x1b[0m demo: {line}\r\n");
            noisy += "wifi: connected\r\nflash checksum: ok\r\n\x1b[1m\r\n";
        }
        let mut noisy = DeviceLog::parse(noisy.as_bytes());
        assert_eq!(noisy.images, plain.images);
        for (noisy, plain) in noisy.answers.iter_mut().zip(&plain.answers) {
            noisy.line = plain.line;
            noisy.unreadable.clear();
            for (noisy, plain) in noisy.steps.iter_mut().zip(&plain.steps) {
                noisy.0 = plain.0;
            }
        }
        assert_eq!(noisy.answers, plain.answers);
    }

    #[test]
    fn what_does_not_go_on_with_an_answer_begins_another() {
        let begins = |log: &str| DeviceLog::parse(log.as_bytes()).answers.len();
        let (checksum, step) = ("checksum: 00000000000000aa\n", "step 0: @00000000000000aa\n");
        assert_eq!(begins(""), 0);
        assert_eq!(begins("text: x\nsteps: 3\n"), 0);
        assert_eq!(begins(checksum), 1);
        assert_eq!(begins(&format!("{checksum}{checksum}")), 2);
        assert_eq!(begins(&format!("prompt: a\n{step}{checksum}")), 1);
        assert_eq!(begins(&format!("prompt: a\n{step}{step}{checksum}")), 2);
        assert_eq!(begins(&format!("prompt: a\nprompt: a\n{step}{checksum}")), 2);
        assert_eq!(begins(&format!("prompt: a\ntokens: 1\n{step}{checksum}")), 2);
    }

    #[test]
    fn what_cannot_be_read_matters_where_nothing_else_can() {
        let log = "tokens: 1,2\nchecksum: ok\nsteps: x\nchecksum: 00000000000000aa\n";
        let answer = &DeviceLog::parse(log.as_bytes()).answers[0];
        assert_eq!(answer.unreadable(Kind::Checksum), None);
        assert_eq!(answer.unreadable(Kind::Steps), Some(3));
        let stopped = DeviceLog::parse(b"prompt: a\nfault at 0000000000000010\n");
        assert_eq!(stopped.complaint.as_deref(), Some("fault at 0000000000000010"));
        assert_eq!(
            (stopped.answers[0].checksum, &stopped.answers[0].complaint),
            (None, &stopped.complaint)
        );
    }
}
