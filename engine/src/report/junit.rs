use super::escape;
use model::event::WindowResult;
use model::{RunRecord, Verdict};

/// `junit.xml`: one test case per deciding metric, one for the run itself.
pub fn junit(run: &RunRecord) -> String {
    let mut cases = String::new();
    let (mut tests, mut failures, mut errors, mut skipped) = (0, 0, 0, 0);
    let mut case = |name: &str, outcome: Option<(&str, &str)>| {
        tests += 1;
        let body = match outcome {
            None => String::new(),
            Some((kind, why)) => {
                match kind {
                    "failure" => failures += 1,
                    "error" => errors += 1,
                    _ => skipped += 1,
                }
                format!("<{kind} message=\"{}\"/>", escape(why))
            }
        };
        cases.push_str(&format!(
            "    <testcase classname=\"{}\" name=\"{}\">{body}</testcase>\n",
            escape(&run.name),
            escape(name)
        ));
    };
    for metric in run.metrics.iter().filter(|m| m.gate) {
        let outcome = match metric.result {
            WindowResult::Pass => None,
            WindowResult::Fail => Some(("failure", metric.why.as_str())),
            WindowResult::Unknown => Some(("skipped", metric.why.as_str())),
        };
        case(&metric.name, outcome);
    }
    for fault in &run.faults {
        let name = format!("fault {} applies and is taken back", fault.id);
        let outcome = match &fault.failure {
            Some(why) => Some(("error", why.as_str())),
            None if fault.evidence.applied == 0 => Some(("skipped", "it did nothing")),
            None => None,
        };
        case(&name, outcome);
    }
    let outcome = match run.verdict {
        Verdict::Held => None,
        Verdict::Deviated => Some(("failure", run.why.as_str())),
        Verdict::Inconclusive => Some(("skipped", run.why.as_str())),
        Verdict::Aborted | Verdict::Error => Some(("error", run.why.as_str())),
    };
    case("verdict", outcome);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{:.3}\" timestamp=\"{}\">\n{cases}  </testsuite>\n</testsuites>\n",
        escape(&run.name),
        run.seconds,
        escape(&run.started)
    )
}
