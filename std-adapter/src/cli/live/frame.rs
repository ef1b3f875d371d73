//! Rows that fit the terminal, and the bytes that replace the last frame by the next.

use super::text::{Cell, Look};
use std::fmt::Write;
use std::ops::Range;

/// Background of new tokens, from unsure to sure, under black text: the saturated edge of the
/// 256-colour cube from red over yellow to green.
pub(super) const FRESH: [u8; 11] = [196, 202, 208, 214, 220, 226, 190, 154, 118, 82, 46];
/// Foreground of settled tokens, likewise, of medium brightness: readable on black and on white.
pub(super) const SETTLED: [u8; 6] = [160, 166, 136, 100, 64, 28];

/// Of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Size {
    /// Columns to fill. The last one stays free: terminals disagree about where the cursor is
    /// after writing there.
    pub(super) fn width(self) -> usize {
        // A wide character must fit.
        self.columns.saturating_sub(1).max(2)
    }
}

/// The size now; 80 by 24 if unknown. A serial line reports zero.
pub(super) fn terminal_size() -> Size {
    let (columns, rows) = terminal_size::terminal_size().map_or((0, 0), |(w, h)| (w.0, h.0));
    Size {
        columns: if columns == 0 { 80 } else { columns.into() },
        rows: if rows == 0 { 24 } else { rows.into() },
    }
}

/// One row of the terminal.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
    width: usize,
}

/// Fills rows of `width` columns.
pub(super) fn wrap(cells: Vec<Cell>, width: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = Row::default();
    for cell in cells {
        if row.width + cell.width() > width {
            rows.push(std::mem::take(&mut row));
        }
        row.width += cell.width();
        row.cells.push(cell);
        if cell.ends_line {
            rows.push(std::mem::take(&mut row));
        }
    }
    if !row.cells.is_empty() {
        rows.push(row);
    }
    rows
}

/// Which rows to show if only `room` fit: the block and what stands above it. Of a block that is
/// too tall, the part from its first mask on.
pub(super) fn window(rows: &[Row], room: usize, block: &Range<usize>) -> Range<usize> {
    if rows.len() <= room {
        return 0..rows.len();
    }
    let in_block = |row: &Row| row.cells.iter().any(|cell| block.contains(&cell.position));
    let with_mask =
        |row: &Row| row.cells.iter().any(|cell| matches!(cell.look, Look::Mask | Look::TakenBack));
    let first = rows.iter().position(in_block).unwrap_or(0);
    let last = rows.iter().rposition(in_block).unwrap_or(rows.len() - 1);
    let to_fill = rows.iter().position(|row| in_block(row) && with_mask(row)).unwrap_or(last);
    let bottom = (last + 1).saturating_sub(room);
    let start = if last - first < room { bottom } else { bottom.min(to_fill) };
    start..start + room
}

/// What stands on the terminal above the cursor.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// Width of each row that was drawn.
    drawn: Vec<usize>,
}

impl Screen {
    /// The bytes that put these rows in place of the ones before.
    pub(super) fn redraw(&mut self, rows: &[Row], size: Size, color: bool) -> String {
        let mut frame = String::new();
        // A window made narrower has folded its rows; the cursor has moved down with them.
        let folded = |width: &usize| width.div_ceil(size.columns.max(1)).max(1);
        let above: usize = self.drawn.iter().map(folded).sum();
        if above > 0 {
            push(&mut frame, format_args!("\r\x1b[{above}A"));
        }
        for (index, row) in rows.iter().enumerate() {
            // Erased before it is written, the row never shows a mix; the last one takes along
            // whatever the frame before had below it.
            let last = index + 1 == rows.len();
            frame.push_str(if last { "\x1b[J" } else { "\x1b[K" });
            paint(&mut frame, row, color);
            frame.push('\n');
        }
        self.drawn = rows.iter().map(|row| row.width).collect();
        frame
    }
}

fn paint(frame: &mut String, row: &Row, color: bool) {
    let mut now = String::new();
    for cell in &row.cells {
        let next = attributes(cell.look, color);
        if next != now {
            let separator = if next.is_empty() { "" } else { ";" };
            push(frame, format_args!("\x1b[0{separator}{next}m"));
            now = next;
        }
        frame.push(cell.character);
    }
    if !now.is_empty() {
        frame.push_str("\x1b[0m");
    }
}

/// The parameters of the escape sequence that selects a look.
fn attributes(look: Look, color: bool) -> String {
    match (look, color) {
        (Look::Given | Look::Mask | Look::End, _) => "2".into(),
        (Look::Settled(confidence), true) => format!("38;5;{}", shade(&SETTLED, confidence)),
        (Look::Fresh(confidence), true) => {
            format!("1;38;5;16;48;5;{}", shade(&FRESH, confidence))
        }
        // Magenta: no shade of confidence.
        (Look::TakenBack, true) => "1;38;5;201".into(),
        (Look::Fresh(_) | Look::TakenBack, false) => "7".into(),
        (Look::Bare, _) | (Look::Settled(_), false) => String::new(),
    }
}

/// The colour for a confidence between 0 and 1.
pub(super) fn shade(scale: &[u8], confidence: f32) -> u8 {
    let steps = scale.len() as f32 - 1.0;
    // The cast takes NaN to 0.
    let index = (confidence.clamp(0.0, 1.0) * steps).round() as usize;
    scale[index.min(scale.len() - 1)]
}

fn push(frame: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = frame.write_fmt(part);
}
