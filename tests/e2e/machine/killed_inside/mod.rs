//! `kill -9` of the agent, the watchdog or both, at any moment, with every fault on that there is on containers and inside of
//! them: nothing is left.
//!
//! By hand: it downloads Debian's Docker (60 MB) once. `MURPHY_CONTAINER_ROUNDS` sets how many rounds; 8 without it. A table
//! at the end says what ended what.
//! `cargo test --release --test e2e killed_inside -- --ignored --nocapture`

mod fleet;
mod seen;

use super::rig::{PATIENCE, state};
use crate::ground::{Agent, eventually, murphy, running, signal_all};
use fleet::{ALL, Fleet, arm};
use model::draw::{self, Lane};
use nix::sys::signal::Signal;
use seen::{Seen, differs, look};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// When whom what happens to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    AllOn,
    Arming,
    TakingBack,
    Together,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Killed {
    Agent,
    Watchdog,
    Both,
}

use Killed::{Agent as TheAgent, Both, Watchdog};
use Moment::{AllOn, Arming, TakingBack, Together};

/// In turns; the moments themselves are drawn.
const ROUNDS: [(Moment, Killed); 10] = [
    (AllOn, TheAgent),
    (Arming, TheAgent),
    (AllOn, Both),
    (TakingBack, Both),
    (Together, TheAgent),
    (Arming, Both),
    (AllOn, Watchdog),
    (TakingBack, TheAgent),
    (Together, Both),
    (Arming, TheAgent),
];

/// How long arming all took, and taking all back.
struct Takes {
    arming: Duration,
    ending: Duration,
}

/// By fault: how often it ended with the agent, by the watchdog, by recover.
type Table = BTreeMap<&'static str, [u32; 3]>;

struct Round<'a> {
    n: u64,
    fleet: &'a Fleet,
    before: &'a Seen,
    agent: Agent,
    pid: u32,
}

