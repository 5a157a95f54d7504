//! What is said on a terminal: help, lists, and every mistake a person makes. Nothing is half done afterwards.

use crate::ground::{
    Agent, TempDir, can_serve, foreground_in, free_port, is_root, murphy, murphy_in, need, this_machine,
};
use std::path::Path;

/// `murphy ARGS` where no agent is named, so that it is its own.
fn alone(dir: &Path, args: &[&str]) -> crate::ground::Finished {
    murphy_in(dir).env_remove("MURPHY_SOCKET").args(args).output().unwrap().into()
}

/// A mistake: its exit code and the words it must be told in.
fn mistake(args: &[&str], code: i32, words: &[&str]) {
    let dir = TempDir::new();
    let done = murphy(dir.path(), args);
    assert_eq!(done.code, code, "{args:?}: {done:?}");
    for word in words {
        assert!(done.err.contains(word), "{args:?} does not say {word:?}: {}", done.err);
    }
}

#[test]
fn mistakes_teach() {
    mistake(&[], 2, &["Usage"]);
    mistake(&["rnu"], 2, &["run"]);
    mistake(&["arm", "cart", "latency", "delay=1s", "--for", "5s"], 2, &["it has no kind", "proxy:cart"]);
    mistake(&["arm", "proxi:cart", "latency", "delay=1s", "--for", "5s"], 2, &["did you mean proxy:cart?"]);
    mistake(&["arm", "proxy:cart", "latnecy", "delay=1s", "--for", "5s"], 2, &["did you mean latency?"]);
    mistake(&["arm", "proxy:cart", "latency", "dealy=1s", "--for", "5s"], 2, &["did you mean delay?"]);
    mistake(&["arm", "proxy:cart", "latency", "delay=1", "--for", "5s"], 2, &["the unit is missing"]);
    mistake(&["arm", "proxy:cart", "latency", "delay=1s"], 2, &["has no end", "--for 60s"]);
    mistake(&["arm", "proxy:cart", "latency", "delay=1s", "--for", "5"], 2, &["the unit is missing"]);
    mistake(
        &["arm", "proxy:cart", "latency", "delay=1s", "--for", "5s", "--percent", "140%"],
        2,
        &["outside 0% to 100%"],
    );
    mistake(
        &["arm", "proxy:cart", "latency", "delay=1s", "--for", "5s", "--when", "method=POST"],
        2,
        &["acts on connections"],
    );
    mistake(&["arm", "process:4711", "latency", "delay=1s", "--for", "5s"], 2, &["targets of kind proxy"]);
    mistake(&["run", "nowhere.yaml"], 2, &["cannot open nowhere.yaml", "check the path"]);
    mistake(&["check", "/"], 2, &["/"]);
    mistake(&["demo", "--for", "5s"], 2, &["outside 20s to 1h"]);
    mistake(&["faults", "latnecy"], 2, &["did you mean latency?"]);
    mistake(
        &["list", "--socket", "nowhere.sock"],
        5,
        &["no agent at", "the socket does not exist", "murphy agent"],
    );
    mistake(&["agent", "--proxy", "db=in-front-of:shop/db"], 2, &["in-front-of:project/service:port"]);
    mistake(&["agent", "--proxy", "db=in-front-of:shop/db:1,udp"], 2, &["not datagrams"]);
    mistake(
        &["arm", "proxy:x", "latency", "delay=1s", "--for", "1s", "--listen", "18003", "--upstream", "a:1"],
        2,
        &["\"18003\" has no address", "127.0.0.1:18003"],
    );
    mistake(&["health", "--socket", "nowhere.sock"], 5, &["no agent at"]);
    mistake(&["list", "--socket", "ftp://x"], 2, &["not an agent's address"]);
    mistake(&["arm", "process:4711", "pause", "--for", "5s"], 5, &["no agent at", "murphy agent --socket"]);
}

#[test]
fn files_that_are_wrong_are_named() {
    let dir = TempDir::new();
    for (name, text) in [("empty.yaml", ""), ("comment.yaml", "# nothing yet\n")] {
        dir.file(name, text);
    }
    // As `murphy check *.yaml` does it.
    let done = murphy(dir.path(), &["check", "empty.yaml", "comment.yaml", "away.yaml"]);
    assert_eq!(done.code, 2, "{done:?}");
    for name in [" --> empty.yaml", " --> comment.yaml", "cannot open away.yaml"] {
        assert!(done.err.contains(name), "{name} is not in {}", done.err);
    }
}

