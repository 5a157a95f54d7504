//! Mounts, through the kernel's own interface (fsopen(2) and what goes with it): made detached, attached where they are
//! wanted, also in the mount namespace of a process, and taken away again.

use crate::sys;
use crate::sys::Attributes;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where a mount is: a path, as this process or another one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// The process in whose mount namespace it is.
    pub(crate) pid: Option<u32>,
}

/// A mount that nobody sees yet: the device to serve it by, and the mount itself.
pub(crate) struct Detached {
    pub(crate) device: OwnedFd,
    pub(crate) mount: OwnedFd,
}

/// How marks begin.
const MARK: &str = "murphy-";

/// What identifies a mount beyond confusion. The kernel's own numbers of mounts and devices are given to others as soon as
/// they are free, so each mount has a mark in what is shown as its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountId {
    /// The mark: `murphy-2f3a90c1`.
    pub(crate) mark: String,
    /// The device number of the filesystem; its minor is the number of the FUSE connection.
    pub(crate) dev: (u32, u32),
}

impl MountId {
    /// Whether a source in a table of mounts is this mount's, or a copy's.
    pub(crate) fn is_shown_as(&self, source: &str) -> bool {
        source.split_once(':').is_some_and(|(mark, _)| mark == self.mark)
    }

    /// A mark that no other mount has had since the machine was started.
    pub(crate) fn mark() -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let now = host::clock::boottime().as_nanos();
        format!("{MARK}{now:x}{:x}{:x}", std::process::id(), COUNT.fetch_add(1, Relaxed))
    }
}

