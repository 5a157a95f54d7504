//! WebSocket (RFC 6455): where frames begin and end in a stream, and the handshake's arithmetic.

use super::message::{Frame, FrameHead};
use bytes::{Bytes, BytesMut};
use sha1::{Digest, Sha1};
use std::hash::{BuildHasher, Hasher, RandomState};

/// What the handshake appends to a key.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A new key.
pub(crate) fn key() -> String {
    // Two numbers from the system's randomness; nothing depends on their quality.
    let random = || RandomState::new().build_hasher().finish().to_be_bytes();
    base64(&[random(), random()].concat())
}

/// What a server answers to a key.
pub(crate) fn accept(key: &str) -> String {
    base64(&Sha1::new().chain_update(key.trim()).chain_update(MAGIC).finalize())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits =
            (0..3).fold(0_u32, |sum, i| sum << 8 | u32::from(three.get(i).copied().unwrap_or_default()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at > three.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

/// As long as a frame's header can be.
const LONGEST: usize = 14;

/// Follows one direction of a socket from frame to frame.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tracker {
    head: [u8; LONGEST],
    /// How much of the next header is there.
    have: usize,
    /// How much of that was passed on before anybody looked at frames.
    passed: usize,
    /// What is left of the present frame's payload.
    rest: u64,
}

impl Tracker {
    /// Bytes pass without being looked at.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let n = self.rest.min(bytes.len() as u64);
                self.rest -= n;
                bytes = &bytes[n as usize..];
                continue;
            }
            bytes = &bytes[self.collect(bytes)..];
            self.passed = self.have;
            if let Some(head) = self.complete() {
                self.rest = head.length;
            }
        }
    }

    /// Cuts bytes into frames and parts of them. Of a header that is not whole nothing comes out yet.
    pub(crate) fn cut(&mut self, mut bytes: Bytes, mut out: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let n = self.rest.min(bytes.len() as u64);
                self.rest -= n;
                out(Frame { head: None, bytes: bytes.split_to(n as usize), last: self.rest == 0 });
                continue;
            }
            let before = self.have;
            let size = self.collect(&bytes);
            let (passed, text) = (self.passed, self.head);
            let Some(head) = self.complete() else { return };
            let payload = head.length.min((bytes.len() - size) as u64);
            self.rest = head.length - payload;
            let here = bytes.split_to(size + payload as usize);
            let held = &text[passed.min(before)..before];
            let whole = match held.is_empty() {
                true => here,
                false => BytesMut::from_iter(held.iter().chain(&here).copied()).freeze(),
            };
            // Of one whose beginning has passed already, nothing can be changed but the rest.
            let head = (passed == 0).then_some(head);
            if !whole.is_empty() {
                out(Frame { head, bytes: whole, last: self.rest == 0 });
            }
        }
    }

    /// What is held of a header that is not whole, when the stream ends there.
    pub(crate) fn held(&self) -> &[u8] {
        &self.head[self.passed.min(self.have)..self.have]
    }

    /// Takes what belongs to the header; how much that was.
    fn collect(&mut self, bytes: &[u8]) -> usize {
        let before = self.have;
        for byte in bytes {
            if self.have >= self.need() {
                break;
            }
            self.head[self.have] = *byte;
            self.have += 1;
        }
        self.have - before
    }

    fn need(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let length = match self.head[1] & 127 {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.head[1] & 128 != 0 { 4 } else { 0 }
    }

    /// The header, if it is whole; then the next one is waited for.
    fn complete(&mut self) -> Option<FrameHead> {
        let size = self.need();
        if self.have < 2 || self.have < size {
            return None;
        }
        (self.have, self.passed) = (0, 0);
        let masked = self.head[1] & 128 != 0;
        let end = size - if masked { 4 } else { 0 };
        let length = match end {
            2 => u64::from(self.head[1] & 127),
            _ => self.head[2..end].iter().fold(0, |sum, b| sum << 8 | u64::from(*b)),
        };
        Some(FrameHead {
            size: size as u8,
            fin: self.head[0] & 128 != 0,
            reserved: self.head[0] >> 4 & 7,
            opcode: self.head[0] & 15,
            mask: masked
                .then(|| [self.head[end], self.head[end + 1], self.head[end + 2], self.head[end + 3]]),
            length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rfcs_example() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let key = key();
        assert!(key.len() == 24 && key.ends_with("==") && key != super::key());
    }

    fn frame(opcode: u8, mask: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![128 | opcode];
        let flag = if mask { 128 } else { 0 };
        match payload.len() {
            n if n < 126 => bytes.push(flag | n as u8),
            n if n < 65_536 => {
                bytes.push(flag | 126);
                bytes.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                bytes.push(flag | 127);
                bytes.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        if mask {
            bytes.extend_from_slice(&[1, 2, 3, 4]);
        }
        bytes.extend_from_slice(payload);
        bytes
    }

    proptest! {
        #[test]
        fn any_split_finds_the_same_frames(
            sizes in prop::collection::vec((0_usize..300, any::<bool>()), 1..8),
            large in prop::option::of(65_000_usize..70_000),
            cuts in prop::collection::vec(1_usize..400, 1..30),
            late in 0_usize..20,
        ) {
            let mut bytes = Vec::new();
            let mut wanted = Vec::new();
            for (size, mask) in sizes.into_iter().chain(large.map(|l| (l, true))) {
                bytes.extend(frame(2, mask, &vec![7; size]));
                wanted.push((size as u64, mask));
            }
            let mut tracker = Tracker::default();
            let (mut got, mut all, mut at, mut ends) = (Vec::new(), Vec::new(), 0, 0);
            for (n, cut) in cuts.iter().cycle().enumerate() {
                let end = (at + cut).min(bytes.len());
                if n < late {
                    tracker.pass(&bytes[at..end]);
                    all.extend_from_slice(&bytes[at..end]);
                } else {
                    tracker.cut(Bytes::copy_from_slice(&bytes[at..end]), |f| {
                        got.extend(f.head.map(|h| (h.length, h.mask.is_some())));
                        all.extend_from_slice(&f.bytes);
                        ends += usize::from(f.last);
                    });
                }
                at = end;
                if at == bytes.len() { break }
            }
            prop_assert_eq!(&all, &bytes);
            prop_assert!(wanted.ends_with(&got), "{:?} {:?}", wanted, got);
            if late == 0 {
                prop_assert_eq!(&wanted, &got);
                prop_assert_eq!(ends, wanted.len());
            }
        }
    }
}
