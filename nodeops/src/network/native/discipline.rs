//! A fault as the kernel's own qdiscs do it: options of netem or tbf, and the words of tc(8) for them.

use crate::network::shape::Shape;
use host::netlink::route::loss::Model;
use host::netlink::route::{Netem, Slot};
use std::time::Duration;

/// How an IFB queues.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Discipline {
    /// netem.
    Netem(Box<Netem>),
    /// tbf: bytes per second, burst and room in bytes.
    Tbf(u64, u32, u32),
}

/// The largest piece that the kernel hands over at once.
const PIECE: u64 = 65_536;
/// The packets per second that a queue has room for: as small as they come, at 10 Gbit/s.
const PACKETS: f64 = 14_000_000.0;

impl Discipline {
    /// That of a fault with a fixed strength; else why the kernel cannot do it.
    pub(crate) fn of(shape: &Shape, seed: u64) -> Result<Discipline, String> {
        let now = Duration::ZERO;
        let mut netem = Netem { limit: 10_000, seed, ..Netem::default() };
        match shape {
            Shape::Delay { spread, correlation, keep_order } => {
                let steps: Vec<f64> = (0..4096)
                    .map(|n| spread.quantile((f64::from(n) + 0.5) / 4096.0, now).as_secs_f64())
                    .collect();
                let middle = spread.quantile(0.5, now).as_secs_f64();
                let even = spread.is_uniform();
                let end = |u: f64, step: usize| {
                    if even { spread.quantile(u, now).as_secs_f64() } else { steps[step] }
                };
                let (least, most) = (end(0.0, 0), end(1.0, 4095));
                if *keep_order && most > least {
                    return Err(
                        "netem lets packets overtake each other: order=keep is for engine=emulated".into()
                    );
                }
                netem.delay_correlation = *correlation;
                if spread.is_uniform() || most <= least {
                    // What is below zero was cut off; then the spread is given by a table too.
                    let even = (middle - least) - (most - middle);
                    if even.abs() < 1e-9 + (most - least) * 0.01 {
                        netem.delay = nanos(middle);
                        netem.jitter = nanos((most - least) / 2.0);
                    }
                }
                if netem.delay == 0 && most > least {
                    let far = steps.iter().fold(1e-9_f64, |far, s| far.max((s - middle).abs()));
                    // Multiples of the jitter times 8192, of which 16 bits hold four.
                    netem.delay = nanos(middle);
                    netem.jitter = nanos(far / 3.9).max(1);
                    let unit = netem.jitter as f64 / 1e9;
                    netem.table = steps.iter().map(|s| ((s - middle) / unit * 8192.0) as i16).collect();
                } else if netem.delay == 0 {
                    netem.delay = nanos(middle);
                }
                netem.limit = room(most);
            }
            Shape::Loss { chance, correlation } => {
                (netem.loss, netem.loss_correlation) = (chance.at(now), *correlation);
            }
            Shape::LossModel(model) => netem.model = Some(*model),
            Shape::Duplicate { chance, correlation } => {
                (netem.duplicate, netem.duplicate_correlation) = (chance.at(now), *correlation);
            }
            Shape::Corrupt { fix: true, .. } => {
                return Err("netem leaves checksums as they are: checksum=fix is for engine=emulated".into());
            }
            Shape::Corrupt { chance, correlation, .. } => {
                (netem.corrupt, netem.corrupt_correlation) = (chance.at(now), *correlation);
            }
            Shape::Reorder { chance, correlation, delay, gap } => {
                (netem.reorder, netem.reorder_correlation) = (chance.at(now), *correlation);
                netem.delay = nanos(delay.at(now));
                netem.gap = u32::try_from(*gap).unwrap_or(u32::MAX);
                netem.limit = room(delay.at(now));
            }
            Shape::Rate { rate, queue } => {
                let rate = rate.at(now).max(1.0);
                // A timer's tick of data, and one whole piece at least.
                let burst = ((rate * 0.001) as u64).max(if rate > 12.5e6 { PIECE } else { 2_000 });
                let waiting = (rate * queue.as_secs_f64()) as u64 + burst;
                let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
                return Ok(Discipline::Tbf(rate as u64, narrow(burst), narrow(waiting)));
            }
            Shape::Slot { every, jitter, packets, bytes } => {
                let (every, jitter) = (every.as_secs_f64(), jitter.as_secs_f64());
                netem.slot = Some(Slot {
                    least: nanos((every - jitter).max(0.0)),
                    most: nanos(every + jitter),
                    packets: i32::try_from(*packets).unwrap_or(i32::MAX),
                    bytes: i32::try_from(*bytes).unwrap_or(i32::MAX),
                });
                netem.limit = room(every + jitter);
            }
        }
        Ok(Discipline::Netem(Box::new(netem)))
    }

