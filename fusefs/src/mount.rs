//! Mounts, through the kernel's own interface (fsopen(2) and what goes with it): made detached, attached where they are
//! wanted, also in the mount namespace of a process, and taken away again.

use crate::clones::Attributes;
use crate::sys;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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

/// What identifies a mount for as long as the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MountId {
    /// The number of the mount.
    pub(crate) id: u64,
    /// The device number of the filesystem; its minor is the number of the FUSE connection.
    pub(crate) dev: (u32, u32),
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

    /// What is mounted on top there.
    pub(crate) fn top(&self) -> io::Result<MountId> {
        let path = self.path.clone();
        self.within(move || identify(CWD, &path))
    }

    /// Takes away what is on top there, if it is that mount and nothing else. Descriptors that are open go on working.
    pub(crate) fn detach(&self, mount: MountId) -> io::Result<bool> {
        let path = self.path.clone();
        self.within(move || {
            if identify(CWD, &path)? != mount {
                return Ok(false);
            }
            let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
            sys::umount_detach(&path).map(|()| true)
        })
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
    pub(crate) fn exchange(&self, mount: MountId, tree: Option<OwnedFd>) -> io::Result<()> {
        let path = self.path.clone();
        self.within(move || {
            if identify(CWD, &path)?.dev != mount.dev {
                return Err(io::Error::other(format!("something else is mounted over {}", path.display())));
            }
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
    pub(crate) fn knows(&self, mount: MountId) -> bool {
        let table = match self.pid {
            None => "/proc/self/mountinfo".to_owned(),
            Some(pid) => format!("/proc/{pid}/mountinfo"),
        };
        let wanted = format!("{}:{}", mount.dev.0, mount.dev.1);
        let text = std::fs::read_to_string(table).unwrap_or_default();
        text.lines().any(|line| line.split(' ').nth(2) == Some(&wanted))
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

fn identify(dir: impl std::os::fd::AsFd, path: &Path) -> io::Result<MountId> {
    // Without asking the filesystem: its server may be gone.
    let how = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC | AtFlags::EMPTY_PATH;
    let st = rustix::fs::statx(dir, path, how, StatxFlags::MNT_ID | StatxFlags::TYPE)?;
    Ok(MountId { id: st.stx_mnt_id, dev: (st.stx_dev_major, st.stx_dev_minor) })
}

impl Detached {
    /// What will identify the mount once it is attached.
    pub(crate) fn id(&self) -> io::Result<MountId> {
        identify(&self.mount, Path::new(""))
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
