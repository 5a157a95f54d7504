//! Parameters as the hot path reads them: plain numbers that may change evenly while the fault is on.
//!
//! Made once when a fault is armed or changed, so that a chunk or a request costs a multiplication and no map. The
//! meaning is that of `model::Fault::inject_at` and `share_at`.

use model::ramp::Track;
use model::{Fault, Problem, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A number, constant or ramped. Spans are in seconds, rates in bytes per second, shares in 0.0..=1.0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knob {
    from: f64,
    to: f64,
    over: f64,
}

impl Knob {
    /// The same at all times.
    pub fn fixed(value: f64) -> Knob {
        Knob { from: value, to: value, over: 0.0 }
    }

    /// The value `elapsed` after arming.
    pub fn at(&self, elapsed: Duration) -> f64 {
        if self.over <= 0.0 {
            return self.to;
        }
        self.from + (self.to - self.from) * (elapsed.as_secs_f64() / self.over).min(1.0)
    }

    /// When after `elapsed` the value passes `mark`, if it does.
    pub fn crosses(&self, mark: f64, elapsed: Duration) -> Option<Duration> {
        if self.over <= 0.0 || self.from == self.to {
            return None;
        }
        let part = (mark - self.from) / (self.to - self.from);
        let at = Duration::try_from_secs_f64(part * self.over).ok().filter(|_| part <= 1.0)?;
        // A hair later, so that the comparison at that moment falls on the other side.
        let at = at + Duration::from_micros(1);
        (at > elapsed).then_some(at)
    }
}

/// Reads a fault's parameters into knobs, and sees to it that no ramp is forgotten.
pub struct Dials<'a> {
    fault: &'a Fault,
    ramped: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Dials<'a> {
    /// A reader of this fault's parameters.
    pub fn new(fault: &'a Fault) -> Dials<'a> {
        Dials { fault, ramped: RefCell::default() }
    }

    /// The injection, for parameters that cannot be ramped.
    pub fn fixed(&self) -> &'a model::Injection {
        &self.fault.inject
    }

    /// A parameter that may be ramped; none when it is absent and not ramped either.
    pub fn knob(&self, name: &str) -> Result<Option<Knob>, Problem> {
        let Some(track) = self.track(name) else {
            return Ok(self.fault.inject.get(name).and_then(number).map(Knob::fixed));
        };
        self.ramped.borrow_mut().insert(&track.param);
        let over = self.fault.ramp.as_ref().map_or(0.0, |r| r.over.0.as_secs_f64());
        let alike = |v: &Value| match self.fault.inject.get(name) {
            Some(own) => std::mem::discriminant(own) == std::mem::discriminant(v),
            None => true,
        };
        match (number(&track.from), number(&track.to)) {
            (Some(from), Some(to)) if alike(&track.from) && alike(&track.to) => {
                Ok(Some(Knob { from, to, over }))
            }
            _ => {
                let ty = self.fault.inject.def().param(name).map(|p| p.ty.describe()).unwrap_or_default();
                Err(Problem::new(format!("the ramp of {name} is not of its kind"))
                    .hint(format!("both ends must be {ty}")))
            }
        }
    }

    /// The share's ramp.
    pub fn percent(&self) -> Result<Option<Knob>, Problem> {
        let Some(track) = self.track("percent") else { return Ok(None) };
        self.ramped.borrow_mut().insert(&track.param);
        let over = self.fault.ramp.as_ref().map_or(0.0, |r| r.over.0.as_secs_f64());
        match (&track.from, &track.to) {
            (Value::Percent(a), Value::Percent(b)) => {
                Ok(Some(Knob { from: a.fraction(), to: b.fraction(), over }))
            }
            _ => Err(Problem::new("the ramp of percent is not of its kind")
                .hint("write both ends with the sign, such as [1%, 50%]")),
        }
    }

    /// Refuses ramps of parameters that nobody read as a knob.
    pub fn finish(&self) -> Result<(), Problem> {
        let read = self.ramped.borrow();
        let Some(ramp) = &self.fault.ramp else { return Ok(()) };
        match ramp.tracks.iter().find(|t| !read.contains(t.param.as_str())) {
            None => Ok(()),
            Some(t) if self.fault.inject.def().param(&t.param).is_some() => {
                Err(Problem::new(format!("{} of {} cannot be ramped", t.param, self.fault.inject.name()))
                    .hint("arm it anew with another value instead"))
            }
            Some(t) => Err(Problem::new(format!(
                "{} has no parameter {:?} to ramp",
                self.fault.inject.name(),
                t.param
            ))
            .hint("ramp percent, or one of the fault's own parameters")),
        }
    }

    fn track(&self, name: &str) -> Option<&'a Track> {
        self.fault.ramp.as_ref()?.tracks.iter().find(|t| t.param == name)
    }
}

