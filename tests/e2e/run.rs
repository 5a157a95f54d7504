//! `murphy run`: every verdict with its exit code, on real servers.

use crate::ground::{
    Finished, Nginx, TempDir, Terminal, free_port, is_root, murphy, murphy_in, need, this_machine,
};
use std::path::Path;
use std::time::Duration;

struct Shop {
    dir: TempDir,
    nginx: Nginx,
    port: u16,
}

impl Shop {
    fn open() -> Option<Shop> {
        Some(Shop { dir: TempDir::new(), nginx: Nginx::start()?, port: free_port() })
    }

    /// An experiment on nginx: what is expected, guards, faults.
    fn file(&self, metrics: &str, safety: &str, faults: &str) -> String {
        format!(
            "murphy: 1\nname: t\nseed: 3\ntargets:\n  web: {{proxy: {{listen: '127.0.0.1:{0}', upstream: '127.0.0.1:{1}', protocol: http}}}}\n\
             steady_state:\n  window: 1s\n  baseline: 4s\n  cooldown: 4s\n  metrics:\n{metrics}\n\
             load:\n  users: {{http: {{url: 'http://127.0.0.1:{0}/', timeout: 2s}}, rate: 50/s}}\n\
             {safety}\nstages:\n  - faults:\n{faults}\n",
            self.port, self.nginx.port
        )
    }

    fn run(&self, metrics: &str, safety: &str, faults: &str) -> (Finished, serde_json::Value) {
        let file = self.dir.file("t.yaml", &self.file(metrics, safety, faults));
        let done = murphy(self.dir.path(), &["run", file.to_str().unwrap(), "--report", "runs"]);
        let result = result(&self.dir.path().join("runs")).unwrap_or_default();
        (done, result)
    }
}

fn result(runs: &Path) -> Option<serde_json::Value> {
    let newest = std::fs::read_dir(runs).ok()?.map(|e| e.unwrap().path()).max()?;
    Some(serde_json::from_str(&std::fs::read_to_string(newest.join("result.json")).ok()?).unwrap())
}

const OK: &str = "    ok: {from: {load: {users: success}}, expect: '>= 95%'}";

#[test]
fn held_and_deviated() {
    let Some(shop) = Shop::open() else { return };
    let within =
        |fault: &serde_json::Value, time: &str, most: f64| fault[time].as_f64().is_some_and(|s| s <= most);
    // A machine that is busy with everything else is slow by itself: measured again, by the same bounds.
    for again in (0..5).rev() {
        let (done, result) =
            shop.run(OK, "", "      - {target: web, for: 4s, inject: {delay: {delay: 500ms}}}");
        let fault = &result["faults"][0];
        let in_time = within(fault, "time_to_effect_s", 3.5) && within(fault, "healing_s", 3.0);
        if again > 0 && !(done.code == 0 && in_time) {
            continue;
        }
        assert_eq!(done.code, 0, "{done:?}");
        assert_eq!(result["verdict"], "held");
        assert!(in_time, "{fault}");
        assert!(fault["evidence"]["measured"].as_object().is_some_and(|m| !m.is_empty()), "{fault}");
        break;
    }

    let (done, result) =
        shop.run(OK, "", "      - {target: web, for: 4s, percent: 50%, inject: {abort: {status: 503}}}");
    assert_eq!(done.code, 1, "{done:?}");
    assert_eq!(result["verdict"], "deviated");
    let windows = result["metrics"][0]["windows"].as_array().unwrap();
    let failed =
        |phase: &str| windows.iter().filter(|w| w["phase"] == phase && w["result"] == "fail").count();
    assert_eq!(failed("before"), 0, "{windows:?}");
    assert!(failed("during") >= 2, "{windows:?}");
}

#[test]
fn a_fault_that_met_nothing_is_inconclusive() {
    let Some(shop) = Shop::open() else { return };
    let (done, result) =
        shop.run(OK, "", "      - {target: web, for: 2s, when: {path: /never}, inject: {abort: {}}}");
    assert_eq!(done.code, 3, "{done:?}");
    assert!(result["why"].as_str().unwrap().contains("did nothing"), "{}", result["why"]);
}

