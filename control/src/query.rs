//! What is asked for, as it stands behind an address, and the words by which things are found.

use model::percent::encode;
use std::fmt::Display;

/// The part of an address behind its path: empty, or beginning with `?`. What is as it is when nobody says is left out.
#[derive(Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    /// Something that may be said.
    pub(crate) fn word(mut self, name: &str, value: Option<impl Display>) -> Query {
        if let Some(value) = value {
            self.0.push(if self.0.is_empty() { '?' } else { '&' });
            self.0.push_str(&format!("{name}={}", encode(&value.to_string())));
        }
        self
    }

    /// Something that holds or does not.
    pub(crate) fn flag(self, name: &str, on: bool) -> Query {
        self.word(name, on.then_some(true))
    }

    /// Words to look for.
    pub(crate) fn text(self, text: &str) -> Query {
        self.word("text", Some(text.trim()).filter(|t| !t.is_empty()))
    }

    /// A value that is left out when it is the usual one.
    pub(crate) fn unless<T: Display + PartialEq>(self, name: &str, value: T, usual: &T) -> Query {
        self.word(name, (value != *usual).then_some(value))
    }

    /// As it is written.
    pub(crate) fn written(self) -> String {
        self.0
    }
}

/// Whether every word of a text stands somewhere in what is said of a thing; case does not matter.
pub(crate) fn all_in(text: &str, said: &str) -> bool {
    let said = said.to_lowercase();
    text.to_lowercase().split_whitespace().all(|word| said.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_left_out() {
        let nothing = Query::default().word("target", None::<&str>).flag("fault", false).text("  ");
        assert_eq!(nothing.unless("limit", 5, &5).written(), "");
        let all = Query::default().word("target", Some("fs:/a b")).flag("fault", true).text(" slow & late ");
        assert_eq!(
            all.unless("limit", 9, &5).written(),
            "?target=fs:/a%20b&fault=true&text=slow%20%26%20late&limit=9"
        );
    }

    #[test]
    fn words_are_found_in_any_order() {
        assert!(all_in("late SLOW", "slow and Late"));
        assert!(!all_in("late never", "slow and Late"));
    }
}
