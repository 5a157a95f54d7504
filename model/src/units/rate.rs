use super::{UnitError, plain, size, split_number};
use std::fmt;
use std::str::FromStr;

/// Bytes per second, written in bits or bytes: `10 Mbit/s`, `1 MB/s`, `512KiB/s`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct ByteRate(f64);

impl ByteRate {
    /// So many bytes per second; negative or not finite becomes zero.
    pub fn bytes_per_second(n: f64) -> ByteRate {
        ByteRate(if n.is_finite() { n.max(0.0) } else { 0.0 })
    }

    /// Bytes per second.
    pub fn value(self) -> f64 {
        self.0
    }
}

const BITS: [(&str, f64); 5] = [("Gbit", 1e9), ("Mbit", 1e6), ("kbit", 1e3), ("Kbit", 1e3), ("bit", 1.0)];

impl FromStr for ByteRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = |why: String, hint: &str| UnitError {
            text: text.to_owned(),
            quantity: "a rate",
            why,
            hint: hint.to_owned(),
        };
        let (number, unit) = split_number(text);
        let value: f64 = number.parse().map_err(|_| {
            error("it does not start with a number".into(), "write for example 1MB/s or 10Mbit/s")
        })?;
        if value < 0.0 {
            return Err(error("it is negative".into(), "a rate is zero or more; 0B/s stalls"));
        }
        let Some(unit) = unit.strip_suffix("/s") else {
            let hint = if matches!(unit, "kbps" | "mbps" | "Mbps" | "gbps" | "Gbps" | "bps") {
                "write Mbit/s for bits or MB/s for bytes"
            } else {
                "write for example 1MB/s or 10Mbit/s"
            };
            return Err(error("it does not end in /s".into(), hint));
        };
        let bytes = if let Some((_, scale)) = BITS.iter().find(|(name, _)| *name == unit) {
            value * scale / 8.0
        } else if let Some((_, scale)) = size::UNITS.iter().find(|(name, _)| *name == unit) {
            value * scale
        } else {
            return Err(error(
                format!("{unit:?} is not a unit of size"),
                "write for example 1MB/s or 10Mbit/s",
            ));
        };
        Ok(ByteRate::bytes_per_second(bytes))
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            n if n >= 1e9 => format!("{}GB/s", plain(n / 1e9)),
            n if n >= 1e6 => format!("{}MB/s", plain(n / 1e6)),
            n if n >= 1e3 => format!("{}kB/s", plain(n / 1e3)),
            n => format!("{}B/s", plain(n)),
        };
        f.pad(&text)
    }
}

super::as_text!(ByteRate);

/// Things per second: `50/s`, `0.5/s`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct EventRate(f64);

impl EventRate {
    /// So many per second; negative or not finite becomes zero.
    pub fn per_second(n: f64) -> EventRate {
        EventRate(if n.is_finite() { n.max(0.0) } else { 0.0 })
    }

    /// Per second.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl FromStr for EventRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = |why: &str| UnitError {
            text: text.to_owned(),
            quantity: "a rate",
            why: why.to_owned(),
            hint: "write for example 50/s".to_owned(),
        };
        let (number, unit) = split_number(text);
        let value: f64 = number.parse().map_err(|_| error("it does not start with a number"))?;
        let per_second = match unit {
            "/s" => value,
            "/m" | "/min" => value / 60.0,
            "" => return Err(error("the unit is missing")),
            _ => return Err(error("it does not end in /s or /m")),
        };
        if value < 0.0 {
            return Err(error("it is negative"));
        }
        if per_second > 1e7 {
            return Err(error("it is above ten million a second"));
        }
        Ok(EventRate::per_second(per_second))
    }
}

impl fmt::Display for EventRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/s", plain(self.0)))
    }
}

super::as_text!(EventRate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_bytes() {
        assert_eq!("10 Mbit/s".parse::<ByteRate>().unwrap().value(), 1_250_000.0);
        assert_eq!("1 MB/s".parse::<ByteRate>().unwrap().value(), 1_000_000.0);
        assert_eq!("512KiB/s".parse::<ByteRate>().unwrap().to_string(), "524.288kB/s");
        let why = |text: &str| text.parse::<ByteRate>().unwrap_err().to_string();
        assert!(why("10mbps").contains("write Mbit/s for bits or MB/s for bytes"));
        assert_eq!("50/s".parse::<EventRate>().unwrap().to_string(), "50/s");
        assert_eq!("60/m".parse::<EventRate>().unwrap().value(), 1.0);
        assert!("50".parse::<EventRate>().is_err());
    }
}
