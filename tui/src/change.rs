//! Changing a fault that is on, by the same form that arms one.

use crate::cmdline;
use control::wire::Change;
use model::Fault;
use std::collections::BTreeMap;

/// The fault that a form changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Changing {
    /// At which agent.
    pub agent: usize,
    /// Its id.
    pub id: String,
    /// As it was when the form was opened.
    pub from: Fault,
}

impl Changing {
    /// What is different now. A length that was not touched is left to run.
    pub fn change(&self, to: &Fault) -> Change {
        let (old, new) = (self.from.inject.params(), to.inject.params());
        let changed = new.iter().filter(|(name, value)| old.get(*name) != Some(*value));
        let mut inject: BTreeMap<String, serde_json::Value> = changed
            .map(|(name, value)| (name.clone(), serde_json::to_value(value).unwrap_or_default()))
            .collect();
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        inject.extend(gone.map(|name| (name.clone(), serde_json::Value::Null)));
        Change {
            inject,
            share: (to.share != self.from.share).then_some(to.share),
            when: (to.when != self.from.when).then(|| to.when.clone()),
            ramp: None,
            lasts: to.lasts.filter(|lasts| Some(*lasts) != self.from.lasts),
        }
    }

    /// The command line that does the same.
    pub fn command(&self, to: &Fault) -> String {
        cmdline::adjust(&self.id, &self.from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str) -> Fault {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn only_what_is_different_is_sent() {
        let from = fault(
            r#"{"target":"proxy:a","for":"60s","inject":{"throttle_body":{"rate":"10kB/s"}},"share":{"percent":"30%"}}"#,
        );
        let changing = Changing { agent: 0, id: "A".into(), from: from.clone() };
        assert_eq!(changing.change(&from), Change::default());
        let to = fault(
            r#"{"target":"proxy:a","for":"60s","inject":{"throttle_body":{"rate":"20kB/s"}},"when":{"path":"/pay*"}}"#,
        );
        let change = changing.change(&to);
        assert_eq!(change.inject.keys().collect::<Vec<_>>(), ["rate"]);
        assert!(change.share.is_some() && change.when.is_some() && change.lasts.is_none(), "{change:?}");
        assert_eq!(changing.command(&to), "murphy adjust A rate=20kB/s --percent 100% --when 'path=/pay*'");
        assert_eq!(
            Changing { from: to, ..changing }.command(&from),
            "murphy adjust A rate=10kB/s --percent 30% --when everything"
        );
    }
}
