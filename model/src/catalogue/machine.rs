//! Faults on the machine's resources, on processes, containers and services, and on single files.

use super::{FaultDef, Layer, ParamDef, optional, required, with_default};
use crate::target::TargetKind;
use crate::value::ParamType::{Bool, ByteRate, Choice, Float, Int, Map, Percent, Size, Span, Text};

const MACHINE: FaultDef = FaultDef {
    name: "",
    layer: Layer::Node,
    targets: &[TargetKind::Node],
    params: &[],
    shown: &[],
    summary: "",
    detail: "",
    counts: None,
    one_shot: false,
    irreversible: false,
    ends: "the kernel kills the child that does it when the agent dies",
    needs: &[],
};

/// What a child of ours can do inside of.
const PLACES: &[TargetKind] = &[TargetKind::Node, TargetKind::Container, TargetKind::Cgroup];

const ROOT_ELSEWHERE: &str = "CAP_SYS_ADMIN and CAP_SYS_PTRACE for containers";
const WRITES_CGROUP: &str = "write access to the control group's files (root as a rule)";

const PATH: ParamDef = with_default("path", Text, "/tmp", "a directory on the filesystem that is meant");
const FILE: ParamDef = required(
    "path",
    Text,
    "/etc/app.conf",
    "the file: an absolute path, inside of the container for containers",
);

const RESTORED: &str =
    "nothing: the file stays as it was made when agent and watchdog are both killed, until `murphy recover`";
const STAYS: &str =
    "nothing: it stays as it is when agent and watchdog are both killed, until `murphy recover`";

