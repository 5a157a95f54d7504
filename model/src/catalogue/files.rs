//! Faults on files in a directory that is served through our filesystem. They act in the order of this table: first what
//! makes an operation wait, then what refuses it, then what changes what it does. `latency`, which acts on files too,
//! stands with the faults on connections.

use super::{FaultDef, Layer, ParamDef, optional, with_default};
use crate::target::TargetKind;
use crate::value::ParamType::{ByteRate, Choice, Choices, EventRate, Float, Int, Percent, Size, Text};

/// The operations on files, by their words; `all` stands for all of them.
pub const FILE_OPERATIONS: &[&str] = &[
    "all",
    "lookup",
    "getattr",
    "setattr",
    "truncate",
    "readlink",
    "mknod",
    "mkdir",
    "unlink",
    "rmdir",
    "symlink",
    "rename",
    "link",
    "open",
    "create",
    "read",
    "write",
    "flush",
    "release",
    "fsync",
    "opendir",
    "readdir",
    "fsyncdir",
    "statfs",
    "setxattr",
    "getxattr",
    "listxattr",
    "removexattr",
    "fallocate",
    "copy_file_range",
    "lseek",
];

/// The errors that can be injected, by their names in errno(3).
pub const ERRORS: &[&str] = &[
    "EIO",
    "ENOSPC",
    "EDQUOT",
    "EROFS",
    "EACCES",
    "EPERM",
    "ENOENT",
    "EEXIST",
    "ENOTDIR",
    "EISDIR",
    "ENOTEMPTY",
    "EMFILE",
    "ENFILE",
    "ENOMEM",
    "EAGAIN",
    "EINTR",
    "EBUSY",
    "ETXTBSY",
    "EFBIG",
    "EINVAL",
    "ENAMETOOLONG",
    "ELOOP",
    "EXDEV",
    "ESTALE",
    "ETIMEDOUT",
    "ENXIO",
    "ENODEV",
    "EBADF",
    "ENOTSUP",
    "ENOSYS",
    "EUCLEAN",
    "EBADMSG",
    "EREMOTEIO",
    "ENOLCK",
    "EDEADLK",
    "EOVERFLOW",
    "EMLINK",
    "EFAULT",
];

/// Which operations a fault is for.
pub(super) const OPS: ParamDef = optional(
    "ops",
    Choices(FILE_OPERATIONS),
    "read,write,fsync",
    "on files: which operations; all of them when absent",
);

const FILES: FaultDef = FaultDef {
    name: "",
    layer: Layer::Files,
    targets: &[TargetKind::Fs],
    params: &[],
    shown: &[],
    summary: "",
    detail: "",
    counts: Some("operations"),
    one_shot: false,
    irreversible: false,
    ends: "the filesystem is part of the agent: the watchdog takes the mount away and the original directory is there",
    needs: &["CAP_SYS_ADMIN"],
};

/// What stays changed in the real directory.
const STAYS: &str =
    "what was written wrongly stays so: point the target at a copy-on-write source to throw it away";

