//! `websocket_delay`, `websocket_drop`, `websocket_corrupt` and `websocket_close`: messages of sockets that are open.

use super::through::{Pass, Through};
use super::{Act, Known, RequestFault, Spread, Ways};
use crate::armed::Meters;
use crate::chain::Dir;
use crate::http::hit::Hit;
use crate::http::message::{Frame, FrameHead, Piece};
use crate::http::stage::{BodyStage, HeldPieces, Pull};
use crate::http::wire::Ending;
use crate::knob::{Dials, Knob, moment};
use bytes::{BufMut, Bytes, BytesMut};
use model::{Problem, draw};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How often one direction looks whether the other has reached the number of messages.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const CLOSE: u8 = 8;

struct Websocket {
    what: What,
    ways: Ways,
}

#[derive(Clone)]
enum What {
    Delay(Spread),
    Drop(Knob),
    Corrupt(Knob),
    Close { payload: Bytes, after: u64 },
}

pub(super) fn read_delay(dials: &Dials<'_>) -> Result<Act, Problem> {
    act(dials, What::Delay(Spread::read(dials)?))
}

pub(super) fn read_drop(dials: &Dials<'_>) -> Result<Act, Problem> {
    act(dials, What::Drop(chance(dials)?))
}

pub(super) fn read_corrupt(dials: &Dials<'_>) -> Result<Act, Problem> {
    act(dials, What::Corrupt(chance(dials)?))
}

pub(super) fn read_close(dials: &Dials<'_>) -> Result<Act, Problem> {
    let params = dials.fixed();
    let code = params.int("code").and_then(|n| u16::try_from(n).ok()).unwrap_or(1011);
    if matches!(code, 1004..=1006 | 1015..=2999) {
        return Err(Problem::new(format!("websocket_close: {code} may not be sent"))
            .hint("write 1000 to 1003, 1007 to 1014 or 3000 to 4999 (RFC 6455, section 7.4)"));
    }
    let reason = params.text("reason").unwrap_or_default();
    if reason.len() > 123 {
        return Err(Problem::new(format!("websocket_close: the reason has {} bytes", reason.len()))
            .hint("a close frame has room for 123"));
    }
    let after = params.int("after").and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat().into();
    act(dials, What::Close { payload, after })
}

fn chance(dials: &Dials<'_>) -> Result<Knob, Problem> {
    Ok(dials.knob("chance")?.unwrap_or(Knob::fixed(1.0)))
}

fn act(dials: &Dials<'_>, what: What) -> Result<Act, Problem> {
    Ok(Act::Request(Box::new(Websocket { what, ways: Ways::read(dials) })))
}

impl RequestFault for Websocket {
    fn is_for_sockets(&self) -> bool {
        true
    }

    fn frames(&self, hit: &Arc<Hit>, dir: Dir, _known: &Known<'_>) -> Option<Box<dyn BodyStage>> {
        if !self.ways.has(dir) {
            return None;
        }
        let seed = draw::bits(hit.fault.seed, draw::Lane::Other(16 + dir as u16), hit.ordinal);
        let (hit, messages) = (hit.clone(), Messages::default());
        match &self.what {
            What::Delay(spread) => {
                let (spread, held) = (spread.clone(), HeldPieces::default());
                Some(Box::new(Late { spread, hit, seed, messages, held, counted: None }))
            }
            What::Drop(chance) => Through::stage(Chosen {
                chance: *chance,
                hit,
                seed,
                messages,
                drops: true,
                chosen: false,
                at: None,
            }),
            What::Corrupt(chance) => Through::stage(Chosen {
                chance: *chance,
                hit,
                seed,
                messages,
                drops: false,
                chosen: false,
                at: None,
            }),
            What::Close { payload, after } => Some(Box::new(Closer {
                payload: payload.clone(),
                after: *after,
                dir,
                hit,
                seed,
                messages,
                held: HeldPieces::default(),
                left: VecDeque::new(),
                closed: false,
            })),
        }
    }

