//! Frames and lines as they reach the terminal.

mod parts;
mod revisions;
mod terminal;

use super::*;
use demask::decode::Commit;
use terminal::Terminal;

const MASK: u32 = 0;
const EOS: u32 = 1;
const USER: u32 = 2;
const PIECES: &[&[u8]] = &[
    b"<mask>",
    b"<eos>",
    b"<|user|>",
    b"a",
    b"bc",
    b"\xE2\x82",
    b"\xAC",
    b"\n",
    b"\x1b[2J",
    "日本".as_bytes(),
    "👍🏽".as_bytes(),
    "\u{202E}\u{9B}é".as_bytes(),
    b"",
];
const VOCABULARY: Vocabulary = Vocabulary { size: PIECES.len() as u32, mask_id: MASK, eos_id: EOS };
const LIVE: Style = Style::Live { color: true, unicode: true };
const PLAIN: Style = Style::Plain { unicode: true };

/// A tokenizer section that holds [`PIECES`].
fn section() -> Vec<u8> {
    let lengths = PIECES.iter().scan(0, |end, piece| {
        *end += piece.len() as u32;
        Some(*end)
    });
    let blob = PIECES.concat();
    let mut words = vec![1, 1, 0, PIECES.len() as u32, 0, 3, blob.len() as u32, 0];
    words.extend([demask::text::NO_TOKEN; 256]);
    words.push(0);
    words.extend(lengths);
    words.extend([MASK, EOS, USER]);
    let mut section: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    section.extend(blob);
    section.resize(section.len().next_multiple_of(4), 0);
    section
}

/// A view 19 columns wide, on a terminal of 20 by 8.
fn view<'t>(section: &'t [u8], style: Style) -> LiveView<'t, Vec<u8>> {
    let tokenizer = Tokenizer::parse(section).unwrap();
    let mut view = LiveView::new(Vec::new(), style, &tokenizer, VOCABULARY, 12, Duration::ZERO);
    view.size = || Size { columns: 20, rows: 8 };
    view
}

/// One step: these tokens, with these confidences.
fn step<W: Write>(view: &mut LiveView<'_, W>, forward: u32, tokens: &[(u32, u32, f32)]) {
    let commits: Vec<Commit> = tokens
        .iter()
        .map(|&(position, token, confidence)| Commit { position, token, confidence })
        .collect();
    let mut canvas = view.canvas.clone();
    commits.iter().for_each(|commit| canvas[commit.position as usize] = commit.token);
    let masks = canvas.iter().filter(|id| **id == MASK).count();
    let block = 0..canvas.len();
    let canvas = &canvas;
    view.step(&StepEvent {
        forward,
        block,
        canvas,
        masks,
        rows: 0,
        scores: &[],
        commits: &commits,
        revisions: &[],
    });
}

/// What was written since the last call.
fn take(view: &mut LiveView<'_, Vec<u8>>) -> String {
    String::from_utf8(std::mem::take(&mut view.out)).unwrap()
}

/// What `finish` writes.
fn finished(mut view: LiveView<'_, Vec<u8>>) -> String {
    view.show_result();
    take(&mut view)
}

/// A canvas with nothing given, in one frame or line, without its status.
fn shown(style: Style, tokens: &[u32]) -> String {
    let section = section();
    let mut view = view(&section, style);
    view.size = || Size { columns: 80, rows: 24 };
    view.begin(&vec![MASK; tokens.len() + 1]);
    let commits: Vec<_> = (0..).zip(tokens).map(|(at, token)| (at, *token, 1.0)).collect();
    take(&mut view);
    step(&mut view, 0, &commits);
    let bytes = take(&mut view);
    match style {
        Style::Live { .. } => Terminal::new(80, 24).shows(&bytes).lines().next().unwrap().into(),
        _ => bytes.trim_end().split_once("left  ").unwrap().1.into(),
    }
}

#[test]
fn a_frame_as_bytes() {
    let section = section();
    let mut view = view(&section, LIVE);
    view.size = || Size { columns: 100, rows: 8 };
    view.begin(&[USER, MASK, MASK, MASK]);
    step(&mut view, 0, &[(1, 3, 1.0)]);
    take(&mut view);
    step(&mut view, 1, &[(2, 4, 0.0)]);
    let frame = take(&mut view);
    let (given, settled) = ("\x1b[0;2m<|user|>", "\x1b[0;38;5;28ma");
    let (fresh, mask) = ("\x1b[0;1;38;5;16;48;5;196mbc", "\x1b[0;2m▒\x1b[0m");
    let status = "step 2/12 · forwards 2 · +1 token · 1.0 tokens/forward · 1 mask left · ";
    let expected = format!("\r\x1b[2A\x1b[K{given}{settled}{fresh}{mask}\n\x1b[J{status}");
    let time = frame.strip_prefix(&expected).unwrap_or_else(|| panic!("{frame:?}"));
    assert!(time.ends_with(" s\n") && !time.contains('\x1b'), "{time}");
}

