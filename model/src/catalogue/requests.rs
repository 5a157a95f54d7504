//! Faults on HTTP requests that pass a proxy with `protocol: http`, in the order in which they act.

use super::{FaultDef, Layer, PROXY, ParamDef, optional, required, with_default};
use crate::value::ParamType::{Bool, ByteRate, Choice, Choices, Float, Int, Map, Size, Span, Spans, Text};

const REQUEST: FaultDef = FaultDef { layer: Layer::Requests, counts: Some("requests"), ..PROXY };

const SIDE: ParamDef = with_default(
    "direction",
    Choice(&["up", "down", "both"]),
    "down",
    "of bodies: up to the service, or down to the client",
);
const MARK: ParamDef =
    with_default("mark", Bool, "true", "adds the header x-murphy-fault with the fault's id");
const POINT: ParamDef = with_default(
    "point",
    Choice(&["request", "response"]),
    "response",
    "what is changed: what the service gets, or what the client gets",
);

/// The names of gRPC's statuses, by number.
pub const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The names of HTTP/2's error codes, by number (RFC 9113, section 7).
pub const H2_CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

pub(super) const FAULTS: &[FaultDef] = &[
    FaultDef {
        name: "header_driven",
        params: &[
            with_default(
                "headers",
                Choices(&["murphy", "envoy"]),
                "murphy",
                "whose headers count: x-murphy-delay, x-murphy-abort and x-murphy-throttle, or Envoy's x-envoy-fault-*",
            ),
            with_default(
                "max_delay",
                Span,
                "10s",
                "the longest delay that a request gets, whatever it asks for",
            ),
            with_default(
                "min_rate",
                ByteRate,
                "1kB/s",
                "the slowest that a response body becomes, whatever a request asks for",
            ),
            MARK,
        ],
        summary: "Lets requests ask for their own faults in headers.",
        detail: "x-murphy-delay: 200ms holds the request, x-murphy-abort: 503 answers it, x-murphy-throttle: 10kB/s slows its \
                 response. Of Envoy: x-envoy-fault-delay-request (milliseconds), -abort-request (status), -abort-grpc-request \
                 (code), -throughput-response (KiB/s), each with its -percentage. The headers are taken off before the service \
                 sees the request. What does not read is ignored.",
        ..REQUEST
    },
    FaultDef {
        name: "delay",
        params: &[
            required("delay", Span, "200ms", "how long"),
            with_default(
                "jitter",
                Span,
                "0s",
                "spread around the delay, never below zero: half the width (uniform) or the standard deviation (normal, pareto)",
            ),
            with_default(
                "distribution",
                Choice(&["uniform", "normal", "pareto", "table"]),
                "uniform",
                "of the delays: even in delay ± jitter, a bell, a long tail of late ones, or drawn from table",
            ),
            optional(
                "table",
                Spans,
                "1ms,1ms,2ms,40ms",
                "with distribution=table: each gets delay and one of these, all equally likely",
            ),
            with_default(
                "point",
                Choice(&["request", "response", "chunks"]),
                "request",
                "before the service gets the request, before the client gets the response, or before each piece of its body",
            ),
        ],
        summary: "Holds requests, responses, or each piece of a response's body, for a while.",
        detail: "With point=request the service sees the request late; with point=response it does the work at once and \
                 the client waits; with point=chunks the head passes and each piece of the body waits, which is what breaks \
                 readers of event streams. Other requests on the same connection are not held. Disarming releases what is \
                 held.",
        ..REQUEST
    },
    FaultDef {
        name: "abort",
        shown: &["status"],
        params: &[
            with_default("status", Int { min: 200, max: 599 }, "503", "the status of the answer"),
            optional("headers", Map, "retry-after:1", "headers of the answer"),
            optional("body", Text, "busy", "the body of the answer; empty when absent"),
            with_default(
                "how",
                Choice(&["answer", "close", "reset"]),
                "answer",
                "with an answer, or without one: the connection is closed, or reset (on HTTP/2 the stream)",
            ),
            with_default(
                "point",
                Choice(&["request", "response"]),
                "request",
                "the service never sees the request, or does the work and its response is thrown away",
            ),
            MARK,
        ],
        summary: "Answers requests itself, or ends them without an answer.",
        detail: "The answer carries x-murphy-fault unless mark=false. A request's body that the service does not get is read \
                 and thrown away, so the connection stays usable. With point=response the matcher may ask for status and \
                 response_header.",
        ..REQUEST
    },
    FaultDef {
        name: "stub",
        shown: &["body"],
        params: &[
            with_default("status", Int { min: 200, max: 599 }, "200", "the status of the answer"),
            optional("headers", Map, "content-type:application/json", "headers of the answer"),
            optional("body", Text, "{}", "the body of the answer; empty when absent"),
            MARK,
        ],
        summary: "Answers in the service's place, as if all were well.",
        detail: "What abort does with another status by default: for a dependency that is not there. A proxy whose upstream is \
                 a list of stubs answers everything itself.",
        ..REQUEST
    },
    FaultDef {
        name: "replace",
        shown: &["set"],
        params: &[
            POINT,
            optional(
                "set",
                Map,
                "cache-control:no-store",
                "headers that are set, in place of those of that name",
            ),
            optional("remove", Text, "etag,last-modified", "headers that are taken off, separated by commas"),
            optional("status", Int { min: 200, max: 599 }, "500", "of the response"),
            optional("method", Text, "GET", "of the request"),
            optional("path", Text, "/v2/cart", "of the request, with its query"),
            optional("body", Text, "{}", "in place of the whole body"),
        ],
        summary: "Replaces headers, status, method, path or body.",
        detail: "Only what is given is replaced. With a body, content-length is made anew and content-encoding taken off.",
        ..REQUEST
    },
    FaultDef {
        name: "patch",
        shown: &["json"],
        params: &[
            POINT,
            optional(
                "json",
                Text,
                r#"{"price": null}"#,
                "a merge patch (RFC 7396) for bodies that are JSON: members are replaced, null removes them",
            ),
            optional("regex", Text, "\"stock\": *[0-9]+", "what is replaced in the body, wherever it stands"),
            optional("with", Text, "\"stock\": 0", "what stands there instead; $1 is the first group"),
            with_default("limit", Size, "1MiB", "larger bodies pass unchanged"),
        ],
        summary: "Changes a part of bodies: by JSON merge patch or by regular expression.",
        detail: "The body is collected up to the limit, so it arrives at once. Compressed bodies, ones that are not JSON and \
                 ones over the limit pass as they are and do not count as hit.",
        ..REQUEST
    },
    FaultDef {
        name: "corrupt_body",
        params: &[
            required(
                "per_mb",
                Float { min: 0.0, max: 8e6 },
                "10",
                "how many bits or bytes of each million bytes are changed",
            ),
            with_default(
                "unit",
                Choice(&["bits", "bytes"]),
                "bits",
                "bits are flipped; bytes become any other byte",
            ),
            SIDE,
        ],
        summary: "Changes bytes of bodies, and of nothing else.",
        detail: "Framing and headers stay as they are, so what is found out is whether the application checks what it reads.",
        ..REQUEST
    },
    FaultDef {
        name: "throttle_body",
        params: &[required("rate", ByteRate, "10kB/s", "bytes per second of each body; 0B/s stalls"), SIDE],
        summary: "Slows bodies down.",
        detail: "Each body by itself; the head passes at once. The sender feels it as back-pressure, and bodies of the other \
                 direction or of other requests go on.",
        ..REQUEST
    },
    FaultDef {
        name: "truncate_body",
        params: &[
            with_default("after", Size, "0B", "how many bytes of the body pass"),
            with_default(
                "how",
                Choice(&["close", "reset", "clean"]),
                "close",
                "then the connection is closed, or reset (on HTTP/2 the stream), or the body ends as if that were all",
            ),
            SIDE,
        ],
        summary: "Ends bodies early.",
        detail: "A body of a stated length that ends cleanly too early leaves the receiver waiting, so clean closes the \
                 connection there; chunked bodies and HTTP/2 streams end in order.",
        ..REQUEST
    },
    FaultDef {
        name: "grpc_status",
        shown: &["code"],
        params: &[
            with_default("code", Choice(&GRPC_CODES), "UNAVAILABLE", "the status of the call"),
            optional("message", Text, "try again", "grpc-message"),
            with_default(
                "after",
                Int { min: 0, max: 1_000_000 },
                "0",
                "how many messages of the response pass before the call ends so; with 0 the service never sees the call",
            ),
            MARK,
        ],
        summary: "Ends gRPC calls with a status.",
        detail: "Calls are requests with a content type of application/grpc; others are not hit. After some messages the status \
                 comes in the trailers and the service's stream is cancelled.",
        ..REQUEST
    },
    FaultDef {
        name: "slow_headers",
        shown: &["delay"],
        params: &[
            with_default(
                "bytes",
                Int { min: 1, max: 65_536 },
                "1",
                "how many bytes of the response's head leave at a time",
            ),
            with_default("delay", Span, "100ms", "how long after them the next ones leave"),
        ],
        summary: "Lets a response's head trickle.",
        detail: "A client that limits the time between two bytes and not the time of the whole head waits on. On HTTP/2, where \
                 heads are not bytes, the head waits for as long as it would have taken.",
        ..REQUEST
    },
    FaultDef {
        name: "malformed",
        shown: &["kind"],
        params: &[with_default(
            "kind",
            Choice(&[
                "chunk_size",
                "chunk_end",
                "no_last_chunk",
                "length_too_large",
                "length_too_small",
                "two_lengths",
                "length_not_a_number",
                "no_colon",
                "status_line",
            ]),
            "chunk_size",
            "what is wrong with the response",
        )],
        summary: "Sends responses that break the protocol.",
        detail: "chunk_size: a size that is no number. chunk_end: nothing between a chunk and the next. no_last_chunk: the connection closes where the last chunk should be. \
                 length_*: content-length against the body. no_colon: a header line without one. status_line: a status of \
                 letters. On HTTP/2 the stream is reset with PROTOCOL_ERROR, for its frames are not the application's.",
        ..REQUEST
    },
    FaultDef {
        name: "h2_reset",
        params: &[
            with_default("code", Choice(&H2_CODES), "CANCEL", "the error code of RST_STREAM"),
            optional(
                "after",
                Size,
                "1KiB",
                "how many bytes of the response's body pass before; when absent it comes in place of the response",
            ),
        ],
        summary: "Resets HTTP/2 streams.",
        detail: "Other streams of the connection go on. REFUSED_STREAM tells a client that it may send the request again. On \
                 HTTP/1.1 the connection is reset.",
        ..REQUEST
    },
    FaultDef {
        name: "h2_goaway",
        params: &[with_default(
            "code",
            Choice(&H2_CODES),
            "NO_ERROR",
            "the error code of GOAWAY; with NO_ERROR streams that are open end in order",
        )],
        summary: "Ends HTTP/2 connections with GOAWAY.",
        detail: "The request that is hit is the last one that the connection answers; what the client begins afterwards needs \
                 another connection. On HTTP/1.1 the response carries connection: close.",
        ..REQUEST
    },
];
