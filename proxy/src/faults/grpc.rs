//! `grpc_status`: calls end with a status, at once or after some messages.

use super::through::{Pass, Through};
use super::{Act, Known, Point, RequestFault, given};
use crate::armed::Meters;
use crate::chain::Dir;
use crate::http::headers::Headers;
use crate::http::hit::Hit;
use crate::http::message::{Answer, Piece};
use crate::http::stage::BodyStage;
use crate::http::wire::Ending;
use crate::knob::Dials;
use bytes::Bytes;
use http::StatusCode;
use model::Problem;
use model::catalogue::requests::GRPC_CODES;
use model::matcher::Facts;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

struct GrpcStatus {
    code: usize,
    message: String,
    after: u64,
    mark: bool,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let params = dials.fixed();
    let code = params.text("code").and_then(|name| GRPC_CODES.iter().position(|c| *c == name)).unwrap_or(14);
    let message = encoded(params.text("message").unwrap_or_default());
    let after = params.int("after").and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    Ok(Act::Request(Box::new(GrpcStatus { code, message, after, mark: params.flag("mark") })))
}

/// An answer that is trailers alone, as gRPC has it.
pub(super) fn trailers_only(code: usize, message: &str) -> Headers {
    let mut headers: Headers =
        [("content-type", "application/grpc"), ("grpc-status", &*code.to_string())].into_iter().collect();
    if !message.is_empty() {
        headers.append("grpc-message", message);
    }
    headers
}

impl RequestFault for GrpcStatus {
    fn is_for(&self, facts: &dyn Facts) -> bool {
        facts.header("content-type").is_some_and(|v| v.starts_with("application/grpc"))
    }

    fn answer(&self, point: Point, hit: &Hit, _known: &Known<'_>) -> Option<Answer> {
        if point != Point::Request || self.after > 0 {
            return None;
        }
        let mut headers = trailers_only(self.code, &self.message);
        if self.mark {
            given::mark(&mut headers, &hit.fault.id);
        }
        Some(Answer { status: StatusCode::OK, headers, body: Bytes::new(), trailers: None })
    }

    fn stage(&self, hit: &Arc<Hit>, dir: Dir, _known: &Known<'_>) -> Option<Box<dyn BodyStage>> {
        if dir != Dir::Down || self.after == 0 {
            return None;
        }
        let mut trailers = Headers::new();
        trailers.append("grpc-status", self.code.to_string());
        if !self.message.is_empty() {
            trailers.append("grpc-message", &self.message);
        }
        if self.mark {
            given::mark(&mut trailers, &hit.fault.id);
        }
        let messages = Messages { left: self.after, prefix: Vec::new(), body: 0 };
        Through::stage(EndsEarly { messages, trailers: Some(trailers), hit: hit.clone() })
    }

    fn keeps_length(&self, dir: Dir) -> bool {
        dir == Dir::Up || self.after == 0
    }

    fn acts_on_bodies(&self) -> bool {
        self.after > 0
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("calls_ended", meters.applied.load(Relaxed) as f64)])
    }
}

/// Where one is among length-prefixed messages: a flag, four bytes of length, the message.
struct Messages {
    left: u64,
    prefix: Vec<u8>,
    body: u64,
}

impl Messages {
    /// How many of these bytes belong to the messages that still pass.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.body > 0 {
                let n = self.body.min((bytes.len() - at) as u64);
                self.body -= n;
                at += n as usize;
            } else if self.prefix.is_empty() && self.left == 0 {
                return at;
            } else {
                self.prefix.push(bytes[at]);
                at += 1;
                if let [_, a, b, c, d] = self.prefix[..] {
                    self.body = u32::from_be_bytes([a, b, c, d]).into();
                    self.prefix.clear();
                    self.left -= 1;
                }
            }
        }
        at
    }

    fn are_over(&self) -> bool {
        self.left == 0 && self.body == 0 && self.prefix.is_empty()
    }
}

/// Ends a call after some of its messages.
struct EndsEarly {
    messages: Messages,
    trailers: Option<Headers>,
    hit: Arc<Hit>,
}

impl Pass for EndsEarly {
    fn pass(&mut self, piece: Piece, _now: Instant, out: &mut VecDeque<Piece>) -> Result<(), Ending> {
        let Piece::Data(mut bytes) = piece else {
            // It ended by itself before.
            out.push_back(piece);
            return Ok(());
        };
        bytes.truncate(self.messages.pass(&bytes));
        if !bytes.is_empty() {
            out.push_back(Piece::Data(bytes));
        }
        if self.messages.are_over()
            && let Some(trailers) = self.trailers.take()
        {
            self.hit.apply();
            out.push_back(Piece::Trailers(trailers));
            out.push_back(Piece::End);
        }
        Ok(())
    }
}

/// `grpc-message` is percent-encoded (gRPC over HTTP/2, "Responses").
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        match b {
            b' '..=b'~' if b != b'%' => out.push(b as char),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::through::bench::{Exchange, drain};
    use super::*;

    struct Call;
    impl Facts for Call {
        fn header(&self, name: &str) -> Option<&str> {
            (name == "content-type").then_some("application/grpc")
        }
    }

    fn message(text: &str) -> Vec<u8> {
        [&[0, 0, 0, 0, text.len() as u8], text.as_bytes()].concat()
    }

    #[test]
    fn a_call_is_answered_at_once() {
        let x = Exchange::asked("grpc_status code=NOT_FOUND message=no,100%", &Call);
        let answer = x.with(|f, known| f.answer(Point::Request, &x.hit, known)).unwrap();
        assert_eq!(answer.headers.text("grpc-status"), Some("5"));
        assert_eq!(answer.headers.text("grpc-message"), Some("no,100%25"));
        assert_eq!(answer.headers.text("x-murphy-fault"), Some("f1"));
    }

    #[test]
    fn or_after_some_messages_however_they_are_cut() {
        let all = [message("one"), message(""), message("three")].concat();
        for cut in 1..all.len() {
            let x = Exchange::asked("grpc_status after=2 mark=false", &Call);
            let mut stage = x.stage(Dir::Down);
            for part in all.chunks(cut) {
                stage.push(Piece::Data(Bytes::copy_from_slice(part)), x.start);
            }
            let got = drain(&mut *stage, x.start);
            assert_eq!(got, "\0\0\0\0\u{3}one\0\0\0\0\0[grpc-status=14].", "{cut}");
            assert_eq!(x.applied(), 1.0);
        }
    }

    #[test]
    fn other_requests_are_not_for_it() {
        struct Plain;
        impl Facts for Plain {}
        let x = Exchange::asked("grpc_status", &Call);
        assert!(Hit::take(&x.fault, &Plain, x.start).is_none());
        assert_eq!(x.fault.evidence().considered, 1);
    }
}