#[test]
fn without_colour_new_tokens_are_inverted() {
    let section = section();
    let mut view = view(&section, Style::Live { color: false, unicode: false });
    view.begin(&[3, MASK, MASK]);
    step(&mut view, 0, &[(1, 4, 0.5)]);
    let frame = take(&mut view);
    assert!(frame.contains("\x1b[0;2ma\x1b[0;7mbc\x1b[0;2m_\x1b[0m\n"), "{frame:?}");
    assert!(!frame.contains("38;") && frame.is_ascii(), "{frame:?}");
}

#[test]
fn frames_replace_each_other_and_the_last_one_stays() {
    let section = section();
    let mut terminal = Terminal::new(20, 8);
    terminal.shows("$ demask\n");
    let mut view = view(&section, LIVE);
    view.begin(&[MASK; 30]);
    let screen = terminal.shows(&take(&mut view));
    let masks = format!("$ demask\n{}\n{}\nstep 0/12\n", "▒".repeat(19), "▒".repeat(11));
    assert!(screen.starts_with(&masks), "{screen}");
    // The canvas gets shorter: nothing of the old frame may stay behind.
    let ends: Vec<_> = (1..30).map(|at| (at, EOS, 0.9)).collect();
    step(&mut view, 0, &ends);
    let screen = terminal.shows(&take(&mut view));
    assert!(screen.starts_with("$ demask\n▒·×29\nstep 1/12\n"), "{screen}");
    assert_eq!(screen.matches("step").count(), 1, "{screen}");
    step(&mut view, 1, &[(0, 3, 0.9)]);
    terminal.shows(&take(&mut view));
    let screen = terminal.shows(&finished(view));
    assert!(screen.starts_with("$ demask\na·×29\nstep 2/12\nforwards 2\n30 tokens\n"), "{screen}");
    assert_eq!(screen.matches("step").count(), 1, "{screen}");
}

#[test]
fn a_resized_window_is_noticed() {
    let section = section();
    let mut terminal = Terminal::new(60, 20);
    terminal.shows("$ demask\n");
    let mut view = view(&section, LIVE);
    view.size = || Size { columns: 60, rows: 20 };
    view.begin(&[MASK; 50]);
    terminal.shows(&take(&mut view));
    terminal.resize(20);
    view.size = || Size { columns: 20, rows: 20 };
    step(&mut view, 0, &[(0, 3, 0.5)]);
    let screen = terminal.shows(&take(&mut view));
    let canvas = format!("a{}\n{}\n{}\n", "▒".repeat(18), "▒".repeat(19), "▒".repeat(12));
    assert!(screen.starts_with(&format!("$ demask\n{canvas}step 1/12\n")), "{screen}");
    assert_eq!(screen.matches("step").count(), 1, "{screen}");
}

#[test]
fn a_tall_canvas_shows_the_block_and_ends_in_full() {
    let section = section();
    let mut terminal = Terminal::new(100, 5);
    let mut view = view(&section, LIVE);
    view.size = || Size { columns: 100, rows: 5 };
    // Ten lines; room for three.
    let mut canvas = vec![MASK; 20];
    (0..20).filter(|at| at % 2 == 1).for_each(|at| canvas[at] = 7);
    view.begin(&canvas);
    terminal.shows(&take(&mut view));
    for at in 0..10 {
        step(&mut view, at, &[(2 * at, 3, 0.5)]);
        let screen = terminal.shows(&take(&mut view));
        let lines: Vec<&str> = screen.lines().collect();
        assert_eq!(lines.len(), 4, "{screen}");
        assert!(lines[3].starts_with("step"), "{screen}");
        let first_mask = lines.iter().position(|line| *line == "▒⏎");
        let expected =
            if at < 6 { Some(0) } else { (9 - at).checked_sub(1).map(|n| 2 - n as usize) };
        assert_eq!(first_mask, expected, "{screen}");
    }
    let screen = terminal.shows(&finished(view));
    assert_eq!(screen.matches("a⏎\n").count(), 10, "{screen}");
    assert_eq!(screen.matches("step").count(), 1, "{screen}");
}

#[test]
fn a_tiny_terminal_does_no_harm() {
    let section = section();
    for (columns, rows) in [(1, 1), (2, 3), (3, 2)] {
        let mut screen = Screen::default();
        let size = Size { columns, rows };
        let cells = text::plain_cells("日本ab");
        let rows = frame::wrap(cells, size.width());
        assert!(rows.len() >= 3);
        screen.redraw(&rows, size, true);
    }
    let mut view = view(&section, LIVE);
    view.size = || Size { columns: 1, rows: 1 };
    view.begin(&[MASK; 3]);
    step(&mut view, 0, &[(1, 9, 0.5)]);
    view.finish().unwrap();
}

#[test]
fn wide_characters_never_straddle_an_edge() {
    let section = section();
    let mut view = view(&section, LIVE);
    view.size = || Size { columns: 8, rows: 24 };
    view.begin(&[MASK; 6]);
    let tokens = [(0, 3, 1.0), (1, 9, 1.0), (2, 9, 1.0), (3, 9, 1.0), (4, 10, 1.0), (5, 3, 1.0)];
    take(&mut view);
    step(&mut view, 0, &tokens);
    let bytes = take(&mut view);
    let frame = bytes.split_once("\x1b[K").unwrap().1;
    let screen = Terminal::new(8, 24).shows(frame);
    assert!(screen.starts_with("a日本日\n本日本\n👍🏽a\n"), "{screen}");
}

