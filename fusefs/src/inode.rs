//! What the kernel knows by number: inodes, where they are, and how they are reached in the source.
//!
//! No descriptor is kept per inode: a tree of a million files would need a million. An inode is reached by its parent
//! and its name; descriptors of directories are kept, as many as are allowed, and those of files that lose their last
//! known name, until the kernel forgets them. What is reached is compared by device, number and birth, so a number
//! that the source gives to another file is never taken for the old one.

use arc_swap::ArcSwapOption;
use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

/// The root's number in every FUSE filesystem.
pub(crate) const ROOT: u64 = 1;

/// What makes an inode of the source the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// When it was created, in nanoseconds; zero where the filesystem does not say.
    pub(crate) born: i64,
}

impl Key {
    pub(crate) fn of(st: &Statx) -> Key {
        let born = if st.stx_mask & StatxFlags::BTIME.bits() != 0 {
            st.stx_btime.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(i64::from(st.stx_btime.tv_nsec))
        } else {
            0
        };
        Key { dev: rustix::fs::makedev(st.stx_dev_major, st.stx_dev_minor), ino: st.stx_ino, born }
    }
}

/// One inode that the kernel knows.
pub(crate) struct Inode {
    /// Its number towards the kernel.
    pub(crate) id: u64,
    pub(crate) key: Key,
    /// How often the kernel looked it up and has not forgotten it.
    lookups: AtomicU64,
    /// Its type and permissions as last seen.
    mode: AtomicU32,
    place: Mutex<Place>,
    /// Kept for directories, and for what has lost its name.
    fd: ArcSwapOption<OwnedFd>,
    /// A descriptor of someone who has it open, if any.
    open: Mutex<Weak<OwnedFd>>,
    /// How many have it open.
    pub(crate) opens: AtomicUsize,
    /// How often it was written.
    pub(crate) writes: AtomicU32,
    pinned: AtomicBool,
    used: AtomicBool,
}

/// Where it was last seen.
struct Place {
    parent: Option<Arc<Inode>>,
    name: CString,
}

impl Inode {
    /// The permissions and type as last seen.
    pub(crate) fn mode(&self) -> u32 {
        self.mode.load(Relaxed)
    }

    pub(crate) fn saw_mode(&self, mode: u32) {
        self.mode.store(mode, Relaxed);
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.mode() & libc::S_IFMT == libc::S_IFDIR
    }

    /// Parent and name.
    pub(crate) fn place(&self) -> Option<(Arc<Inode>, CString)> {
        let place = lock(&self.place);
        Some((place.parent.clone()?, place.name.clone()))
    }

    /// It is found there now.
    pub(crate) fn moved(&self, parent: &Arc<Inode>, name: &CStr) {
        let mut place = lock(&self.place);
        if place.parent.as_ref().is_none_or(|p| p.id != parent.id) || place.name.as_c_str() != name {
            *place = Place { parent: Some(parent.clone()), name: name.to_owned() };
        }
    }

    /// Someone has it open.
    pub(crate) fn opened(&self, fd: &Arc<OwnedFd>) {
        self.opens.fetch_add(1, Relaxed);
        *lock(&self.open) = Arc::downgrade(fd);
    }

    /// A descriptor of someone who has it open.
    pub(crate) fn anyone(&self) -> Option<Arc<OwnedFd>> {
        lock(&self.open).upgrade()
    }

    /// Its path below the mount, beginning with a slash; the root is `/`.
    pub(crate) fn path(&self, child: Option<&OsStr>) -> String {
        let mut parts: Vec<CString> = Vec::new();
        let mut next = self.place();
        while let Some((parent, name)) = next {
            parts.push(name);
            next = parent.place();
        }
        let mut path = String::new();
        for part in parts.iter().rev() {
            path.push('/');
            path.push_str(&part.to_string_lossy());
        }
        if let Some(child) = child {
            path.push('/');
            path.push_str(&child.to_string_lossy());
        }
        if path.is_empty() { "/".into() } else { path }
    }
}

/// All inodes that the kernel knows.
pub(crate) struct Table {
    maps: RwLock<Maps>,
    next: AtomicU64,
    root_dev: u64,
    /// Directories whose descriptor is kept, in the order of their coming.
    kept: Mutex<VecDeque<Weak<Inode>>>,
    /// How many descriptors may be kept.
    keep: usize,
    /// Held for reading by whoever changes names, and for an instant for writing by who found a name gone.
    renames: RwLock<()>,
}

struct Maps {
    by_id: HashMap<u64, Arc<Inode>>,
    by_key: HashMap<(u64, u64), u64>,
}

/// What an inode's attributes are asked with.
const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// Attributes of what a name in a directory leads to, not following links.
pub(crate) fn stat_at(dir: &OwnedFd, name: &CStr) -> Result<Statx, Errno> {
    rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, WANTED)
}

