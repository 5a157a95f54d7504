use super::{UnitError, plain, split_number};
use std::fmt;
use std::str::FromStr;

/// A share from 0 % to 100 %, written with its sign: `30%`, `0.5%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Percent(f64);

impl Percent {
    /// Everything.
    pub const ALL: Percent = Percent(100.0);

    /// The percentage `value`, or none when it is outside 0..=100.
    pub fn new(value: f64) -> Option<Percent> {
        (0.0..=100.0).contains(&value).then_some(Percent(value))
    }

    /// The share as a fraction, 0.0..=1.0.
    pub fn fraction(self) -> f64 {
        self.0 / 100.0
    }

    /// The number before the sign, 0.0..=100.0.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = |why: String, hint: String| UnitError {
            text: text.to_owned(),
            quantity: "a percentage",
            why,
            hint,
        };
        let (number, unit) = split_number(text);
        let value: f64 = number
            .parse()
            .map_err(|_| error("it does not start with a number".into(), "write for example 30%".into()))?;
        match unit {
            "%" => {}
            "" => return Err(error("the sign is missing".into(), format!("write {}%", plain(value)))),
            other => return Err(error(format!("{other:?} is not %"), format!("write {}%", plain(value)))),
        }
        Percent::new(value)
            .ok_or_else(|| error("it is outside 0% to 100%".into(), "write a share between them".into()))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", plain(self.0)))
    }
}

super::as_text!(Percent);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        assert_eq!("30%".parse::<Percent>().unwrap().fraction(), 0.3);
        assert_eq!("0.5 %".parse::<Percent>().unwrap().to_string(), "0.5%");
        let why = |text: &str| text.parse::<Percent>().unwrap_err().to_string();
        assert_eq!(
            why("140%"),
            r#""140%" is not a percentage: it is outside 0% to 100%; write a share between them"#
        );
        assert_eq!(why("30"), r#""30" is not a percentage: the sign is missing; write 30%"#);
        assert!(why("NaN%").contains("does not start with a number"));
    }
}