pub(super) const FAULTS: &[FaultDef] = &[
    FaultDef {
        name: "memory",
        shown: &["load"],
        targets: PLACES,
        params: &[
            optional("size", Size, "512MiB", "how much memory; this or load"),
            optional(
                "load",
                Percent,
                "80%",
                "how much of all memory (of the group's limit in a container or group); this or size",
            ),
            with_default(
                "mode",
                Choice(&["add", "reach"]),
                "add",
                "add takes so much on top of what others use; reach takes only what is missing to it",
            ),
            with_default(
                "reserve",
                Size,
                "64MiB",
                "what is left available in any case: some is given back for it; 0B takes on until the kernel kills",
            ),
            with_default(
                "resident",
                Bool,
                "true",
                "keep every page in memory, by locking it or else by touching it again and again",
            ),
        ],
        summary: "Takes memory and keeps it.",
        detail: "Runs in a child process of ours, in the target's control group, page by page and never faster than it can be \
                 given back. size and load can ramp, and change live. The pages hold noise, which neither compresses nor merges. \
                 A share is one of the machine's memory or, in a container or group with a limit, of that limit. The child is \
                 the first to go when memory is short (oom_score_adj 1000); that the kernel killed it is an outcome \
                 (oom_killed), not an error.",
        needs: &[WRITES_CGROUP],
        ..MACHINE
    },
    FaultDef {
        name: "io",
        shown: &["rate"],
        targets: PLACES,
        params: &[
            PATH,
            with_default(
                "op",
                Choice(&["read", "write", "both"]),
                "write",
                "what is done; both is one after the other",
            ),
            optional("rate", ByteRate, "20MB/s", "how much a second in all; as much as goes when absent"),
            with_default("block", Size, "64KiB", "how much at a time: whole multiples of 4 KiB with direct"),
            with_default("size", Size, "64MiB", "the size of each worker's file"),
            with_default(
                "workers",
                Int { min: 1, max: 64 },
                "1",
                "how many do it at the same time, each in a file of its own",
            ),
            with_default(
                "pattern",
                Choice(&["sequential", "random"]),
                "sequential",
                "the order of the blocks",
            ),
            with_default(
                "direct",
                Bool,
                "true",
                "past the page cache (O_DIRECT); without it much stays in memory",
            ),
        ],
        summary: "Reads and writes a disk at a given rate.",
        detail: "Runs in a child process of ours, in the target's control group, on files without a name (O_TMPFILE) below path, \
                 so nothing is left of them. The rate is regulated on the bytes that were really moved, also after a moment in \
                 which the disk was slower; rate can ramp and change live. Reads are of the same files, which are written \
                 once before.",
        needs: &[WRITES_CGROUP],
        ..MACHINE
    },
    FaultDef {
        name: "stress_ng",
        targets: PLACES,
        params: &[required(
            "args",
            Text,
            "--matrix 1",
            "arguments of stress-ng, separated by spaces; no shell reads them",
        )],
        summary: "Runs stress-ng, where it is installed, with arguments of your own.",
        detail: "For what murphy has no fault of its own. It runs in the target's control group, with oom_score_adj 1000, and \
                 ends with the fault: all of its processes are killed. What some of its stressors leave (files, settings of the \
                 kernel) is theirs and is not undone.",
        needs: &["stress-ng", WRITES_CGROUP],
        ..MACHINE
    },
    FaultDef {
        name: "disk_fill",
        shown: &["leave"],
        targets: &[TargetKind::Node, TargetKind::Container],
        params: &[
            PATH,
            optional("size", Size, "1GiB", "how much is taken; one of size, used, leave and free"),
            optional("used", Percent, "95%", "taken until so much of it is used"),
            optional("leave", Percent, "5%", "taken until only so much of it is free"),
            optional("free", Size, "10MiB", "taken until only so many bytes are free"),
            with_default("reserved", Bool, "false", "take the blocks too that are kept for root"),
        ],
        summary: "Takes the free space of a filesystem.",
        detail: "Space is taken by files without a name (O_TMPFILE, fallocate), held open by a child process of ours: nothing is \
                 written, and whatever ends the child frees it. Free space is what an ordinary user would get; with reserved \
                 also the part kept for root. What others free or take meanwhile is followed once a second. That nothing more \
                 could be had is the goal and no failure. size, used, leave and free change live.",
        needs: &["permission to create files in path", ROOT_ELSEWHERE],
        ..MACHINE
    },
    FaultDef {
        name: "inode_fill",
        targets: &[TargetKind::Node, TargetKind::Container],
        params: &[
            PATH,
            optional("count", Int { min: 1, max: 100_000_000 }, "10000", "how many are taken; this or leave"),
            optional("leave", Int { min: 0, max: 100_000_000 }, "0", "taken until only so many are free"),
        ],
        summary: "Takes the free inodes of a filesystem: no new file can be made, though there is space.",
        detail: "Inodes are taken by empty files without a name, held open by a child process of ours, as many as there may be \
                 descriptors. When more are needed, empty files with names are made in a directory .murphy-inodes-ID below \
                 path, which is noted in the undo log first and removed afterwards. Filesystems without a fixed number \
                 of inodes (btrfs, and xfs mostly) are refused without count.",
        needs: &["permission to create files in path", ROOT_ELSEWHERE],
        ends: "files without a name: the kernel, when the agent dies; with names: nothing until `murphy recover`",
        ..MACHINE
    },
    FaultDef {
        name: "fd_fill",
        targets: &[TargetKind::Process, TargetKind::Container, TargetKind::Node],
        params: &[
            with_default("leave", Int { min: 0, max: 1_000_000 }, "0", "how many more files may be opened"),
            optional(
                "count",
                Int { min: 1, max: 100_000_000 },
                "10000",
                "on a node: how many are held, whatever is left",
            ),
        ],
        summary: "Leaves no file descriptors.",
        detail: "On processes, and all of a container: the soft limit of open files (RLIMIT_NOFILE) becomes what is open now plus leave, so the next open, \
                 accept or socket fails with EMFILE. On the node: a child process of ours holds open files until fs.file-max is \
                 used up but for leave, and others get ENFILE (root does not). Where file-max is beyond reach, as on most of \
                 today's machines, that is refused without count.",
        ends: "node: the kernel, when the agent dies; processes: nothing until `murphy recover`, or the process ends",
        needs: &["CAP_SYS_RESOURCE or the same user, for processes"],
        ..MACHINE
    },
    FaultDef {
        name: "pid_fill",
        targets: PLACES,
        params: &[
            with_default(
                "leave",
                Int { min: 0, max: 1_000_000 },
                "0",
                "how many more processes or threads may be started",
            ),
            optional("count", Int { min: 1, max: 4_194_304 }, "1000", "how many are taken, whatever is left"),
        ],
        summary: "Leaves no process numbers: nobody can start a process or a thread.",
        detail: "A child process of ours, in the target's control group, starts sleeping threads until pids.max of the group (on \
                 the node the kernel's own limits) is reached but for leave: fork then fails with EAGAIN. Killing that one \
                 process ends it. A container or group without pids.max is refused without count, as it would take the \
                 machine's.",
        needs: &[WRITES_CGROUP],
        ..MACHINE
    },
    FaultDef {
        name: "port_fill",
        targets: &[TargetKind::Node, TargetKind::Container, TargetKind::Netns],
        params: &[
            with_default("leave", Int { min: 0, max: 65_535 }, "0", "how many ephemeral ports are left"),
            with_default("protocol", Choice(&["tcp", "udp"]), "tcp", "whose ports"),
        ],
        summary: "Takes the ephemeral ports of a network namespace: new connections fail with EADDRNOTAVAIL.",
        detail: "A child process of ours, in the target's network namespace, binds every port of ip_local_port_range that it can \
                 get, without listening. Connections that are open go on. Ports in TIME_WAIT are taken as they become free.",
        needs: &["CAP_SYS_ADMIN for another namespace"],
        ..MACHINE
    },
    FaultDef {
        name: "rlimit_squeeze",
        shown: &["nofile"],
        targets: &[TargetKind::Process, TargetKind::Container],
        params: &[
            optional("nofile", Int { min: 0, max: 1_000_000_000 }, "64", "open files: then EMFILE"),
            optional("address_space", Size, "512MiB", "addressable memory (RLIMIT_AS): then ENOMEM"),
            optional("data", Size, "256MiB", "heap and private mappings (RLIMIT_DATA): then ENOMEM"),
            optional("stack", Size, "1MiB", "the stack: then SIGSEGV"),
            optional("file_size", Size, "1MiB", "the size of a file that is written: then EFBIG and SIGXFSZ"),
            optional(
                "processes",
                Int { min: 0, max: 4_194_304 },
                "50",
                "processes of its user (RLIMIT_NPROC): then EAGAIN; not for root",
            ),
            optional("locked", Size, "64KiB", "locked memory (RLIMIT_MEMLOCK): then ENOMEM or EPERM"),
            optional("core", Size, "0B", "the size of a core dump"),
        ],
        summary: "Lowers limits of running processes.",
        detail: "By prlimit(2), soft limits only, so that they can be raised again without privileges. What a process holds \
                 already it keeps; the next request beyond the limit fails. Children that it starts meanwhile inherit the \
                 limit and keep it: the plan says so. Restored to what it was, and only if it is still what was set.",
        ends: "nothing: limits stay when agent and watchdog are both killed, until `murphy recover`, or the process ends",
        needs: &["CAP_SYS_RESOURCE or the same user"],
        ..MACHINE
    },
    FaultDef {
        name: "cgroup_squeeze",
        shown: &["cpu"],
        targets: &[TargetKind::Cgroup, TargetKind::Container, TargetKind::Process],
        params: &[
            optional(
                "cpu",
                Float { min: 0.01, max: 4096.0 },
                "0.2",
                "cores that the group may use (cpu.max, cpu.cfs_quota_us)",
            ),
            optional(
                "memory",
                Size,
                "128MiB",
                "memory that the group may have, at which its processes are killed (memory.max)",
            ),
            optional(
                "memory_high",
                Size,
                "128MiB",
                "memory above which the group is slowed and its pages are taken (version 2 only)",
            ),
            optional(
                "pids",
                Int { min: 0, max: 4_194_304 },
                "20",
                "processes and threads that the group may have (pids.max)",
            ),
            optional(
                "read",
                ByteRate,
                "1MB/s",
                "bytes a second that the group may read from the disk of path",
            ),
            optional(
                "write",
                ByteRate,
                "1MB/s",
                "bytes a second that the group may write to the disk of path",
            ),
            with_default("path", Text, "/", "a path on the disk that read and write are about"),
        ],
        summary: "Narrows the limits of a running control group.",
        detail: "Writes the group's own files, version 1 or 2, and writes back what was there, if it is still what was set. On a \
                 process the group that it is in, with everything else in it: the plan names it. Limits can change live. A \
                 memory limit below what is used makes the kernel take pages back first; what it cannot, it kills for \
                 (oom_kills is measured), and version 1 refuses such a limit with EBUSY instead. The root group cannot be \
                 narrowed.",
        ends: "nothing: limits stay when agent and watchdog are both killed, until `murphy recover`",
        needs: &[WRITES_CGROUP],
        ..MACHINE
    },
    FaultDef {
        name: "kill_loop",
        shown: &["every"],
        targets: &[TargetKind::Process, TargetKind::Container],
        params: &[
            with_default("every", Span, "10s", "the time between two rounds"),
            with_default("signal", Choice(super::node::SIGNALS), "SIGKILL", "the signal that is sent"),
            with_default(
                "again",
                Bool,
                "true",
                "look for the target anew before each round, so that what was started again is hit again; without it only what was found first",
            ),
        ],
        summary: "Kills again and again: one, all, a count or a share of a selection, each round.",
        detail: "What a crash loop looks like to whoever depends on it. Each round picks by the target's pick, from what fits \
                 then. In a container its first process is hit. A round in which nothing runs counts as empty, not as a failure. murphy itself, what started it and \
                 process 1 are never hit.",
        irreversible: true,
        ends: "the agent does it: it ends with it",
        needs: &["CAP_KILL for other users' processes"],
        ..MACHINE
    },
    FaultDef {
        name: "oom_kill",
        targets: &[TargetKind::Process, TargetKind::Container, TargetKind::Cgroup],
        params: &[with_default(
            "group",
            Bool,
            "false",
            "kill everything in the group at once, as memory.oom.group does",
        )],
        summary: "Kills as the kernel does when memory is short: the process with the worst score.",
        detail: "Of all processes of the target the one with the highest oom_score gets SIGKILL, with whatever shares its memory. \
                 No memory is taken. Processes that are protected (oom_score_adj -1000) are never chosen. For the real thing, \
                 arm memory with a limit (cgroup_squeeze).",
        one_shot: true,
        irreversible: true,
        ends: "it happens once and cannot be undone",
        needs: &["CAP_KILL for other users' processes"],
        ..MACHINE
    },
    FaultDef {
        name: "container_stop",
        targets: &[TargetKind::Container],
        params: &[with_default(
            "timeout",
            Span,
            "10s",
            "how long it may take to end by itself before it is killed",
        )],
        summary: "Stops containers, and starts them again afterwards.",
        detail: "By the engine, so restart policies do not bring it back meanwhile. Started again only when it is still stopped; one \
                 that was removed meanwhile is gone. It comes back with a new first process: what else was armed on it has ended.",
        ends: STAYS,
        needs: &["access to the engine's socket"],
        ..MACHINE
    },
    FaultDef {
        name: "container_restart",
        targets: &[TargetKind::Container],
        params: &[with_default(
            "timeout",
            Span,
            "10s",
            "how long it may take to end by itself before it is killed",
        )],
        summary: "Restarts containers, once.",
        detail: "By the engine, as `docker restart` does. How long they were away is measured.",
        one_shot: true,
        ends: "it happens once; there is nothing to undo",
        needs: &["access to the engine's socket"],
        ..MACHINE
    },
    FaultDef {
        name: "container_limits",
        shown: &["memory"],
        targets: &[TargetKind::Container],
        params: &[
            optional("cpu", Float { min: 0.01, max: 4096.0 }, "0.2", "cores that it may use"),
            optional("memory", Size, "128MiB", "memory that it may have; swap is limited along with it"),
            optional("pids", Int { min: 1, max: 4_194_304 }, "20", "processes and threads that it may have"),
        ],
        summary: "Narrows a container's limits through its engine.",
        detail: "What `docker update` does: the limits hold after a restart too, and `docker inspect` shows them. Restored to what \
                 the engine said before. cgroup_squeeze does the same past the engine, and also io.",
        ends: STAYS,
        needs: &["access to the engine's socket"],
        ..MACHINE
    },
    FaultDef {
        name: "service_stop",
        params: &[required(
            "unit",
            Text,
            "nginx.service",
            "the unit; .service is added where nothing is said",
        )],
        summary: "Stops a systemd unit, and starts it again afterwards.",
        detail: "By systemctl, so Restart= does not bring it back meanwhile. Only a unit that is active is stopped, and it is started \
                 again only when it is still inactive. Units that keep the machine up (systemd's own, dbus, ssh and murphy's) are \
                 refused.",
        ends: STAYS,
        needs: &["systemd", "root, or a polkit rule for the unit"],
        ..MACHINE
    },
    FaultDef {
        name: "service_restart",
        params: &[required(
            "unit",
            Text,
            "nginx.service",
            "the unit; .service is added where nothing is said",
        )],
        summary: "Restarts a systemd unit, once.",
        detail: "By systemctl. How long that took is measured.",
        one_shot: true,
        ends: "it happens once; there is nothing to undo",
        needs: &["systemd", "root, or a polkit rule for the unit"],
        ..MACHINE
    },
    FaultDef {
        name: "file_chmod",
        params: &[FILE, required("mode", Text, "0000", "the permissions, in octal")],
        summary: "Changes a file's permissions.",
        ..EDIT
    },
    FaultDef {
        name: "file_chown",
        shown: &["user"],
        params: &[
            FILE,
            optional("user", Text, "nobody", "the new owner, by name or number"),
            optional("group", Text, "nogroup", "the new group, by name or number"),
        ],
        summary: "Changes a file's owner or group.",
        ..EDIT
    },
    FaultDef {
        name: "file_move",
        params: &[
            FILE,
            required(
                "to",
                Text,
                "/etc/app.conf.away",
                "where: an absolute path on the same filesystem, where nothing is yet",
            ),
        ],
        summary: "Moves a file or a directory elsewhere.",
        ..EDIT
    },
    FaultDef { name: "file_delete", params: &[FILE], summary: "Deletes a file or a directory.", ..EDIT },
    FaultDef {
        name: "file_append",
        params: &[
            FILE,
            required("text", Text, "garbage", "what is appended; \\n, \\t, \\\\ and \\xNN are understood"),
        ],
        summary: "Appends to a file.",
        ..EDIT
    },
    FaultDef {
        name: "file_replace",
        shown: &["find", "text"],
        params: &[
            FILE,
            optional("text", Text, "garbage", "the whole new content; with find, what takes its place"),
            optional("find", Text, "timeout = 30", "a text in the file: every occurrence becomes text"),
            optional(
                "from",
                Text,
                "/srv/broken.conf",
                "a file (on the agent's machine) whose content it gets; instead of text",
            ),
        ],
        summary: "Replaces what is in a file, or one text in it by another.",
        ..EDIT
    },
    FaultDef {
        name: "file_truncate",
        params: &[
            FILE,
            with_default("size", Size, "0B", "the length that is left; longer than it is adds zeros"),
        ],
        summary: "Cuts a file short.",
        ..EDIT
    },
    FaultDef {
        name: "hosts",
        targets: &[TargetKind::Node, TargetKind::Container],
        params: &[
            required("names", Text, "payments,db.internal", "host names, separated by commas"),
            with_default(
                "address",
                Text,
                "192.0.2.1",
                "what they resolve to; 192.0.2.1 leads nowhere, 127.0.0.1 to here",
            ),
            with_default("path", Text, "/etc/hosts", "the file"),
        ],
        summary: "Makes host names resolve to another address, by the hosts file.",
        detail: "Lines for the names are taken out and a new one is put first; the file is edited in place, as engines mount it into \
                 containers. Programs that resolved a name before keep what they have, and so do those that do not read the file \
                 (nsswitch without files, resolvers of their own).",
        ..EDIT
    },
    FaultDef {
        name: "env_file",
        shown: &["set"],
        params: &[
            FILE,
            optional(
                "set",
                Map,
                "TIMEOUT:1,MODE:broken",
                "keys with their new values; those that are not there are added",
            ),
            optional("unset", Text, "TOKEN,CACHE_URL", "keys whose lines are taken out, separated by commas"),
        ],
        summary: "Changes settings in a file of KEY=value lines.",
        detail: "Environment files, .env, .properties and simple .ini files: `export`, spaces around = (or :), quotes and comments \
                 stay as they are. Programs see it when they read the file again; whether that takes a restart is theirs.",
        ..EDIT
    },
];

const EDIT: FaultDef = FaultDef {
    targets: &[TargetKind::Node, TargetKind::Container],
    detail: "Content, mode, owner, extended attributes (with ACLs) and times are restored byte for byte. The original is kept beside \
             the file (.murphy-ID-name) and noted in the undo log before anything is touched; where it can be, the file stays \
             the same inode, so programs that have it open see the change and its end. What others write there meanwhile is \
             kept as name.since-ID. Undone also when the machine was started anew.",
    ends: RESTORED,
    needs: &["permission to write the file and its directory", ROOT_ELSEWHERE],
    ..MACHINE
};
