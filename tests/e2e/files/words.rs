//! Files by hand: the command line, the API, an experiment, and what is refused.

use super::ground::Files;
use crate::ground::{
    Daemon, Finished, TempDir, Unmounted, can_serve, eventually, foreground_in, is_served, text_of,
};
use control::OperationQuery;
use std::time::Duration;

#[test]
fn a_directory_is_armed_by_its_name_and_looked_at() {
    let Some(files) = Files::agent() else { return };
    std::fs::write(files.path("f"), "hello").unwrap();
    let id = files.arm("io_error ops=fsync errno=EDQUOT --when path=/f*");
    assert!(files.is_mounted());
    let synced = files.sh("sync -d f");
    assert!(synced.code != 0 && synced.err.contains("quota"), "{synced:?}");
    assert_eq!(files.sh("cat f").out, "hello");
    let target = files.target().parse().unwrap();
    let query = OperationQuery { target: Some(target), fault: true, ..OperationQuery::default() };
    let list = files.ask(async |c| c.operations(&query).await).unwrap();
    assert_eq!((list.total, list.operations[0].command.as_str()), (1, "sync"), "{list:?}");
    assert!(list.kinds.iter().any(|k| k.op == "fsync" && k.errors == 1), "{list:?}");
    let evidence = files.disarm(&id);
    assert_eq!((evidence.considered, evidence.applied), (1, 1));
    assert_eq!(files.sh("sync -d f").code, 0);
    // Halting takes back what hangs.
    files.arm("hang ops=fsync");
    let mut waiting = files.inside("sync").arg("-d").arg(files.mount().join("f")).spawn().unwrap();
    assert!(!eventually(Duration::from_millis(500), || waiting.try_wait().unwrap().is_some()));
    assert_eq!(files.murphy(&["halt"]).code, 0);
    assert!(eventually(Duration::from_secs(20), || waiting.try_wait().unwrap().is_some()));
}

/// `murphy mount` in one terminal, everything else in another: nobody has to be told a socket.
#[test]
fn who_serves_a_directory_is_found() {
    if !can_serve() {
        return;
    }
    let home = TempDir::new();
    let dir = home.path().join("d");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("f"), "hello").unwrap();
    let words =
        |args: &[&str]| -> Finished { foreground_in(home.path()).args(args).output().unwrap().into() };
    let nobody = words(&["list"]);
    assert!(nobody.code == 5 && nobody.err.contains("no agent at"), "{nobody:?}");
    let _taken_away = Unmounted(dir.clone());
    let mut command = foreground_in(home.path());
    command.args(["mount", "d"]);
    let log = home.path().join("murphy.log");
    let mut mount = Daemon::start(command, &log);
    let up = eventually(Duration::from_secs(60), || {
        assert!(mount.ended().is_none(), "{}", text_of(&log));
        text_of(&log).contains("is served")
    });
    assert!(up, "{}", text_of(&log));
    // By the path it has, and by the one it has from here.
    for name in [format!("fs:{}", dir.display()), "fs:d".to_owned()] {
        let armed = words(&["arm", &name, "io_error", "errno=EIO", "ops=read", "--for", "60s"]);
        assert_eq!(armed.code, 0, "{armed:?}");
        assert_eq!(std::fs::read(dir.join("f")).unwrap_err().raw_os_error(), Some(5), "{name}");
        let list = words(&["list"]);
        assert!(list.out.contains("io_error"), "{list:?}");
        assert_eq!(words(&["disarm", "--all"]).code, 0);
        assert_eq!(std::fs::read_to_string(dir.join("f")).unwrap(), "hello");
    }
    crate::ground::signal_all(&[mount.id()], nix::sys::signal::Signal::SIGTERM);
    assert!(eventually(Duration::from_secs(60), || !is_served(&dir)), "{}", text_of(&log));
}

#[test]
fn an_experiment_mounts_and_takes_away() {
    let Some(files) = Files::agent() else { return };
    let experiment = format!(
        "murphy: 1\nname: slow-disk\ntargets: {{db: {{fs: {{mount: '{}'}}}}}}\n\
         steady_state: {{window: 1s, baseline: 1s, cooldown: 1s, metrics: {{disk: {{from: {{command: {{run: [sh, -c, 'sync {}/f && echo 1'], every: 200ms}}}}, expect: '== 1'}}}}}}\n\
         stages: [{{faults: [{{target: db, for: 2s, inject: {{latency: {{delay: 30ms, ops: [fsync]}}}}}}]}}]\n",
        files.mount().display(),
        files.mount().display(),
    );
    std::fs::write(files.mount().join("f"), "x").unwrap();
    let file = files.dir.file("t.yaml", &experiment);
    let done = files.murphy(&["run", file.to_str().unwrap(), "--yes"]);
    assert!([0, 1, 3].contains(&done.code), "{done:?}");
    assert!(done.out.contains("latency 30ms"), "{done:?}");
    assert!(!files.is_mounted());
}