/// What would be done can be looked at also while nothing may be done.
#[test]
fn a_halt_is_no_reason_not_to_look() {
    let dir = TempDir::new();
    let file = dir.file(
        "t.yaml",
        "murphy: 1\nname: t\ntargets: {me: {node: self}}\nstages: [{faults: [{target: me, for: 1s, inject: {cpu: {load: 5%}}}]}]\n",
    );
    let halted = murphy(dir.path(), &["halt", "--socket", "unix:nowhere.sock"]);
    assert_eq!(halted.code, 5, "{halted:?}");
    assert_eq!(murphy(dir.path(), &["halt"]).code, 0);
    let file = file.to_str().unwrap();
    let run = murphy(dir.path(), &["run", file]);
    assert!(run.code == 5 && run.err.contains("halted everything"), "{run:?}");
    for words in
        [&["run", file, "--dry-run"][..], &["arm", "node:self", "cpu", "load=5%", "--for", "1s", "--dry-run"]]
    {
        let plan: crate::ground::Finished = foreground_in(dir.path()).args(words).output().unwrap().into();
        assert!(plan.code == 0 && plan.out.contains("undo:"), "{words:?}: {plan:?}");
        assert!(plan.err.contains("murphy halt --lift"), "{words:?}: {plan:?}");
    }
}

/// A disk that is full stays full: that is said once, and the verdict is what it is.
#[test]
fn an_output_that_cannot_be_written_is_told_of_once() {
    if !need("/dev/full", Path::new("/dev/full").exists()) {
        return;
    }
    let dir = TempDir::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let _machine = this_machine();
    dir.file("t.yaml", "murphy: 1\nname: t\ntargets: {me: {node: self}}\nsteady_state: {baseline: 0s, cooldown: 1s}\nstages: [{faults: [{target: me, for: 1s, inject: {cpu: {load: 5%}}}]}]\n");
    let done: crate::ground::Finished =
        murphy_in(dir.path()).args(["run", "t.yaml"]).stdout(full).output().unwrap().into();
    assert_eq!(done.err.matches("cannot write the output").count(), 1, "{done:?}");
}

#[test]
fn a_process_that_does_not_exist_is_no_success() {
    let dir = TempDir::new();
    for target in ["process:3999999", "process:no such program here"] {
        let done = alone(dir.path(), &["arm", target, "pause", "--for", "2s"]);
        assert_ne!(done.code, 0, "{done:?}");
        assert!(done.err.contains("error:") && done.err.contains("  = "), "{}", done.err);
    }
}

#[test]
fn everything_has_help() {
    let dir = TempDir::new();
    for verb in [
        "demo",
        "run",
        "check",
        "agent",
        "tui",
        "arm",
        "adjust",
        "disarm",
        "list",
        "connections",
        "halt",
        "recover",
        "doctor",
        "targets",
        "health",
        "exec",
        "faults",
        "schema",
        "watch",
        "completions",
        "man",
    ] {
        let done = murphy(dir.path(), &[verb, "--help"]);
        assert_eq!(done.code, 0, "{verb}");
        assert!(done.out.contains("Usage: murphy"), "{verb}: {}", done.out);
    }
    for (old, new) in [("inject", "arm"), ("query", "list")] {
        let done = murphy(dir.path(), &[old, "--help"]);
        assert!(done.out.contains(&format!("murphy {new}")), "{}", done.out);
    }
}

