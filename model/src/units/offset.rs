use super::{Span, UnitError};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// By how much a clock is wrong, in nanoseconds: ahead (`5s`, `+200ms`) or back (`-1h30m`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

impl Offset {
    /// A clock that is right.
    pub const ZERO: Offset = Offset(0);

    /// The same in seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// How far, whichever way.
    pub fn distance(self) -> Duration {
        Duration::from_nanos(self.0.unsigned_abs())
    }
}

impl FromStr for Offset {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let whole = text.trim();
        let (sign, rest) = match whole.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, whole.strip_prefix('+').unwrap_or(whole)),
        };
        let span: Span = rest.trim().parse().map_err(|e: UnitError| UnitError {
            text: text.to_owned(),
            quantity: "an offset",
            hint: match e.why.as_str() {
                "it is empty" => "write for example 5s, or -1h for an hour back".into(),
                _ => e.hint,
            },
            why: e.why,
        })?;
        // A hundred years of nanoseconds fit.
        Ok(Offset(sign * i64::try_from(span.0.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        f.pad(&format!("{sign}{}", Span(self.distance())))
    }
}

super::as_text!(Offset);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_both_ways() {
        for (text, nanos, back) in [
            ("5s", 5_000_000_000, "5s"),
            ("+200ms", 200_000_000, "200ms"),
            ("-1h30m", -5_400_000_000_000, "-1h30m"),
            ("- 2s", -2_000_000_000, "-2s"),
            ("0s", 0, "0s"),
        ] {
            let offset: Offset = text.parse().unwrap();
            assert_eq!((offset.0, offset.to_string().as_str()), (nanos, back), "{text}");
        }
        let why = |text: &str| text.parse::<Offset>().unwrap_err().to_string();
        assert!(why("-5").contains("is not an offset: the unit is missing"), "{}", why("-5"));
        assert!(why("").contains("-1h for an hour back"));
        assert!(why("--5s").contains("not an offset"));
    }
}
