//! Metrics in the text format of Prometheus, under the names that EXPERIMENT.md promises.

use crate::operations::OperationRow;
use crate::wire::{AgentStatus, FaultState, Usage};
use model::event::WindowResult;
use model::sample::Arm;
use model::{Histogram, Sample, TargetKind, TargetRef};
use std::collections::BTreeMap;
use std::fmt::Write;

const PHASES: [&str; 5] = ["baseline", "stage", "cooldown", "verify", "done"];

/// The whole page.
pub(crate) fn text(
    status: &AgentStatus,
    faults: &[FaultState],
    totals: &BTreeMap<TargetRef, Sample>,
    files: &[OperationRow],
) -> String {
    let mut page = Page(String::new());
    page.family("murphy_build_info", "gauge", "The agent's version.");
    page.sample("murphy_build_info", &[("version", &status.version), ("agent", &status.agent)], 1.0);
    page.family("murphy_halted", "gauge", "1 while everything is halted.");
    page.sample("murphy_halted", &[], flag(status.halted.is_some()));
    page.family("murphy_targets", "gauge", "Open targets.");
    page.sample("murphy_targets", &[], status.targets as f64);

    page.family("murphy_fault_active", "gauge", "1 for each fault that is on.");
    for f in faults {
        page.sample("murphy_fault_active", &labels(f), 1.0);
    }
    page.family("murphy_fault_considered_total", "counter", "How often an armed fault was considered.");
    for f in faults {
        page.sample("murphy_fault_considered_total", &labels(f), f.evidence.considered as f64);
    }
    page.family("murphy_fault_applied_total", "counter", "How often an armed fault applied.");
    for f in faults {
        page.sample("murphy_fault_applied_total", &labels(f), f.evidence.applied as f64);
    }
    page.family("murphy_undo_failures_total", "counter", "Faults that could not be taken back.");
    page.sample("murphy_undo_failures_total", &[], status.counters.undo_failures as f64);

    let traffic: Vec<_> = totals.iter().filter(|(target, _)| target.kind == TargetKind::Proxy).collect();
    page.traffic(&traffic);
    page.family("murphy_fs_operations_total", "counter", "Operations on files, by kind.");
    for row in files {
        page.sample("murphy_fs_operations_total", &kind(row), row.count as f64);
    }
    page.family("murphy_fs_operation_errors_total", "counter", "Operations that failed as on a broken disk.");
    for row in files {
        page.sample("murphy_fs_operation_errors_total", &kind(row), row.errors as f64);
    }
    page.family("murphy_fs_operation_p99_seconds", "gauge", "What one in a hundred took longer than.");
    for (row, p99) in files.iter().filter_map(|row| Some((row, row.p99_us?))) {
        page.sample("murphy_fs_operation_p99_seconds", &kind(row), p99 / 1e6);
    }

    let run = status.run.as_ref();
    let running = run.is_some_and(|r| r.verdict.is_none());
    page.family("chaos_experiment_running", "gauge", "1 while an experiment runs.");
    let name = run.map_or("", |r| r.name.as_str());
    page.sample("chaos_experiment_running", &[("experiment", name)], flag(running));
    page.family("chaos_experiment_status", "gauge", "1 for the phase the experiment is in.");
    if let Some(run) = run {
        for phase in PHASES {
            let labels = [("experiment", run.name.as_str()), ("phase", phase)];
            page.sample("chaos_experiment_status", &labels, flag(run.phase == phase));
        }
    }
    page.family("chaos_auto_rollback_triggered", "counter", "Runs that a guard ended.");
    page.sample("chaos_auto_rollback_triggered", &[], status.counters.auto_rollbacks as f64);
    page.family("murphy_steady_state", "gauge", "1 within its bound, 0 outside, -1 unknown.");
    for (metric, result) in run.iter().flat_map(|r| &r.steady) {
        let value = match result {
            WindowResult::Pass => 1.0,
            WindowResult::Fail => 0.0,
            WindowResult::Unknown => -1.0,
        };
        page.sample("murphy_steady_state", &[("metric", metric)], value);
    }
    page.family("chaos_experiment_verdict", "gauge", "1 for how the last experiment ended.");
    if let Some((run, verdict)) = run.and_then(|run| Some((run, run.verdict.as_deref()?))) {
        let labels = [("experiment", run.name.as_str()), ("verdict", verdict)];
        page.sample("chaos_experiment_verdict", &labels, 1.0);
    }
    page.process(status.usage);
    page.0
}

