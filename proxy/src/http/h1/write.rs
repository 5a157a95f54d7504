//! Writing: what was encoded, and bodies piece by piece.

use super::chunked::Chunked;
use super::framing::Body;
use super::{H1, Io, room};
use crate::http::message::Piece;
use crate::http::side::{Broken, Raw};
use crate::http::wire::Malformed;
use bytes::Bytes;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Up to this size bytes are copied behind what is to be written already.
const COPY_UP_TO: usize = 8 * 1024;
/// With so much to be written, nothing more is taken.
const ENOUGH: usize = 16 * 1024;

/// Where in a body the writer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// Nothing is to be written: there is no body, or it is over.
    Done,
    /// A body that nobody gets: the answer to HEAD.
    Nothing,
    Length(u64),
    /// So many bytes are left of the chunk that was begun; none means that what ends it is due.
    Chunked {
        open: Option<u64>,
        trailers: bool,
        malformed: Option<Malformed>,
    },
    Close,
}

impl<T: Io> H1<T> {
    /// Says how the body goes that is written from now on.
    pub(super) fn begin(&mut self, body: Body, malformed: Option<Malformed>) {
        self.writing = match body {
            Body::None => Writing::Nothing,
            Body::Length(n) => Writing::Length(n),
            Body::Chunked => Writing::Chunked { open: None, trailers: false, malformed },
            Body::Close | Body::Stream | Body::Tunnel => Writing::Close,
        };
    }

    /// Whether the body that is written ends with its connection.
    pub(super) fn is_until_close(&self) -> bool {
        self.writing == Writing::Close
    }