    fn acts_on_bodies(&self) -> bool {
        true
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        let hits = meters.hits.load(Relaxed) as f64;
        match self.what {
            What::Delay(_) => meters.lateness(),
            What::Drop(_) => BTreeMap::from([("messages_dropped", hits)]),
            What::Corrupt(_) => BTreeMap::from([("messages_corrupted", hits)]),
            What::Close { .. } => BTreeMap::from([("sockets_closed", meters.applied.load(Relaxed) as f64)]),
        }
    }
}

/// Where one is among messages: which number the current one has, and whether one is going on.
#[derive(Default)]
struct Messages {
    /// How many have begun.
    begun: u64,
    /// The frames of a message are not all there yet.
    within: bool,
    /// The current frame belongs to a message, and is its last.
    frame: Option<bool>,
    /// A frame has begun and not ended.
    within_frame: bool,
}

impl Messages {
    /// Takes a part of a frame; whether it belongs to a message (and is not a ping, a pong or a close).
    fn pass(&mut self, frame: &Frame) -> bool {
        if let Some(head) = frame.head {
            let of_message = head.opcode < CLOSE;
            if of_message && !self.within {
                self.begun += 1;
                self.within = true;
            }
            self.frame = of_message.then_some(head.fin);
        }
        let belongs = self.frame.is_some();
        self.within_frame = !frame.last;
        if frame.last && self.frame == Some(true) {
            self.within = false;
        }
        belongs
    }

    /// Whether another frame may be put in here that ends the conversation.
    fn is_between(&self) -> bool {
        !self.within && !self.within_frame
    }
}

struct Late {
    spread: Spread,
    hit: Arc<Hit>,
    seed: u64,
    messages: Messages,
    held: HeldPieces,
    counted: Option<u64>,
}

impl BodyStage for Late {
    fn push(&mut self, piece: Piece, at: Instant) {
        self.held.push(piece, at);
    }

    fn pull(&mut self, now: Instant) -> Pull {
        let Some((piece, came)) = self.held.front() else { return Pull::Wait(None) };
        if let Piece::Frame(frame) = piece {
            let begins = frame.head.is_some_and(|h| h.opcode < CLOSE) && !self.messages.within;
            let number = self.messages.begun + u64::from(begins);
            let span = self.spread.draw(self.seed, number, self.hit.fault.elapsed(now));
            let due = moment(*came, span);
            if !span.is_zero() {
                self.hit.apply();
            }
            if due.is_none_or(|due| due > now) {
                return Pull::Wait(due);
            }
            if begins && self.counted != Some(number) {
                self.counted = Some(number);
                self.hit.fault.meters.add_late(now.saturating_duration_since(*came));
            }
            self.messages.pass(frame);
        }
        self.held.pop().map_or(Pull::Wait(None), |(piece, _)| Pull::Piece(piece))
    }

    fn room(&self) -> bool {
        self.held.room()
    }

    fn release(&mut self) -> Vec<(Piece, Instant)> {
        self.held.take()
    }
}

/// Drops messages, or changes a byte in them.
struct Chosen {
    chance: Knob,
    hit: Arc<Hit>,
    seed: u64,
    messages: Messages,
    drops: bool,
    /// The current message is hit.
    chosen: bool,
    /// Which byte of the current frame's payload is still to be changed.
    at: Option<u64>,
}

impl Chosen {
    fn choose(&mut self, now: Instant) {
        let u = draw::unit(self.seed, draw::Lane::Share, self.messages.begun);
        self.chosen = u < self.chance.at(self.hit.fault.elapsed(now));
        if self.chosen {
            self.hit.fault.meters.hits.fetch_add(1, Relaxed);
            self.hit.apply();
        }
    }
}

