//! What is done to packets: read from a fault's parameters, and decided for each packet by a pure function of what was
//! before, the seed, the packet's ordinal and now. No socket and no clock is known here.

use host::netlink::route::loss::Model;
use inject::knob::{Dials, Knob};
use inject::spread::{Spread, Walk};
use model::draw::{self, Lane};
use model::{Fault, Problem};
use std::time::Duration;

/// What is done to packets.
#[derive(Debug, Clone)]
pub enum Shape {
    /// They are late.
    Delay {
        /// How late.
        spread: Spread,
        /// How much each resembles the one before.
        correlation: f64,
        /// None overtakes another.
        keep_order: bool,
    },
    /// They are lost at random.
    Loss {
        /// Which share.
        chance: Knob,
        /// How much each resembles the one before.
        correlation: f64,
    },
    /// They are lost by a model with a memory.
    LossModel(Model),
    /// They come twice.
    Duplicate {
        /// Which share.
        chance: Knob,
        /// How much each resembles the one before.
        correlation: f64,
    },
    /// A bit is flipped.
    Corrupt {
        /// Which share.
        chance: Knob,
        /// How much each resembles the one before.
        correlation: f64,
        /// The checksum is made right.
        fix: bool,
    },
    /// Some are sent at once while others wait.
    Reorder {
        /// Which share.
        chance: Knob,
        /// How much each resembles the one before.
        correlation: f64,
        /// How long others wait.
        delay: Knob,
        /// Only every n-th may overtake.
        gap: u64,
    },
    /// A slow link.
    Rate {
        /// Bytes per second.
        rate: Knob,
        /// How long a packet waits at most.
        queue: Duration,
    },
    /// They leave in bursts.
    Slot {
        /// The pause.
        every: Duration,
        /// The spread around it.
        jitter: Duration,
        /// Packets in a burst.
        packets: u64,
        /// Bytes in a burst.
        bytes: u64,
    },
}

impl Shape {
    /// Reads a fault on packets.
    pub fn read(fault: &Fault) -> Result<Shape, Problem> {
        let dials = Dials::new(fault);
        let inject = &fault.inject;
        let share = |name: &str| inject.percent(name).map(|p| p.fraction());
        let correlation = share("correlation").unwrap_or(0.0);
        let chance = || {
            dials.knob("chance")?.ok_or_else(|| {
                Problem::new(format!("{} needs chance", inject.name())).hint("for example chance=10%")
            })
        };
        let shape = match inject.name() {
            "net_delay" => Shape::Delay {
                spread: Spread::read(&dials)?,
                correlation,
                keep_order: inject.text("order") == Some("keep"),
            },
            "net_loss" => loss(fault, &dials, correlation)?,
            "net_duplicate" => Shape::Duplicate { chance: chance()?, correlation },
            "net_corrupt" => {
                Shape::Corrupt { chance: chance()?, correlation, fix: inject.text("checksum") == Some("fix") }
            }
            "net_reorder" => Shape::Reorder {
                chance: chance()?,
                correlation,
                delay: dials.knob("delay")?.unwrap_or(Knob::fixed(0.01)),
                gap: inject.int("gap").unwrap_or(1).max(1) as u64,
            },
            "net_rate" => {
                let rate = dials.knob("rate")?.unwrap_or(Knob::fixed(0.0));
                if inject.byte_rate("rate").is_some_and(|r| r.value() < 1.0) {
                    return Err(Problem::new("a rate of 0 passes nothing").hint("use net_loss chance=100%"));
                }
                Shape::Rate { rate, queue: inject.span("queue").unwrap_or(Duration::from_millis(100)) }
            }
            "net_slot" => Shape::Slot {
                every: inject.span("every").unwrap_or_default(),
                jitter: inject.span("jitter").unwrap_or_default(),
                packets: inject.int("packets").unwrap_or(64).max(1) as u64,
                bytes: inject.size("bytes").map_or(1 << 20, |s| s.0.max(1)),
            },
            other => return Err(Problem::new(format!("{other} is no fault of packets"))),
        };
        dials.finish()?;
        Ok(shape)
    }

    /// Whether packets must be seen as they are on the wire: a decision for each of them, and not for what the kernel has
    /// put together.
    pub fn wants_single_packets(&self) -> bool {
        match self {
            Shape::Delay { .. } => false,
            // Above that a burst of 64 KiB takes half a millisecond.
            Shape::Rate { rate, .. } => rate.at(Duration::MAX).min(rate.at(Duration::ZERO)) < 125e6,
            _ => true,
        }
    }

    /// Whether bytes of packets are changed or sent again, so that they must be seen whole.
    pub fn wants_bytes(&self) -> bool {
        matches!(self, Shape::Duplicate { .. } | Shape::Corrupt { .. })
    }

