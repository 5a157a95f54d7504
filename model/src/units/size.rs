use super::{UnitError, plain, split_number};
use std::fmt;
use std::str::FromStr;

/// A number of bytes: `512B`, `64KiB`, `10MB`. `KiB` counts 1024, `kB` 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

/// Units of size with their bytes.
pub(super) const UNITS: [(&str, f64); 10] = [
    ("TiB", 1_099_511_627_776.0),
    ("GiB", 1_073_741_824.0),
    ("MiB", 1_048_576.0),
    ("KiB", 1024.0),
    ("TB", 1e12),
    ("GB", 1e9),
    ("MB", 1e6),
    ("kB", 1e3),
    ("KB", 1e3),
    ("B", 1.0),
];

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error =
            |why: String, hint: String| UnitError { text: text.to_owned(), quantity: "a size", why, hint };
        let (number, unit) = split_number(text);
        let value: f64 = number.parse().map_err(|_| {
            error("it does not start with a number".into(), "write for example 64KiB or 10MB".into())
        })?;
        if value < 0.0 {
            return Err(error("it is negative".into(), "a size is zero or more".into()));
        }
        if unit.is_empty() {
            return Err(error(
                "the unit is missing".into(),
                format!("write {0}B, {0}KiB or {0}MiB", plain(value)),
            ));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let hint = match unit {
                "K" | "k" => "write KiB (1024) or kB (1000)",
                "M" | "m" => "write MiB (1024²) or MB (1000²)",
                "G" | "g" => "write GiB (1024³) or GB (1000³)",
                _ => "the units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB",
            };
            return Err(error(format!("{unit:?} is not a unit of size"), hint.into()));
        };
        let bytes = value * scale;
        if bytes > 9e18 {
            return Err(error("it is larger than 8 EiB".into(), "write something smaller".into()));
        }
        Ok(Size(bytes.round() as u64))
    }
}

impl Size {
    /// The size for people, where what is exact would be a long number: `23.5GiB`.
    pub fn about(self) -> String {
        match UNITS.iter().take(4).find(|(_, scale)| self.0 as f64 >= *scale) {
            Some((name, scale)) if self.to_string().len() > 8 => {
                format!("{:.1}{name}", self.0 as f64 / scale)
            }
            _ => self.to_string(),
        }
    }
}

/// Exact, in the unit in which that takes the fewest digits.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = UNITS.iter().map(|(name, scale)| (*name, *scale as u64));
        let exact = units.filter(|(name, scale)| *name != "KB" && self.0.is_multiple_of(*scale));
        match exact.min_by_key(|(_, scale)| self.0 / scale).filter(|_| self.0 > 0) {
            Some((name, scale)) => f.pad(&format!("{}{name}", self.0 / scale)),
            None => f.pad("0B"),
        }
    }
}

super::as_text!(Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        assert_eq!("64KiB".parse::<Size>().unwrap(), Size(65_536));
        assert_eq!("1.5 MB".parse::<Size>().unwrap(), Size(1_500_000));
        for text in ["0B", "1B", "512B", "64KiB", "10MB", "1GiB", "1500B", "1TB", "90TB", "1536MiB"] {
            let size: Size = text.parse().unwrap();
            assert_eq!(
                (size.to_string().parse::<Size>().unwrap(), size.to_string().len() <= text.len()),
                (size, true),
                "{text}"
            );
        }
        assert_eq!(
            (Size(25_276_502_016).about(), Size(10_000_000).about()),
            ("23.5GiB".into(), "10MB".into())
        );
        let why = |text: &str| text.parse::<Size>().unwrap_err().to_string();
        assert_eq!(why("10"), r#""10" is not a size: the unit is missing; write 10B, 10KiB or 10MiB"#);
        assert_eq!(
            why("10M"),
            r#""10M" is not a size: "M" is not a unit of size; write MiB (1024²) or MB (1000²)"#
        );
    }
}
