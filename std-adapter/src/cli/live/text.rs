//! A canvas as printable characters.
//!
//! Nothing a model writes reaches the terminal as it is: a token may hold an escape sequence that
//! moves the cursor, or a control that reverses the direction of the text.

use demask::Vocabulary;
use demask::text::Tokenizer;
use std::ops::Range;
use unicode_width::UnicodeWidthChar;

/// What is known about a position, apart from its token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Mark {
    /// Set once the position has been committed.
    pub(super) confidence: Option<f32>,
    /// Committed in the last step.
    pub(super) fresh: bool,
    /// Became a mask again in the last step.
    pub(super) taken_back: bool,
}

/// How a character looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Look {
    /// The status line.
    Bare,
    /// Part of the prompt.
    Given,
    /// Not decided yet.
    Mask,
    /// Decided before, and a mask again since this step.
    TakenBack,
    /// End token.
    End,
    /// Committed in an earlier step, with this confidence.
    Settled(f32),
    /// Committed in this step, with this confidence.
    Fresh(f32),
}

impl Look {
    fn of(mark: Mark) -> Self {
        match (mark.confidence, mark.fresh) {
            (None, _) => Self::Given,
            (Some(confidence), false) => Self::Settled(confidence),
            (Some(confidence), true) => Self::Fresh(confidence),
        }
    }

    /// The look of something that several tokens form: the newest one's, the surest of these.
    fn joined(looks: impl Iterator<Item = Self>) -> Self {
        let rank = |look: &Self| match look {
            Self::Settled(confidence) => 1.0 + confidence,
            Self::Fresh(confidence) => 3.0 + confidence,
            _ => 0.0,
        };
        looks.max_by(|a, b| rank(a).total_cmp(&rank(b))).unwrap_or(Self::Given)
    }
}

/// One printable character.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cell {
    pub(super) character: char,
    /// Position that it came from.
    pub(super) position: usize,
    pub(super) look: Look,
    /// A line of the text ends after it.
    pub(super) ends_line: bool,
}

impl Cell {
    /// Terminal columns, at most.
    pub(super) fn width(&self) -> usize {
        match self.character {
            // Asks for the emoji form of the character before it, which may be one column wider.
            '\u{FE0F}' => 1,
            c => c.width().unwrap_or(0),
        }
    }
}

/// Stand-ins for what has no character of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glyphs {
    mask: char,
    newline: &'static str,
    /// A single end token; more than one have their count behind it.
    end: (&'static str, &'static str),
    broken: char,
    /// Characters outside ASCII are shown as they are.
    unicode: bool,
}

impl Glyphs {
    pub(super) fn live(unicode: bool) -> Self {
        if !unicode {
            return Self::plain(false);
        }
        Self { mask: '▒', newline: "⏎", end: ("·", "×"), broken: '\u{FFFD}', unicode }
    }

    /// The same in every locale, for scripts.
    pub(super) fn plain(unicode: bool) -> Self {
        let broken = if unicode { '\u{FFFD}' } else { '?' };
        Self { mask: '_', newline: "\\n", end: ("<end>", "x"), broken, unicode }
    }
}

/// The characters of a text that is ours.
pub(super) fn plain_cells(text: &str) -> Vec<Cell> {
    let cell = |character| Cell { character, position: 0, look: Look::Bare, ends_line: false };
    text.chars().map(cell).collect()
}

/// The characters of a canvas from position `from` on.
pub(super) fn cells(
    tokenizer: &Tokenizer<'_>,
    vocabulary: Vocabulary,
    glyphs: Glyphs,
    canvas: &[u32],
    marks: &[Mark],
    from: usize,
) -> Vec<Cell> {
    let mut writer = Writer { glyphs, marks, cells: Vec::new(), bytes: Vec::new(), ends: 0..0 };
    for (position, &id) in canvas.iter().enumerate().skip(from) {
        if id == vocabulary.mask_id {
            writer.close();
            let back = marks.get(position).is_some_and(|mark| mark.taken_back);
            writer.put(glyphs.mask, position, if back { Look::TakenBack } else { Look::Mask });
        } else if id == vocabulary.eos_id {
            writer.end_token(position);
        } else {
            let piece = tokenizer.piece(id).unwrap_or_default();
            writer.token(piece, position, tokenizer.is_special(id));
        }
    }
    writer.close();
    writer.cells
}

