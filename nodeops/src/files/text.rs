//! New contents from old ones. Pure.

use std::collections::BTreeMap;

/// `\n`, `\t`, `\\` and `\xNN` as what they mean.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            Some('n') => out.push(b'\n'),
            Some('t') => out.push(b'\t'),
            Some('r') => out.push(b'\r'),
            Some('0') => out.push(0),
            Some('\\') => out.push(b'\\'),
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2);
                out.push(byte.ok_or_else(|| format!("\\x{digits} is not \\x and two hexadecimal digits"))?);
            }
            other => {
                let shown = other.map(String::from).unwrap_or_default();
                return Err(format!("\\{shown} means nothing; known are \\n \\t \\r \\0 \\\\ and \\xNN"));
            }
        }
    }
    Ok(out)
}

/// Every occurrence of `find` becomes `by`; how many there were.
pub(super) fn replace(content: &[u8], find: &[u8], by: &[u8]) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(content.len());
    let (mut rest, mut n) = (content, 0);
    while !rest.is_empty() {
        if !find.is_empty() && rest.starts_with(find) {
            out.extend(by);
            rest = &rest[find.len()..];
            n += 1;
        } else {
            out.push(rest[0]);
            rest = &rest[1..];
        }
    }
    (out, n)
}

/// A hosts file in which these names mean that address: their old lines lose them, and the new line comes first.
pub(super) fn hosts(content: &str, names: &[&str], address: &str) -> String {
    let mut out = hosts_line(names, address);
    for line in content.split_inclusive('\n') {
        let (entry, comment) = line.split_at(line.find('#').unwrap_or(line.trim_end_matches('\n').len()));
        let mut words = entry.split_whitespace();
        let Some(own) = words.next() else {
            out.push_str(line);
            continue;
        };
        let all: Vec<&str> = words.collect();
        let kept: Vec<&str> =
            all.iter().copied().filter(|w| !names.iter().any(|n| n.eq_ignore_ascii_case(w))).collect();
        if kept.len() == all.len() {
            out.push_str(line);
        } else if !kept.is_empty() {
            out.push_str(&format!("{own}\t{}{comment}", kept.join(" ")));
        } else if comment.starts_with('#') {
            out.push_str(comment);
        }
    }
    out
}

/// The line that says so.
pub(super) fn hosts_line(names: &[&str], address: &str) -> String {
    format!("{address}\t{}\n", names.join(" "))
}

/// A file of `KEY=value` lines with other values. Lines keep what surrounds the value: `export`, spaces, quotes.
pub(super) fn settings(content: &str, set: &BTreeMap<String, String>, unset: &[&str]) -> String {
    let mut out = String::new();
    let mut there = Vec::new();
    for line in content.split_inclusive('\n') {
        let Some((key, at)) = key_of(line) else {
            out.push_str(line);
            continue;
        };
        if unset.contains(&key) {
            continue;
        }
        match set.get(key) {
            None => out.push_str(line),
            Some(value) => {
                there.push(key.to_owned());
                let end = if line.ends_with("\r\n") {
                    "\r\n"
                } else if line.ends_with('\n') {
                    "\n"
                } else {
                    ""
                };
                let old = line[at..].trim_end_matches(['\r', '\n']);
                let space: String = old.chars().take_while(|c| *c == ' ' || *c == '\t').collect();
                let quote = old[space.len()..].chars().next().filter(|c| matches!(c, '"' | '\''));
                let quote = quote.map(String::from).unwrap_or_default();
                out.push_str(&format!("{}{space}{quote}{value}{quote}{end}", &line[..at]));
            }
        }
    }
    for (key, value) in set.iter().filter(|(key, _)| !there.contains(key)) {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(&format!("{key}={value}\n"));
    }
    out
}

/// The key of a line, and where behind it the `=` (or `:`) ends. Comments and sections have none.
fn key_of(line: &str) -> Option<(&str, usize)> {
    let at = line.find(['=', ':'])?;
    let before = line[..at].trim();
    let key = before.strip_prefix("export ").unwrap_or(before).trim();
    let fits = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    (!key.is_empty() && key.chars().all(fits)).then_some((key, at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read() {
        assert_eq!(unescape(r"a\n\x00\\é").unwrap(), "a\n\0\\é".as_bytes());
        assert!(unescape(r"\q").unwrap_err().contains("means nothing"));
        assert!(unescape(r"\x1").is_err() && unescape("\\").is_err());
    }

    #[test]
    fn texts_are_replaced() {
        assert_eq!(replace(b"a=1 a=1 b", b"a=1", b"a=22"), (b"a=22 a=22 b".to_vec(), 2));
        assert_eq!(replace(b"aaa", b"aa", b""), (b"a".to_vec(), 1));
        assert_eq!(replace(b"abc", b"", b"x"), (b"abc".to_vec(), 0));
    }

    #[test]
    fn hosts_are_pointed_elsewhere() {
        let before =
            "127.0.0.1 localhost\n# all\n10.0.0.1\tpayments payments.internal # pay\n10.0.0.2 db\n::1 db";
        let after = hosts(before, &["Payments", "db"], "192.0.2.1");
        assert_eq!(
            after,
            "192.0.2.1\tPayments db\n127.0.0.1 localhost\n# all\n10.0.0.1\tpayments.internal# pay\n"
        );
        assert_eq!(hosts("", &["x"], "::1"), "::1\tx\n");
    }

    #[test]
    fn settings_keep_their_surroundings() {
        let before = "# TIMEOUT=9\nexport TIMEOUT = \"30\"\nMODE=a\r\nTOKEN=x\nurl: b\n[part]\nlast=1";
        let set = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let after = settings(
            before,
            &set(&[("TIMEOUT", "1"), ("MODE", "z"), ("NEW", "q"), ("url", "c")]),
            &["TOKEN"],
        );
        assert_eq!(after, "# TIMEOUT=9\nexport TIMEOUT = \"1\"\nMODE=z\r\nurl: c\n[part]\nlast=1\nNEW=q\n");
        assert_eq!(settings("A=1\n", &set(&[]), &[]), "A=1\n");
    }
}
