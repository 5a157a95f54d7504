//! Faults on the network of a node, a container, a process or a network namespace.
//!
//! Faults on packets have names that begin with `net_`, because `duplicate`, `reorder`, `corrupt` and `latency` are faults
//! of connections through a proxy, with other parameters and another meaning.

use super::{FaultDef, Layer, ParamDef, optional, required, with_default};
use crate::target::TargetKind;
use crate::value::ParamType::{ByteRate, Choice, Choices, Int, Percent, Size, Span, Spans, Text};

const HERE: &[TargetKind] =
    &[TargetKind::Node, TargetKind::Netns, TargetKind::Container, TargetKind::Process];

const NETWORK: FaultDef = FaultDef {
    name: "",
    layer: Layer::Network,
    targets: HERE,
    params: &[],
    shown: &[],
    summary: "",
    detail: "",
    counts: None,
    one_shot: false,
    irreversible: false,
    ends: "",
    needs: &["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN for another namespace"],
};

/// What ends a fault on packets.
const PACKETS_END: &str = "the kernel removes the nf_tables table with the agent's socket, and with it everything that leads packets \
     aside; with engine=native an interface of ours and a filter stay, doing nothing, until `murphy recover`";

const INTERFACE: ParamDef = optional(
    "interface",
    Text,
    "eth0",
    "the interfaces, by name and separated by commas; all that are up but lo when absent, and lo when peer is of this machine",
);
const DIRECTION: ParamDef = with_default(
    "direction",
    Choice(&["egress", "ingress", "both"]),
    "egress",
    "packets that leave, that come in, or both; on lo every packet does both and is hit once",
);
const PEER: ParamDef = optional(
    "peer",
    Text,
    "10.0.0.7",
    "the other side: addresses, networks (10.0.0.0/8) or DNS names, separated by commas; names are looked up again while the fault is on",
);
const PORT: ParamDef = optional(
    "port",
    Text,
    "5432",
    "ports of either side, with ranges, separated by commas: 80,443,8000-8099",
);
const LOCAL_PORT: ParamDef = optional("local_port", Text, "8080", "ports of this side");
const REMOTE_PORT: ParamDef = optional("remote_port", Text, "5432", "ports of the other side");
const PROTOCOL: ParamDef =
    with_default("protocol", Choice(&["any", "tcp", "udp", "icmp"]), "any", "what the packets carry");
const FAMILY: ParamDef = with_default("family", Choice(&["any", "ipv4", "ipv6"]), "any", "the version of IP");
const EXCEPT_PEER: ParamDef =
    optional("except_peer", Text, "10.0.0.1", "addresses, networks or names that are left alone");
const EXCEPT_PORT: ParamDef = optional("except_port", Text, "22", "ports of either side that are left alone");
const EXEMPT: ParamDef = with_default(
    "exempt",
    Choices(&["ssh", "control", "nothing"]),
    "ssh,control",
    "what is left alone besides: the SSH connection one is sitting on, murphy's own control connections. ARP and neighbour discovery always are",
);
const ENGINE: ParamDef = with_default(
    "engine",
    Choice(&["auto", "native", "emulated"]),
    "auto",
    "native: the kernel's netem; emulated: the same in this program; auto: native where it can do it",
);

/// The parameters that say which packets, after a fault's own.
macro_rules! with_filter {
    ($($own:expr),* $(,)?) => {
        &[
            $($own,)*
            INTERFACE, DIRECTION, PEER, PORT, LOCAL_PORT, REMOTE_PORT, PROTOCOL, FAMILY, EXCEPT_PEER, EXCEPT_PORT, EXEMPT, ENGINE,
        ]
    };
}

const CORRELATION: ParamDef =
    with_default("correlation", Percent, "0%", "how much each draw resembles the one before");

/// The share of packets that is hit.
const fn chance(example: &'static str, doc: &'static str) -> ParamDef {
    ParamDef { name: "chance", ty: Percent, default: None, required: true, example, doc }
}

