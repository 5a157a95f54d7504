//! Wall-clock time as text.

/// Now, as part of a file name: `20261128T220102Z`.
pub fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}
