//! The few calls that no safe wrapper offers: whose rights a thread uses on files, and a working directory and umask
//! of its own. All unsafe code of this crate is here.
#![allow(unsafe_code)]

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

thread_local! {
    /// Whether this thread has a umask of its own.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Gives this thread a working directory and a umask of its own, as far as it has none. The umask is then zero.
pub(crate) fn stand_alone() -> Result<(), Errno> {
    if ALONE.get() {
        return Ok(());
    }
    // SAFETY: unshare takes no memory of ours; with CLONE_FS it changes only what this thread shares with others.
    if unsafe { libc::unshare(libc::CLONE_FS) } != 0 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::PERM));
    }
    ALONE.set(true);
    set_umask(0);
    Ok(())
}

/// Sets this thread's umask; it must stand alone, or the whole process would change.
pub(crate) fn set_umask(mask: u32) {
    if ALONE.get() {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask & 0o777));
    }
}

/// Lets this thread act on files as that user and group, until [`act_as_root`]. Only for threads of the superuser.
/// Calls the kernel directly: glibc would change every thread.
fn act_as(uid: u32, gid: u32) {
    // SAFETY: both calls take numbers alone and change the credentials of this thread only. They report no errors; what
    // is not permitted leaves the credentials as they are.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
    }
}

/// Acts as someone else as long as it lives: what is created belongs to that user. The permissions were checked by the
/// kernel before the call came here, so the rights to pass every check are kept.
pub(crate) struct As(bool);

impl As {
    /// Acts as that user and group.
    pub(crate) fn user(uid: u32, gid: u32) -> As {
        if uid == 0 && gid == 0 {
            return As(false);
        }
        act_as(uid, gid);
        if uid != 0 {
            // Changing the user has taken these away.
            with(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::MKNOD, true);
        }
        As(true)
    }
}

impl Drop for As {
    fn drop(&mut self) {
        if self.0 {
            act_as(0, 0);
            with(CapabilitySet::FSETID, false);
        }
    }
}

/// Whether set-user-id and set-group-id bits of files survive what this thread writes, as long as it lives.
pub(crate) struct KeepSetId(());

impl KeepSetId {
    /// They do.
    pub(crate) fn yes() -> KeepSetId {
        with(CapabilitySet::FSETID, true);
        KeepSetId(())
    }
}

impl Drop for KeepSetId {
    fn drop(&mut self) {
        with(CapabilitySet::FSETID, false);
    }
}

/// From now on what this thread and those that it starts write clears set-user-id and set-group-id bits, as it does for
/// anyone but the superuser.
pub(crate) fn clear_set_id_on_write() {
    with(CapabilitySet::FSETID, false);
}

/// Has or has not these rights in effect, if it is permitted to.
fn with(which: CapabilitySet, on: bool) {
    let Ok(mut sets) = capabilities(None) else { return };
    let which = which & sets.permitted;
    sets.effective = if on { sets.effective | which } else { sets.effective - which };
    // What is permitted may be put in effect and taken out of it at any time.
    let _ = set_capabilities(None, sets);
}

/// Moves this thread to another mount namespace. It must stand alone, and should end soon.
pub(crate) fn enter_mounts(namespace: &impl AsFd) -> io::Result<()> {
    stand_alone()?;
    // SAFETY: setns takes a descriptor, which is open for the length of the call, and a number.
    if unsafe { libc::setns(namespace.as_fd().as_raw_fd(), libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Gives this thread a copy of the mount namespace for itself.
pub(crate) fn mounts_of_its_own() -> io::Result<()> {
    stand_alone()?;
    // SAFETY: unshare takes no memory of ours; it changes only what this thread, which stands alone, sees.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Takes away what is mounted on top of a path, at once; descriptors that are open below it go on working.
pub(crate) fn umount_detach(path: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the path is a C string that lives as long as the call.
    if unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What a mount allows, and whether it follows another one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) read_only: bool,
    pub(crate) no_suid: bool,
    pub(crate) no_dev: bool,
    pub(crate) no_exec: bool,
    pub(crate) follows: bool,
}

/// Sets what a mount that is attached nowhere allows, and whether it follows another one or none.
pub(crate) fn set_attributes(mount: &impl AsFd, how: Attributes) -> io::Result<()> {
    let flag = |on: bool, flag: u64| if on { flag } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: flag(how.read_only, libc::MOUNT_ATTR_RDONLY)
            | flag(how.no_suid, libc::MOUNT_ATTR_NOSUID)
            | flag(how.no_dev, libc::MOUNT_ATTR_NODEV)
            | flag(how.no_exec, libc::MOUNT_ATTR_NOEXEC),
        attr_clr: 0,
        propagation: if how.follows { libc::MS_SLAVE } else { libc::MS_PRIVATE },
        userns_fd: 0,
    };
    // SAFETY: the descriptor is open, the path is an empty C string, and the kernel reads the structure, whose size it is
    // told, during the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_stands_alone_leaves_the_umask_of_others() {
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        std::thread::spawn(|| {
            stand_alone().unwrap();
            set_umask(0o077);
        })
        .join()
        .unwrap();
        let now = rustix::process::umask(before);
        assert_eq!(now.as_raw_mode(), 0o022);
    }
}
