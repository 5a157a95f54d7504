//! The chunked coding (RFC 9112, section 7.1), read strictly.

use super::head::{Refused, bad};

/// As long as a chunk's size with its extensions may be.
const LONGEST_LINE: usize = 1024;

/// Where in the coding a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Chunked {
    /// A chunk's size comes next.
    #[default]
    Size,
    /// So many bytes of a chunk come next.
    Data(u64),
    /// What ends a chunk comes next.
    End,
    /// The last chunk's size has been read; trailers and the empty line come next.
    Last,
}

/// What comes next in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Not all of it is there.
    Need,
    /// So many bytes of framing.
    Framing(usize),
    /// So many bytes of data.
    Data(usize),
    /// Nothing of this coding any more: the trailers.
    Last,
}

impl Chunked {
    /// Takes the next thing in the bytes; whoever calls takes as many away.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Result<Step, Refused> {
        match *self {
            Chunked::Last => Ok(Step::Last),
            Chunked::Data(rest) => {
                let n = rest.min(bytes.len() as u64);
                if n == 0 {
                    return Ok(Step::Need);
                }
                *self = if n == rest { Chunked::End } else { Chunked::Data(rest - n) };
                Ok(Step::Data(n as usize))
            }
            Chunked::End => match bytes {
                [b'\r', b'\n', ..] => {
                    *self = Chunked::Size;
                    Ok(Step::Framing(2))
                }
                [] | [b'\r'] => Ok(Step::Need),
                _ => Err(bad("a chunk does not end where its size says")),
            },
            Chunked::Size => {
                let Some((size, line)) = size_line(bytes)? else { return Ok(Step::Need) };
                *self = if size == 0 { Chunked::Last } else { Chunked::Data(size) };
                Ok(Step::Framing(line))
            }
        }
    }

    /// How many of the bytes are whole parts of the coding before its last chunk, and how many of those are data.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<(usize, usize), Refused> {
        let (mut at, mut data) = (0, 0);
        loop {
            let before = *self;
            match self.step(&bytes[at..])? {
                Step::Need | Step::Last => return Ok((at, data)),
                Step::Data(n) => {
                    at += n;
                    data += n;
                }
                Step::Framing(_) if *self == Chunked::Last => {
                    *self = before;
                    return Ok((at, data));
                }
                Step::Framing(n) => at += n,
            }
        }
    }
}

/// A chunk's size, and how long its line is.
fn size_line(bytes: &[u8]) -> Result<Option<(u64, usize)>, Refused> {
    let digits = bytes.iter().take(17).take_while(|b| b.is_ascii_hexdigit()).count();
    if digits > 16 {
        return Err(bad("a chunk's size has more than 16 digits"));
    }
    let Some(next) = bytes.get(digits) else { return Ok(None) };
    if digits == 0 {
        return Err(bad("a chunk's size is not a hexadecimal number"));
    }
    let size = bytes[..digits]
        .iter()
        .fold(0_u64, |sum, b| sum << 4 | u64::from(char::from(*b).to_digit(16).unwrap_or_default()));
    if size > u64::MAX >> 1 {
        return Err(bad("a chunk's size is too large"));
    }
    let mut at = digits;
    if *next == b';' || ((*next == b' ' || *next == b'\t') && names_extension(&bytes[digits..])) {
        let text = |b: &u8| *b == b'\t' || (*b >= b' ' && *b != 0x7f);
        at += bytes[digits..].iter().take(LONGEST_LINE).take_while(|b| text(b)).count();
        if at - digits == LONGEST_LINE {
            return Err(bad("a chunk's extensions are longer than 1024 bytes"));
        }
    } else if (*next == b' ' || *next == b'\t') && bytes[digits..].iter().all(|b| *b == b' ' || *b == b'\t') {
        return if bytes.len() < LONGEST_LINE {
            Ok(None)
        } else {
            Err(bad("a chunk's size is followed by blanks"))
        };
    }
    match bytes.get(at..) {
        Some([b'\r', b'\n', ..]) => Ok(Some((size, at + 2))),
        Some([] | [b'\r']) => Ok(None),
        _ => Err(bad("a chunk's size is followed by something that is no extension")),
    }
}

fn names_extension(bytes: &[u8]) -> bool {
    bytes.iter().find(|b| **b != b' ' && **b != b'\t') == Some(&b';')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(bytes: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize), Refused> {
        let (mut state, mut at, mut data) = (Chunked::default(), 0, Vec::new());
        for end in cuts.iter().copied().chain([bytes.len()]) {
            loop {
                match state.step(&bytes[at..end.max(at)])? {
                    Step::Need => break,
                    Step::Framing(n) => at += n,
                    Step::Data(n) => {
                        data.extend_from_slice(&bytes[at..at + n]);
                        at += n;
                    }
                    Step::Last => return Ok((data, at)),
                }
            }
        }
        Err(bad("not at its end"))
    }

    #[test]
    fn what_could_be_misunderstood_is_refused() {
        for text in [
            "g\r\n",
            "\r\n",
            "0x5\r\nhello\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n",
            "-5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5;a\nhello\r\n",
            "5;a\rb\r\n",
            "00000000000000005\r\nhello\r\n",
            "ffffffffffffffff\r\nx",
            "5;\0\r\nhello\r\n",
            "5,5\r\nhello\r\n",
            "5\r\nhellooo\r\n",
            "5\rhello",
        ] {
            let error = decode(text.as_bytes(), &[]).unwrap_err();
            assert_ne!(error.why, "not at its end", "{text:?}");
        }
        let long = format!("5;{}\r\nhello\r\n", "a".repeat(1100));
        assert!(decode(long.as_bytes(), &[]).unwrap_err().why.contains("1024"));
        assert_eq!(
            decode(b"5;a=\"b\"\r\nhello\r\n0005 ;x\r\nworld\r\n0\r\n\r\n", &[]).unwrap().0,
            b"helloworld"
        );
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(0_usize..300, 0..12),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            let whole = bytes.len();
            bytes.extend_from_slice(b"0\r\n");
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c % (bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let (data, at) = decode(&bytes, &cuts).unwrap();
            prop_assert_eq!(&data, &chunks.concat());
            prop_assert_eq!(at, bytes.len());
            // Scanning counts the same, and stops before the last chunk.
            let (mut state, mut at, mut sum) = (Chunked::default(), 0, 0);
            for end in cuts.into_iter().chain([bytes.len()]) {
                let (n, data) = state.scan(&bytes[at..end.max(at)]).unwrap();
                at += n;
                sum += data;
            }
            prop_assert_eq!((at, sum, state), (whole, data.len(), Chunked::Size));
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, &[bytes.len() / 2]);
        }
    }
}
