//! Body stages that make of each piece none, one or several, without waiting.

use crate::http::message::Piece;
use crate::http::stage::{BodyStage, HeldPieces, Pull};
use crate::http::wire::Ending;
use std::collections::VecDeque;
use std::time::Instant;

/// What is done to each piece in its turn.
pub(super) trait Pass: Send {
    /// Adds to `out` what becomes of the piece, or says that the message breaks off. After an end nothing more comes.
    fn pass(&mut self, piece: Piece, now: Instant, out: &mut VecDeque<Piece>) -> Result<(), Ending>;

    /// What it has kept of earlier pieces, when it is over.
    fn give_up(&mut self) -> Vec<Piece> {
        Vec::new()
    }
}

/// The stage around it.
pub(super) struct Through<P> {
    pass: P,
    held: HeldPieces,
    out: VecDeque<Piece>,
    breaks: Option<Ending>,
    ended: bool,
}

impl<P: Pass + 'static> Through<P> {
    pub(super) fn stage(pass: P) -> Option<Box<dyn BodyStage>> {
        let (held, out) = (HeldPieces::default(), VecDeque::new());
        Some(Box::new(Through { pass, held, out, breaks: None, ended: false }))
    }
}

impl<P: Pass> BodyStage for Through<P> {
    fn push(&mut self, piece: Piece, at: Instant) {
        if !self.ended {
            self.held.push(piece, at);
        }
    }

    fn pull(&mut self, now: Instant) -> Pull {
        // Here and not when it comes: what is held when the fault is changed must not be changed twice.
        loop {
            if let Some(piece) = self.out.pop_front() {
                return Pull::Piece(piece);
            }
            if let Some(ending) = self.breaks {
                return Pull::Break(ending);
            }
            let Some((piece, _)) = self.held.pop() else { return Pull::Wait(None) };
            match self.pass.pass(piece, now, &mut self.out) {
                Ok(()) => {}
                Err(ending) => self.breaks = Some(ending),
            }
            if self.breaks.is_some() || self.out.back() == Some(&Piece::End) {
                self.ended = true;
                self.held.take();
            }
        }
    }

    fn room(&self) -> bool {
        self.ended || self.held.room()
    }

    fn release(&mut self) -> Vec<(Piece, Instant)> {
        let now = Instant::now();
        let kept = self.out.drain(..).chain(self.pass.give_up()).map(|piece| (piece, now));
        kept.collect::<Vec<_>>().into_iter().chain(self.held.take()).collect()
    }
}

/// What the tests of body stages share.
#[cfg(test)]
pub(super) mod bench {
    use super::super::{Act, Known, RequestFault, bench::armed};
    use super::*;
    use crate::armed::Armed;
    use crate::chain::Dir;
    use crate::http::hit::Hit;
    use crate::http::message::{RequestHead, ResponseHead};
    use bytes::Bytes;
    use model::matcher::Facts;
    use std::sync::Arc;
    use std::time::Duration;

    /// A request for a WebSocket, so that every fault is for it that needs no more.
    struct Plain;
    impl Facts for Plain {
        fn header(&self, name: &str) -> Option<&str> {
            (name == "upgrade").then_some("websocket")
        }
    }

    /// A fault, a request that it has, and the heads.
    pub(crate) struct Exchange {
        pub(crate) fault: Arc<Armed>,
        pub(crate) hit: Arc<Hit>,
        pub(crate) request: RequestHead,
        pub(crate) response: ResponseHead,
        pub(crate) start: Instant,
    }

    impl Exchange {
        /// The fault as `name key=value …`.
        pub(crate) fn new(words: &str) -> Exchange {
            Exchange::asked(words, &Plain)
        }

        pub(crate) fn asked(words: &str, facts: &dyn Facts) -> Exchange {
            let (fault, start) = (armed(words, 1), Instant::now());
            let hit = Hit::take(&fault, facts, start).unwrap();
            Exchange { fault, hit, request: RequestHead::default(), response: ResponseHead::default(), start }
        }

        /// With the fault itself.
        pub(crate) fn with<T>(&self, does: impl FnOnce(&dyn RequestFault, &Known<'_>) -> T) -> T {
            let known = Known { request: &self.request, response: Some(&self.response) };
            match &self.fault.settings().act {
                Act::Request(fault) => does(&**fault, &known),
                Act::Stream(_) | Act::Handshake(_) => panic!("not about requests"),
            }
        }

        pub(crate) fn stage(&self, dir: Dir) -> Box<dyn BodyStage> {
            self.with(|fault, known| fault.stage(&self.hit, dir, known)).expect("a stage")
        }

        pub(crate) fn frames(&self, dir: Dir) -> Box<dyn BodyStage> {
            self.with(|fault, known| fault.frames(&self.hit, dir, known)).expect("a stage")
        }

        pub(crate) fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        pub(crate) fn applied(&self) -> f64 {
            self.fault.evidence().applied as f64
        }
    }

    pub(crate) fn data(text: &str) -> Piece {
        Piece::Data(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// What comes out at that time: data as text, trailers as `[…]`, the end as `.`, a break as `<…>`, waiting as nothing.
    pub(crate) fn drain(stage: &mut dyn BodyStage, now: Instant) -> String {
        let mut text = String::new();
        loop {
            match stage.pull(now) {
                Pull::Piece(Piece::Data(bytes)) => text.push_str(&String::from_utf8_lossy(&bytes)),
                Pull::Piece(Piece::Frame(frame)) => {
                    let header = frame.head.map_or(0, |h| usize::from(h.size));
                    text.push_str(&String::from_utf8_lossy(&frame.bytes[header..]));
                }
                Pull::Piece(Piece::Trailers(headers)) => {
                    let names: Vec<_> =
                        headers.iter().map(|(n, v)| format!("{n}={}", String::from_utf8_lossy(v))).collect();
                    text.push_str(&format!("[{}]", names.join(" ")));
                }
                Pull::Piece(Piece::End) => text.push('.'),
                Pull::Wait(_) => return text,
                Pull::Break(ending) => return format!("{text}<{ending:?}>"),
            }
        }
    }
}
