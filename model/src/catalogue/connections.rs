//! Faults on byte streams and datagrams that pass a proxy. They act in the order of this table: first what concerns the
//! setting up of a connection, then what becomes of datagrams, then what changes bytes, when they come, how fast, how many,
//! and last how the connection ends. So a latency delays what a bandwidth limit then meters, and a cut comes last.

use super::files::OPS;
use super::{FaultDef, PROXY, ParamDef, optional, required, with_default};
use crate::target::TargetKind;
use crate::value::ParamType::{ByteRate, Choice, Float, Int, Percent, Size, Span, SpanOrSize, Spans};

const DIRECTION: ParamDef = with_default(
    "direction",
    Choice(&["up", "down", "both"]),
    "both",
    "which way: up towards the service, down towards the client",
);

const CHANCE: ParamDef = required("chance", Percent, "5%", "how likely each datagram is hit");

const CORRELATION: ParamDef = with_default(
    "correlation",
    Percent,
    "0%",
    "how much each draw resembles the one before it on the same connection; how often each value comes stays the same",
);

pub(super) const FAULTS: &[FaultDef] = &[
    FaultDef {
        name: "refuse",
        summary: "Refuses new connections.",
        detail: "Connections that are open go on. On everything that comes, the listener is taken away: clients get \
                 ECONNREFUSED, as from a service that is not running. On a share or with a matcher, a connection is \
                 accepted and reset at once, for who is refused can only be told once it has come.",
        ..PROXY
    },
    FaultDef {
        name: "hang_connect",
        summary: "Lets new connections hang: nobody accepts them.",
        detail: "Connections that are open go on. A client that connects gets no answer, or is connected to nobody: nothing \
                 it sends is read and the service is not dialled. What hangs when the fault ends goes on as if nothing had \
                 been.",
        ..PROXY
    },
    FaultDef {
        name: "connect_delay",
        params: &[
            required("delay", Span, "2s", "how long after the client's connection the service is dialled"),
            with_default(
                "jitter",
                Span,
                "0s",
                "spread around the delay: uniform in delay ± jitter, never below zero",
            ),
        ],
        summary: "Dials the service late.",
        detail: "Only new connections are concerned. With protocol: http the connections to the service are shared, so the \
                 client's connection is served late instead. Disarming dials at once.",
        ..PROXY
    },
    FaultDef {
        name: "drop",
        params: &[CHANCE, CORRELATION, DIRECTION],
        summary: "Loses datagrams.",
        detail: "For targets with protocol: udp. The share counts clients; chance is drawn for each datagram of one that has \
                 the fault. Correlation makes losses come in bursts without changing how many there are.",
        ..PROXY
    },
    FaultDef {
        name: "duplicate",
        params: &[CHANCE, CORRELATION, DIRECTION],
        summary: "Sends datagrams twice.",
        detail: "For targets with protocol: udp. The copy follows at once.",
        ..PROXY
    },
    FaultDef {
        name: "reorder",
        params: &[
            CHANCE,
            with_default(
                "gap",
                Int { min: 1, max: 1000 },
                "1",
                "how many later datagrams overtake one that is hit",
            ),
            with_default("hold", Span, "200ms", "the longest that one is held back when not so many follow"),
            DIRECTION,
        ],
        summary: "Lets later datagrams overtake earlier ones.",
        detail: "For targets with protocol: udp. A latency with jitter reorders datagrams, too; this does it by count.",
        ..PROXY
    },
    FaultDef {
        name: "corrupt",
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
            with_default(
                "from",
                Size,
                "0B",
                "where it begins: bytes of the stream before this one are spared, counted from when the fault took the connection",
            ),
            optional(
                "until",
                Size,
                "4KiB",
                "where it ends: bytes from this one on are spared; never when absent",
            ),
            DIRECTION,
        ],
        summary: "Changes bytes that pass.",
        detail: "The application reads what was changed: checksums of packets are made anew behind the proxy. Which bytes \
                 are hit depends on the seed and their place in the stream alone, not on how it is cut into pieces.",
        ..PROXY
    },
    FaultDef {
        name: "latency",
        targets: &[TargetKind::Proxy, TargetKind::Fs],
        params: &[
            required("delay", Span, "120ms", "how late each chunk arrives, counted from its own arrival"),
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
                "with distribution=table: each chunk gets delay and one of these, all equally likely",
            ),
            CORRELATION,
            DIRECTION,
            OPS,
        ],
        summary: "Delays what passes, each chunk or file operation from its own arrival.",
        detail: "Pipelined: fifty messages 5 ms apart each arrive one delay late, not one after another. Order within a \
                 connection is kept, so with jitter a chunk may also wait for the one before it; datagrams overtake each \
                 other. Jitter larger than the delay is legal. Disarming releases at once what is held. \
                 On files every operation in ops is done so much later; the share counts operations.",
        ..PROXY
    },
    FaultDef {
        name: "slice",
        params: &[
            required("size", Size, "64B", "how large each piece is; 0B leaves the stream whole"),
            with_default(
                "variation",
                Size,
                "0B",
                "spread around the size: uniform in size ± variation, at least one byte",
            ),
            with_default("delay", Span, "0s", "how long after a piece the next one leaves"),
            DIRECTION,
        ],
        summary: "Cuts the stream into small pieces.",
        detail: "Each piece is written by itself, so a reader that takes one read for one message is found out. Without a \
                 delay the kernels on the way may join pieces again.",
        ..PROXY
    },
    FaultDef {
        name: "bandwidth",
        params: &[
            required("rate", ByteRate, "1MB/s", "bytes per second in each direction; 0B/s stalls"),
            with_default(
                "per",
                Choice(&["connection", "target"]),
                "connection",
                "whether each connection has the rate, or all that have the fault share it",
            ),
            DIRECTION,
        ],
        summary: "Limits the rate of each connection, or of all together.",
        detail: "A rate of zero stalls until the fault ends. The sender feels it as back-pressure: its window fills. Datagrams \
                 pass whole, and are lost when too many wait.",
        ..PROXY
    },
    FaultDef {
        name: "limit_data",
        params: &[
            required(
                "bytes",
                Size,
                "64KiB",
                "how many bytes pass in the direction before the connection is closed",
            ),
            with_default("how", Choice(&["fin", "rst"]), "fin", "an orderly end, or a reset"),
            DIRECTION,
        ],
        summary: "Closes each connection after so many bytes.",
        detail: "Exact to the byte, counted for each direction by itself from when the fault took the connection; changing the \
                 fault keeps the count.",
        irreversible: true,
        ends: "a connection that was closed stays closed; new ones are whole once the fault has ended",
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
            with_default(
                "afterwards",
                Choice(&["keep", "close"]),
                "keep",
                "what becomes of connections that lost something when the fault ends: they go on, or are closed",
            ),
            DIRECTION,
        ],
        summary: "Swallows data while the connection stays open.",
        detail: "Bytes are read and thrown away. What was swallowed is gone: after disarming, the stream goes on with what \
                 comes next. close_after counts from the moment the connection was taken, also while data trickles.",
        ..PROXY
    },
    FaultDef {
        name: "slow_close",
        params: &[
            required("delay", Span, "5s", "how long after one side has ended the other one hears of it"),
            DIRECTION,
        ],
        summary: "Passes the ends of connections on late.",
        detail: "up delays the client's end towards the service, down the service's towards the client. Resets are late, too.",
        ..PROXY
    },
    FaultDef {
        name: "half_open",
        params: &[DIRECTION],
        summary: "Keeps one side from hearing that the other has gone.",
        detail: "What a crashed machine or a forgetful firewall leaves behind: one end is gone and the other waits. Ends and \
                 resets are passed on when the fault is over.",
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
            with_default(
                "on",
                Choice(&["open", "data"]),
                "open",
                "what a time counts from: the connection, or the first bytes (or end) that come after the fault took it",
            ),
            with_default("how", Choice(&["fin", "rst"]), "rst", "an orderly end, or a reset"),
            with_default(
                "direction",
                Choice(&["up", "down", "both"]),
                "both",
                "whose bytes count; both ends are always cut",
            ),
        ],
        summary: "Ends connections, also those that were open before.",
        detail: "rst sends a TCP reset to client and service, so a client sees ECONNRESET; fin ends both directions in \
                 order. Counted over both directions together when `when` is a number of bytes.",
        irreversible: true,
        ends: "a connection that was cut stays cut; new ones are whole once the fault has ended",
        ..PROXY
    },
];
