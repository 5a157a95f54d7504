//! `system_clock`: the machine's own clock, set wrong and set right again in a way that respects whoever else sets it.
//!
//! What is compared is the wall clock with MONOTONIC_RAW, which nobody steps or slews: an NTP daemon that has put right a
//! part of the fault meanwhile has changed the wall clock alone, and only what is left is taken back.

mod clock;

use crate::clock::course::Wanted;
use crate::clock::{ClockFault, NAME};
use crate::shared::lock;
use clock::{Clock, FREQUENCY, Kernel, TICK};
use host::{Capabilities, Process};
use inject::{Armed, InjectError, Order, Outcomes, Plan, Possibility, Recovered, Refusal, UndoRecord};
use model::{Evidence, Fault};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Milliseconds of difference that are nobody's doing, and how many more for each second since.
const NOISE: (i64, f64) = (2_000_000, 100e-6);
/// The most that a machine's clock is set wrong: ten years.
const MOST: i64 = 10 * 366 * 86_400 * 1_000_000_000;

/// The fault.
pub(super) struct SystemClock {
    clock: Arc<dyn Clock>,
    running: Mutex<BTreeMap<String, Running>>,
}

struct Running {
    act: SystemAct,
    /// What comes and goes; told to end.
    strobe: Option<(Sender<()>, JoinHandle<()>)>,
    seen: Evidence,
}

/// The data of an undo record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SystemAct {
    fault: String,
    boot: String,
    id: String,
    /// Wall clock minus the clock that nobody sets, before.
    base: i64,
    /// The latter, before.
    began: i64,
    offset: i64,
    drift: f64,
    strobe: Option<i64>,
    /// Tick and frequency before, and with the fault.
    pace: (i64, i64),
    paced: (i64, i64),
}

/// What is left of a fault.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Left {
    /// Nothing that is worth a step.
    Nothing,
    /// So much.
    Some(i64),
    /// Something that the fault cannot have done.
    Others(i64),
}

impl SystemAct {
    /// By how much the wall clock differs from what it would show without the fault.
    fn difference(&self, (real, steady): (i64, i64)) -> i64 {
        let elapsed = (steady - self.began).max(0) as f64;
        // It would not have gone exactly as the other one either.
        let usual = (self.pace.0 - 10_000) as f64 / 1e4 + self.pace.1 as f64 / 65_536e6;
        real - steady - self.base - (elapsed * usual) as i64
    }

    fn left(&self, now: (i64, i64)) -> Left {
        let elapsed = (now.1 - self.began).max(0) as f64;
        let difference = self.difference(now);
        let noise = NOISE.0 + (elapsed * NOISE.1) as i64;
        let drifted = self.offset + (elapsed * self.drift) as i64;
        // Anywhere between the right time and the fault's is what NTP makes of it on its way back.
        let (low, high) = (0.min(self.offset).min(drifted), 0.max(self.offset).max(drifted));
        match difference {
            d if d.abs() <= noise => Left::Nothing,
            d if (low - noise..=high + noise).contains(&d) => Left::Some(d),
            d => Left::Others(d),
        }
    }
}

impl SystemClock {
    pub fn new() -> SystemClock {
        SystemClock::with(Arc::new(Kernel))
    }

    fn with(clock: Arc<dyn Clock>) -> SystemClock {
        SystemClock { clock, running: Mutex::default() }
    }

    fn begin(&self, act: &SystemAct) -> Result<(), InjectError> {
        let failed = |what: &str, e: &io::Error| {
            InjectError::new(format!("the machine's clock could not be {what}: {e}"))
                .hint("this needs CAP_SYS_TIME in the machine's own user namespace: run as root, outside containers")
        };
        if act.paced != act.pace {
            self.clock.set_pace(act.paced.0, act.paced.1).map_err(|e| failed("made to drift", &e))?;
        }
        if act.offset != 0
            && let Err(e) = self.clock.step(act.offset)
        {
            if act.paced != act.pace {
                let _ = self.clock.set_pace(act.pace.0, act.pace.1);
            }
            return Err(failed("stepped", &e));
        }
        let strobe = act.strobe.and_then(|length| self.strobe(act.offset, length / 2));
        let running = Running { act: act.clone(), strobe, seen: Evidence::default() };
        lock(&self.running).insert(act.id.clone(), running);
        Ok(())
    }

    /// Takes the offset away and puts it back, until it is told to end.
    fn strobe(&self, offset: i64, half: i64) -> Option<(Sender<()>, JoinHandle<()>)> {
        let (tell, told) = channel::<()>();
        let clock = self.clock.clone();
        let half = Duration::from_nanos(half.unsigned_abs());
        let work = move || {
            let mut next = -offset;
            while told.recv_timeout(half) == Err(RecvTimeoutError::Timeout) {
                if clock.step(next).is_err() {
                    return;
                }
                next = -next;
            }
        };
        std::thread::Builder::new().name("clock-strobe".into()).spawn(work).ok().map(|thread| (tell, thread))
    }

