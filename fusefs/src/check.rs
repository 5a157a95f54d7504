//! What must be true before anything is mounted: one clear error for each thing that is not.

use crate::mount::Place;
use inject::Refusal;
use model::TargetRef;
use model::target::FsSpec;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What was found good.
pub(crate) struct Found {
    /// The directory to be served.
    pub(crate) source: OwnedFd,
    /// What it is called.
    pub(crate) shown: String,
    /// Where to mount.
    pub(crate) place: Place,
}

/// Places that belong to the kernel or hold everything.
const NEVER: &[&str] = &["/", "/proc", "/sys", "/dev", "/run"];

/// Looks at everything that can be looked at. Touches nothing. `pid`: the process in whose mount namespace it all is.
pub(crate) fn check(
    target: &TargetRef,
    spec: &FsSpec,
    pid: Option<u32>,
    state_dir: Option<&Path>,
) -> Result<Found, Refusal> {
    let no = |what: String, hint: &str| Err(Refusal::new(format!("{target}: {what}"), hint));
    let mut place = Place { path: PathBuf::from(&spec.mount), pid };
    if !place.path.is_absolute() {
        return no(format!("{} is not an absolute path", spec.mount), "write it from the root: /srv/shop/db");
    }
    if let Some(pid) = pid
        && host::process::stat(pid).is_err()
    {
        return no(
            format!("there is no process {pid}"),
            "look at its number again: it may have been started anew",
        );
    }
    device(target)?;
    let mount = real(target, &place, "the mount point")?;
    // As the table of mounts has it.
    place.path.clone_from(&mount);
    let source = spec.source.as_ref().map(|s| Place { path: PathBuf::from(s), pid });
    let source_path = match &source {
        Some(source) if !source.path.is_absolute() => {
            return no(
                format!("the source {} is not an absolute path", source.path.display()),
                "write it from the root: /srv/shop/db.real",
            );
        }
        Some(source) => Some(real(target, source, "the source")?),
        None => None,
    };
    if pid.is_none() && NEVER.iter().any(|p| mount == Path::new(p)) || mount.starts_with("/proc/self") {
        return no(
            format!("{} is not a directory to serve: the machine needs it as it is", mount.display()),
            "mount over the directory of the data itself",
        );
    }
    if let Some(source) = &source_path {
        if *source == mount {
            return no(
                "source and mount point are the same directory".into(),
                "leave out the source: what is underneath is served",
            );
        }
        if source.starts_with(&mount) {
            return no(
                format!(
                    "the source {} is inside the mount point and would be hidden by it",
                    source.display()
                ),
                "mount somewhere else, or leave out the source and serve the whole directory",
            );
        }
        if mount.starts_with(source) {
            return no(
                format!("the mount point {} is inside its own source", mount.display()),
                "mount somewhere outside the source",
            );
        }
        let mut names = std::fs::read_dir(place.seen_from_here())
            .map_err(|e| Refusal::new(format!("{target}: reading {}: {e}", mount.display()), hint(&e)))?;
        if names.next().is_some() {
            return no(
                format!(
                    "the mount point {} is not empty, and what is in it would be hidden",
                    mount.display()
                ),
                "mount on an empty directory, or leave out the source to serve the directory itself",
            );
        }
    }
    if let Some(state) = state_dir.and_then(|dir| dir.canonicalize().ok()) {
        let ours = [Some(&mount), source_path.as_ref()];
        if let Some(bad) = ours.into_iter().flatten().find(|p| state.starts_with(p) || p.starts_with(&state))
        {
            return no(
                format!(
                    "murphy's own state directory {} lies in {} or the other way round",
                    state.display(),
                    bad.display()
                ),
                "choose another state directory with MURPHY_STATE_DIR: faults must never reach it",
            );
        }
    }
    options(target, spec)?;
    if let Some(other) = ours_on(&place) {
        return no(
            format!("{} is in use already: {other} is mounted there", spec.mount),
            "arm faults on who serves it: `murphy mount` names its socket; or close that target first (murphy list shows it)",
        );
    }
    let from = source.unwrap_or_else(|| place.clone());
    let shown = from.path.display().to_string();
    let source =
        from.open().map_err(|e| Refusal::new(format!("{target}: opening {shown}: {e}"), hint(&e)))?;
    Ok(Found { source, shown, place })
}

/// Whether the options go together.
pub(crate) fn options(target: &TargetRef, spec: &FsSpec) -> Result<(), Refusal> {
    if spec.track_unsynced.is_some() && (spec.writeback || !spec.passthrough.is_empty()) {
        return Err(Refusal::new(
            format!("{target}: track_unsynced does not go with writeback or passthrough"),
            "what the kernel keeps or writes by itself cannot be tracked: leave one of them out",
        ));
    }
    Ok(())
}

