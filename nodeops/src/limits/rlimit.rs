//! One limit of one process: getrlimit(2), `/proc/PID/limits`.

use host::ProcessId;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// A kind of limit.
#[derive(Debug)]
pub(super) struct Limit {
    name: &'static str,
    resource: Resource,
    /// Its line in `/proc/PID/limits`.
    line: &'static str,
    errno: Errno,
}

/// In the catalogue's order.
pub(super) const KINDS: [Limit; 8] = [
    Limit { name: "nofile", resource: Resource::Nofile, line: "Max open files", errno: Errno::MFILE },
    Limit { name: "address_space", resource: Resource::As, line: "Max address space", errno: Errno::NOMEM },
    Limit { name: "data", resource: Resource::Data, line: "Max data size", errno: Errno::NOMEM },
    Limit { name: "stack", resource: Resource::Stack, line: "Max stack size", errno: Errno::NOMEM },
    Limit { name: "file_size", resource: Resource::Fsize, line: "Max file size", errno: Errno::FBIG },
    Limit { name: "processes", resource: Resource::Nproc, line: "Max processes", errno: Errno::AGAIN },
    Limit { name: "locked", resource: Resource::Memlock, line: "Max locked memory", errno: Errno::NOMEM },
    Limit { name: "core", resource: Resource::Core, line: "Max core file size", errno: Errno::FBIG },
];

impl Limit {
    /// The limit of that parameter.
    pub(super) fn named(name: &str) -> Option<&'static Limit> {
        KINDS.iter().find(|l| l.name == name)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// What a request beyond it gets.
    pub(super) fn errno(&self) -> i32 {
        self.errno.raw_os_error()
    }

    /// The soft limit; none inside is no limit.
    pub(super) fn soft(&self, id: ProcessId) -> Result<Option<u64>, String> {
        Ok(self.both(id)?.0)
    }

    fn both(&self, id: ProcessId) -> Result<(Option<u64>, Option<u64>), String> {
        let gone = || format!("process {} is gone", id.pid);
        let text = fs::read_to_string(format!("/proc/{}/limits", id.pid)).map_err(|_| gone())?;
        // The number may belong to another by now.
        id.stat().map_err(|_| gone())?;
        parse(&text, self.line).ok_or_else(|| format!("/proc/{}/limits has no {:?}", id.pid, self.line))
    }

    /// Sets the soft limit and leaves the hard one; looks that it is set.
    pub(super) fn set(&self, id: ProcessId, soft: Option<u64>) -> Result<(), String> {
        let (_, hard) = self.both(id)?;
        let pid =
            i32::try_from(id.pid).ok().and_then(Pid::from_raw).ok_or("that is no number of a process")?;
        if let (Some(hard), true) = (hard, soft.is_none_or(|s| hard.is_some_and(|h| s > h))) {
            return Err(format!("the hard limit is {hard}"));
        }
        prlimit(Some(pid), self.resource, Rlimit { current: soft, maximum: hard })
            .map_err(|e| format!("process {}: {e}", id.pid))?;
        match self.soft(id)? {
            now if now == soft => Ok(()),
            now => Err(format!("it reads {now:?} after {soft:?} was set")),
        }
    }

    /// How much of it the process uses; none where that cannot be told.
    pub(super) fn used(&self, id: ProcessId) -> Option<u64> {
        let status = |name: &str| {
            let text = fs::read_to_string(format!("/proc/{}/status", id.pid)).ok()?;
            let line = text.lines().find_map(|l| l.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        match self.name {
            // The number that the next one gets is what counts.
            "nofile" => free_numbers(&open_numbers(id.pid).ok()?).next(),
            "address_space" => status("VmSize:"),
            "data" => status("VmData:"),
            "stack" => status("VmStk:"),
            "locked" => status("VmLck:"),
            _ => None,
        }
    }
}

/// The limit of open files that leaves a process `leave` more: it bounds the numbers that descriptors get, lowest first.
pub(super) fn room(id: ProcessId, leave: u64) -> Result<u64, String> {
    let open = open_numbers(id.pid)
        .map_err(|e| format!("the open files of process {} cannot be counted: {e}", id.pid))?;
    Ok(free_numbers(&open).nth(leave as usize).unwrap_or(u64::MAX))
}

fn open_numbers(pid: u32) -> std::io::Result<Vec<u64>> {
    let mut open: Vec<u64> = fs::read_dir(format!("/proc/{pid}/fd"))?
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    open.sort_unstable();
    Ok(open)
}

fn free_numbers(open: &[u64]) -> impl Iterator<Item = u64> {
    (0..).filter(|n| open.binary_search(n).is_err())
}

/// Whether a process is root where it counts.
pub(super) fn is_root(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok_and(|m| m.uid() == 0)
}

/// Soft and hard limit of a line.
fn parse(text: &str, line: &str) -> Option<(Option<u64>, Option<u64>)> {
    let rest = text.lines().find_map(|l| l.strip_prefix(line))?;
    let mut words =
        rest.split_whitespace().map(|w| if w == "unlimited" { Some(None) } else { w.parse().ok().map(Some) });
    Some((words.next()??, words.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 unlimited            files     \n\
                    Max address space         unlimited            unlimited            bytes     \n";
        assert_eq!(parse(text, "Max open files"), Some((Some(1024), None)));
        assert_eq!(parse(text, "Max address space"), Some((None, None)));
        assert_eq!(parse(text, "Max stack size"), None);
        let mine = ProcessId::me();
        assert!(KINDS.iter().all(|kind| kind.soft(mine).is_ok()));
    }

    #[test]
    fn gaps_between_descriptors_count_as_room() {
        assert_eq!(free_numbers(&[0, 1, 2, 5]).take(3).collect::<Vec<_>>(), [3, 4, 6]);
    }
}
