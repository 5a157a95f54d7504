//! The one table of routes: dispatch, roles, allowed methods and the OpenAPI description are all made from it.

use crate::service::Role;

/// What a route does; the server has one handler for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The agent's status.
    Status,
    /// The open targets.
    Targets,
    /// Opens a target.
    OpenTarget,
    /// Closes a target.
    CloseTarget,
    /// The armed faults.
    Faults,
    /// Arms a fault, or plans it.
    Arm,
    /// Changes a fault.
    Adjust,
    /// Takes a fault back.
    Disarm,
    /// Renews a fault's lease.
    Renew,
    /// The open connections.
    Connections,
    /// Ends a connection.
    CloseConnection,
    /// Holds a connection.
    HoldConnection,
    /// Lets a held connection go on.
    ReleaseConnection,
    /// The last requests.
    Requests,
    /// Holds requests that match.
    HoldRequests,
    /// Holds no more.
    EndHold,
    /// Lets a held request go on.
    ReleaseRequest,
    /// The last operations on files.
    Operations,
    /// Who asks most.
    Top,
    /// Opens an upstream that is stubs alone.
    OpenStubs,
    /// Halts everything.
    Halt,
    /// Lifts a halt.
    Lift,
    /// Starts an experiment.
    StartRun,
    /// The current run.
    Run,
    /// Ends the current run.
    EndRun,
    /// The catalogue.
    Catalogue,
    /// What this machine can do.
    Doctor,
    /// The stream of events.
    Events,
    /// The OpenAPI description.
    OpenApi,
    /// Metrics for Prometheus.
    Metrics,
}

/// A parameter in the query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Query {
    /// Its name.
    pub name: &'static str,
    /// Its JSON schema type: `boolean`, `integer`, `string`.
    pub ty: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// One route.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Route {
    /// `GET`, `POST`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// The path; `{name}` is one segment, `{name+}` everything that is left.
    pub path: &'static str,
    /// What it does.
    pub operation: Operation,
    /// The operation's name: also the word in the audit log.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// The least role that may; none means anyone at all.
    pub role: Option<Role>,
    /// It changes something, so it is audited.
    pub changes: bool,
    /// Parameters in the query; others are refused, since a slip like `dry_rum=true` would arm for real.
    pub query: &'static [Query],
    /// The schema of the body, when it takes one.
    pub body: Option<&'static str>,
    /// The schema of the answer.
    pub answer: &'static str,
}

const READ: Route = Route {
    method: "GET",
    path: "",
    operation: Operation::Status,
    name: "",
    summary: "",
    role: Some(Role::Viewer),
    changes: false,
    query: &[],
    body: None,
    answer: "",
};
const CHANGE: Route = Route { method: "POST", role: Some(Role::Operator), changes: true, ..READ };

