//! Faults on WebSocket messages that pass a proxy with `protocol: http`, in the order in which they act.

use super::{FaultDef, Layer, PROXY, ParamDef, optional, required, with_default};
use crate::value::ParamType::{Choice, Int, Percent, Span, Text};

const SOCKET: FaultDef = FaultDef { layer: Layer::Requests, counts: Some("sockets"), ..PROXY };

const DIRECTION: ParamDef = with_default(
    "direction",
    Choice(&["up", "down", "both"]),
    "both",
    "up to the service, or down to the client",
);
const CHANCE: ParamDef =
    with_default("chance", Percent, "100%", "which part of the messages is hit, drawn for each");

pub(super) const FAULTS: &[FaultDef] = &[
    FaultDef {
        name: "websocket_delay",
        params: &[
            required("delay", Span, "200ms", "how late each message is"),
            with_default(
                "jitter",
                Span,
                "0s",
                "spread around the delay: uniform in delay ± jitter, never below zero",
            ),
            DIRECTION,
        ],
        summary: "Delays WebSocket messages.",
        detail: "Order is kept, and messages that come together are late together. Acts on sockets that are open, too, as all \
                 websocket faults do. The share counts sockets.",
        ..SOCKET
    },
    FaultDef {
        name: "websocket_drop",
        params: &[CHANCE, DIRECTION],
        summary: "Loses WebSocket messages.",
        detail: "Whole messages, with all their frames. Pings, pongs and closes pass. The share counts sockets, chance is drawn \
                 for each message of one that has the fault.",
        ..SOCKET
    },
    FaultDef {
        name: "websocket_corrupt",
        params: &[CHANCE, DIRECTION],
        summary: "Changes a byte of WebSocket messages.",
        detail: "One byte of the payload becomes another one; masks and lengths stay right. A text may then be no UTF-8.",
        ..SOCKET
    },
    FaultDef {
        name: "websocket_close",
        shown: &["code"],
        params: &[
            with_default("code", Int { min: 1000, max: 4999 }, "1011", "the status of the close frame"),
            optional("reason", Text, "going away", "at most 123 bytes"),
            with_default(
                "after",
                Int { min: 0, max: 1_000_000 },
                "0",
                "how many messages pass before, counted in both directions from when the fault had the socket",
            ),
        ],
        summary: "Closes WebSockets with a code.",
        detail: "Both sides get a close frame between two messages, and then the connection ends.",
        ..SOCKET
    },
];