impl Pass for Chosen {
    fn pass(&mut self, piece: Piece, now: Instant, out: &mut VecDeque<Piece>) -> Result<(), Ending> {
        let Piece::Frame(mut frame) = piece else {
            out.push_back(piece);
            return Ok(());
        };
        let before = self.messages.begun;
        let belongs = self.messages.pass(&frame);
        if self.messages.begun != before {
            self.choose(now);
            let length = frame.head.map_or(0, |h| h.length);
            let place = draw::bits(self.seed, draw::Lane::Amount, self.messages.begun);
            self.at = (self.chosen && length > 0).then(|| place % length.max(1));
        }
        if belongs && self.chosen && self.drops {
            return Ok(());
        }
        if let Some(at) = self.at.filter(|_| belongs && !self.drops) {
            let header = frame.head.map_or(0, |h| u64::from(h.size));
            let payload = frame.bytes.len() as u64 - header;
            if at < payload {
                let other = draw::bits(self.seed, draw::Lane::Other(1), self.messages.begun) % 255 + 1;
                let mut bytes = BytesMut::from(frame.bytes);
                bytes[(header + at) as usize] ^= other as u8;
                frame.bytes = bytes.freeze();
                self.at = None;
            } else {
                self.at = Some(at - payload);
            }
        }
        out.push_back(Piece::Frame(frame));
        Ok(())
    }
}

/// Lets some messages pass, and then says goodbye.
struct Closer {
    payload: Bytes,
    after: u64,
    dir: Dir,
    hit: Arc<Hit>,
    seed: u64,
    messages: Messages,
    held: HeldPieces,
    left: VecDeque<Piece>,
    closed: bool,
}

impl BodyStage for Closer {
    fn push(&mut self, piece: Piece, at: Instant) {
        if !self.closed {
            self.held.push(piece, at);
        }
    }

    fn pull(&mut self, now: Instant) -> Pull {
        if let Some(piece) = self.left.pop_front() {
            return Pull::Piece(piece);
        }
        if self.closed {
            return Pull::Wait(None);
        }
        if self.hit.count.load(Relaxed) >= self.after && self.messages.is_between() {
            self.closed = true;
            self.held.take();
            self.hit.apply();
            self.left.push_back(Piece::End);
            let mask = (self.dir == Dir::Up)
                .then(|| (draw::bits(self.seed, draw::Lane::Amount, 0) as u32).to_be_bytes());
            return Pull::Piece(Piece::Frame(close_frame(&self.payload, mask)));
        }
        match self.held.pop() {
            Some((Piece::Frame(frame), _)) => {
                let was_within = self.messages.within;
                self.messages.pass(&frame);
                let begun = frame.head.is_some_and(|h| h.opcode < CLOSE) && !was_within;
                if begun || was_within {
                    // Counted when its last byte passes.
                    self.hit.count.fetch_add(u64::from(!self.messages.within), Relaxed);
                }
                Pull::Piece(Piece::Frame(frame))
            }
            Some((piece, _)) => Pull::Piece(piece),
            None => Pull::Wait(now.checked_add(LOOK_AGAIN)),
        }
    }

    fn room(&self) -> bool {
        self.closed || self.held.room()
    }

    fn release(&mut self) -> Vec<(Piece, Instant)> {
        self.held.take()
    }
}

/// A close frame; what goes to a service is masked, as a client's must be.
fn close_frame(payload: &[u8], mask: Option<[u8; 4]>) -> Frame {
    let mut bytes = BytesMut::with_capacity(6 + payload.len());
    bytes.put_u8(0x80 | CLOSE);
    bytes.put_u8(payload.len() as u8 | if mask.is_some() { 0x80 } else { 0 });
    bytes.extend_from_slice(mask.as_ref().map_or(&[], |m| &m[..]));
    let size = bytes.len() as u8;
    bytes.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask.map_or(0, |m| m[i % 4])));
    let head = FrameHead { size, fin: true, reserved: 0, opcode: CLOSE, mask, length: payload.len() as u64 };
    Frame { head: Some(head), bytes: bytes.freeze(), last: true }
}

#[cfg(test)]
mod tests {
    use super::super::through::bench::{Exchange, drain};
    use super::*;

