//! `kill -9` of the agent under load: no dead mount, no lost original, nobody stuck.
//!
//! `MURPHY_CRASH_ROUNDS` sets how many rounds; 4 without it.

use super::ground::Files;
use crate::ground::{eventually, need, program};
use std::process::Stdio;
use std::time::Duration;

#[test]
fn a_killed_agent_leaves_the_directory_as_it_was() {
    let Some(mut files) = Files::agent() else { return };
    if !need("fio and sqlite3", program("fio", &[]).is_some() && program("sqlite3", &[]).is_some()) {
        return;
    }
    std::fs::write(files.mount().join("original"), "it").unwrap();
    let rounds = std::env::var("MURPHY_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    for round in 0..rounds {
        files.open(&serde_json::json!({}));
        let load = "fio --name=k --size=2m --bs=4k --rw=randrw --fsync=8 --time_based --runtime=60 --minimal";
        let base = "for i in $(seq 500); do echo 'create table if not exists t(x); insert into t values(1);' | sqlite3 db; done";
        let mut loads = [load, base].map(|line| {
            let line = format!("cd {} && {line}", files.mount().display());
            let mut command = files.inside("sh");
            command.args(["-c", &line]).stdout(Stdio::null()).stderr(Stdio::null());
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            command.spawn().unwrap()
        });
        match round % 3 {
            0 => drop(files.arm("hang ops=fsync,write")),
            1 => drop(files.arm("latency delay=40ms")),
            _ => {}
        }
        // Any moment will do; these differ from round to round.
        std::thread::sleep(Duration::from_millis(37 * (round as u64 * 7 % 11)));
        files.kill();
        let gone = eventually(Duration::from_secs(30), || !files.is_mounted());
        let original = std::fs::read_to_string(files.path("original"));
        for child in &mut loads {
            if let Ok(pid) = i32::try_from(child.id()) {
                let group = nix::unistd::Pid::from_raw(pid);
                let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            }
        }
        // Whoever waits uninterruptibly could not be killed.
        let ended =
            eventually(Duration::from_secs(30), || loads.iter_mut().all(|c| c.try_wait().unwrap().is_some()));
        assert!(gone && ended, "round {round}: mount gone: {gone}, programs ended: {ended}");
        assert_eq!(original.unwrap(), "it", "round {round}");
        files.start();
    }
    let checked = files.sh("sqlite3 db 'pragma integrity_check'");
    assert!(checked.out.is_empty() || checked.out == "ok\n", "{checked:?}");
}
