//! Open connections over the wire: which are meant, in which order, and how one is ended.

use crate::query::{Query, all_in};
use model::units::Span;
use model::{ConnectionState, ConnectionView, TargetRef};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// How many connections are listed when nobody says.
pub const LIMIT: usize = 500;

/// How many are listed at most.
pub const MOST: usize = 10_000;

/// How long a connection is held when nobody says.
pub const HOLD_LEASE: Span = Span::secs(60);

/// How long a connection is held at most without holding it again.
pub const LONGEST_HOLD: Span = Span::secs(3600);

/// How a connection is ended by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Close {
    /// In order.
    #[default]
    Fin,
    /// By a reset.
    Rst,
}

impl Close {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Close::Fin => "fin",
            Close::Rst => "rst",
        }
    }
}

impl FromStr for Close {
    type Err = ();

    fn from_str(text: &str) -> Result<Close, ()> {
        [Close::Fin, Close::Rst].into_iter().find(|c| c.word() == text).ok_or(())
    }
}

/// Which connections come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// The oldest.
    #[default]
    Age,
    /// The newest.
    Newest,
    /// Those that carried the most bytes, both ways together.
    Bytes,
}

impl Sort {
    /// All of them.
    pub const ALL: [Sort; 3] = [Sort::Age, Sort::Newest, Sort::Bytes];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Sort::Age => "age",
            Sort::Newest => "newest",
            Sort::Bytes => "bytes",
        }
    }

    /// Puts connections in this order; equals stay in the order of their numbers, so that rows do not dance.
    pub fn order<T>(self, list: &mut [T], view: impl Fn(&T) -> &ConnectionView) {
        list.sort_by_key(|item| {
            let v = view(item);
            let first = match self {
                Sort::Age => u64::MAX - v.age_ms,
                Sort::Newest => v.age_ms,
                Sort::Bytes => u64::MAX - v.bytes_up.saturating_add(v.bytes_down),
            };
            (first, v.id)
        });
    }
}

impl FromStr for Sort {
    type Err = ();

    fn from_str(text: &str) -> Result<Sort, ()> {
        Sort::ALL.into_iter().find(|s| s.word() == text).ok_or(())
    }
}

/// Which connections are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionQuery {
    /// Only those through this target.
    pub target: Option<TargetRef>,
    /// Only those that a fault has.
    pub fault: bool,
    /// Only those in which each of these words stands; see [`says`].
    pub text: String,
    /// Which come first.
    pub sort: Sort,
    /// At most so many.
    pub limit: usize,
}

impl Default for ConnectionQuery {
    fn default() -> ConnectionQuery {
        ConnectionQuery { target: None, fault: false, text: String::new(), sort: Sort::Age, limit: LIMIT }
    }
}

impl ConnectionQuery {
    /// As it stands in an address: empty, or beginning with `?`.
    pub fn to_query(&self) -> String {
        Query::default()
            .word("target", self.target.as_ref())
            .flag("fault", self.fault)
            .text(&self.text)
            .unless("sort", self.sort.word(), &Sort::default().word())
            .unless("limit", self.limit, &LIMIT)
            .written()
    }

    fn fits(&self, view: &ConnectionView) -> bool {
        self.target.as_ref().is_none_or(|t| *t == view.target)
            && (!self.fault || !view.faults.is_empty())
            && says(view, &self.text)
    }
}

/// Whether every word of a text stands somewhere in a connection: its number (`#17`), addresses, target, state, the names
/// and ids of its faults. `fault` stands in each that a fault has.
pub fn says(view: &ConnectionView, text: &str) -> bool {
    let text = text.trim();
    if text.is_empty() {
        return true;
    }
    let mut all = format!("#{} {} {}", view.id, view.target, view.state);
    for part in [&view.client, &view.upstream].into_iter().flatten() {
        all.push(' ');
        all.push_str(part);
    }
    for fault in &view.faults {
        all.push_str(&format!(" fault {} {}", fault.fault, fault.id));
    }
    all_in(text, &all)
}

/// Open connections.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionList {
    /// How many fit the query, also beyond its limit.
    pub total: usize,
    /// How many are held by hand, of all that are open.
    pub held: usize,
    /// Those that are shown.
    pub connections: Vec<ConnectionView>,
}

impl ConnectionList {
    /// What a query finds among all that are open.
    pub fn of(mut all: Vec<ConnectionView>, query: &ConnectionQuery) -> ConnectionList {
        let held = all.iter().filter(|v| v.state == ConnectionState::Held).count();
        all.retain(|v| query.fits(v));
        let total = all.len();
        query.sort.order(&mut all, |v| v);
        all.truncate(query.limit);
        ConnectionList { total, held, connections: all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ConnectionFault;

    fn view(id: u64, age_ms: u64, bytes: u64, faults: &[&str]) -> ConnectionView {
        ConnectionView {
            id,
            target: "proxy:web".parse().unwrap(),
            client: Some(format!("10.0.0.{id}:4000")),
            upstream: None,
            age_ms,
            bytes_up: bytes,
            bytes_down: 0,
            state: if id == 3 { ConnectionState::Held } else { ConnectionState::Open },
            faults: faults
                .iter()
                .map(|f| ConnectionFault { id: "f1".into(), fault: (*f).to_owned(), applied: false })
                .collect(),
        }
    }

    fn found(query: &ConnectionQuery) -> (usize, usize, Vec<u64>) {
        let all = vec![view(1, 900, 5, &[]), view(2, 500, 50, &["latency"]), view(3, 700, 9, &["cut"])];
        let list = ConnectionList::of(all, query);
        (list.total, list.held, list.connections.iter().map(|v| v.id).collect())
    }

    #[test]
    fn a_query_chooses_and_orders_before_it_cuts() {
        let whole = ConnectionQuery::default;
        assert_eq!(found(&whole()), (3, 1, vec![1, 3, 2]));
        assert_eq!(found(&ConnectionQuery { sort: Sort::Newest, ..whole() }).2, [2, 3, 1]);
        assert_eq!(found(&ConnectionQuery { sort: Sort::Bytes, limit: 1, ..whole() }), (3, 1, vec![2]));
        assert_eq!(found(&ConnectionQuery { fault: true, ..whole() }), (2, 1, vec![3, 2]));
        let of = |text: &str| found(&ConnectionQuery { text: text.into(), ..whole() }).2;
        assert_eq!(
            (of("LATENCY"), of("held 10.0"), of("#1"), of("fault"), of("web cut latency")),
            (vec![2], vec![3], vec![1], vec![3, 2], vec![])
        );
        let other = Some("proxy:pg".parse().unwrap());
        assert_eq!(found(&ConnectionQuery { target: other, ..whole() }), (0, 1, vec![]));
    }

    #[test]
    fn a_query_is_written_as_an_address() {
        assert_eq!(ConnectionQuery::default().to_query(), "");
        let query = ConnectionQuery {
            target: Some("proxy:web".parse().unwrap()),
            fault: true,
            text: "held 10.0".into(),
            sort: Sort::Bytes,
            limit: 7,
        };
        assert_eq!(query.to_query(), "?target=proxy:web&fault=true&text=held%2010.0&sort=bytes&limit=7");
    }
}
