//! Whether and when a new connection may go on to the service: what `refuse`, `hang_connect` and `connect_delay` decide.

use crate::chain::{How, earlier};
use crate::conn::{Conn, attend};
use crate::faults::Entry;
use crate::timers::{Alarm, Timers};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

/// Waits until no fault holds the connection up any more; how it must end when one refuses it, or something ends it.
pub(crate) async fn admit(conn: &Conn, timers: &Timers) -> Result<(), How> {
    if !conn.takes().iter().any(|take| take.fault.is_for_new_connections()) {
        return Ok(());
    }
    attend(conn, timers, gates(conn, timers)).await?
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
