//! HTTP/1.1 on one connection, on the client's side and on the service's: what is read of it and what is written to it.
//!
//! Nothing here is a task. Who waits holds no buffer: input that is all used and output that is all written go back.

pub(crate) mod chunked;
mod client;
pub(crate) mod encode;
pub(crate) mod framing;
pub(crate) mod head;
mod read;
pub(crate) mod room;
mod service;
mod write;

use bytes::{Bytes, BytesMut};
use framing::Body;
use read::Reading;
use tokio::io::{AsyncRead, AsyncWrite};
use write::Writing;

/// A byte stream.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// One connection.
pub(crate) struct H1<T> {
    io: T,
    // What was read and not used yet.
    input: BytesMut,
    scanned: usize,
    ended: bool,
    want: usize,
    reading: Reading,
    // What is to be written: first the text, then the bytes, then what ends a chunk.
    output: Vec<u8>,
    written: usize,
    tail: Bytes,
    after: &'static [u8],
    allowed: Option<usize>,
    writing: Writing,
    /// Whether a byte of the present message has left.
    begun: bool,
    /// What the client's request said of the connection.
    hop: super::hop::Hop,
    old: bool,
    /// Whether the connection can carry another message behind this one.
    pub(crate) keep: bool,
    announced: Body,
    how: Option<super::wire::Ending>,
}

impl<T: Io> H1<T> {
    /// Nothing was read or written yet.
    pub(crate) fn new(io: T) -> H1<T> {
        H1 {
            io,
            input: BytesMut::new(),
            scanned: 0,
            ended: false,
            want: room::SMALLEST,
            reading: Reading::Done,
            output: Vec::new(),
            written: 0,
            tail: Bytes::new(),
            after: b"",
            allowed: None,
            writing: Writing::Done,
            begun: false,
            hop: super::hop::Hop::default(),
            old: false,
            keep: true,
            announced: Body::None,
            how: None,
        }
    }

    /// The stream, and what was read of it and not used.
    pub(crate) fn into_parts(self) -> (T, BytesMut) {
        (self.io, self.input)
    }

    /// The stream.
    pub(crate) fn io(&mut self) -> &mut T {
        &mut self.io
    }

    /// Whether a byte of the present message has left.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// How the connection is to end, when that was said.
    pub(crate) fn ending(&self) -> Option<super::wire::Ending> {
        self.how
    }

    /// Gives back what is not needed while nothing passes.
    fn rest(&mut self) {
        if self.input.is_empty() {
            room::give_input(std::mem::take(&mut self.input));
            self.scanned = 0;
            self.want = room::SMALLEST;
        }
        if self.written == self.output.len() {
            room::give_output(std::mem::take(&mut self.output));
            self.written = 0;
        }
    }
}
