//! Faults on HTTP requests that pass a proxy with `protocol: http`.

use super::{FaultDef, Layer, PROXY, optional, required, with_default};
use crate::value::ParamType::{Bool, Choice, Int, Map, Span, Text};

const REQUEST: FaultDef = FaultDef { layer: Layer::Requests, counts: Some("requests"), ..PROXY };

pub(super) const FAULTS: &[FaultDef] = &[
    FaultDef {
        name: "delay",
        params: &[
            required("delay", Span, "200ms", "how long"),
            with_default(
                "jitter",
                Span,
                "0s",
                "spread around the delay: uniform in delay ± jitter, never below zero",
            ),
            with_default(
                "point",
                Choice(&["request", "response"]),
                "request",
                "before the service gets the request, or before the client gets the response",
            ),
        ],
        summary: "Holds requests, or their responses, for a while.",
        detail: "With point=request the service sees the request late; with point=response it does the work at once and \
                 the client waits. Other requests on the same connection are not held. Disarming releases what is held.",
        ..REQUEST
    },
    FaultDef {
        name: "abort",
        params: &[
            with_default("status", Int { min: 200, max: 599 }, "503", "the status of the answer"),
            optional("headers", Map, "retry-after:1", "headers of the answer"),
            optional("body", Text, "busy", "the body of the answer; empty when absent"),
            with_default("mark", Bool, "true", "adds the header x-murphy-fault with the fault's id"),
        ],
        summary: "Answers requests itself; the service never sees them.",
        detail: "The answer carries x-murphy-fault unless mark=false. The request's body is read and thrown away, so the \
                 connection stays usable.",
        ..REQUEST
    },
];
