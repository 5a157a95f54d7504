//! Header fields in the order, with the case and with the spaces in which they came.
//!
//! All of them lie in one text, line by line, as they do on the wire; a field is four numbers that say where. Reading a
//! head costs one copy, writing an unchanged one costs another, and nothing is allocated for a field.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;

/// An ordered list of fields. Names compare without regard to case.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    text: Vec<u8>,
    fields: Vec<Field>,
}

/// Where a field's line is in the text, and what is what in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    /// The line begins here, with the name.
    start: u32,
    name: u16,
    /// From the line's beginning.
    value: u16,
    length: u32,
    /// From the line's beginning, with the line's end.
    line: u32,
}

impl Headers {
    /// None yet.
    pub(crate) fn new() -> Headers {
        Headers::default()
    }

    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Takes all out and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
    }

    /// How many bytes it keeps room for.
    pub(super) fn room(&self) -> usize {
        self.text.capacity() + self.fields.capacity() * size_of::<Field>()
    }

    /// Names and values, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|f| (self.name_of(f), self.value_of(f)))
    }

    /// The value of the first field of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|f| self.is(f, name)).map(|f| self.value_of(f))
    }

    /// The same as text; none when it is no UTF-8.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// The values of all fields of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |f| self.is(f, name)).map(|f| self.value_of(f))
    }

    /// The members of a list that may stand in one field or in several (RFC 9110, section 5.6.1).
    pub(crate) fn tokens<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(name)
            .filter_map(|v| std::str::from_utf8(v).ok())
            .flat_map(|v| v.split(','))
            .map(str::trim)
            .filter(|t| !t.is_empty())
    }

    /// Whether a list has that member.
    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|t| t.eq_ignore_ascii_case(token))
    }

    /// Whether there is a field of that name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.fields.iter().any(|f| self.is(f, name))
    }

    /// Adds a field at the end. Whoever calls has checked name and value.
    pub(crate) fn append(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        let start = self.text.len();
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b": ");
        self.text.extend_from_slice(value);
        self.text.extend_from_slice(b"\r\n");
        self.fields.push(Field {
            start: start as u32,
            name: name.len() as u16,
            value: name.len() as u16 + 2,
            length: value.len() as u32,
            line: (self.text.len() - start) as u32,
        });
    }

    /// Makes this the only field of that name, in the place of the first, else at the end.
    pub(crate) fn insert(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let at = self.position(name);
        self.remove(name);
        self.append(name, value);
        if let Some(at) = at
            && let Some(field) = self.fields.pop()
        {
            self.fields.insert(at.min(self.fields.len()), field);
        }
    }

    /// Takes out all fields of that name; whether there were any.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let before = self.fields.len();
        let text = &self.text;
        self.fields.retain(|f| !f.name_in(text).eq_ignore_ascii_case(name.as_bytes()));
        before != self.fields.len()
    }

    /// Takes out the fields for which it is false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &[u8]) -> bool) {
        let text = &self.text;
        self.fields.retain(|f| keep(as_name(f.name_in(text)), f.value_in(text)));
    }

    /// Takes over lines that are to be read; gives where they begin.
    pub(super) fn start(&mut self, lines: &[u8]) -> usize {
        let base = self.text.len();
        self.text.extend_from_slice(lines);
        base
    }

    /// Adds a field of the text: where its line begins, and of that the end of the name, the value, and the line's length.
    pub(super) fn field(&mut self, start: usize, name: usize, value: usize, length: usize, line: usize) {
        self.fields.push(Field {
            start: start as u32,
            name: name as u16,
            value: value as u16,
            length: length as u32,
            line: line as u32,
        });
    }

    /// Writes the lines of those for which it is true, as they came.
    pub(crate) fn write_if(&self, out: &mut Vec<u8>, mut wanted: impl FnMut(&str, &[u8]) -> bool) {
        for field in &self.fields {
            if wanted(self.name_of(field), self.value_of(field)) {
                out.extend_from_slice(self.line_of(field));
            }
        }
    }

    /// Writes the lines of those for which it is true, as they came; in the place of others whatever it writes itself.
    pub(crate) fn write_each(
        &self,
        out: &mut Vec<u8>,
        mut wanted: impl FnMut(&mut Vec<u8>, &str, &[u8]) -> bool,
    ) {
        for field in &self.fields {
            if wanted(out, self.name_of(field), self.value_of(field)) {
                out.extend_from_slice(self.line_of(field));
            }
        }
    }

    /// Writes all lines, as they came.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for field in &self.fields {
            out.extend_from_slice(self.line_of(field));
        }
    }

    /// Of HTTP/2's map. The order among different names is the map's.
    pub(crate) fn from_map(map: &HeaderMap) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in map {
            headers.append(name.as_str(), value.as_bytes());
        }
        headers
    }

    /// To HTTP/2's map, in lower case; what cannot be a field there is left out.
    pub(crate) fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.len());
        self.iter().for_each(|(name, value)| put(&mut map, name, value));
        map
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| self.is(f, name))
    }

    fn is(&self, field: &Field, name: &str) -> bool {
        usize::from(field.name) == name.len()
            && field.name_in(&self.text).eq_ignore_ascii_case(name.as_bytes())
    }

    fn name_of(&self, field: &Field) -> &str {
        as_name(field.name_in(&self.text))
    }

    fn value_of(&self, field: &Field) -> &[u8] {
        field.value_in(&self.text)
    }

    fn line_of(&self, field: &Field) -> &[u8] {
        &self.text[field.start as usize..][..field.line as usize]
    }
}

