//! Open files, as many as one process may have.

use crate::stress::holder::Holder;
use crate::stress::{Files, Job};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::time::Duration;

/// Descriptors that the child needs itself.
const OWN: u64 = 32;
/// How many are opened before the clock is looked at again.
const BITE: u64 = 2000;

/// Open files that are held.
pub(crate) struct Descriptors {
    job: Files,
    files: Vec<File>,
    most: u64,
    errno: i32,
}

/// How many files this process may have open, after asking for as many as there may be.
pub(crate) fn raise() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(1 << 20);
    let nr_open = fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|t| t.trim().parse().ok());
    // Beyond the hard limit only with CAP_SYS_RESOURCE.
    for wanted in [nr_open.unwrap_or(hard).max(hard), hard] {
        let limit = Rlimit { current: Some(wanted), maximum: Some(wanted.max(hard)) };
        if setrlimit(Resource::Nofile, limit).is_ok() {
            return wanted.saturating_sub(OWN);
        }
    }
    now.current.unwrap_or(hard).saturating_sub(OWN)
}

/// How many files one child of this process will be able to hold.
pub(crate) fn capacity() -> u64 {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20);
    let nr_open = fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|t| t.trim().parse().ok());
    let most = if host::Capabilities::mine().has("CAP_SYS_RESOURCE") {
        nr_open.unwrap_or(hard).max(hard)
    } else {
        hard
    };
    most.saturating_sub(OWN)
}

/// Files open in the whole system, and how many there may be: proc(5), `/proc/sys/fs/file-nr`.
pub(crate) fn system() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/sys/fs/file-nr").ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let (allocated, unused, most) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((allocated.saturating_sub(unused), most))
}

impl Descriptors {
    pub(crate) fn new(job: Job) -> Result<Descriptors, String> {
        let Job::Files(job) = job else { return Err("nothing that is held here".into()) };
        Ok(Descriptors { job, files: Vec::new(), most: raise(), errno: 0 })
    }
}

impl Holder for Descriptors {
    fn step(&mut self, _elapsed: Duration) -> Duration {
        let held = self.files.len() as u64;
        let (used, most) = system().unwrap_or((0, u64::MAX));
        let goal = self.job.wanted.goal(held, most.saturating_sub(used), most).min(self.most);
        if goal < held {
            self.files.truncate(goal as usize);
            return Duration::from_millis(500);
        }
        for _ in 0..(goal - held).min(BITE) {
            match File::open("/dev/null") {
                Ok(file) => self.files.push(file),
                Err(e) => {
                    self.errno = e.raw_os_error().unwrap_or(0);
                    return Duration::from_millis(500);
                }
            }
        }
        if goal - held > BITE { Duration::ZERO } else { Duration::from_millis(500) }
    }

    fn set(&mut self, job: Job) -> Result<(), String> {
        let Job::Files(job) = job else { return Err("this child holds open files".into()) };
        self.job = job;
        Ok(())
    }

    fn measured(&self) -> BTreeMap<String, f64> {
        let (used, most) = system().unwrap_or((0, 0));
        BTreeMap::from([
            ("held".to_owned(), self.files.len() as f64),
            ("left".to_owned(), most.saturating_sub(used) as f64),
            ("errno".to_owned(), f64::from(self.errno)),
        ])
    }
}