#[test]
fn texts_for_programs_read_as_what_they_are() {
    let dir = TempDir::new();
    let json =
        |args: &[&str]| serde_json::from_str::<serde_json::Value>(&murphy(dir.path(), args).out).unwrap();
    assert_eq!(json(&["schema"])["title"], "murphy experiment");
    let faults = json(&["faults", "--json"]);
    assert!(faults.as_array().is_some_and(|all| all.iter().any(|f| f["name"] == "latency")));
    assert_eq!(json(&["faults", "cut", "--json"])["irreversible"], true);
    assert!(json(&["doctor", "--json"]).as_array().is_some_and(|a| !a.is_empty()));
    let targets = json(&["targets", "--json"]);
    assert!(targets["interfaces"].as_array().is_some_and(|all| all.contains(&"lo".into())), "{targets}");
    assert!(targets["containers"].is_array() && targets["missing"].is_array(), "{targets}");
    let bash = murphy(dir.path(), &["completions", "bash"]);
    assert!(bash.out.contains("_murphy"), "{bash:?}");
    // Names of faults are completed, and are no part of the help.
    for shell in ["bash", "zsh"] {
        let done = murphy(dir.path(), &["completions", shell]);
        assert!(done.out.contains("websocket_corrupt"), "{shell}");
    }
    assert!(!murphy(dir.path(), &["arm", "--help"]).out.contains("websocket_corrupt"));
    assert!(
        murphy(dir.path(), &["man"]).out.starts_with(".ie")
            || murphy(dir.path(), &["man"]).out.contains(".TH murphy")
    );
    let pages = dir.path().join("pages").join("man1");
    let place = pages.display().to_string();
    assert_eq!(murphy(dir.path(), &["man", "--dir", &place]).code, 0);
    for (page, says) in [("murphy.1", "murphy-run(1)"), ("murphy-run.1", "--report")] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap().replace("\\-", "-");
        assert!(text.contains(says), "{page}: {text}");
    }
    let refused = murphy(dir.path(), &["man", "--dir", "/proc/none"]);
    assert!(refused.code != 0 && refused.err.contains("/proc/none"), "{refused:?}");
}

/// What is made from the catalogue and kept in the repository is what the catalogue makes today. `MURPHY_UPDATE=1` writes
/// it anew.
#[test]
fn what_is_made_from_the_catalogue_is_up_to_date() {
    let dir = TempDir::new();
    for (args, file) in
        [(vec!["faults", "--markdown"], "docs/faults.md"), (vec!["schema"], "configs/murphy.schema.json")]
    {
        let made = murphy(dir.path(), &args).out;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        if std::env::var_os("MURPHY_UPDATE").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(made == kept, "{file} is old: MURPHY_UPDATE=1 cargo test --test e2e up_to_date");
    }
}

/// The experiments on the pages are read as they stand.
#[test]
fn experiments_on_the_pages_can_be_run() {
    let dir = TempDir::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|page| page.unwrap().path());
    let mut seen = 0;
    for page in
        pages.chain([root.join("README.md")]).filter(|page| page.extension().is_some_and(|e| e == "md"))
    {
        let text = std::fs::read_to_string(&page).unwrap();
        let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        for block in blocks.filter(|block| block.lines().any(|line| line.starts_with("murphy: 1"))) {
            let file = dir.file("t.yaml", block);
            let done = murphy(dir.path(), &["check", file.to_str().unwrap()]);
            assert_eq!(done.code, 0, "{}: {done:?}\n{block}", page.display());
            seen += 1;
        }
    }
    assert!(seen >= 2, "there are at least README's and the language's own");
}

