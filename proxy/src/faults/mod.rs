//! The faults, one file each. A new one is its file, its row in the model's catalogue, and its line in [`TABLE`].

mod abort;
mod bandwidth;
mod blackhole;
mod chance;
mod corrupt;
mod corrupt_body;
mod cut;
mod delay;
mod drop;
mod entry;
mod given;
mod grpc;
mod header_driven;
mod latency;
mod limit_data;
mod patch;
#[cfg(test)]
mod properties;
mod reorder;
mod replace;
mod shape;
mod slice;
mod slow_close;
mod spread;
mod throttle_body;
mod through;
mod tls;
mod tls_truncate;
mod truncate_body;
mod websocket;

pub(crate) use bandwidth::SharedLine;
pub(crate) use header_driven::Asked;
use spread::Spread;
pub(crate) use tls::Handshake;

use crate::armed::Meters;
use crate::chain::{Dir, How, Stage};
use crate::conn::Take;
use crate::http::hit::Hit;
use crate::http::message::{Answer, RequestHead, ResponseHead};
use crate::http::stage::BodyStage;
use crate::http::wire::WirePlan;
use crate::knob::Dials;
use crate::listen::Door;
use model::Problem;
use model::matcher::Facts;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// By name of the catalogue: what a fault is for, and how its parameters become what it does.
const TABLE: &[(&str, On, Read)] = &[
    ("refuse", On::Streams, entry::read_refuse),
    ("hang_connect", On::Streams, entry::read_hang),
    ("connect_delay", On::Streams, entry::read_delay),
    ("drop", On::Datagrams, drop::read_drop),
    ("duplicate", On::Datagrams, drop::read_duplicate),
    ("reorder", On::Datagrams, reorder::read),
    ("corrupt", On::Both, corrupt::read),
    ("latency", On::Both, latency::read),
    ("slice", On::Streams, slice::read),
    ("bandwidth", On::Both, bandwidth::read),
    ("limit_data", On::Streams, limit_data::read),
    ("blackhole", On::Both, blackhole::read),
    ("slow_close", On::Streams, slow_close::read_slow_close),
    ("half_open", On::Streams, slow_close::read_half_open),
    ("cut", On::Streams, cut::read),
    ("header_driven", On::Streams, header_driven::read),
    ("delay", On::Streams, delay::read),
    ("abort", On::Streams, abort::read),
    ("stub", On::Streams, abort::read),
    ("replace", On::Streams, replace::read),
    ("patch", On::Streams, patch::read),
    ("corrupt_body", On::Streams, corrupt_body::read),
    ("throttle_body", On::Streams, throttle_body::read),
    ("truncate_body", On::Streams, truncate_body::read),
    ("grpc_status", On::Streams, grpc::read),
    ("slow_headers", On::Streams, shape::read_slow_headers),
    ("malformed", On::Streams, shape::read_malformed),
    ("h2_reset", On::Streams, shape::read_reset),
    ("h2_goaway", On::Streams, shape::read_goaway),
    ("websocket_delay", On::Streams, websocket::read_delay),
    ("websocket_drop", On::Streams, websocket::read_drop),
    ("websocket_corrupt", On::Streams, websocket::read_corrupt),
    ("websocket_close", On::Streams, websocket::read_close),
    ("tls_plain_text", On::Streams, tls::read_plain_text),
    ("tls_alert", On::Streams, tls::read_alert),
    ("tls_cipher", On::Streams, tls::read_cipher),
    ("tls_version", On::Streams, tls::read_version),
    ("tls_certificate", On::Streams, tls::read_certificate),
    ("tls_client_certificate", On::Streams, tls::read_clients),
    ("tls_stall", On::Streams, tls::read_stall),
    ("tls_truncate", On::Streams, tls_truncate::read),
];

/// What a fault can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Streams,
    Datagrams,
    Both,
}

