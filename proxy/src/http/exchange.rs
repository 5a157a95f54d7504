//! One request's way: through the faults that take it, to the service, and back. The same for all versions.
//!
//! What goes up and what comes down moves independently, and everything in the client's own task: nothing is handed to
//! another one on the way.

use super::Context;
use super::flow::{Flow, Late};
use super::h1::framing::Body;
use super::h1::room::Heads;
use super::message::RequestHead;
use super::pump::{Pump, Stopped};
use super::side::{Broken, Client, Respond};
use super::upstream::{Ask, Own, Upstream};
use super::wire::{Ending, Moment};
use crate::chain::Dir;
use crate::faults::{Known, Point};
use crate::timers::Timers;
use http::{Method, StatusCode, Version};
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context as Task, Poll};
use std::time::Instant;

/// Why an exchange did not come to its end.
pub(super) enum Over {
    /// The client has given it up.
    Gone(Broken),
    /// A fault broke it off.
    Fault(Ending),
    /// The service broke it off behind the response's head.
    Failed(Broken),
}

/// Serves one request whose head was read.
pub(super) async fn exchange<C: Client>(context: &Context, client: &mut C, heads: &mut Heads) {
    let late = context.conn.heads().up_delay();
    let now = Instant::now();
    let flow = Flow::new(context, now.checked_sub(late).unwrap_or(now), late);
    let mut way = Way { flow, client, up: Pump::default(), tunnel: false, timers: context.target.timers() };
    let over = way.run(heads, now).await;
    let Way { client, mut flow, .. } = way;
    match over {
        Ok(()) => {
            flow.complete = true;
            client.finish();
        }
        Err(Over::Gone(why)) => client.fail(&why),
        Err(Over::Fault(ending)) => client.break_off(ending),
        Err(Over::Failed(why)) => client.fail(&why),
    }
}

/// One exchange under way.
pub(super) struct Way<'a, C> {
    pub(super) flow: Flow<'a>,
    pub(super) client: &'a mut C,
    /// The request's body.
    up: Pump,
    pub(super) tunnel: bool,
    pub(super) timers: &'a Timers,
}