/// The example of every fault is taken as it stands, by a shell, but for the names of what it is armed on.
#[test]
fn every_example_can_be_armed() {
    let [web, udp, tls] = [(); 3].map(|()| free_port());
    let agent = Agent::start(&[
        format!("web=127.0.0.1:{web},127.0.0.1:9,http"),
        format!("udp=127.0.0.1:{udp},127.0.0.1:9,udp"),
        format!("tls=127.0.0.1:{tls},127.0.0.1:9,http,tls"),
    ]);
    let dir = agent.dir.path();
    let conf = agent.dir.file("app.conf", "TIMEOUT=5\ntimeout = 30\n").display().to_string();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_murphy"), dir.join("murphy")).unwrap();
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let files = can_serve();
    let served = dir.join("served");
    std::fs::create_dir(&served).unwrap();
    if files {
        let target = serde_json::json!({"name": "served", "fs": {"mount": served, "track_unsynced": "1MiB"}});
        let target = serde_json::from_value(target).unwrap();
        agent.ask(async |c| c.open_target(&target).await).unwrap();
    }
    let root = need("root, to plan faults of the machine", is_root());
    // What this machine cannot do is refused for that, and not for how it is said.
    let doctor: serde_json::Value = serde_json::from_str(&murphy(dir, &["doctor", "--json"]).out).unwrap();
    let possible = |name: &str| {
        let check = doctor.as_array().unwrap().iter().find(|c| c["name"] == format!("fault {name}"));
        check.is_some_and(|c| c["ok"] == true)
    };
    let faults: serde_json::Value = serde_json::from_str(&murphy(dir, &["faults", "--json"]).out).unwrap();
    let mut wrong = Vec::new();
    for fault in faults.as_array().unwrap() {
        let (name, layer) = (fault["name"].as_str().unwrap(), fault["layer"].as_str().unwrap());
        // What is armed on containers, services, groups and clocks is not on every machine.
        let elsewhere = ["container_stop", "container_restart", "container_limits", "cgroup_squeeze"];
        let absent =
            ["service_stop", "service_restart", "ntp_stop", "interface_down", "stress_ng", "port_occupy"];
        let here = match layer {
            "files" => files,
            "network" | "node" => {
                root && possible(name) && !elsewhere.contains(&name) && !absent.contains(&name)
            }
            _ => true,
        };
        if !here {
            continue;
        }
        let proxy = match name {
            "drop" | "duplicate" | "reorder" => "proxy:udp",
            name if name.starts_with("tls_") => "proxy:tls",
            _ => "proxy:web",
        };
        let line = fault["example"].as_str().unwrap();
        let words = line
            .replace("proxy:web", proxy)
            .replace("process:4711", &format!("process:{}", sleeper.id()))
            .replace("fs:/srv/db", "fs:served")
            .replace("/etc/app.conf", &conf);
        let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default());
        let alike = murphy_in(dir);
        let mut shell = std::process::Command::new("sh");
        shell
            .envs(alike.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .env("PATH", path)
            .current_dir(dir)
            .args(["-c", &format!("{words} --dry-run")]);
        let done: crate::ground::Finished = shell.output().unwrap().into();
        // A disk may be full already, and have any number of inodes.
        let full = ["disk_fill", "inode_fill"].contains(&name) && !done.err.contains("give for example");
        // It may have no network, either.
        let alone = done.err.contains("is up but lo");
        if done.code != 0 && !full && !alone {
            wrong.push(format!("{line}\n{}", done.err));
        }
    }
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_agent_by_hand() {
    let port = free_port();
    let agent = Agent::start(&[format!("web=127.0.0.1:{port},127.0.0.1:9")]);
    assert!(agent.murphy(&["list"]).out.contains("nothing is armed"));
    let health = agent.murphy(&["health"]);
    assert!(health.code == 0 && health.out.contains("answers"), "{health:?}");
    let plan = agent.murphy(&["arm", "proxy:web", "latency", "delay=1s", "--for", "60s", "--dry-run"]);
    assert!(plan.out.contains("do:") && plan.out.contains("undo:"), "{plan:?}");
    assert!(agent.murphy(&["list"]).out.contains("nothing is armed"), "a plan touches nothing");
    // Neither does one that has to open a proxy to be told.
    let free = free_port();
    let listen = format!("127.0.0.1:{free}");
    let words = ["arm", "proxy:new", "latency", "delay=1s", "--for", "60s", "--listen", &listen];
    let plan = agent.murphy(&[&words[..], &["--upstream", "127.0.0.1:9", "--dry-run"]].concat());
    assert!(plan.code == 0 && plan.out.contains("undo:"), "{plan:?}");
    let list = agent.murphy(&["list"]);
    assert!(!list.out.contains("proxy:new"), "a plan leaves it open: {list:?}");
    std::net::TcpListener::bind(&listen).unwrap();
    let armed =
        agent.murphy(&["arm", "proxy:web", "latency", "delay=120ms", "--for", "60s", "--percent", "30%"]);
    assert_eq!(armed.code, 0, "{armed:?}");
    assert!(armed.out.contains("A is on: latency 120ms · 30% on proxy:web"), "{armed:?}");
    let list = agent.murphy(&["query"]);
    assert!(list.out.contains("latency 120ms · 30%") && list.out.contains("proxy:web"), "{list:?}");
    let json: serde_json::Value = serde_json::from_str(&agent.murphy(&["list", "--json"]).out).unwrap();
    assert_eq!(json["faults"][0]["fault"]["inject"]["latency"]["delay"], "120ms");
    let adjusted = agent.murphy(&["adjust", "A", "delay=300ms", "--percent", "5%", "--for", "90s"]);
    assert!(
        adjusted.out.contains("A is now: latency 300ms · 5% on proxy:web; it ends by itself in 1m30s"),
        "{adjusted:?}"
    );
    let narrowed = agent.murphy(&["adjust", "A", "--when", "client=10.0.0.0/8", "direction=down"]);
    assert!(narrowed.code == 0 && narrowed.out.contains("10.0.0.0/8"), "{narrowed:?}");
    let widened = agent.murphy(&["adjust", "A", "--when", "everything"]);
    assert!(widened.code == 0 && !widened.out.contains("10.0.0.0/8"), "{widened:?}");
    for (words, why) in [
        (&["adjust", "A"][..], "nothing of A is to be changed"),
        (&["adjust", "Z", "delay=1s"], "no fault \"Z\" is armed"),
        (&["adjust", "A", "dealy=1s"], "did you mean delay?"),
        (&["adjust", "A", "delay=1"], "the unit is missing"),
        (&["adjust", "A", "delay="], "latency needs delay"),
        (
            &["adjust", "A", "--when", "everything", "--when", "client=10.0.0.0/8"],
            "no condition beside others",
        ),
        (&["adjust", "A", "--when", "method=GET"], "acts on connections"),
    ] {
        let refused = agent.murphy(words);
        assert!(refused.code == 2 && refused.err.contains(why), "{words:?}: {refused:?}");
    }
    let missing = agent.murphy(&["disarm", "Z"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.err.contains("\"Z\""), "{missing:?}");
    assert!(agent.murphy(&["disarm", "A"]).out.contains("A on proxy:web is gone"));
    let twice = agent.murphy(&["agent"]);
    assert_eq!(twice.code, 5, "{twice:?}");
    assert!(twice.err.contains("in use") || twice.err.contains("already"), "{twice:?}");
}

#[test]
fn a_fault_in_the_foreground_ends_by_itself_and_leaves_nothing() {
    let dir = TempDir::new();
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let pid = sleeper.id();
    let state = || {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .unwrap_or_default()
            .rsplit_once(") ")
            .map(|(_, r)| r.chars().next())
    };
    let child = murphy_in(dir.path())
        .env_remove("MURPHY_SOCKET")
        .args(["arm", &format!("process:{pid}"), "pause", "--for", "2s"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stopped =
        crate::ground::eventually(std::time::Duration::from_secs(20), || state() == Some(Some('T')));
    let done: crate::ground::Finished = child.wait_with_output().unwrap().into();
    let after = state();
    let killed = murphy_in(dir.path())
        .env_remove("MURPHY_SOCKET")
        .args(["arm", &format!("process:{pid}"), "kill"])
        .output()
        .unwrap();
    let gone = sleeper.wait().unwrap();
    assert!(stopped && done.code == 0, "{done:?}");
    assert!(done.out.contains("is on: pause") && done.out.contains("it applied 1 of 1"), "{done:?}");
    assert_eq!(after, Some(Some('S')), "it goes on afterwards");
    assert!(killed.status.success(), "{killed:?}");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&gone), Some(9));
    let left: Vec<_> = std::fs::read_dir(dir.path().join("state")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Files of Chaos Mesh are files of experiments; what is wrong with one is told where it stands.
#[test]
fn files_of_chaos_mesh_are_read() {
    let dir = TempDir::new();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/compose/chaosmesh");
    let mut n = 0;
    for file in std::fs::read_dir(files).unwrap() {
        let path = file.unwrap().path().display().to_string();
        let done = murphy(dir.path(), &["check", &path]);
        assert_eq!(done.code, 0, "{done:?}");
        n += 1;
    }
    assert!(n >= 6, "{n}");
    let wrong = dir.file(
        "wrong.yaml",
        "apiVersion: chaos-mesh.org/v1alpha1\nkind: NetworkChaos\nmetadata: {name: a}\nspec:\n  action: loss\n  mode: one\n  selector: {}\n  loss: {loss: \"25\"}\n  duration: 30s\n",
    );
    let done = murphy(dir.path(), &["run", wrong.to_str().unwrap()]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(
        done.err.contains("wrong.yaml:7:13") && done.err.contains("everything that runs here"),
        "{done:?}"
    );
}