/// Makes a fault of its parameters.
type Read = fn(&Dials<'_>) -> Result<Act, Problem>;

/// What a fault acts on.
pub(crate) enum Act {
    /// The bytes of connections.
    Stream(Box<dyn StreamFault>),
    /// HTTP requests.
    Request(Box<dyn RequestFault>),
    /// TLS handshakes of clients.
    Handshake(Handshake),
}

impl Act {
    /// Whether it can be done to a request with these facts.
    pub(crate) fn is_for(&self, facts: &dyn Facts) -> bool {
        match self {
            Act::Stream(_) | Act::Handshake(_) => true,
            Act::Request(fault) => fault.is_for(facts) && (!fault.is_for_sockets() || asks_for_socket(facts)),
        }
    }
}

/// Whether a request asks for a WebSocket: by Upgrade, or on HTTP/2 by an extended CONNECT (RFC 8441).
fn asks_for_socket(facts: &dyn Facts) -> bool {
    facts.header("upgrade").is_some_and(|v| v.trim().eq_ignore_ascii_case("websocket"))
        || facts.header(":protocol") == Some("websocket")
}

/// A fault on the bytes of connections.
pub(crate) trait StreamFault: Send + Sync {
    /// The stage for one direction of a connection that it has; none when that direction is spared.
    fn stage(&self, take: &Arc<Take>, dir: Dir, now: Instant) -> Option<Box<dyn Stage>>;

    /// Whether a new connection may go on to the service.
    fn entry(&self, _take: &Take, _now: Instant) -> Entry {
        Entry::Pass
    }

    /// How the door itself can be shut when it hits every new connection.
    fn door(&self) -> Option<Door> {
        None
    }

    /// Whether only connections concern it that come while it is on.
    fn is_for_new_connections(&self) -> bool {
        false
    }

    /// How connections end that it did something to, once it is over; none when they go on.
    fn afterwards(&self) -> Option<How> {
        None
    }

    /// What it measurably did, by name with its unit.
    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64>;
}

/// What a fault says to a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It may go on.
    Pass,
    /// It must wait until then, or until the fault is over.
    At(Option<Instant>),
    /// It is reset.
    Refused,
}

/// A fault on HTTP requests. Pure: the waiting, reading and writing is done by the layer around it. Each method is one
/// point on a request's way; they are asked in the order in which they stand here.
pub(crate) trait RequestFault: Send + Sync {
    /// Whether a request that matches is one that it can be done to at all; others are not counted either.
    fn is_for(&self, _facts: &dyn Facts) -> bool {
        true
    }

    /// Whether it is for WebSockets alone: requests that are none are not counted.
    fn is_for_sockets(&self) -> bool {
        false
    }

    /// What the request says that the fault needs later on.
    fn note(&self, _facts: &dyn Facts, _seed: u64, _ordinal: u64) -> Option<Asked> {
        None
    }

    /// How long a request is held at that point.
    fn hold(&self, _point: Point, _draw: &Draw<'_>) -> Option<Duration> {
        None
    }

    /// The answer that the client gets instead of the service's: before that gets the request, or in place of its response.
    fn answer(&self, _point: Point, _hit: &Hit, _known: &Known<'_>) -> Option<Answer> {
        None
    }

    /// Changes the request's head before the service gets it; whether it did.
    fn request(&self, _hit: &Hit, _head: &mut RequestHead) -> bool {
        false
    }

    /// Changes the response's head before the client gets it; whether it did.
    fn response(&self, _hit: &Hit, _request: &RequestHead, _head: &mut ResponseHead) -> bool {
        false
    }

    /// What is done to a message that only a codec can do: `Up` the request, `Down` the response.
    fn wire(&self, _hit: &Hit, _dir: Dir, _known: &Known<'_>) -> Option<WirePlan> {
        None
    }

    /// The stage in a body's way, its trailers included. It says itself, by its hit, when it did something.
    fn stage(&self, _hit: &Arc<Hit>, _dir: Dir, _known: &Known<'_>) -> Option<Box<dyn BodyStage>> {
        None
    }

    /// Whether bodies keep their length that pass its stage. Those that do not are announced without one.
    fn keeps_length(&self, _dir: Dir) -> bool {
        true
    }

