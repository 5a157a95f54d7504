//! Requests over the wire: which are meant, who asks most, and which are held by hand.

use crate::query::{Query, all_in};
use model::units::Span;
use model::{Matcher, RequestState, RequestView, Talker, TargetRef};
use serde::{Deserialize, Serialize};

/// How many requests are listed when nobody says: the last ones.
pub const LIMIT: usize = 100;
/// How many are listed at most.
pub const LONGEST: usize = 11_000;
/// How many of those who ask most are listed when nobody says.
pub const TOP: usize = 10;

/// Which requests are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestQuery {
    /// Only those through this target.
    pub target: Option<TargetRef>,
    /// Only those that a fault did something to.
    pub fault: bool,
    /// Only those that are doing this.
    pub state: Option<RequestState>,
    /// Only those in which each of these words stands; see [`says`].
    pub text: String,
    /// Only those with a higher number.
    pub after: u64,
    /// At most so many, the last ones.
    pub limit: usize,
}

impl Default for RequestQuery {
    fn default() -> RequestQuery {
        RequestQuery { target: None, fault: false, state: None, text: String::new(), after: 0, limit: LIMIT }
    }
}

impl RequestQuery {
    /// As it stands in an address: empty, or beginning with `?`.
    pub fn to_query(&self) -> String {
        Query::default()
            .word("target", self.target.as_ref())
            .flag("fault", self.fault)
            .word("state", self.state)
            .text(&self.text)
            .unless("after", self.after, &0)
            .unless("limit", self.limit, &LIMIT)
            .written()
    }

    fn fits(&self, view: &RequestView) -> bool {
        view.id > self.after
            && self.target.as_ref().is_none_or(|t| *t == view.target)
            && (!self.fault || view.faults.iter().any(|f| f.applied))
            && self.state.is_none_or(|s| s == view.state)
            && says(view, &self.text)
    }
}

/// Whether every word of a text stands somewhere in a request: its number (`#17`), method, path, host, status, client,
/// target, state, the names and ids of the faults that it has.
pub fn says(view: &RequestView, text: &str) -> bool {
    let text = text.trim();
    if text.is_empty() {
        return true;
    }
    let mut all = format!("#{} {} {} {} {}", view.id, view.method, view.path, view.target, view.state);
    for part in [&view.client, &view.host, &view.error].into_iter().flatten() {
        all.push(' ');
        all.push_str(part);
    }
    if let Some(status) = view.status {
        all.push_str(&format!(" {status}"));
    }
    for fault in view.faults.iter().filter(|f| f.taken) {
        all.push_str(&format!(" fault {} {}", fault.fault, fault.id));
    }
    all_in(text, &all)
}

/// Requests under way and the last that were.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestList {
    /// How many fit the query, also beyond its limit.
    pub total: usize,
    /// How many are held by hand, of all.
    pub held: usize,
    /// Those that are shown, oldest first.
    pub requests: Vec<RequestView>,
    /// What holds requests by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldView>,
}

impl RequestList {
    /// What a query finds among all.
    pub fn of(mut all: Vec<RequestView>, holds: Vec<HoldView>, query: &RequestQuery) -> RequestList {
        let held = all.iter().filter(|v| v.state == RequestState::Held).count();
        all.retain(|v| query.fits(v));
        let total = all.len();
        all.drain(..total.saturating_sub(query.limit));
        RequestList { total, held, requests: all, holds }
    }
}

/// Which requests are to be held by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldOrder {
    /// The target they go through.
    pub target: TargetRef,
    /// Which of them; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Matcher>,
    /// For how long at most: 60s when absent, 1h at most. Then all that it holds go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Span>,
}

/// What holds requests by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldView {
    /// Its number.
    pub id: u64,
    /// The target.
    pub target: TargetRef,
    /// Which requests; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Matcher>,
    /// How much is left of its lease.
    pub left: Span,
    /// How many requests it holds now.
    pub requests: usize,
}

/// Who asks most of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopBy {
    /// By client address.
    #[default]
    Client,
    /// By method and path, in which numbers and ids are `*`.
    Route,
}

impl std::str::FromStr for TopBy {
    type Err = ();

    fn from_str(text: &str) -> Result<TopBy, ()> {
        match text {
            "client" => Ok(TopBy::Client),
            "route" => Ok(TopBy::Route),
            _ => Err(()),
        }
    }
}

impl TopBy {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            TopBy::Client => "client",
            TopBy::Route => "route",
        }
    }
}

/// Those who ask most, the most frequent first.
pub type TopList = Vec<Talker>;

#[cfg(test)]
mod tests {
    use super::*;
    use model::RequestFault;

    fn view(id: u64, status: u16, state: RequestState, fault: Option<bool>) -> RequestView {
        let fault = fault.map(|applied| RequestFault {
            id: "f1".into(),
            fault: "abort".into(),
            ordinal: 0,
            draw: Some(0.25),
            taken: true,
            applied,
        });
        RequestView {
            id,
            target: "proxy:web".parse().unwrap(),
            connection: 1,
            client: Some("10.0.0.1:4000".into()),
            at_ms: 1,
            method: "GET".into(),
            path: "/cart".into(),
            host: Some("shop".into()),
            http: "1.1".into(),
            state,
            status: Some(status),
            total_ms: 1.0,
            injected_ms: 0.0,
            upstream_ms: None,
            bytes_up: 0,
            bytes_down: 0,
            trace: None,
            error: None,
            faults: fault.into_iter().collect(),
        }
    }

    #[test]
    fn queries_choose_and_the_last_ones_stay() {
        let all = || {
            vec![
                view(1, 200, RequestState::Done, None),
                view(2, 503, RequestState::Done, Some(true)),
                view(3, 200, RequestState::Held, Some(false)),
            ]
        };
        let found = |query: RequestQuery| {
            let list = RequestList::of(all(), Vec::new(), &query);
            (list.total, list.held, list.requests.iter().map(|v| v.id).collect::<Vec<_>>())
        };
        let whole = RequestQuery::default;
        assert_eq!(found(whole()), (3, 1, vec![1, 2, 3]));
        assert_eq!(found(RequestQuery { limit: 2, ..whole() }), (3, 1, vec![2, 3]));
        assert_eq!(found(RequestQuery { after: 2, ..whole() }), (1, 1, vec![3]));
        assert_eq!(found(RequestQuery { fault: true, ..whole() }), (1, 1, vec![2]));
        assert_eq!(found(RequestQuery { state: Some(RequestState::Held), ..whole() }), (1, 1, vec![3]));
        assert_eq!(found(RequestQuery { text: "ABORT 503".into(), ..whole() }), (1, 1, vec![2]));
        let query = RequestQuery { text: "a b".into(), after: 7, limit: 5, ..whole() };
        assert_eq!(query.to_query(), "?text=a%20b&after=7&limit=5");
    }
}
