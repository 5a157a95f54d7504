//! Files that a container's programs have open below a directory before it is mounted over: they go past the mount, for a
//! descriptor stays with the file that it was opened on.

use inject::{Container, Refusal};
use model::TargetRef;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Refuses to mount where files are open: a fault that passes by what matters most would say that all is well.
pub(crate) fn refuse(target: &TargetRef, container: &Container, below: &Path) -> Result<(), Refusal> {
    let held = held(container.pid, below);
    let Some(first) = held.first() else { return Ok(()) };
    let files: usize = held.iter().map(|h| h.files.len()).sum();
    let who: Vec<String> = held.iter().take(4).map(|h| format!("{} ({})", h.name, h.pid)).collect();
    Err(Refusal::new(
        format!(
            "{target}: {files} file{} below {} {} open in container {} and would go past the mount, {} first: {}",
            if files == 1 { "" } else { "s" },
            below.display(),
            if files == 1 { "is" } else { "are" },
            container.name,
            first.files[0].display(),
            who.join(", ")
        ),
        "choose a directory whose files are opened anew for each use, mount before the program starts (docs/files.md), or say in_use_passes: true",
    ))
}

/// A process with what it has open there.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pid: u32,
    start: u64,
    name: String,
    files: Vec<PathBuf>,
}

/// Who has files open below a directory that is about to be mounted over, as process `pid` sees it, or we do.
pub(crate) fn before(pid: Option<u32>, below: &Path) -> Vec<Held> {
    held(pid.unwrap_or_else(std::process::id), below)
}

/// What to tell whoever arms a fault about those who had files open before the mount and still live.
pub(crate) fn told(before: &[Held]) -> Option<String> {
    let lives = |h: &&Held| host::ProcessId { pid: h.pid, start: h.start }.alive();
    let alive: Vec<&Held> = before.iter().filter(lives).collect();
    let first = alive.first()?;
    let who: Vec<String> = alive.iter().take(4).map(|h| format!("{} ({})", h.name, h.pid)).collect();
    Some(format!(
        "{} had files open before the mount, {} among them: what they do with those goes past it; start them anew, or mount first",
        who.join(", "),
        first.files[0].display()
    ))
}

/// The processes of that one's mount namespace which have files open or mapped below a directory.
fn held(pid: u32, below: &Path) -> Vec<Held> {
    let namespace = |pid: u32| fs::metadata(format!("/proc/{pid}/ns/mnt")).map(|m| (m.dev(), m.ino())).ok();
    let Some(here) = namespace(pid) else { return Vec::new() };
    let all = host::process::list().into_iter().filter(|p| namespace(p.id.pid) == Some(here));
    all.filter_map(|p| {
        let files = open_files(p.id.pid, below);
        (!files.is_empty()).then_some(Held { pid: p.id.pid, start: p.id.start, name: p.comm, files })
    })
    .collect()
}

fn open_files(pid: u32, below: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for folder in ["fd", "map_files"] {
        let links = fs::read_dir(format!("/proc/{pid}/{folder}")).into_iter().flatten().flatten();
        for link in links.map(|entry| entry.path()) {
            let Ok(path) = fs::read_link(&link) else { continue };
            // A directory that is held, such as where a program stands, reads nothing by itself.
            let is_file = fs::metadata(&link).is_ok_and(|m| m.is_file());
            if is_file && path.starts_with(below) && !all.contains(&path) {
                all.push(path);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_and_mapped_files_are_found_and_directories_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().canonicalize().unwrap();
        let me = std::process::id();
        let none = held(me, &place).is_empty();
        let held_dir = fs::File::open(&place).unwrap();
        assert!(none && open_files(me, &place).is_empty());
        let file = fs::File::create(place.join("log")).unwrap();
        let target = TargetRef::new(model::TargetKind::Fs, "d");
        let container = Container { id: "0".into(), name: "shop-web-1".into(), pid: me, start: 0 };
        let why = refuse(&target, &container, &place).unwrap_err().to_string();
        assert!(why.contains("1 file below") && why.contains("shop-web-1") && why.contains("/log"), "{why}");
        let seen = before(None, &place);
        let text = told(&seen).unwrap();
        assert!(text.contains(&format!("({me})")) && text.contains("/log among them"), "{text}");
        assert_eq!(told(&[Held { start: 1, ..seen[0].clone() }]), None, "another process with its number");
        drop(file);
        assert!(before(None, &place).is_empty());
        assert!(refuse(&target, &container, &place).is_ok());
        drop(held_dir);
    }
}