    /// The stage in the way of a WebSocket's frames. What it is pushed are frames, and the end.
    fn frames(&self, _hit: &Arc<Hit>, _dir: Dir, _known: &Known<'_>) -> Option<Box<dyn BodyStage>> {
        None
    }

    /// Whether it acts on responses, so that it also takes requests that were under way when it was armed.
    fn acts_on_responses(&self) -> bool {
        false
    }

    /// Whether it acts on bodies or frames, so that it also takes those that were passing when it was armed.
    fn acts_on_bodies(&self) -> bool {
        false
    }

    /// Whether it acts on nothing before there is a response, so that its matcher may ask for one.
    fn can_ask_for_responses(&self) -> bool {
        self.acts_on_responses() || self.acts_on_bodies()
    }

    /// What it measurably did, by name with its unit.
    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64>;
}

/// What is known of an exchange.
#[derive(Clone, Copy)]
#[allow(dead_code)] // until a fault asks
pub(crate) struct Known<'a> {
    /// The request's head, as the client sent it but for what faults changed.
    pub(crate) request: &'a RequestHead,
    /// The response's head, once there is one.
    pub(crate) response: Option<&'a ResponseHead>,
}

/// A place on a request's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// Before the service gets it.
    Request,
    /// Before the client gets the response's head.
    Response,
}

/// The random numbers of one ordinal, and the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw<'a> {
    /// The fault's seed.
    pub(crate) seed: u64,
    /// The ordinal among what matches.
    pub(crate) ordinal: u64,
    /// Time since the fault was armed.
    pub(crate) elapsed: Duration,
    /// What the request asked for.
    pub(crate) asked: Option<&'a Asked>,
}

/// Reads the parameters of the fault of that name.
pub(crate) fn read(name: &str, dials: &Dials<'_>) -> Result<Act, Problem> {
    match TABLE.iter().find(|(known, ..)| *known == name) {
        Some((.., read)) => read(dials),
        None => Err(Problem::new(format!("the proxy has no fault {name:?}"))
            .hint("arm it on a target of another kind; `murphy faults` lists which")),
    }
}

/// Whether the fault of that name makes sense for datagrams, or for streams.
pub(crate) fn fits(name: &str, datagrams: bool) -> bool {
    let unfit = if datagrams { On::Streams } else { On::Datagrams };
    TABLE.iter().any(|(known, on, _)| *known == name && *on != unfit)
}

/// The directions that a fault acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ways {
    up: bool,
    down: bool,
}

impl Ways {
    /// The parameter `direction`; both when there is none.
    fn read(dials: &Dials<'_>) -> Ways {
        match dials.fixed().text("direction") {
            Some("up") => Ways { up: true, down: false },
            Some("down") => Ways { up: false, down: true },
            _ => Ways { up: true, down: true },
        }
    }

