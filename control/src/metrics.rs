//! Metrics in the text format of Prometheus, under the names that EXPERIMENT.md promises.

use crate::operations::OperationRow;
use crate::wire::{AgentStatus, FaultState};
use model::event::WindowResult;
use std::fmt::Write;

const PHASES: [&str; 5] = ["baseline", "stage", "cooldown", "verify", "done"];

/// The whole page.
pub(crate) fn text(status: &AgentStatus, faults: &[FaultState], files: &[OperationRow]) -> String {
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
    page.0
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

struct Page(String);

impl Page {
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
