//! Wall-clock time as text.

/// Now, as part of a file name: `20261128T220102Z`.
pub fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Now, as people and programs read it: `2026-11-28T22:01:02Z`.
pub fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