#[test]
fn load_and_probes_speak_tls_and_notice_a_certificate() {
    let Some(shop) = Shop::open() else { return };
    let file = |fault: &str, trust: &str| {
        format!(
            "murphy: 1\nname: t\ntargets:\n  web: {{proxy: {{listen: '127.0.0.1:{0}', upstream: '127.0.0.1:{1}', protocol: http, tls: {{downstream: terminate}}}}}}\n\
             steady_state:\n  window: 1s\n  baseline: 3s\n  cooldown: 3s\n  metrics:\n{OK}\n    home: {{from: {{http: {{url: 'https://localhost:{0}/'{trust}, every: 200ms, timeout: 10s}}}}, expect: '== 1'}}\n\
             load:\n  users: {{http: {{url: 'https://localhost:{0}/'{trust}, timeout: 10s, headers: {{connection: close}}}}, rate: 30/s}}\n\
             stages: [{{faults: [{{target: web, for: 3s, inject: {fault}}}]}}]\n",
            shop.port, shop.nginx.port
        )
    };
    let run = |text: String| {
        let file = shop.dir.file("t.yaml", &text);
        let done = murphy(shop.dir.path(), &["run", file.to_str().unwrap(), "--report", "runs"]);
        (done, result(&shop.dir.path().join("runs")).unwrap_or_default())
    };
    // murphy's own CA is trusted without a word.
    let (done, result) = run(file("{delay: {delay: 20ms}}", ""));
    assert_eq!((done.code, result["verdict"].as_str()), (0, Some("held")), "{done:?}");
    let (done, result) = run(file("{tls_certificate: {problem: expired}}", ""));
    assert_eq!((done.code, result["verdict"].as_str()), (1, Some("deviated")), "{done:?}");
    let (done, _) = run(file("{tls_certificate: {problem: expired}}", ", insecure: true"));
    assert_eq!(done.code, 0, "{done:?}");
    // Nothing is begun when there is nothing to check with.
    let (done, _) = run(file("{delay: {delay: 20ms}}", ", roots: nowhere.pem"));
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.err.contains("nowhere.pem") && done.err.contains("load users"), "{}", done.err);
}

#[test]
fn a_guard_takes_everything_back() {
    let Some(shop) = Shop::open() else { return };
    let guard = "safety: {abort_if: [{metric: ok, is: '< 50%', for: 2s}]}";
    let (done, result) = shop.run(OK, guard, "      - {target: web, for: 60s, inject: {abort: {}}}");
    assert_eq!(done.code, 4, "{done:?}");
    assert_eq!(result["verdict"], "aborted");
    assert_eq!(result["guards"][0]["tripped"], true);
    assert_eq!(result["faults"][0]["ending"], "guard");
    assert!(result["seconds"].as_f64().unwrap() < 30.0, "{}", result["seconds"]);
}

#[test]
fn what_was_not_steady_is_not_broken_further() {
    let Some(shop) = Shop::open() else { return };
    let slow = "    fast: {from: {proxy: {target: web, latency: p50}}, expect: '< 0.001ms'}";
    let (done, result) = shop.run(slow, "", "      - {target: web, for: 2s, inject: {abort: {}}}");
    assert_eq!(done.code, 3, "{done:?}");
    assert!(result["why"].as_str().unwrap().contains("nothing was armed"), "{}", result["why"]);
    assert!(result["faults"][0]["armed_s"].is_null());
}

