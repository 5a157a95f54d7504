//! A gate in the server's side of a handshake: what comes before the named step passes, the rest waits until it is opened.
//!
//! It sees records. Messages of an encrypted handshake cannot be told apart by whoever has no keys: where the server is
//! ours its records are made small and the last of the flight waits; where it is the service, records are counted.

use super::hello::{APPLICATION_DATA, HANDSHAKE, HEADER};
use crate::net::Stream;
use bytes::{Buf, BufMut, BytesMut};
use futures::task::AtomicWaker;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::task::AbortHandle;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
/// Of a service's encrypted handshake: EncryptedExtensions and Certificate, where each has a record of its own.
const ENCRYPTED_TO_CERTIFICATE: usize = 2;

/// After what nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Our answer: there is none. The gate has nothing to do with it, for then nothing is even begun.
    ClientHello,
    /// The ServerHello.
    ServerHello,
    /// The Certificate.
    Certificate,
    /// The client's Finished.
    Finished,
}

impl Step {
    /// By its word in the catalogue.
    pub(crate) fn find(word: &str) -> Option<Step> {
        Some(match word {
            "client_hello" => Step::ClientHello,
            "server_hello" => Step::ServerHello,
            "certificate" => Step::Certificate,
            "finished" => Step::Finished,
            _ => return None,
        })
    }
}

/// What opens a gate, from elsewhere.
#[derive(Default)]
pub(crate) struct Latch {
    open: AtomicBool,
    waker: AtomicWaker,
}

impl Latch {
    /// Opens it, for good.
    pub(crate) fn open(&self) {
        self.open.store(true, Release);
        self.waker.wake();
    }
}

/// The gate.
pub(crate) struct Gate {
    latch: Arc<Latch>,
    step: Step,
    /// The server is ours, so that it is known where its flights end.
    ours: bool,
    /// Not judged yet, or waiting.
    held: BytesMut,
    /// On its way out.
    out: BytesMut,
    shut: bool,
    message: Message,
    encrypted: usize,
    client_answered: bool,
    /// The task that opens it.
    keeper: Option<AbortHandle>,
}

/// Where in a handshake message the stream is.
#[derive(Default)]
struct Message {
    head: Vec<u8>,
    left: usize,
}

impl Message {
    /// Goes over the payload of a record to behind the first message of that kind; none when it does not end in it.
    fn find(&mut self, kind: u8, payload: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < payload.len() {
            if self.head.len() < 4 {
                self.head.push(payload[at]);
                at += 1;
                if self.head.len() < 4 {
                    continue;
                }
                let [_, a, b, c] = [self.head[0], self.head[1], self.head[2], self.head[3]];
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            }
            let n = self.left.min(payload.len() - at);
            at += n;
            self.left -= n;
            if self.left == 0 {
                let found = self.head[0] == kind;
                self.head.clear();
                if found {
                    return Some(at);
                }
            }
        }
        None
    }
}

impl Gate {
    /// A gate after that step, with the task that opens it.
    pub(crate) fn new(latch: Arc<Latch>, step: Step, ours: bool, keeper: Option<AbortHandle>) -> Gate {
        Gate {
            latch,
            step,
            ours,
            held: BytesMut::new(),
            out: BytesMut::new(),
            shut: false,
            message: Message::default(),
            encrypted: 0,
            client_answered: false,
            keeper,
        }
    }

