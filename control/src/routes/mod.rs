//! The one table of routes: dispatch, roles, allowed methods and the OpenAPI description are all made from it.

mod table;

pub use table::ROUTES;

use crate::caller::Role;
use model::percent::decode;

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