    fn take_back(&self, act: &SystemAct) -> Recovered {
        if act.paced != act.pace {
            match self.clock.pace() {
                // Whoever has set it since has their reasons.
                Ok(now) if now != act.paced => {}
                Ok(_) => {
                    if let Err(e) = self.clock.set_pace(act.pace.0, act.pace.1) {
                        return failed(&e);
                    }
                }
                Err(e) => return failed(&e),
            }
        }
        match act.left(self.clock.read()) {
            Left::Nothing => Recovered::Gone("the clock is right again already".into()),
            Left::Others(by) => Recovered::Gone(format!(
                "the clock was set by someone else meanwhile ({:+.3} s) and is left as it is",
                by as f64 / 1e9
            )),
            Left::Some(by) => match self.clock.step(-by) {
                Err(e) => failed(&e),
                Ok(()) => match act.left(self.clock.read()) {
                    Left::Nothing => Recovered::Undone,
                    left => Recovered::Failed(format!("the clock is still wrong after it was set: {left:?}")),
                },
            },
        }
    }
}

fn failed(e: &io::Error) -> Recovered {
    Recovered::Failed(format!(
        "the machine's clock could not be set back: {e}; set it by hand (date, chronyc makestep), or run `murphy recover` as root"
    ))
}

/// Tick and frequency for a drift on top of those there are.
fn pace_for((tick, frequency): (i64, i64), drift: f64) -> (i64, i64) {
    let more = (drift * 1e4).trunc();
    let rest = ((drift - more / 1e4) * 65_536e6).round() as i64;
    ((tick + more as i64).clamp(TICK.0, TICK.1), (frequency + rest).clamp(-FREQUENCY, FREQUENCY))
}

/// Whether our capabilities are those of the machine, and not of a user namespace.
fn owns_the_machine() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

