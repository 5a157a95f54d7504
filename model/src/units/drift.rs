use super::{UnitError, plain, split_number};
use std::fmt;
use std::str::FromStr;

/// How much too fast (or, negative, too slow) a clock goes: `10%`, `-0.5%`, `200ppm`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Drift(f64);

impl Drift {
    /// A clock that goes as it should.
    pub const NONE: Drift = Drift(0.0);

    /// Seconds too many for each true second, or none outside -0.9..=10.0: a clock that stands still or runs back is
    /// none, and eleven times too fast is enough for everyone.
    pub fn new(fraction: f64) -> Option<Drift> {
        (-0.9..=10.0).contains(&fraction).then_some(Drift(fraction))
    }

    /// Seconds too many for each true second.
    pub fn fraction(self) -> f64 {
        self.0
    }
}

impl FromStr for Drift {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error =
            |why: String, hint: String| UnitError { text: text.to_owned(), quantity: "a drift", why, hint };
        let example = || "write for example 10%, -0.5% or 200ppm".to_owned();
        let (number, unit) = split_number(text);
        let value: f64 =
            number.parse().map_err(|_| error("it does not start with a number".into(), example()))?;
        let scale = match unit {
            "%" => 1e-2,
            "ppm" => 1e-6,
            "" => {
                return Err(error(
                    "the unit is missing".into(),
                    format!("write {0}% or {0}ppm (a millionth)", plain(value)),
                ));
            }
            other => return Err(error(format!("{other:?} is neither % nor ppm"), example())),
        };
        Drift::new(value * scale)
            .ok_or_else(|| error("it is outside -90% to 1000%".into(), "write a drift between them".into()))
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.0 != 0.0 && self.0.abs() < 1e-3 {
            format!("{}ppm", plain(self.0 * 1e6))
        } else {
            format!("{}%", plain(self.0 * 1e2))
        };
        f.pad(&text)
    }
}

super::as_text!(Drift);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for (text, fraction, back) in [
            ("10%", 0.1, "10%"),
            ("-0.5 %", -0.005, "-0.5%"),
            ("200ppm", 2e-4, "200ppm"),
            ("20000ppm", 0.02, "2%"),
            ("0%", 0.0, "0%"),
        ] {
            let drift: Drift = text.parse().unwrap();
            assert!((drift.fraction() - fraction).abs() < 1e-12, "{text}");
            assert_eq!(drift.to_string(), back);
        }
        let why = |text: &str| text.parse::<Drift>().unwrap_err().to_string();
        assert!(why("5").contains("the unit is missing; write 5% or 5ppm"));
        assert!(why("-100%").contains("outside -90% to 1000%"));
        assert!(why("fast").contains("does not start with a number"));
    }
}
