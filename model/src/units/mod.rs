//! Quantities that parse from what people write and print back to the same.
//!
//! Every quantity carries its unit in the text (`120ms`, `30%`, `64KiB`, `10 Mbit/s`); a bare number is
//! refused, because `5` has been read as seconds by one person and milliseconds by the next.

mod drift;
mod offset;
mod percent;
mod rate;
mod size;
mod span;

pub use drift::Drift;
pub use offset::Offset;
pub use percent::Percent;
pub use rate::{ByteRate, EventRate};
pub use size::Size;
pub use span::Span;

/// Why a text is not the quantity it should be: what was read, why it cannot be used, what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {quantity}: {why}; {hint}")]
pub struct UnitError {
    /// The text as it was given.
    pub text: String,
    /// What was expected, with its article: `a duration`.
    pub quantity: &'static str,
    /// Why the text cannot be that.
    pub why: String,
    /// What to write instead.
    pub hint: String,
}

/// Splits a text in its leading number and the rest, both trimmed. The number may have a sign and a point.
fn split_number(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && (*c == '-' || *c == '+'))))
        .map_or(text.len(), |(i, _)| i);
    (text[..end].trim(), text[end..].trim())
}

/// Prints a number without a trailing `.0` and with at most three decimals.
fn plain(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Serialises by `Display` and reads back by `FromStr`: the wire carries what people write.
macro_rules! as_text {
    ($t:ty) => {
        impl serde::Serialize for $t {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $t {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use as_text;