/// What faults touched, and what they did not.
fn arms(sample: &Sample) -> [(&'static str, &Arm); 2] {
    [("true", &sample.touched), ("false", &sample.untouched)]
}

fn kind(row: &OperationRow) -> [(&'static str, &str); 2] {
    [("target", &row.target.name), ("op", &row.op)]
}

fn labels(f: &FaultState) -> [(&'static str, &str); 4] {
    let name = f.fault.inject.name();
    [("id", &f.id), ("fault", name), ("kind", f.fault.target.kind.word()), ("target", &f.fault.target.name)]
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

/// The bounds of latencies, in seconds.
const BOUNDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

struct Page(String);

impl Page {
    /// What passes through proxies, that which faults touched apart from the rest.
    fn traffic(&mut self, all: &[(&TargetRef, &Sample)]) {
        self.family("murphy_connections_accepted_total", "counter", "Connections accepted.");
        for (target, sample) in all {
            self.sample(
                "murphy_connections_accepted_total",
                &[("target", &target.name)],
                sample.accepted as f64,
            );
        }
        self.family("murphy_connections_open", "gauge", "Connections open now.");
        for (target, sample) in all {
            self.sample("murphy_connections_open", &[("target", &target.name)], sample.open as f64);
        }
        self.family("murphy_bytes_total", "counter", "Bytes to the service (up) and to clients (down).");
        for (target, sample) in all {
            for (direction, bytes) in [("up", sample.bytes_up), ("down", sample.bytes_down)] {
                let labels = [("target", &*target.name), ("direction", direction)];
                self.sample("murphy_bytes_total", &labels, bytes as f64);
            }
        }
        let ends = "Requests that ended; connections, where requests are not understood.";
        self.family("murphy_requests_total", "counter", ends);
        self.by_arm(all, "murphy_requests_total", |arm| arm.requests);
        self.family(
            "murphy_request_errors_total",
            "counter",
            "Those that failed: no answer, 500 and above, cut off.",
        );
        self.by_arm(all, "murphy_request_errors_total", |arm| arm.errors);
        let refused =
            "What clients sent that is no request, and was refused: answered with 400, 431, 501 or 505.";
        self.family("murphy_requests_refused_total", "counter", refused);
        for (target, sample) in all {
            let labels = [("target", &*target.name)];
            self.sample("murphy_requests_refused_total", &labels, sample.refused as f64);
        }
        self.family("murphy_request_duration_seconds", "histogram", "What clients waited for an answer.");
        for (target, sample) in all {
            for (faulted, arm) in arms(sample) {
                self.histogram("murphy_request_duration_seconds", &target.name, faulted, &arm.latency);
            }
        }
        self.family("murphy_injected_seconds_total", "counter", "What faults had clients wait longer.");
        for (target, sample) in all {
            let seconds = sample.added.sum() as f64 / 1e9;
            self.sample("murphy_injected_seconds_total", &[("target", &target.name)], seconds);
        }
    }

    fn by_arm(&mut self, all: &[(&TargetRef, &Sample)], name: &str, count: impl Fn(&Arm) -> u64) {
        for (target, sample) in all {
            for (faulted, arm) in arms(sample) {
                self.sample(name, &[("target", &target.name), ("faulted", faulted)], count(arm) as f64);
            }
        }
    }

    fn histogram(&mut self, name: &str, target: &str, faulted: &str, of: &Histogram) {
        let labels = [("target", target), ("faulted", faulted)];
        let count = of.count() as f64;
        for bound in BOUNDS {
            let le = bound.to_string();
            let within = of.at_most((bound * 1e9) as u64) as f64;
            self.sample(&format!("{name}_bucket"), &[labels[0], labels[1], ("le", &le)], within);
        }
        self.sample(&format!("{name}_bucket"), &[labels[0], labels[1], ("le", "+Inf")], count);
        self.sample(&format!("{name}_sum"), &labels, of.sum() as f64 / 1e9);
        self.sample(&format!("{name}_count"), &labels, count);
    }

    /// What murphy itself takes, under the names that all exporters use.
    fn process(&mut self, usage: Option<Usage>) {
        let Some(own) = usage else { return };
        for (name, kind, help, value) in [
            ("process_cpu_seconds_total", "counter", "Processor time that murphy took.", own.cpu_seconds),
            ("process_resident_memory_bytes", "gauge", "Memory that murphy has.", own.resident_bytes as f64),
            ("process_open_fds", "gauge", "Descriptors that murphy has open.", own.descriptors as f64),
        ] {
            self.family(name, kind, help);
            self.sample(name, &[], value);
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (i, (key, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{key}=\"{text}\"", if i == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}
