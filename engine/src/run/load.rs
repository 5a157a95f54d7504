//! Open-loop load: every request starts when it is due, and its latency counts from then, so that a slow service cannot
//! hide its slowness by being asked less (coordinated omission).

use super::http::{Failure, Origin, Pool, request};
use bytes::Bytes;
use model::Sample;
use model::experiment::{Load, LoadStage};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// More requests than this are not held open at once; those beyond fail at once.
const MOST_IN_FLIGHT: u64 = 4096;

/// A load that is being made. It stops when this is dropped.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    load: Load,
    origin: Origin,
    body: Bytes,
    pool: Pool,
    totals: Mutex<Sample>,
    in_flight: AtomicU64,
    stop: AtomicBool,
}

impl Running {
    /// Starts it on the current tokio runtime, paced by a thread of its own: the runtime's timers are a millisecond
    /// coarse, and that millisecond would be counted as the service's. Files are looked for in `base`.
    pub fn start(load: Load, body: Bytes, base: &Path) -> Result<Running, Failure> {
        let origin = check(&load, &body, base)?;
        let shared = Arc::new(Shared {
            load,
            origin,
            body,
            pool: Pool::default(),
            totals: Mutex::default(),
            in_flight: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let (pacer, runtime) = (shared.clone(), tokio::runtime::Handle::current());
        let spawned =
            std::thread::Builder::new().name("load-pacer".into()).spawn(move || pace(&pacer, &runtime));
        spawned.map_err(|e| Failure::Connect("a thread for the load".into(), e))?;
        Ok(Running { shared })
    }

    /// Counters since the start.
    pub fn totals(&self) -> Sample {
        self.shared.totals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether its requests can be made at all: told before the first rather than at each of them.
pub fn check(load: &Load, body: &Bytes, base: &Path) -> Result<Origin, Failure> {
    let origin = Origin::parse(&load.url, &load.trust, base)?;
    request(&origin, &load.method, &load.headers, body.clone())
        .map_err(|e| Failure::Request(format!("{} {}", load.method, load.url), e))?;
    Ok(origin)
}

fn pace(shared: &Arc<Shared>, runtime: &tokio::runtime::Handle) {
    let begin = Instant::now();
    for due in Schedule::new(&shared.load.stages) {
        let due = begin + due;
        loop {
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Short naps, so that a stop is heard.
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
        let shared = shared.clone();
        runtime.spawn(async move { shared.one(due).await });
    }
}

impl Shared {
    async fn one(&self, due: Instant) {
        let failed = if self.in_flight.fetch_add(1, Ordering::Relaxed) >= MOST_IN_FLIGHT {
            true
        } else {
            let timeout = self.load.timeout.0.saturating_sub(due.elapsed());
            let answer = match request(&self.origin, &self.load.method, &self.load.headers, self.body.clone())
            {
                Ok(request) => tokio::time::timeout(timeout, self.pool.send(&self.origin, request)).await,
                Err(_) => return,
            };
            !matches!(answer, Ok(Ok((status, _))) if status < 400)
        };
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let nanos = due.elapsed().as_nanos() as u64;
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.requests += 1;
        totals.errors += u64::from(failed);
        totals.latency.record(nanos);
    }
}

/// When requests are due, since the begin: a pure function of the stages. One is due whenever the rate, summed up over
/// time, has reached another whole number, so that a ramp from zero is followed from its start.
struct Schedule<'a> {
    stages: &'a [LoadStage],
    stage: usize,
    stage_began: f64,
    at: f64,
    /// What is missing of the next request. Next to nothing for the first: it is due as soon as there is a rate.
    missing: f64,
}

impl<'a> Schedule<'a> {
    fn new(stages: &'a [LoadStage]) -> Self {
        Schedule { stages, stage: 0, stage_began: 0.0, at: 0.0, missing: 1e-9 }
    }
}

impl Iterator for Schedule<'_> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        loop {
            let stage = self.stages.get(self.stage)?;
            let last = self.stage + 1 == self.stages.len();
            let into = self.at - self.stage_began;
            let lasts = stage.lasts.map(|s| s.0.as_secs_f64());
            let (from, to) = (stage.from.value(), stage.to.value());
            let wait = match lasts.map(|l| (l, l - into)) {
                Some((lasts, left)) if left > 0.0 => {
                    let slope = (to - from) / lasts;
                    let rate = from + slope * into;
                    let rest = (rate * left + slope * left * left / 2.0).max(0.0);
                    if rest < self.missing {
                        self.missing -= rest;
                        self.at = self.stage_began + lasts;
                        continue;
                    }
                    // The smaller root of slope/2 · t² + rate · t = missing, in the form that also takes a slope of zero.
                    let root = (rate * rate + 2.0 * slope * self.missing).max(0.0).sqrt();
                    (2.0 * self.missing / (rate + root)).min(left)
                }
                Some((lasts, _)) if !last => {
                    self.stage_began += lasts;
                    self.stage += 1;
                    continue;
                }
                // The last rate goes on.
                _ if to > 1e-6 => self.missing / to,
                _ => return None,
            };
            self.at += wait;
            self.missing = 1.0;
            return Some(Duration::from_secs_f64(self.at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::units::{EventRate, Span};

    fn stage(secs: Option<u64>, from: f64, to: f64) -> LoadStage {
        LoadStage {
            lasts: secs.map(Span::secs),
            from: EventRate::per_second(from),
            to: EventRate::per_second(to),
        }
    }

    fn due_in(stages: &[LoadStage], from: u64, to: u64) -> usize {
        let range = Duration::from_secs(from)..Duration::from_secs(to);
        Schedule::new(stages).take_while(|d| *d < range.end).filter(|d| range.contains(d)).count()
    }

    #[test]
    fn rates_ramps_and_the_last_stage_goes_on() {
        let stages = [stage(Some(10), 50.0, 50.0), stage(Some(10), 50.0, 150.0), stage(Some(1), 10.0, 10.0)];
        assert_eq!(due_in(&stages, 0, 10), 500);
        let ramp = due_in(&stages, 10, 20);
        assert!((980..=1020).contains(&ramp), "{ramp}");
        assert_eq!(due_in(&stages, 30, 40), 100);
        assert_eq!(due_in(&[stage(Some(2), 0.0, 0.0), stage(None, 10.0, 10.0)], 2, 3), 10);
        assert_eq!(Schedule::new(&[stage(None, 0.0, 0.0)]).next(), None);
    }

    #[test]
    fn ramps_from_and_to_nothing() {
        // 10 · 60 / 2 requests in a minute, 75 of them in its first half; then ten a second.
        let up = [stage(Some(60), 0.0, 10.0)];
        let half = due_in(&up, 0, 30);
        assert!((74..=76).contains(&half), "{half}");
        let whole = due_in(&up, 0, 60);
        assert!((299..=301).contains(&whole), "{whole}");
        assert_eq!(due_in(&up, 70, 80), 100);
        let down = [stage(Some(60), 10.0, 0.0)];
        let all = Schedule::new(&down).count();
        assert!((299..=301).contains(&all), "{all}");
    }
}