    /// Whether the step has come, and nothing more is taken.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut
    }

    /// Takes what the server sends.
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.held.extend_from_slice(data);
        self.judge();
    }

    /// What the client has sent meanwhile.
    pub(crate) fn client_sent(&mut self, bytes: &[u8]) {
        // A second ClientHello, after a HelloRetryRequest, is not yet the client's answer.
        let retries = bytes.first() == Some(&HANDSHAKE) && bytes.get(HEADER) == Some(&CLIENT_HELLO);
        if !bytes.is_empty() && !retries {
            self.client_answered = true;
        }
    }

    /// The server has nothing more to send for now.
    pub(crate) fn flight_ended(&mut self) {
        if self.step != Step::Certificate || !self.ours || self.shut {
            return;
        }
        let mut last = None;
        let mut at = 0;
        while let Some(n) = record(&self.held[at..]) {
            last = Some((at, self.held[at]));
            at += n;
        }
        if let Some((at, APPLICATION_DATA)) = last {
            self.out.put(self.held.split_to(at));
            self.shut = true;
        }
    }

    /// Writes what may go; ready with true when the gate is open and nothing is left in it.
    pub(crate) fn drain(&mut self, cx: &mut Context<'_>, socket: &mut Stream) -> Poll<io::Result<bool>> {
        self.latch.waker.register(cx.waker());
        let open = self.latch.open.load(Acquire);
        if open {
            self.out.put(self.held.split());
        }
        while !self.out.is_empty() {
            let n = ready!(Pin::new(&mut *socket).poll_write(cx, &self.out))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(n);
        }
        Poll::Ready(Ok(open))
    }

    fn judge(&mut self) {
        while !self.shut {
            if self.step == Step::Finished {
                if self.client_answered {
                    self.shut = true;
                } else {
                    self.out.put(self.held.split());
                }
                return;
            }
            let Some(n) = record(&self.held) else { return };
            match self.held[0] {
                HANDSHAKE => {
                    let kind = if self.step == Step::ServerHello { SERVER_HELLO } else { CERTIFICATE };
                    match self.message.find(kind, &self.held[HEADER..n]) {
                        None => self.out.put(self.held.split_to(n)),
                        Some(end) => {
                            self.cut(n, end);
                            self.shut = true;
                        }
                    }
                }
                APPLICATION_DATA if self.step == Step::ServerHello => self.shut = true,
                // Judged when the flight ends.
                APPLICATION_DATA if self.ours => return,
                APPLICATION_DATA => {
                    self.encrypted += 1;
                    self.out.put(self.held.split_to(n));
                    self.shut = self.encrypted >= ENCRYPTED_TO_CERTIFICATE;
                }
                _ => self.out.put(self.held.split_to(n)),
            }
        }
    }

    /// Lets the first `end` bytes of a record's payload out as a record of their own; the rest stays as another.
    fn cut(&mut self, n: usize, end: usize) {
        let payload = n - HEADER;
        let [kind, major, minor] = [self.held[0], self.held[1], self.held[2]];
        self.out.put_slice(&[kind, major, minor]);
        self.out.put_u16(end as u16);
        self.held.advance(HEADER);
        self.out.put(self.held.split_to(end));
        if end < payload {
            let mut rest = BytesMut::with_capacity(self.held.len() + HEADER);
            rest.put_slice(&[kind, major, minor]);
            rest.put_u16((payload - end) as u16);
            rest.put(self.held.split());
            self.held = rest;
        }
    }
}

/// The length of the record at the beginning, when it is whole.
fn record(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..HEADER)?;
    let n = HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
    (bytes.len() >= n).then_some(n)
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rec(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 3, 3, 0, payload.len() as u8];
        out.extend_from_slice(payload);
        out
    }

    fn msg(kind: u8, n: u8) -> Vec<u8> {
        let mut out = vec![kind, 0, 0, n];
        out.extend(std::iter::repeat_n(kind, usize::from(n)));
        out
    }

    fn gate(step: Step, ours: bool) -> Gate {
        Gate::new(Arc::default(), step, ours, None)
    }

    #[test]
    fn messages_in_one_record_are_cut_apart() {
        let flight = rec(22, &[msg(2, 10), msg(11, 20), msg(12, 5)].concat());
        for (step, want) in [(Step::ServerHello, 14), (Step::Certificate, 38)] {
            for size in [1, 3, 100] {
                let mut gate = gate(step, true);
                flight.chunks(size).for_each(|part| gate.push(part));
                assert!(gate.is_shut());
                assert_eq!(record(&gate.out), Some(HEADER + want));
                assert_eq!(gate.out.len() + gate.held.len(), flight.len() + HEADER);
                assert_eq!(record(&gate.held), Some(gate.held.len()));
            }
        }
    }

    #[test]
    fn encrypted_flights() {
        let hello = rec(22, &msg(2, 10));
        let flight =
            [hello.clone(), rec(20, &[1]), rec(23, &[0; 30]), rec(23, &[1; 30]), rec(23, &[2; 30])].concat();
        let mut ours = gate(Step::Certificate, true);
        ours.push(&flight);
        assert!(!ours.is_shut());
        ours.flight_ended();
        assert!(ours.is_shut() && ours.held.len() == 35);
        let mut theirs = gate(Step::Certificate, false);
        theirs.push(&flight);
        assert!(theirs.is_shut() && theirs.held.len() == 35);
        let mut early = gate(Step::ServerHello, false);
        early.push(&flight);
        assert_eq!((early.is_shut(), &early.out[..]), (true, &hello[..]));
    }

    #[test]
    fn finished_waits_for_the_clients_answer() {
        let mut gate = gate(Step::Finished, true);
        gate.client_sent(&rec(22, &msg(CLIENT_HELLO, 40)));
        gate.push(&[1; 50]);
        assert!(!gate.is_shut() && gate.out.len() == 50);
        gate.client_sent(&rec(20, &[1]));
        gate.push(&[2; 50]);
        assert!(gate.is_shut() && gate.held.len() == 50);
    }
}
