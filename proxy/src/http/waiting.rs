//! What an exchange waits for, and what goes on meanwhile: the client may leave, the request's body goes up, and what faults
//! below hold of the response is driven.

use super::exchange::{Over, Way};
use super::message::ResponseHead;
use super::side::Client;
use super::upstream::Upstream;
use super::wire::Pace;
use crate::faults::Point;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context as Task, Poll};
use std::time::Instant;

impl<C: Client> Way<'_, C> {
    /// Sees whether the client is still there, and drives what faults below hold of what was written to it.
    pub(super) fn poll_client(&mut self, cx: &mut Task<'_>) -> Result<(), Over> {
        // Of a tunnel, one direction may be over before the other.
        if self.client.can_be_watched() && !self.tunnel {
            return self.poll_held(cx);
        }
        self.client.poll_drive(cx).map_err(Over::Gone)
    }

    /// The same while nobody reads the request's body: what comes of it waits to be read.
    fn poll_held(&mut self, cx: &mut Task<'_>) -> Result<(), Over> {
        if let Poll::Ready(gone) = self.client.poll_gone(cx) {
            return Err(Over::Gone(gone));
        }
        self.client.poll_drive(cx).map_err(Over::Gone)
    }

    /// Waits for something, but no longer than the client does.
    pub(super) async fn attentive<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Over> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            match self.poll_held(cx) {
                Ok(()) => Poll::Pending,
                Err(gone) => Poll::Ready(Err(gone)),
            }
        })
        .await
    }

    /// Holds the exchange as long as a fault says; the request's body goes on going up.
    pub(super) async fn hold(
        &mut self,
        at: usize,
        point: Point,
        upstream: Option<&mut Upstream>,
    ) -> Result<(), Over> {
        let hit = self.flow.hits[at].clone();
        // Set before the wait, so that a request given up while it was held counts as touched.
        let before = std::mem::replace(&mut self.flow.outcome.touched, true);
        let timers = self.timers;
        let late = self.meanwhile(hit.hold(point, timers), upstream).await?;
        self.flow.outcome.added += late;
        self.flow.outcome.touched = before || hit.was_applied();
        Ok(())
    }

    pub(super) async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
        mut upstream: Option<&mut Upstream>,
    ) -> Result<T, Over> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            let client = match upstream.as_deref_mut() {
                None => self.poll_held(cx),
                Some(upstream) => match self.poll_up(cx, upstream) {
                    Ok(()) => self.poll_client(cx),
                    Err(why) => return Poll::Ready(Err(why)),
                },
            };
            match client {
                Ok(()) => Poll::Pending,
                Err(gone) => Poll::Ready(Err(gone)),
            }
        })
        .await
    }

    /// With HTTP/2 a head is not bytes: it waits for as long as it would have taken.
    pub(super) async fn leave_late(
        &mut self,
        pace: Pace,
        upstream: &mut Upstream,
        head: &ResponseHead,
    ) -> Result<(), Over> {
        let begun = Instant::now();
        let size: usize =
            16 + head.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
        let pauses = u32::try_from(size / pace.bytes.max(1)).unwrap_or(u32::MAX);
        let due = begun.checked_add(pace.every.saturating_mul(pauses)).unwrap_or(begun);
        self.flow.outcome.touched = true;
        while Instant::now() < due && self.flow.hits.iter().any(|hit| hit.slows()) {
            let timers = self.timers;
            let changes = self.flow.context.target.requests_change();
            let pause = async {
                tokio::select! {
                    () = timers.sleep_until(due) => {}
                    () = changes => {}
                }
            };
            self.meanwhile(pause, Some(upstream)).await?;
        }
        self.flow.outcome.added += begun.elapsed();
        Ok(())
    }

    /// Has the response's head leave a few bytes at a time, as long as the fault that wants it is on.
    pub(super) async fn leave_slowly(
        &mut self,
        pace: Pace,
        upstream: &mut Upstream,
        head: &ResponseHead,
    ) -> Result<(), Over> {
        let begun = Instant::now();
        let mut turn = begun;
        self.flow.outcome.touched = true;
        loop {
            let wanted = self.flow.hits.iter().any(|hit| hit.slows());
            self.client.allow(wanted.then_some(pace.bytes.max(1)));
            poll_fn(|cx| self.client.poll_flush(cx)).await.map_err(Over::Gone)?;
            if !self.client.is_holding() {
                break;
            }
            turn = turn.checked_add(pace.every).unwrap_or(turn);
            let timers = self.timers;
            let changes = self.flow.context.target.requests_change();
            let pause = async {
                tokio::select! {
                    () = timers.sleep_until(turn) => {}
                    () = changes => {}
                }
            };
            self.meanwhile(pause, Some(upstream)).await?;
        }
        self.client.allow(None);
        self.flow.outcome.added += begun.elapsed();
        self.flow.answered(head);
        Ok(())
    }
}
