//! The faults, one file each. A new one is its file, its row in the model's catalogue, and its line in [`TABLE`].

mod abort;
mod bandwidth;
mod blackhole;
mod chance;
mod corrupt;
mod cut;
mod delay;
mod drop;
mod entry;
mod latency;
mod limit_data;
#[cfg(test)]
mod properties;
mod reorder;
mod slice;
mod slow_close;
mod spread;

pub(crate) use bandwidth::SharedLine;
use spread::Spread;

use crate::armed::Meters;
use crate::chain::{Dir, How, Stage};
use crate::conn::Take;
use crate::http::Answer;
use crate::knob::Dials;
use crate::listen::Door;
use model::Problem;
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
    ("delay", On::Streams, delay::read),
    ("abort", On::Streams, abort::read),
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

/// A fault on HTTP requests. Pure: the waiting is done by the layer around it.
pub(crate) trait RequestFault: Send + Sync {
    /// How long a request is held at that point.
    fn hold(&self, _point: Point, _draw: &Draw) -> Option<Duration> {
        None
    }

    /// The answer that the client gets instead of the service's.
    fn answer(&self, _fault_id: &str) -> Option<Answer> {
        None
    }

    /// Whether it acts on responses, so that it also takes requests that were under way when it was armed.
    fn acts_on_responses(&self) -> bool {
        false
    }

    /// What it measurably did, by name with its unit.
    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64>;
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
pub(crate) struct Draw {
    /// The fault's seed.
    pub(crate) seed: u64,
    /// The ordinal among what matches.
    pub(crate) ordinal: u64,
    /// Time since the fault was armed.
    pub(crate) elapsed: Duration,
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
            .filter(|d| ![Layer::Files, Layer::Node].contains(&d.layer))
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
                    Pull::Item(Item::End(How::Fin)) => text.push('.'),
                    Pull::Item(Item::End(How::Rst)) => text.push('!'),
                    Pull::Kill(How::Fin) => return text + "<fin>",
                    Pull::Kill(How::Rst) => return text + "<rst>",
                    Pull::Wait(_) => return text,
                }
            }
        }
    }
}
