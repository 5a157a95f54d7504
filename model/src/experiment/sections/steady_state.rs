use super::names::{check_name, declared, known};
use crate::experiment::{
    Allow, CommandProbe, Compare, Expect, HttpProbe, JsonTest, Load, Metric, NoData, ProcessProbe,
    ProcessStat, PrometheusProbe, Severity, Source, Stat, SteadyState, TcpProbe,
};
use crate::target::{Target, TargetKind, TargetSpec};
use crate::units::{EventRate, Percent, Size, Span};
use crate::yaml::{Data, Fields, Node, Reader};

/// Reads `steady_state`; with nothing given, ten seconds before and after are watched and nothing is judged.
pub(in crate::experiment) fn read(
    r: &Reader,
    top: &Fields<'_>,
    targets: &[Target],
    loads: &[Load],
) -> Option<SteadyState> {
    let mut out = SteadyState {
        window: Span::secs(5),
        baseline: Span::secs(10),
        cooldown: Span::secs(10),
        no_data: NoData::Unknown,
        metrics: vec![],
    };
    let Some(node) = top.get("steady_state") else { return Some(out) };
    let f = r.fields(node, "steady_state", &["window", "baseline", "cooldown", "no_data", "metrics"])?;
    let span = |key: &str, default: Span| f.get(key).map_or(Some(default), |n| r.parse(n, key));
    let window = span("window", out.window);
    let (baseline, cooldown) = (span("baseline", out.baseline), span("cooldown", out.cooldown));
    if let Some(node) = f.get("no_data") {
        out.no_data = r.choice(
            node,
            "no_data",
            &[("pass", NoData::Pass), ("fail", NoData::Fail), ("unknown", NoData::Unknown)],
        )?;
    }
    if let Some(node) = f.get("metrics") {
        for (key, value) in r.entries(node, "metrics") {
            if check_name(r, key.place, &key.text) {
                out.metrics.extend(metric(r, top, &key.text, value, targets, loads));
            }
        }
    }
    (out.window, out.baseline, out.cooldown) = (window?, baseline?, cooldown?);
    if out.window < Span::secs(1) {
        return r.refuse(
            f.place_of("window"),
            format!("a window of {} is too short", out.window),
            "it takes at least 1s: samples come once a second",
        );
    }
    for (key, span) in [("baseline", out.baseline), ("cooldown", out.cooldown)] {
        if !out.metrics.is_empty() && span > Span::secs(0) && span.0 < out.window.0 / 2 {
            return r.refuse(
                f.place_of(key),
                format!("a {key} of {span} holds no window of {}: nothing would be judged in it", out.window),
                format!(
                    "make it as long as a window at least, or write a shorter window: {key}: {}",
                    out.window
                ),
            );
        }
    }
    Some(out)
}

fn metric(
    r: &Reader,
    top: &Fields<'_>,
    name: &str,
    node: &Node,
    targets: &[Target],
    loads: &[Load],
) -> Option<Metric> {
    let what = format!("metric {name}");
    let f = r.fields(node, &what, &["from", "expect", "min_samples", "allow", "severity"])?;
    let from = r
        .need(&f, &what, "from", "{proxy: {target: web, latency: p99}}")
        .and_then(|n| source(r, top, n, &what, targets, loads));
    let expect_node = r.need(&f, &what, "expect", "\"< 800ms\"");
    let from = from?;
    let expect = expect(r, expect_node?, &what, &from)?;
    let allow = match f.get("allow") {
        Some(node) => Some(allow(r, node)?),
        None => None,
    };
    let severity = f.get("severity").map_or(Some(Severity::Gate), |n| {
        r.choice(n, "severity", &[("gate", Severity::Gate), ("inform", Severity::Inform)])
    })?;
    let min_samples =
        f.get("min_samples").map_or(Some(1), |n| r.integer(n, "min_samples", 1, 1_000_000_000))?;
    Some(Metric { name: name.to_owned(), from, expect, min_samples, allow, severity })
}

