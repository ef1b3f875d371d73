//! A terminal with just the sequences that a frame may use; any other fails the test.

use unicode_width::UnicodeWidthChar;

pub(super) struct Terminal {
    columns: usize,
    rows: usize,
    /// All lines ever shown, those that have scrolled away included.
    lines: Vec<String>,
    /// The cursor always comes to rest in the first column.
    line: usize,
}

impl Terminal {
    pub(super) fn new(columns: usize, rows: usize) -> Self {
        Self { columns, rows, lines: vec![String::new()], line: 0 }
    }

    /// Takes bytes and gives the text of all lines.
    pub(super) fn shows(&mut self, bytes: &str) -> String {
        let mut column = 0;
        let mut rest = bytes.chars();
        while let Some(character) = rest.next() {
            match character {
                '\r' => column = 0,
                '\n' => {
                    self.line += 1;
                    column = 0;
                    if self.line == self.lines.len() {
                        self.lines.push(String::new());
                    }
                }
                '\x1b' => self.sequence(&mut rest),
                c => {
                    assert!(!c.is_control(), "{c:?}");
                    assert!(self.lines[self.line].len() >= column, "erased before written");
                    self.lines[self.line].push(c);
                    column += c.len_utf8();
                    assert!(width(&self.lines[self.line]) < self.columns, "too long");
                }
            }
        }
        assert_eq!(column, 0, "ends on a line of its own");
        self.lines.iter().map(|line| format!("{line}\n")).collect::<String>().trim_end().to_owned()
            + "\n"
    }

    fn sequence(&mut self, rest: &mut std::str::Chars<'_>) {
        assert_eq!(rest.next(), Some('['));
        let mut parameters = String::new();
        let action = loop {
            match rest.next().expect("unfinished sequence") {
                c @ ('0'..='9' | ';') => parameters.push(c),
                c => break c,
            }
        };
        match action {
            'A' => {
                let top = self.lines.len().saturating_sub(self.rows);
                let up: usize = parameters.parse().unwrap();
                self.line = self.line.saturating_sub(up).max(top);
            }
            'K' => self.lines[self.line].clear(),
            'J' => {
                self.lines.truncate(self.line);
                self.lines.push(String::new());
            }
            'm' => {}
            other => panic!("unexpected sequence {other:?}"),
        }
    }

    /// Makes the window narrower; lines that are too long fold.
    pub(super) fn resize(&mut self, columns: usize) {
        let old = std::mem::take(&mut self.lines);
        for line in old {
            let characters: Vec<char> = line.chars().collect();
            let parts = characters.chunks(columns).map(|part| part.iter().collect::<String>());
            let before = self.lines.len();
            self.lines.extend(parts);
            if self.lines.len() == before {
                self.lines.push(String::new());
            }
        }
        self.line = self.lines.len() - 1;
        self.columns = columns;
    }
}

fn width(line: &str) -> usize {
    line.chars().filter_map(UnicodeWidthChar::width).sum()
}
