//! Network namespaces: which one is meant, and doing something inside one.
//!
//! A process with several threads cannot change its namespace as a whole, and need not: a thread of its own enters it,
//! opens the sockets and hands them back. A socket stays in the namespace it was opened in, whoever uses it.

use nix::sched::CloneFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A network namespace by what the kernel knows it as: device and inode of its file in nsfs. An inode may be used again
/// after its namespace is gone, so a record of one also names the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetnsId {
    /// The device of nsfs.
    pub dev: u64,
    /// The inode.
    pub inode: u64,
}

impl fmt::Display for NetnsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.inode)
    }
}

/// A network namespace that is held: it stays as long as this does.
#[derive(Debug, Clone)]
pub struct Netns {
    id: NetnsId,
    file: Arc<File>,
    path: PathBuf,
}

impl Netns {
    /// The one this process is in.
    pub fn mine() -> io::Result<Netns> {
        Netns::open(Path::new("/proc/self/ns/net"))
    }

    /// The one a process is in.
    pub fn of_process(pid: u32) -> io::Result<Netns> {
        Netns::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// One that `ip netns` gave a name.
    pub fn named(name: &str) -> io::Result<Netns> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name:?} is no name of a namespace"),
            ));
        }
        Netns::open(&Path::new("/run/netns").join(name))
    }

    /// The one that is behind a file: `/proc/PID/ns/net`, or where one is bound.
    pub fn open(path: &Path) -> io::Result<Netns> {
        let file = File::open(path)?;
        let about = file.metadata()?;
        // The magic number of nsfs (statfs(2)): anything else could not be entered.
        if rustix::fs::fstatfs(&file)?.f_type as u64 & 0xffff_ffff != 0x6e73_6673 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} is no namespace", path.display()),
            ));
        }
        let id = NetnsId { dev: about.dev(), inode: about.ino() };
        Ok(Netns { id, file: Arc::new(file), path: path.to_owned() })
    }

    /// The one with that identity, wherever it can be found: among processes and the names of `ip netns`. None when nothing
    /// that can be seen is in it any more.
    pub fn find(id: NetnsId, first: &Path) -> Option<Netns> {
        let is = |path: &Path| fs::metadata(path).is_ok_and(|m| m.dev() == id.dev && m.ino() == id.inode);
        std::iter::once(first.to_owned())
            .chain(paths())
            .filter(|path| is(path))
            .find_map(|path| Netns::open(&path).ok().filter(|ns| ns.id == id))
    }

    /// All that can be seen: that of this process, those with a name, those of processes. Each once.
    pub fn all() -> Vec<Netns> {
        let mut out: Vec<Netns> = Vec::new();
        for path in paths() {
            let Ok(about) = fs::metadata(&path) else { continue };
            if out.iter().any(|ns| ns.id.dev == about.dev() && ns.id.inode == about.ino()) {
                continue;
            }
            // What is in /run/netns and is no namespace (yet) is none of ours.
            out.extend(Netns::open(&path).ok());
        }
        out
    }

    /// What identifies it.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this process is in it.
    pub fn is_mine(&self) -> bool {
        Netns::mine().is_ok_and(|mine| mine.id == self.id)
    }

    /// Does something inside it, on a thread of its own, and waits. What was opened there stays there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, || {
                // Entering takes CAP_SYS_ADMIN; where we are already, none is needed.
                if !self.is_mine() {
                    move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
                }
                Ok(work())
            })?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the work in the namespace panicked")))
        })
    }
}

/// Does something in a new, empty namespace, which is gone afterwards unless what was opened there keeps it.
pub fn in_a_new_one<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, || {
            // Only this thread moves: CLONE_NEWNET concerns the caller alone.
            nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the work in the namespace panicked")))
    })
}

/// Where namespaces are found, this process's own first.
fn paths() -> impl Iterator<Item = PathBuf> {
    let names = fs::read_dir("/run/netns").into_iter().flatten().flatten().map(|entry| entry.path());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let processes = processes
        .filter(|p| p.file_name().is_some_and(|n| n.as_encoded_bytes()[0].is_ascii_digit()))
        .map(|p| p.join("ns/net"));
    std::iter::once(PathBuf::from("/proc/self/ns/net")).chain(names).chain(processes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_one_is_found_and_other_files_are_none() {
        let mine = Netns::mine().unwrap();
        assert!(mine.is_mine());
        assert_eq!(Netns::find(mine.id(), Path::new("/nowhere")).unwrap().id(), mine.id());
        assert_eq!(Netns::all().iter().filter(|ns| ns.id() == mine.id()).count(), 1);
        assert!(Netns::open(Path::new("/proc/self/status")).is_err());
        assert!(Netns::named("../x").is_err());
        assert!(Netns::find(NetnsId { dev: mine.id().dev, inode: 1 }, mine.path()).is_none());
    }

    #[test]
    fn what_is_opened_in_another_one_stays_there() {
        let Ok(there) = in_a_new_one(|| Netns::open(Path::new("/proc/thread-self/ns/net"))) else {
            return; // not root
        };
        let there = there.unwrap();
        assert!(!there.is_mine());
        // Its loopback is down, so what is sent there goes nowhere, from whichever thread.
        let socket = there.run(|| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        assert!(socket.send_to(b"x", "127.0.0.1:9").is_err());
        assert!(Netns::mine().unwrap().is_mine());
    }
}
