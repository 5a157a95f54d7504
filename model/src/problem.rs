//! What is wrong with something a person wrote, told so that it can be mended.

use std::fmt;

/// A place in a text: byte range, with the line and column (from 1) of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One thing that is wrong: what, where, and what to do about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// What is wrong, as a sentence without a full stop.
    pub what: String,
    /// Where, when it stands in a file.
    pub place: Option<Place>,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a place in a file.
    pub fn new(what: impl Into<String>) -> Problem {
        Problem { what: what.into(), place: None, hint: None }
    }

    /// The problem with its place.
    pub fn at(mut self, place: Place) -> Problem {
        self.place = Some(place);
        self
    }

    /// The problem with advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// All problems of one text, in the order of their places; never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Problems {
    /// The name of the text: a file's path, or `<stdin>`.
    pub name: String,
    /// The text itself.
    pub source: String,
    /// What is wrong with it.
    pub list: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    /// Every problem with file, line, column, the line itself and carets under the place; with the file alone, when it is
    /// about the whole of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "error: {}", problem.what)?;
            if let Some(place) = problem.place {
                let line = self.source.lines().nth(place.line.saturating_sub(1)).unwrap_or("");
                let number = place.line.to_string();
                let margin = " ".repeat(number.len());
                let lead: String = line
                    .chars()
                    .take(place.column.saturating_sub(1))
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                let on_line = line.chars().count().saturating_sub(place.column.saturating_sub(1)).max(1);
                let text = self.source.get(place.start..place.end).unwrap_or("");
                let width = text.lines().next().unwrap_or("").trim_end().chars().count().clamp(1, on_line);
                write!(f, "\n{margin}--> {}:{}:{}", self.name, place.line, place.column)?;
                write!(f, "\n{margin} |\n{number} | {line}\n{margin} | {lead}{}", "^".repeat(width))?;
            } else {
                write!(f, "\n --> {}", self.name)?;
            }
            if let Some(hint) = &problem.hint {
                write!(f, "\n  = {hint}")?;
            }
        }
        Ok(())
    }
}

/// The known word nearest to `word`, when it is near enough to be a slip.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|k| (distance(&word.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 3 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        assert_eq!(did_you_mean("latnecy", ["latency", "abort"]), Some("latency"));
        assert_eq!(did_you_mean("stagse", ["stages", "safety"]), Some("stages"));
        assert_eq!(did_you_mean("zebra", ["latency", "abort"]), None);
    }
}