/// Makes a mount of our filesystem that is attached nowhere. `label` is what is shown as its source.
pub(crate) fn detached(label: &str, root_mode: u32) -> io::Result<Detached> {
    let device = openat(CWD, c"/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let fs = fsopen(c"fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, value: &str| fsconfig_set_string(&fs, key, value);
    set("source", label)?;
    set("subtype", "murphy")?;
    set("fd", &device.as_raw_fd().to_string())?;
    set("rootmode", &format!("{:o}", root_mode & libc::S_IFMT))?;
    set("user_id", &rustix::process::getuid().as_raw().to_string())?;
    set("group_id", &rustix::process::getgid().as_raw().to_string())?;
    fsconfig_set_flag(&fs, "allow_other")?;
    fsconfig_set_flag(&fs, "default_permissions")?;
    fsconfig_create(&fs)?;
    let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    Ok(Detached { device, mount })
}

impl Place {
    /// Opens it as a directory without reading it.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(CWD, self.seen_from_here(), flags, Mode::empty())?)
    }

    /// Its path for this process.
    pub(crate) fn seen_from_here(&self) -> PathBuf {
        match self.pid {
            None => self.path.clone(),
            Some(pid) => {
                let below = self.path.strip_prefix("/").unwrap_or(&self.path);
                Path::new(&format!("/proc/{pid}/root")).join(below)
            }
        }
    }

    /// Attaches a mount on top of what is there.
    pub(crate) fn attach(&self, mount: &OwnedFd) -> io::Result<()> {
        let mount = mount.try_clone()?;
        let path = self.path.clone();
        self.within(move || {
            let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            Ok(move_mount(&mount, c"", CWD, &path, how)?)
        })
    }

    /// Attaches a mount beneath the one that is on top there, so that taking that away leaves this one without a gap.
    /// Kernels before 6.5 cannot.
    pub(crate) fn attach_beneath(&self, mount: &OwnedFd) -> io::Result<()> {
        let mount = mount.try_clone()?;
        let path = self.path.clone();
        self.within(move || {
            let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_BENEATH;
            Ok(move_mount(&mount, c"", CWD, &path, how)?)
        })
    }

    /// Whether that mount is what is on top there.
    pub(crate) fn shows(&self, mount: &MountId) -> bool {
        self.top(&self.path).is_some_and(|line| line.is(mount))
    }

    /// What is mounted on top of a path. The order of the table says nothing about it: one may have been put beneath
    /// another.
    pub(crate) fn top(&self, path: &Path) -> Option<Mounted> {
        let mut here = self.table();
        here.retain(|line| line.at == path);
        let top = here.iter().position(|line| !here.iter().any(|other| other.parent == line.id))?;
        Some(here.swap_remove(top))
    }

    /// Takes away what is on top there, if it is that mount and nothing else. Descriptors that are open go on working.
    pub(crate) fn detach(&self, mount: &MountId) -> io::Result<bool> {
        if !self.shows(mount) {
            return Ok(false);
        }
        let path = CString::new(self.path.as_os_str().as_bytes()).map_err(io::Error::other)?;
        self.within(move || sys::umount_detach(&path).map(|()| true))
    }

    /// A copy of what is seen there, attached nowhere.
    pub(crate) fn copy(&self, how: Attributes) -> io::Result<OwnedFd> {
        let path = self.path.clone();
        self.within(move || {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE
                | OpenTreeFlags::AT_NO_AUTOMOUNT;
            let tree = open_tree(CWD, &path, flags)?;
            sys::set_attributes(&tree, how)?;
            Ok(tree)
        })
    }

    /// Puts a tree in the place of a mount of that filesystem that is on top there, without a gap where the kernel can.
    pub(crate) fn exchange(&self, mount: &MountId, tree: Option<OwnedFd>) -> io::Result<()> {
        let path = self.path.clone();
        if !self.shows(mount) {
            return Err(io::Error::other(format!("something else is mounted over {}", path.display())));
        }
        self.within(move || {
            let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            let beneath = |tree: &OwnedFd| {
                move_mount(tree, c"", CWD, &path, whole | MoveMountFlags::MOVE_MOUNT_BENEATH).is_ok()
            };
            let is_in = tree.as_ref().is_some_and(beneath);
            sys::umount_detach(&CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?)?;
            match tree {
                Some(tree) if !is_in => Ok(move_mount(&tree, c"", CWD, &path, whole)?),
                _ => Ok(()),
            }
        })
    }

    /// Whether that mount is in the table of the place's namespace at all, on top or hidden.
    pub(crate) fn knows(&self, mount: &MountId) -> bool {
        self.table().iter().any(|line| line.is(mount))
    }

    /// The mounts of ours in the place's namespace: where each is, and which it is.
    pub(crate) fn ours(&self) -> Vec<(PathBuf, MountId)> {
        let of = |line: Mounted| {
            let mark = line.source.split_once(':')?.0;
            let ours = line.kind == "fuse.murphy" && mark.starts_with(MARK);
            ours.then(|| (line.at, MountId { mark: mark.to_owned(), dev: line.device }))
        };
        self.table().into_iter().filter_map(of).collect()
    }

    /// The mounts of the place's namespace.
    fn table(&self) -> Vec<Mounted> {
        let table = match self.pid {
            None => "/proc/thread-self/mountinfo".to_owned(),
            Some(pid) => format!("/proc/{pid}/mountinfo"),
        };
        let text = std::fs::read_to_string(table).unwrap_or_default();
        text.lines().filter_map(Mounted::read).collect()
    }

    /// Does something in the place's mount namespace: here, or in a thread that goes there and ends.
    fn within<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Some(pid) = self.pid else { return act() };
        let namespace =
            openat(CWD, format!("/proc/{pid}/ns/mnt"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let root = openat(
            CWD,
            format!("/proc/{pid}/root"),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let thread = std::thread::Builder::new().name("murphy-fs-mount".into()).spawn(move || {
            sys::enter_mounts(&namespace)?;
            // The namespace's root need not be that of the process.
            rustix::process::fchdir(&root)?;
            rustix::process::chroot(c".")?;
            act()
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that mounts ended early")))
    }
}

/// A line of a table of mounts (proc_pid_mountinfo(5)).
pub(crate) struct Mounted {
    id: u64,
    parent: u64,
    /// Where it is.
    at: PathBuf,
    /// Its filesystem's device number.
    device: (u32, u32),
    /// Its type.
    pub(crate) kind: String,
    /// What is shown as its source.
    pub(crate) source: String,
}

impl Mounted {
    fn read(line: &str) -> Option<Mounted> {
        let mut words = line.split(' ');
        let (id, parent) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let device = words.next()?.split_once(':')?;
        let device = (device.0.parse().ok()?, device.1.parse().ok()?);
        let at = unescaped(words.nth(1)?);
        let mut rest = line.split_once(" - ")?.1.split(' ');
        Some(Mounted {
            id,
            parent,
            device,
            at: at.into(),
            kind: rest.next()?.to_owned(),
            source: unescaped(rest.next()?),
        })
    }

    fn is(&self, mount: &MountId) -> bool {
        mount.is_shown_as(&self.source)
    }
}

/// A text of the mount table, in which spaces and the like stand as octal numbers.
pub(crate) fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

impl Detached {
    /// The device number of its filesystem.
    pub(crate) fn dev(&self) -> io::Result<(u32, u32)> {
        let how = AtFlags::STATX_DONT_SYNC | AtFlags::EMPTY_PATH;
        let st = rustix::fs::statx(&self.mount, c"", how, StatxFlags::TYPE)?;
        Ok((st.stx_dev_major, st.stx_dev_minor))
    }
}

/// Where the kernel shows the FUSE connections that there are.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// Ends every operation that waits for an answer of a connection, and the connection. A machine that does not show its
/// connections is made to, where nobody else sees it.
pub(crate) fn abort(minor: u32) {
    let file = format!("{CONNECTIONS}/{minor}/abort");
    if std::fs::write(&file, "1").is_ok() {
        return;
    }
    let thread =
        std::thread::Builder::new().name("murphy-fs-abort".into()).spawn(move || -> io::Result<()> {
            sys::mounts_of_its_own()?;
            rustix::mount::mount_change(
                "/",
                rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
            )?;
            rustix::mount::mount("none", CONNECTIONS, "fusectl", rustix::mount::MountFlags::empty(), None)?;
            std::fs::write(&file, "1")
        });
    // Nothing depends on it: a connection ends with its server, too.
    if let Ok(thread) = thread {
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_tables_are_read_as_they_are_written() {
        let line = "65 44 0:39 / /srv/a\\040b rw,relatime shared:1 - fuse.murphy murphy-1f:/srv/a\\040b rw,user_id=0";
        let mounted = Mounted::read(line).unwrap();
        assert_eq!((mounted.at.to_str(), mounted.kind.as_str()), (Some("/srv/a b"), "fuse.murphy"));
        let id = |mark: &str| MountId { mark: mark.into(), dev: (0, 39) };
        assert_eq!(mounted.device, (0, 39));
        assert!(mounted.is(&id("murphy-1f")) && !mounted.is(&id("murphy-1")));
        assert_ne!(MountId::mark(), MountId::mark());
    }
}
