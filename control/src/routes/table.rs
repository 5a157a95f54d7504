use super::{Operation, Query, Route};
use crate::caller::Role;

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