fn allow(r: &Reader, node: &Node) -> Option<Allow> {
    let f = r.fields(node, "allow", &["breaches"])?;
    let n = r.need(&f, "allow", "breaches", "2 of 12")?;
    let text = r.text(n, "breaches")?;
    let pair =
        text.split_once(" of ").and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
    match pair {
        Some((breaches, of)) if of > 0 && breaches < of => Some(Allow { breaches, of }),
        _ => r.refuse(
            n.place,
            format!("breaches: {text:?} is not so many of so many"),
            "write for example 2 of 12",
        ),
    }
}

fn source(
    r: &Reader,
    top: &Fields<'_>,
    node: &Node,
    what: &str,
    targets: &[Target],
    loads: &[Load],
) -> Option<Source> {
    let kinds = ["proxy", "load", "http", "tcp", "command", "process", "prometheus"];
    let f = r.fields(node, &format!("from of {what}"), &kinds)?;
    let given: Vec<&str> = kinds.into_iter().filter(|k| f.has(k)).collect();
    let [kind] = given[..] else {
        return r.refuse(
            node.place,
            format!("{what} needs one source"),
            format!("write one of {}", kinds.join(", ")),
        );
    };
    let node = f.get(kind)?;
    match kind {
        "proxy" => {
            let p = r.fields(node, what, &["target", "latency", "errors", "success", "rate"])?;
            let name_node = r.need(&p, what, "target", "web")?;
            let target = r.text(name_node, "target")?;
            let proxies: Vec<&str> = targets
                .iter()
                .filter(|t| t.spec.kind() == TargetKind::Proxy)
                .map(|t| t.name.as_str())
                .collect();
            if !proxies.contains(&target.as_str()) {
                if declared(top, &target) && !targets.iter().any(|t| t.name == target) {
                    return None;
                }
                return r.refuse(
                    name_node.place,
                    format!("there is no proxy named {target:?}"),
                    known(&target, &proxies),
                );
            }
            Some(Source::Proxy { target, stat: stat(r, &p, what)? })
        }
        "load" => {
            let Data::Map(entries) = &node.data else {
                return r.refuse(
                    node.place,
                    format!("{what}: load must be a map"),
                    "write for example {users: success}",
                );
            };
            let [(key, value)] = &entries[..] else {
                return r.refuse(
                    node.place,
                    format!("{what}: one load is measured"),
                    "write for example {users: success}",
                );
            };
            let names: Vec<&str> = loads.iter().map(|l| l.name.as_str()).collect();
            if !names.contains(&key.text.as_str()) {
                return r.refuse(
                    key.place,
                    format!("there is no load named {:?}", key.text),
                    known(&key.text, &names),
                );
            }
            let word = r.text(value, "load")?;
            let stat = match word.as_str() {
                "success" => Stat::Success,
                "errors" => Stat::Errors,
                "rate" => Stat::Rate,
                other => match quantile(other) {
                    Some(q) => Stat::Latency(q),
                    None => {
                        return r.refuse(
                            value.place,
                            format!("{word:?} is nothing a load measures"),
                            "write success, errors, rate or a quantile such as p99",
                        );
                    }
                },
            };
            Some(Source::Load { load: key.text.clone(), stat })
        }
        "http" => {
            let p = r.fields(
                node,
                what,
                &["url", "roots", "insecure", "every", "timeout", "status", "contains", "json"],
            )?;
            Some(Source::Http(HttpProbe {
                url: super::load::url(r, r.need(&p, what, "url", "\"http://127.0.0.1:8000/health\"")?)?,
                trust: super::load::trust(r, &p)?,
                every: interval(r, &p)?,
                timeout: p.get("timeout").map_or(Some(Span::secs(1)), |n| r.parse(n, "timeout"))?,
                status: p.get("status").map_or(Some((200, 299)), |n| statuses(r, n))?,
                contains: p.get("contains").and_then(|n| r.text(n, "contains")),
                json: match p.get("json") {
                    Some(n) => Some(json_test(r, n)?),
                    None => None,
                },
            }))
        }
        "process" => process(r, top, node, what, targets),
        "prometheus" => {
            let p =
                r.fields(node, what, &["url", "roots", "insecure", "query", "every", "timeout", "max_age"])?;
            let url = r.need(&p, what, "url", "\"http://127.0.0.1:9090\"");
            let query = r.need(&p, what, "query", "\"up\"");
            Some(Source::Prometheus(PrometheusProbe {
                url: super::load::url(r, url?)?,
                trust: super::load::trust(r, &p)?,
                query: r.text(query?, "query")?,
                every: interval(r, &p)?,
                timeout: p.get("timeout").map_or(Some(Span::secs(3)), |n| r.parse(n, "timeout"))?,
                max_age: match p.get("max_age") {
                    Some(n) => Some(r.parse(n, "max_age")?),
                    None => None,
                },
            }))
        }
        "tcp" => {
            let p = r.fields(node, what, &["address", "every", "timeout"])?;
            let at = r.need(&p, what, "address", "\"127.0.0.1:5432\"")?;
            let address = r.text(at, "address")?;
            if address.rsplit_once(':').is_none_or(|(h, port)| h.is_empty() || port.parse::<u16>().is_err()) {
                return r.refuse(
                    at.place,
                    format!("address {address:?} is not host:port"),
                    "write for example 127.0.0.1:5432",
                );
            }
            Some(Source::Tcp(TcpProbe {
                address,
                every: interval(r, &p)?,
                timeout: p.get("timeout").map_or(Some(Span::secs(1)), |n| r.parse(n, "timeout"))?,
            }))
        }
        _ => {
            let p = r.fields(node, what, &["run", "every", "timeout", "parse"])?;
            let run_node = r.need(&p, what, "run", "[./count-orders.sh]")?;
            let run: Vec<String> = r.items(run_node, "run").iter().filter_map(|n| r.text(n, "run")).collect();
            if run.is_empty() {
                return r.refuse(
                    run_node.place,
                    format!("{what}: run is empty"),
                    "write the program and its arguments as a list; there is no shell",
                );
            }
            Some(Source::Command(CommandProbe {
                run,
                every: interval(r, &p)?,
                timeout: p.get("timeout").map_or(Some(Span::secs(3)), |n| r.parse(n, "timeout"))?,
                number: p
                    .get("parse")
                    .map_or(Some(false), |n| r.choice(n, "parse", &[("number", true), ("exit", false)]))?,
            }))
        }
    }
}