    /// A frame of text that is not masked.
    fn frame(opcode: u8, fin: bool, text: &str) -> Piece {
        let bytes = [&[opcode, text.len() as u8], text.as_bytes()].concat().into();
        let head = FrameHead { size: 2, fin, reserved: 0, opcode, mask: None, length: text.len() as u64 };
        Piece::Frame(Frame { head: Some(head), bytes, last: true })
    }

    #[test]
    fn whole_messages_are_late_and_in_order() {
        let x = Exchange::new("websocket_delay delay=10ms");
        let mut stage = x.frames(Dir::Down);
        stage.push(frame(1, true, "a"), x.start);
        stage.push(frame(1, false, "b"), x.at(2));
        stage.push(frame(0, true, "c"), x.at(4));
        for (ms, want) in [(9, ""), (10, "a"), (11, ""), (12, "b"), (14, "c")] {
            assert_eq!(drain(&mut *stage, x.at(ms)), want, "{ms}");
        }
        assert!((x.fault.evidence().measured["added_ms_mean"] - 10.0).abs() < 0.01);
    }

    #[test]
    fn messages_are_lost_with_all_their_frames_and_pings_are_not() {
        let x = Exchange::new("websocket_drop chance=50% direction=down");
        assert!(x.with(|f, known| f.frames(&x.hit, Dir::Up, known)).is_none());
        let mut stage = x.frames(Dir::Down);
        for _ in 0..400 {
            stage.push(frame(1, false, "x"), x.start);
            stage.push(frame(9, true, "p"), x.start);
            stage.push(frame(0, true, "y"), x.start);
        }
        let got = drain(&mut *stage, x.start);
        let kept = got.matches("xpy").count();
        assert!((155..=245).contains(&kept), "{kept}");
        assert_eq!(got.len(), 400 + 2 * kept);
        assert_eq!(x.fault.evidence().measured["messages_dropped"], (400 - kept) as f64);
    }

    #[test]
    fn one_byte_of_a_message_is_changed() {
        let x = Exchange::new("websocket_corrupt");
        let mut stage = x.frames(Dir::Down);
        stage.push(frame(2, true, "00000000"), x.start);
        let Pull::Piece(Piece::Frame(got)) = stage.pull(x.start) else { panic!("no frame") };
        assert_eq!(got.bytes[..2], [2, 8]);
        assert_eq!(got.bytes[2..].iter().filter(|b| **b != b'0').count(), 1);
    }

    #[test]
    fn a_close_comes_between_messages_to_both_sides() {
        let x = Exchange::new("websocket_close code=1012 reason=bye after=2");
        let (mut up, mut down) = (x.frames(Dir::Up), x.frames(Dir::Down));
        up.push(frame(1, true, "one"), x.start);
        assert_eq!(drain(&mut *up, x.start), "one");
        down.push(frame(1, false, "tw"), x.start);
        assert_eq!(drain(&mut *down, x.start), "tw");
        down.push(frame(0, true, "o"), x.start);
        down.push(frame(1, true, "never"), x.start);
        assert_eq!(drain(&mut *down, x.start), "o\u{3}\u{fffd}bye.");
        let Pull::Piece(Piece::Frame(close)) = up.pull(x.start) else { panic!("no frame") };
        let mask = close.head.unwrap().mask.unwrap();
        let text: Vec<u8> = close.bytes[6..].iter().enumerate().map(|(i, b)| b ^ mask[i % 4]).collect();
        assert_eq!((&text[..2], &text[2..]), (&1012_u16.to_be_bytes()[..], &b"bye"[..]));
        assert_eq!(up.pull(x.start), Pull::Piece(Piece::End));
        assert_eq!(x.applied(), 1.0);
    }

    #[test]
    fn codes_that_may_not_be_sent_are_refused() {
        let fault = super::super::bench::ordered("websocket_close code=1005");
        assert!(
            crate::armed::Settings::read(&fault, 0).err().unwrap().to_string().contains("may not be sent")
        );
    }
}
