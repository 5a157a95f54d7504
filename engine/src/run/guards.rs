//! Guards: conditions that end the run and undo everything. A guard that cannot see fails closed.

use super::tick::{Tick, reading};
use model::event::GuardState;
use model::experiment::{Compare, Experiment, Guard, Metric};
use model::verdict::GuardRecord;
use std::path::Path;

/// All guards of a run with their timers.
#[derive(Debug)]
pub struct Guards {
    list: Vec<Watch>,
    blind_for: Option<f64>,
}

#[derive(Debug)]
struct Watch {
    guard: Guard,
    metric: Option<Metric>,
    words: String,
    holds_since: Option<f64>,
    blind_since: Option<f64>,
    longest: f64,
    tripped: bool,
}

/// What a guard did at a tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The guard in words.
    pub guard: String,
    /// What it did.
    pub state: GuardState,
    /// Why, when it tripped.
    pub why: String,
}

impl Guards {
    /// The guards of an experiment.
    pub fn new(experiment: &Experiment) -> Guards {
        let list = experiment
            .safety
            .abort_if
            .iter()
            .map(|guard| {
                let metric = match guard {
                    Guard::Metric { metric, .. } => {
                        experiment.steady_state.metrics.iter().find(|m| m.name == *metric).cloned()
                    }
                    Guard::File { .. } | Guard::Node { .. } => None,
                };
                let words = describe(guard, metric.as_ref());
                Watch {
                    guard: guard.clone(),
                    metric,
                    words,
                    holds_since: None,
                    blind_since: None,
                    longest: 0.0,
                    tripped: false,
                }
            })
            .collect();
        Guards { list, blind_for: experiment.safety.on_unknown.map(|s| s.0.as_secs_f64()) }
    }

    /// Whether one of them asks how loaded this machine is.
    pub fn ask_for_the_machine(&self) -> bool {
        self.list.iter().any(|watch| matches!(watch.guard, Guard::Node { .. }))
    }

    /// Looks at one tick. `faults_on`: blindness counts only while something is armed.
    pub fn look(&mut self, tick: &Tick, faults_on: bool) -> Vec<Change> {
        let blind_for = self.blind_for;
        self.list.iter_mut().filter_map(|watch| watch.look(tick, faults_on, blind_for)).collect()
    }

    /// What remains of them.
    pub fn records(&self) -> Vec<GuardRecord> {
        self.list
            .iter()
            .map(|w| GuardRecord { guard: w.words.clone(), tripped: w.tripped, longest_s: w.longest })
            .collect()
    }
}

impl Watch {
    fn look(&mut self, tick: &Tick, faults_on: bool, blind_for: Option<f64>) -> Option<Change> {
        if self.tripped {
            return None;
        }
        let (holds, lasts) = match (&self.guard, &self.metric) {
            (Guard::File { path }, _) => (Some(Path::new(path).exists()), 0.0),
            (Guard::Metric { op, value, lasts, .. }, Some(metric)) => {
                let read = reading(&metric.name, &metric.from, std::slice::from_ref(tick));
                (read.value.map(|v| op.holds(v, *value)), lasts.0.as_secs_f64())
            }
            (Guard::Metric { .. }, None) => (None, 0.0),
            (Guard::Node { cpu, memory, lasts }, _) => {
                let bounds = [(cpu, tick.cpu), (memory, tick.memory)];
                let over: Vec<Option<bool>> = bounds
                    .into_iter()
                    .filter_map(|(bound, seen)| {
                        let (op, value) = (*bound)?;
                        Some(seen.map(|seen| op.holds(seen, value)))
                    })
                    .collect();
                // One that is over its bound is enough; one that is not seen could be.
                let holds = match over.contains(&Some(true)) {
                    true => Some(true),
                    false if over.contains(&None) => None,
                    false => Some(false),
                };
                (holds, lasts.0.as_secs_f64())
            }
        };
        match holds {
            Some(true) => {
                self.blind_since = None;
                let fresh = self.holds_since.is_none();
                let since = *self.holds_since.get_or_insert(tick.start);
                let held = tick.end - since;
                self.longest = self.longest.max(held);
                // A second on the clock may come a little short of a second.
                if held + 0.05 >= lasts {
                    self.tripped = true;
                    return Some(self.change(GuardState::Tripped, format!("{} for {held:.0} s", self.words)));
                }
                fresh.then(|| self.change(GuardState::Pending, String::new()))
            }
            Some(false) => {
                self.blind_since = None;
                let was = self.holds_since.take().is_some();
                was.then(|| self.change(GuardState::Cleared, String::new()))
            }
            None if !faults_on => {
                self.blind_since = None;
                None
            }
            None => {
                let since = *self.blind_since.get_or_insert(tick.start);
                let blind = tick.end - since;
                if blind_for.is_some_and(|limit| blind + 0.05 >= limit) {
                    self.tripped = true;
                    return Some(self.change(
                        GuardState::Tripped,
                        format!("the guard {} saw no data for {blind:.0} s", self.words),
                    ));
                }
                None
            }
        }
    }