/// The later of a start and its moment `elapsed` after it; none when the sum is beyond the clock.
pub fn moment(start: Instant, elapsed: Duration) -> Option<Instant> {
    start.checked_add(elapsed)
}

fn number(value: &Value) -> Option<f64> {
    Some(match value {
        Value::Span(v) => v.0.as_secs_f64(),
        Value::Percent(v) => v.fraction(),
        Value::Size(v) => v.0 as f64,
        Value::ByteRate(v) => v.value(),
        Value::EventRate(v) => v.value(),
        Value::Offset(v) => v.as_secs_f64(),
        Value::Drift(v) => v.fraction(),
        Value::Int(v) => *v as f64,
        Value::Float(v) => *v,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(json: &str) -> Fault {
        serde_json::from_str(json).unwrap()
    }

    const RAMPED: &str = r#"{"target":"proxy:a","for":"60s","inject":{"latency":{"delay":"10ms"}},
        "ramp":{"delay":["10ms","110ms"],"percent":["0%","50%"],"over":"10s"}}"#;

    proptest! {
        #[test]
        fn knobs_agree_with_the_model(ms in 0_u64..20_000) {
            let f = fault(RAMPED);
            let elapsed = Duration::from_millis(ms);
            let dials = Dials::new(&f);
            let want = f.inject_at(elapsed).span("delay").unwrap().as_secs_f64();
            prop_assert!((dials.knob("delay").unwrap().unwrap().at(elapsed) - want).abs() < 1e-6);
            let model::Share::Percent(p) = f.share_at(elapsed) else { panic!("no share") };
            prop_assert!((dials.percent().unwrap().unwrap().at(elapsed) - p.fraction()).abs() < 1e-6);
            dials.finish().unwrap();
        }
    }

    #[test]
    fn a_crossing_is_found_from_both_sides() {
        let up = Knob { from: 0.0, to: 0.5, over: 10.0 };
        let at = up.crosses(0.25, Duration::ZERO).unwrap();
        assert!(up.at(at) > 0.25 && up.at(at - Duration::from_micros(2)) < 0.25);
        assert_eq!(up.crosses(0.25, Duration::from_secs(6)), None);
        assert_eq!(up.crosses(0.7, Duration::ZERO), None);
        let down = Knob { from: 0.5, to: 0.0, over: 10.0 };
        let at = down.crosses(0.25, Duration::ZERO).unwrap();
        assert!(down.at(at) < 0.25);
    }

    #[test]
    fn forgotten_and_wrong_ramps_are_refused() {
        let f = fault(
            r#"{"target":"proxy:a","for":"60s","inject":{"cut":{"when":"1s"}},"ramp":{"when":["1s","2s"],"over":"1s"}}"#,
        );
        assert!(Dials::new(&f).finish().unwrap_err().to_string().contains("cannot be ramped"));
        let f = fault(
            r#"{"target":"proxy:a","for":"60s","inject":{"latency":{"delay":"1ms"}},"ramp":{"delay":["1%","2%"],"over":"1s"}}"#,
        );
        assert!(Dials::new(&f).knob("delay").is_err());
        let f = fault(
            r#"{"target":"proxy:a","for":"60s","inject":{"latency":{"delay":"1ms"}},"ramp":{"dely":["1ms","2ms"],"over":"1s"}}"#,
        );
        assert!(Dials::new(&f).finish().unwrap_err().to_string().contains("no parameter"));
    }
}
