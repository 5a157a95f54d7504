//! What was asked for, and the numbers it comes to at a moment: pure.

use super::slot::{Set, Slot, fixed_point};
use model::{Fault, Problem, Value};
use std::time::Duration;

/// How much the monotonic clock may be wrong: sleeps that were computed with it last as much too long.
const MONOTONIC: i64 = 10_000_000_000;

/// Wall clock and monotonic clock at one moment, in nanoseconds, as the kernel has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    pub real: i64,
    pub mono: i64,
}

impl Now {
    /// This moment.
    pub fn read() -> Now {
        use rustix::time::{ClockId, clock_gettime};
        let nanos = |id| {
            let t = clock_gettime(id);
            t.tv_sec * 1_000_000_000 + t.tv_nsec
        };
        Now { real: nanos(ClockId::Realtime), mono: nanos(ClockId::Monotonic) }
    }

    /// So much later.
    pub fn after(self, span: Duration) -> Now {
        let nanos = nanos(span);
        Now { real: self.real.saturating_add(nanos), mono: self.mono.saturating_add(nanos) }
    }
}

/// What a clock fault asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wanted {
    /// Ahead, in nanoseconds; where a ramp begins.
    pub offset: i64,
    /// Where a ramp of the offset ends, and how long it takes.
    pub ramp: Option<(i64, i64)>,
    /// Seconds too many for each true one.
    pub drift: f64,
    /// The length of one coming and going.
    pub strobe: Option<i64>,
    /// Which clocks.
    pub realtime: bool,
    pub monotonic: bool,
}

impl Wanted {
    /// Reads a fault, and refuses what makes no sense.
    pub fn of(fault: &Fault) -> Result<Wanted, Problem> {
        let inject = &fault.inject;
        let words = inject.words("clocks");
        let mut wanted = Wanted {
            offset: inject.offset("offset").map_or(0, |o| o.0),
            ramp: None,
            drift: inject.drift("drift").map_or(0.0, |d| d.fraction()),
            strobe: inject.span("strobe").map(nanos),
            realtime: words.is_empty() || words.iter().any(|w| w == "realtime"),
            monotonic: words.iter().any(|w| w == "monotonic"),
        };
        let name = inject.name();
        if let Some(ramp) = &fault.ramp {
            for track in &ramp.tracks {
                let (true, Some(from), Some(to)) =
                    (track.param == "offset", offset(&track.from), offset(&track.to))
                else {
                    return Err(Problem::new(format!("{} of {name} cannot be ramped", track.param))
                        .hint("it can ramp offset ([0s, 5s])"));
                };
                wanted.offset = from;
                wanted.ramp = Some((to, nanos(ramp.over.0).max(1)));
            }
        }
        if wanted.ramp.is_some() && wanted.drift != 0.0 {
            return Err(Problem::new(format!("{name} has a drift and a ramp of its offset"))
                .hint("a ramp is a drift with an end: leave out one of them"));
        }
        if wanted.offset == 0 && wanted.ramp.is_none() && wanted.drift == 0.0 {
            return Err(Problem::new(format!("{name} would show the right time"))
                .hint("give offset=5s (ahead), offset=-1h (back) or drift=10%"));
        }
        if wanted.strobe.is_some_and(|s| s < 2_000) {
            return Err(Problem::new("a strobe of less than 2us is none").hint("write for example strobe=2s"));
        }
        if wanted.strobe.is_some() && wanted.offset == 0 && wanted.ramp.is_none() {
            return Err(Problem::new("a strobe needs an offset that comes and goes").hint("add offset=5s"));
        }
        Ok(wanted)
    }

    /// The most that the clock will be wrong within that time.
    pub fn most(&self, lasts: Option<Duration>) -> i64 {
        let ends = self.ramp.map_or(0, |(to, _)| to.saturating_abs());
        let drift = lasts.map_or(0.0, |l| self.drift.abs() * l.as_nanos() as f64);
        self.offset.saturating_abs().max(ends).saturating_add(drift as i64)
    }

    /// What a person should know, or why it is refused.
    pub fn check(&self, lasts: Option<Duration>) -> Result<Vec<String>, Problem> {
        let mut warnings = Vec::new();
        if self.monotonic {
            let most = self.most(lasts);
            if most > MONOTONIC {
                let most = model::units::Span(Duration::from_nanos(most.unsigned_abs()));
                return Err(Problem::new(format!(
                    "the monotonic clock would be wrong by {most}, and every sleep that begins meanwhile would last so much longer"
                ))
                .hint(
                    "keep offset and drift together under 10s, or start the program anew with murphy exec --clock monotonic=…",
                ));
            }
            warnings.push(
                "the kernel waits by the true monotonic clock: sleeps and timeouts that begin meanwhile end too late (ahead) \
                 or at once (back), by as much as the clock is wrong"
                    .to_owned(),
            );
        }
        let least = self.offset.min(self.ramp.map_or(0, |(to, _)| to));
        if self.realtime && (least < 0 || self.drift < 0.0) {
            warnings.push(
                "the kernel waits by the true clock: a wait for a time of day, computed from a clock that is back, ends at \
                 once, and a program that waits again and again keeps a core busy"
                    .to_owned(),
            );
        }
        Ok(warnings)
    }
}

