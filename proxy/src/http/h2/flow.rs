//! Bodies on streams of HTTP/2, with its flow control: no more is asked for than the other side takes.

use crate::http::headers::Headers;
use crate::http::message::Piece;
use crate::http::side::Broken;
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use std::task::{Context, Poll, ready};

/// A body that comes.
pub(crate) struct Coming {
    stream: RecvStream,
    /// Data is over.
    trailing: bool,
    over: bool,
}

impl Coming {
    /// The body of that stream.
    pub(crate) fn new(stream: RecvStream) -> Coming {
        Coming { stream, trailing: false, over: false }
    }

    /// Whether its end has been told.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether nothing comes any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// The next piece.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        if self.over {
            return Poll::Pending;
        }
        while !self.trailing {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    // Asked for again only now, when the receiver takes it: it feels what the receiver feels.
                    let _ = self.stream.flow_control().release_capacity(bytes.len());
                    if !bytes.is_empty() {
                        return Poll::Ready(Ok(Piece::Data(bytes)));
                    }
                }
                // What a service says with NO_ERROR is that it has enough (RFC 9113, section 8.1).
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => self.trailing = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(map)) => Poll::Ready(Ok(Piece::Trailers(Headers::from_map(&map)))),
            Ok(None) => {
                self.over = true;
                Poll::Ready(Ok(Piece::End))
            }
            Err(error) => Poll::Ready(Err(broken(&error))),
        }
    }
}

/// A body that goes.
pub(crate) struct Going {
    stream: SendStream<Bytes>,
    /// Something of it was sent.
    begun: bool,
    over: bool,
}

impl Going {
    /// The body of that stream; `over` when its head was the end.
    pub(crate) fn new(stream: SendStream<Bytes>, over: bool) -> Going {
        Going { stream, begun: false, over }
    }

    /// Whether its end was sent.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Ready when the other side takes more.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.over {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(reset) = self.stream.poll_reset(cx) {
            return Poll::Ready(Err(of_reset(reset)));
        }
        // The first piece asks for what it needs. A byte asked for in advance is what it would get where many streams
        // share a connection whose window is small: a frame of one byte each, which clients take for an attack.
        if !self.begun {
            return Poll::Ready(Ok(()));
        }
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => return Poll::Ready(Err(Broken::new("the stream takes no more"))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the other side has given the stream up.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        self.stream.poll_reset(cx).map(of_reset)
    }

    /// Takes a piece.
    pub(crate) fn send(&mut self, piece: Piece) -> Result<(), Broken> {
        if self.over {
            return Ok(());
        }
        self.begun = true;
        let sent = match piece {
            Piece::Data(bytes) => self.stream.send_data(bytes, false),
            Piece::Frame(frame) => self.stream.send_data(frame.bytes, false),
            Piece::Trailers(headers) => {
                self.over = true;
                let map: HeaderMap = headers.to_map();
                match map.is_empty() {
                    // Nothing of them may be passed on. An empty header block ends the whole connection with some services.
                    true => self.stream.send_data(Bytes::new(), true),
                    false => self.stream.send_trailers(map),
                }
            }
            Piece::End => {
                self.over = true;
                self.stream.send_data(Bytes::new(), true)
            }
        };
        sent.map_err(|e| broken(&e))
    }

    /// Takes the last data with the end, in one frame.
    pub(crate) fn send_last(&mut self, data: Bytes) -> Result<(), Broken> {
        if self.over {
            return Ok(());
        }
        self.over = true;
        self.stream.send_data(data, true).map_err(|e| broken(&e))
    }

    /// Gives the stream up.
    pub(crate) fn reset(&mut self, code: u32) {
        self.over = true;
        self.stream.send_reset(Reason::from(code));
    }
}

fn of_reset(reset: Result<Reason, h2::Error>) -> Broken {
    match reset {
        Ok(reason) => {
            Broken { why: format!("the stream was reset: {reason}"), reset: Some(reason.into()), rst: false }
        }
        Err(error) => broken(&error),
    }
}

/// As our own error.
pub(crate) fn broken(error: &h2::Error) -> Broken {
    let rst = error.get_io().is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset);
    let reset = error.reason().filter(|_| error.is_reset()).map(u32::from);
    Broken { why: error.to_string(), reset, rst }
}