/// Attributes of what a descriptor stands for.
pub(crate) fn stat_fd(fd: &OwnedFd) -> Result<Statx, Errno> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, WANTED)
}

/// A name as the kernel wants it.
pub(crate) fn c_name(name: &OsStr) -> Result<CString, Errno> {
    CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)
}

impl Table {
    /// With that directory as the root.
    pub(crate) fn new(root: OwnedFd, keep: usize) -> Result<Table, Errno> {
        let st = stat_fd(&root)?;
        let key = Key::of(&st);
        let inode = Arc::new(Inode {
            id: ROOT,
            key,
            lookups: AtomicU64::new(u64::MAX / 2),
            mode: AtomicU32::new(u32::from(st.stx_mode)),
            place: Mutex::new(Place { parent: None, name: CString::default() }),
            fd: ArcSwapOption::from_pointee(root),
            open: Mutex::default(),
            opens: AtomicUsize::new(0),
            writes: AtomicU32::new(0),
            pinned: AtomicBool::new(true),
            used: AtomicBool::new(true),
        });
        Ok(Table {
            maps: RwLock::new(Maps {
                by_id: HashMap::from([(ROOT, inode)]),
                by_key: HashMap::from([((key.dev, key.ino), ROOT)]),
            }),
            next: AtomicU64::new(1),
            root_dev: key.dev,
            kept: Mutex::default(),
            keep,
            renames: RwLock::default(),
        })
    }

    /// The inode of that number.
    pub(crate) fn get(&self, id: u64) -> Result<Arc<Inode>, Errno> {
        read(&self.maps).by_id.get(&id).cloned().ok_or(Errno::STALE)
    }

    /// The inode with those attributes, if the kernel knows it.
    pub(crate) fn known(&self, st: &Statx) -> Option<Arc<Inode>> {
        let key = Key::of(st);
        let maps = read(&self.maps);
        let id = maps.by_key.get(&(key.dev, key.ino))?;
        maps.by_id.get(id).filter(|i| i.key == key).cloned()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        read(&self.maps).by_id.len()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Inode>> {
        read(&self.maps).by_id.values().cloned().collect()
    }

    /// The inode found under that name; counts one lookup of the kernel's.
    pub(crate) fn intern(&self, parent: &Arc<Inode>, name: &CStr, st: &Statx) -> Arc<Inode> {
        let key = Key::of(st);
        {
            let maps = read(&self.maps);
            let known = maps.by_key.get(&(key.dev, key.ino)).and_then(|id| maps.by_id.get(id));
            if let Some(inode) = known.filter(|i| i.key == key) {
                inode.lookups.fetch_add(1, Relaxed);
                inode.saw_mode(u32::from(st.stx_mode));
                inode.used.store(true, Relaxed);
                if inode.id != ROOT {
                    inode.moved(parent, name);
                }
                return inode.clone();
            }
        }
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        let known = maps.by_key.get(&(key.dev, key.ino)).and_then(|id| maps.by_id.get(id));
        if let Some(inode) = known.filter(|i| i.key == key) {
            inode.lookups.fetch_add(1, Relaxed);
            return inode.clone();
        }
        // The source's own numbers are shown where they are free, so that they stay the same from mount to mount.
        let own = key.dev == self.root_dev && key.ino > ROOT && key.ino >> 63 == 0;
        let id = if own && !maps.by_id.contains_key(&key.ino) {
            key.ino
        } else {
            (1 << 63) | self.next.fetch_add(1, Relaxed)
        };
        let inode = Arc::new(Inode {
            id,
            key,
            lookups: AtomicU64::new(1),
            mode: AtomicU32::new(u32::from(st.stx_mode)),
            place: Mutex::new(Place { parent: Some(parent.clone()), name: name.to_owned() }),
            fd: ArcSwapOption::empty(),
            open: Mutex::default(),
            opens: AtomicUsize::new(0),
            writes: AtomicU32::new(0),
            pinned: AtomicBool::new(false),
            used: AtomicBool::new(true),
        });
        maps.by_key.insert((key.dev, key.ino), id);
        maps.by_id.insert(id, inode.clone());
        inode
    }

    /// The kernel forgets so many of its lookups.
    pub(crate) fn forget(&self, id: u64, lookups: u64) {
        if id == ROOT {
            return;
        }
        let Ok(inode) = self.get(id) else { return };
        if inode.lookups.fetch_sub(lookups, Relaxed) != lookups {
            return;
        }
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        // Looked up again meanwhile?
        if inode.lookups.load(Relaxed) == 0 {
            maps.by_id.remove(&id);
            let key = (inode.key.dev, inode.key.ino);
            if maps.by_key.get(&key) == Some(&id) {
                maps.by_key.remove(&key);
            }
        }
    }

    /// Held by whoever changes names in the source, from before the change until the table knows.
    pub(crate) fn renaming(&self) -> std::sync::RwLockReadGuard<'_, ()> {
        read(&self.renames)
    }