    /// The qdisc's name.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Discipline::Netem(_) => "netem",
            Discipline::Tbf(..) => "tbf",
        }
    }

    /// As arguments of tc(8).
    pub(crate) fn words(&self) -> String {
        let n = match self {
            Discipline::Tbf(rate, burst, waiting) => {
                return format!("tbf rate {}bit burst {burst} limit {waiting}", rate * 8);
            }
            Discipline::Netem(netem) => netem,
        };
        let mut text = format!("netem limit {}", n.limit);
        let ms = |ns: i64| format!("{}us", ns as f64 / 1e3);
        let percent = |share: f64| format!("{}%", (share * 1e8).round() / 1e6);
        let with = |share: f64, correlation: f64| match correlation > 0.0 {
            true => format!("{} {}", percent(share), percent(correlation)),
            false => percent(share),
        };
        if n.delay > 0 {
            text.push_str(&format!(" delay {}", ms(n.delay)));
            if n.jitter > 0 {
                text.push_str(&format!(" {}", ms(n.jitter)));
                if n.delay_correlation > 0.0 {
                    text.push_str(&format!(" {}", percent(n.delay_correlation)));
                }
            }
            if !n.table.is_empty() {
                text.push_str(" distribution (a table of murphy's)");
            }
        }
        if n.loss > 0.0 {
            text.push_str(&format!(" loss {}", with(n.loss, n.loss_correlation)));
        }
        match n.model {
            Some(Model::GilbertElliott { p, r, bad, good }) => text.push_str(&format!(
                " loss gemodel {} {} {} {}",
                percent(p),
                percent(r),
                percent(bad),
                percent(good)
            )),
            Some(Model::FourStates { p13, p31, p32, p23, p14 }) => text.push_str(&format!(
                " loss state {} {} {} {} {}",
                percent(p13),
                percent(p31),
                percent(p32),
                percent(p23),
                percent(p14)
            )),
            None => {}
        }
        if n.duplicate > 0.0 {
            text.push_str(&format!(" duplicate {}", with(n.duplicate, n.duplicate_correlation)));
        }
        if n.corrupt > 0.0 {
            text.push_str(&format!(" corrupt {}", with(n.corrupt, n.corrupt_correlation)));
        }
        if n.reorder > 0.0 {
            text.push_str(&format!(" reorder {} gap {}", with(n.reorder, n.reorder_correlation), n.gap));
        }
        if let Some(slot) = n.slot {
            text.push_str(&format!(
                " slot {} {} packets {} bytes {}",
                ms(slot.least),
                ms(slot.most),
                slot.packets,
                slot.bytes
            ));
        }
        text
    }
}

/// How many packets must have room, when each waits so many seconds.
fn room(seconds: f64) -> u32 {
    (seconds * PACKETS).clamp(10_000.0, 20_000_000.0) as u32
}

fn nanos(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discipline(name: &str, params: &str) -> Result<Discipline, String> {
        let json = format!(r#"{{"target":"node:self","for":"60s","inject":{{"{name}":{params}}}}}"#);
        let fault: model::Fault = serde_json::from_str(&json).unwrap();
        Discipline::of(&Shape::read(&fault).unwrap(), 7)
    }

    #[test]
    fn the_words_are_those_of_tc() {
        let words = |name: &str, params: &str| discipline(name, params).unwrap().words();
        let delay = words("net_delay", r#"{"delay":"100ms","jitter":"10ms","correlation":"25%"}"#);
        assert_eq!(delay, "netem limit 1540000 delay 100000us 10000us 25%");
        assert_eq!(words("net_delay", r#"{"delay":"1ms"}"#), "netem limit 14000 delay 1000us");
        assert_eq!(
            words("net_loss", r#"{"model":"gemodel","p":"1%","r":"20%"}"#),
            "netem limit 10000 loss gemodel 1% 20% 100% 0%"
        );
        assert_eq!(
            words("net_rate", r#"{"rate":"10Mbit/s"}"#),
            "tbf rate 10000000bit burst 2000 limit 127000"
        );
        assert!(words("net_reorder", r#"{"chance":"25%"}"#).ends_with("delay 10000us reorder 25% gap 1"));
    }

    #[test]
    fn a_distribution_is_a_table_around_its_middle() {
        let normal =
            discipline("net_delay", r#"{"delay":"100ms","jitter":"10ms","distribution":"normal"}"#).unwrap();
        let Discipline::Netem(netem) = normal else { panic!("netem") };
        assert_eq!(netem.table.len(), 4096);
        let at = |n: usize| netem.delay as f64 + f64::from(netem.table[n]) / 8192.0 * netem.jitter as f64;
        // One standard deviation above: 84.1 % are below it.
        assert!((at(3446) - 110e6).abs() < 0.2e6, "{}", at(3446));
        assert!((at(2048) - 100e6).abs() < 0.1e6);
    }

    #[test]
    fn what_the_kernel_cannot_do_is_named() {
        let why = |name: &str, params: &str| discipline(name, params).unwrap_err();
        assert!(why("net_corrupt", r#"{"chance":"1%","checksum":"fix"}"#).contains("checksum=fix"));
        assert!(why("net_delay", r#"{"delay":"9ms","jitter":"1ms","order":"keep"}"#).contains("order=keep"));
    }
}
