use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Processes with that in their command line.
pub fn running(words: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|e| e.file_name().to_string_lossy().parse::<i32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(words)
    })
    .collect()
}

/// Sends a signal to each.
pub fn signal_all(pids: &[i32], signal: Signal) {
    // They may be gone already.
    for pid in pids {
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}

/// Kills an agent and its watchdog, so that nobody is left who would undo anything. The watchdog is held first: an agent
/// starts another one when its own ends, and one whose agent ends undoes.
pub fn kill_both(state_dir: &std::path::Path, kill_agent: impl FnOnce()) {
    let watchdogs = || running(&format!("__watchdog --state-dir {}", state_dir.display()));
    assert!(super::eventually(std::time::Duration::from_secs(30), || !watchdogs().is_empty()), "no watchdog");
    let dogs = watchdogs();
    signal_all(&dogs, Signal::SIGSTOP);
    kill_agent();
    signal_all(&dogs, Signal::SIGKILL);
    assert!(
        super::eventually(std::time::Duration::from_secs(30), || watchdogs().is_empty()),
        "it does not die"
    );
}