/// All routes.
pub const ROUTES: &[Route] = &[
    Route {
        path: "/api/v1/status",
        operation: Operation::Status,
        name: "status",
        summary: "What the agent is and does now, and who it takes you for.",
        answer: "Status",
        ..READ
    },
    Route {
        path: "/api/v1/targets",
        operation: Operation::Targets,
        name: "targets",
        summary: "The open targets.",
        answer: "Targets",
        ..READ
    },
    Route {
        path: "/api/v1/targets",
        operation: Operation::OpenTarget,
        name: "open_target",
        summary: "Opens a target: starts a listener, finds processes. Opening it again as it is changes nothing.",
        role: Some(Role::Admin),
        body: Some("Target"),
        answer: "TargetState",
        ..CHANGE
    },
    Route {
        method: "DELETE",
        path: "/api/v1/targets/{target+}",
        operation: Operation::CloseTarget,
        name: "close_target",
        summary: "Closes a target, named as kind:name.",
        role: Some(Role::Admin),
        answer: "Done",
        ..CHANGE
    },
    Route {
        path: "/api/v1/faults",
        operation: Operation::Faults,
        name: "faults",
        summary: "The faults that are on, oldest first.",
        answer: "Faults",
        ..READ
    },
    Route {
        path: "/api/v1/faults",
        operation: Operation::Arm,
        name: "arm",
        summary: "Arms a fault. With dry_run=true any viewer learns what would be done, and nothing is touched.",
        query: &[
            Query { name: "dry_run", ty: "boolean", doc: "Only plan: the answer is a Plan." },
            Query {
                name: "lease",
                ty: "string",
                doc: "Ends the fault this long after the last renewal, such as 15s.",
            },
        ],
        body: Some("Fault"),
        answer: "Armed",
        ..CHANGE
    },
    Route {
        method: "PATCH",
        path: "/api/v1/faults/{id}",
        operation: Operation::Adjust,
        name: "adjust",
        summary: "Changes a fault that is on. What is absent stays.",
        body: Some("Change"),
        answer: "FaultState",
        ..CHANGE
    },
    Route {
        method: "DELETE",
        path: "/api/v1/faults/{id}",
        operation: Operation::Disarm,
        name: "disarm",
        summary: "Takes a fault back. Returns at once, also while the fault holds requests.",
        answer: "Disarmed",
        ..CHANGE
    },
    Route {
        path: "/api/v1/faults/{id}/renew",
        operation: Operation::Renew,
        name: "renew",
        summary: "Renews the lease of a fault.",
        answer: "FaultState",
        ..CHANGE
    },
    Route {
        path: "/api/v1/connections",
        operation: Operation::Connections,
        name: "connections",
        summary: "The open connections of the proxies, with what faults did to each, and how many there are in all.",
        query: &[
            Query { name: "target", ty: "string", doc: "Only those through this target: proxy:web." },
            Query { name: "fault", ty: "boolean", doc: "Only those that a fault has." },
            Query {
                name: "text",
                ty: "string",
                doc: "Only those in which every word stands: in addresses, target, state, the faults' names and ids.",
            },
            Query {
                name: "sort",
                ty: "string",
                doc: "age (oldest first, as without it), newest or bytes (most first).",
            },
            Query { name: "limit", ty: "integer", doc: "At most so many, 500 when absent, 10000 at most." },
        ],
        answer: "Connections",
        ..READ
    },
    Route {
        method: "DELETE",
        path: "/api/v1/connections/{id}",
        operation: Operation::CloseConnection,
        name: "close_connection",
        summary: "Ends a connection by hand. It cannot be undone.",
        query: &[Query {
            name: "how",
            ty: "string",
            doc: "fin (in order, as without it) or rst (by a reset).",
        }],
        answer: "Done",
        ..CHANGE
    },
    Route {
        path: "/api/v1/connections/{id}/hold",
        operation: Operation::HoldConnection,
        name: "hold_connection",
        summary: "Lets nothing pass on a connection until it is released, its lease is over or everything is halted.",
        query: &[Query {
            name: "lease",
            ty: "string",
            doc: "Releases it by itself after so long: 60s when absent, 1h at most. Holding it again begins anew.",
        }],
        answer: "Done",
        ..CHANGE
    },
    Route {
        path: "/api/v1/connections/{id}/release",
        operation: Operation::ReleaseConnection,
        name: "release_connection",
        summary: "Lets a held connection go on; what was held passes.",
        answer: "Done",
        ..CHANGE
    },
    Route {
        path: "/api/v1/requests",
        operation: Operation::Requests,
        name: "requests",
        summary: "HTTP requests through the proxies: those under way and the last 1000 of each target, with what faults did. \
                  They are kept while somebody looks: from the first call until 30 s after the last.",
        query: &[
            Query { name: "target", ty: "string", doc: "Only those through this target: proxy:web." },
            Query { name: "fault", ty: "boolean", doc: "Only those that a fault did something to." },
            Query {
                name: "state",
                ty: "string",
                doc: "Only those that are held, waiting, answering, done or broken.",
            },
            Query {
                name: "text",
                ty: "string",
                doc: "Only those in which every word stands: in method, path, host, status, client, target, the faults' names and ids.",
            },
            Query {
                name: "after",
                ty: "integer",
                doc: "Only those with a higher number: what has come since the last call.",
            },
            Query {
                name: "limit",
                ty: "integer",
                doc: "At most so many, the last ones; 100 when absent, 11000 at most.",
            },
        ],
        answer: "Requests",
        ..READ
    },
    Route {
        path: "/api/v1/requests/hold",
        operation: Operation::HoldRequests,
        name: "hold_requests",
        summary: "Holds requests that match, before the service gets them, until they are released, the lease is over or everything is halted.",
        body: Some("HoldOrder"),
        answer: "Hold",
        ..CHANGE
    },
    Route {
        method: "DELETE",
        path: "/api/v1/requests/hold/{id}",
        operation: Operation::EndHold,
        name: "end_hold",
        summary: "Holds no more; what that held goes on.",
        answer: "Done",
        ..CHANGE
    },
    Route {
        path: "/api/v1/requests/{id}/release",
        operation: Operation::ReleaseRequest,
        name: "release_request",
        summary: "Lets one held request go on.",
        answer: "Done",
        ..CHANGE
    },
    Route {
        path: "/api/v1/operations",
        operation: Operation::Operations,
        name: "operations",
        summary: "Operations on files in the directories that are served: the last 4096 of each target, and by kind how \
                  many there were and how long they took. Those that a fault touched are always kept, all of them while \
                  somebody looks: from the first call until 10 s after the last.",
        query: &[
            Query { name: "target", ty: "string", doc: "Only those of this target: fs:/srv/db." },
            Query { name: "fault", ty: "boolean", doc: "Only those that a fault did something to." },
            Query {
                name: "op", ty: "string", doc: "Only those of this kind: read, write, fsync, rename, …"
            },
            Query {
                name: "text",
                ty: "string",
                doc: "Only those in which every word stands: in path, command, pid, operation, error, ids of faults.",
            },
            Query {
                name: "after",
                ty: "integer",
                doc: "Only those with a higher number: what has come since the last call. Each target counts by itself.",
            },
            Query {
                name: "limit",
                ty: "integer",
                doc: "At most so many, the last ones; 100 when absent, 10000 at most.",
            },
        ],
        answer: "Operations",
        ..READ
    },
    Route {
        path: "/api/v1/top",
        operation: Operation::Top,
        name: "top",
        summary: "Who asks most of a target, or for what: of the last 10 to 20 s, in bounded memory.",
        query: &[
            Query { name: "target", ty: "string", doc: "The target: proxy:web." },
            Query {
                name: "by",
                ty: "string",
                doc: "client (as without it) or route: a method and a path whose numbers and ids are *.",
            },
            Query { name: "limit", ty: "integer", doc: "At most so many, 10 when absent, 256 at most." },
        ],
        answer: "Talkers",
        ..READ
    },
    Route {
        path: "/api/v1/stubs/http",
        operation: Operation::OpenStubs,
        name: "open_stubs",
        summary: "Opens a target that answers every request itself. It is closed like any other.",
        body: Some("StubServer"),
        answer: "TargetState",
        ..CHANGE
    },
    Route {
        path: "/api/v1/halt",
        operation: Operation::Halt,
        name: "halt",
        summary: "Takes everything back and blocks new faults. Anyone may, and may again.",
        role: None,
        answer: "Halted",
        ..CHANGE
    },
    Route {
        path: "/api/v1/halt/lift",
        operation: Operation::Lift,
        name: "lift",
        summary: "Lifts a halt.",
        role: Some(Role::Admin),
        answer: "Done",
        ..CHANGE
    },
    Route {
        path: "/api/v1/runs",
        operation: Operation::StartRun,
        name: "start_run",
        summary: "Starts an experiment from the text of its file.",
        body: Some("StartRun"),
        answer: "RunState",
        ..CHANGE
    },
    Route {
        path: "/api/v1/run",
        operation: Operation::Run,
        name: "run",
        summary: "The run that is going on, or the last one.",
        answer: "RunState",
        ..READ
    },
    Route {
        method: "DELETE",
        path: "/api/v1/run",
        operation: Operation::EndRun,
        name: "end_run",
        summary: "Ends the run that is going on and takes its faults back.",
        answer: "RunState",
        ..CHANGE
    },
    Route {
        path: "/api/v1/catalogue",
        operation: Operation::Catalogue,
        name: "catalogue",
        summary: "Every fault with its parameters, and what cannot be armed here.",
        answer: "Catalogue",
        ..READ
    },
    Route {
        path: "/api/v1/doctor",
        operation: Operation::Doctor,
        name: "doctor",
        summary: "What this machine can do.",
        answer: "Checks",
        ..READ
    },
    Route {
        path: "/api/v1/events",
        operation: Operation::Events,
        name: "events",
        summary: "Events as they happen (text/event-stream); each has its number as id. Last-Event-ID goes on after it.",
        query: &[Query {
            name: "from",
            ty: "integer",
            doc: "Begin with this number as far as kept, 0 for everything kept; from now on when absent.",
        }],
        answer: "Event",
        ..READ
    },
    Route {
        path: "/api/v1/openapi.json",
        operation: Operation::OpenApi,
        name: "openapi",
        summary: "This description.",
        answer: "OpenApi",
        ..READ
    },
    Route {
        path: "/metrics",
        operation: Operation::Metrics,
        name: "metrics",
        summary: "Metrics in the text format of Prometheus.",
        answer: "Text",
        ..READ
    },
];

