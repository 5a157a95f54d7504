//! Texts cut and padded to columns of the terminal.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most so many columns, with … where something is left out.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > columns {
            break;
        }
        out.push(c);
        used += w;
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// The text in exactly so many columns.
pub fn pad(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let gap = columns.saturating_sub(width(&text));
    text + &" ".repeat(gap)
}

/// The text in exactly so many columns, at the right.
pub fn right(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    " ".repeat(columns.saturating_sub(width(&text))) + &text
}

/// The text in lines of at most so many columns, broken at spaces where there are any.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut out: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let mut word = word.to_owned();
            if !line.is_empty() && width(&line) + 1 + width(&word) > columns {
                out.push(std::mem::take(&mut line));
            }
            while width(&word) > columns {
                let mut head = String::new();
                while let Some(c) = word.chars().next() {
                    if width(&head) + c.width().unwrap_or(0) > columns {
                        break;
                    }
                    head.push(c);
                    word.remove(0);
                }
                if head.is_empty() {
                    break;
                }
                out.push(head);
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
        out.push(line);
    }
    out
}

/// `mm:ss`, or `h:mm:ss`; never negative.
pub fn clock(ms: f64) -> String {
    let s = (ms.max(0.0) / 1000.0) as u64;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{:02}:{:02}", s / 60, s % 60)
    }
}

/// A span of seconds in one or two units: `45s`, `6m`, `1m30`.
pub fn seconds(s: i64) -> String {
    match (s / 60, s % 60) {
        (0, s) => format!("{s}s"),
        (m, 0) if m % 60 == 0 && m >= 60 => format!("{}h", m / 60),
        (m, 0) => format!("{m}m"),
        (m, s) => format!("{m}m{s:02}"),
    }
}

/// A line from pieces.
pub fn line<'a>(pieces: impl IntoIterator<Item = (String, Style)>) -> Line<'a> {
    Line::from(pieces.into_iter().map(|(t, s)| Span::styled(t, s)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_kept() {
        assert_eq!(cut("latency", 7), "latency");
        assert_eq!(cut("latency", 4), "lat…");
        assert_eq!((cut("latency", 0), cut("日本語", 4)), (String::new(), "日…".to_owned()));
        assert_eq!((pad("ab", 4), right("ab", 4)), ("ab  ".to_owned(), "  ab".to_owned()));
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(
            (clock(61_000.0), clock(-5.0), clock(3_661_000.0)),
            ("01:01".into(), "00:00".into(), "1:01:01".into())
        );
        assert_eq!(
            (seconds(45), seconds(360), seconds(90), seconds(7200)),
            ("45s".into(), "6m".into(), "1m30".into(), "2h".into())
        );
    }
}
