//! Faults on byte streams that pass a proxy. They act in the order of this table, so that a latency delays what a
//! bandwidth limit then meters, and a cut comes last.

use super::{FaultDef, PROXY, ParamDef, optional, required, with_default};
use crate::value::ParamType::{ByteRate, Choice, Span, SpanOrSize};

const DIRECTION: ParamDef = with_default(
    "direction",
    Choice(&["up", "down", "both"]),
    "both",
    "which way: up towards the service, down towards the client",
);

pub(super) const FAULTS: &[FaultDef] = &[
    FaultDef {
        name: "latency",
        params: &[
            required("delay", Span, "120ms", "how late each chunk arrives, counted from its own arrival"),
            with_default(
                "jitter",
                Span,
                "0s",
                "spread around the delay: uniform in delay ± jitter, never below zero",
            ),
            DIRECTION,
        ],
        summary: "Delays what passes, each chunk from its own arrival.",
        detail: "Pipelined: fifty messages 5 ms apart each arrive one delay late, not one after another. Order within a \
                 connection is kept, so with jitter a chunk may also wait for the one before it. Jitter larger than the \
                 delay is legal. Disarming releases at once what is held.",
        ..PROXY
    },
    FaultDef {
        name: "bandwidth",
        params: &[
            required("rate", ByteRate, "1MB/s", "bytes per second per connection and direction; 0B/s stalls"),
            DIRECTION,
        ],
        summary: "Limits the rate of each connection.",
        detail: "A rate of zero stalls until the fault ends. The sender feels it as back-pressure: its window fills.",
        ..PROXY
    },
    FaultDef {
        name: "blackhole",
        params: &[
            optional(
                "close_after",
                Span,
                "10s",
                "closes the connection this long after the fault took it; never when absent",
            ),
            DIRECTION,
        ],
        summary: "Swallows data while the connection stays open.",
        detail: "Bytes are read and thrown away. What was swallowed is gone: after disarming, the stream goes on with what \
                 comes next. close_after counts from the moment the connection was taken, also while data trickles.",
        ..PROXY
    },
    FaultDef {
        name: "cut",
        params: &[
            with_default(
                "when",
                SpanOrSize,
                "0s",
                "cuts this long after the fault took the connection, or after so many bytes",
            ),
            with_default("how", Choice(&["fin", "rst"]), "rst", "an orderly end, or a reset"),
        ],
        summary: "Ends connections, also those that were open before.",
        detail: "rst sends a TCP reset to client and service, so a client sees ECONNRESET; fin ends both directions in \
                 order. Counted over both directions when `when` is a number of bytes.",
        irreversible: true,
        ends: "a connection that was cut stays cut; new ones are whole once the fault has ended",
        ..PROXY
    },
];
