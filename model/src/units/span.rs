use super::UnitError;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time, never negative, written with its unit and possibly compound: `1h30m`, `1.5s`, `250us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// A hundred years: more is a slip of the finger, and stays far from every overflow.
const LONGEST: f64 = 100.0 * 366.0 * 86_400e9;

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(Duration::ZERO);

    /// So many whole seconds.
    pub const fn secs(n: u64) -> Span {
        Span(Duration::from_secs(n))
    }

    /// So many whole milliseconds.
    pub const fn millis(n: u64) -> Span {
        Span(Duration::from_millis(n))
    }

    /// The length in milliseconds, with its fraction.
    pub fn as_millis_f64(self) -> f64 {
        self.0.as_secs_f64() * 1e3
    }
}

impl From<Duration> for Span {
    fn from(d: Duration) -> Self {
        Span(d)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = |why: String, hint: String| UnitError {
            text: text.to_owned(),
            quantity: "a duration",
            why,
            hint,
        };
        let whole = text.trim();
        if whole.is_empty() {
            return Err(error("it is empty".into(), "write for example 500ms, 30s or 1h30m".into()));
        }
        if whole.starts_with('-') {
            return Err(error("it is negative".into(), "a duration is zero or more".into()));
        }
        let mut rest = whole;
        let mut nanos = 0.0_f64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let tail = tail.trim_start();
            let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let number: f64 = number.parse().map_err(|_| {
                error(
                    format!("{:?} is not a number", if number.is_empty() { rest } else { number }),
                    "write for example 500ms, 30s or 1h30m".into(),
                )
            })?;
            if unit.is_empty() {
                return Err(error(
                    "the unit is missing".into(),
                    format!("write {0}ms, {0}s or {0}m", super::plain(number)),
                ));
            }
            let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                let hint = match unit {
                    "M" => "write m for minutes".to_owned(),
                    "sec" | "secs" | "second" | "seconds" => "write s for seconds".to_owned(),
                    "min" | "mins" | "minute" | "minutes" => "write m for minutes".to_owned(),
                    _ => "the units are ns, us, ms, s, m, h and d".to_owned(),
                };
                return Err(error(format!("{unit:?} is not a unit of time"), hint));
            };
            nanos += number * *scale as f64;
            rest = tail.trim_start();
        }
        if nanos > LONGEST {
            return Err(error("it is longer than 100 years".into(), "write something shorter".into()));
        }
        Ok(Span(Duration::from_nanos(nanos.round() as u64)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        match nanos {
            0 => f.pad("0s"),
            n if n < 1_000 => f.pad(&format!("{n}ns")),
            n if n < 1_000_000 => f.pad(&format!("{}us", super::plain(n as f64 / 1e3))),
            n if n < 1_000_000_000 => f.pad(&exact(n, 1_000_000, "ms")),
            n if n < 60_000_000_000 => f.pad(&exact(n, 1_000_000_000, "s")),
            n => {
                let secs = n / 1_000_000_000;
                let mut out = String::new();
                for (unit, len) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
                    let count = secs / len
                        % if len == 86_400 {
                            u128::MAX
                        } else if len == 3_600 {
                            24
                        } else {
                            60
                        };
                    if count > 0 {
                        out.push_str(&format!("{count}{unit}"));
                    }
                }
                let left = n % 60_000_000_000;
                if left > 0 {
                    out.push_str(&exact(left, 1_000_000_000, "s"));
                }
                f.pad(&out)
            }
        }
    }
}

/// `n` in units of `scale`, with as many decimals as it takes to lose nothing.
fn exact(n: u128, scale: u128, unit: &str) -> String {
    let (whole, part) = (n / scale, n % scale);
    if part == 0 {
        return format!("{whole}{unit}");
    }
    let width = scale.ilog10() as usize;
    let digits = format!("{part:0width$}");
    format!("{whole}.{}{unit}", digits.trim_end_matches('0'))
}

super::as_text!(Span);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nanos(text: &str) -> u128 {
        text.parse::<Span>().unwrap().0.as_nanos()
    }

    #[test]
    fn reads_what_people_write() {
        assert_eq!(nanos("1h30m"), 5_400_000_000_000);
        assert_eq!(nanos("1.5s"), 1_500_000_000);
        assert_eq!(nanos("250us"), 250_000);
        assert_eq!(nanos("250µs"), 250_000);
        assert_eq!(nanos("1m 30s"), 90_000_000_000);
        assert_eq!(nanos("0s"), 0);
    }

    #[test]
    fn says_what_to_write_instead() {
        let why = |text: &str| text.parse::<Span>().unwrap_err().to_string();
        assert_eq!(why("5"), r#""5" is not a duration: the unit is missing; write 5ms, 5s or 5m"#);
        assert_eq!(why("1M"), r#""1M" is not a duration: "M" is not a unit of time; write m for minutes"#);
        assert_eq!(why("-2s"), r#""-2s" is not a duration: it is negative; a duration is zero or more"#);
        assert!(why("s5").contains("is not a number"));
        assert!(why("").contains("empty"));
        assert!(why("99999999d").contains("100 years"));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_the_same(ms in 0_u64..10_000_000_000) {
            let span = Span::millis(ms);
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }

        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ = text.parse::<Span>();
        }
    }
}