/// A database that runs already has its files open: nothing would reach it, and a run would not say why.
#[test]
fn who_had_files_open_before_is_named() {
    let Some(files) = Files::agent() else { return };
    let (dir, log) = (files.mount(), files.dir.path().join("holder.log"));
    std::fs::write(dir.join("data"), "x").unwrap();
    let mut command = files.inside("sh");
    command.current_dir("/").args(["-c", r#"exec 3<>"$0"; echo open; exec sleep 600"#]).arg(dir.join("data"));
    let holder = Daemon::start(command, &log);
    assert!(eventually(Duration::from_secs(60), || text_of(&log).contains("open")));
    let says =
        format!("({}) had files open before the mount, {}/data among them", holder.id(), dir.display());
    let experiment = format!(
        "murphy: 1\nname: t\ntargets: {{d: {{fs: {{mount: '{}'}}}}}}\nsteady_state: {{baseline: 0s, cooldown: 1s}}\n\
         stages: [{{faults: [{{target: d, for: 1s, inject: {{latency: {{delay: 30ms, ops: [fsync]}}}}}}]}}]\n",
        dir.display(),
    );
    let file = files.dir.file("t.yaml", &experiment);
    let done = files.murphy(&["run", file.to_str().unwrap()]);
    assert!(done.out.contains(&says), "{says} is not in {done:?}");
    let armed = files.murphy(&["arm", &files.target(), "latency", "delay=1ms", "--for", "60s"]);
    assert!(armed.code == 0 && armed.err.contains(&says), "{says} is not in {armed:?}");
    drop(holder);
    let armed = files.murphy(&["arm", &files.target(), "latency", "delay=1ms", "--for", "60s"]);
    assert!(armed.code == 0 && !armed.err.contains("before the mount"), "{armed:?}");
}

#[test]
fn what_cannot_be_served_is_refused_and_nothing_is_hidden() {
    let Some(files) = Files::agent() else { return };
    std::fs::create_dir_all(files.mount().join("in")).unwrap();
    std::fs::write(files.mount().join("in/f"), "x").unwrap();
    let d = files.mount();
    let inside = d.join("in");
    let state = files.dir.path().join("state");
    for (args, why) in [
        (vec!["mount", "/no/such/dir"], "does not exist"),
        (vec!["mount", d.to_str().unwrap(), "--source", "/no/such/source"], "does not exist"),
        (vec!["mount", d.to_str().unwrap(), "--source", inside.to_str().unwrap()], "inside the mount point"),
        (vec!["mount", inside.to_str().unwrap(), "--source", d.to_str().unwrap()], "inside its own source"),
        (vec!["mount", d.to_str().unwrap(), "--source", "/usr"], "is not empty"),
        (vec!["mount", state.to_str().unwrap()], "own state directory"),
        (vec!["mount", "/"], "needs it as it is"),
        (vec!["mount", d.to_str().unwrap(), "--track-unsynced", "--writeback"], "does not go with"),
    ] {
        let done = files.murphy(&args);
        assert!(done.code != 0 && done.err.contains(why), "{args:?}: {done:?}");
        assert_eq!(done.err.lines().filter(|l| l.starts_with("error")).count(), 1, "{done:?}");
    }
    assert!(!files.is_mounted());
    files.open(&serde_json::json!({}));
    let twice = files.murphy(&["mount", d.to_str().unwrap()]);
    assert!(twice.code != 0 && twice.err.contains("in use already"), "{twice:?}");
    assert_eq!(files.sh("cat in/f").out, "x");
    let refused = files.murphy(&["arm", &files.target(), "power_cut", "--for", "5s"]);
    assert!(refused.err.contains("track_unsynced"), "{refused:?}");
    let refused =
        files.murphy(&["arm", &files.target(), "latency", "delay=1s", "direction=up", "--for", "5s"]);
    assert!(refused.err.contains("has no direction"), "{refused:?}");
}