#[test]
fn an_interrupt_and_a_halt_end_it_and_leave_a_report() {
    let Some(shop) = Shop::open() else { return };
    for by_signal in [true, false] {
        let runs = if by_signal { "runs-signal" } else { "runs-halt" };
        let file = shop.dir.file(
            "t.yaml",
            &shop.file(OK, "", "      - {target: web, for: 60s, inject: {delay: {delay: 30ms}}}"),
        );
        let child = murphy_in(shop.dir.path())
            .args(["run", file.to_str().unwrap(), "--report", runs])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let journal = || {
            let dir = std::fs::read_dir(shop.dir.path().join(runs)).ok()?.next()?.ok()?.path();
            std::fs::read_to_string(dir.join("journal.jsonl")).ok()
        };
        let armed = crate::ground::eventually(Duration::from_secs(30), || {
            journal().is_some_and(|j| j.contains("\"armed\""))
        });
        if by_signal {
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()),
                nix::sys::signal::Signal::SIGINT,
            )
            .unwrap();
        } else {
            let halted = murphy(shop.dir.path(), &["halt"]);
            assert_eq!(halted.code, 0, "{halted:?}");
        }
        let done: Finished = child.wait_with_output().unwrap().into();
        assert!(armed, "{done:?}");
        assert_eq!(done.code, 4, "{done:?}");
        assert_eq!(result(&shop.dir.path().join(runs)).unwrap()["verdict"], "aborted");
        murphy(shop.dir.path(), &["halt", "--lift"]);
    }
}

