//! Whether and when a new connection may go on to the service: what `refuse`, `hang_connect` and `connect_delay` decide;
//! and seeing to it that faults and the control path can end a connection of which no byte passes.

use crate::chain::{Chain, Dir, How, earlier};
use crate::conn::Conn;
use crate::faults::Entry;
use crate::timers::{Alarm, Timers};
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Instant;

/// Waits until no fault holds the connection up any more; how it must end when one refuses it, or something ends it.
pub(crate) async fn admit(conn: &Conn, timers: &Timers) -> Result<(), How> {
    if !conn.takes().iter().any(|take| take.fault.is_for_new_connections()) {
        return Ok(());
    }
    attend(conn, timers, gates(conn, timers)).await?
}

/// Does some work on behalf of a connection while nobody else watches for its end: the work's result, or how the
/// connection must end.
pub(crate) async fn attend<T>(conn: &Conn, timers: &Timers, work: impl Future<Output = T>) -> Result<T, How> {
    let mut work = std::pin::pin!(work);
    let mut chains = [Chain::new(Dir::Up), Chain::new(Dir::Down)];
    let mut alarm = Alarm::new(timers.clone());
    let mut seen = 0;
    poll_fn(|cx| {
        conn.register_reader(cx.waker());
        loop {
            let version = conn.version();
            let watch = |chains: &[Chain; 2]| chains.iter().filter_map(Chain::watch).min();
            if version != seen || watch(&chains).is_some() {
                let now = Instant::now();
                if version != seen || chains.iter().any(|c| c.must_turn(now)) {
                    seen = version;
                    let takes = conn.takes();
                    chains.iter_mut().for_each(|c| c.sync(&takes, now));
                }
                if let Some(how) = chains.iter_mut().find_map(|c| c.strike(now)) {
                    conn.kill(how);
                }
            }
            if let Some(how) = conn.killed() {
                return Poll::Ready(Err(how));
            }
            match watch(&chains) {
                Some(at) if alarm.poll(at, cx).is_ready() => {}
                Some(_) => break,
                None => {
                    alarm.clear();
                    break;
                }
            }
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// Polled by `attend`, which sees to it that changes of the faults wake it.
async fn gates(conn: &Conn, timers: &Timers) -> Result<(), How> {
    let mut alarm = Alarm::new(timers.clone());
    poll_fn(|cx| {
        loop {
            let now = Instant::now();
            let (mut waits, mut until) = (false, None);
            for take in conn.takes() {
                let (on, turn) = take.active(now);
                let entry = if on { take.fault.entry(&take, now) } else { Entry::Pass };
                match entry {
                    Entry::Pass => {}
                    Entry::Refused => {
                        take.apply();
                        return Poll::Ready(Err(How::Rst));
                    }
                    Entry::At(at) => {
                        take.apply();
                        waits = true;
                        until = earlier(until, at);
                    }
                }
                until = earlier(until, turn);
            }
            match until {
                _ if !waits => return Poll::Ready(Ok(())),
                Some(at) if alarm.poll(at, cx).is_ready() => {}
                Some(_) => return Poll::Pending,
                None => {
                    alarm.clear();
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}
