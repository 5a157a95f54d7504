//! The child as a burner of processor time.

use super::Load;
use super::burn::{self, Shared};
use rustix::process::{getpriority_process, setpriority_process};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often the sum is set anew while it moves: by a ramp, or by what others use.
const STEP: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Burner {
    shared: Arc<Shared>,
    now: Arc<Mutex<Option<(Load, Instant)>>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Burner {
    pub(super) fn set(&self, load: Load) -> Result<(), String> {
        // On this thread first: it burns nothing, but is refused what the others would be refused.
        let nice = match setpriority_process(None, load.nice) {
            Ok(()) => load.nice,
            // Nothing was asked for: where murphy itself is nicer, so is what it burns.
            Err(_) if load.nice == 0 => getpriority_process(None).unwrap_or(0),
            Err(e) => {
                return Err(format!(
                    "niceness {} was refused: {e}; going below needs CAP_SYS_NICE",
                    load.nice
                ));
            }
        };
        self.shared.set_nice(nice);
        self.shared.set_cpus(&load.cpus)?;
        let wanted = load.threads();
        if !load.reach {
            self.shared.set_total(load.total(Duration::ZERO));
        }
        let first = {
            let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
            now.replace((load, Instant::now())).is_none()
        };
        self.shared.set_threads(wanted);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for index in 0..wanted {
            // A thread that was told to end may not have noticed yet: it is asked again only once it is gone.
            let gone = threads.get(index).is_none_or(thread::JoinHandle::is_finished);
            if gone {
                let shared = self.shared.clone();
                let handle = thread::Builder::new()
                    .name("murphy-burn".into())
                    .stack_size(64 * 1024)
                    .spawn(move || burn::thread(index, &shared))
                    .map_err(|e| format!("thread {} of {wanted} could not be started: {e}", index + 1))?;
                if index < threads.len() { threads[index] = handle } else { threads.push(handle) }
            }
        }
        if first {
            let (shared, now) = (self.shared.clone(), self.now.clone());
            thread::Builder::new()
                .name("murphy-pace".into())
                .stack_size(128 * 1024)
                .spawn(move || pace(&shared, &now))
                .map_err(|e| format!("a thread could not be started: {e}"))?;
        }
        Ok(())
    }
}

/// Sets the sum to burn, again and again, as a ramp or the use by others moves it.
fn pace(shared: &Shared, now: &Mutex<Option<(Load, Instant)>>) {
    let mut others = Others::default();
    loop {
        let set = now.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((load, since)) = set {
            let total = load.total(since.elapsed());
            if load.reach {
                let missing = others.read().map_or(total, |used| (total - used).max(0.0));
                shared.set_total(missing);
            } else {
                shared.set_total(total);
            }
        }
        thread::sleep(STEP);
    }
}

/// How many cores everyone but this process keeps busy, over the last second or so.
#[derive(Default)]
struct Others {
    last: Option<(Duration, Duration, Instant)>,
    smooth: Option<f64>,
}

impl Others {
    fn read(&mut self) -> Option<f64> {
        let (machine, own, now) = (machine_busy()?, own_cpu()?, Instant::now());
        let Some((machine_before, own_before, then)) = self.last else {
            self.last = Some((machine, own, now));
            return self.smooth;
        };
        // The kernel counts in ticks of 10 ms: over less than this the reading is mostly noise.
        if now - then < Duration::from_millis(300) {
            return self.smooth;
        }
        self.last = Some((machine, own, now));
        let all = machine.saturating_sub(machine_before).as_secs_f64();
        let ours = own.saturating_sub(own_before).as_secs_f64();
        let used = ((all - ours) / (now - then).as_secs_f64()).max(0.0);
        self.smooth = Some(self.smooth.map_or(used, |s| s + (used - s) * 0.4));
        self.smooth
    }
}

/// Processor time that the machine was not idle: proc(5), `/proc/stat`. Time stolen by a hypervisor is not ours to count.
fn machine_busy() -> Option<Duration> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq
    let ticks: u64 = [0, 1, 2, 5, 6].iter().filter_map(|i| fields.get(*i)).sum();
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

fn own_cpu() -> Option<Duration> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).ok()?;
    Some(Duration::new(time.tv_sec().max(0) as u64, time.tv_nsec().clamp(0, 999_999_999) as u32))
}