pub(super) const FAULTS: &[FaultDef] = &[
    FaultDef {
        name: "net_delay",
        params: with_filter![
            required("delay", Span, "100ms", "how late packets are"),
            with_default("jitter", Span, "0ms", "the spread around it"),
            CORRELATION,
            with_default(
                "distribution",
                Choice(&["uniform", "normal", "pareto", "paretonormal", "table"]),
                "uniform",
                "how the spread is distributed",
            ),
            optional(
                "table",
                Spans,
                "1ms,2ms,40ms",
                "with distribution=table: what is added, each equally likely"
            ),
            with_default(
                "order",
                Choice(&["free", "keep"]),
                "free",
                "whether packets may overtake each other when their delays differ; netem lets them",
            ),
        ],
        summary: "Packets are late.",
        detail: "Each packet from its arrival, so a round trip is longer by delay, or by twice that with direction=both. With jitter \
                 packets overtake each other unless order=keep; TCP takes that for loss. delay and jitter can ramp.",
        ends: PACKETS_END,
        ..NETWORK
    },
    FaultDef {
        name: "net_loss",
        shown: &["chance"],
        params: with_filter![
            optional("chance", Percent, "10%", "model=random: the share of packets that is lost"),
            CORRELATION,
            with_default(
                "model",
                Choice(&["random", "gemodel", "state"]),
                "random",
                "random; Gilbert–Elliott (good and bad times: p, r, loss_bad, loss_good); state (four states: p13, p31, p32, p23, p14)",
            ),
            optional("p", Percent, "2%", "gemodel: from good to bad, at each packet"),
            optional("r", Percent, "20%", "gemodel: from bad to good; bad times last 1/r packets"),
            with_default("loss_bad", Percent, "100%", "gemodel: lost in bad times"),
            with_default("loss_good", Percent, "0%", "gemodel: lost in good times"),
            optional("p13", Percent, "2%", "state: from received to lost in a burst"),
            optional("p31", Percent, "20%", "state: from lost in a burst back to received"),
            with_default("p32", Percent, "0%", "state: from lost to received within a burst"),
            with_default("p23", Percent, "100%", "state: from received to lost within a burst"),
            with_default("p14", Percent, "0%", "state: a single loss outside bursts"),
        ],
        summary: "Packets are lost.",
        detail: "Random loss without correlation happens in nf_tables whatever the engine is, where the kernel draws; everything else \
                 draws from the seed. Where the kernel hands over several segments as one, they are lost together. chance can ramp, and \
                 is then drawn by the engine.",
        ends: PACKETS_END,
        ..NETWORK
    },
    FaultDef {
        name: "net_duplicate",
        params: with_filter![chance("1%", "the share of packets that comes twice"), CORRELATION],
        summary: "Packets come twice.",
        detail: "chance can ramp.",
        ends: PACKETS_END,
        ..NETWORK
    },
    FaultDef {
        name: "net_corrupt",
        params: with_filter![
            chance("0.1%", "the share of packets in which a bit is flipped"),
            CORRELATION,
            with_default(
                "checksum",
                Choice(&["keep", "fix"]),
                "keep",
                "keep: the receiver sees that it does not fit and drops the packet; fix: it is made right, and the application reads wrong bytes",
            ),
        ],
        summary: "One bit of a packet is flipped.",
        detail: "With checksum=keep this is loss that shows in the receiver's counters, which is what netem does. checksum=fix changes \
                 what applications read; only the emulated engine can. chance can ramp.",
        ends: PACKETS_END,
        ..NETWORK
    },
    FaultDef {
        name: "net_reorder",
        params: with_filter![
            chance("25%", "the share of packets that is sent at once while the others wait"),
            CORRELATION,
            with_default("delay", Span, "10ms", "how long the others wait"),
            with_default("gap", Int { min: 1, max: 1_000_000 }, "1", "only every n-th packet may overtake"),
        ],
        summary: "Packets overtake each other.",
        detail: "All others are late by delay, so there is something to be overtaken. chance and delay can ramp.",
        ends: PACKETS_END,
        ..NETWORK
    },
    FaultDef {
        name: "net_rate",
        params: with_filter![
            required(
                "rate",
                ByteRate,
                "10Mbit/s",
                "so much passes, counted in bytes of IP packets, in each direction by itself"
            ),
            with_default(
                "queue",
                Span,
                "100ms",
                "how long a packet waits for its turn at most; beyond that it is dropped, as a full buffer would"
            ),
        ],
        summary: "The link is slow.",
        detail: "A queue in front of a link of that rate, one per interface and direction. rate can ramp.",
        ends: PACKETS_END,
        ..NETWORK
    },
    FaultDef {
        name: "net_slot",
        params: with_filter![
            required("every", Span, "20ms", "the pause between bursts"),
            with_default("jitter", Span, "0ms", "the spread around it"),
            with_default("packets", Int { min: 1, max: 1_000_000 }, "64", "packets in a burst"),
            with_default("bytes", Size, "1MiB", "bytes in a burst"),
        ],
        summary: "Packets leave in bursts.",
        detail: "What DOCSIS, LTE and WLAN do: so many packets at once, then a pause.",
        ends: PACKETS_END,
        ..NETWORK
    },
    FaultDef {
        name: "partition",
        shown: &["peer"],
        params: &[
            with_default(
                "direction",
                Choice(&["both", "egress", "ingress"]),
                "both",
                "both ways, or only what leaves or what comes in",
            ),
            PEER,
            optional(
                "groups",
                Text,
                "10.0.0.1,10.0.0.2|10.0.0.3",
                "groups of addresses, separated by |: those of different groups do not reach each other; who is in none reaches all. The same text on every node",
            ),
            with_default(
                "how",
                Choice(&["silent", "reject"]),
                "silent",
                "silent: packets vanish; reject: senders are told (TCP reset, ICMP port unreachable)",
            ),
            INTERFACE,
            PORT,
            LOCAL_PORT,
            REMOTE_PORT,
            PROTOCOL,
            FAMILY,
            EXCEPT_PEER,
            EXCEPT_PORT,
            EXEMPT,
        ],
        summary: "Some peers cannot be reached.",
        detail: "In nf_tables. Silent drops happen where packets leave and enter the machine, so that senders see nothing of them \
                 (a drop in an OUTPUT chain would tell them EPERM). Without peer and groups it is everyone.",
        ends: "the kernel removes the nf_tables table with the agent's socket",
        needs: &["CAP_NET_ADMIN", "CAP_SYS_ADMIN for another namespace"],
        ..NETWORK
    },
    FaultDef {
        name: "dns",
        shown: &["answer"],
        params: &[
            with_default(
                "names",
                Text,
                "*",
                "the names that are meant, as programs there say them: globs, separated by commas; also with the search list of the target's resolv.conf behind them, unless a dot ends one",
            ),
            with_default(
                "answer",
                Choice(&["nxdomain", "servfail", "refused", "timeout", "truncate", "address", "random"]),
                "nxdomain",
                "what is answered; timeout: nothing; address: what is given there; random: some address",
            ),
            optional(
                "address",
                Text,
                "192.0.2.1",
                "answer=address: one of IPv4, of IPv6, or both, separated by a comma",
            ),
            with_default("ttl", Span, "0s", "how long answers of ours may be kept"),
            with_default(
                "delay",
                Span,
                "0ms",
                "how late answers are, also those of names that are not meant",
            ),
            optional(
                "upstream",
                Text,
                "10.0.0.2:53",
                "who is asked for all other names; that of the target's resolv.conf when absent",
            ),
        ],
        summary: "Names do not resolve, or resolve wrongly.",
        detail: "What the target sends to port 53 is redirected to a resolver of murphy in the same namespace. Names that are not meant \
                 are asked for upstream. Queries over TLS or HTTPS are not seen. Answers that are cached already stay.",
        counts: Some("queries"),
        ends: "the kernel removes the redirect with the agent's socket",
        needs: &["CAP_NET_ADMIN", "CAP_SYS_ADMIN for another namespace"],
        ..NETWORK
    },
    FaultDef {
        name: "port_occupy",
        params: &[
            required("port", Text, "8080", "the ports, with ranges, separated by commas; at most 1000"),
            with_default("protocol", Choice(&["tcp", "udp", "both"]), "tcp", "of what"),
            optional("address", Text, "127.0.0.1", "on which address; all when absent"),
            with_default(
                "clients",
                Choice(&["refuse", "hang"]),
                "refuse",
                "what becomes of whoever connects: refused, or accepted by nobody",
            ),
        ],
        summary: "Ports are taken, so that a service cannot start.",
        detail: "A port that is in use already is refused: the fault would do nothing there.",
        ends: "the ports are free with the agent's process",
        needs: &["CAP_NET_BIND_SERVICE for ports below 1024", "CAP_SYS_ADMIN for another namespace"],
        ..NETWORK
    },
    FaultDef {
        name: "conntrack_flush",
        params: &[
            PEER,
            PORT,
            PROTOCOL,
            FAMILY,
            with_default(
                "exempt",
                Choices(&["ssh", "control", "nothing"]),
                "ssh,control",
                "what is left alone",
            ),
        ],
        summary: "Connection tracking forgets what it knows, once.",
        detail: "What address translation and stateful firewalls do then is what is tried: connections behind them break or go on. \
                 Filtered entries are deleted one by one.",
        one_shot: true,
        irreversible: true,
        ends: "it happens once and cannot be undone",
        needs: &["CAP_NET_ADMIN", "CAP_SYS_ADMIN for another namespace"],
        ..NETWORK
    },
    FaultDef {
        name: "interface_down",
        params: &[required("interface", Text, "eth1", "the interfaces, separated by commas")],
        summary: "An interface is switched off.",
        detail: "Routes through it and its IPv6 addresses go with it; they are written down before and put back afterwards. The interface \
                 that carries your SSH connection is refused.",
        ends: "nothing: the interface stays down when agent and watchdog are both killed, until `murphy recover`",
        needs: &["CAP_NET_ADMIN", "CAP_SYS_ADMIN for another namespace"],
        ..NETWORK
    },
];
