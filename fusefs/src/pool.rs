//! Threads for what may take its time: operations whose delay is over, and pages that are to be forgotten. There are as
//! many as are needed at once, up to a limit, and none when nothing is to be done.

use crate::inode::lock;
use crate::sys;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A piece of work.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

const MOST: usize = 64;
const PATIENCE: Duration = Duration::from_secs(2);

/// Threads that work; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Pool {
    /// Has it done soon, by another thread.
    pub(crate) fn run(&self, job: Job) {
        let mut queue = lock(&self.0.queue);
        queue.jobs.push_back(job);
        if queue.idle >= queue.jobs.len() || queue.threads >= MOST {
            self.0.work.notify_one();
            return;
        }
        queue.threads += 1;
        drop(queue);
        let pool = self.clone();
        let started =
            std::thread::Builder::new().name("murphy-fs-work".into()).spawn(move || pool.0.work_on());
        if started.is_err() {
            // No thread to be had: then this one does it, late but surely.
            lock(&self.0.queue).threads -= 1;
            let job = lock(&self.0.queue).jobs.pop_front();
            if let Some(job) = job {
                job();
            }
        }
    }
}

impl Shared {
    fn work_on(&self) {
        // Without a umask of its own a thread would create files with less than was asked for, never with more.
        let _ = sys::stand_alone();
        sys::clear_set_id_on_write();
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = lock(&self.queue);
                continue;
            }
            queue.idle += 1;
            let (back, waited) = match self.work.wait_timeout(queue, PATIENCE) {
                Ok(pair) => pair,
                Err(e) => e.into_inner(),
            };
            queue = back;
            queue.idle -= 1;
            if waited.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return;
            }
        }
    }
}
