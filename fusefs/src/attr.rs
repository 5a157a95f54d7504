//! Attributes as the source has them and as the kernel wants them.

use fuser::{FileAttr, FileType, INodeNo};
use rustix::fs::{Statx, StatxTimestamp};
use std::time::{Duration, SystemTime};

/// The attributes of the inode with that number.
pub(crate) fn attr(st: &Statx, id: u64) -> FileAttr {
    FileAttr {
        ino: INodeNo(id),
        size: st.stx_size,
        blocks: st.stx_blocks,
        atime: time(&st.stx_atime),
        mtime: time(&st.stx_mtime),
        ctime: time(&st.stx_ctime),
        crtime: time(&st.stx_btime),
        kind: kind(u32::from(st.stx_mode)),
        perm: st.stx_mode & 0o7777,
        nlink: st.stx_nlink,
        uid: st.stx_uid,
        gid: st.stx_gid,
        rdev: device(st),
        blksize: st.stx_blksize,
        flags: 0,
    }
}

/// Device numbers as the protocol has them: the kernel's `new_encode_dev`.
fn device(st: &Statx) -> u32 {
    let (major, minor) = (st.stx_rdev_major, st.stx_rdev_minor);
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The same read back: major and minor.
pub(crate) fn undevice(rdev: u32) -> u64 {
    rustix::fs::makedev((rdev & 0xfff00) >> 8, (rdev & 0xff) | ((rdev >> 12) & 0xfff00))
}

/// The type of file that a mode states.
pub(crate) fn kind(mode: u32) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

fn time(t: &StatxTimestamp) -> SystemTime {
    let nanos = Duration::from_nanos(u64::from(t.tv_nsec));
    if t.tv_sec >= 0 {
        SystemTime::UNIX_EPOCH + Duration::from_secs(t.tv_sec.unsigned_abs()) + nanos
    } else {
        SystemTime::UNIX_EPOCH - Duration::from_secs(t.tv_sec.unsigned_abs()) + nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_old_times_survive() {
        for (major, minor) in [(8, 1), (259, 70_000), (0, 0), (4095, 255)] {
            let encoded = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
            assert_eq!(undevice(encoded), rustix::fs::makedev(major, minor));
        }
        let mut t: StatxTimestamp = rustix::fs::statx(
            rustix::fs::CWD,
            c"/",
            rustix::fs::AtFlags::empty(),
            rustix::fs::StatxFlags::BASIC_STATS,
        )
        .unwrap()
        .stx_mtime;
        (t.tv_sec, t.tv_nsec) = (-2, 500_000_000);
        assert_eq!(time(&t), SystemTime::UNIX_EPOCH - Duration::from_millis(1500));
    }
}
