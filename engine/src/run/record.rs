//! What a run remembers while it goes on, and the record it leaves.

use super::findings::{Band, Times, Track, times};
use super::judge::{Cause, judge};
use super::tick::{Tick, reading, sample_reading};
use super::windows::{Phase, judge as judge_window, summarise};
use model::event::Ending;
use model::experiment::{Experiment, Metric, Source, Stat};
use model::verdict::{FaultRecord, GuardRecord, PhaseRecord, Point, RunRecord, Series, WindowRecord};
use model::{Evidence, Sample};
use std::collections::{BTreeMap, BTreeSet};

/// The memory of a run. Times are seconds since it began.
#[derive(Debug)]
pub struct Recorder {
    experiment: Experiment,
    seed: u64,
    started: String,
    ticks: Vec<Tick>,
    window: Vec<Tick>,
    windows: BTreeMap<String, Vec<WindowRecord>>,
    phases: Vec<PhaseRecord>,
    faults: Vec<FaultRecord>,
    undo_failures: Vec<String>,
}

impl Recorder {
    /// An empty memory. `started` is the wall-clock begin, RFC 3339.
    pub fn new(experiment: &Experiment, seed: u64, started: String) -> Recorder {
        let faults = experiment
            .stages
            .iter()
            .flat_map(|stage| stage.faults.iter().map(move |p| (stage, p)))
            .map(|(stage, planned)| FaultRecord {
                id: planned.id.clone(),
                fault: planned.fault.inject.name().to_owned(),
                target: planned.fault.target.to_string(),
                what: planned.fault.describe(),
                stage: stage.name.clone(),
                seed: planned.fault.seed.unwrap_or_else(|| model::draw::derive(seed, &planned.id)),
                armed_s: None,
                ended_s: None,
                ending: None,
                failure: None,
                evidence: Evidence::default(),
                time_to_effect_s: None,
                effect_in: None,
                defence_s: None,
                healing_s: None,
            })
            .collect();
        Recorder {
            experiment: experiment.clone(),
            seed,
            started,
            ticks: vec![],
            window: vec![],
            windows: BTreeMap::new(),
            phases: vec![],
            faults,
            undo_failures: vec![],
        }
    }

    /// Begins a phase, ending the one before it.
    pub fn phase(&mut self, name: &str, at: f64, skipped: bool) {
        if let Some(last) = self.phases.last_mut().filter(|p| p.end_s > at || p.end_s.is_infinite()) {
            last.end_s = at;
        }
        let end_s = if skipped { at } else { f64::INFINITY };
        self.phases.push(PhaseRecord { name: name.to_owned(), start_s: at, end_s, skipped });
    }

    /// A fault was acknowledged.
    pub fn armed(&mut self, id: &str, at: f64) {
        self.with(id, |f| f.armed_s = Some(at));
    }

    /// A fault was taken back and that was verified.
    pub fn recovered(&mut self, id: &str, at: f64, ending: Ending, evidence: Evidence) {
        self.with(id, |f| {
            f.ended_s = Some(at);
            f.ending = Some(ending);
            f.evidence = evidence;
        });
    }

    /// A fault is gone, though nobody told how it ended; what it did stays as it was last known.
    pub fn gone(&mut self, id: &str, at: f64, ending: Ending) {
        self.with(id, |f| {
            f.ended_s = Some(at);
            f.ending = Some(ending);
        });
    }

    /// A fault could not be armed.
    pub fn failed(&mut self, id: &str, why: &str) {
        self.with(id, |f| f.failure = Some(why.to_owned()));
    }

    /// A fault could not be taken back.
    pub fn undo_failed(&mut self, id: &str, why: &str) {
        self.undo_failures.push(format!("{id}: {why}"));
    }

    /// The latest evidence of a fault that is on.
    pub fn evidence(&mut self, id: &str, evidence: &Evidence) {
        self.with(id, |f| f.evidence = evidence.clone());
    }

    /// Whether a fault of this run is on.
    pub fn any_on(&self) -> bool {
        self.faults.iter().any(|f| f.armed_s.is_some() && f.ended_s.is_none())
    }

