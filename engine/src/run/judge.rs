//! The verdict over everything that was recorded.

use model::Verdict;
use model::event::WindowResult;
use model::verdict::{FaultRecord, MetricRecord};

/// What ended a run before its time.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// A guard; its sentence.
    Guard(String),
    /// A person or a signal; in words.
    Person(String),
    /// The steady state did not hold before the first fault.
    NotSteady(String),
    /// Something failed.
    Failure(String),
}

/// The verdict with its sentence: what failed first, then what was ended, broken, not seen; only then what held.
pub fn judge(
    cause: Option<&Cause>,
    undo_failures: &[String],
    faults: &[FaultRecord],
    metrics: &[MetricRecord],
) -> (Verdict, String) {
    if let Some(failure) = undo_failures.first() {
        return (Verdict::Error, format!("an undo could not be verified: {failure}"));
    }
    match cause {
        Some(Cause::Failure(why)) => return (Verdict::Error, why.clone()),
        Some(Cause::Guard(why)) => return (Verdict::Aborted, format!("a guard ended the run: {why}")),
        Some(Cause::Person(who)) => return (Verdict::Aborted, format!("{who} ended the run")),
        Some(Cause::NotSteady(why)) => return (Verdict::Inconclusive, format!("nothing was armed: {why}")),
        None => {}
    }
    if let Some(fault) = faults.iter().find(|f| f.failure.is_some()) {
        return (Verdict::Error, format!("{}: {}", fault.id, fault.failure.as_deref().unwrap_or_default()));
    }
    let gates = || metrics.iter().filter(|m| m.gate);
    if let Some(broken) = gates().find(|m| m.result == WindowResult::Fail) {
        return (Verdict::Deviated, format!("{}: {}", broken.name, broken.why));
    }
    if let Some(idle) = faults.iter().find(|f| f.armed_s.is_some() && f.evidence.applied == 0) {
        let seen = match idle.evidence.considered {
            0 => "nothing it could hit came by".to_owned(),
            n => format!("{n} came by and none was hit"),
        };
        return (
            Verdict::Inconclusive,
            format!("{} did nothing: {seen}", model::titled(&idle.id, ": ", &idle.what)),
        );
    }
    if faults.iter().all(|f| f.armed_s.is_none()) {
        return (Verdict::Inconclusive, "no fault was armed".to_owned());
    }
    if let Some(unknown) = gates().find(|m| m.result == WindowResult::Unknown) {
        return (Verdict::Inconclusive, format!("{}: {}", unknown.name, unknown.why));
    }
    match gates().count() {
        0 => (
            Verdict::Held,
            "every fault met something and was taken back; the file expects nothing of any metric".to_owned(),
        ),
        1 => (Verdict::Held, "the one metric that decides held".to_owned()),
        2 => (Verdict::Held, "both metrics that decide held".to_owned()),
        n => (Verdict::Held, format!("all {n} metrics that decide held")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Evidence;

    fn fault(applied: u64) -> FaultRecord {
        FaultRecord {
            id: "slow".into(),
            fault: "latency".into(),
            target: "proxy:web".into(),
            what: "latency 100ms".into(),
            stage: "s".into(),
            seed: 1,
            armed_s: Some(1.0),
            ended_s: Some(2.0),
            ending: None,
            failure: None,
            evidence: Evidence { considered: 10, applied, ..Evidence::default() },
            time_to_effect_s: None,
            effect_in: None,
            defence_s: None,
            healing_s: None,
        }
    }

    fn metric(result: WindowResult) -> MetricRecord {
        MetricRecord {
            name: "p99".into(),
            source: String::new(),
            expect: String::new(),
            bound: None,
            unit: String::new(),
            gate: true,
            result,
            why: "because".into(),
            baseline: None,
            worst: None,
            after: None,
            windows: vec![],
        }
    }

    #[test]
    fn the_worst_decides() {
        use WindowResult::{Fail, Pass, Unknown};
        let of = |cause: Option<Cause>, undo: &[&str], applied, result| {
            let undo: Vec<String> = undo.iter().map(|s| (*s).to_owned()).collect();
            judge(cause.as_ref(), &undo, &[fault(applied)], &[metric(result)]).0
        };
        assert_eq!(of(None, &[], 5, Pass), Verdict::Held);
        assert_eq!(of(None, &[], 5, Fail), Verdict::Deviated);
        assert_eq!(of(None, &[], 5, Unknown), Verdict::Inconclusive);
        assert_eq!(of(None, &[], 0, Pass), Verdict::Inconclusive);
        assert_eq!(of(Some(Cause::Guard("g".into())), &[], 5, Fail), Verdict::Aborted);
        assert_eq!(of(Some(Cause::Person("sre".into())), &["x"], 5, Pass), Verdict::Error);
        assert_eq!(of(Some(Cause::NotSteady("p99".into())), &[], 0, Pass), Verdict::Inconclusive);
    }
}