    fn change(&self, state: GuardState, why: String) -> Change {
        Change { guard: self.words.clone(), state, why }
    }
}

fn describe(guard: &Guard, metric: Option<&Metric>) -> String {
    match guard {
        Guard::File { path } => format!("file {path} exists"),
        Guard::Node { cpu, memory, lasts } => {
            let bound = |what: &str, bound: &Option<(Compare, f64)>| {
                bound.map(|(op, value)| {
                    format!("{what} {}", model::experiment::Expect::Bound { op, value }.describe("%"))
                })
            };
            let words: Vec<String> =
                [bound("cpu", cpu), bound("memory", memory)].into_iter().flatten().collect();
            let grace = if lasts.0.is_zero() { String::new() } else { format!(" for {lasts}") };
            format!("this machine's {}{grace}", words.join(" or "))
        }
        Guard::Metric { metric: name, op, value, lasts } => {
            let bound = model::experiment::Expect::Bound { op: *op, value: *value };
            let grace = if lasts.0.is_zero() { String::new() } else { format!(" for {lasts}") };
            format!("{name} {}{grace}", bound.describe(metric.map_or("", |m| m.from.unit())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tick::Probed;
    use std::collections::BTreeMap;

    const FILE: &str = "
murphy: 1
targets: {web: {proxy: {listen: ':1', upstream: 'a:2'}}}
steady_state:
  metrics:
    home: {from: {tcp: {address: 'a:2'}}, expect: '== 1'}
safety:
  on_unknown: {after: 4s}
  abort_if: [{metric: home, is: '== 0', for: 3s}]
stages: [{faults: [{target: web, for: 5s, inject: {blackhole: }}]}]
";

    fn guards() -> Guards {
        Guards::new(&model::experiment::read("t.yaml", FILE, &BTreeMap::new()).unwrap())
    }

    fn tick(n: u32, value: Option<f64>) -> Tick {
        let probes = value
            .map(|v| ("home".to_owned(), Probed { count: 1, sum: v, last: Some(v) }))
            .into_iter()
            .collect();
        Tick { start: f64::from(n), end: f64::from(n) + 1.0, probes, ..Tick::default() }
    }

    fn states(values: &[Option<f64>]) -> String {
        let mut guards = guards();
        let letter = |c: &Change| match c.state {
            GuardState::Pending => 'p',
            GuardState::Cleared => 'c',
            GuardState::Tripped => 'T',
        };
        (0..).zip(values).map(|(n, v)| guards.look(&tick(n, *v), true).first().map_or('.', letter)).collect()
    }

    #[test]
    fn a_machine_that_is_too_busy_ends_the_run() {
        let file = FILE.replace(
            "{metric: home, is: '== 0', for: 3s}",
            "{node: {cpu: '> 90%', memory: '> 80%'}, for: 2s}",
        );
        let experiment = model::experiment::read("t.yaml", &file, &BTreeMap::new()).unwrap();
        let looked = |seen: &[(Option<f64>, Option<f64>)]| {
            let mut guards = Guards::new(&experiment);
            let at = |(n, (cpu, memory)): (u32, &(Option<f64>, Option<f64>))| {
                guards.look(&Tick { cpu: *cpu, memory: *memory, ..tick(n, None) }, true)
            };
            (0..).zip(seen).flat_map(at).map(|c| (c.state, c.why)).collect::<Vec<_>>()
        };
        let (calm, busy, full) = ((Some(5.0), Some(30.0)), (Some(99.0), Some(30.0)), (None, Some(81.0)));
        assert!(looked(&[calm, calm, calm]).is_empty());
        let (last, why) = looked(&[calm, busy, full, calm]).pop().unwrap();
        assert_eq!(last, GuardState::Tripped);
        assert_eq!(why, "this machine's cpu > 90% or memory > 80% for 2s for 2 s");
        // What it cannot see it takes for too much, as any guard does.
        assert_eq!(looked(&[(None, None); 5]).pop().unwrap().0, GuardState::Tripped);
    }

    #[test]
    fn grace_blindness_and_clearing() {
        let (up, down, dark) = (Some(1.0), Some(0.0), None);
        assert_eq!(states(&[up, down, down, up, down, down, down, down]), ".p.cp.T.");
        assert_eq!(states(&[up, dark, dark, dark, dark]), "....T");
        assert_eq!(states(&[up, dark, dark, dark, up, dark]), "......");
    }
}
