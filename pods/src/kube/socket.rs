//! A WebSocket (RFC 6455), as far as channels of the API server need it: messages of bytes, one after the other.

use bytes::{Buf, BytesMut};
use std::io::{self, ErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// No message of a channel is that long.
const LARGEST: u64 = 16 << 20;

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The reading half: what came, and the message that is not whole yet.
#[derive(Debug)]
pub(super) struct Reader<R> {
    io: R,
    buffer: BytesMut,
    message: BytesMut,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A message.
    Message(BytesMut),
    /// A question whether we are there, to be answered with the same words.
    Ping(BytesMut),
    /// The end, with its reason if there is one.
    Close(String),
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Of a connection that has been upgraded.
    pub(super) fn new(io: R) -> Reader<R> {
        Reader { io, buffer: BytesMut::new(), message: BytesMut::new() }
    }

    /// The next that is said. May be dropped and asked again: nothing is lost.
    pub(super) async fn next(&mut self) -> io::Result<Said> {
        loop {
            while let Some((kind, last, data)) = self.frame()? {
                match kind {
                    PING => return Ok(Said::Ping(data)),
                    PONG => {}
                    CLOSE => {
                        let reason = data.get(2..).unwrap_or_default();
                        return Ok(Said::Close(String::from_utf8_lossy(reason).into_owned()));
                    }
                    // Text is bytes, too.
                    CONTINUATION..=BINARY => {
                        if kind != CONTINUATION {
                            self.message.clear();
                        }
                        if (self.message.len() + data.len()) as u64 > LARGEST {
                            return Err(odd("a message is too large"));
                        }
                        self.message.extend_from_slice(&data);
                        if last {
                            return Ok(Said::Message(self.message.split()));
                        }
                    }
                    _ => return Err(odd("a frame of an unknown kind")),
                }
            }
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return Ok(Said::Close(String::new()));
            }
        }
    }

    /// The first whole frame of what came: its kind, whether it is the last of its message, what it carries.
    fn frame(&mut self) -> io::Result<Option<(u8, bool, BytesMut)>> {
        let bytes = &self.buffer[..];
        let (Some(first), Some(second)) = (bytes.first(), bytes.get(1)) else { return Ok(None) };
        let masked = second & 0x80 != 0;
        let (length, mut head) = match second & 0x7f {
            126 => match bytes.get(2..4).and_then(|b| b.try_into().ok()) {
                Some(b) => (u64::from(u16::from_be_bytes(b)), 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|b| b.try_into().ok()) {
                Some(b) => (u64::from_be_bytes(b), 10),
                None => return Ok(None),
            },
            n => (u64::from(n), 2),
        };
        if length > LARGEST {
            return Err(odd("a frame is too large"));
        }
        let mask = masked.then(|| bytes.get(head..head + 4).map(<[u8]>::to_vec));
        let mask = match mask {
            Some(None) => return Ok(None),
            Some(Some(mask)) => {
                head += 4;
                mask
            }
            None => vec![0; 4],
        };
        let whole = head + length as usize;
        if bytes.len() < whole {
            return Ok(None);
        }
        let (kind, last) = (first & 0x0f, first & 0x80 != 0);
        let mut data = self.buffer.split_to(whole);
        data.advance(head);
        if masked {
            data.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        }
        Ok(Some((kind, last, data)))
    }
}

fn odd(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the WebSocket of the API server sent {why}"))
}

/// Sends a message of bytes that are in two parts.
pub(super) async fn send(io: &mut (impl AsyncWrite + Unpin), first: &[u8], rest: &[u8]) -> io::Result<()> {
    write(io, BINARY, &[first, rest].concat()).await
}

/// Answers a question whether we are there.
pub(super) async fn pong(io: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> io::Result<()> {
    write(io, PONG, data).await
}

/// Says that this is the end: a normal one (1000).
pub(super) async fn close(io: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    write(io, CLOSE, &1000_u16.to_be_bytes()).await
}

/// Writes one frame as a client does: under a mask, which hides nothing and is asked for.
async fn write(io: &mut (impl AsyncWrite + Unpin), kind: u8, data: &[u8]) -> io::Result<()> {
    const MASK: [u8; 4] = [0x6d, 0x75, 0x72, 0x70];
    let mut frame = Vec::with_capacity(data.len() + 14);
    frame.push(0x80 | kind);
    match data.len() {
        n @ ..126 => frame.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((n as u16).to_be_bytes());
        }
        n => {
            frame.push(0x80 | 127);
            frame.extend((n as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(data.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    io.write_all(&frame).await?;
    io.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    #[test]
    fn what_is_written_is_read() {
        block_on(async {
            for size in [0, 1, 125, 126, 65535, 65536, 200_000] {
                let mut wire = Vec::new();
                send(&mut wire, &[7], &vec![9; size]).await.unwrap();
                pong(&mut wire, b"x").await.unwrap();
                close(&mut wire).await.unwrap();
                let mut reader = Reader::new(&wire[..]);
                let Said::Message(message) = reader.next().await.unwrap() else { panic!() };
                assert!(message.len() == size + 1 && message[0] == 7);
                assert_eq!(reader.next().await.unwrap(), Said::Close(String::new()));
            }
            // In pieces, with a question in between.
            let pieces =
                [&[0x02, 1, b'a'][..], &[0x89, 1, b'?'], &[0x80, 1, b'b'], &[0x88, 4, 3, 0xe8, b'n', b'o']];
            let wire = pieces.concat();
            let mut reader = Reader::new(&wire[..]);
            assert_eq!(reader.next().await.unwrap(), Said::Ping(BytesMut::from("?")));
            assert_eq!(reader.next().await.unwrap(), Said::Message(BytesMut::from("ab")));
            assert_eq!(reader.next().await.unwrap(), Said::Close("no".into()));
        });
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            block_on(async {
                let mut reader = Reader::new(&bytes[..]);
                while matches!(reader.next().await, Ok(Said::Message(_) | Said::Ping(_))) {}
            });
        }
    }
}