    fn has(self, dir: Dir) -> bool {
        match dir {
            Dir::Up => self.up,
            Dir::Down => self.down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::catalogue::{self, Layer};

    #[test]
    fn every_fault_of_the_catalogue_for_proxies_is_here() {
        let rows: Vec<_> = catalogue::all()
            .filter(|d| ![Layer::Files, Layer::Network, Layer::Node].contains(&d.layer))
            .map(|d| d.name)
            .collect();
        let mut here: Vec<_> = TABLE.iter().map(|(name, ..)| *name).collect();
        assert!(rows.iter().all(|r| here.contains(r)), "{rows:?} {here:?}");
        here.retain(|name| !rows.contains(name));
        assert!(here.is_empty(), "not in the catalogue: {here:?}");
    }
}

/// What the tests of single stages share: a fault on one connection, without sockets or clocks.
#[cfg(test)]
pub(crate) mod bench {
    use super::*;
    use crate::armed::Armed;
    use crate::chain::{Chain, Chunk, Item, Pull};
    use crate::conn::{Birth, Conn};
    use crate::metrics::Metrics;
    use bytes::Bytes;

    /// A connection with its two chains, and the faults armed on it.
    pub(crate) struct Bench {
        pub(crate) conn: Conn,
        pub(crate) up: Chain,
        pub(crate) down: Chain,
        pub(crate) start: Instant,
    }

    /// The fault as `name key=value …`.
    pub(crate) fn ordered(words: &str) -> model::Fault {
        let mut words = words.split_whitespace();
        let name = words.next().unwrap();
        let pairs: Vec<_> = words.map(|w| w.split_once('=').unwrap()).collect();
        let inject = model::Injection::from_pairs(name, pairs).unwrap();
        serde_json::from_value(serde_json::json!({
            "target": "proxy:a", "for": "60s", "inject": inject,
        }))
        .unwrap()
    }

    /// The fault as `name key=value …`, armed now.
    pub(crate) fn armed(words: &str, sequence: u64) -> Arc<Armed> {
        let fault = ordered(words);
        let target = serde_json::from_value(serde_json::json!({
            "name": "a", "proxy": {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"},
        }))
        .unwrap();
        let order = inject::Order { id: format!("f{sequence}"), fault, target, seed: 7 };
        Arc::new(Armed::new(&order, sequence).unwrap())
    }

    impl Bench {
        /// A stream with these faults, armed in this order.
        pub(crate) fn new(faults: &[&Arc<Armed>]) -> Bench {
            Bench::of(faults, false)
        }

        /// Datagrams with these faults, armed in this order.
        pub(crate) fn datagrams(faults: &[&Arc<Armed>]) -> Bench {
            Bench::of(faults, true)
        }

        fn of(faults: &[&Arc<Armed>], datagrams: bool) -> Bench {
            let conn = Conn::new(Birth { id: 1, datagrams, ..Birth::default() }, Arc::new(Metrics::new()));
            let (up, down) = (Chain::new(Dir::Up), Chain::new(Dir::Down));
            let mut bench = Bench { conn, up, down, start: Instant::now() };
            faults.iter().for_each(|f| assert!(bench.conn.offer(f)));
            bench.sync(0);
            bench
        }

        /// The time, so many milliseconds after the start.
        pub(crate) fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        pub(crate) fn sync(&mut self, ms: u64) {
            let (takes, now) = (self.conn.takes(), self.at(ms));
            self.up.sync(&takes, now);
            self.down.sync(&takes, now);
        }

        pub(crate) fn push_down(&mut self, ms: u64, text: &'static str) {
            self.push_down_bytes(ms, text.as_bytes());
        }

        pub(crate) fn push_down_bytes(&mut self, ms: u64, bytes: &[u8]) {
            let arrived = self.at(ms);
            self.down.push(Item::Data(Chunk { bytes: Bytes::copy_from_slice(bytes), arrived }), arrived);
        }

        /// The bytes that come out at that time, until there are none.
        pub(crate) fn pull_down_bytes(&mut self, ms: u64) -> Vec<u8> {
            let now = self.at(ms);
            let mut all = Vec::new();
            while let Pull::Item(Item::Data(chunk)) = self.down.pull(now) {
                all.extend_from_slice(&chunk.bytes);
            }
            all
        }

        pub(crate) fn end_down(&mut self, ms: u64, how: How) {
            let now = self.at(ms);
            self.down.push(Item::End(how), now);
        }

        /// What comes out at that time, as text; ends as `.` and `!`, kills as `fin` and `rst`.
        pub(crate) fn pull_down(&mut self, ms: u64) -> String {
            let now = self.at(ms);
            let mut text = String::new();
            loop {
                match self.down.pull(now) {
                    Pull::Item(Item::Data(c)) => text.push_str(std::str::from_utf8(&c.bytes).unwrap()),
                    Pull::Item(Item::End(How::Fin | How::Bare)) => text.push('.'),
                    Pull::Item(Item::End(How::Rst)) => text.push('!'),
                    Pull::Kill(How::Fin) => return text + "<fin>",
                    Pull::Kill(How::Rst) => return text + "<rst>",
                    Pull::Kill(How::Bare) => return text + "<bare>",
                    Pull::Wait(_) => return text,
                }
            }
        }
    }
}
