//! What this process may do.

use std::fs;

/// The effective capabilities of a process (capabilities(7)), as the kernel's bit mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u64);

/// Names by bit number, as in `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

impl Capabilities {
    /// Those of this process; none when `/proc` cannot be read.
    pub fn mine() -> Capabilities {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Capabilities::parse(&status).unwrap_or_default()
    }

    fn parse(status: &str) -> Option<Capabilities> {
        let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok().map(Capabilities)
    }

    /// Whether the capability of that name (`CAP_KILL`) is there; false for names that do not exist.
    pub fn has(self, name: &str) -> bool {
        NAMES.iter().position(|n| *n == name).is_some_and(|bit| self.0 & (1 << bit) != 0)
    }

    /// The names of those that are there.
    pub fn names(self) -> Vec<&'static str> {
        NAMES.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| *name).collect()
    }
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The number of the user this process acts as.
pub fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The name of the user this process acts as, or `uid 1000` when it has none.
pub fn user() -> String {
    user_name(uid())
}

/// The name of a user, or `uid 1000` when it has none.
pub fn user_name(uid: u32) -> String {
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}

/// The number of a user, by name or by the number itself; none when there is no such user.
pub fn uid_of(name: &str) -> Option<u32> {
    name.parse().ok().or_else(|| Some(nix::unistd::User::from_name(name).ok()??.uid.as_raw()))
}

/// The number of a group, likewise.
pub fn gid_of(name: &str) -> Option<u32> {
    name.parse().ok().or_else(|| Some(nix::unistd::Group::from_name(name).ok()??.gid.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_effective_set() {
        let caps = Capabilities::parse("CapPrm:\t0\nCapEff:\t0000000000000020\nCapBnd:\t1\n").unwrap();
        assert!(caps.has("CAP_KILL") && !caps.has("CAP_SYS_ADMIN") && !caps.has("CAP_NONSENSE"));
        assert_eq!(caps.names(), ["CAP_KILL"]);
        assert!(Capabilities::parse("CapEff: zz").is_none());
        assert!(!user().is_empty());
        assert_eq!((uid_of("root"), uid_of("4711"), uid_of("no such user")), (Some(0), Some(4711), None));
        assert_eq!((gid_of("root"), gid_of("no such group")), (Some(0), None));
    }
}
