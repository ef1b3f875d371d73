//! The live view: the canvas as it fills in, redrawn in place on a terminal or line by line in a
//! pipe.
//!
//! | module   | what it does                                                          |
//! |----------|-----------------------------------------------------------------------|
//! | `style`  | what to show: terminal, pipe, `--plain`, `--json`, `NO_COLOR`, locale |
//! | `text`   | a canvas to printable characters, each with its look                  |
//! | `frame`  | characters to rows that fit the terminal, and rows to one redraw      |
//! | `status` | the line below the canvas                                             |
//!
//! A frame is one write that starts and ends with the cursor below everything drawn so far, and
//! no terminal mode outlives it. So there is nothing to restore after an error or Ctrl-C: the shell
//! prompt appears below the last frame.

mod frame;
mod status;
mod style;
#[cfg(test)]
mod tests;
mod text;

pub use style::{ColorChoice, Style};

use demask::text::Tokenizer;
use demask::{StepEvent, Trace, Vocabulary};
use frame::{Row, Screen, Size};
use status::Status;
use std::io::{self, Write};
use std::ops::Range;
use std::time::{Duration, Instant};
use text::{Cell, Glyphs, Mark};

/// Shows every step of a decode.
///
/// ```no_run
/// use demask_std::cli::live::{ColorChoice, LiveView, Style};
/// # fn show<M: demask::Model>(
/// #     mut session: demask::Session<'_, M>,
/// #     tokenizer: &demask::text::Tokenizer<'_>,
/// #     vocabulary: demask::Vocabulary,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let style = Style::choose(false, false, ColorChoice::Auto);
/// let delay = std::time::Duration::from_millis(40);
/// let mut view = LiveView::new(std::io::stdout(), style, tokenizer, vocabulary, 56, delay);
/// view.begin(session.canvas());
/// session.run(&mut view)?;
/// view.finish()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LiveView<'t, W: Write> {
    out: W,
    /// The first error; nothing is written after it.
    error: Option<io::Error>,
    style: Style,
    tokenizer: Tokenizer<'t>,
    vocabulary: Vocabulary,
    steps_planned: usize,
    frame_delay: Duration,
    /// Asked before each frame, so a resized window is noticed.
    size: fn() -> Size,
    screen: Screen,
    canvas: Vec<u32>,
    marks: Vec<Mark>,
    /// First position that was not given: plain lines begin here.
    open_from: usize,
    /// Nothing before that is shown on a terminal either.
    answer_only: bool,
    /// Masks at the start; 0 before there is a canvas.
    masks_at_start: usize,
    status: Status,
    /// What decodes, for the line below the counts.
    method: Vec<String>,
    started: Instant,
    /// Time spent showing; the status line counts only the model's.
    showing: Duration,
    last_frame: Option<Instant>,
}

impl<'t, W: Write> LiveView<'t, W> {
    /// A view that has shown nothing yet. `steps_planned` is the most that the method may take, or
    /// 0 if nobody knows; a frame stays on a terminal for at least `frame_delay`.
    pub fn new(
        out: W,
        style: Style,
        tokenizer: &Tokenizer<'t>,
        vocabulary: Vocabulary,
        steps_planned: usize,
        frame_delay: Duration,
    ) -> Self {
        Self {
            out,
            error: None,
            style,
            tokenizer: *tokenizer,
            vocabulary,
            steps_planned,
            frame_delay,
            size: frame::terminal_size,
            screen: Screen::default(),
            canvas: Vec::new(),
            marks: Vec::new(),
            open_from: 0,
            answer_only: false,
            masks_at_start: 0,
            status: Status::default(),
            method: Vec::new(),
            started: Instant::now(),
            showing: Duration::ZERO,
            last_frame: None,
        }
    }

    /// The same, without what was given before the first mask: in a chat, all that was said.
    #[must_use]
    pub fn answer_only(self) -> Self {
        Self { answer_only: true, ..self }
    }

    /// The same, naming the method and how many rows its cache plan lets a step compute.
    #[must_use]
    pub fn of_method(self, policy: String, cache: String) -> Self {
        Self { method: vec![policy, format!("cache {cache}")], ..self }
    }

    /// Shows the canvas before the first step and starts the clock. Tokens that it holds count as
    /// given: the prompt, or the text around a gap.
    ///
    /// Called again, it starts a new canvas below the last one.
    pub fn begin(&mut self, canvas: &[u32]) {
        self.reset(canvas);
        if let Style::Live { .. } = self.style {
            self.draw(0..canvas.len());
        }
        self.started = Instant::now();
        self.showing = Duration::ZERO;
    }

    /// Whether writing has failed, as it does when the reader of a pipe is gone: further steps
    /// would have no audience.
    pub fn failed(&self) -> bool {
        self.error.is_some()
    }

    /// Leaves the whole canvas and the totals on screen.
    ///
    /// # Errors
    /// The first error that writing met; [`io::ErrorKind::BrokenPipe`] if the reader is gone.
    pub fn finish(mut self) -> io::Result<()> {
        self.show_result();
        self.error.map_or(Ok(()), Err)
    }

    fn show_result(&mut self) {
        self.hold_frame();
        let totals = self.status.totals(&self.method, self.model_time());
        match self.style {
            Style::Live { color, .. } => {
                self.marks.iter_mut().for_each(|mark| mark.fresh = false);
                let size = (self.size)();
                // Nothing is redrawn after this, so it may be longer than the terminal.
                let mut rows = frame::wrap(self.cells(self.shown_from()), size.width());
                rows.append(&mut self.status_rows(&totals, size));
                let bytes = self.screen.redraw(&rows, size, color);
                self.write(&bytes);
            }
            Style::Plain { .. } => {
                let parts = [totals.counts, totals.method].concat();
                self.write(&format!("{}\n", parts.join(", ")));
            }
            Style::Silent => {}
        }
    }