impl ClockFault for SystemClock {
    fn name(&self) -> &'static str {
        "system_clock"
    }

    fn possible(&self) -> Possibility {
        if !Capabilities::mine().has("CAP_SYS_TIME") {
            return Possibility::yes().no(
                "CAP_SYS_TIME: run as root; in a container --cap-add SYS_TIME, which sets the clock of the whole host",
            );
        }
        if !owns_the_machine() {
            return Possibility::yes().no(
                "the machine's own user namespace: root of another one may not set the clock; run outside of the container",
            );
        }
        Possibility::yes()
    }

    fn plan(&self, order: &Order, _: &[Process]) -> Result<Plan, Refusal> {
        super::members::is_this_machine(&order.target)?;
        let wanted = Wanted::of(&order.fault).map_err(Refusal)?;
        if wanted.ramp.is_some() {
            return Err(Refusal::new(
                "system_clock has no ramp",
                "give it a drift: a clock that goes wrong slowly",
            ));
        }
        if wanted.drift.abs() > 0.1 {
            return Err(Refusal::new(
                "a machine's clock drifts 10% at most: the kernel allows no more",
                "give drift=10%, or let a process's clock drift (clock)",
            ));
        }
        if wanted.strobe.is_some_and(|s| s < 20_000_000) {
            return Err(Refusal::new(
                "a machine's clock cannot come and go that fast",
                "give strobe=20ms or more",
            ));
        }
        if wanted.most(order.fault.lasts.map(|l| l.0)) > MOST {
            return Err(Refusal::new("that is more than ten years", "write something shorter"));
        }
        let (real, steady) = self.clock.read();
        if real.saturating_add(wanted.offset) < 1_000_000_000 {
            return Err(Refusal::new("the clock would show a time before 1970", "write something shorter"));
        }
        let pace = self.clock.pace().map_err(|e| {
            Refusal::new(format!("the machine's clock cannot be asked how it goes: {e}"), "run as root")
        })?;
        let act = SystemAct {
            fault: self.name().into(),
            boot: host::clock::boot_id().to_owned(),
            id: order.id.clone(),
            base: real - steady,
            began: steady,
            offset: wanted.offset,
            drift: wanted.drift,
            strobe: wanted.strobe,
            pace,
            paced: if wanted.drift == 0.0 { pace } else { pace_for(pace, wanted.drift) },
        };
        let words = order.fault.inject.describe();
        let mut warnings = vec![
            "every program on this machine is concerned: certificates, sessions, schedules, logs, and the databases of others"
                .to_owned(),
        ];
        let daemons = super::ntp::running();
        if !daemons.is_empty() {
            warnings.push(format!(
                "{} keeps this clock right and will put it right; arm ntp_stop before",
                daemons.iter().map(|d| d.comm.as_str()).collect::<Vec<_>>().join(", ")
            ));
        }
        let record = UndoRecord {
            injector: NAME.into(),
            act: format!("set this machine's clock: {words}"),
            undo: "take back what is left of it, compared with a clock that nobody sets".into(),
            data: serde_json::to_value(&act).unwrap_or_default(),
            ends_with_agent: false,
        };
        Ok(Plan { order: order.clone(), acts: vec![record], warnings })
    }

    fn claims(&self, _plan: &Plan) -> Vec<String> {
        vec!["system clock".into()]
    }

    fn inject(&self, plan: &Plan) -> Outcomes {
        if !lock(&self.running).is_empty() {
            let e = InjectError::new("this machine's clock is set wrong already by another fault");
            return vec![Err(e.hint("disarm that one first"))];
        }
        plan.acts
            .iter()
            .map(|record| match serde_json::from_value::<SystemAct>(record.data.clone()) {
                Ok(act) => self.begin(&act),
                Err(e) => Err(InjectError::new(format!("the plan does not read: {e}"))),
            })
            .collect()
    }

    fn adjust(&self, armed: &Armed, fault: &Fault) -> Result<(), InjectError> {
        if fault.inject == armed.order.fault.inject && fault.ramp.is_none() {
            return Ok(());
        }
        Err(InjectError::new("the machine's clock is set once").hint("disarm it and arm it again"))
    }

    fn recover(&self, record: &UndoRecord) -> Recovered {
        let act: SystemAct = match serde_json::from_value(record.data.clone()) {
            Ok(act) => act,
            Err(e) => {
                return Recovered::Failed(format!(
                    "the record of {:?} does not read ({e}); look at the clock by hand",
                    record.act
                ));
            }
        };
        if act.boot != host::clock::boot_id() {
            return Recovered::Gone("the machine was started anew since, and has set its clock anew".into());
        }
        let strobe = lock(&self.running).get_mut(&act.id).and_then(|r| {
            r.seen = seen(&r.act, self.clock.read(), &r.seen);
            r.strobe.take()
        });
        if let Some((tell, thread)) = strobe {
            drop(tell);
            let _ = thread.join();
        }
        let outcome = self.take_back(&act);
        if !matches!(outcome, Recovered::Failed(_))
            && let Some(running) = lock(&self.running).get_mut(&act.id)
        {
            running.act.offset = 0;
        }
        outcome
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let mut all = lock(&self.running);
        let Some(running) = all.get_mut(&armed.order.id) else {
            return Evidence { considered: armed.acts.len() as u64, ..Evidence::default() };
        };
        if running.seen.applied == 0 || running.act.offset != 0 {
            running.seen = seen(&running.act, self.clock.read(), &running.seen);
        }
        running.seen.clone()
    }

    fn forget(&self, id: &str) {
        lock(&self.running).remove(id);
    }
}