fn json_test(r: &Reader, node: &Node) -> Option<JsonTest> {
    let text = r.text(node, "json")?;
    match text.parse() {
        Ok(test) => Some(test),
        Err(e) => r.refuse(node.place, format!("json: {e}"), "write for example \"$.ok == true\""),
    }
}

fn process(r: &Reader, top: &Fields<'_>, node: &Node, what: &str, targets: &[Target]) -> Option<Source> {
    let p = r.fields(node, what, &["target", "stat", "every"])?;
    let (name_node, stat) = (r.need(&p, what, "target", "worker"), r.need(&p, what, "stat", "rss"));
    let name_node = name_node?;
    let target = r.text(name_node, "target")?;
    let processes = || targets.iter().filter(|t| t.spec.kind() == TargetKind::Process);
    let Some(TargetSpec::Process(spec)) = processes().find(|t| t.name == target).map(|t| &t.spec) else {
        if declared(top, &target) && !targets.iter().any(|t| t.name == target) {
            return None;
        }
        let names: Vec<&str> = processes().map(|t| t.name.as_str()).collect();
        return r.refuse(
            name_node.place,
            format!("there is no target of processes named {target:?}"),
            known(&target, &names),
        );
    };
    let stat = r.choice(stat?, "stat", &ProcessStat::WORDS)?;
    Some(Source::Process(ProcessProbe { target, spec: spec.clone(), stat, every: interval(r, &p)? }))
}

fn interval(r: &Reader, p: &Fields<'_>) -> Option<Span> {
    let every = p.get("every").map_or(Some(Span::secs(1)), |n| r.parse(n, "every"))?;
    if every < Span::millis(50) {
        return r.refuse(p.place_of("every"), format!("every {every} is too often"), "write at least 50ms");
    }
    Some(every)
}