    /// Does something with the place of an inode, again when a rename was under way.
    fn by_name<T>(
        &self,
        inode: &Arc<Inode>,
        act: impl Fn(&OwnedFd, &CStr) -> Result<Option<T>, Errno>,
    ) -> Result<T, Errno> {
        for last in [false, true] {
            let (parent, name) = inode.place().ok_or(Errno::STALE)?;
            match self.path_fd(&parent).and_then(|dir| act(&dir, &name)) {
                Ok(Some(value)) => return Ok(value),
                Err(e) if ![Errno::NOENT, Errno::STALE, Errno::NOTDIR].contains(&e) => return Err(e),
                // Whoever renames it is waited for.
                _ if !last => drop(self.renames.write()),
                _ => {}
            }
        }
        Err(Errno::STALE)
    }

    /// The attributes of an inode now.
    pub(crate) fn stat(&self, inode: &Arc<Inode>) -> Result<Statx, Errno> {
        if let Some(fd) = inode.fd.load_full().or_else(|| inode.anyone()) {
            inode.used.store(true, Relaxed);
            return stat_fd(&fd);
        }
        self.by_name(inode, |dir, name| {
            let st = stat_at(dir, name)?;
            Ok((Key::of(&st) == inode.key).then_some(st))
        })
    }

    /// A descriptor that stands for the inode without opening it (`O_PATH`).
    pub(crate) fn path_fd(&self, inode: &Arc<Inode>) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(fd) = inode.fd.load_full() {
            inode.used.store(true, Relaxed);
            return Ok(fd);
        }
        if !inode.is_dir()
            && let Some(fd) = inode.anyone()
        {
            return Ok(fd);
        }
        let fd = self.by_name(inode, |dir, name| {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
            Ok((Key::of(&stat_fd(&fd)?) == inode.key).then(|| Arc::new(fd)))
        })?;
        if inode.is_dir() {
            self.keep_fd(inode, &fd);
        }
        Ok(fd)
    }

    /// Opens it anew with those flags.
    pub(crate) fn open(&self, inode: &Arc<Inode>, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        if let Some(fd) = inode.fd.load_full().or_else(|| inode.anyone()) {
            return rustix::fs::openat(rustix::fs::CWD, proc_path(&fd), flags, Mode::empty());
        }
        self.by_name(inode, |dir, name| {
            let fd = rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
            if Key::of(&stat_fd(&fd)?) != inode.key {
                return Ok(None);
            }
            Ok(Some(fd))
        })
    }

    /// The name of an inode is about to go; a descriptor keeps it reachable while the kernel knows it.
    pub(crate) fn pin(&self, dir: &OwnedFd, name: &CStr) -> Option<(Arc<Inode>, Statx)> {
        let st = stat_at(dir, name).ok()?;
        let inode = self.known(&st)?;
        if !inode.pinned.swap(true, Relaxed) && inode.fd.load().is_none() {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(fd) = rustix::fs::openat(dir, name, flags, Mode::empty())
                && stat_fd(&fd).is_ok_and(|now| Key::of(&now) == inode.key)
            {
                inode.fd.store(Some(Arc::new(fd)));
            }
        }
        Some((inode, st))
    }

    /// It is gone from the source for good: its number may be given to another file at any time.
    pub(crate) fn gone(&self, inode: &Arc<Inode>) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        let key = (inode.key.dev, inode.key.ino);
        if maps.by_key.get(&key) == Some(&inode.id) {
            maps.by_key.remove(&key);
        }
    }

    fn keep_fd(&self, inode: &Arc<Inode>, fd: &Arc<OwnedFd>) {
        inode.fd.store(Some(fd.clone()));
        let mut kept = lock(&self.kept);
        kept.push_back(Arc::downgrade(inode));
        let mut turns = kept.len();
        while kept.len() > self.keep && turns > 0 {
            turns -= 1;
            let Some(old) = kept.pop_front().and_then(|weak| weak.upgrade()) else { continue };
            if old.used.swap(false, Relaxed) {
                kept.push_back(Arc::downgrade(&old));
            } else if !old.pinned.load(Relaxed) {
                old.fd.store(None);
            }
        }
    }

    /// Files that nobody has open and nobody asked for lately, at most so many: what the kernel can be asked to forget.
    pub(crate) fn idle(&self, most: usize) -> Vec<Arc<Inode>> {
        let maps = read(&self.maps);
        let mut out = Vec::new();
        for inode in maps.by_id.values() {
            if out.len() >= most {
                break;
            }
            let asked = inode.used.swap(false, Relaxed);
            if !asked && !inode.is_dir() && inode.opens.load(Relaxed) == 0 {
                out.push(inode.clone());
            }
        }
        out
    }
}

/// The path under which an open descriptor can be reached again.
pub(crate) fn proc_path(fd: &OwnedFd) -> CString {
    use std::os::fd::AsRawFd;
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks, so a panic elsewhere does not spoil what they guard.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