    fn reset(&mut self, canvas: &[u32]) {
        let is_mask = |id: &&u32| **id == self.vocabulary.mask_id;
        self.masks_at_start = canvas.iter().filter(is_mask).count();
        self.open_from = canvas.iter().position(|id| is_mask(&id)).unwrap_or(canvas.len());
        self.canvas = canvas.to_vec();
        self.marks = vec![Mark::default(); canvas.len()];
        self.status = Status::new(self.steps_planned, self.masks_at_start);
        self.screen = Screen::default();
        self.last_frame = None;
    }

    /// Takes over what a step changed.
    fn note(&mut self, event: &StepEvent<'_>) {
        if self.canvas.len() != event.canvas.len() {
            self.follow_length(event);
        }
        self.canvas.copy_from_slice(event.canvas);
        for mark in &mut self.marks {
            (mark.fresh, mark.taken_back) = (false, false);
        }
        for decision in event.commits.iter().chain(event.revisions) {
            let mark = match decision.token == self.vocabulary.mask_id {
                true => Mark { taken_back: true, ..Mark::default() },
                false => Mark {
                    confidence: Some(status::confidence(decision, event.scores)),
                    fresh: true,
                    taken_back: false,
                },
            };
            if let Some(place) = self.marks.get_mut(decision.position as usize) {
                *place = mark;
            }
        }
        self.status.note(event, self.vocabulary.mask_id);
    }

    /// The canvas has another length: the policy has put masks in, or cut it. Or `begin` was left out.
    fn follow_length(&mut self, event: &StepEvent<'_>) {
        // The canvas before this step is the one without its commits.
        let mut before = event.canvas.to_vec();
        for commit in event.commits {
            before[commit.position as usize] = self.vocabulary.mask_id;
        }
        if self.canvas.is_empty() {
            return self.reset(&before);
        }
        let (old, new) = (self.canvas.len(), before.len());
        let same = self.canvas.iter().zip(&before).take_while(|(a, b)| a == b).count();
        let put_in = std::iter::repeat_n(Mark::default(), new.saturating_sub(old));
        self.marks.splice(same..same, put_in);
        self.marks.truncate(new);
        self.status.grow(new.saturating_sub(old));
        self.canvas = before;
    }

    /// One frame: the canvas, or as much of it as fits, and the status line.
    fn draw(&mut self, block: Range<usize>) {
        let Style::Live { color, .. } = self.style else { return };
        self.hold_frame();
        let size = (self.size)();
        let mut status = self.status_rows(&self.status.now(&self.method, self.model_time()), size);
        // On a small screen the canvas matters more.
        status.truncate((size.rows / 3).max(1));
        let mut rows = frame::wrap(self.cells(self.shown_from()), size.width());
        // One row stays free: the cursor waits below the status line.
        let room = size.rows.saturating_sub(status.len() + 1).max(1);
        let visible = frame::window(&rows, room, &block);
        rows.truncate(visible.end);
        rows.drain(..visible.start);
        rows.append(&mut status);
        let bytes = self.screen.redraw(&rows, size, color);
        self.write(&bytes);
        self.last_frame = Some(Instant::now());
    }

    /// One line for one step.
    fn print_line(&mut self) {
        let cells = self.cells(self.open_from);
        let text: String = cells.iter().map(|cell| cell.character).collect();
        let line = self.status.plain(&text);
        self.write(&line);
    }

    fn shown_from(&self) -> usize {
        if self.answer_only { self.open_from } else { 0 }
    }

    fn cells(&self, from: usize) -> Vec<Cell> {
        let unicode = self.style.unicode();
        let glyphs = match self.style {
            Style::Live { .. } => Glyphs::live(unicode),
            _ => Glyphs::plain(unicode),
        };
        text::cells(&self.tokenizer, self.vocabulary, glyphs, &self.canvas, &self.marks, from)
    }

    fn status_rows(&self, lines: &status::Lines, size: Size) -> Vec<Row> {
        let separator = if self.style.unicode() { " · " } else { ", " };
        // Without a method there is only the time, which ends the line of counts.
        let groups = match self.method.is_empty() {
            true => vec![[lines.counts.as_slice(), &lines.method].concat()],
            false => vec![lines.counts.clone(), lines.method.clone()],
        };
        let lines = groups.iter().flat_map(|parts| status::fold(parts, separator, size.width()));
        lines.flat_map(|line| frame::wrap(text::plain_cells(&line), size.width())).collect()
    }

    /// Leaves the last frame on screen for its time. A slow model never waits here.
    fn hold_frame(&self) {
        let Some(last) = self.last_frame.filter(|_| self.error.is_none()) else { return };
        std::thread::sleep(self.frame_delay.saturating_sub(last.elapsed()));
    }

    /// Time since [`begin`](Self::begin), without what showing took.
    pub fn model_time(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.showing)
    }

    fn write(&mut self, text: &str) {
        if self.error.is_none() {
            let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
            self.error = written.err();
        }
    }
}

impl<W: Write> Trace for LiveView<'_, W> {
    fn step(&mut self, event: &StepEvent<'_>) {
        let entered = Instant::now();
        self.note(event);
        match self.style {
            Style::Live { .. } => self.draw(event.block.clone()),
            Style::Plain { .. } => self.print_line(),
            Style::Silent => {}
        }
        self.showing += entered.elapsed();
    }

    /// What is left has moved: nobody knows any more how sure the model was of it.
    fn dropped(&mut self, _tokens: &[u32]) {
        self.marks.fill(Mark::default());
    }
}
