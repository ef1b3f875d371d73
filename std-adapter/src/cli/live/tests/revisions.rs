//! Policies that take tokens back, replace them, or let the canvas grow.

use super::terminal::Terminal;
use super::*;

/// A step with commits and revisions, on a canvas that may have grown before it.
fn revise(
    view: &mut LiveView<'_, Vec<u8>>,
    before: &[u32],
    commits: &[(u32, u32)],
    revisions: &[(u32, u32)],
) -> Vec<u32> {
    let list = |list: &[(u32, u32)]| -> Vec<Commit> {
        let commit = |&(position, token)| Commit { position, token, confidence: 0.5 };
        list.iter().map(commit).collect()
    };
    let (commits, revisions) = (list(commits), list(revisions));
    let mut canvas = before.to_vec();
    for decision in commits.iter().chain(&revisions) {
        canvas[decision.position as usize] = decision.token;
    }
    let shown = view.status.plain("");
    let forward: u32 = shown.split_whitespace().next().unwrap().parse().unwrap();
    view.step(&StepEvent {
        forward,
        block: 0..canvas.len(),
        canvas: &canvas,
        masks: canvas.iter().filter(|id| **id == MASK).count(),
        rows: 7,
        scores: &[],
        commits: &commits,
        revisions: &revisions,
    });
    canvas
}

#[test]
fn what_is_taken_back_is_a_bright_mask_for_one_step() {
    let section = section();
    let mut view = view(&section, LIVE).of_method("wino".into(), "none".into());
    view.size = || Size { columns: 80, rows: 24 };
    view.begin(&[MASK; 4]);
    let canvas = revise(&mut view, &[MASK; 4], &[(0, 3), (1, 4)], &[]);
    take(&mut view);
    let canvas = revise(&mut view, &canvas, &[(2, 3)], &[(0, MASK), (1, 3)]);
    let frame = take(&mut view);
    // A mask taken back, a token replaced, a token committed, a mask that was never anything else.
    let replaced = "\x1b[0;1;38;5;16;48;5;226maa";
    let expected = format!("\x1b[0;1;38;5;201m▒{replaced}\x1b[0;2m▒\x1b[0m\n");
    assert!(frame.contains(&expected), "{frame:?}");
    revise(&mut view, &canvas, &[(3, 3)], &[]);
    let frame = take(&mut view);
    assert!(frame.contains("\x1b[0;2m▒") && !frame.contains(";201m"), "{frame:?}");
}

#[test]
fn the_method_has_a_line_of_its_own_on_eighty_columns() {
    let section = section();
    let mut terminal = Terminal::new(80, 24);
    let mut view = view(&section, LIVE).of_method("wino".into(), "dual".into());
    view.size = || Size { columns: 80, rows: 24 };
    view.begin(&[MASK; 4]);
    terminal.shows(&take(&mut view));
    let canvas = revise(&mut view, &[MASK; 4], &[(0, 3), (1, 4)], &[]);
    let screen = terminal.shows(&take(&mut view));
    let lines: Vec<&str> = screen.lines().collect();
    assert_eq!(lines.len(), 3, "{screen}");
    assert!(
        lines[1].starts_with("step 1/12 · forwards 1 · +2 tokens") && lines[1].ends_with("left")
    );
    assert!(lines[2].starts_with("wino · cache dual · rows 7 · 0.0"), "{screen}");
    revise(&mut view, &canvas, &[(2, 3)], &[(0, MASK), (1, 3)]);
    let screen = terminal.shows(&take(&mut view));
    assert!(screen.contains("rows 7 · 1 taken back · 1 replaced · 0.0"), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() < 80), "{screen}");
    let screen = terminal.shows(&finished(view));
    assert!(screen.contains("rows 14 · 1 taken back · 1 replaced · "), "{screen}");
}

#[test]
fn plain_lines_tell_them_apart() {
    let section = section();
    let mut view = view(&section, PLAIN);
    view.begin(&[MASK; 4]);
    let canvas = revise(&mut view, &[MASK; 4], &[(0, 3), (1, 4)], &[]);
    assert_eq!(take(&mut view), " 1  +2  2 left  abc__\n");
    revise(&mut view, &canvas, &[(2, 3)], &[(0, MASK), (1, 3)]);
    assert_eq!(take(&mut view), " 2  +1 -1 ~1  2 left  _aa_\n");
}

#[test]
fn a_canvas_that_grows_keeps_what_is_known() {
    let section = section();
    let mut view = view(&section, LIVE);
    view.size = || Size { columns: 80, rows: 24 };
    view.begin(&[USER, MASK, MASK]);
    let mut canvas = revise(&mut view, &[USER, MASK, MASK], &[(1, 3)], &[]);
    // Two masks more at the end, then one in front of the last: marks move along.
    canvas.extend([MASK, MASK]);
    let mut canvas = revise(&mut view, &canvas, &[(4, 4)], &[]);
    take(&mut view);
    canvas.insert(2, MASK);
    revise(&mut view, &canvas, &[(2, 3)], &[]);
    let frame = take(&mut view);
    let marks: Vec<bool> = view.marks.iter().map(|mark| mark.confidence.is_some()).collect();
    assert_eq!(marks, [false, true, true, false, false, true]);
    assert!(frame.contains("step 3/12 · forwards 3 · +1 token"), "{frame:?}");
    // And one that is cut.
    revise(&mut view, &[USER, 3, 3], &[], &[]);
    assert_eq!(view.marks.len(), 3);
}