#[test]
fn tokens_join_into_characters() {
    // Two tokens of one euro sign, then a first half without its second.
    assert_eq!(shown(LIVE, &[3, 5, 6, 4]), "a€bc▒");
    assert_eq!(shown(LIVE, &[5, 3]), "\u{FFFD}a▒");
    assert_eq!(shown(LIVE, &[5, EOS, 6]), "\u{FFFD}·\u{FFFD}▒");
    assert_eq!(shown(LIVE, &[5, USER, 6]), "\u{FFFD}<|user|>\u{FFFD}▒");
    // Ids without text are seen all the same.
    assert_eq!(shown(LIVE, &[12]), "\u{FFFD}▒");
    assert_eq!(shown(LIVE, &[99]), "\u{FFFD}▒");
}

#[test]
fn hostile_text_is_made_visible() {
    assert_eq!(shown(LIVE, &[8, 11]), r"\u{1b}[2J\u{202e}\u{9b}é▒");
    assert_eq!(shown(PLAIN, &[8, 11, 7]), r"\u{1b}[2J\u{202e}\u{9b}é\n_");
    let ascii = Style::Plain { unicode: false };
    assert_eq!(shown(ascii, &[11, 6]), r"\u{202e}\u{9b}\u{e9}?_");
    // Characters that act on a terminal, of all there are.
    for character in (0..=0x0010_FFFF).filter_map(char::from_u32) {
        let acts = character.is_control() || "\u{2028}\u{202A}\u{2066}\u{FEFF}".contains(character);
        assert!(text::must_escape(character) || !acts, "{character:?}");
    }
}

#[test]
fn end_tokens_collapse() {
    assert_eq!(shown(LIVE, &[3, EOS]), "a·▒");
    assert_eq!(shown(LIVE, &[&[3][..], &[EOS; 40]].concat()), "a·×40▒");
    assert_eq!(shown(PLAIN, &[EOS, EOS, 3, EOS]), "<end>x2a<end>_");
}

#[test]
fn plain_lines() {
    let section = section();
    let mut view = view(&section, PLAIN);
    view.begin(&[USER, 3, MASK, 4, MASK, MASK]);
    assert_eq!(take(&mut view), "");
    step(&mut view, 0, &[(4, 8, 0.9), (2, 3, 0.2)]);
    assert_eq!(take(&mut view), " 1  +2  1 left  abc\\u{1b}[2J_\n");
    step(&mut view, 1, &[(5, EOS, 0.9)]);
    assert_eq!(take(&mut view), " 2  +1  0 left  abc\\u{1b}[2J<end>\n");
    let last = finished(view);
    assert!(last.starts_with("step 2/12, forwards 2, 3 tokens, 1.5 tokens/forward, 0 masks left"));
    assert!(!last.contains('\x1b') && !last.contains('\r'));
}

#[test]
fn a_view_may_join_late() {
    let section = section();
    let mut view = view(&section, PLAIN);
    let commits = [Commit { position: 1, token: 4, confidence: 0.5 }];
    let canvas = &[3, 4, MASK];
    let event = StepEvent {
        forward: 6,
        block: 0..3,
        canvas,
        masks: 1,
        rows: 0,
        scores: &[],
        commits: &commits,
        revisions: &[],
    };
    view.step(&event);
    assert_eq!(take(&mut view), " 1  +1  1 left  bc_\n");
}

#[test]
fn silence() {
    let section = section();
    let mut view = view(&section, Style::Silent);
    view.begin(&[MASK; 3]);
    step(&mut view, 0, &[(0, 3, 1.0)]);
    assert_eq!(finished(view), "");
}

#[test]
fn a_closed_pipe_is_reported_once_at_the_end() {
    /// Fails, and counts how often it was asked.
    struct Closed(std::rc::Rc<std::cell::Cell<u32>>);
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0.set(self.0.get() + 1);
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let section = section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    for style in [LIVE, PLAIN] {
        let writes = std::rc::Rc::new(std::cell::Cell::new(0));
        let closed = Closed(writes.clone());
        let mut view = LiveView::new(closed, style, &tokenizer, VOCABULARY, 3, Duration::ZERO);
        view.begin(&[MASK; 3]);
        step(&mut view, 0, &[(0, 3, 1.0)]);
        step(&mut view, 1, &[(1, 3, 1.0)]);
        assert!(view.failed());
        assert_eq!(view.finish().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(writes.get(), 1);
    }
}

#[test]
fn time_spent_showing_does_not_count() {
    let section = section();
    let mut view = view(&section, LIVE);
    view.frame_delay = Duration::from_millis(50);
    view.begin(&[MASK; 3]);
    let started = Instant::now();
    step(&mut view, 0, &[(0, 3, 1.0)]);
    step(&mut view, 1, &[(1, 3, 1.0)]);
    assert!(started.elapsed() >= Duration::from_millis(80), "frames stay");
    assert!(view.showing >= Duration::from_millis(80));
}
