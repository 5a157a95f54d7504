//! What is written down of a mount before it is attached, so that another process can take it away.

use crate::mount::{MountId, Place};
use inject::{Leftover, Recovered, Swept, UndoRecord};
use model::{TargetKind, TargetRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take.
const LATE: Duration = Duration::from_secs(2);

/// The folder of these records in an agent's state directory.
const FOLDER: &str = "mounts";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) target: TargetRef,
    /// Where it is, as a process of its mount namespace sees it.
    pub(crate) path: PathBuf,
    /// The number of its mount namespace; none when it is the agent's own.
    pub(crate) namespace: Option<u64>,
    pub(crate) mount: MountId,
    /// The boot in which those numbers mean anything.
    pub(crate) boot: String,
}

impl Record {
    /// The record of a mount that is about to be attached.
    pub(crate) fn new(target: &TargetRef, place: &Place, id: &MountId) -> io::Result<Record> {
        Ok(Record {
            target: target.clone(),
            path: place.path.clone(),
            namespace: place.pid.map(namespace_of).transpose()?,
            mount: id.clone(),
            boot: host::clock::boot_id().to_owned(),
        })
    }

    /// Writes it to the state directory; it is on disk when this returns.
    pub(crate) fn write(&self, state_dir: &Path) -> io::Result<PathBuf> {
        let folder = state_dir.join(FOLDER);
        host::dirs::private(&folder, 0o700).map_err(|e| io::Error::other(e.to_string()))?;
        let path = folder.join(format!("{}.json", self.mount.mark));
        let mut file = File::create(&path)?;
        file.write_all(&serde_json::to_vec(self).map_err(io::Error::other)?)?;
        file.sync_all()?;
        File::open(&folder)?.sync_all()?;
        Ok(path)
    }

    /// Takes the mount away, if it is still there, and looks that it is gone.
    pub(crate) fn undo(&self) -> Recovered {
        if self.boot != host::clock::boot_id() {
            return Recovered::Gone("the machine was started anew since".into());
        }
        let pid = match self.namespace {
            None => None,
            Some(ns) => match in_namespace(ns) {
                Some(pid) => Some(pid),
                None => return Recovered::Gone("its mount namespace is gone, and the mount with it".into()),
            },
        };
        let place = Place { path: self.path.clone(), pid };
        let id = &self.mount;
        let there = place.knows(id);
        if there {
            // Whoever waits for an answer that will not come is let go.
            crate::mount::abort(id.dev.1);
        }
        let detached = if there { place.detach(id) } else { Ok(true) };
        let detached = detached.and_then(|gone| {
            if gone {
                crate::clones::replace(&place, id)?;
            }
            Ok(gone)
        });
        match detached {
            Ok(true) if !there => Recovered::Gone("it is not mounted any more".into()),
            Ok(true) if !place.knows(id) => Recovered::Undone,
            Ok(true) => Recovered::Failed(format!("it is still mounted on {}", self.path.display())),
            Ok(false) => Recovered::Failed(format!(
                "something else is mounted over {}; unmount that, then run `murphy recover`",
                self.path.display()
            )),
            // Someone else was faster: a watchdog, `murphy recover`, `murphy doctor --fix`.
            Err(_) if !place.knows(id) => Recovered::Gone("it is not mounted any more".into()),
            Err(e) => Recovered::Failed(format!("umount {}: {e}", self.path.display())),
        }
    }
}

/// Takes away every mount that a dead agent of that state directory has left.
pub(crate) fn sweep(state_dir: &Path) -> Vec<Swept> {
    let mut out = Vec::new();
    let files = fs::read_dir(state_dir.join(FOLDER)).into_iter().flatten().flatten();
    for path in files.map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "json")) {
        let record = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
        let Some(record) = record else {
            // It was being written when its agent died, and a mount is attached only after that.
            let _ = fs::remove_file(&path);
            continue;
        };
        let outcome = record.undo();
        if !matches!(outcome, Recovered::Failed(_)) {
            let _ = fs::remove_file(&path);
        }
        out.push(Swept {
            target: record.target,
            act: format!("a mount on {}", record.path.display()),
            undo: format!("umount -l {}", record.path.display()),
            outcome,
        });
    }
    out
}

/// Mounts of ours that nobody serves any more, in every mount namespace that can be seen; without a log.
pub(crate) fn unserved() -> Vec<Leftover> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let mine = namespace_of(std::process::id()).ok();
    let mut places = vec![Place { path: PathBuf::new(), pid: None }];
    let mut seen: BTreeSet<u64> = mine.into_iter().collect();
    for pid in pids {
        if namespace_of(pid).is_ok_and(|ns| seen.insert(ns)) {
            places.push(Place { path: PathBuf::new(), pid: Some(pid) });
        }
    }
    let mut out = Vec::new();
    for place in places {
        for (path, mount) in place.ours() {
            let at = Place { path: path.clone(), pid: place.pid };
            let Ok(namespace) = at.pid.map(namespace_of).transpose() else { continue };
            if is_served(&at) {
                continue;
            }
            let within =
                at.pid.map_or(String::new(), |pid| format!(" in the mount namespace of process {pid}"));
            let boot = host::clock::boot_id().to_owned();
            let target = TargetRef::new(TargetKind::Fs, path.to_string_lossy());
            let record = Record { target, path: path.clone(), namespace, mount, boot };
            out.push(Leftover {
                record: UndoRecord {
                    injector: "fs".into(),
                    act: format!("a mount on {}{within} that nobody serves", path.display()),
                    undo: format!("umount -l {}{within}", path.display()),
                    data: serde_json::to_value(Left { mount: record }).unwrap_or_default(),
                    ends_with_agent: false,
                },
                owner: None,
            });
        }
    }
    out
}

/// The data of an undo record of a mount that was found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Left {
    pub(crate) mount: Record,
}

/// Whether someone answers. What is asked may be what a fault makes late, so nobody waits for the answer for long:
/// late is an answer too.
fn is_served(place: &Place) -> bool {
    let (tell, told) = std::sync::mpsc::channel();
    let path = place.seen_from_here();
    let ask = move || {
        let dead = fs::metadata(&path).is_err_and(|e| e.raw_os_error() == Some(libc::ENOTCONN));
        // Whoever asked may have stopped waiting.
        let _ = tell.send(!dead);
    };
    let asked = std::thread::Builder::new().name("murphy-fs-left".into()).spawn(ask);
    asked.is_err() || told.recv_timeout(LATE).unwrap_or(true)
}

/// The number of a process's mount namespace.
pub(crate) fn namespace_of(pid: u32) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(format!("/proc/{pid}/ns/mnt"))?.ino())
}

/// A process that is in that mount namespace.
fn in_namespace(ns: u64) -> Option<u32> {
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| namespace_of(*pid).is_ok_and(|found| found == ns))
}