/// The skew as everyone on this machine sees it.
fn seen(act: &SystemAct, now: (i64, i64), before: &Evidence) -> Evidence {
    let difference = act.difference(now);
    let applied = u64::from(difference.abs() > 1_000).max(before.applied);
    let measured = BTreeMap::from([("skew_ms".to_owned(), difference as f64 / 1e6)]);
    Evidence { considered: 1, applied, measured }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Target, TargetSpec};

    const S: i64 = 1_000_000_000;

    /// A clock that only tests set.
    #[derive(Default)]
    struct Fake {
        /// Wall clock, steady clock, tick, frequency, steps so far.
        state: Mutex<(i64, i64, i64, i64, u32)>,
    }

    impl Fake {
        fn new() -> Arc<Fake> {
            Arc::new(Fake { state: Mutex::new((1_000 * S, 50 * S, 10_000, 20 << 16, 0)) })
        }

        /// Lets time pass, as the clock goes now.
        fn pass(&self, nanos: i64) {
            let mut s = lock(&self.state);
            let rate = (s.2 - 10_000) as f64 / 1e4 + s.3 as f64 / 65_536e6;
            s.0 += nanos + (nanos as f64 * rate) as i64;
            s.1 += nanos;
        }

        /// By how much it is wrong, when it should have gone `elapsed` as it did before.
        fn wrong(&self, elapsed: i64) -> i64 {
            let s = lock(&self.state);
            s.0 - 1_000 * S - elapsed - (elapsed as f64 * 20e-6) as i64
        }
    }

    impl Clock for Fake {
        fn read(&self) -> (i64, i64) {
            let s = lock(&self.state);
            (s.0, s.1)
        }
        fn pace(&self) -> io::Result<(i64, i64)> {
            let s = lock(&self.state);
            Ok((s.2, s.3))
        }
        fn set_pace(&self, tick: i64, frequency: i64) -> io::Result<()> {
            let mut s = lock(&self.state);
            (s.2, s.3) = (tick, frequency);
            Ok(())
        }
        fn step(&self, nanos: i64) -> io::Result<()> {
            let mut s = lock(&self.state);
            s.0 += nanos;
            s.4 += 1;
            Ok(())
        }
    }

    fn order(params: &str) -> Order {
        let fault = format!(r#"{{"target":"node:self","for":"60s","inject":{{"system_clock":{params}}}}}"#);
        let spec = TargetSpec::implied(&"node:self".parse().unwrap()).unwrap();
        Order {
            id: "A".into(),
            fault: serde_json::from_str(&fault).unwrap(),
            target: Target { name: "self".into(), spec },
            seed: 1,
        }
    }

    fn armed(clock: &Arc<Fake>, params: &str) -> (SystemClock, Plan) {
        let fault = SystemClock::with(clock.clone());
        let plan = fault.plan(&order(params), &[]).unwrap();
        assert_eq!(fault.inject(&plan), vec![Ok(())]);
        (fault, plan)
    }

    #[test]
    fn an_offset_and_a_drift_are_taken_back_to_the_microsecond() {
        let clock = Fake::new();
        let (fault, plan) = armed(&clock, r#"{"offset":"-5s","drift":"2.005%"}"#);
        assert_eq!(clock.wrong(0), -5 * S);
        clock.pass(10 * S);
        assert!((clock.wrong(10 * S) - (-5 * S + 200_500_000)).abs() < 10_000, "{}", clock.wrong(10 * S));
        let evidence = fault.evidence(&Armed { order: plan.order.clone(), acts: plan.acts.clone() });
        assert!((evidence.measured["skew_ms"] + 4799.5).abs() < 0.1, "{evidence:?}");
        // As someone else would, from the record alone.
        assert_eq!(SystemClock::with(clock.clone()).recover(&plan.acts[0]), Recovered::Undone);
        assert!(clock.wrong(10 * S).abs() < 10_000, "{}", clock.wrong(10 * S));
        assert_eq!(clock.pace().unwrap(), (10_000, 20 << 16));
        assert!(matches!(fault.recover(&plan.acts[0]), Recovered::Gone(_)));
    }

    #[test]
    fn what_ntp_has_put_right_is_left_and_the_rest_taken_back() {
        let clock = Fake::new();
        let (fault, plan) = armed(&clock, r#"{"offset":"5s"}"#);
        // All of it.
        clock.step(-5 * S + 300_000).unwrap();
        let steps = lock(&clock.state).4;
        assert!(matches!(fault.recover(&plan.acts[0]), Recovered::Gone(why) if why.contains("already")));
        assert_eq!(lock(&clock.state).4, steps);
        // A part, by slewing.
        let clock = Fake::new();
        let (fault, plan) = armed(&clock, r#"{"offset":"5s"}"#);
        clock.step(-2 * S).unwrap();
        assert_eq!(fault.recover(&plan.acts[0]), Recovered::Undone);
        assert!(clock.wrong(0).abs() < 10_000);
        // Someone has set another time.
        let clock = Fake::new();
        let (fault, plan) = armed(&clock, r#"{"offset":"5s"}"#);
        clock.step(3_600 * S).unwrap();
        let out = fault.recover(&plan.acts[0]);
        assert!(matches!(&out, Recovered::Gone(why) if why.contains("someone else")), "{out:?}");
        assert_eq!(clock.wrong(0), 3_605 * S);
    }

    #[test]
    fn a_strobe_is_taken_back_in_either_half() {
        let clock = Fake::new();
        let (fault, plan) = armed(&clock, r#"{"offset":"5s","strobe":"40ms"}"#);
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while lock(&clock.state).4 < 6 {
            assert!(std::time::Instant::now() < until, "it does not strobe");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(!matches!(fault.recover(&plan.acts[0]), Recovered::Failed(_)));
        assert_eq!(clock.wrong(0), 0);
        let steps = lock(&clock.state).4;
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(lock(&clock.state).4, steps, "it still strobes");
    }

    #[test]
    fn paces_are_within_what_the_kernel_takes() {
        assert_eq!(pace_for((10_000, 0), 0.1), (11_000, 0));
        assert_eq!(pace_for((10_000, 0), -0.00005), (10_000, -(50 << 16)));
        assert_eq!(pace_for((10_001, 1 << 16), 0.0001), (10_002, 1 << 16));
        let refused =
            |params: &str| SystemClock::with(Fake::new()).plan(&order(params), &[]).unwrap_err().to_string();
        assert!(refused(r#"{"drift":"11%"}"#).contains("10% at most"));
        assert!(refused(r#"{"offset":"-1h"}"#).contains("before 1970"));
        assert!(refused("{}").contains("the right time"));
    }
}