#[test]
fn a_plan_touches_nothing() {
    let Some(shop) = Shop::open() else { return };
    let file = shop.dir.file(
        "t.yaml",
        &shop.file(OK, "", "      - {id: slow, target: web, for: 4s, inject: {latency: {delay: 40ms}}}"),
    );
    let done = murphy(shop.dir.path(), &["run", file.to_str().unwrap(), "--dry-run", "--report", "runs"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out.contains("latency 40ms on proxy:web") && done.out.contains("undo:"), "{done:?}");
    assert!(!shop.dir.path().join("runs").exists());
}

#[test]
fn what_cannot_start_says_all_of_it() {
    let dir = TempDir::new();
    let (free, other) = (free_port(), free_port());
    let file = dir.file(
        "t.yaml",
        &format!(
            "murphy: 1\ntargets:\n  web: {{proxy: {{listen: '127.0.0.1:{free}', upstream: '127.0.0.1:{other}'}}}}\n  worker: {{process: {{match: 'no such worker anywhere'}}}}\n\
             stages: [{{faults: [{{target: web, for: 2s, inject: {{blackhole: }}}}, {{target: worker, for: 2s, inject: {{pause: }}}}]}}]\n"
        ),
    );
    let done = murphy(dir.path(), &["run", file.to_str().unwrap(), "--report", "runs"]);
    assert_eq!(done.code, 5, "{done:?}");
    assert!(
        done.err.contains(&format!("127.0.0.1:{other}")) && done.err.contains("start the service first"),
        "{done:?}"
    );
    assert!(done.err.contains("no such worker anywhere"), "{done:?}");
    assert!(!dir.path().join("runs").exists(), "nothing half done");
}

#[test]
fn a_confirmation_is_asked_for() {
    let dir = TempDir::new();
    let file = dir.file(
        "t.yaml",
        "murphy: 1\nname: careful\ntargets: {me: {node: self}}\nsafety: {confirm: typed}\nstages: [{faults: [{target: me, for: 1s, inject: {cpu: {load: 5%}}}]}]\n",
    );
    let asked = murphy(dir.path(), &["run", file.to_str().unwrap()]);
    assert_eq!(asked.code, 2, "{asked:?}");
    assert!(asked.err.contains("--confirm careful"), "{asked:?}");
    let wrong = murphy(dir.path(), &["run", file.to_str().unwrap(), "--confirm", "carefull"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
}

/// At the question, too, ctrl-c is an answer.
#[test]
fn a_confirmation_can_be_left() {
    let dir = TempDir::new();
    dir.file(
        "t.yaml",
        "murphy: 1\nname: careful\ntargets: {me: {node: self}}\nsafety: {confirm: typed}\nstages: [{faults: [{target: me, for: 1s, inject: {cpu: {load: 5%}}}]}]\n",
    );
    let mut terminal = Terminal::open(dir.path(), 80, 24, &["run", "t.yaml"]);
    terminal.see("type careful to start:");
    terminal.press("\u{3}");
    terminal.see("ctrl-c instead of an answer: nothing was started");
    assert_eq!(terminal.end(), 2);
    let mut terminal = Terminal::open(dir.path(), 80, 24, &["run", "-"]);
    terminal.press("murphy: 1\r");
    terminal.see("murphy: 1");
    terminal.press("\u{3}");
    assert_ne!(terminal.end(), 0);
    // One fault of the machine as a whole at a time.
    let _machine = this_machine();
    let mut terminal = Terminal::open(dir.path(), 80, 24, &["run", "t.yaml"]);
    terminal.see("type careful to start:");
    terminal.press("careful\r");
    terminal.see("seed");
    assert_eq!(terminal.end(), 0);
}

/// Nothing of murphy's is in the way of its requests: only loads and probes see what a process that stands still is worth.
#[test]
fn without_a_proxy_it_is_judged_by_what_loads_and_probes_see() {
    let Some(nginx) = Nginx::start() else { return };
    let mut sleepers = ["600", "601"].map(|s| std::process::Command::new("sleep").arg(s).spawn().unwrap());
    let [paused, skewed] = [0, 1].map(|n: usize| sleepers[n].id());
    let clock = if need("root, to change other programs' clocks", is_root()) {
        "      - {target: skewed, for: 3s, inject: {clock: {offset: -1h}}}\n"
    } else {
        ""
    };
    let dir = TempDir::new();
    let run = |safety: &str| {
        let yaml = format!(
            "murphy: 1\nname: t\ntargets: {{paused: {{process: {{pid: {paused}}}}}, skewed: {{process: {{pid: {skewed}}}}}}}\n\
             steady_state:\n  window: 1s\n  baseline: 3s\n  cooldown: 3s\n  metrics:\n{OK}\n\
             \x20   home: {{from: {{http: {{url: 'http://127.0.0.1:{0}/', every: 200ms}}}}, expect: '== 1'}}\n\
             load:\n  users: {{http: {{url: 'http://127.0.0.1:{0}/', timeout: 2s}}, rate: 50/s}}\n{safety}\n\
             stages:\n  - faults:\n      - {{target: paused, for: 3s, inject: {{pause: }}}}\n{clock}",
            nginx.port,
        );
        let file = dir.file("t.yaml", &yaml);
        let reports = if safety.is_empty() { "held" } else { "guarded" };
        let done = murphy(dir.path(), &["run", file.to_str().unwrap(), "--report", reports]);
        (done, result(&dir.path().join(reports)).unwrap_or_default())
    };
    let (done, held) = run("");
    let (guarded, aborted) = run("safety: {abort_if: [{metric: ok, is: '<= 100%', for: 1s}]}");
    for sleeper in &mut sleepers {
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
    assert_eq!((done.code, &held["verdict"]), (0, &"held".into()), "{done:?}");
    for metric in held["metrics"].as_array().unwrap() {
        assert!(metric["windows"].as_array().unwrap().len() >= 6, "{metric}");
    }
    // What was on, not what is left of it when it is over.
    let measured = |n: usize| &held["faults"][n]["evidence"]["measured"];
    assert_eq!(measured(0)["stopped_now"], 1.0, "{held}");
    assert!(clock.is_empty() || measured(1)["skew_ms"] == -3_600_000.0, "{held}");
    assert_eq!((guarded.code, &aborted["verdict"]), (4, &"aborted".into()), "{guarded:?}");
}

/// What a body says as JSON, what Prometheus has, what processes take, and how busy the machine is.
#[test]
fn json_prometheus_processes_and_the_machine_are_looked_at() {
    let dir = TempDir::new();
    let long = format!("600.{}", std::process::id());
    let mut sleeper = std::process::Command::new("sleep").arg(&long).spawn().unwrap();
    let (pid, port) = (sleeper.id(), free_port());
    let run = |guard: &str| {
        // Prometheus is played by a proxy that answers by itself.
        let yaml = format!(
            r#"murphy: 1
name: t
targets:
  api:
    proxy:
      listen: '127.0.0.1:{port}'
      protocol: http
      stubs:
        - {{when: {{path: /ready}}, body: '{{"checks": [{{"ok": true}}]}}'}}
        - {{when: {{path: '/api/v1/query*'}}, body: '{{"data": {{"resultType": "scalar", "result": [1, "0.005"]}}}}'}}
  idle: {{process: {{pid: {pid}}}}}
  sleeping: {{process: {{regex: '^sleep {long}$'}}}}
steady_state:
  window: 2s
  baseline: 4s
  cooldown: 4s
  metrics:
    ready: {{from: {{http: {{url: 'http://127.0.0.1:{port}/ready', every: 200ms, timeout: 10s, json: '$.checks[0].ok == true'}}}}, expect: '== 1'}}
    wrong: {{from: {{http: {{url: 'http://127.0.0.1:{port}/ready', every: 200ms, timeout: 10s, json: '$.checks[0].ok == false'}}}}, expect: '== 1', severity: inform}}
    errors: {{from: {{prometheus: {{url: 'http://127.0.0.1:{port}', query: 'errors / all', every: 200ms, timeout: 10s}}}}, expect: '< 1%'}}
    memory: {{from: {{process: {{target: idle, stat: rss, every: 200ms}}}}, expect: '< 100MiB'}}
    cpu: {{from: {{process: {{target: idle, stat: cpu, every: 200ms}}}}, expect: '< 50%'}}
    alive: {{from: {{process: {{target: idle, stat: count, every: 200ms}}}}, expect: '== 1'}}
    alone: {{from: {{process: {{target: sleeping, stat: count, every: 200ms}}}}, expect: '== 1'}}
{guard}
stages: [{{faults: [{{target: idle, for: 4s, inject: {{pause: }}}}]}}]
"#
        );
        let file = dir.file("t.yaml", &yaml);
        let reports = if guard.is_empty() { "held" } else { "guarded" };
        let done = murphy(dir.path(), &["run", file.to_str().unwrap(), "--report", reports]);
        (done, result(&dir.path().join(reports)).unwrap_or_default())
    };
    let (done, held) = run("");
    let (guarded, aborted) = run("safety: {abort_if: [{node: {memory: '> 0%'}, for: 2s}]}");
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert_eq!((done.code, &held["verdict"]), (0, &"held".into()), "{done:?}");
    for metric in held["metrics"].as_array().unwrap() {
        let result = if metric["name"] == "wrong" { "fail" } else { "pass" };
        assert_eq!(metric["result"], result, "{metric}");
    }
    assert_eq!((guarded.code, &aborted["verdict"]), (4, &"aborted".into()), "{guarded:?}");
    assert!(aborted["why"].as_str().unwrap().contains("this machine's memory > 0%"), "{}", aborted["why"]);
}

/// A target that was open before a run stays open after it, so that nothing but the run itself ends its faults.
#[test]
fn a_run_that_is_ended_at_any_moment_takes_its_fault_along() {
    use crate::ground::{Agent, eventually};
    let agent = Agent::start(&[]);
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let pid = sleeper.id();
    let target: model::Target =
        serde_json::from_value(serde_json::json!({"name": "victim", "process": {"pid": pid}})).unwrap();
    agent.ask(async |c| c.open_target(&target).await).unwrap();
    let yaml = format!(
        "murphy: 1\nname: short\nsteady_state: {{baseline: 0s, cooldown: 0s}}\ntargets: {{victim: {{process: {{pid: {pid}}}}}}}\n\
         stages: [{{faults: [{{target: victim, for: 60s, inject: {{pause: }}}}]}}]\n"
    );
    let mut left = Vec::new();
    for round in 0..16 {
        let order = control::wire::StartRun { yaml: yaml.clone(), ..Default::default() };
        agent.ask(async |c| c.start_run(&order).await).unwrap();
        std::thread::sleep(Duration::from_micros(700 * round));
        // It may have failed or ended in this very moment.
        let _ = agent.ask(async |c| c.end_run().await);
        let over = eventually(Duration::from_secs(20), || {
            agent.ask(async |c| c.run().await).is_ok_and(|run| run.verdict.is_some())
        });
        let on = agent.ask(async |c| c.faults().await).unwrap();
        if !over || !on.is_empty() {
            left.push((round, over, on.into_iter().map(|f| f.id).collect::<Vec<_>>()));
            agent.murphy(&["disarm", "--all"]);
        }
    }
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert!(left.is_empty(), "{left:?}");
}
