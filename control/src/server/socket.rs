//! The unix socket: made so that nobody else can reach it, and never taken from anyone.

use super::StartError;
use crate::caller::Role;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Group, chown, geteuid};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// A socket address holds 108 bytes with its end.
const LONGEST: usize = 107;

/// A unix socket.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// Its path. The directory is made (0750) when it is missing.
    pub path: PathBuf,
    /// The group whose members are operators, by name or number.
    pub group: Option<String>,
    /// What those may who are neither the agent's user, root, nor in the group, should they reach the socket.
    pub others: Role,
}

impl SocketOptions {
    /// A socket for the agent's own user and root.
    pub fn new(path: impl Into<PathBuf>) -> SocketOptions {
        SocketOptions { path: path.into(), group: None, others: Role::Viewer }
    }
}

/// A socket that is ours; it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Bound {
    pub path: PathBuf,
    pub group: Option<Gid>,
    inode: (u64, u64),
    /// Held as long as the socket is ours, so that of two agents starting at once only one wins.
    _lock: Flock<File>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Only ours: someone may have put another in its place by hand.
        if fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the directory, replaces a socket that nobody listens on, listens.
pub(super) fn bind(options: &SocketOptions) -> Result<(Bound, UnixListener), StartError> {
    let path = &options.path;
    let len = path.as_os_str().len();
    if len > LONGEST {
        return Err(StartError::PathTooLong { path: path.clone(), len });
    }
    let group = options.group.as_deref().map(find_group).transpose()?;
    let system = |act, what: &Path| {
        let what = what.display().to_string();
        move |source| StartError::System { act, what, source }
    };
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let made = make_dir(dir).map_err(system("make the directory", dir))?;
    let about = fs::metadata(dir).map_err(system("look at the directory", dir))?;
    let me = geteuid().as_raw();
    if about.uid() != me && about.uid() != 0 {
        return Err(StartError::NotYours { path: dir.to_owned(), owner: about.uid(), me });
    }
    if about.mode() & 0o002 != 0 && about.mode() & 0o1000 == 0 {
        return Err(StartError::OpenDirectory { path: dir.to_owned() });
    }
    refuse_what_is_not_ours(path, me)?;
    let lock = lock(path)?;
    clear_stale(path, me)?;
    let listener = UnixListener::bind(path).map_err(system("listen on", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(system("set the mode of", path))?;
    if let Some(gid) = group {
        let give = |p: &Path| chown(p, None, Some(gid)).map_err(io::Error::from);
        give(path).map_err(system("give its group to", path))?;
        if made {
            give(dir).map_err(system("give its group to", dir))?;
        }
    }
    let about = fs::symlink_metadata(path).map_err(system("look at", path))?;
    let bound = Bound { path: path.clone(), group, inode: (about.dev(), about.ino()), _lock: lock };
    Ok((bound, listener))
}

/// Whether the directory had to be made. Only the last part is private; parents follow the umask.
fn make_dir(dir: &Path) -> io::Result<bool> {
    if dir.is_dir() {
        return Ok(false);
    }
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o750).create(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        made => made.map(|()| true),
    }
}

fn find_group(name: &str) -> Result<Gid, StartError> {
    let missing = || StartError::NoGroup { group: name.to_owned() };
    match name.parse::<u32>() {
        Ok(gid) => Ok(Gid::from_raw(gid)),
        Err(_) => Group::from_name(name).ok().flatten().map(|g| g.gid).ok_or_else(missing),
    }
}

fn refuse_what_is_not_ours(path: &Path, me: u32) -> Result<(), StartError> {
    match fs::symlink_metadata(path) {
        Ok(about) if !about.file_type().is_socket() => Err(StartError::NotASocket { path: path.to_owned() }),
        Ok(about) if about.uid() != me => {
            Err(StartError::NotYours { path: path.to_owned(), owner: about.uid(), me })
        }
        _ => Ok(()),
    }
}

fn lock(path: &Path) -> Result<Flock<File>, StartError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(|source| StartError::System { act: "open", what: name.display().to_string(), source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => StartError::InUse { path: path.to_owned() },
        errno => StartError::System { act: "lock", what: name.display().to_string(), source: errno.into() },
    })
}

/// Removes what an agent that is gone left behind; refuses when somebody answers there.
fn clear_stale(path: &Path, me: u32) -> Result<(), StartError> {
    refuse_what_is_not_ours(path, me)?;
    match UnixStream::connect(path) {
        Ok(_) => Err(StartError::InUse { path: path.to_owned() }),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(|source| {
            StartError::System { act: "remove the stale socket", what: path.display().to_string(), source }
        }),
        Err(_) => Ok(()),
    }
}