impl<C: Client> Way<'_, C> {
    async fn run(&mut self, heads: &mut Heads, now: Instant) -> Result<(), Over> {
        let mut upstream = self.request(heads, now).await?;
        let over = self.respond(heads, &mut upstream).await;
        match &over {
            Ok(()) => upstream.finish(),
            Err(Over::Gone(why)) => {
                upstream.break_off(Ending::Reset(why.reset.unwrap_or(h2::Reason::CANCEL.into())))
            }
            Err(_) => upstream.break_off(Ending::Reset(h2::Reason::CANCEL.into())),
        }
        over
    }

    /// Up to the request's head being with whoever answers.
    async fn request(&mut self, heads: &mut Heads, now: Instant) -> Result<Upstream, Over> {
        if let Some(gate) = self.flow.begin(&heads.request, now) {
            self.attentive(gate).await?;
            self.flow.released(now.elapsed());
        }
        self.flow.consider(&heads.request, Instant::now());
        self.flow.show_hits();
        let mut answer = None;
        for at in 0..self.flow.hits.len() {
            self.hold(at, Point::Request, None).await?;
            let known = Known { request: &heads.request, response: None };
            answer = self.flow.hits[at].answer(Point::Request, &known);
            if answer.is_some() {
                break;
            }
        }
        if let Some(answer) = answer {
            self.nobody_reads(&heads.request);
            return Ok(Upstream::Own(Own::new(answer)));
        }
        for hit in &self.flow.hits {
            hit.request(&mut heads.request);
        }
        if self.flow.relengths(Dir::Up) {
            heads.request.headers.remove("content-length");
        }
        if let Some((after, answer)) = self.flow.context.target.stub(&self.flow.context.conn, &heads.request)
        {
            let due = now.checked_add(after).unwrap_or(now);
            self.attentive(self.timers.sleep_until(due)).await?;
            self.nobody_reads(&heads.request);
            return Ok(Upstream::Own(Own::new(answer)));
        }
        let known = Known { request: &heads.request, response: None };
        let plan = self.flow.plan(Dir::Up, &known);
        let ask = self.ask(&heads.request, plan.malformed);
        if heads.request.version == Version::HTTP_2 && heads.request.method == Method::CONNECT {
            self.up = Pump::of_nothing();
        }
        self.flow.stage(&mut self.up, Dir::Up, &known);
        let asked = Upstream::ask(&self.flow.context.pool, self.flow.context.target.spec.upstream_http, &ask);
        match self.attentive(asked).await? {
            Ok(upstream) => {
                if let Some((Moment::BeforeHead, ending)) = plan.breaks {
                    upstream.break_off(ending);
                    self.nobody_reads(&heads.request);
                    return Ok(Upstream::Own(Own::bad_gateway("a fault broke the request off")));
                }
                Ok(upstream)
            }
            Err(why) => {
                self.nobody_reads(&heads.request);
                Ok(Upstream::Own(Own::bad_gateway(&why.to_string())))
            }
        }
    }

    fn ask<'r>(&self, head: &'r RequestHead, malformed: Option<super::wire::Malformed>) -> Ask<'r> {
        let body = match self.client.announced() {
            Body::Length(_) | Body::Stream if self.flow.relengths(Dir::Up) => Body::Chunked,
            body => body,
        };
        Ask { head, hop: self.client.hop(), body, malformed }
    }

    /// The request's body goes nowhere. It is read all the same, so that the connection stays usable; unless the client
    /// waits for a go-ahead, which reading would give.
    fn nobody_reads(&mut self, request: &RequestHead) {
        if request.headers.contains("expect") && !self.client.is_body_read() {
            self.up.stop();
        } else {
            self.up.discard();
        }
    }

    /// From there on.
    async fn respond(&mut self, heads: &mut Heads, upstream: &mut Upstream) -> Result<(), Over> {
        let begun = Instant::now();
        let mut body = self.response_head(heads, upstream).await?;
        if !matches!(upstream, Upstream::Own(_)) {
            self.flow.service = Some(begun.elapsed());
        }
        if self.flow.is_stale() {
            self.flow.refresh(Late::Responses, &heads.request, Some(&heads.response));
        }
        self.flow.consider_response(&heads.request, &heads.response);
        self.flow.show_hits();
        for at in 0..self.flow.hits.len() {
            self.hold(at, Point::Response, Some(upstream)).await?;
            let known = Known { request: &heads.request, response: Some(&heads.response) };
            if let Some(answer) = self.flow.hits[at].answer(Point::Response, &known) {
                let unwanted = std::mem::replace(upstream, Upstream::Own(Own::new(answer)));
                unwanted.break_off(Ending::Reset(h2::Reason::CANCEL.into()));
                self.nobody_reads(&heads.request);
                if let Upstream::Own(own) = upstream {
                    body = own.head(&mut heads.response);
                }
                break;
            }
        }
        for hit in &self.flow.hits {
            hit.response(&heads.request, &mut heads.response);
        }
        let known = Known { request: &heads.request, response: Some(&heads.response) };
        let plan = self.flow.plan(Dir::Down, &known);
        if let Some((Moment::BeforeHead, ending)) = plan.breaks {
            return Err(Over::Fault(ending));
        }
        if let Some(pace) = plan.pace.filter(|_| heads.request.version == Version::HTTP_2) {
            self.leave_late(pace, upstream, &heads.response).await?;
        }
        let mut how = Respond::of(&plan, self.flow.relengths(Dir::Down));
        // One that is the last of its connection says so.
        let last = matches!(plan.breaks, Some((Moment::AfterEnd, Ending::GoAway(_) | Ending::Fin)));
        how.last = last || (self.up.is_over() && !self.client.is_body_read());
        self.client.respond(&heads.request, &heads.response, body, &how);
        if let Some(pace) = plan.pace {
            self.leave_slowly(pace, upstream, &heads.response).await?;
        }
        self.flow.answered(&heads.response);
        let mut down = Pump::default();
        if body == Body::Tunnel {
            let websocket = is_websocket(&heads.request);
            self.tunnel = true;
            self.up = Pump::tunnel(websocket);
            down = Pump::tunnel(websocket);
            self.flow.stage(&mut self.up, Dir::Up, &known);
        }
        self.flow.stage(&mut down, Dir::Down, &known);
        let passed = self.bodies(heads, upstream, &mut down).await;
        self.flow.bytes = [self.up.bytes, down.bytes];
        passed?;
        match plan.breaks {
            Some((Moment::AfterEnd, ending)) => Err(Over::Fault(ending)),
            _ => Ok(()),
        }
    }

    /// Waits for the response's head, while the request's body goes up; heads before it are passed on.
    async fn response_head(&mut self, heads: &mut Heads, upstream: &mut Upstream) -> Result<Body, Over> {
        loop {
            let changed = self.flow.context.target.requests_change();
            let mut changed = pin!(changed);
            let got = poll_fn(|cx| {
                if self.flow.is_stale() && !self.up.is_over() {
                    return Poll::Ready(Ok(None));
                }
                match self.poll_up(cx, upstream) {
                    Ok(()) => {}
                    Err(why) => return Poll::Ready(Err(why)),
                }
                let ask = self.ask(&heads.request, None);
                if let Poll::Ready(head) = upstream.poll_response(cx, &ask, &mut heads.response) {
                    return Poll::Ready(Ok(Some(head)));
                }
                if let Err(gone) = self.poll_client(cx) {
                    return Poll::Ready(Err(gone));
                }
                // Only a body that is under way can be taken by a fault before the head comes.
                if self.up.is_over() || changed.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                Poll::Ready(Ok(None))
            })
            .await?;
            match got {
                None => {
                    self.flow.refresh(Late::Bodies, &heads.request, None);
                    let known = Known { request: &heads.request, response: None };
                    self.flow.stage(&mut self.up, Dir::Up, &known);
                }
                Some(Ok(_)) if is_interim(heads.response.status) => {
                    self.client.inform(&heads.response).map_err(Over::Gone)?;
                }
                Some(Ok(body)) => return Ok(body),
                Some(Err(_)) if upstream.is_unsent() => {
                    let moved = std::mem::replace(upstream, Upstream::Own(Own::bad_gateway("")));
                    match self.attentive(moved.move_on()).await? {
                        Ok(other) => *upstream = other,
                        Err(why) => self.bad_gateway(upstream, &why.to_string(), &heads.request),
                    }
                }
                Some(Err(why)) => {
                    let sentence = upstream.sentence(&why);
                    self.bad_gateway(upstream, &sentence, &heads.request);
                }
            }
        }
    }

    fn bad_gateway(&mut self, upstream: &mut Upstream, why: &str, request: &RequestHead) {
        *upstream = Upstream::Own(Own::bad_gateway(why));
        self.nobody_reads(request);
    }

    /// Both bodies, each at its own pace, until both are over.
    async fn bodies(&mut self, heads: &Heads, upstream: &mut Upstream, down: &mut Pump) -> Result<(), Over> {
        loop {
            let changed = self.flow.context.target.requests_change();
            let mut changed = pin!(changed);
            let stale = poll_fn(|cx| {
                if self.flow.is_stale() {
                    return Poll::Ready(Ok(true));
                }
                if let Err(why) = self.poll_up(cx, upstream) {
                    // The answer counts, and of that nothing is missing.
                    return Poll::Ready(if down.is_over() { Ok(false) } else { Err(why) });
                }
                match down.poll(cx, upstream, self.client, self.timers) {
                    Poll::Ready(Err(why)) => return Poll::Ready(Err(stopped(why))),
                    Poll::Ready(Ok(())) if self.is_done(heads) => return Poll::Ready(Ok(false)),
                    _ => {}
                }
                if !down.is_over()
                    && let Err(gone) = self.poll_client(cx)
                {
                    return Poll::Ready(Err(gone));
                }
                changed.as_mut().poll(cx).map(|()| Ok(true))
            })
            .await?;
            if !stale {
                return Ok(());
            }
            let known = Known { request: &heads.request, response: Some(&heads.response) };
            self.flow.refresh(Late::Bodies, &heads.request, Some(&heads.response));
            self.flow.stage(&mut self.up, Dir::Up, &known);
            self.flow.stage(down, Dir::Down, &known);
        }
    }

    /// With the response over, whether the request is, too.
    fn is_done(&self, heads: &Heads) -> bool {
        let waits = heads.request.headers.contains("expect") && self.up.bytes == 0;
        self.up.is_over() || waits || !self.client.must_be_read()
    }

    /// Moves the request's body on. What goes wrong with it is the service's business, and its answer tells.
    pub(super) fn poll_up(&mut self, cx: &mut Task<'_>, upstream: &mut Upstream) -> Result<(), Over> {
        loop {
            match self.up.poll(cx, self.client, upstream, self.timers) {
                Poll::Ready(Ok(())) | Poll::Pending => return Ok(()),
                Poll::Ready(Err(Stopped::From(why))) => return Err(Over::Gone(why)),
                Poll::Ready(Err(Stopped::To(_))) if upstream.is_unsent() => return Ok(()),
                Poll::Ready(Err(Stopped::To(_))) => self.up.discard(),
                Poll::Ready(Err(Stopped::Fault(ending))) => {
                    let gone = Upstream::Own(Own::bad_gateway("a fault broke the request off"));
                    std::mem::replace(upstream, gone).break_off(ending);
                    self.up.discard();
                }
            }
        }
    }
}

fn stopped(why: Stopped) -> Over {
    match why {
        Stopped::From(why) => Over::Failed(why),
        Stopped::To(why) => Over::Gone(why),
        Stopped::Fault(ending) => Over::Fault(ending),
    }
}

/// Whether it is a head before the head.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

fn is_websocket(request: &RequestHead) -> bool {
    let named = || request.headers.text("upgrade").is_some_and(|u| u.eq_ignore_ascii_case("websocket"));
    request.protocol == "websocket" || (request.method != Method::CONNECT && named())
}