    /// The ids of faults that are on.
    pub fn on(&self) -> Vec<String> {
        self.faults
            .iter()
            .filter(|f| f.armed_s.is_some() && f.ended_s.is_none())
            .map(|f| f.id.clone())
            .collect()
    }

    /// Takes a tick; gives the windows that were judged with it.
    pub fn tick(&mut self, tick: Tick, phase: Phase) -> Vec<(String, WindowRecord)> {
        self.ticks.push(tick.clone());
        self.window.push(tick);
        let length: f64 = self.window.iter().map(|t| t.end - t.start).sum();
        if length + 0.25 < self.experiment.steady_state.window.0.as_secs_f64() {
            return vec![];
        }
        self.close_window(phase)
    }

    /// Judges what is there as a window of its own: at the border between phases, when it is at least half as long as one.
    pub fn border(&mut self, phase: Phase) -> Vec<(String, WindowRecord)> {
        let length: f64 = self.window.iter().map(|t| t.end - t.start).sum();
        if length >= self.experiment.steady_state.window.0.as_secs_f64() / 2.0 {
            return self.close_window(phase);
        }
        self.window.clear();
        vec![]
    }

    fn close_window(&mut self, phase: Phase) -> Vec<(String, WindowRecord)> {
        let ticks = std::mem::take(&mut self.window);
        let steady = &self.experiment.steady_state;
        let mut judged = Vec::new();
        for metric in &steady.metrics {
            let list = self.windows.entry(metric.name.clone()).or_default();
            let previous = list.iter().rev().find_map(|w| w.value);
            let window = judge_window(metric, &ticks, phase, previous, steady.no_data);
            list.push(window.clone());
            judged.push((metric.name.clone(), window));
        }
        judged
    }

    /// The first deciding metric whose latest window failed, with its sentence.
    pub fn unsteady(&self) -> Option<String> {
        self.experiment
            .steady_state
            .metrics
            .iter()
            .filter(|m| m.severity == model::experiment::Severity::Gate)
            .find_map(|m| {
                let last = self.windows.get(&m.name)?.last()?;
                (last.result == model::event::WindowResult::Fail).then(|| {
                    let unit = m.from.unit();
                    let value = last.value.map_or("nothing".to_owned(), |v| format!("{v:.1}{unit}"));
                    format!("{} was {value}, expected {}", m.name, m.expect.describe(unit))
                })
            })
    }

    /// The record of the whole run.
    pub fn finish(mut self, at: f64, cause: Option<&Cause>, guards: Vec<GuardRecord>) -> RunRecord {
        if let Some(last) = self.phases.last_mut() {
            last.end_s = last.end_s.min(at);
        }
        self.find_times(at);
        let mut windows = std::mem::take(&mut self.windows);
        let metrics: Vec<_> = self
            .experiment
            .steady_state
            .metrics
            .iter()
            .map(|m| summarise(m, windows.remove(&m.name).unwrap_or_default()))
            .collect();
        let (verdict, why) = judge(cause, &self.undo_failures, &self.faults, &metrics);
        let e = &self.experiment;
        RunRecord {
            schema: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: e.name.clone(),
            description: e.description.clone(),
            hypothesis: e.hypothesis.clone(),
            owner: e.owner.clone(),
            tags: e.tags.clone(),
            seed: self.seed,
            decisions_digest: e.decisions_digest(self.seed),
            started: self.started.clone(),
            seconds: at,
            verdict,
            why,
            phases: self.phases,
            faults: self.faults,
            metrics,
            guards,
            series: series(&self.ticks),
            undo_failures: self.undo_failures.len() as u64,
            resolution_s: 1.0,
        }
    }

