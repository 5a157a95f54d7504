//! Short names for faults: A, B, … Z, AA, AB, …

use std::hash::{BuildHasher, Hasher};

/// The name with that number, from 0.
pub(crate) fn letters(mut n: u64) -> String {
    let mut out = Vec::new();
    loop {
        out.push(b'A' + (n % 26) as u8);
        n /= 26;
        if n == 0 {
            break;
        }
        n -= 1;
    }
    out.iter().rev().map(|b| char::from(*b)).collect()
}

/// What is wrong with an id that a user chose.
pub(crate) fn problem(id: &str) -> Option<&'static str> {
    if id.is_empty() {
        Some("an id must not be empty")
    } else if id.len() > 64 {
        Some("an id has at most 64 characters")
    } else if id.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
        Some("an id has no spaces, slashes or control characters")
    } else {
        None
    }
}

/// A seed for a fault that brings none: std keys its hash maps at random, which is random enough for this.
pub(crate) fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_on_after_z() {
        let names: Vec<String> = [0, 1, 25, 26, 27, 51, 52, 701, 702].map(letters).to_vec();
        assert_eq!(names, ["A", "B", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA"]);
        assert!(problem("slow-pay").is_none() && problem("a b").is_some() && problem("").is_some());
        assert_ne!(random_seed(), random_seed());
    }
}