impl Round<'_> {
    fn dir(&self) -> &Path {
        self.agent.dir.path()
    }

    fn watchdogs(&self) -> Vec<i32> {
        running(&format!("__watchdog --state-dir {}", self.dir().display()))
    }

    fn now(&self) -> Seen {
        look(&self.fleet.engine, &self.fleet.names())
    }

    /// Something from nothing to that, other in each round.
    fn moment(&self, most: Duration) -> Duration {
        most.mul_f64(draw::unit(11, Lane::Amount, self.n))
    }

    /// In another order in each round.
    fn shuffled<T>(&self, mut all: Vec<T>) -> Vec<T> {
        for i in (1..all.len()).rev() {
            let n = self.n * 1000 + i as u64;
            all.swap(i, (draw::bits(12, Lane::Other(1), n) % (i as u64 + 1)) as usize);
        }
        all
    }

    fn words(&self, moment: Moment) -> Vec<Vec<String>> {
        if moment != Together {
            return self.shuffled(self.fleet.cases.iter().map(|c| c.words.clone()).collect());
        }
        let mut all = self.shuffled(Fleet::together());
        all.push(vec![format!("container:{ALL}"), "pause".into()]);
        all
    }

    /// Faults that are seen to be on.
    fn on(&self) -> Vec<&'static str> {
        let now = self.now();
        let mut on: Vec<&str> =
            self.fleet.cases.iter().filter(|c| c.is_on(self.before, &now)).map(|c| c.name).collect();
        if self.fleet.is_sent() {
            on.push("kill_loop");
        }
        on
    }

    /// What is on once nothing ends by itself any more.
    fn stays_on(&self) -> Vec<&'static str> {
        let mut last = self.on();
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(500));
            let now = self.on();
            if now == last {
                break;
            }
            last = now;
        }
        last
    }

    /// `kill -9`. Both: the watchdog is held before, or it would undo.
    fn kill(&mut self, who: Killed) {
        let dogs = self.watchdogs();
        if who == Both {
            signal_all(&dogs, Signal::SIGSTOP);
        }
        self.agent.kill();
        if who == Both {
            signal_all(&self.watchdogs(), Signal::SIGKILL);
        }
    }

    /// The agent ends in order.
    fn end(&self) {
        signal_all(&[self.pid as i32], Signal::SIGTERM);
    }

    fn has_ended(&self) -> bool {
        eventually(PATIENCE * 2, || matches!(state(self.pid), '?' | 'Z'))
    }

    fn arm_all(&self, moment: Moment) {
        for words in self.words(moment) {
            arm(self.dir(), &words).unwrap_or_else(|e| panic!("round {}: {words:?}: {e}", self.n));
        }
    }

    /// Kills in the middle of arming.
    fn kill_arming(&mut self, moment: Moment, who: Killed, within: Duration) {
        let (dir, lines, n) = (self.dir().to_owned(), self.words(moment), self.n);
        let arming = std::thread::spawn(move || {
            let mut armed = 0;
            for words in &lines {
                match arm(&dir, words) {
                    Ok(()) => armed += 1,
                    // It is dead, or died meanwhile.
                    Err(why) => {
                        let dead = ["agent", "connection", "watchdog"].iter().any(|w| why.contains(w));
                        assert!(dead, "round {n}: {words:?}: {why}");
                        break;
                    }
                }
            }
            armed
        });
        std::thread::sleep(self.moment(within));
        self.kill(who);
        println!("round {n}: killed after {} were on", arming.join().unwrap());
    }

    /// Kills, and tells what ended by itself and what by whom.
    fn kill_all_on(&mut self, who: Killed, table: &mut Table) {
        let dogs = self.watchdogs();
        assert!(!dogs.is_empty(), "there is no watchdog");
        signal_all(&dogs, Signal::SIGSTOP);
        self.agent.kill();
        let still = self.stays_on();
        let column = if who == Both { 2 } else { 1 };
        for case in self.fleet.cases.iter().filter(|c| c.shows() || c.name == "kill_loop") {
            let by = if still.contains(&case.name) { column } else { 0 };
            table.entry(case.name).or_default()[by] += 1;
        }
        signal_all(&dogs, if who == Both { Signal::SIGKILL } else { Signal::SIGCONT });
    }

    fn run(&mut self, moment: Moment, who: Killed, takes: &mut Takes, table: &mut Table) {
        let begun = Instant::now();
        if matches!(moment, AllOn | TakingBack) {
            self.arm_all(moment);
            takes.arming = begun.elapsed();
        }
        match moment {
            AllOn => {
                let on = self.on();
                let all = self.fleet.cases.iter().filter(|c| c.shows() || c.name == "kill_loop");
                let off: Vec<&str> = all.map(|c| c.name).filter(|name| !on.contains(name)).collect();
                assert!(off.is_empty(), "round {}: {off:?} are not on", self.n);
                if who == Watchdog {
                    signal_all(&self.watchdogs(), Signal::SIGKILL);
                    let begun = Instant::now();
                    self.end();
                    assert!(self.has_ended(), "round {}: the agent does not end", self.n);
                    takes.ending = begun.elapsed();
                } else {
                    self.kill_all_on(who, table);
                }
            }
            Arming => self.kill_arming(moment, who, takes.arming),
            Together => self.kill_arming(moment, who, takes.arming * 3 / 4),
            TakingBack => {
                self.end();
                std::thread::sleep(self.moment(takes.ending));
                self.kill(who);
            }
        }
        if who == Both {
            let dir = self.dir();
            assert!(eventually(PATIENCE, || self.watchdogs().is_empty()));
            let done = murphy(dir, &["recover"]);
            assert_eq!(done.code, 0, "round {}: {done:?}", self.n);
        }
    }

    fn is_clean(&self, what: &str) {
        assert!(eventually(PATIENCE * 2, || self.watchdogs().is_empty()), "{what}: the watchdog stays");
        let mut now = Seen::new();
        let clean = eventually(PATIENCE * 2, || {
            now = self.now();
            differs(self.before, &now).is_empty()
        });
        let was = |key: &String| {
            format!("{key}:\n  before {:?}\n  now    {:?}", self.before.get(key), now.get(key))
        };
        let left: Vec<String> = differs(self.before, &now).iter().map(was).collect();
        let again = murphy(self.dir(), &["recover"]);
        assert!(clean, "{what}:\n{}\nrecover: {again:?}", left.join("\n"));
        assert!(again.out.contains("nothing was left behind"), "{what}: {again:?}");
        assert!(!self.fleet.is_sent(), "{what}: it is signalled on");
        let children = running(&format!("__stress --parent {}", self.pid));
        assert!(eventually(PATIENCE, || children.iter().all(|pid| matches!(state(*pid as u32), '?' | 'Z'))));
    }
}

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn at_any_moment_nothing_is_left_in_containers() {
    let Some(fleet) = Fleet::start() else { return };
    let rounds = std::env::var("MURPHY_CONTAINER_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let before = look(&fleet.engine, &fleet.names());
    let mut takes = Takes { arming: Duration::from_secs(5), ending: Duration::from_secs(3) };
    let (mut table, mut kinds) = (Table::new(), BTreeMap::<String, u32>::new());
    for n in 0..rounds {
        let (moment, who) = ROUNDS[n as usize % ROUNDS.len()];
        let what = format!("{moment:?}, {who:?} killed");
        let begun = Instant::now();
        let agent = Agent::start(&[]);
        let pid = agent.ask(async |c| c.status().await).unwrap().agent.pid;
        fleet.open(&agent);
        let mut round = Round { n, fleet: &fleet, before: &before, agent, pid };
        round.run(moment, who, &mut takes, &mut table);
        round.is_clean(&format!("round {n}, {what}"));
        println!("round {n}: {what}: nothing is left, {:.1} s", begun.elapsed().as_secs_f64());
        *kinds.entry(what).or_default() += 1;
    }
    println!("{rounds} rounds: {kinds:?}");
    println!("{:<20} {:>16} {:>10} {:>8}", "fault", "with the agent", "watchdog", "recover");
    for (name, [kernel, watchdog, recover]) in table {
        println!("{name:<20} {kernel:>16} {watchdog:>10} {recover:>8}");
    }
}