/// What a request line comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A route, with the decoded parameter of its path.
    Route(&'static Route, Option<String>),
    /// The path exists, with these methods.
    Methods(Vec<&'static str>),
    /// There is no such path.
    Nothing,
}

/// Looks a request line up. HEAD goes where GET goes.
pub fn find(method: &str, path: &str) -> Found {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut methods = Vec::new();
    for route in ROUTES {
        let Some(param) = fits(route.path, path) else { continue };
        if route.method == method {
            return Found::Route(route, param);
        }
        methods.push(route.method);
        if route.method == "GET" {
            methods.push("HEAD");
        }
    }
    if methods.is_empty() { Found::Nothing } else { Found::Methods(methods) }
}

/// The parameter of `path` when it fits the pattern; patterns have one parameter at most.
fn fits(pattern: &str, path: &str) -> Option<Option<String>> {
    let Some((head, rest)) = pattern.split_once('{') else {
        return (pattern == path).then_some(None);
    };
    let (name, tail) = rest.split_once('}')?;
    let value = path.strip_prefix(head)?.strip_suffix(tail)?;
    let whole = name.ends_with('+');
    if value.is_empty() || (!whole && value.contains('/')) {
        return None;
    }
    decode(value).map(Some)
}

/// Undoes percent-encoding; none when it is broken or not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            out.push((digit()? * 16 + digit()?) as u8);
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok()
}

