//! Texts that fit: globs and regular expressions. Nothing is allocated while matching, for this stands in the hot path.

/// A regular expression that remembers how it was written.
#[derive(Debug, Clone)]
pub struct Regex(pub(super) regex_lite::Regex);

/// `*` fits any text, `?` one character, everything else itself. Linear in both lengths but for the last star.
pub fn glob(pattern: &str, text: &str) -> bool {
    fits(pattern.as_bytes(), text.as_bytes(), |a, b| a == b)
}

/// The same, where ASCII letters fit in either case.
pub fn glob_ignoring_case(pattern: &str, text: &str) -> bool {
    fits(pattern.as_bytes(), text.as_bytes(), |a, b| a.eq_ignore_ascii_case(&b))
}

/// Over bytes: both are UTF-8, so only `?` and the star's retry must step over whole characters.
fn fits(p: &[u8], t: &[u8], same: fn(u8, u8) -> bool) -> bool {
    let (mut i, mut j, mut star) = (0, 0, None);
    while j < t.len() {
        match p.get(i) {
            Some(b'*') => {
                star = Some((i, j));
                i += 1;
                continue;
            }
            Some(b'?') => {
                i += 1;
                j = after(t, j);
                continue;
            }
            Some(c) if same(*c, t[j]) => {
                i += 1;
                j += 1;
                continue;
            }
            _ => {}
        }
        let Some((si, sj)) = star else { return false };
        i = si + 1;
        j = after(t, sj);
        star = Some((si, j));
    }
    p[i..].iter().all(|c| *c == b'*')
}

/// Where the character ends that begins at `at`.
fn after(text: &[u8], at: usize) -> usize {
    let more = text[at + 1..].iter().take_while(|b| **b & 0xC0 == 0x80).count();
    at + 1 + more
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn globs() {
        for (p, t, want) in [
            ("/pay*", "/pay/7", true),
            ("/pay*", "/cart", false),
            ("*.wal", "a.wal", true),
            ("a?c", "abc", true),
            ("a?c", "aüc", true),
            ("*?c", "aüc", true),
            ("a*b*c", "aXbYbc", true),
            ("*aab", "aaab", true),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(glob(p, t), want, "{p} {t}");
        }
        assert!(glob_ignoring_case("*.EXAMPLE.org", "Shop.example.ORG") && !glob("A", "a"));
    }

    /// The meaning, without any cleverness.
    fn plainly(p: &[char], t: &[char]) -> bool {
        match p.split_first() {
            None => t.is_empty(),
            Some(('*', rest)) => (0..=t.len()).any(|n| plainly(rest, &t[n..])),
            Some((c, rest)) => {
                t.split_first().is_some_and(|(d, t)| (*c == '?' || c == d) && plainly(rest, t))
            }
        }
    }

    proptest! {
        #[test]
        fn it_means_what_it_says(p in "[aü?*]{0,6}", t in "[aüb]{0,7}") {
            let (pc, tc): (Vec<char>, Vec<char>) = (p.chars().collect(), t.chars().collect());
            prop_assert_eq!(glob(&p, &t), plainly(&pc, &tc));
        }
    }
}
