//! The agent's side of its watchdog: starts it, tells it that something was armed, starts it anew when it dies.

use crate::config::{Config, WatchdogCommand};
use crate::error::EngineError;
use crate::events::Events;
use crate::watchdog::{ARMED, GOODBYE};
use host::ProcessId;
use model::EventKind;
use model::event::Level;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// How long a watchdog may take to come up.
const READY: Duration = Duration::from_secs(30);

/// Keeps a watchdog running.
#[derive(Debug)]
pub(crate) struct Minder {
    armed: Arc<Notify>,
    stop: watch::Sender<bool>,
    pid: watch::Receiver<Option<u32>>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Minder {
    /// Starts the watchdog and returns when it is ready.
    pub(crate) async fn start(config: &Config, events: Arc<Events>) -> Result<Option<Minder>, EngineError> {
        let Some(command) = config.watchdog.clone() else { return Ok(None) };
        let starter =
            Starter { command, state_dir: config.state_dir.clone(), leftovers: config.leftovers.clone() };
        let first = starter.start().await.map_err(EngineError::Watchdog)?;
        let armed = Arc::new(Notify::new());
        let (stop, stopping) = watch::channel(false);
        let (pid_now, pid) = watch::channel(first.0.id());
        let task = tokio::spawn(mind(starter, first, armed.clone(), stopping, pid_now, events));
        Ok(Some(Minder { armed, stop, pid, task: tokio::sync::Mutex::new(Some(task)) }))
    }

    /// Something was armed: the watchdog looks at the log.
    pub(crate) fn tell(&self) {
        self.armed.notify_one();
    }

    /// The watchdog's number, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Lets the watchdog go: it ends at once when nothing is armed, and stays when something is.
    pub(crate) async fn stop(&self) {
        let _ = self.stop.send(true);
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

struct Starter {
    command: WatchdogCommand,
    state_dir: PathBuf,
    leftovers: Vec<PathBuf>,
}

impl Starter {
    async fn start(&self) -> Result<(Child, ChildStdin), String> {
        let me = ProcessId::me();
        let mut command = Command::new(&self.command.program);
        command
            .arg0("murphy")
            .args(&self.command.args)
            .arg("--state-dir")
            .arg(&self.state_dir)
            .args(["--pid", &me.pid.to_string(), "--start", &me.start.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // The agent's terminal is not the watchdog's to hold; what it has to say is kept beside the log.
            .stderr(self.words().map_or_else(Stdio::null, Stdio::from));
        for path in &self.leftovers {
            command.arg("--leftover").arg(path);
        }
        let program = self.command.program.display();
        let mut child = command.spawn().map_err(|e| format!("{program}: {e}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{program}: it has no pipes"));
        };
        let mut lines = BufReader::new(output).lines();
        match tokio::time::timeout(READY, lines.next_line()).await {
            Ok(Ok(Some(line))) if line == "ready" => Ok((child, input)),
            Ok(Ok(Some(line))) => Err(format!("{program} said {line:?} instead of ready")),
            Ok(_) => {
                let how = child.wait().await.map_or_else(|e| e.to_string(), |status| status.to_string());
                Err(format!("{program} ended ({how}); see {}", self.words_path().display()))
            }
            Err(_) => {
                let _ = child.start_kill();
                Err(format!("{program} was not ready within {} s", READY.as_secs()))
            }
        }
    }

    fn words_path(&self) -> PathBuf {
        self.state_dir.join("watchdog.log")
    }

    fn words(&self) -> Option<File> {
        let path = self.words_path();
        // It is for looking at when something went wrong, not an archive.
        if std::fs::metadata(&path).is_ok_and(|m| m.len() > 1024 * 1024) {
            let _ = std::fs::remove_file(&path);
        }
        File::options().append(true).create(true).mode(0o600).open(path).ok()
    }
}

async fn mind(
    starter: Starter,
    first: (Child, ChildStdin),
    armed: Arc<Notify>,
    mut stopping: watch::Receiver<bool>,
    pid: watch::Sender<Option<u32>>,
    events: Arc<Events>,
) {
    let (mut child, mut input) = first;
    let mut pause = Duration::from_millis(20);
    loop {
        pid.send_replace(child.id());
        let ended = loop {
            tokio::select! {
                status = child.wait() => break status,
                () = armed.notified() => {
                    // A watchdog that does not read looks at the log by itself soon enough.
                    let _ = tokio::time::timeout(Duration::from_secs(1), input.write_all(&[ARMED])).await;
                }
                _ = stopping.changed() => {
                    let _ = tokio::time::timeout(Duration::from_secs(1), input.write_all(&[GOODBYE])).await;
                    drop(input);
                    // It ends at once unless something could not be undone; then it stays behind for that.
                    let _ = tokio::time::timeout(Duration::from_secs(5), child.wait()).await;
                    return;
                }
            }
        };
        pid.send_replace(None);
        let how = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
        let text = format!("the watchdog has ended ({how}); another is started");
        events.emit(EventKind::Note { level: Level::Warn, text });
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopping.changed() => return,
            }
            pause = (pause * 2).min(Duration::from_secs(30));
            match starter.start().await {
                Ok(next) => {
                    (child, input) = next;
                    break;
                }
                Err(why) => {
                    let text = format!("the watchdog does not start: {why}; it is tried again");
                    events.emit(EventKind::Note { level: Level::Error, text });
                }
            }
        }
    }
}
