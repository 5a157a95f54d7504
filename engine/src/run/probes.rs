//! Probes: questions asked at an interval, whose answers are drained once a tick.

use super::http::{Origin, Pool, request};
use super::prometheus;
use super::taken::Taken;
use super::tick::Probed;
use crate::Agent;
use bytes::Bytes;
use model::experiment::{CommandProbe, HttpProbe, Metric, Source, TcpProbe};
use model::{Target, TargetSpec};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// A probe that is running; it stops when this is dropped.
#[derive(Debug)]
pub struct Probe {
    /// The metric it feeds.
    pub metric: String,
    answers: Arc<Mutex<Probed>>,
    task: JoinHandle<()>,
}

impl Probe {
    /// Starts the probe of a metric; none when its source is not a probe. Programs named by a relative path are looked for
    /// beside the experiment's file, in `base`.
    pub fn start(metric: &Metric, base: &Path, agent: &Agent) -> Option<Probe> {
        let answers = Arc::new(Mutex::new(Probed::default()));
        let task = match metric.from.clone() {
            Source::Http(probe) => {
                let pool = Arc::new(Pool::default());
                // Looked at when the run was prepared; what has gone since answers nothing.
                let origin = Origin::parse(&probe.url, &probe.trust, base).ok()?;
                every(probe.every.0, answers.clone(), move || {
                    http(probe.clone(), origin.clone(), pool.clone())
                })
            }
            Source::Tcp(probe) => every(probe.every.0, answers.clone(), move || tcp(probe.clone())),
            Source::Command(mut probe) => {
                if let Some(program) = probe.run.first_mut() {
                    *program = beside(base, program);
                }
                every(probe.every.0, answers.clone(), move || command(probe.clone()))
            }
            Source::Process(probe) => {
                let taken = Arc::new(Mutex::new(Taken::default()));
                let spec = TargetSpec::Process(probe.spec);
                let target = Arc::new(Target { name: probe.target, spec });
                let agent = agent.clone();
                every(probe.every.0, answers.clone(), move || {
                    let (agent, target, taken) = (agent.clone(), target.clone(), taken.clone());
                    async move {
                        let found = agent.processes(&target).await;
                        taken.lock().unwrap_or_else(PoisonError::into_inner).ask(probe.stat, &found)
                    }
                })
            }
            Source::Prometheus(probe) => {
                let pool = Arc::new(Pool::default());
                let origin = Origin::parse(&prometheus::address(&probe), &probe.trust, base).ok()?;
                every(probe.every.0, answers.clone(), move || {
                    prometheus::ask(probe.clone(), origin.clone(), pool.clone())
                })
            }
            Source::Proxy { .. } | Source::Load { .. } => return None,
        };
        Some(Probe { metric: metric.name.clone(), answers, task })
    }

    /// What it said since the last call.
    pub fn drain(&self) -> Probed {
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks again and again; an answer of none (the question itself failed) is no data.
fn every<F, A>(period: Duration, answers: Arc<Mutex<Probed>>, ask: F) -> JoinHandle<()>
where
    F: Fn() -> A + Send + 'static,
    A: Future<Output = Option<f64>> + Send + 'static,
{
    tokio::spawn(async move {
        let mut ticks = interval_at(Instant::now(), period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            if let Some(value) = ask().await {
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                answers.count += 1;
                answers.sum += value;
                answers.last = Some(value);
            }
        }
    })
}

/// Where a program lies: a relative path with a slash in it is beside the experiment's file, if it is there.
pub fn beside(base: &Path, program: &str) -> String {
    let near = base.join(program);
    if program.contains('/') && near.is_file() {
        near.to_string_lossy().into_owned()
    } else {
        program.to_owned()
    }
}

async fn http(probe: HttpProbe, origin: Origin, pool: Arc<Pool>) -> Option<f64> {
    let request = request(&origin, "GET", &[], Bytes::new()).ok()?;
    let answer = timeout(probe.timeout.0, pool.send(&origin, request)).await;
    let good = matches!(answer, Ok(Ok((status, ref body)))
        if (probe.status.0..=probe.status.1).contains(&status)
            && probe.contains.as_ref().is_none_or(|want| String::from_utf8_lossy(body).contains(want))
            && probe.json.as_ref().is_none_or(|test| test.holds(body)));
    Some(f64::from(u8::from(good)))
}

async fn tcp(probe: TcpProbe) -> Option<f64> {
    let opened = timeout(probe.timeout.0, TcpStream::connect(&probe.address)).await;
    Some(f64::from(u8::from(matches!(opened, Ok(Ok(_))))))
}

/// Runs a program without a shell. A number that cannot be read is no data; an exit status always is.
async fn command(probe: CommandProbe) -> Option<f64> {
    let (program, args) = probe.run.split_first()?;
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let finished = match child {
        Ok(child) => timeout(probe.timeout.0, child.wait_with_output()).await,
        Err(_) => return (!probe.number).then_some(0.0),
    };
    match finished {
        Ok(Ok(output)) if probe.number && output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().parse().ok().filter(|v: &f64| v.is_finite())
        }
        Ok(Ok(output)) if !probe.number => Some(f64::from(u8::from(output.status.success()))),
        _ if probe.number => None,
        _ => Some(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::units::Span;

    fn probe(run: &[&str], number: bool) -> CommandProbe {
        CommandProbe {
            run: run.iter().map(|s| (*s).to_owned()).collect(),
            every: Span::secs(1),
            timeout: Span::millis(500),
            number,
        }
    }

    #[tokio::test]
    async fn commands_answer_by_status_or_number() {
        assert_eq!(command(probe(&["true"], false)).await, Some(1.0));
        assert_eq!(command(probe(&["false"], false)).await, Some(0.0));
        assert_eq!(command(probe(&["/nonexistent/program"], false)).await, Some(0.0));
        assert_eq!(command(probe(&["sleep", "60"], false)).await, Some(0.0));
        assert_eq!(command(probe(&["echo", "42"], true)).await, Some(42.0));
        assert_eq!(command(probe(&["echo", "many"], true)).await, None);
    }

    #[test]
    fn programs_are_looked_for_beside_the_file() {
        let sh = beside(Path::new("/bin"), "./sh");
        assert!(Path::new(&sh).is_absolute() && Path::new(&sh).is_file(), "{sh}");
        assert_eq!(beside(Path::new("/nonexistent"), "./sh"), "./sh");
        assert_eq!(beside(Path::new("/bin"), "sh"), "sh");
    }

    #[tokio::test]
    async fn connections_answer_by_opening() {
        // The port is held all the time, so that nobody else gets it in between.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let ask = |address: String| tcp(TcpProbe { address, every: Span::secs(1), timeout: Span::secs(2) });
        assert_eq!(ask(address.clone()).await, Some(0.0));
        let _listener = socket.listen(8).unwrap();
        assert_eq!(ask(address).await, Some(1.0));
    }
}