    /// Fills in time to effect and both recoveries: in the metrics of the file and in what the fault's own target shows;
    /// the earliest effect counts.
    fn find_times(&mut self, until: f64) {
        let Some(first) = self.faults.iter().filter_map(|f| f.armed_s).reduce(f64::min) else { return };
        let mut tracks: Vec<(String, Option<String>, f64, Track)> = Vec::new();
        for metric in &self.experiment.steady_state.metrics {
            tracks.push((metric.name.clone(), None, floor(metric.from.unit()), track(metric, &self.ticks)));
        }
        let proxies: BTreeSet<&String> = self.ticks.iter().flat_map(|t| t.proxies.keys()).collect();
        for name in proxies {
            for (word, stat, unit) in [
                ("p50", Stat::Latency(0.5), "ms"),
                ("p99", Stat::Latency(0.99), "ms"),
                ("errors", Stat::Errors, "%"),
                ("rate", Stat::Rate, "/s"),
            ] {
                let track = self
                    .ticks
                    .iter()
                    .map(|t| (t.end, sample_reading(stat, t.proxies.get(name).cloned()).value))
                    .collect();
                tracks.push((format!("{name} {word}"), Some(format!("proxy:{name}")), floor(unit), track));
            }
        }
        for fault in &mut self.faults {
            let (Some(armed), ended) = (fault.armed_s, fault.ended_s.unwrap_or(until)) else { continue };
            let mut found: Option<(Times, &str)> = None;
            for (name, target, floor, track) in &tracks {
                if target.as_ref().is_some_and(|t| *t != fault.target) {
                    continue;
                }
                let before: Vec<f64> =
                    track.iter().filter(|(t, _)| *t <= first).filter_map(|(_, v)| *v).collect();
                let Some(band) = Band::of(&before, *floor) else { continue };
                let seen = times(track, band, armed, ended, until);
                if seen.effect.is_none() {
                    continue;
                }
                // The earliest effect counts, and the recovery is told of the same number; of two that showed it in the
                // same second, one that came back tells more.
                let rank = |t: &Times| (t.effect.map(f64::floor), t.healing.is_none(), t.effect);
                if found.as_ref().is_none_or(|(best, _)| rank(&seen) < rank(best)) {
                    found = Some((seen, name));
                }
            }
            if let Some((seen, name)) = found {
                fault.time_to_effect_s = seen.effect;
                fault.effect_in = Some(name.to_owned());
                fault.defence_s = seen.defence;
                fault.healing_s = seen.healing;
            }
        }
    }

    fn with(&mut self, id: &str, change: impl FnOnce(&mut FaultRecord)) {
        if let Some(fault) = self.faults.iter_mut().find(|f| f.id == id) {
            change(fault);
        }
    }
}

/// The smallest half width of a band, so that quiet numbers do not make a hair's breadth an effect.
fn floor(unit: &str) -> f64 {
    match unit {
        "ms" => 2.0,
        "%" => 1.0,
        "/s" => 2.0,
        _ => 0.05,
    }
}

fn track(metric: &Metric, ticks: &[Tick]) -> Track {
    ticks
        .iter()
        .map(|t| (t.end, reading(&metric.name, &metric.from, std::slice::from_ref(t)).value))
        .collect()
}

fn series(ticks: &[Tick]) -> Vec<Series> {
    let mut out: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    for tick in ticks {
        let named = tick
            .proxies
            .iter()
            .map(|(n, s)| (format!("proxy:{n}"), s))
            .chain(tick.loads.iter().map(|(n, s)| (format!("load:{n}"), s)));
        for (name, sample) in named {
            out.entry(name).or_default().push(point(tick.end, sample));
        }
    }
    out.into_iter().map(|(name, points)| Series { name, points }).collect()
}

fn point(t: f64, sample: &Sample) -> Point {
    Point {
        t,
        rate: sample.rate(),
        errors: sample.error_share().map(|e| e * 100.0),
        p50: sample.latency.quantile_ms(0.5),
        p99: sample.latency.quantile_ms(0.99),
    }
}

/// The bounds of an experiment's metrics in words, for whoever draws them: metric → (source, expectation).
pub fn bounds(experiment: &Experiment) -> BTreeMap<String, (String, String)> {
    let described = |m: &Metric| {
        let source = match &m.from {
            Source::Proxy { target, .. } => {
                m.from.describe().replacen(&format!("proxy {target}"), &format!("proxy:{target}"), 1)
            }
            Source::Load { load, .. } => {
                m.from.describe().replacen(&format!("load {load}"), &format!("load:{load}"), 1)
            }
            other => other.describe(),
        };
        (m.name.clone(), (source, m.expect.describe(m.from.unit())))
    };
    experiment.steady_state.metrics.iter().map(described).collect()
}