    /// Whether packets are held for a while.
    pub fn holds(&self) -> bool {
        matches!(self, Shape::Delay { .. } | Shape::Reorder { .. } | Shape::Rate { .. } | Shape::Slot { .. })
    }

    /// The share that nf_tables can lose by itself: at random, the same all the time.
    pub fn plain_loss(&self, ramped: bool) -> Option<f64> {
        match self {
            Shape::Loss { chance, correlation } if *correlation == 0.0 && !ramped => {
                Some(chance.at(Duration::ZERO))
            }
            _ => None,
        }
    }
}

fn loss(fault: &Fault, dials: &Dials<'_>, correlation: f64) -> Result<Shape, Problem> {
    let inject = &fault.inject;
    let share = |name: &str| inject.percent(name).map(|p| p.fraction());
    let model = inject.text("model").unwrap_or("random");
    let need = |name: &str| {
        share(name).ok_or_else(|| {
            Problem::new(format!("model={model} needs {name}")).hint(format!("for example {name}=2%"))
        })
    };
    let foreign: &[&str] = match model {
        "gemodel" => &["chance", "p13", "p31"],
        "state" => &["chance", "p", "r"],
        _ => &["p", "r", "p13", "p31"],
    };
    if let Some(name) = foreign.iter().find(|name| inject.get(name).is_some()) {
        return Err(Problem::new(format!("{name} says nothing with model={model}"))
            .hint("leave it out, or choose the model that it belongs to"));
    }
    Ok(match model {
        "gemodel" => Shape::LossModel(Model::GilbertElliott {
            p: need("p")?,
            r: need("r")?,
            bad: share("loss_bad").unwrap_or(1.0),
            good: share("loss_good").unwrap_or(0.0),
        }),
        "state" => Shape::LossModel(Model::FourStates {
            p13: need("p13")?,
            p31: need("p31")?,
            p32: share("p32").unwrap_or(0.0),
            p23: share("p23").unwrap_or(1.0),
            p14: share("p14").unwrap_or(0.0),
        }),
        _ => {
            let chance = dials.knob("chance")?.ok_or_else(|| {
                Problem::new("net_loss needs chance").hint("for example chance=10%, or another model")
            })?;
            Shape::Loss { chance, correlation }
        }
    })
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    /// This fault leaves it alone.
    Untouched,
    /// It is lost.
    Lost,
    /// The queue in front of the slow link is full.
    Crowded,
    /// It goes on at that moment.
    At(u64),
    /// It comes twice.
    Twice,
    /// A bit is flipped, drawn by this number; whether the checksum is made right.
    Bent(u64, bool),
}

/// What a fault remembers of the packets before.
#[derive(Debug, Clone)]
pub struct Memory {
    seed: u64,
    n: u64,
    walk: Option<Walk>,
    state: u8,
    /// When the link is free, or the current burst began.
    free: u64,
    last: u64,
    packets: u64,
    bytes: u64,
}

impl Memory {
    /// None yet. The same seed decides the same about the same packets.
    pub fn new(seed: u64) -> Memory {
        Memory { seed, n: 0, walk: None, state: 0, free: 0, last: 0, packets: 0, bytes: 0 }
    }

    fn unit(&self, lane: Lane) -> f64 {
        draw::unit(self.seed, lane, self.n)
    }

    fn hit(&mut self, chance: f64, correlation: f64) -> bool {
        let fresh = self.unit(Lane::Share);
        let u = match correlation == 0.0 {
            true => fresh,
            false => self.walk.get_or_insert_with(|| Walk::with(correlation)).step(fresh),
        };
        u < chance
    }

    /// Decides about the next packet, which is here at `now` (in nanoseconds) and `length` bytes long. `elapsed` is the time
    /// since the fault was armed.
    pub fn decide(&mut self, shape: &Shape, now: u64, length: usize, elapsed: Duration) -> Fate {
        let fate = self.fate(shape, now, length, elapsed);
        self.n += 1;
        fate
    }