fn stat(r: &Reader, p: &Fields<'_>, what: &str) -> Option<Stat> {
    let given: Vec<&str> =
        ["latency", "errors", "success", "rate"].into_iter().filter(|k| p.has(k)).collect();
    match given[..] {
        ["latency"] => {
            let node = p.get("latency")?;
            let text = r.text(node, "latency")?;
            match quantile(&text) {
                Some(q) => Some(Stat::Latency(q)),
                None => r.refuse(
                    node.place,
                    format!("{text:?} is not a quantile"),
                    "write for example p50, p99 or p99.9",
                ),
            }
        }
        ["errors"] => Some(Stat::Errors),
        ["success"] => Some(Stat::Success),
        ["rate"] => Some(Stat::Rate),
        _ => r.refuse(
            p.place,
            format!("{what} needs one of latency, errors, success, rate"),
            "write for example latency: p99, or errors: share",
        ),
    }
}

fn quantile(text: &str) -> Option<f64> {
    let number: f64 = text.strip_prefix('p')?.parse().ok()?;
    (number > 0.0 && number < 100.0).then_some(number / 100.0)
}

fn statuses(r: &Reader, node: &Node) -> Option<(u16, u16)> {
    let text = r.text(node, "status")?;
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(a), Ok(b)) if (100..=599).contains(&a) && (a..=599).contains(&b) => Some((a, b)),
        _ => r.refuse(
            node.place,
            format!("{text:?} is not a status or a range of them"),
            "write for example 200 or 200-299",
        ),
    }
}

fn expect(r: &Reader, node: &Node, what: &str, from: &Source) -> Option<Expect> {
    if let Data::Map(_) = node.data {
        let f = r.fields(node, &format!("expect of {what}"), &["increasing"])?;
        let n = r.need(&f, what, "increasing", "true")?;
        return match r.boolean(n, "increasing")? {
            true => Some(Expect::Increasing),
            false => r.refuse(n.place, "increasing: false expects nothing", "leave it out"),
        };
    }
    let (op, value) = bound(r, node, what, from)?;
    Some(Expect::Bound { op, value })
}

/// Reads `< 800ms` against the unit of the source.
pub(super) fn bound(r: &Reader, node: &Node, what: &str, from: &Source) -> Option<(Compare, f64)> {
    let text = r.text(node, what)?;
    let example = match from.unit() {
        "ms" => "\"< 800ms\"",
        "%" => "\">= 99%\"",
        "/s" => "\"> 50/s\"",
        "MiB" => "\"<= 512MiB\"",
        _ => "\"== 1\"",
    };
    let trimmed = text.trim();
    let Some((sign, op)) = Compare::ALL.iter().find(|(sign, _)| trimmed.starts_with(sign)) else {
        return r.refuse(
            node.place,
            format!("{what}: {text:?} has no comparison"),
            format!("write for example {example}"),
        );
    };
    let rest = trimmed[sign.len()..].trim();
    let value = match from.unit() {
        "ms" => rest.parse::<Span>().map(Span::as_millis_f64).map_err(|e| e.to_string()),
        // Of one core, so that a program with threads takes more than all of it.
        "%" if matches!(from, Source::Process(_)) => number(rest, "%"),
        "%" => rest.parse::<Percent>().map(Percent::value).map_err(|e| e.to_string()),
        "MiB" => rest.parse::<Size>().map(|s| s.0 as f64 / 1_048_576.0).map_err(|e| e.to_string()),
        // Prometheus gives shares as what they are: 1% is 0.01.
        _ if matches!(from, Source::Prometheus(_)) && rest.ends_with('%') => {
            number(rest, "%").map(|percent| percent / 100.0)
        }
        "/s" => rest.parse::<EventRate>().map(EventRate::value).map_err(|e| e.to_string()),
        _ => number(rest, ""),
    };
    match value {
        Ok(value) => Some((*op, value)),
        Err(e) => r.refuse(node.place, format!("{what}: {e}"), format!("write for example {example}")),
    }
}

/// A number with a unit after it.
fn number(text: &str, unit: &str) -> Result<f64, String> {
    let Some(digits) = text.strip_suffix(unit) else {
        return Err(format!("{text:?} is not a percentage: the sign is missing; write {text}{unit}"));
    };
    let value = digits.trim().parse::<f64>().ok().filter(|v| v.is_finite());
    value.ok_or_else(|| format!("{text:?} is not a number"))
}