/// Percent-encodes everything but unreserved characters, `:` and `/`.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~:/".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(method: &str, path: &str) -> Option<(&'static str, Option<String>)> {
        match find(method, path) {
            Found::Route(route, param) => Some((route.name, param)),
            _ => None,
        }
    }

    #[test]
    fn paths_find_their_routes() {
        assert_eq!(param("GET", "/api/v1/faults"), Some(("faults", None)));
        assert_eq!(param("HEAD", "/api/v1/faults"), Some(("faults", None)));
        assert_eq!(param("DELETE", "/api/v1/faults/a%20b"), Some(("disarm", Some("a b".into()))));
        assert_eq!(param("POST", "/api/v1/faults/f1/renew"), Some(("renew", Some("f1".into()))));
        assert_eq!(
            param("DELETE", "/api/v1/targets/fs:/srv/db"),
            Some(("close_target", Some("fs:/srv/db".into())))
        );
        assert_eq!(
            param("POST", "/api/v1/connections/17/hold"),
            Some(("hold_connection", Some("17".into())))
        );
        assert_eq!(find("PUT", "/api/v1/faults"), Found::Methods(vec!["GET", "HEAD", "POST"]));
        assert_eq!(find("GET", "/api/v1/faults/"), Found::Nothing);
        assert_eq!(find("GET", "/api/v1/faults/a/b"), Found::Nothing);
        assert_eq!(find("DELETE", "/api/v1/faults/%zz"), Found::Nothing);
        assert_eq!(decode(&encode("fs:/a b/ü%")).as_deref(), Some("fs:/a b/ü%"));
    }

    #[test]
    fn every_operation_has_one_route_and_changes_are_not_for_viewers() {
        let mut seen = std::collections::HashSet::new();
        for route in ROUTES {
            assert!(seen.insert(route.operation), "{} twice", route.name);
            assert_eq!(route.changes, route.method != "GET", "{}", route.name);
            if route.changes && route.operation != Operation::Halt {
                assert!(route.role >= Some(Role::Operator), "{}", route.name);
            }
        }
    }
}
