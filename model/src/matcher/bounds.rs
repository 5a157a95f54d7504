//! Numbers that fit: single ones, ranges and comparisons.

use crate::problem::Problem;
use crate::units::Size;
use std::fmt;

/// Numbers as people write sets of them: `503`, `500-599`, `404,500-599`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers(Vec<(u64, u64)>);

/// A comparison with a number of bytes: `>= 1MiB`, `< 64KiB`, `4KiB-1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    from: u64,
    to: u64,
}

impl Numbers {
    /// Reads them; each must lie within `least` and `most`.
    pub fn parse(text: &str, least: u64, most: u64) -> Result<Numbers, Problem> {
        let wrong = || {
            Problem::new(format!("{text:?} is not a set of numbers from {least} to {most}"))
                .hint("write for example 503, 500-599 or 404,500-599")
        };
        let number = |t: &str| t.trim().parse().ok().filter(|n| (least..=most).contains(n));
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (a, b) = part.split_once('-').unwrap_or((part, part));
            match (number(a), number(b)) {
                (Some(a), Some(b)) if a <= b => ranges.push((a, b)),
                _ => return Err(wrong()),
            }
        }
        Ok(Numbers(ranges))
    }

    /// Whether it is one of them.
    pub fn contains(&self, n: u64) -> bool {
        self.0.iter().any(|(a, b)| (*a..=*b).contains(&n))
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (a, b)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if a == b { write!(f, "{comma}{a}")? } else { write!(f, "{comma}{a}-{b}")? }
        }
        Ok(())
    }
}

impl Bytes {
    /// Reads a comparison or a range; both ends of a range are included.
    pub fn parse(text: &str) -> Result<Bytes, Problem> {
        let wrong = || {
            Problem::new(format!("{text:?} is not a condition on a number of bytes"))
                .hint("write for example >= 1MiB, < 64KiB or 4KiB-1MiB")
        };
        let size = |t: &str| t.trim().parse::<Size>().map(|s| s.0).map_err(|_| wrong());
        let text = text.trim();
        let (from, to) = if let Some(rest) = text.strip_prefix(">=") {
            (size(rest)?, u64::MAX)
        } else if let Some(rest) = text.strip_prefix("<=") {
            (0, size(rest)?)
        } else if let Some(rest) = text.strip_prefix('>') {
            (size(rest)?.checked_add(1).ok_or_else(wrong)?, u64::MAX)
        } else if let Some(rest) = text.strip_prefix('<') {
            (0, size(rest)?.checked_sub(1).ok_or_else(wrong)?)
        } else if let Some((a, b)) = text.split_once('-') {
            (size(a)?, size(b)?)
        } else {
            let exactly = size(text)?;
            (exactly, exactly)
        };
        if from > to { Err(wrong()) } else { Ok(Bytes { from, to }) }
    }

    /// Whether so many bytes fit.
    pub fn contains(&self, n: u64) -> bool {
        (self.from..=self.to).contains(&n)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (Size(self.from), Size(self.to)) {
            (from, to) if from == to => write!(f, "{from}"),
            (from, Size(u64::MAX)) => write!(f, ">= {from}"),
            (Size(0), to) => write!(f, "<= {to}"),
            (from, to) => write!(f, "{from}-{to}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_numbers() {
        let n = Numbers::parse("404, 500-599", 100, 599).unwrap();
        assert!(n.contains(404) && n.contains(500) && n.contains(599) && !n.contains(403));
        assert_eq!(n.to_string(), "404,500-599");
        for wrong in ["", "5xx", "599-500", "99", "600", "500-", "1,,2"] {
            assert!(Numbers::parse(wrong, 100, 599).is_err(), "{wrong}");
        }
    }

    #[test]
    fn comparisons_read_back() {
        for (text, inside, outside) in [
            (">= 1KiB", 1024, 1023),
            ("> 1KiB", 1025, 1024),
            ("< 1KiB", 1023, 1024),
            ("<= 1KiB", 1024, 1025),
            ("1KiB-2KiB", 2048, 2049),
            ("7B", 7, 8),
        ] {
            let b = Bytes::parse(text).unwrap();
            assert!(b.contains(inside) && !b.contains(outside), "{text}");
            assert_eq!(Bytes::parse(&b.to_string()).unwrap(), b, "{text}");
        }
        for wrong in ["", "big", "< 0B", "2KiB-1KiB", "=> 1KiB"] {
            assert!(Bytes::parse(wrong).is_err(), "{wrong}");
        }
    }
}