    fn fate(&mut self, shape: &Shape, now: u64, length: usize, elapsed: Duration) -> Fate {
        match shape {
            Shape::Delay { spread, correlation, keep_order } => {
                let fresh = self.unit(Lane::Amount);
                let u = match *correlation == 0.0 {
                    true => fresh,
                    false => self.walk.get_or_insert_with(|| Walk::with(*correlation)).step(fresh),
                };
                let mut at = now.saturating_add(nanos(spread.quantile(u, elapsed)));
                if *keep_order {
                    at = at.max(self.last);
                    self.last = at;
                }
                Fate::At(at)
            }
            Shape::Loss { chance, correlation } => {
                if self.hit(chance.at(elapsed), *correlation) {
                    Fate::Lost
                } else {
                    Fate::Untouched
                }
            }
            Shape::LossModel(model) => {
                if self.lost_by(*model) {
                    Fate::Lost
                } else {
                    Fate::Untouched
                }
            }
            Shape::Duplicate { chance, correlation } => {
                if self.hit(chance.at(elapsed), *correlation) {
                    Fate::Twice
                } else {
                    Fate::Untouched
                }
            }
            Shape::Corrupt { chance, correlation, fix } => {
                if self.hit(chance.at(elapsed), *correlation) {
                    Fate::Bent(draw::bits(self.seed, Lane::Amount, self.n), *fix)
                } else {
                    Fate::Untouched
                }
            }
            Shape::Reorder { chance, correlation, delay, gap } => {
                let may = self.packets + 1 >= *gap;
                if may && self.hit(chance.at(elapsed), *correlation) {
                    self.packets = 0;
                    Fate::Untouched
                } else {
                    self.packets += 1;
                    Fate::At(now.saturating_add((delay.at(elapsed).max(0.0) * 1e9) as u64))
                }
            }
            Shape::Rate { rate, queue } => {
                let begin = self.free.max(now);
                // At least one packet waits, however slow the link is.
                if self.free > now && begin - now > nanos(*queue) {
                    return Fate::Crowded;
                }
                let takes = length as f64 / rate.at(elapsed).max(1.0) * 1e9;
                self.free = begin.saturating_add(takes as u64);
                Fate::At(self.free)
            }
            Shape::Slot { every, jitter, packets, bytes } => {
                self.slot(now, length, (*every, *jitter), (*packets, *bytes))
            }
        }
    }

    fn slot(&mut self, now: u64, length: usize, pause: (Duration, Duration), most: (u64, u64)) -> Fate {
        let length = length as u64;
        let spread = nanos(pause.1) as f64 * (2.0 * self.unit(Lane::Amount) - 1.0);
        let next = (nanos(pause.0) as f64 + spread).max(0.0) as u64;
        let full = self.packets >= most.0 || (self.bytes + length > most.1 && self.packets > 0);
        if self.free == 0 || full {
            self.free = self.free.max(if self.free == 0 { now } else { self.free }).saturating_add(next);
            (self.packets, self.bytes) = (0, 0);
        }
        if self.free < now {
            // Nothing came for a while: the next burst is a pause from now, as its slots go on without packets.
            let step = nanos(pause.0).max(1);
            self.free += (now - self.free).div_ceil(step) * step;
            (self.packets, self.bytes) = (0, 0);
        }
        self.packets += 1;
        self.bytes += length;
        Fate::At(self.free)
    }