/// Whether there is a device to serve the kernel by, and the right to mount.
fn device(target: &TargetRef) -> Result<(), Refusal> {
    if let Err(e) = std::fs::File::options().read(true).write(true).open("/dev/fuse") {
        let (what, hint) = match e.kind() {
            ErrorKind::NotFound => (
                "there is no /dev/fuse",
                "load the module (modprobe fuse); in a container start it with --device /dev/fuse",
            ),
            ErrorKind::PermissionDenied => (
                "/dev/fuse may not be opened",
                "run as root; in a container start it with --device /dev/fuse and --cap-add SYS_ADMIN",
            ),
            _ => ("/dev/fuse cannot be opened", "load the module (modprobe fuse)"),
        };
        return Err(Refusal::new(format!("{target}: {what}: {e}"), hint));
    }
    if !host::privilege::Capabilities::mine().has("CAP_SYS_ADMIN") {
        return Err(Refusal::new(
            format!("{target}: mounting needs CAP_SYS_ADMIN"),
            "run as root; in a container start it with --cap-add SYS_ADMIN",
        ));
    }
    Ok(())
}

/// The path without links, as a process there sees it; an error when it is no directory.
fn real(target: &TargetRef, place: &Place, what: &str) -> Result<PathBuf, Refusal> {
    let shown = place.path.display();
    let seen = place.seen_from_here();
    let meta = std::fs::metadata(&seen).map_err(|e| {
        let hint = match e.kind() {
            ErrorKind::NotFound => format!("make it first: mkdir {shown}"),
            ErrorKind::NotConnected => format!("a dead mount is on it: umount -l {shown}"),
            _ => hint(&e),
        };
        let text = if e.kind() == ErrorKind::NotFound { "does not exist".to_owned() } else { e.to_string() };
        Refusal::new(format!("{target}: {what} {shown} {text}"), hint)
    })?;
    if !meta.is_dir() {
        return Err(Refusal::new(format!("{target}: {what} {shown} is not a directory"), "name a directory"));
    }
    debug_assert!(meta.mode() & libc::S_IFMT == libc::S_IFDIR);
    // Within another root the path is compared as it was written.
    if place.pid.is_some() {
        return Ok(place.path.clone());
    }
    seen.canonicalize().map_err(|e| Refusal::new(format!("{target}: {what} {shown}: {e}"), hint(&e)))
}

/// What of ours is mounted there already.
fn ours_on(place: &Place) -> Option<String> {
    let path = if place.pid.is_some() { place.path.clone() } else { place.path.canonicalize().ok()? };
    let top = place.top(&path)?;
    (top.kind == "fuse.murphy").then_some(top.source)
}

/// What to do about an error of the kernel's.
pub(crate) fn hint(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(libc::ENOSYS | libc::EOPNOTSUPP) => {
            "this kernel has no fsopen(2): Linux 5.2 or newer is needed, with FUSE".into()
        }
        Some(libc::EPERM | libc::EACCES) => {
            "run as root; in a container start it with --cap-add SYS_ADMIN and, where AppArmor forbids mounts, \
             --security-opt apparmor=unconfined"
                .into()
        }
        Some(libc::ENODEV) => "the kernel has no FUSE: load the module (modprobe fuse)".into(),
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files (ulimit -n)".into(),
        _ => "look at the directory, and at dmesg".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(spec: &FsSpec, state: Option<&Path>) -> String {
        let target = TargetRef::new(model::TargetKind::Fs, "t");
        check(&target, spec, spec.pid, state).err().map(|r| r.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_cannot_be_mounted_is_refused_with_one_reason() {
        if device(&TargetRef::new(model::TargetKind::Fs, "t")).is_err() {
            eprintln!("skipped: needs root and /dev/fuse");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |p: &str| dir.path().join(p).to_str().unwrap().to_owned();
        for d in ["a/b", "c", "full/x", "state/s"] {
            std::fs::create_dir_all(path(d)).unwrap();
        }
        std::fs::write(path("file"), "").unwrap();
        let spec = |mount: String, source: Option<String>| FsSpec { mount, source, ..FsSpec::default() };
        for (mount, source, why) in [
            ("nowhere", None, "does not exist"),
            ("c", Some("nowhere"), "the source"),
            ("file", None, "is not a directory"),
            ("c", Some("file"), "is not a directory"),
            ("c", Some("c"), "the same directory"),
            ("a", Some("a/b"), "inside the mount point"),
            ("a/b", Some("a"), "inside its own source"),
            ("full", Some("c"), "is not empty"),
            ("state/s", None, "own state directory"),
            ("state", None, "own state directory"),
        ] {
            let text = refused(&spec(path(mount), source.map(path)), Some(Path::new(&path("state"))));
            assert!(text.contains(why), "{mount} {source:?}: {text}");
        }
        assert!(refused(&spec("rel".into(), None), None).contains("not an absolute path"));
        assert!(refused(&spec("/proc".into(), None), None).contains("needs it as it is"));
        let gone = FsSpec { pid: Some(4_000_000), ..spec(path("c"), None) };
        assert!(refused(&gone, None).contains("no process"));
        assert_eq!(refused(&spec(path("c"), None), None), "");
    }
}