struct Writer<'a> {
    glyphs: Glyphs,
    marks: &'a [Mark],
    cells: Vec<Cell>,
    /// Bytes of neighbouring tokens, with the position of each: a character may need several
    /// tokens.
    bytes: Vec<(u8, usize)>,
    /// End tokens in a row.
    ends: Range<usize>,
}

impl Writer<'_> {
    fn token(&mut self, piece: &[u8], position: usize, special: bool) {
        self.close_ends();
        if special || piece.is_empty() {
            self.close_text();
        }
        self.bytes.extend(piece.iter().map(|byte| (*byte, position)));
        if special {
            self.close_text();
        }
        if piece.is_empty() {
            // An id without text must still be seen to take its place.
            self.put(self.glyphs.broken, position, self.look(position));
        }
    }

    fn end_token(&mut self, position: usize) {
        self.close_text();
        if self.ends.is_empty() {
            self.ends.start = position;
        }
        self.ends.end = position + 1;
    }

    fn close(&mut self) {
        self.close_text();
        self.close_ends();
    }

    /// Writes a run of end tokens as one and its count, so that a long tail stays short.
    fn close_ends(&mut self) {
        let run = std::mem::take(&mut self.ends);
        if run.is_empty() {
            return;
        }
        let look = match Look::joined(run.clone().map(|position| self.look(position))) {
            fresh @ Look::Fresh(_) => fresh,
            _ => Look::End,
        };
        let (end, times) = self.glyphs.end;
        self.put_all(end, run.start, look);
        if run.len() > 1 {
            self.put_all(&format!("{times}{}", run.len()), run.start, look);
        }
    }

    /// Writes the text that the collected bytes form.
    fn close_text(&mut self) {
        let run = std::mem::take(&mut self.bytes);
        let bytes: Vec<u8> = run.iter().map(|(byte, _)| *byte).collect();
        let mut at = 0;
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                let owners = &run[at..at + character.len_utf8()];
                let look = Look::joined(owners.iter().map(|(_, position)| self.look(*position)));
                self.put_untrusted(character, owners[0].1, look);
                at += owners.len();
            }
            if let Some((_, position)) = run.get(at).filter(|_| !chunk.invalid().is_empty()) {
                self.put(self.glyphs.broken, *position, self.look(*position));
                at += chunk.invalid().len();
            }
        }
    }

    fn put_untrusted(&mut self, character: char, position: usize, look: Look) {
        match character {
            '\n' => {
                self.put_all(self.glyphs.newline, position, look);
                if let Some(last) = self.cells.last_mut() {
                    last.ends_line = true;
                }
            }
            '\t' => self.put_all("\\t", position, look),
            '\r' => self.put_all("\\r", position, look),
            c if must_escape(c) || !(self.glyphs.unicode || c.is_ascii()) => {
                self.put_all(&c.escape_unicode().to_string(), position, look);
            }
            c => self.put(c, position, look),
        }
    }

    fn put_all(&mut self, text: &str, position: usize, look: Look) {
        text.chars().for_each(|character| self.put(character, position, look));
    }

    fn put(&mut self, character: char, position: usize, look: Look) {
        self.cells.push(Cell { character, position, look, ends_line: false });
    }

    fn look(&self, position: usize) -> Look {
        Look::of(self.marks.get(position).copied().unwrap_or_default())
    }
}

/// Characters that act on the terminal or cannot be seen: controls, line and paragraph separators,
/// direction marks, invisible spaces, tags.
pub(super) fn must_escape(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}'
                | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}'
        )
}