/// Adds a field to HTTP/2's map, if it can be one there.
pub(crate) fn put(map: &mut HeaderMap, name: &str, value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
        map.append(name, value);
    }
}

/// Names are ASCII: they were checked when they were read.
fn as_name(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl Field {
    fn name_in(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..][..usize::from(self.name)]
    }

    fn value_in(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize + usize::from(self.value)..][..self.length as usize]
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            |(name, value): (&str, &[u8])| (name.to_owned(), String::from_utf8_lossy(value).into_owned());
        f.debug_map().entries(self.iter().map(text)).finish()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(fields: I) -> Headers {
        let mut headers = Headers::new();
        fields.into_iter().for_each(|(name, value)| headers.append(name, value));
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_case_stay() {
        let mut headers: Headers =
            [("Host", "a"), ("X-Odd", "1"), ("accept", "x"), ("x-ODD", "2")].into_iter().collect();
        assert_eq!((headers.get("x-odd"), headers.all("X-ODD").count()), (Some(&b"1"[..]), 2));
        headers.insert("x-odd", "3");
        assert_eq!(format!("{headers:?}"), r#"{"Host": "a", "x-odd": "3", "accept": "x"}"#);
        assert!(headers.remove("host") && !headers.remove("host"));
        let mut out = Vec::new();
        headers.write(&mut out);
        assert_eq!(out, b"x-odd: 3\r\naccept: x\r\n");
    }

    #[test]
    fn lists_are_read_across_fields() {
        let headers: Headers =
            [("Connection", "keep-alive, X-A"), ("connection", " close,")].into_iter().collect();
        assert_eq!(headers.tokens("connection").collect::<Vec<_>>(), ["keep-alive", "X-A", "close"]);
        assert!(headers.has_token("Connection", "x-a"));
    }

    #[test]
    fn maps_and_back() {
        let headers: Headers = [("A", "1"), ("b", "2"), ("a", "3")].into_iter().collect();
        let map = headers.to_map();
        assert_eq!((map.len(), &map["b"]), (3, &"2".parse::<HeaderValue>().unwrap()));
        assert_eq!(Headers::from_map(&map).all("a").count(), 2);
    }
}
