//! Secrets that stand for a caller where the kernel cannot say who calls.

use crate::fresh::{Fresh, News};
use host::trust::TrustError;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// A token of at least 256 bits. Never printed.
#[derive(Clone)]
pub struct Token(String);

/// The shortest token, in bytes after decoding.
const SHORTEST: usize = 32;

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too few bits.
    #[error("the token has about {bits} bits and needs 256; make one with: openssl rand -hex 32")]
    Short {
        /// What it has at most.
        bits: usize,
    },
    /// A character that no header could carry.
    #[error(
        "the token has a character outside A-Z a-z 0-9 - . _ ~ + / =; make one with: openssl rand -hex 32"
    )]
    Character,
    /// One or a few characters over and over.
    #[error("the token repeats a few characters; make a random one with: openssl rand -hex 32")]
    Repeats,
}

impl Token {
    /// Reads a token: 64 hexadecimal digits, or 43 and more characters of base64.
    pub fn parse(text: &str) -> Result<Token, TokenError> {
        let text = text.trim();
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)) {
            return Err(TokenError::Character);
        }
        let core = text.trim_end_matches('=');
        let hex = core.bytes().all(|b| b.is_ascii_hexdigit());
        let bits = core.len() * if hex { 4 } else { 6 };
        if bits < SHORTEST * 8 {
            return Err(TokenError::Short { bits });
        }
        let mut distinct: Vec<u8> = core.bytes().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < 8 {
            return Err(TokenError::Repeats);
        }
        Ok(Token(text.to_owned()))
    }

    /// Reads the token in a file.
    pub fn read(file: &Path) -> Result<Token, TrustError> {
        let wrong = |what: String| TrustError { what, hint: "make one with: openssl rand -hex 32".into() };
        let text = std::fs::read_to_string(file)
            .map_err(|e| wrong(format!("cannot read the token in {}: {e}", file.display())))?;
        Token::parse(&text).map_err(|e| {
            let why = e.to_string();
            let why = why.split_once("; ").map_or(why.as_str(), |(why, _)| why);
            wrong(format!("the token in {} cannot be used: {why}", file.display()))
        })
    }

    /// A new random token of 256 bits, in hexadecimal.
    pub fn generate() -> std::io::Result<Token> {
        let mut bytes = [0; SHORTEST];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Token(bytes.iter().map(|b| format!("{b:02x}")).collect()))
    }

    /// The secret itself, for the one header that carries it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `text` is this token, in a time that depends on the length of `text` alone.
    pub fn is(&self, text: &str) -> bool {
        let (mine, theirs) = (self.0.as_bytes(), text.as_bytes());
        let mut differs = u8::from(mine.len() != theirs.len());
        for (i, byte) in theirs.iter().enumerate() {
            differs |= std::hint::black_box(mine[i % mine.len()] ^ byte);
        }
        std::hint::black_box(differs) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What a caller must show.
#[derive(Debug, Clone)]
pub enum Secret {
    /// This token.
    Token(Token),
    /// The one in a file.
    File(Arc<TokenFile>),
}

impl Secret {
    /// Whether `text` is it.
    pub fn is(&self, text: &str) -> bool {
        match self {
            Secret::Token(token) => token.is(text),
            Secret::File(file) => file.current().is(text),
        }
    }
}

impl From<Token> for Secret {
    fn from(token: Token) -> Secret {
        Secret::Token(token)
    }
}

/// A token in a file, read again when that is another: who has the one of before has none.
pub struct TokenFile {
    token: Fresh<Token>,
    tell: fn(&str),
}

impl TokenFile {
    /// Reads it. `tell` hears that it was read again, and when it cannot be used.
    pub fn open(file: &Path, tell: fn(&str)) -> Result<TokenFile, TrustError> {
        let path = file.to_owned();
        let token = Fresh::new(vec![path.clone()], move || Token::read(&path))?;
        Ok(TokenFile { token, tell })
    }

    fn current(&self) -> Arc<Token> {
        let (token, news) = self.token.get();
        match news {
            News::None => {}
            News::Changed => (self.tell)("the token of the control API was read again"),
            News::Failed(e) => (self.tell)(&format!(
                "warning: the token of the control API has changed and cannot be used, the one of before stays: {e}"
            )),
        }
        token
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenFile(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_a_file_changes_with_it() {
        let (dir, make) = (tempfile::tempdir().unwrap(), || Token::generate().unwrap());
        let file = dir.path().join("token");
        let (first, second) = (make(), make());
        std::fs::write(&file, first.reveal()).unwrap();
        let secret = Secret::File(Arc::new(TokenFile::open(&file, |_| {}).unwrap()));
        assert!(secret.is(first.reveal()) && !secret.is(second.reveal()));
        let swap = |text: &str| {
            std::fs::write(dir.path().join("next"), text).unwrap();
            std::fs::rename(dir.path().join("next"), &file).unwrap();
        };
        swap(&format!("{}\n", second.reveal()));
        assert!(secret.is(second.reveal()) && !secret.is(first.reveal()));
        swap("short");
        assert!(secret.is(second.reveal()) && !secret.is("short"));
        assert!(TokenFile::open(&file, |_| {}).unwrap_err().to_string().contains("256"));
        assert!(!format!("{secret:?}").contains(second.reveal()));
    }

    #[test]
    fn short_or_dull_tokens_are_refused() {
        assert_eq!(Token::parse("secret").unwrap_err(), TokenError::Short { bits: 36 });
        assert_eq!(Token::parse(&"ab".repeat(32)).unwrap_err(), TokenError::Repeats);
        assert_eq!(Token::parse(&"0123456789abcdef".repeat(3)).unwrap_err(), TokenError::Short { bits: 192 });
        assert_eq!(Token::parse(&"a b".repeat(32)).unwrap_err(), TokenError::Character);
        let token = Token::generate().unwrap();
        let again = Token::parse(token.reveal()).unwrap();
        assert!(token.is(again.reveal()) && !token.is("") && !token.is(&token.reveal()[1..]));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
