//! Operations on files over the wire: which are meant, the last of them, and how long each kind takes.

use crate::query::{Query, all_in};
use model::{FileOperation, TargetRef};
use serde::{Deserialize, Serialize};

/// How many are listed when nobody says: the last ones.
pub const LIMIT: usize = 100;
/// How many are listed at most.
pub const LONGEST: usize = 10_000;

/// Which operations are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationQuery {
    /// Only those of this target.
    pub target: Option<TargetRef>,
    /// Only those that a fault did something to.
    pub fault: bool,
    /// Only those of this kind: `fsync`.
    pub op: Option<String>,
    /// Only those in which each of these words stands: path, command, operation, error, ids of faults.
    pub text: String,
    /// Only those with a higher number; numbers count for each target by itself.
    pub after: u64,
    /// At most so many, the last ones.
    pub limit: usize,
}

impl Default for OperationQuery {
    fn default() -> OperationQuery {
        OperationQuery { target: None, fault: false, op: None, text: String::new(), after: 0, limit: LIMIT }
    }
}

impl OperationQuery {
    /// As it stands in an address: empty, or beginning with `?`.
    pub fn to_query(&self) -> String {
        Query::default()
            .word("target", self.target.as_ref())
            .flag("fault", self.fault)
            .word("op", self.op.as_ref())
            .text(&self.text)
            .unless("after", self.after, &0)
            .unless("limit", self.limit, &LIMIT)
            .written()
    }

    fn fits(&self, o: &FileOperation) -> bool {
        o.seq > self.after
            && self.target.as_ref().is_none_or(|t| *t == o.target)
            && (!self.fault || !o.faults.is_empty())
            && self.op.as_ref().is_none_or(|op| *op == o.op)
            && says(o, &self.text)
    }
}

/// Whether every word of a text stands somewhere in an operation: path, command, pid, operation, error, ids of faults.
pub fn says(o: &FileOperation, text: &str) -> bool {
    let error = o.error.as_deref().unwrap_or_default();
    let all = format!("{} {} {} {} {error} {}", o.path, o.command, o.op, o.pid, o.faults.join(" "));
    all_in(text, &all)
}

/// How often an operation was done since its target was opened, and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationRow {
    /// The target.
    pub target: TargetRef,
    /// The operation.
    pub op: String,
    /// How often.
    pub count: u64,
    /// How often it failed with an error that says something is wrong with the filesystem.
    pub errors: u64,
    /// The median of how long it took, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    /// What one in a hundred took longer than, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
}

/// The last operations, and what there is in all by kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationList {
    /// How many fit the query, also beyond its limit.
    pub total: usize,
    /// Those that are shown, oldest first.
    pub operations: Vec<FileOperation>,
    /// All since each target was opened, by kind.
    pub kinds: Vec<OperationRow>,
}

impl OperationList {
    /// What a query finds among all.
    pub fn of(
        mut all: Vec<FileOperation>,
        mut kinds: Vec<OperationRow>,
        query: &OperationQuery,
    ) -> OperationList {
        all.retain(|o| query.fits(o));
        kinds.retain(|k| query.target.as_ref().is_none_or(|t| *t == k.target));
        all.sort_by_key(|o| (o.at_ms, o.seq));
        let total = all.len();
        all.drain(..total.saturating_sub(query.limit));
        OperationList { total, operations: all, kinds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(seq: u64, op: &str, path: &str, fault: bool) -> FileOperation {
        FileOperation {
            seq,
            at_ms: seq,
            target: "fs:db".parse().unwrap(),
            pid: 7,
            uid: 0,
            command: "postgres".into(),
            op: op.into(),
            path: path.into(),
            bytes: 0,
            micros: 5,
            error: fault.then(|| "EIO".into()),
            faults: if fault { vec!["f1".into()] } else { vec![] },
        }
    }

    #[test]
    fn a_query_chooses_the_last_that_fit() {
        let all = || {
            vec![
                operation(1, "read", "/base/1", false),
                operation(2, "fsync", "/wal/1", true),
                operation(3, "fsync", "/wal/2", false),
            ]
        };
        let found = |query: OperationQuery| {
            let list = OperationList::of(all(), vec![], &query);
            (list.total, list.operations.iter().map(|o| o.seq).collect::<Vec<_>>())
        };
        let whole = OperationQuery::default;
        assert_eq!(found(OperationQuery { limit: 1, ..whole() }), (3, vec![3]));
        assert_eq!(found(OperationQuery { fault: true, ..whole() }), (1, vec![2]));
        assert_eq!(found(OperationQuery { text: "wal POSTGRES".into(), after: 2, ..whole() }), (1, vec![3]));
        let query = OperationQuery { op: Some("fsync".into()), text: "eio f1".into(), ..whole() };
        assert_eq!(query.to_query(), "?op=fsync&text=eio%20f1");
        assert_eq!(found(query), (1, vec![2]));
    }
}
