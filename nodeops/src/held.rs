//! What is held by faults that must not lie over each other: each keeps what was there before, and taking back the lower
//! one first would bring back what the upper one found.

use inject::Refusal;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Keys with the fault that holds them.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<BTreeMap<String, String>>);

impl Held {
    /// Refuses when another fault holds one of these.
    pub(crate) fn check(&self, keys: &[String], id: &str) -> Result<(), Refusal> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.iter().find_map(|key| Some((key, all.get(key).filter(|by| *by != id)?))) {
            Some((key, by)) => Err(Refusal::new(
                format!("the {key} is changed by the fault {by} already"),
                format!("change that one, or disarm it first: murphy disarm {by}"),
            )),
            None => Ok(()),
        }
    }

    /// Holds them for a fault.
    pub(crate) fn take(&self, keys: Vec<String>, id: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(keys.into_iter().map(|key| (key, id.to_owned())));
    }

    /// Lets go of everything that a fault held.
    pub(crate) fn release(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, by| by != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_at_a_time() {
        let (held, keys) = (Held::default(), vec!["file /a".to_owned()]);
        held.check(&keys, "A").unwrap();
        held.take(keys.clone(), "A");
        held.check(&keys, "A").unwrap();
        let why = held.check(&keys, "B").unwrap_err().to_string();
        assert!(why.contains("file /a is changed by the fault A already; change that one"), "{why}");
        held.release("A");
        held.check(&keys, "B").unwrap();
    }
}
