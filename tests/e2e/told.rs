//! What others are told: a real Prometheus that scrapes an agent, and a real collector of OpenTelemetry (rotel, from PyPI).

use crate::ground::{
    Agent, Nginx, TempDir, client, eventually, free_port, get, murphy_in, need, program, run, this_machine,
};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server whose words are kept; killed at the end.
struct Telling(Child, PathBuf);

impl Telling {
    fn start(mut command: Command, log: PathBuf) -> Telling {
        let file = std::fs::File::create(&log).unwrap();
        let also = file.try_clone().unwrap();
        Telling(command.stdin(Stdio::null()).stdout(file).stderr(also).spawn().unwrap(), log)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.1).unwrap_or_default()
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The files for Prometheus and Grafana.
fn deploy(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(part)
}

#[test]
fn alerts_are_what_promtool_takes_and_fire_when_they_should() {
    let promtool = program("promtool", &[]);
    if !need("promtool (apt-get install prometheus)", promtool.is_some()) {
        return;
    }
    let promtool = promtool.unwrap();
    for args in [
        ["check", "rules", "murphy.rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "murphy.rules.test.yml"],
    ] {
        let done = run(Command::new(&promtool).args(args).current_dir(deploy("prometheus")));
        assert_eq!(done.code, 0, "{args:?}: {} {}", done.out, done.err);
    }
}

#[test]
fn prometheus_scrapes_and_every_panel_of_the_dashboard_asks_what_it_understands() {
    let prometheus = program("prometheus", &[]);
    let nginx = Nginx::start();
    if !need("prometheus (apt-get install prometheus)", prometheus.is_some()) || nginx.is_none() {
        return;
    }
    let (nginx, dir) = (nginx.unwrap(), TempDir::new());
    let (front, api, at) = (free_port(), free_port(), free_port());
    let agent = Agent::start_with(
        &[format!("web=127.0.0.1:{front},127.0.0.1:{},http", nginx.port)],
        &["--listen", &format!("127.0.0.1:{api}")],
    );
    let config = dir.file(
        "prometheus.yml",
        &format!(
            "global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}\nrule_files: [{}]\nscrape_configs: [{{job_name: murphy, static_configs: [{{targets: ['127.0.0.1:{api}']}}]}}]\n",
            deploy("prometheus/murphy.rules.yml").display()
        ),
    );
    let mut command = Command::new(prometheus.unwrap());
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{at}"));
    let server = Telling::start(command, dir.path().join("log"));
    let ask = |query: &str| -> serde_json::Value {
        let path = format!("/api/v1/query?query={}", model::percent::encode(query));
        let body = get(at, &path).map(|a| a.body).unwrap_or_default();
        serde_json::from_str(&body).unwrap_or_default()
    };
    let value = |query: &str| -> Option<f64> {
        ask(query)["data"]["result"][0]["value"][1].as_str().and_then(|v| v.parse().ok())
    };
    agent.arm("proxy:web latency delay=30ms percent=50%");
    for _ in 0..40 {
        assert_eq!(get(front, "/").unwrap().status, 200);
    }
    let is = |query: &str, fits: &dyn Fn(f64) -> bool| {
        let mut seen = Vec::new();
        assert!(
            eventually(Duration::from_secs(40), || {
                seen.push(format!("{:?}", value(query)));
                value(query).is_some_and(fits)
            }),
            "{query}: {:?}\n{}",
            {
                seen.dedup();
                seen
            },
            server.said()
        );
    };
    is("murphy_build_info", &|n| n == 1.0);
    is(r#"sum(murphy_fault_active{fault="latency"})"#, &|n| n == 1.0);
    is("sum(murphy_fault_considered_total)", &|n| n == 40.0);
    is("sum(murphy_requests_total)", &|n| n == 40.0);
    // Both arms, apart: the faulted ones took 30 ms and more, which no bucket up to 25 ms holds.
    let hit = value("sum(murphy_fault_applied_total)").unwrap();
    is(r#"murphy_requests_total{faulted="true"}"#, &|n| n == hit);
    is(r#"murphy_request_duration_seconds_bucket{faulted="true", le="0.025"}"#, &|n| n == 0.0);
    is(r#"murphy_request_duration_seconds_count{faulted="true"}"#, &|n| n == hit);
    is("murphy_injected_seconds_total", &|n| n >= 0.029 * hit && n < 0.2 * hit);
    is("process_resident_memory_bytes > 1e6", &|n| n > 1e6);
    let mut nonsense = std::net::TcpStream::connect(("127.0.0.1", front)).unwrap();
    nonsense.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").unwrap();
    let mut refused = String::new();
    nonsense.read_to_string(&mut refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    is("sum(murphy_requests_refused_total)", &|n| n == 1.0);
    is("sum(murphy_requests_total)", &|n| n == 40.0);
    let dashboard: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(deploy("grafana/murphy.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    for target in panels.iter().flat_map(|p| p["targets"].as_array().unwrap()) {
        let expr = target["expr"].as_str().unwrap();
        let query = expr
            .replace("$instance", ".*")
            .replace("$target", ".*")
            .replace("$__rate_interval", "1m")
            .replace("$__range", "1m");
        let answer = ask(&query);
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        // What there is of it here has a value.
        let shown = ["requests_total", "fault_active", "connections_open", "process_", "injected_seconds"];
        if shown.iter().any(|part| query.contains(part)) && !query.contains("errors") {
            is(&query, &|_| true);
        }
    }
}

#[test]
fn a_collector_gets_the_tree_of_a_run_and_the_faulted_requests_below_their_callers() {
    let (Some(python), Some(nginx)) = (client("told", ""), Nginx::start()) else { return };
    let packages = python.get_envs().find_map(|(k, v)| (k == "PYTHONPATH").then_some(v?)).unwrap().to_owned();
    let dir = TempDir::new();
    let (http, grpc, front) = (free_port(), free_port(), free_port());
    let mut command = Command::new(Path::new(&packages).join("rotel/rotel-agent"));
    command
        .args([
            "start",
            "--exporter",
            "blackhole",
            "--debug-log",
            "traces",
            "--debug-log-verbosity",
            "detailed",
        ])
        .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
        .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
        .arg("--log-file")
        .arg(dir.path().join("rotel.log"))
        .arg("--pid-file")
        .arg(dir.path().join("rotel.pid"));
    let collector = Telling::start(command, dir.path().join("said"));
    assert!(
        eventually(Duration::from_secs(30), || std::net::TcpStream::connect(("127.0.0.1", http)).is_ok()),
        "{}",
        collector.said()
    );
    let file = dir.file(
        "traced.yaml",
        &format!(
            r#"murphy: 1
name: traced
targets: {{web: {{proxy: {{listen: "127.0.0.1:{front}", upstream: "127.0.0.1:{}", protocol: http}}}}}}
load:
  users:
    http: {{url: "http://127.0.0.1:{front}/", headers: {{traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01}}}}
    rate: 20/s
steady_state:
  window: 1s
  baseline: 2s
  metrics:
    answered: {{from: {{load: {{users: success}}}}, expect: ">= 1%"}}
stages:
  - name: broken
    for: 4s
    faults: [{{target: web, for: 3s, percent: 50%, inject: {{abort: {{status: 503}}}}}}]
"#,
            nginx.port
        ),
    );
    let done = run(murphy_in(dir.path())
        .args(["run", "--yes", "--otlp"])
        .arg(format!("http://127.0.0.1:{http}"))
        .arg(&file));
    assert_eq!(done.code, 0, "{} {}", done.out, done.err);
    let said = collector.said();
    let spans: Vec<&str> = said.split("Span #").skip(1).collect();
    let of = |name: &str| -> Vec<&&str> { spans.iter().filter(|s| field(s, "Name") == name).collect() };
    let one = |name: &str| *of(name).first().unwrap_or_else(|| panic!("no {name}: {said}"));
    let (experiment, stage, fault) = (one("experiment traced"), one("stage broken"), one("fault abort"));
    assert_eq!(field(experiment, "Parent ID"), "");
    for (child, parent) in [(one("baseline"), experiment), (stage, experiment), (fault, stage)] {
        assert_eq!(field(child, "Trace ID"), field(parent, "Trace ID"));
        assert_eq!(field(child, "Parent ID"), field(parent, "ID"));
    }
    assert!(experiment.contains("murphy.verdict: Str(held)"), "{experiment}");
    // Half of some sixty requests in three seconds; at the very least some.
    let requests = of("murphy abort");
    assert!(requests.len() > 5, "{} of {}: {said}", requests.len(), spans.len());
    for request in requests {
        assert_eq!(field(request, "Trace ID"), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(field(request, "Parent ID"), "b7ad6b7169203331");
        assert!(request.contains("http.response.status_code: Int(503)"), "{request}");
    }
}

#[test]
fn a_collector_that_is_not_there_is_told_of_once_and_holds_nothing_up() {
    let dir = TempDir::new();
    let nobody = free_port();
    let wrong = run(murphy_in(dir.path()).args(["agent", "--otlp", "collector:4318"]));
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    assert!(wrong.err.contains("--otlp") && wrong.err.contains("http://127.0.0.1:4318"), "{}", wrong.err);
    let file = dir.file(
        "short.yaml",
        "{murphy: 1, name: short, targets: {self: {node: {}}}, stages: [{for: 5s, faults: [{target: self, for: 1s, inject: {cpu: {cores: 0.1}}}]}]}\n",
    );
    let _one = this_machine();
    let begun = std::time::Instant::now();
    let done = run(murphy_in(dir.path())
        .args(["run", "--yes", "--otlp"])
        .arg(format!("http://127.0.0.1:{nobody}"))
        .arg(&file));
    let said = format!("{}{}", done.out, done.err);
    let told = format!("spans cannot be sent to http://127.0.0.1:{nobody}");
    assert_eq!(said.matches(&told).count(), 1, "{said}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{said}");
}

/// What a span says of itself under a name.
fn field<'a>(span: &'a str, name: &str) -> &'a str {
    let lines = span.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(key, value)| (key.trim(), value.trim()))
        .find(|(key, _)| *key == name)
        .map_or("", |(_, value)| value)
}
