//! One call of a program, as the kernel hands it over, and what a matcher may ask about it.

use crate::inode::Inode;
use crate::op::Op;
use fuser::Request;
use model::matcher::Facts;
use std::cell::OnceCell;
use std::ffi::OsStr;
use std::sync::Arc;

/// Who calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The thread; zero for what the kernel does by itself: write-back, closing.
    pub(crate) thread: u32,
}

impl Caller {
    pub(crate) fn of(request: &Request) -> Caller {
        Caller { uid: request.uid(), gid: request.gid(), thread: request.pid() }
    }
}

/// One call. What costs something to know is found out when someone asks.
pub(crate) struct Call<'a> {
    pub(crate) op: Op,
    pub(crate) caller: Caller,
    /// What it is about: a file, or the directory in which a name is.
    pub(crate) inode: Option<Arc<Inode>>,
    pub(crate) name: Option<&'a OsStr>,
    /// How many bytes.
    pub(crate) size: Option<u64>,
    /// From where.
    pub(crate) offset: Option<u64>,
    path: OnceCell<String>,
    process: OnceCell<u32>,
    command: OnceCell<String>,
    cgroup: OnceCell<String>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(op: Op, request: &Request, inode: Option<Arc<Inode>>) -> Call<'a> {
        Call {
            op,
            caller: Caller::of(request),
            inode,
            name: None,
            size: None,
            offset: None,
            path: OnceCell::new(),
            process: OnceCell::new(),
            command: OnceCell::new(),
            cgroup: OnceCell::new(),
        }
    }

    pub(crate) fn name(mut self, name: &'a OsStr) -> Call<'a> {
        self.name = Some(name);
        self
    }

    pub(crate) fn range(mut self, offset: u64, size: u64) -> Call<'a> {
        (self.offset, self.size) = (Some(offset), Some(size));
        self
    }

    /// The path below the mount.
    pub(crate) fn full_path(&self) -> &str {
        self.path.get_or_init(|| self.inode.as_ref().map_or_else(String::new, |i| i.path(self.name)))
    }

    /// The process that calls; zero when it is not known.
    pub(crate) fn process(&self) -> u32 {
        *self.process.get_or_init(|| {
            let status = of_process(self.caller.thread, "status");
            let line = status.lines().find_map(|l| l.strip_prefix("Tgid:"));
            line.and_then(|n| n.trim().parse().ok()).unwrap_or(self.caller.thread)
        })
    }

    /// The caller's command as in `ps -o comm`; empty when it is not known.
    pub(crate) fn program(&self) -> &str {
        self.command.get_or_init(|| of_process(self.process(), "comm"))
    }
}

impl Facts for Call<'_> {
    fn path(&self) -> Option<&str> {
        self.inode.as_ref()?;
        Some(self.full_path())
    }

    fn operation(&self) -> Option<&str> {
        Some(self.op.word())
    }

    fn pid(&self) -> Option<u64> {
        Some(self.process()).filter(|p| *p != 0).map(u64::from)
    }

    fn uid(&self) -> Option<u64> {
        Some(self.caller.uid.into())
    }

    fn gid(&self) -> Option<u64> {
        Some(self.caller.gid.into())
    }

    fn command(&self) -> Option<&str> {
        Some(self.program()).filter(|c| !c.is_empty())
    }

    fn cgroup(&self) -> Option<&str> {
        let text = self.cgroup.get_or_init(|| {
            let all = of_process(self.caller.thread, "cgroup");
            // The unified hierarchy's line begins with 0::, on older machines the first one has to do.
            let line = all.lines().find(|l| l.starts_with("0::")).or_else(|| all.lines().next());
            line.and_then(|l| l.splitn(3, ':').nth(2)).unwrap_or_default().to_owned()
        });
        Some(text.as_str()).filter(|c| !c.is_empty())
    }

    fn size(&self) -> Option<u64> {
        self.size
    }

    fn offset(&self) -> Option<u64> {
        self.offset
    }
}

fn of_process(pid: u32, what: &str) -> String {
    if pid == 0 {
        return String::new();
    }
    std::fs::read_to_string(format!("/proc/{pid}/{what}"))
        .map(|t| t.trim_end().to_owned())
        .unwrap_or_default()
}
