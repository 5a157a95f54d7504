//! Attributes of netlink messages: a length, a type, a value, padded to four bytes.

/// Attributes that are being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attrs(Vec<u8>);

/// The flag of attributes that hold attributes.
const NESTED: u16 = 0x8000;

impl Attrs {
    /// None yet.
    pub fn new() -> Attrs {
        Attrs::default()
    }

    /// An attribute of bytes.
    #[must_use]
    pub fn raw(mut self, kind: u16, value: &[u8]) -> Attrs {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(&value[..usize::from(length) - 4]);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// A number in network order.
    #[must_use]
    pub fn be32(self, kind: u16, value: u32) -> Attrs {
        self.raw(kind, &value.to_be_bytes())
    }

    /// A number in network order.
    #[must_use]
    pub fn be64(self, kind: u16, value: u64) -> Attrs {
        self.raw(kind, &value.to_be_bytes())
    }

    /// A number in this machine's order.
    #[must_use]
    pub fn ne32(self, kind: u16, value: u32) -> Attrs {
        self.raw(kind, &value.to_ne_bytes())
    }

    /// A text with its zero.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Attrs {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.raw(kind, &bytes)
    }

    /// Attributes inside one.
    #[must_use]
    pub fn nest(self, kind: u16, inner: &Attrs) -> Attrs {
        self.raw(kind | NESTED, &inner.0)
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Reads attributes one after the other: type without its flags, and value. Ends where something does not add up.
pub fn read(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (head, _) = rest.split_at_checked(4)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of that type.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    read(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// A number in network order.
pub fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}

/// A number in network order.
pub fn be64(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.get(..8)?.try_into().ok()?))
}

/// A number in this machine's order.
pub fn ne32(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

/// A text without its zero.
pub fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Attrs::new().be32(1, 7).text(2, "x");
        let all = Attrs::new().raw(3, &[1, 2, 3, 4, 5]).nest(4, &inner).be64(5, 9);
        assert!(all.bytes().len().is_multiple_of(4));
        assert_eq!(find(all.bytes(), 3), Some(&[1, 2, 3, 4, 5][..]));
        assert_eq!(find(find(all.bytes(), 4).unwrap(), 1).and_then(be32), Some(7));
        assert_eq!(find(find(all.bytes(), 4).unwrap(), 2).map(text).as_deref(), Some("x"));
        assert_eq!(find(all.bytes(), 5).and_then(be64), Some(9));
        for cut in 0..all.bytes().len() {
            read(&all.bytes()[..cut]).for_each(drop);
        }
        assert_eq!(read(&[0, 0, 0, 0, 9]).count(), 0);
    }
}