/// A fault under way: what is asked for, since when, and what it had come to before its last change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Course {
    wanted: Wanted,
    base: Now,
    /// What drifting had added before the base.
    carried: i64,
}

impl Course {
    pub fn new(wanted: Wanted, now: Now) -> Course {
        Course { wanted, base: now, carried: 0 }
    }

    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The same fault with other parameters from now on. What it had drifted stays; a ramp begins anew.
    pub fn change(&self, wanted: Wanted, now: Now) -> Course {
        if wanted == self.wanted {
            return *self;
        }
        let elapsed = now.mono.saturating_sub(self.base.mono).max(0);
        let drifted = (elapsed as f64 * self.wanted.drift) as i64;
        Course { wanted, base: now, carried: self.carried + drifted }
    }

    /// The numbers for the stub. From the deadline on the clocks are right again.
    pub fn set(&self, deadline: Now) -> Set {
        let w = &self.wanted;
        let (rate, span) = match w.ramp {
            Some((to, over)) => (to.saturating_sub(w.offset) as f64 / over as f64, over),
            None => (w.drift, 0),
        };
        let slot = |on: bool, base: i64, deadline: i64| match on {
            false => Slot::default(),
            true => Slot {
                offset: w.offset.saturating_add(self.carried),
                rate: fixed_point(rate),
                base,
                // 0 would be none.
                deadline: deadline.max(1),
                span,
                half: w.strobe.map_or(0, |s| s / 2),
            },
        };
        [slot(w.realtime, self.base.real, deadline.real), slot(w.monotonic, self.base.mono, deadline.mono)]
    }
}

/// An offset, or a duration, as one ahead looks where the parameter's type is not known.
fn offset(value: &Value) -> Option<i64> {
    match value {
        Value::Offset(v) => Some(v.0),
        Value::Span(v) => Some(nanos(v.0)),
        _ => None,
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn wanted(json: &str) -> Result<Wanted, String> {
        let fault = format!(r#"{{"target":"process:1","for":"60s",{json}}}"#);
        Wanted::of(&serde_json::from_str(&fault).unwrap()).map_err(|p| p.to_string())
    }

    fn clock(params: &str) -> Result<Wanted, String> {
        wanted(&format!(r#""inject":{{"clock":{params}}}"#))
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(clock("{}").unwrap_err().contains("would show the right time"));
        assert!(clock(r#"{"offset":"0s"}"#).is_err());
        assert!(clock(r#"{"drift":"1%","strobe":"2s"}"#).unwrap_err().contains("needs an offset"));
        let ramp = r#""inject":{"clock":{"offset":"1s"}},"ramp":{"offset":["0s","4s"],"over":"8s"}"#;
        assert_eq!(wanted(ramp).unwrap().ramp, Some((4 * S, 8 * S)));
        let both = r#""inject":{"clock":{"drift":"1%"}},"ramp":{"offset":["0s","4s"],"over":"8s"}"#;
        assert!(wanted(both).unwrap_err().contains("a drift and a ramp"));
    }

    #[test]
    fn the_monotonic_clock_is_bounded_and_warned_of() {
        let minute = Some(Duration::from_secs(60));
        let both = clock(r#"{"offset":"5s","clocks":"realtime,monotonic"}"#).unwrap();
        assert!(both.check(minute).unwrap()[0].contains("end too late"));
        let fast = clock(r#"{"drift":"20%","clocks":"monotonic"}"#).unwrap();
        assert!(fast.check(minute).unwrap_err().to_string().contains("wrong by 12s"));
        let back = clock(r#"{"offset":"-1h"}"#).unwrap();
        assert!(back.check(minute).unwrap()[0].contains("keeps a core busy"));
        assert!(clock(r#"{"offset":"1h"}"#).unwrap().check(minute).unwrap().is_empty());
    }

    #[test]
    fn a_change_keeps_what_was_drifted() {
        let at = |s: i64| Now { real: 1000 * S + s * S, mono: s * S };
        let course = Course::new(clock(r#"{"offset":"1s","drift":"10%"}"#).unwrap(), at(0));
        assert!((course.set(at(99))[0].skew_at(at(10).real) - 2 * S).abs() < 10);
        assert_eq!(course.set(at(99))[1], Slot::default());
        let slower = course.change(clock(r#"{"offset":"1s","drift":"-10%"}"#).unwrap(), at(10));
        assert!((slower.set(at(99))[0].skew_at(at(10).real) - 2 * S).abs() < 10);
        assert!((slower.set(at(99))[0].skew_at(at(20).real) - S).abs() < 10);
        assert_eq!(slower.set(at(20))[0].skew_at(at(20).real), 0);
    }

    #[test]
    fn a_ramp_arrives_and_stays() {
        let ramp = r#""inject":{"clock":{}},"ramp":{"offset":["1s","-3s"],"over":"8s"}"#;
        let course = Course::new(wanted(ramp).unwrap(), Now { real: 0, mono: 0 });
        let set = course.set(Now { real: 99 * S, mono: 99 * S });
        assert_eq!((set[0].skew_at(0), set[0].skew_at(4 * S), set[0].skew_at(9 * S)), (S, -S, -3 * S));
    }
}
