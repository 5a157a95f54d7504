//! What an experiment may do for whom. An operator breaks what is open; a file that runs programs, reads or writes files
//! or opens proxies does so as the agent's user, and that is for the agent's own user and root alone.

use control::wire::{Code, Failure};
use control::{Answer, Role};
use model::experiment::Source;
use model::{Experiment, TargetRef, TargetSpec};

/// Refuses an experiment that asks for more than its starter's role allows. `report`: it would write one; `open`: the
/// targets that are open already.
pub fn may_run(role: Role, experiment: &Experiment, report: bool, open: &[TargetRef]) -> Answer<()> {
    if role >= Role::Admin {
        return Ok(());
    }
    let runs = experiment.steady_state.metrics.iter().find(|m| matches!(m.from, Source::Command(_)));
    let reads = experiment
        .loads
        .iter()
        .find(|l| l.body.as_deref().is_some_and(|b| b.starts_with('@')) || l.trust.roots.is_some());
    let checks = experiment.steady_state.metrics.iter().find(|m| match &m.from {
        Source::Http(p) => p.trust.roots.is_some(),
        Source::Prometheus(p) => p.trust.roots.is_some(),
        _ => false,
    });
    let opens = experiment.targets.iter().find(|t| {
        matches!(t.spec, TargetSpec::Proxy(_) | TargetSpec::Fs(_)) && !open.contains(&t.reference())
    });
    let asks = if let Some(metric) = runs {
        format!("metric {} runs a program", metric.name)
    } else if let Some(load) = reads {
        format!("load {} reads a file", load.name)
    } else if let Some(metric) = checks {
        format!("metric {} reads a file", metric.name)
    } else if let Some(target) = opens {
        format!("{} would be opened", target.reference())
    } else if report {
        "its report would be written to a directory".to_owned()
    } else {
        return Ok(());
    };
    Err(Failure::new(Code::Forbidden, format!("{asks}, and the agent would do that as its own user"))
        .hint("leave it out, or have the agent's own user or root start the run"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn asked(role: Role, extra: &str, report: bool, open: bool) -> Answer<()> {
        let file = format!(
            "murphy: 1\ntargets: {{web: {{proxy: {{listen: ':1', upstream: 'a:2'}}}}}}\n{extra}\n\
             stages: [{{faults: [{{target: web, for: 5s, inject: {{blackhole: }}}}]}}]\n"
        );
        let experiment = model::experiment::read("t.yaml", &file, &BTreeMap::new()).unwrap();
        let open = if open { vec!["proxy:web".parse().unwrap()] } else { vec![] };
        may_run(role, &experiment, report, &open)
    }

    #[test]
    fn operators_break_what_is_open_and_nothing_else() {
        let program = "steady_state: {metrics: {m: {from: {command: {run: [id]}}, expect: '== 1'}}}";
        let file = "load: {u: {http: {url: 'http://a/', body: '@/etc/hostname'}, rate: 1/s}}";
        assert!(asked(Role::Operator, "", false, true).is_ok());
        let roots =
            "steady_state: {metrics: {m: {from: {http: {url: 'https://a/', roots: r.pem}}, expect: '== 1'}}}";
        let cases = [
            (program, false, true),
            (file, false, true),
            (roots, false, true),
            ("", true, true),
            ("", false, false),
        ];
        for (extra, report, open) in cases {
            let refused = asked(Role::Operator, extra, report, open).unwrap_err();
            assert_eq!(refused.code, Code::Forbidden, "{extra}");
            assert!(asked(Role::Admin, extra, report, open).is_ok(), "{extra}");
        }
    }
}