    /// What is to be written, to add to it.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        if self.output.capacity() == 0 {
            self.output = room::output();
        }
        &mut self.output
    }

    /// Whether the body was written to its end.
    pub(crate) fn is_written(&self) -> bool {
        self.writing == Writing::Done
    }

    /// Whether everything that was encoded has left.
    pub(crate) fn is_drained(&self) -> bool {
        self.written == self.output.len() && self.tail.is_empty() && self.after.is_empty()
    }

    /// Sets aside how much may leave.
    pub(super) fn set_allowed(&mut self, bytes: Option<usize>) {
        self.allowed = bytes;
    }

    /// Whether bytes wait that may not leave.
    pub(super) fn is_held_back(&self) -> bool {
        self.allowed == Some(0) && !self.is_drained()
    }

    /// Writes what is to be written. Ready when nothing is left that may leave.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            let text = &self.output[self.written..];
            let n = match (self.allowed, text.is_empty(), self.tail.is_empty()) {
                (Some(0), ..) => return Poll::Ready(Ok(())),
                (Some(most), false, _) => {
                    let n = ready!(Pin::new(&mut self.io).poll_write(cx, &text[..text.len().min(most)]))?;
                    self.allowed = Some(most - n);
                    n
                }
                (_, true, true) if self.after.is_empty() => {
                    if self.written > 0 {
                        self.output.clear();
                        self.written = 0;
                    }
                    return Poll::Ready(Ok(()));
                }
                (_, false, true) if self.after.is_empty() => {
                    ready!(Pin::new(&mut self.io).poll_write(cx, text))?
                }
                _ => {
                    let parts = [IoSlice::new(text), IoSlice::new(&self.tail), IoSlice::new(self.after)];
                    let begin = parts.iter().position(|p| !p.is_empty()).unwrap_or(0);
                    let parts = &parts[begin..];
                    if self.io.is_write_vectored() {
                        ready!(Pin::new(&mut self.io).poll_write_vectored(cx, parts))?
                    } else {
                        ready!(Pin::new(&mut self.io).poll_write(cx, &parts[0]))?
                    }
                }
            };
            if n == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.begun = true;
            self.drained(n);
        }
    }

    fn drained(&mut self, n: usize) {
        let of_text = n.min(self.output.len() - self.written);
        self.written += of_text;
        let of_tail = (n - of_text).min(self.tail.len());
        if of_tail > 0 {
            drop(self.tail.split_to(of_tail));
        }
        self.after = &self.after[n - of_text - of_tail..];
    }

    /// Ready when there is room for more.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.tail.is_empty() && self.after.is_empty() && self.output.len() - self.written < ENOUGH {
            return Poll::Ready(Ok(()));
        }
        self.poll_drain(cx)
    }

    /// Adds a piece of the body.
    pub(super) fn put(&mut self, piece: Piece) -> Result<(), Broken> {
        match piece {
            Piece::Data(bytes) => self.put_data(bytes),
            Piece::Frame(frame) => self.put_data(frame.bytes),
            Piece::Trailers(lines) => {
                if let Writing::Chunked { open: None | Some(0), trailers, malformed } = self.writing
                    && !trailers
                {
                    self.end_chunk();
                    self.last_chunk(malformed);
                    if malformed != Some(Malformed::NoLastChunk) {
                        lines.write(self.output());
                    }
                    self.writing = Writing::Chunked { open: None, trailers: true, malformed };
                }
                Ok(())
            }
            Piece::End => self.put_end(),
        }
    }

    fn put_data(&mut self, bytes: Bytes) -> Result<(), Broken> {
        match self.writing {
            Writing::Done | Writing::Nothing => Ok(()),
            Writing::Close => {
                self.put_bytes(bytes);
                Ok(())
            }
            Writing::Length(rest) => {
                let n = rest.min(bytes.len() as u64);
                self.writing = Writing::Length(rest - n);
                self.put_bytes(bytes.slice(..n as usize));
                Ok(())
            }
            Writing::Chunked { .. } => {
                self.put_chunks(bytes);
                Ok(())
            }
        }
    }

    fn put_chunks(&mut self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let Writing::Chunked { open, trailers: false, malformed } = self.writing else { return };
            let rest = match open {
                Some(0) => {
                    self.end_chunk();
                    continue;
                }
                Some(rest) => rest,
                None => {
                    let size = bytes.len();
                    self.flatten();
                    let out = self.output();
                    match malformed {
                        Some(Malformed::ChunkSize) => out.extend_from_slice(b"not-a-size\r\n"),
                        _ => hex_line(out, size),
                    }
                    size as u64
                }
            };
            let n = rest.min(bytes.len() as u64);
            self.put_bytes(bytes.split_to(n as usize));
            self.writing = Writing::Chunked { open: Some(rest - n), trailers: false, malformed };
            if rest == n {
                self.end_chunk();
            }
        }
    }

    /// Writes what ends a chunk, if one is open and has all its bytes.
    fn end_chunk(&mut self) {
        if let Writing::Chunked { open: Some(0), trailers, malformed } = self.writing {
            if malformed != Some(Malformed::ChunkEnd) {
                if self.tail.is_empty() {
                    self.output().extend_from_slice(b"\r\n");
                } else {
                    self.after = b"\r\n";
                }
            }
            self.writing = Writing::Chunked { open: None, trailers, malformed };
        }
    }

    fn last_chunk(&mut self, malformed: Option<Malformed>) {
        self.flatten();
        if malformed != Some(Malformed::NoLastChunk) {
            self.output().extend_from_slice(b"0\r\n");
        }
    }

    fn put_end(&mut self) -> Result<(), Broken> {
        let short = || Err(Broken::new("less of the body came than was announced"));
        match self.writing {
            Writing::Length(rest) if rest > 0 => return short(),
            Writing::Chunked { open: Some(rest), .. } if rest > 0 => return short(),
            Writing::Chunked { trailers, malformed, .. } => {
                self.end_chunk();
                if !trailers {
                    self.last_chunk(malformed);
                }
                if malformed != Some(Malformed::NoLastChunk) {
                    self.output().extend_from_slice(b"\r\n");
                }
            }
            _ => {}
        }
        self.writing = Writing::Done;
        Ok(())
    }

    /// Adds chunks as they are.
    pub(super) fn put_raw(&mut self, raw: Raw) {
        if let Writing::Chunked { trailers, malformed, .. } = self.writing {
            let open = match raw.after {
                Chunked::Data(rest) => Some(rest),
                Chunked::End => Some(0),
                Chunked::Size | Chunked::Last => None,
            };
            self.put_bytes(raw.bytes);
            self.writing = Writing::Chunked { open, trailers, malformed };
        }
    }

    /// Whether chunks can be added as they are.
    pub(super) fn takes_chunks(&self) -> bool {
        matches!(self.writing, Writing::Chunked { malformed: None, trailers: false, .. })
    }

    fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_UP_TO || !self.tail.is_empty() {
            self.flatten();
            self.output().extend_from_slice(&bytes);
        } else {
            self.tail = bytes;
        }
    }

    /// What stands behind the text becomes part of it, so that more can be added.
    fn flatten(&mut self) {
        if self.tail.is_empty() && self.after.is_empty() {
            return;
        }
        let (tail, after) = (std::mem::take(&mut self.tail), std::mem::take(&mut self.after));
        let out = self.output();
        out.extend_from_slice(&tail);
        out.extend_from_slice(after);
    }
}

fn hex_line(out: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        out.push(b"0123456789abcdef"[size >> (at * 4) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_hexadecimal() {
        for size in [1, 9, 10, 15, 16, 255, 256, 65_535, 1_048_576] {
            let mut out = Vec::new();
            hex_line(&mut out, size);
            assert_eq!(out, format!("{size:x}\r\n").as_bytes());
        }
    }
}