    fn lost_by(&mut self, model: Model) -> bool {
        let (u, v) = (self.unit(Lane::Share), self.unit(Lane::Other(2)));
        match model {
            Model::GilbertElliott { p, r, bad, good } => {
                let was_bad = self.state == 1;
                if was_bad && u < r {
                    self.state = 0;
                } else if !was_bad && u < p {
                    self.state = 1;
                }
                v < if was_bad { bad } else { good }
            }
            // The states are those of sch_netem.c: 0 received in a gap, 1 received in a burst, 2 lost in a burst, 3 lost alone.
            Model::FourStates { p13, p31, p32, p23, p14 } => {
                let next = match self.state {
                    0 if u < p14 => 3,
                    0 if u < p14 + p13 => 2,
                    0 => 0,
                    1 if u < p23 => 2,
                    1 => 1,
                    2 if u < p32 => 1,
                    2 if u < p32 + p31 => 0,
                    2 => 2,
                    _ => 0,
                };
                self.state = next;
                next >= 2
            }
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str, params: &str) -> Result<Shape, Problem> {
        let json = format!(r#"{{"target":"node:self","for":"60s","inject":{{"{name}":{params}}}}}"#);
        Shape::read(&serde_json::from_str(&json).unwrap())
    }

    fn fates(shape: &Shape, n: u64) -> Vec<Fate> {
        let mut memory = Memory::new(7);
        (0..n).map(|i| memory.decide(shape, i * 1_000_000, 1000, Duration::ZERO)).collect()
    }

    #[test]
    fn a_delay_counts_from_each_packets_arrival() {
        let shape = shape("net_delay", r#"{"delay":"10ms"}"#).unwrap();
        for (i, fate) in (0_u64..).zip(fates(&shape, 100)) {
            assert_eq!(fate, Fate::At(i * 1_000_000 + 10_000_000));
        }
    }

    #[test]
    fn bursts_of_loss_are_as_long_as_asked() {
        let shape = shape("net_loss", r#"{"model":"gemodel","p":"1%","r":"20%"}"#).unwrap();
        let lost: Vec<bool> = fates(&shape, 400_000).iter().map(|f| *f == Fate::Lost).collect();
        let bursts = lost.windows(2).filter(|w| w[1] && !w[0]).count();
        let mean = lost.iter().filter(|l| **l).count() as f64 / bursts as f64;
        // Bad times last 1/r packets. Some 4000 of them, whose standard deviation is 4.5: 4 sigma are 0.3.
        assert!((mean - 5.0).abs() < 0.35, "{mean}");
        let share = lost.iter().filter(|l| **l).count() as f64 / lost.len() as f64;
        assert!((share - 0.01 / 0.21).abs() < 0.006, "{share}");
    }

    #[test]
    fn the_model_of_four_states_loses_alone_and_in_bursts() {
        let shape = shape("net_loss", r#"{"model":"state","p13":"1%","p31":"25%","p14":"1%"}"#).unwrap();
        let lost: Vec<bool> = fates(&shape, 200_000).iter().map(|f| *f == Fate::Lost).collect();
        let share = lost.iter().filter(|l| **l).count() as f64 / lost.len() as f64;
        // Per packet in a gap 1 % begins a burst of four, 1 % is a loss alone.
        assert!((share - 0.05 / 1.05).abs() < 0.006, "{share}");
    }

    #[test]
    fn a_link_is_as_slow_as_asked_and_its_queue_is_finite() {
        let shape = shape("net_rate", r#"{"rate":"100kB/s","queue":"50ms"}"#).unwrap();
        let mut memory = Memory::new(1);
        let (mut last, mut passed) = (0, 0_u64);
        for i in 0..10_000 {
            // Ten times what fits.
            match memory.decide(&shape, i * 1_000_000, 1000, Duration::ZERO) {
                Fate::At(at) => {
                    assert!(at >= last && at - i * 1_000_000 <= 61_000_000);
                    (last, passed) = (at, passed + 1000);
                }
                fate => assert_eq!(fate, Fate::Crowded),
            }
        }
        let rate = passed as f64 / (last as f64 / 1e9);
        assert!((rate / 100e3 - 1.0).abs() < 0.01, "{rate}");
    }

    #[test]
    fn bursts_leave_together_and_no_larger_than_asked() {
        let shape = shape("net_slot", r#"{"every":"20ms","packets":8}"#).unwrap();
        let mut memory = Memory::new(1);
        let mut at = std::collections::BTreeMap::<u64, u64>::new();
        for i in 0..400 {
            let Fate::At(due) = memory.decide(&shape, i * 1_000_000, 100, Duration::ZERO) else { panic!() };
            assert!(due >= i * 1_000_000);
            *at.entry(due).or_default() += 1;
        }
        assert!(at.values().all(|n| *n <= 8), "{at:?}");
        let times: Vec<u64> = at.keys().copied().collect();
        assert!(times.windows(2).all(|w| w[1] - w[0] >= 20_000_000), "{at:?}");
    }

    #[test]
    fn shares_are_what_was_asked_and_repeat_with_the_seed() {
        let shape = shape("net_duplicate", r#"{"chance":"10%"}"#).unwrap();
        let all = fates(&shape, 20_000);
        assert_eq!(all, fates(&shape, 20_000));
        let twice = all.iter().filter(|f| **f == Fate::Twice).count();
        assert!((1800..2200).contains(&twice), "{twice}");
        let correlated = Shape::Duplicate { chance: Knob::fixed(0.1), correlation: 0.9 };
        let all = fates(&correlated, 50_000);
        let twice = all.iter().filter(|f| **f == Fate::Twice).count() as f64 / 50_000.0;
        let after = all.windows(2).filter(|w| w[0] == Fate::Twice && w[1] == Fate::Twice).count() as f64;
        assert!((twice - 0.1).abs() < 0.03 && after / (twice * 50_000.0) > 0.5, "{twice} {after}");
    }

    #[test]
    fn mistakes_are_named() {
        let why = |name: &str, params: &str| shape(name, params).unwrap_err().to_string();
        assert!(why("net_loss", "{}").contains("needs chance"));
        assert!(why("net_loss", r#"{"model":"gemodel","p":"1%"}"#).contains("needs r"));
        assert!(
            why("net_loss", r#"{"model":"gemodel","p":"1%","r":"9%","chance":"1%"}"#)
                .contains("chance says nothing")
        );
        assert!(why("net_rate", r#"{"rate":"0B/s"}"#).contains("passes nothing"));
    }
}
