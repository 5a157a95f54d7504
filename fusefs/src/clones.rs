//! Copies of a mount in other places. A container that is started while its volume is served gets one of its own, which
//! taking the mount away does not reach: it would be a dead mount as soon as nobody serves it. Such copies are replaced
//! by the original directory.

use crate::mount::{MountId, Place, unescaped};
use crate::sys::Attributes;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Clone {
    place: Place,
    /// Which part of the filesystem it shows.
    root: PathBuf,
    /// What may be done on it.
    how: Attributes,
}

/// Mounts that lie on each other in one place are taken one after the other; more than this are nobody's work.
const LAYERS: usize = 8;

/// Puts the original directory, which is what is seen in `original` now, in the place of each copy of the mount.
pub(crate) fn replace(original: &Place, mount: &MountId) -> io::Result<()> {
    let mut failed = None;
    for _ in 0..LAYERS {
        let found = find(mount, original.pid);
        if found.is_empty() {
            return Ok(());
        }
        for clone in found {
            let below = clone.root.strip_prefix("/").unwrap_or(&clone.root);
            let source = Place { path: original.path.join(below), pid: original.pid };
            // The directory may be gone meanwhile; then what is underneath must do.
            let tree = source.copy(clone.how).ok();
            // Its namespace may be gone, too: whether anything is left is seen by looking again.
            failed = clone.place.exchange(mount, tree).err().or(failed);
        }
    }
    let left = find(mount, original.pid).into_iter().next();
    left.map_or(Ok(()), |clone| {
        let why = failed.map_or_else(|| "it is mounted again and again".to_owned(), |e| e.to_string());
        let of = clone.place.pid.map_or_else(String::new, |pid| format!(" of process {pid}"));
        Err(io::Error::other(format!(
            "a copy of the mount is left on {}{of}: {why}",
            clone.place.path.display()
        )))
    })
}

/// The copies in every mount namespace, each once; those in the original's own by its own way there.
fn find(mount: &MountId, own: Option<u32>) -> Vec<Clone> {
    let me = own.unwrap_or_else(std::process::id);
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = pids.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    // The oldest of a namespace is the one that is still there when it is asked for, and sees all of it.
    pids.sort_by_cached_key(|pid| (*pid != me, host::process::stat(*pid).map_or(u64::MAX, |s| s.id.start)));
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for pid in pids {
        let Ok(namespace) = fs::metadata(format!("/proc/{pid}/ns/mnt")) else { continue };
        if !seen.insert(namespace.ino()) {
            continue;
        }
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let place = |path| Place { path, pid: if pid == me { own } else { Some(pid) } };
        found.extend(table.lines().filter_map(|line| read(line, mount)).map(|(path, root, how)| Clone {
            place: place(path),
            root,
            how,
        }));
    }
    found
}

/// A line of a mount table, if it is of that mount's filesystem.
fn read(line: &str, mount: &MountId) -> Option<(PathBuf, PathBuf, Attributes)> {
    let (copy, filesystem) = line.split_once(" - ")?;
    let source = unescaped(filesystem.split(' ').nth(1)?);
    if !mount.is_shown_as(&source) {
        return None;
    }
    let words: Vec<&str> = copy.split(' ').collect();
    let [_, _, _, root, path, options, more @ ..] = words.as_slice() else { return None };
    let has = |option: &str| options.split(',').any(|o| o == option);
    let how = Attributes {
        read_only: has("ro"),
        no_suid: has("nosuid"),
        no_dev: has("nodev"),
        no_exec: has("noexec"),
        follows: more.iter().any(|word| word.starts_with("master:")),
    };
    Some((unescaped(path).into(), unescaped(root).into(), how))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_tells_where_and_how() {
        let line = "639 616 0:52 /sub /data\\040x ro,nosuid,relatime master:7 - fuse.murphy murphy-7:/srv rw,user_id=0";
        let of = |mark: &str| MountId { mark: mark.into(), dev: (0, 52) };
        let (path, root, how) = read(line, &of("murphy-7")).unwrap();
        assert_eq!((path.to_str(), root.to_str()), (Some("/data x"), Some("/sub")));
        let wanted = Attributes { read_only: true, no_suid: true, follows: true, ..Attributes::default() };
        assert_eq!(how, wanted);
        assert!(read(line, &of("murphy-8")).is_none() && read("", &of("murphy-7")).is_none());
    }
}
