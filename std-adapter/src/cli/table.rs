//! Plain tables: columns as wide as their widest cell, numbers to the right.

use std::io::{self, Write};

/// Prints rows under a header. Cells that read as numbers are aligned to the right.
pub(super) fn print(out: &mut impl Write, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let header: Vec<String> = header.iter().map(|h| (*h).to_owned()).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|c| rows.iter().chain([&header]).filter_map(|r| r.get(c)).map(String::len).max())
        .map(Option::unwrap_or_default)
        .collect();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (c, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let numeric = rows.iter().filter_map(|r| r.get(c)).all(|c| is_number(c));
            let text = if numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            line.push_str(&text);
            line.push_str("  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn is_number(cell: &str) -> bool {
    cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit() || c == '-')
}

/// A byte count with separators: `1 234 567`.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns() {
        let mut out = Vec::new();
        let rows = [vec!["a".into(), "5".into()], vec!["bcd".into(), "1234".into()]];
        print(&mut out, &["name", "n"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "name     n\na        5\nbcd   1234\n");
        assert_eq!((thousands(7), thousands(1_234_567)), ("7".into(), "1 234 567".into()));
    }
}