pub(super) const FAULTS: &[FaultDef] = &[
    FaultDef {
        name: "throttle",
        shown: &["rate"],
        params: &[
            optional("rate", ByteRate, "10MB/s", "how many bytes pass in a second"),
            optional("iops", EventRate, "100/s", "how many operations pass in a second"),
            with_default(
                "per",
                Choice(&["target", "file"]),
                "target",
                "whether all files share what passes, or each has its own",
            ),
            optional(
                "ops",
                Choices(FILE_OPERATIONS),
                "write",
                "which operations; read and write when absent",
            ),
        ],
        summary: "Limits bytes and operations per second.",
        detail: "At least one of rate and iops must be given. Operations wait their turn, in the order of their coming. The \
                 kernel reads ahead and writes in pieces of its own choosing: iops counts the operations that reach the \
                 filesystem.",
        ..FILES
    },
    FaultDef {
        name: "hang",
        shown: &["ops"],
        params: &[optional(
            "ops",
            Choices(FILE_OPERATIONS),
            "fsync",
            "which operations; read, write and fsync when absent",
        )],
        summary: "Lets operations hang until the fault ends.",
        detail: "What an unreachable NFS server or a dying disk looks like. A process that waits cannot be killed until it \
                 is released; everything is released when the fault ends, when the agent ends, and when it is killed.",
        ..FILES
    },
    FaultDef {
        name: "io_error",
        shown: &["errno", "ops"],
        params: &[
            with_default("errno", Choice(ERRORS), "EIO", "the error that the program gets"),
            with_default("ops", Choices(FILE_OPERATIONS), "read,write,fsync", "which operations fail"),
        ],
        summary: "Lets operations fail.",
        detail: "Nothing is done to the file. For what a failed fsync does to data see fsync_error, for a full disk that df \
                 agrees with disk_full. A program that has mapped a file gets SIGBUS when reading a page fails.",
        ..FILES
    },
    FaultDef {
        name: "read_only",
        summary: "Lets everything fail that would change something, with EROFS.",
        detail: "What a filesystem does that has found itself damaged. Descriptors that are open for writing stay open and \
                 their writes fail.",
        ..FILES
    },
    FaultDef {
        name: "disk_full",
        shown: &["free"],
        params: &[
            with_default("free", Size, "0B", "how much can still be written, from the moment of arming"),
            optional(
                "inodes",
                Int { min: 0, max: 1_000_000_000 },
                "0",
                "how many files can still be made; no limit when absent",
            ),
            with_default(
                "errno",
                Choice(&["ENOSPC", "EDQUOT"]),
                "ENOSPC",
                "the error: a full disk, or a used-up quota",
            ),
        ],
        summary: "The disk is full, and statfs and df agree.",
        detail: "Growing a file takes from what is free; overwriting does not. Cutting or removing a file gives back what it \
                 took. A write that fits in part is done in part, and the rest of it fails.",
        counts: None,
        ..FILES
    },
    FaultDef {
        name: "power_cut",
        params: &[
            with_default(
                "lose",
                Choice(&["all", "some", "torn"]),
                "all",
                "what becomes of writes that were not synced: all are lost; each survives by chance, so that later ones may \
                 be there without earlier ones; or each survives by chance and is torn at a sector",
            ),
            with_default(
                "survive",
                Percent,
                "50%",
                "with lose=some and torn: how likely each write survives",
            ),
        ],
        summary: "The power fails: everything that was not synced is gone.",
        detail: "Needs a target with track_unsynced, for what is not synced must be known from before. Unsynced writes are \
                 undone in the source before the fault is reported as on; until it ends every operation fails with EIO, so \
                 kill what runs on the directory meanwhile and start it again afterwards. Data and file sizes are lost; \
                 names (creating, renaming, removing) are durable at once.",
        counts: None,
        irreversible: true,
        ends: "what was lost stays lost; the watchdog takes the mount away and the original directory is there",
        ..FILES
    },
    FaultDef {
        name: "fsync_error",
        params: &[
            with_default(
                "model",
                Choice(&["ext4", "xfs", "btrfs"]),
                "ext4",
                "what becomes of the data: ext4 and xfs go on showing it though it is not on disk, btrfs shows what was \
                 there before",
            ),
            with_default(
                "errno",
                Choice(&["EIO", "ENOSPC", "EDQUOT"]),
                "EIO",
                "the error that fsync reports",
            ),
        ],
        summary: "fsync fails once, and the data is dropped although the next fsync succeeds.",
        detail: "What Linux filesystems really do: each descriptor that was open reports the error once, the pages are \
                 marked clean, and a second fsync succeeds without them being on disk. That they are lost needs a target \
                 with track_unsynced: with ext4 and xfs they are gone after a power_cut, with btrfs at once.",
        irreversible: true,
        ends: STAYS,
        ..FILES
    },
    FaultDef {
        name: "lost_fsync",
        summary: "fsync returns at once and makes nothing durable.",
        detail: "What a disk with a lying cache does. With a target that has track_unsynced, a power_cut takes what was \
                 written since the last honest fsync; without it nothing is lost, fsync is only fast.",
        irreversible: true,
        ends: "what was not made durable is durable when the fault has ended and the program syncs again",
        ..FILES
    },
    FaultDef {
        name: "short_read",
        shown: &["keep"],
        params: &[with_default(
            "keep",
            Percent,
            "50%",
            "how much of what was asked for is read, at least one byte",
        )],
        summary: "Reads return less than was asked for, as they may.",
        detail: "Programs that take one read for the whole are found out. The page cache asks for whole pages and completes \
                 them by reading again; files that are opened while the fault is on are read past the cache, so their \
                 readers see it as it is.",
        ..FILES
    },
    FaultDef {
        name: "read_corruption",
        shown: &["per_mb"],
        params: &[
            with_default(
                "per_mb",
                Float { min: 0.0, max: 8e6 },
                "10",
                "how many bits or bytes of each million bytes are changed",
            ),
            with_default(
                "unit",
                Choice(&["bits", "bytes"]),
                "bits",
                "bits are flipped; bytes become any other byte",
            ),
            with_default(
                "at_least",
                Int { min: 0, max: 1_000_000 },
                "1",
                "how many are changed in each read that is hit, at least",
            ),
        ],
        summary: "What is read differs from what was written.",
        detail: "The file itself stays whole. Which bytes of a file are hit depends on the seed and their place in the file \
                 alone, so the same read returns the same wrong bytes.",
        ..FILES
    },
    FaultDef {
        name: "write_corruption",
        shown: &["per_mb"],
        params: &[
            with_default(
                "per_mb",
                Float { min: 0.0, max: 8e6 },
                "10",
                "how many bits or bytes of each million bytes are changed",
            ),
            with_default(
                "unit",
                Choice(&["bits", "bytes"]),
                "bits",
                "bits are flipped; bytes become any other byte",
            ),
            with_default(
                "at_least",
                Int { min: 0, max: 1_000_000 },
                "1",
                "how many are changed in each write that is hit, at least",
            ),
        ],
        summary: "What is written is changed on its way to the file.",
        detail: "The write succeeds. The damage stays in the file; the kernel's cache may go on showing the right bytes until \
                 it drops the page.",
        irreversible: true,
        ends: STAYS,
        ..FILES
    },
    FaultDef {
        name: "short_write",
        params: &[with_default("keep", Percent, "50%", "how much of it is written, at least one byte")],
        summary: "Writes write less than was asked for, and say so.",
        detail: "As write(2) may. Programs that do not go on with the rest lose it.",
        ..FILES
    },
    FaultDef {
        name: "torn_write",
        params: &[
            with_default("sector", Size, "512B", "where a write can tear: at multiples of this"),
            with_default("keep", Percent, "50%", "how much of it reaches the file, rounded down to sectors"),
            with_default(
                "report",
                Choice(&["success", "EIO"]),
                "success",
                "what the program is told: that everything was written, or an error",
            ),
        ],
        summary: "Only the first sectors of a write reach the file.",
        detail: "The rest keeps what was there before, or is missing when the file grows. The kernel's cache may go on \
                 showing the whole until it drops the page; it is told to.",
        irreversible: true,
        ends: STAYS,
        ..FILES
    },
    FaultDef {
        name: "attr",
        shown: &["mode"],
        params: &[
            optional("mode", Text, "0444", "permissions in octal"),
            optional("uid", Int { min: 0, max: 4_294_967_294 }, "0", "the owner's number"),
            optional("gid", Int { min: 0, max: 4_294_967_294 }, "0", "the group's number"),
            optional("size", Size, "0B", "the size"),
            optional("nlink", Int { min: 0, max: 1_000_000 }, "1", "how many names it has"),
            optional("mtime", Text, "-1h", "when it was changed: so much before (-) or after what is true"),
        ],
        summary: "Files look other than they are.",
        detail: "At least one of them must be given. The kernel checks permissions by what it is told here, so mode=0000 \
                 keeps everyone but the superuser out. A size smaller than the true one cuts what can be read.",
        ..FILES
    },
    FaultDef {
        name: "stale_readdir",
        shown: &["how"],
        params: &[
            with_default(
                "how",
                Choice(&["stale", "short"]),
                "stale",
                "stale shows a directory as it was when the fault first saw it listed; short leaves names out",
            ),
            with_default(
                "missing",
                Percent,
                "30%",
                "with short: how likely each name is left out, the same ones every time",
            ),
        ],
        summary: "Directory listings are old or incomplete.",
        detail: "What caches of network filesystems show. Names themselves work: what is not listed can be opened, and what \
                 is listed may be gone. The share counts openings of directories.",
        ..FILES
    },
];
